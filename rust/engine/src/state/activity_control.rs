//! What people do to pending activities: pause, unpause, reset, change their options. None of it leaves an event in the history.

use durable_client::{Code, Status};
use temporalio_protos::temporal::api::{
    activity::v1::ActivityOptions,
    command::v1::ScheduleActivityTaskCommandAttributes,
    common::v1::WorkflowExecution,
    history::v1::{ActivityTaskScheduledEventAttributes, history_event::Attributes},
    taskqueue::v1::TaskQueue,
    workflowservice::v1::{
        self as api, pause_activity_request, reset_activity_request, unpause_activity_request, update_activity_options_request,
    },
};

use super::{
    activity::backoff,
    command::{check_activity, check_retry_policy, fit_timeouts},
    limit::{invalid, not_found},
    record::{ActivityRecord, PauseRecord},
    run::{Run, RunKey},
    time::{Nanos, length},
    world::{Answer, Env, World},
};

/// Which activities of a run a request is about.
enum Selection {
    Id(String),
    Type(String),
    All,
}

/// The alternatives are the same in four requests, under the names of each.
macro_rules! selection {
    ($activity:expr, $of:ident $(, $all:ident)?) => {
        match $activity {
            Some($of::Activity::Id(id)) => Selection::Id(id),
            Some($of::Activity::Type(name)) => Selection::Type(name),
            $(Some($of::Activity::$all(_)) => Selection::All,)?
            None => return Err(invalid("Either Activity.Id or Activity.Type should be set on request.")),
        }
    };
}

fn no_such_activity() -> Status {
    not_found("Can't find pending activity with such ID. Invalid activityID or activity already completed")
}

impl World {
    pub fn pause_activity(&mut self, env: &Env, request: api::PauseActivityRequest) -> Answer {
        let selection = selection!(request.activity, pause_activity_request);
        let (key, ids) = self.selected(env, &request.namespace, request.execution, selection)?;
        let pause = PauseRecord { time: env.now, identity: request.identity, reason: request.reason, request_id: request.request_id };
        let Some(run) = self.run_mut(key) else { return Err(no_such_activity()) };
        for id in &ids {
            let paused = run.activities.get(id).filter(|activity| activity.paused).and_then(|activity| activity.pause.as_ref());
            if paused.is_some_and(|earlier| earlier.request_id != pause.request_id) {
                return Err(Status::new(Code::FailedPrecondition, "activity is already paused"));
            }
        }
        for id in ids {
            run.change_activity(id, |activity| {
                if !activity.paused {
                    activity.paused = true;
                    activity.pause = Some(pause.clone());
                }
            });
        }
        Ok(Some(api::PauseActivityResponse::default().into()))
    }

    pub fn unpause_activity(&mut self, env: &Env, request: api::UnpauseActivityRequest) -> Answer {
        let selection = selection!(request.activity, unpause_activity_request, UnpauseAll);
        let (key, ids) = self.selected(env, &request.namespace, request.execution, selection)?;
        let at = jittered(env, &request.jitter);
        let Some(run) = self.run_mut(key) else { return Err(no_such_activity()) };
        for id in ids {
            let Some(activity) = run.activities.get_mut(&id).filter(|activity| activity.paused) else { continue };
            if request.reset_attempts {
                activity.attempt = 1;
            }
            if request.reset_heartbeat {
                activity.heartbeat_details = None;
                activity.heartbeat_time = 0;
            }
            run.unpause(env.now, id, at);
        }
        Ok(Some(api::UnpauseActivityResponse::default().into()))
    }

    pub fn reset_activity(&mut self, env: &Env, request: api::ResetActivityRequest) -> Answer {
        let selection = selection!(request.activity, reset_activity_request, MatchAll);
        let (key, ids) = self.selected(env, &request.namespace, request.execution, selection)?;
        let at = jittered(env, &request.jitter);
        for id in ids {
            let original = if request.restore_original_options { Some(self.scheduled_event(env, key, id)?) } else { None };
            let Some(run) = self.run_mut(key) else { return Err(no_such_activity()) };
            run.change_activity(id, |activity| {
                activity.attempt = 1;
                activity.reset = true;
                activity.forgets_heartbeats |= request.reset_heartbeat;
                if let (Some(command), Some(original)) = (&mut activity.command, original) {
                    restore(command, original);
                }
            });
            let Some(activity) = run.activities.get(&id) else { continue };
            let (is_paused, is_started) = (activity.paused, activity.started_time > 0);
            if is_paused && !request.keep_paused {
                run.unpause(env.now, id, at);
            } else if !is_paused && !is_started {
                run.schedule_attempt_again(env.now, id, None, at);
            }
        }
        Ok(Some(api::ResetActivityResponse::default().into()))
    }

