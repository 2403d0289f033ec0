//! Local activities: live, with heartbeats and cancels, and the same activations again in the replay.

mod support;

use durable_core::{LocalRequest, LocalResult, LocalStart, Output, Run, Wait};
use std::time::Duration;
use support::*;
use temporalio_protos::{
    coresdk::{
        activity_result::{self, Cancellation, activity_execution_result::Status as Outcome, activity_resolution::Status},
        workflow_activation::{WorkflowActivation, workflow_activation_job::Variant as Job},
        workflow_commands::{
            ActivityCancellationType, CancelTimer, RequestCancelLocalActivity, ScheduleLocalActivity, StartTimer,
            workflow_command::Variant as LangCommand,
        },
    },
    temporal::api::{
        common::v1::Payload,
        enums::v1::CommandType,
        failure::v1::{CanceledFailureInfo, Failure, failure::FailureInfo},
        query::v1::WorkflowQuery,
        workflowservice::v1::RespondWorkflowTaskCompletedRequest,
    },
};

use ActivityCancellationType::{Abandon, TryCancel, WaitCancellationCompleted};

fn local(seq: u32, cancellation: ActivityCancellationType) -> LangCommand {
    LangCommand::ScheduleLocalActivity(ScheduleLocalActivity {
        seq,
        activity_id: seq.to_string(),
        activity_type: "charge".to_owned(),
        start_to_close_timeout: Some(prost_wkt_types::Duration { seconds: 60, nanos: 0 }),
        cancellation_type: cancellation as i32,
        ..Default::default()
    })
}

fn cancel(seq: u32) -> LangCommand {
    LangCommand::RequestCancelLocalActivity(RequestCancelLocalActivity { seq })
}

fn success(seq: u32) -> LocalResult {
    let result = Some(Payload { data: format!("result of {seq}").into_bytes(), ..Default::default() });
    let outcome = Outcome::Completed(activity_result::Success { result });
    LocalResult { seq, outcome, attempt: 1, runtime: Duration::from_millis(250), backoff: None }
}

fn cancelled(seq: u32) -> LocalResult {
    let info = FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default());
    let failure = Some(Failure { message: "stopped".to_owned(), failure_info: Some(info), ..Default::default() });
    LocalResult { outcome: Outcome::Cancelled(Cancellation { failure }), ..success(seq) }
}

/// Who is told what in an activation, with its time.
fn told(activation: &WorkflowActivation) -> (Vec<String>, Option<prost_wkt_types::Timestamp>) {
    let tell = |job: Job| match job {
        Job::ResolveActivity(resolve) if resolve.is_local => {
            let what = match resolve.result.and_then(|result| result.status) {
                Some(Status::Completed(success)) => String::from_utf8(success.result.unwrap_or_default().data).unwrap_or_default(),
                Some(Status::Cancelled(_)) => "cancelled".to_owned(),
                Some(Status::Failed(_)) => "failed".to_owned(),
                Some(Status::Backoff(backoff)) => format!("attempt {}", backoff.attempt),
                None => String::new(),
            };
            format!("{}: {what}", resolve.seq)
        }
        Job::SignalWorkflow(signal) => format!("signal {}", signal.signal_name),
        other => format!("{other:?}").split('(').next().unwrap_or_default().to_owned(),
    };
    (jobs(activation).into_iter().map(tell).collect(), activation.timestamp)
}

/// A live run whose code is played by the test; everything it saw and said is kept and held against the replay at the end.
struct Live {
    service: Service,
    run: Run,
    seen: Vec<(Vec<String>, Option<prost_wkt_types::Timestamp>)>,
    said: Vec<Vec<LangCommand>>,
    requests: Vec<String>,
    starts: Vec<LocalStart>,
}

impl Live {
    fn begin(commands: Vec<LangCommand>) -> Live {
        let mut service = Service::new();
        service.start_task();
        let mut run = run();
        run.handle_task(service.task(0));
        let mut live = Live { service, run, seen: vec![], said: vec![], requests: vec![], starts: vec![] };
        live.activated(&["InitializeWorkflow"], commands);
        live
    }

