//! Activities that start with the answer to the workflow task that scheduled them: no poll, no wait in a task queue.
//!
//! A slot is taken for each before the service is asked, so that the worker's limit holds; what the service does not give frees its
//! slot again, and the activity waits in its task queue as any other.

use temporalio_protos::temporal::api::{
    command::v1::{Command, ScheduleActivityTaskCommandAttributes, command::Attributes},
    workflowservice::v1::PollActivityTaskQueueResponse,
};
use tokio::sync::mpsc;

use crate::{
    WorkerOptions, activities,
    poller::{Slot, Slots},
};

/// For one workflow task; the others of a fan-out are for whichever worker has time.
const MAX_FOR_ONE_TASK: usize = 3;

pub(crate) struct Eager {
    slots: Option<Slots>,
    task_queue: String,
    activities: mpsc::UnboundedSender<activities::Input>,
}

impl Eager {
    pub fn new(options: &WorkerOptions, slots: Slots, activities: mpsc::UnboundedSender<activities::Input>) -> Eager {
        let slots = options.may_take_eager_activities().then_some(slots);
        Eager { slots, task_queue: options.task_queue.clone(), activities }
    }

    /// Leaves the wish in those commands whose activities the worker can take now, and answers their slots.
    pub fn reserve(&self, commands: &mut [Command], may_take: bool) -> Vec<Slot> {
        let mut reserved = Vec::new();
        for command in commands {
            let Some(Attributes::ScheduleActivityTaskCommandAttributes(activity)) = &mut command.attributes else { continue };
            if !activity.request_eager_execution {
                continue;
            }
            let is_possible = may_take && reserved.len() < MAX_FOR_ONE_TASK && self.is_own(activity);
            let slot = self.slots.as_ref().filter(|_| is_possible).and_then(Slots::try_take);
            activity.request_eager_execution = slot.is_some();
            reserved.extend(slot);
        }
        reserved
    }

    fn is_own(&self, activity: &ScheduleActivityTaskCommandAttributes) -> bool {
        activity.task_queue.as_ref().is_none_or(|queue| queue.name.is_empty() || queue.name == self.task_queue)
    }

    /// Starts what came; slots that are left over are free again.
    pub fn start(&self, tasks: Vec<PollActivityTaskQueueResponse>, reserved: Vec<Slot>) {
        let mut reserved = reserved.into_iter();
        for task in tasks {
            // A closed channel is a worker that has ended.
            let _ = self.activities.send(activities::Input::Task(Box::new(task), reserved.next()));
        }
    }
}
