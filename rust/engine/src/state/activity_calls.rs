//! Activities in workers' hands: how they get there, their signs of life, and their answers, by the token of an attempt or by the
//! activity's id.

use prost::Message as _;
use temporalio_protos::temporal::api::{
    common::v1::{Payloads, WorkflowExecution},
    failure::v1::{ApplicationFailureInfo, Failure, failure::FailureInfo},
    workflowservice::v1 as api,
};

use durable_client::Status;

use super::{
    activity::End,
    limit::{MAX_BLOB_BYTES, check_blob, invalid, not_found},
    record::TaskToken,
    run::{Run, RunKey},
    start::inherited_priority,
    task::{decode, server_failure},
    time::{Nanos, timestamp},
    world::{Answer, Env, World},
};

/// Characters kept of the message of a failure that is too large.
const MAX_KEPT_MESSAGE: usize = 1000;

fn activity_gone() -> Status {
    not_found("invalid activityID or activity already timed out or invoking workflow is completed")
}

/// Which activity a call without a token means.
struct Named {
    namespace: String,
    workflow_id: String,
    run_id: String,
    activity_id: String,
}

macro_rules! named {
    ($request:expr) => {
        Named {
            namespace: std::mem::take(&mut $request.namespace),
            workflow_id: std::mem::take(&mut $request.workflow_id),
            run_id: std::mem::take(&mut $request.run_id),
            activity_id: std::mem::take(&mut $request.activity_id),
        }
    };
}

impl World {
    /// Starts an attempt that waits, and answers what its worker gets.
    pub fn take_activity(&mut self, env: &Env, key: RunKey, id: i64, identity: &str) -> Option<api::PollActivityTaskQueueResponse> {
        let (epoch, namespace) = (self.hand_out_epoch(), self.namespace.clone());
        let request_id = (env.new_id)();
        let run = self.run_mut(key)?;
        let (workflow_type, run_id) = (run.started().workflow_type.clone(), run.record.run_id.clone());
        let priority = run.started().priority.clone();
        let execution = WorkflowExecution { workflow_id: run.record.workflow_id.clone(), run_id: run_id.clone() };
        let activity = run.start_activity(env.now, id, identity, request_id, epoch)?;
        let command = activity.command.clone()?;
        let token = TaskToken {
            run_key: key,
            scheduled_event_id: id,
            attempt: activity.attempt,
            epoch,
            started_time: activity.started_time,
            run_id,
            ..Default::default()
        };
        Some(api::PollActivityTaskQueueResponse {
            task_token: token.encode_to_vec(),
            workflow_namespace: namespace,
            workflow_type,
            workflow_execution: Some(execution),
            activity_type: command.activity_type,
            activity_id: command.activity_id,
            header: command.header,
            input: command.input,
            heartbeat_details: activity.heartbeat_details.clone(),
            scheduled_time: Some(timestamp(activity.scheduled_time)),
            current_attempt_scheduled_time: Some(timestamp(activity.attempt_time)),
            started_time: Some(timestamp(activity.started_time)),
            attempt: activity.attempt,
            schedule_to_close_timeout: command.schedule_to_close_timeout,
            start_to_close_timeout: command.start_to_close_timeout,
            heartbeat_timeout: command.heartbeat_timeout,
            retry_policy: command.retry_policy,
            priority: inherited_priority(&priority, &command.priority),
            ..Default::default()
        })
    }

    /// The activities that a worker wants back at once, with the answer to the completion that scheduled them. What was withdrawn
    /// meanwhile, or went with its run, is not there any more.
    pub fn take_eager_activities(
        &mut self,
        env: &Env,
        key: RunKey,
        ids: Vec<i64>,
        identity: &str,
    ) -> Vec<api::PollActivityTaskQueueResponse> {
        ids.into_iter().filter_map(|id| self.take_activity(env, key, id, identity)).collect()
    }

    pub fn check_activity(&self, token: &TaskToken) -> Result<(), Status> {
        let run =
            self.runs.get(&token.run_key).filter(|run| run.record.run_id == token.run_id && run.is_open()).ok_or_else(activity_gone)?;
        run.activities
            .get(&token.scheduled_event_id)
            .filter(|activity| {
                activity.started_time == token.started_time && activity.attempt == token.attempt && activity.epoch == token.epoch
            })
            .map(|_| ())
            .ok_or_else(activity_gone)
    }

    fn activity_run(&mut self, token: &[u8]) -> Result<(&mut Run, i64), Status> {
        let token = decode(token)?;
        self.check_activity(&token)?;
        let run = self.run_mut(token.run_key).ok_or_else(activity_gone)?;
        Ok((run, token.scheduled_event_id))
    }