    /// Takes outputs up to one that is not a request to the worker.
    fn poll(&mut self) -> Option<Output> {
        loop {
            match self.run.poll() {
                Some(Output::Local(request)) => {
                    self.requests.push(match &request {
                        LocalRequest::Start(start) => format!("start {}", start.command.seq),
                        LocalRequest::Cancel { seq } => format!("cancel {seq}"),
                        LocalRequest::Drop { seq } => format!("drop {seq}"),
                        LocalRequest::LetRun { seq } => format!("let run {seq}"),
                    });
                    if let LocalRequest::Start(start) = request {
                        self.starts.push(*start);
                    }
                }
                other => return other,
            }
        }
    }

    fn activation(&mut self, expected: &[&str]) {
        let activation = match self.poll() {
            Some(Output::Activation(activation)) => *activation,
            other => panic!("expected {expected:?}, got {other:?}"),
        };
        assert_eq!(told(&activation).0, expected);
        self.seen.push(told(&activation));
    }

    fn answer(&mut self, commands: Vec<LangCommand>) {
        self.said.push(commands.clone());
        self.run.handle_completion(completion(commands));
    }

    fn activated(&mut self, expected: &[&str], commands: Vec<LangCommand>) {
        self.activation(expected);
        self.answer(commands);
    }

    /// The task stays open (which the driver is told once).
    fn waits(&mut self) {
        assert!(matches!(self.poll(), None | Some(Output::AwaitLocal(_))), "the run must wait for its local activities");
        assert!(self.run.poll().is_none() && self.run.has_running_locals());
    }

    /// The task's completion, as the service takes it.
    fn completes(&mut self, expected: &[CommandType]) -> RespondWorkflowTaskCompletedRequest {
        let request = match self.poll() {
            Some(Output::Complete(request)) => *request,
            other => panic!("expected a completion, got {other:?}"),
        };
        assert_eq!(request.commands.iter().map(|command| command.command_type()).collect::<Vec<_>>(), expected);
        self.service.complete_task(&request);
        self.run.handle_completed(0);
        request
    }

    fn task(&mut self) {
        self.service.start_task();
        self.run.handle_task(self.service.sticky_task());
    }

    fn heartbeat(&mut self) {
        self.run.handle_heartbeat_due();
        let request = self.completes(&[]);
        assert!(request.force_create_new_workflow_task && request.return_new_workflow_task);
        self.task();
    }

    fn result(&mut self, result: LocalResult) {
        self.run.handle_local_result(result);
    }

    /// A replay shows the code what it saw, when it saw it, and runs nothing.
    fn replays(&self) {
        let mut run = replayer();
        run.handle_task(self.service.replay_task());
        for (seen, said) in self.seen.iter().zip(&self.said) {
            let activation = next_activation(&mut run);
            assert_eq!(&told(&activation), seen);
            run.handle_completion(completion(said.clone()));
        }
        assert!(run.poll().is_none(), "the replay goes on");
        assert!(run.is_idle());
        assert_eq!(run.statistics().last_processed_event_id, self.service.events.len() as i64);
    }
}

const MARKER: CommandType = CommandType::RecordMarker;
const END: CommandType = CommandType::CompleteWorkflowExecution;

#[test]
fn an_outcome_is_told_in_the_same_task_and_recorded() {
    let mut live = Live::begin(vec![local(1, TryCancel)]);
    live.waits();
    assert_eq!(live.requests, ["start 1"]);
    let start = &live.starts[0];
    assert_eq!((start.command.attempt, start.workflow_type.as_str()), (1, "Checkout"));
    assert_eq!(start.command.original_schedule_time, start.now);
    assert!(live.run.has_running_locals());
    live.result(success(1));
    assert!(!live.run.has_running_locals());
    live.activated(&["1: result of 1"], vec![complete_workflow()]);
    assert_eq!(live.seen[1].1.map(|time| (time.seconds, time.nanos)), Some((1_003, 250_000_000)), "the task's start and the runtime");
    let request = live.completes(&[MARKER, END]);
    assert!(!request.force_create_new_workflow_task);
    live.replays();
}