    pub fn update_activity_options(&mut self, env: &Env, request: api::UpdateActivityOptionsRequest) -> Answer {
        let selection = selection!(request.activity, update_activity_options_request, MatchAll);
        let paths = request.update_mask.map(|mask| mask.paths);
        if request.restore_original && paths.as_ref().is_some_and(|paths| !paths.is_empty()) {
            return Err(invalid("Both UpdateMask and RestoreOriginal are provided"));
        }
        let (key, ids) = self.selected(env, &request.namespace, request.execution, selection)?;
        let mut changed = Vec::new();
        for id in ids {
            let Some(mut command) = self.run_mut(key).and_then(|run| run.activities.get(&id)?.command.clone()) else { continue };
            if request.restore_original {
                restore(&mut command, self.scheduled_event(env, key, id)?);
            } else {
                let options = request.activity_options.as_ref().ok_or_else(|| invalid("ActivityOptions are not provided"))?;
                let paths = paths.as_ref().ok_or_else(|| invalid("UpdateMask is not provided"))?;
                merge(&mut command, options, paths)?;
            }
            changed.push((id, command));
        }
        let mut answer = None;
        let Some(run) = self.run_mut(key) else { return Err(no_such_activity()) };
        for (id, command) in changed {
            answer = Some(options(&command));
            run.change_activity(id, |activity| activity.command = Some(command));
            if let Some(activity) = run.activities.get(&id).filter(|activity| activity.started_time == 0) {
                let at = next_time(activity);
                run.schedule_attempt_again(env.now, id, None, at);
            }
        }
        Ok(Some(api::UpdateActivityOptionsResponse { activity_options: answer }.into()))
    }

    fn selected(
        &mut self,
        env: &Env,
        namespace: &str,
        execution: Option<WorkflowExecution>,
        selection: Selection,
    ) -> Result<(RunKey, Vec<i64>), Status> {
        self.check_namespace(namespace)?;
        let run = self.find_open(env, &execution)?;
        let is_meant = |activity: &&ActivityRecord| match &selection {
            Selection::Id(id) => activity.id() == id,
            Selection::Type(name) => activity.type_name() == name,
            Selection::All => true,
        };
        let ids: Vec<i64> = run.activities.values().filter(is_meant).map(|activity| activity.scheduled_event_id).collect();
        if ids.is_empty() { Err(no_such_activity()) } else { Ok((run.key, ids)) }
    }

    /// What the workflow asked for when it scheduled the activity.
    fn scheduled_event(&self, env: &Env, key: RunKey, id: i64) -> Result<ActivityTaskScheduledEventAttributes, Status> {
        let Some(run) = self.runs.get(&key) else { return Err(no_such_activity()) };
        let (events, _) = self.events_page(env, run, id, id + 1, 1)?;
        match events.into_iter().next().and_then(|event| event.attributes) {
            Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => Ok(scheduled),
            _ => Err(Status::new(Code::DataLoss, format!("event {id} of run {} is not an activity's", run.record.run_id))),
        }
    }
}

impl Run {
    fn change_activity(&mut self, id: i64, change: impl FnOnce(&mut ActivityRecord)) {
        if let Some(activity) = self.activities.get_mut(&id) {
            change(activity);
            self.dirty = true;
            self.dirty_activities.insert(id);
        }
    }

    /// The activity goes on; an attempt that is under way just does.
    fn unpause(&mut self, now: Nanos, id: i64, at: Nanos) {
        self.change_activity(id, |activity| {
            activity.paused = false;
            activity.pause = None;
        });
        if self.activities.get(&id).is_some_and(|activity| activity.started_time == 0) {
            self.schedule_attempt_again(now, id, None, at);
        }
    }
}