    /// The open run and the activity that a call names; `started`: an attempt has to be under way.
    fn named_activity(&mut self, env: &Env, named: Named, started: bool) -> Result<(&mut Run, i64), Status> {
        self.check_namespace(&named.namespace)?;
        let Named { workflow_id, run_id, activity_id, .. } = named;
        if activity_id.is_empty() {
            return Err(invalid("ActivityId is not set on request."));
        }
        let run = self.find_open(env, &Some(WorkflowExecution { workflow_id, run_id }))?;
        let Some(activity) = run.activities.values().find(|activity| activity.id() == activity_id) else {
            let hint = "check workflow execution history for more details";
            return Err(not_found(format!("cannot find pending activity with ActivityID {activity_id}, {hint}")));
        };
        if started && activity.started_time == 0 {
            return Err(activity_gone());
        }
        let id = activity.scheduled_event_id;
        Ok((run, id))
    }

    /// An attempt goes on outside of this process: the process's end is not its end.
    pub fn release_activity(&mut self, token: &[u8]) {
        let Ok((run, id)) = self.activity_run(token) else { return };
        if let Some(activity) = run.activities.get_mut(&id) {
            activity.released = true;
            run.dirty = true;
            run.dirty_activities.insert(id);
        }
    }

    pub fn heartbeat(&mut self, env: &Env, request: api::RecordActivityTaskHeartbeatRequest) -> Answer {
        check_blob("RecordActivityTaskHeartbeatRequest.Details", &request.details)?;
        let (run, id) = self.activity_run(&request.task_token)?;
        let said = run.heartbeat(env.now, id, request.details, &request.identity);
        Ok(Some(said.into()))
    }

    pub fn heartbeat_by_id(&mut self, env: &Env, mut request: api::RecordActivityTaskHeartbeatByIdRequest) -> Answer {
        check_blob("RecordActivityTaskHeartbeatByIdRequest.Details", &request.details)?;
        let (run, id) = self.named_activity(env, named!(request), true)?;
        let said = run.heartbeat(env.now, id, request.details, &request.identity);
        let api::RecordActivityTaskHeartbeatResponse { cancel_requested, activity_paused, activity_reset } = said;
        Ok(Some(api::RecordActivityTaskHeartbeatByIdResponse { cancel_requested, activity_paused, activity_reset }.into()))
    }

    pub fn activity_completed(&mut self, env: &Env, request: api::RespondActivityTaskCompletedRequest) -> Answer {
        let (run, id) = self.activity_run(&request.task_token)?;
        run.activity_completed(env.now, id, request.result, &request.identity);
        Ok(Some(api::RespondActivityTaskCompletedResponse::default().into()))
    }

    pub fn activity_completed_by_id(&mut self, env: &Env, mut request: api::RespondActivityTaskCompletedByIdRequest) -> Answer {
        let (run, id) = self.named_activity(env, named!(request), false)?;
        run.start_unstarted(env.now, id, &request.identity);
        run.activity_completed(env.now, id, request.result, &request.identity);
        Ok(Some(api::RespondActivityTaskCompletedByIdResponse::default().into()))
    }

    pub fn activity_failed(&mut self, env: &Env, request: api::RespondActivityTaskFailedRequest) -> Answer {
        let is_application = |failure: &Failure| matches!(failure.failure_info, Some(FailureInfo::ApplicationFailureInfo(_)));
        if !request.failure.as_ref().is_none_or(is_application) {
            return Err(invalid("Failure must have ApplicationFailureInfo."));
        }
        let (run, id) = self.activity_run(&request.task_token)?;
        run.activity_failed(env.now, id, request.failure, request.last_heartbeat_details, &request.identity);
        Ok(Some(api::RespondActivityTaskFailedResponse::default().into()))
    }

    pub fn activity_failed_by_id(&mut self, env: &Env, mut request: api::RespondActivityTaskFailedByIdRequest) -> Answer {
        let (run, id) = self.named_activity(env, named!(request), true)?;
        run.activity_failed(env.now, id, request.failure, request.last_heartbeat_details, &request.identity);
        Ok(Some(api::RespondActivityTaskFailedByIdResponse::default().into()))
    }

    pub fn activity_canceled(&mut self, env: &Env, request: api::RespondActivityTaskCanceledRequest) -> Answer {
        let (run, id) = self.activity_run(&request.task_token)?;
        run.activity_canceled(env.now, id, request.details, &request.identity)?;
        Ok(Some(api::RespondActivityTaskCanceledResponse::default().into()))
    }

    pub fn activity_canceled_by_id(&mut self, env: &Env, mut request: api::RespondActivityTaskCanceledByIdRequest) -> Answer {
        let (run, id) = self.named_activity(env, named!(request), true)?;
        run.activity_canceled(env.now, id, request.details, &request.identity)?;
        Ok(Some(api::RespondActivityTaskCanceledByIdResponse::default().into()))
    }
}

impl Run {
    fn activity_completed(&mut self, now: Nanos, id: i64, result: Option<Payloads>, identity: &str) {
        let size = result.as_ref().map_or(0, prost::Message::encoded_len);
        if size > MAX_BLOB_BYTES {
            let failure = server_failure(format!("Complete result exceeds size limit: {size} bytes, the limit is {MAX_BLOB_BYTES}."), true);
            self.fail_activity(now, id, failure, identity);
        } else {
            self.end_activity(now, id, End::Completed(result), identity);
        }
    }