#[test]
fn several_results_reach_the_right_callers_on_replay() {
    let mut live = Live::begin(vec![local(1, TryCancel), local(2, TryCancel), local(3, TryCancel)]);
    live.waits();
    live.result(success(3));
    live.activation(&["3: result of 3"]);
    // Two come while the code is busy: it is told of both together, and of the one it asks for now later.
    live.result(success(1));
    live.result(success(2));
    live.answer(vec![local(4, TryCancel)]);
    live.activated(&["1: result of 1", "2: result of 2"], vec![]);
    live.waits();
    live.result(success(4));
    live.activated(&["4: result of 4"], vec![complete_workflow()]);
    live.completes(&[MARKER, MARKER, MARKER, MARKER, END]);
    live.replays();
}

#[test]
fn a_long_one_does_not_hold_back_the_results_of_others() {
    let mut live = Live::begin(vec![local(1, TryCancel), local(2, TryCancel)]);
    live.waits();
    live.result(success(2));
    live.activated(&["2: result of 2"], vec![local(3, TryCancel)]);
    assert!(live.poll().is_none(), "the task stays open");
    live.result(success(3));
    live.activated(&["3: result of 3"], vec![]);
    assert!(live.poll().is_none());
    live.result(success(1));
    live.activated(&["1: result of 1"], vec![complete_workflow()]);
    live.completes(&[MARKER, MARKER, MARKER, END]);
    live.replays();
}

#[test]
fn heartbeats_do_not_make_a_replay_run_it_again() {
    let mut live = Live::begin(vec![local(1, TryCancel)]);
    live.waits();
    for _ in 0..3 {
        live.heartbeat();
        live.waits();
    }
    assert_eq!(live.requests, ["start 1"]);
    live.result(success(1));
    live.activated(&["1: result of 1"], vec![complete_workflow()]);
    live.completes(&[MARKER, END]);
    live.replays();
}

#[test]
fn a_marker_after_a_signals_task_is_told_after_the_signal() {
    let mut live = Live::begin(vec![local(1, TryCancel)]);
    live.waits();
    live.run.handle_heartbeat_due();
    live.completes(&[]);
    live.service.signal("hello");
    // The outcome comes between two tasks: it is told in the next one, after the signal.
    live.result(success(1));
    assert!(live.poll().is_none());
    live.task();
    live.activated(&["signal hello", "1: result of 1"], vec![start_timer(1)]);
    live.completes(&[MARKER, CommandType::StartTimer]);
    live.service.fire_timer("1");
    live.task();
    live.activated(&["FireTimer"], vec![complete_workflow()]);
    live.completes(&[END]);
    live.replays();
}

#[test]
fn a_result_that_came_after_a_signal_was_told_is_held_in_the_replay() {
    let mut live = Live::begin(vec![local(1, TryCancel)]);
    live.waits();
    live.run.handle_heartbeat_due();
    live.completes(&[]);
    live.service.signal("hello");
    live.task();
    live.activated(&["signal hello"], vec![]);
    live.waits();
    live.result(success(1));
    live.activated(&["1: result of 1"], vec![complete_workflow()]);
    live.completes(&[MARKER, END]);
    live.replays();
}

#[test]
fn immediate_cancels_keep_their_order_on_replay() {
    for cancellation in [TryCancel, Abandon] {
        let mut live = Live::begin(vec![local(1, cancellation), local(2, cancellation), local(3, TryCancel)]);
        live.waits();
        live.result(success(3));
        live.activated(&["3: result of 3"], vec![cancel(2), cancel(1), local(4, TryCancel)]);
        live.activated(&["2: cancelled", "1: cancelled"], vec![]);
        live.waits();
        live.result(success(1));
        assert!(live.poll().is_none(), "nobody waits for it any more");
        live.result(success(4));
        live.activated(&["4: result of 4"], vec![complete_workflow()]);
        live.completes(&[MARKER, MARKER, MARKER, MARKER, END]);
        let last = if cancellation == Abandon { ["let run 2", "let run 1"] } else { ["drop 2", "drop 1"] };
        assert_eq!(live.requests[3..5], last);
        live.replays();
    }
}