/// Now, or up to `jitter` later.
fn jittered(env: &Env, jitter: &Option<prost_wkt_types::Duration>) -> Nanos {
    let jitter = length(jitter);
    if jitter == 0 {
        return env.now;
    }
    // A new id is the one random thing that this layer is given.
    let random = (env.new_id)()
        .bytes()
        .filter(u8::is_ascii_hexdigit)
        .take(12)
        .fold(0_i64, |sum, digit| sum * 16 + i64::from(char::from(digit).to_digit(16).unwrap_or_default()));
    env.now.saturating_add(random % jitter)
}

/// When an attempt that waits becomes due by the options it has now.
fn next_time(activity: &ActivityRecord) -> Nanos {
    match activity.command.as_ref().and_then(|command| command.retry_policy.as_ref()) {
        Some(policy) if activity.attempt > 1 => activity.last_attempt_complete_time.saturating_add(backoff(policy, activity.attempt)),
        _ => activity.attempt_time,
    }
}

fn restore(command: &mut ScheduleActivityTaskCommandAttributes, original: ActivityTaskScheduledEventAttributes) {
    command.task_queue = original.task_queue;
    command.schedule_to_close_timeout = original.schedule_to_close_timeout;
    command.schedule_to_start_timeout = original.schedule_to_start_timeout;
    command.start_to_close_timeout = original.start_to_close_timeout;
    command.heartbeat_timeout = original.heartbeat_timeout;
    command.retry_policy = original.retry_policy;
    command.priority = original.priority;
}

/// Applies the fields that a mask names; names are those of the message or of its JSON form.
fn merge(command: &mut ScheduleActivityTaskCommandAttributes, from: &ActivityOptions, paths: &[String]) -> Result<(), Status> {
    let missing = |name: &str| invalid(format!("{name} is not provided"));
    let given = || from.retry_policy.as_ref().ok_or_else(|| missing("RetryPolicy"));
    let mut changes_policy = false;
    for path in paths {
        let policy = command.retry_policy.get_or_insert_default();
        match path.replace('_', "").to_lowercase().as_str() {
            "taskqueue" | "taskqueue.name" => {
                let queue = from.task_queue.as_ref().ok_or_else(|| missing("TaskQueue"))?;
                command.task_queue = Some(TaskQueue { name: queue.name.clone(), ..command.task_queue.clone().unwrap_or_default() });
            }
            "scheduletoclosetimeout" => command.schedule_to_close_timeout = from.schedule_to_close_timeout,
            "scheduletostarttimeout" => command.schedule_to_start_timeout = from.schedule_to_start_timeout,
            "starttoclosetimeout" => command.start_to_close_timeout = from.start_to_close_timeout,
            "heartbeattimeout" => command.heartbeat_timeout = from.heartbeat_timeout,
            "priority" => command.priority = from.priority.clone(),
            "retrypolicy" => {
                // The types that are not retried are no option of a pending activity.
                let types = std::mem::take(&mut policy.non_retryable_error_types);
                *policy = given()?.clone();
                policy.non_retryable_error_types = types;
                changes_policy = true;
            }
            "retrypolicy.initialinterval" => {
                policy.initial_interval = given()?.initial_interval;
                changes_policy = true;
            }
            "retrypolicy.backoffcoefficient" => {
                policy.backoff_coefficient = given()?.backoff_coefficient;
                changes_policy = true;
            }
            "retrypolicy.maximuminterval" => {
                policy.maximum_interval = given()?.maximum_interval;
                changes_policy = true;
            }
            "retrypolicy.maximumattempts" => {
                policy.maximum_attempts = given()?.maximum_attempts;
                changes_policy = true;
            }
            _ => {}
        }
    }
    if changes_policy {
        check_retry_policy(&command.retry_policy).map_err(invalid)?;
    }
    check_activity(command).map_err(|(_, text)| invalid(text))?;
    fit_timeouts(command, 0);
    Ok(())
}

/// The options of an activity as a reader sees them.
pub fn options(command: &ScheduleActivityTaskCommandAttributes) -> ActivityOptions {
    ActivityOptions {
        task_queue: command.task_queue.as_ref().map(|queue| TaskQueue { name: queue.name.clone(), ..Default::default() }),
        schedule_to_close_timeout: command.schedule_to_close_timeout,
        schedule_to_start_timeout: command.schedule_to_start_timeout,
        start_to_close_timeout: command.start_to_close_timeout,
        heartbeat_timeout: command.heartbeat_timeout,
        retry_policy: command.retry_policy.clone(),
        priority: command.priority.clone(),
        ..Default::default()
    }
}
