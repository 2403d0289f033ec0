//! One machine a file: what a thing of the workflow (a timer, an activity, a task) has been through.
//!
//! Every file begins with the rules in prose and the transition table. A machine moves only along its table; anything else
//! is a [`Fault`], and leaves the machine as it was.

mod activity;
mod child_workflow;
mod ending;
mod external;
mod local_activity;
mod nexus_operation;
mod patch;
mod timer;
mod update;
mod upsert;
mod workflow_task;

pub(crate) use activity::Activity;
pub(crate) use child_workflow::ChildWorkflow;
pub(crate) use ending::Ending;
pub(crate) use external::External;
pub(crate) use local_activity::{CancelAction, Finding, LocalActivity, cancelled};
pub(crate) use nexus_operation::{NexusOperation, describe as describe_nexus_operation};
pub(crate) use patch::{Patch, patch_of};
pub(crate) use timer::Timer;
pub(crate) use update::{Incoming, Update};
pub(crate) use upsert::Upsert;
pub(crate) use workflow_task::WorkflowTask;

use crate::fault::Fault;
use prost_wkt_types::Timestamp;
use temporalio_protos::{
    coresdk::workflow_activation::workflow_activation_job::Variant as Job,
    temporal::api::{
        command::v1::{RequestCancelExternalWorkflowExecutionCommandAttributes, command::Attributes as CommandAttributes},
        common::v1::{Payload, Payloads},
        history::v1::HistoryEvent,
        protocol::v1::Message,
    },
};

/// What a transition asks of the workflow around the machine.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "lives only between two calls; a box would cost an allocation a command")]
pub(crate) enum Effect {
    /// The code must learn of this in the next activation.
    Job(Box<Job>),
    /// The machine needs a further command.
    Command(CommandAttributes),
    /// The run's time moves on, when this is later.
    Time(Option<Timestamp>),
    /// A child's cancellation: a request with a machine of its own.
    CancelExternal(RequestCancelExternalWorkflowExecutionCommandAttributes),
    /// The service must be told this with the task's completion, unless it is replayed.
    Message(Box<Message>),
    /// A workflow task that counts has started: time and position move on.
    TaskStarted { started_id: i64, time: Option<Timestamp> },
    /// The run was made by a reset: its random numbers differ from the original's from here on.
    NewSeed { run_id: String },
}

#[derive(Debug)]
pub(crate) enum Machine {
    Timer(Timer),
    Activity(Activity),
    LocalActivity(LocalActivity),
    ChildWorkflow(ChildWorkflow),
    External(External),
    NexusOperation(Box<NexusOperation>),
    Ending(Ending),
    WorkflowTask(WorkflowTask),
    Update(Box<Update>),
    Patch(Patch),
    Upsert(Upsert),
}

impl Machine {
    pub(crate) fn handle_event(&mut self, event: HistoryEvent, check_ids: bool) -> Result<Vec<Effect>, Fault> {
        match self {
            Machine::Timer(timer) => timer.handle_event(event),
            Machine::Activity(activity) => activity.handle_event(event, check_ids),
            Machine::LocalActivity(activity) => activity.handle_event(&event, check_ids),
            Machine::ChildWorkflow(child) => child.handle_event(event, check_ids),
            Machine::External(external) => external.handle_event(event),
            Machine::NexusOperation(operation) => operation.handle_event(event, check_ids),
            Machine::Ending(ending) => ending.handle_event(&event),
            Machine::WorkflowTask(task) => task.handle_event(event),
            Machine::Update(update) => update.handle_event(&event),
            Machine::Patch(patch) => patch.handle_event(&event),
            Machine::Upsert(upsert) => upsert.handle_event(&event),
        }
    }

    /// True when the thing was cancelled before its command was sent: the command never existed.
    pub(crate) fn is_withdrawn(&self) -> bool {
        match self {
            Machine::Timer(timer) => timer.is_withdrawn(),
            Machine::Activity(activity) => activity.is_withdrawn(),
            Machine::ChildWorkflow(child) => child.is_withdrawn(),
            Machine::External(external) => external.is_withdrawn(),
            Machine::NexusOperation(operation) => operation.is_withdrawn(),
            _ => false,
        }
    }

    /// For messages: which one it is.
    pub(crate) fn describe(&self) -> String {
        match self {
            Machine::Timer(timer) => timer.describe(),
            Machine::Activity(activity) => activity.describe(),
            Machine::LocalActivity(activity) => activity.describe(),
            Machine::ChildWorkflow(child) => child.describe(),
            Machine::External(external) => external.describe(),
            Machine::NexusOperation(operation) => operation.describe(),
            Machine::Ending(_) => "end of the workflow".to_owned(),
            Machine::WorkflowTask(_) => "workflow task".to_owned(),
            Machine::Update(update) => update.describe(),
            Machine::Patch(patch) => patch.describe(),
            Machine::Upsert(upsert) => upsert.describe(),
        }
    }
}

/// The state that `input` leads to, or none when the table does not have it.
pub(crate) fn step<S: Copy + PartialEq, I: Copy + PartialEq>(table: &[(S, I, S)], state: S, input: I) -> Option<S> {
    table.iter().find(|(from, on, _)| *from == state && *on == input).map(|(_, _, to)| *to)
}

/// An event that the machine's table does not have in its state.
pub(crate) fn refused(what: &str, state: &dyn std::fmt::Debug, event: &HistoryEvent) -> Fault {
    Fault::Nondeterminism(format!(
        "event {} ({}) does not fit {what}, which is in state {state:?}",
        event.event_id,
        event.event_type().as_str_name()
    ))
}

/// An activity or a workflow gives one value; more would be lost on the way to the code.
fn only_payload(event_id: i64, what: &str, payloads: Option<Payloads>) -> Result<Option<Payload>, Fault> {
    let Some(payloads) = payloads else { return Ok(None) };
    let count = payloads.payloads.len();
    match payloads.payloads.into_iter().next() {
        Some(payload) if count == 1 => Ok(Some(payload)),
        _ => Err(Fault::Fatal(format!("event {event_id} ({what}) has {count} result values, not one"))),
    }
}

#[cfg(test)]
pub(crate) mod table {
    use super::step;
    use std::fmt::Debug;

    /// Takes every transition of a table and tries every pair that is not in it.
    pub(crate) fn check<S: Copy + PartialEq + Debug, I: Copy + PartialEq + Debug>(
        table: &[(S, I, S)],
        states: &[S],
        inputs: &[I],
        mut take: impl FnMut(S, I) -> (bool, S),
    ) {
        for (from, on, to) in table {
            assert_eq!(step(table, *from, *on), Some(*to), "two rows for {from:?} on {on:?}");
        }
        for state in states {
            for input in inputs {
                let (accepted, after) = take(*state, *input);
                match step(table, *state, *input) {
                    Some(to) => assert_eq!((accepted, after), (true, to), "{state:?} on {input:?}"),
                    None => assert_eq!((accepted, after), (false, *state), "{state:?} on {input:?} must be refused"),
                }
            }
        }
    }
}