#[test]
fn a_cancel_that_waits_gets_the_outcome() {
    for (result, expected) in [(cancelled(1), "1: cancelled"), (success(1), "1: result of 1")] {
        let mut live = Live::begin(vec![local(1, WaitCancellationCompleted), local(2, TryCancel)]);
        live.waits();
        live.result(success(2));
        live.activated(&["2: result of 2"], vec![cancel(1)]);
        live.waits();
        assert_eq!(live.requests, ["start 1", "start 2", "cancel 1"]);
        live.result(result);
        live.activated(&[expected], vec![complete_workflow()]);
        live.completes(&[MARKER, MARKER, END]);
        live.replays();
    }
}

#[test]
fn what_is_cancelled_in_the_activation_that_asked_for_it_never_runs() {
    for cancellation in [TryCancel, Abandon, WaitCancellationCompleted] {
        let mut live = Live::begin(vec![local(1, cancellation), cancel(1)]);
        live.activated(&["1: cancelled"], vec![complete_workflow()]);
        assert!(live.requests.is_empty());
        live.completes(&[MARKER, END]);
        live.replays();
    }
}

#[test]
fn cancelling_what_has_its_outcome_does_nothing() {
    for cancellation in [TryCancel, Abandon, WaitCancellationCompleted] {
        let mut live = Live::begin(vec![local(1, cancellation)]);
        live.waits();
        live.result(success(1));
        live.activated(&["1: result of 1"], vec![cancel(1), cancel(1), start_timer(1)]);
        live.completes(&[MARKER, CommandType::StartTimer]);
        live.service.fire_timer("1");
        live.task();
        live.activated(&["FireTimer"], vec![cancel(1), complete_workflow()]);
        live.completes(&[END]);
        live.replays();
    }
}

#[test]
fn a_long_backoff_is_the_codes_to_wait_for() {
    let mut live = Live::begin(vec![local(1, TryCancel)]);
    live.waits();
    let failed = Outcome::Failed(activity_result::Failure { failure: Some(Failure::default()), ..Default::default() });
    let backoff = Some(prost_wkt_types::Duration { seconds: 90, nanos: 0 });
    live.result(LocalResult { outcome: failed, attempt: 7, backoff, ..success(1) });
    live.activated(&["1: attempt 8"], vec![start_timer(1)]);
    live.completes(&[MARKER, CommandType::StartTimer]);
    live.service.fire_timer("1");
    live.task();
    live.activated(&["FireTimer"], vec![local(2, TryCancel)]);
    live.waits();
    live.result(success(2));
    live.activated(&["2: result of 2"], vec![complete_workflow()]);
    live.completes(&[MARKER, END]);
    live.replays();
}

#[test]
fn without_a_marker_it_runs_in_the_next_life() {
    let mut live = Live::begin(vec![local(1, TryCancel)]);
    live.waits();
    live.heartbeat();
    // The worker dies here; another one gets the task after its timeout, with the whole history.
    let mut service = live.service.clone();
    let failed_started_id = service.started_id;
    service.fail_task();
    service.start_task();
    assert_ne!(service.started_id, failed_started_id);
    let mut run = support::run();
    run.handle_task(service.task(0));
    let activation = next_activation(&mut run);
    assert_eq!((names(&activation), activation.is_replaying), (vec!["InitializeWorkflow".to_owned()], true));
    run.handle_completion(completion(vec![local(1, TryCancel)]));
    assert!(matches!(run.poll(), Some(Output::Local(LocalRequest::Start(_)))));
    assert!(matches!(run.poll(), Some(Output::AwaitLocal(_))));
    run.handle_local_result(success(1));
    let activation = next_activation(&mut run);
    assert_eq!(told(&activation).0, ["1: result of 1"]);
    assert!(!activation.is_replaying);
}