    fn activity_failed(&mut self, now: Nanos, id: i64, failure: Option<Failure>, details: Option<Payloads>, identity: &str) {
        if let (Some(details), Some(activity)) = (details, self.activities.get_mut(&id)) {
            activity.heartbeat_details = Some(details);
        }
        let failure = failure.unwrap_or_default();
        if failure.encoded_len() > MAX_BLOB_BYTES {
            let message = format!("Failure exceeds size limit: {} bytes, the limit is {MAX_BLOB_BYTES}.", failure.encoded_len());
            let short = Failure { cause: Some(Box::new(without_details(failure))), ..server_failure(message, true) };
            self.fail_activity(now, id, short, identity);
        } else {
            self.fail_activity(now, id, failure, identity);
        }
    }

    fn activity_canceled(&mut self, now: Nanos, id: i64, details: Option<Payloads>, identity: &str) -> Result<(), Status> {
        if !self.activities.get(&id).is_some_and(|activity| activity.cancel_requested) {
            return Err(invalid("unable to mark activity as canceled without activity being request canceled first"));
        }
        self.end_activity(now, id, End::Canceled(details), identity);
        Ok(())
    }
}

/// What is kept of a failure that is too large: its message and its type.
fn without_details(failure: Failure) -> Failure {
    let failure_info = match failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
            r#type: info.r#type,
            non_retryable: info.non_retryable,
            ..Default::default()
        })),
        _ => None,
    };
    Failure { message: failure.message.chars().take(MAX_KEPT_MESSAGE).collect(), failure_info, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use durable_client::{Request, Response, Rpc};
    use temporalio_protos::temporal::api::{
        command::v1::{Command, ScheduleActivityTaskCommandAttributes, command::Attributes},
        common::v1::{ActivityType, WorkflowType},
        history::v1::HistoryEvent,
        taskqueue::v1::TaskQueue,
    };

    use super::*;
    use crate::state::world::{CallId, Source};

    struct Nothing;

    impl Source for Nothing {
        fn current(&self, _: &str) -> Result<Option<Run>, Status> {
            Ok(None)
        }
        fn by_run_id(&self, _: &str) -> Result<Option<Run>, Status> {
            Ok(None)
        }
        fn events(&self, _: RunKey, _: i64, _: i64) -> Result<Vec<HistoryEvent>, Status> {
            Ok(Vec::new())
        }
    }

    /// Applies one request and answers all replies.
    fn ask<R: Rpc>(world: &mut World, call: CallId, request: R) -> Vec<(CallId, Response)> {
        let new_id = || uuid::Uuid::new_v4().to_string();
        let env = Env { now: 1_000, mono: 1_000, source: &Nothing, new_id: &new_id };
        let request: Request = request.into_request();
        world.handle(&env, call, request);
        world.settle(&env);
        world.take_replies().into_iter().map(|(call, answer)| (call, answer.expect("an answer"))).collect()
    }

    #[test]
    fn what_started_for_an_answer_that_found_nobody_goes_to_the_next_poller() {
        let queue = || Some(TaskQueue { name: "q".into(), ..Default::default() });
        let mut world = World::new("default".into(), 1, 1, crate::state::limit::Limits::default());
        let start = api::StartWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_id: "a".into(),
            workflow_type: Some(WorkflowType { name: "W".into() }),
            task_queue: queue(),
            request_id: "r".into(),
            ..Default::default()
        };
        ask(&mut world, 1, start);
        let poll = api::PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue: queue(), ..Default::default() };
        let Some((2, Response::PollWorkflowTaskQueue(task))) = ask(&mut world, 2, poll).pop() else { panic!("no task") };
        let activity = ScheduleActivityTaskCommandAttributes {
            activity_id: "1".into(),
            activity_type: Some(ActivityType { name: "A".into() }),
            task_queue: queue(),
            start_to_close_timeout: Some(prost_wkt_types::Duration { seconds: 10, nanos: 0 }),
            request_eager_execution: true,
            ..Default::default()
        };
        let attributes = Some(Attributes::ScheduleActivityTaskCommandAttributes(activity));
        let completed = api::RespondWorkflowTaskCompletedRequest {
            task_token: task.task_token,
            commands: vec![Command { attributes, ..Default::default() }],
            namespace: "default".into(),
            ..Default::default()
        };
        let (_, answer) = ask(&mut world, 3, completed).pop().expect("an answer");
        assert!(matches!(&answer, Response::RespondWorkflowTaskCompleted(answer) if answer.activity_tasks.len() == 1));
        world.undelivered(answer);
        let poll = api::PollActivityTaskQueueRequest { namespace: "default".into(), task_queue: queue(), ..Default::default() };
        let Some((4, Response::PollActivityTaskQueue(task))) = ask(&mut world, 4, poll).pop() else { panic!("no activity") };
        assert_eq!((task.activity_id.as_str(), task.attempt), ("1", 1));
    }
}