#[test]
fn a_cancel_of_an_earlier_life_is_not_forgotten() {
    let mut live = Live::begin(vec![local(1, WaitCancellationCompleted)]);
    live.waits();
    live.run.handle_heartbeat_due();
    live.completes(&[]);
    live.service.signal("poke");
    live.task();
    live.activated(&["signal poke"], vec![cancel(1)]);
    live.waits();
    live.heartbeat();
    // The worker dies here, before the activity has stopped.
    live.service.fail_task();
    live.service.start_task();
    let mut run = support::run();
    run.handle_task(live.service.task(0));
    for commands in [vec![local(1, WaitCancellationCompleted)], vec![cancel(1)]] {
        let activation = next_activation(&mut run);
        assert!(activation.is_replaying);
        run.handle_completion(completion(commands));
    }
    let activation = next_activation(&mut run);
    assert_eq!((told(&activation).0, activation.is_replaying), (vec!["1: cancelled".to_owned()], false));
    run.handle_completion(completion(vec![complete_workflow()]));
    let request = next_complete(&mut run);
    assert_eq!(request.commands.iter().map(|command| command.command_type()).collect::<Vec<_>>(), [MARKER, END]);
    live.service.complete_task(&request);
    live.seen.push(told(&activation));
    live.said.push(vec![complete_workflow()]);
    live.replays();
}

#[test]
fn commands_beside_a_local_activity_hurry_the_heartbeat() {
    let mut live = Live::begin(vec![local(1, TryCancel), start_timer(1)]);
    let Some(Output::AwaitLocal(wait)) = live.poll() else { panic!("the run must wait") };
    assert_eq!((wait.has_commands, wait.task_timeout.as_secs(), wait.first_timer.is_some()), (true, 10, true));
    live.run.handle_heartbeat_due();
    assert!(live.completes(&[CommandType::StartTimer]).force_create_new_workflow_task);
    live.task();
    assert!(matches!(live.poll(), Some(Output::AwaitLocal(Wait { has_commands: false, .. }))));
    live.result(success(1));
    live.activated(&["1: result of 1"], vec![complete_workflow()]);
    live.completes(&[MARKER, END]);
    live.replays();
}

#[test]
fn an_answered_query_keeps_a_task_for_what_runs() {
    let mut service = Service::new();
    service.start_task();
    let mut task = service.task(0);
    task.queries.insert("q".to_owned(), WorkflowQuery::default());
    let mut run = run();
    run.handle_task(task);
    next_activation(&mut run);
    run.handle_completion(completion(vec![local(1, TryCancel)]));
    assert!(matches!(run.poll(), Some(Output::Local(_))));
    assert_eq!(names(&next_activation(&mut run)), ["QueryWorkflow"]);
    run.handle_local_result(success(1));
    run.handle_completion(completion(vec![answer("q")]));
    let request = next_complete(&mut run);
    assert!(request.force_create_new_workflow_task && request.commands.is_empty());
    service.complete_task(&request);
    run.handle_completed(0);
    service.start_task();
    run.handle_task(service.sticky_task());
    assert_eq!(told(&next_activation(&mut run)).0, ["1: result of 1"]);
}

#[test]
fn a_heartbeat_waits_for_the_code() {
    let mut live = Live::begin(vec![local(1, TryCancel), local(2, TryCancel)]);
    live.waits();
    live.result(success(1));
    live.activation(&["1: result of 1"]);
    live.run.handle_heartbeat_due();
    assert!(live.run.poll().is_none());
    live.answer(vec![]);
    assert!(live.completes(&[MARKER]).force_create_new_workflow_task);
    live.task();
    live.waits();
    live.result(success(2));
    live.activated(&["2: result of 2"], vec![complete_workflow()]);
    live.completes(&[MARKER, END]);
    live.replays();
}

#[test]
fn the_end_of_the_run_waits_for_nothing() {
    let mut live = Live::begin(vec![local(1, TryCancel), local(2, TryCancel)]);
    live.waits();
    live.result(success(1));
    live.activated(&["1: result of 1"], vec![complete_workflow()]);
    live.completes(&[MARKER, END]);
    assert!(!live.run.has_running_locals());
    live.result(success(2));
    live.replays();
}

#[test]
fn other_code_is_told_where_it_differs() {
    let mut live = Live::begin(vec![local(1, TryCancel)]);
    live.waits();
    live.result(success(1));
    live.activated(&["1: result of 1"], vec![complete_workflow()]);
    live.completes(&[MARKER, END]);
    let fault = |commands: Vec<Vec<LangCommand>>| {
        let mut run = replayer();
        run.handle_task(live.service.replay_task());
        for commands in commands {
            next_activation(&mut run);
            run.handle_completion(completion(commands));
        }
        expect_eviction(&mut run)
    };
    let message = fault(vec![vec![complete_workflow()]]);
    assert!(message.contains("event 5 records the local activity '1' of type 'charge', which the code did not ask for"), "{message}");
    let message = fault(vec![vec![local(2, TryCancel)]]);
    assert!(message.contains("event 5 records the local activity '1'"), "{message}");
    let other = LangCommand::ScheduleLocalActivity(ScheduleLocalActivity {
        seq: 1,
        activity_id: "1".to_owned(),
        activity_type: "refund".to_owned(),
        start_to_close_timeout: Some(prost_wkt_types::Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    });
    let message = fault(vec![vec![other], vec![complete_workflow()]]);
    assert!(message.contains("'refund'") && message.contains("'charge'"), "{message}");
    let message = fault(vec![vec![cancel(9)]]);
    assert!(message.contains("local activity number 9"), "{message}");
}

#[test]
fn a_command_without_timeouts_is_refused() {
    let mut service = Service::new();
    service.start_task();
    let mut run = run();
    run.handle_task(service.task(0));
    next_activation(&mut run);
    run.handle_completion(completion(vec![LangCommand::ScheduleLocalActivity(ScheduleLocalActivity {
        activity_id: "1".to_owned(),
        activity_type: "charge".to_owned(),
        ..Default::default()
    })]));
    assert!(matches!(run.poll(), Some(Output::Fail(_))));
    let message = expect_eviction(&mut run);
    assert!(message.contains("'charge' without a start-to-close and without a schedule-to-close timeout"), "{message}");
}

#[test]
fn a_timer_that_is_due_ends_the_wait() {
    let timer = |seq, seconds| {
        let start_to_fire_timeout = Some(prost_wkt_types::Duration { seconds, nanos: 0 });
        LangCommand::StartTimer(StartTimer { seq, start_to_fire_timeout })
    };
    let first_timer = |live: &mut Live| match live.poll() {
        Some(Output::AwaitLocal(wait)) => wait.first_timer,
        other => panic!("expected a wait, got {other:?}"),
    };
    let mut live = Live::begin(vec![timer(1, 90), timer(2, 7), timer(3, 30), local(1, TryCancel)]);
    assert_eq!(first_timer(&mut live), Some(Duration::from_secs(7)));
    live.run.handle_heartbeat_due();
    live.completes(&[CommandType::StartTimer; 3]);
    live.service.fire_timer("2");
    live.task();
    let cancel_timer = LangCommand::CancelTimer(CancelTimer { seq: 3 });
    live.activated(&["FireTimer"], vec![cancel_timer]);
    // The small service's clock goes a second an event: the task is at 1,010, the timer was started at 1,003.
    assert_eq!(first_timer(&mut live), Some(Duration::from_secs(90 - 7)));
    live.result(success(1));
    live.activated(&["1: result of 1"], vec![complete_workflow()]);
    live.completes(&[CommandType::CancelTimer, MARKER, END]);
    live.replays();
}
