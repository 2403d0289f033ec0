//! Replay: histories against code that does the same, and against code that does not.

mod support;

use durable_core::Output;
use support::*;
use temporalio_protos::{
    coresdk::{
        workflow_activation::workflow_activation_job::Variant as Job,
        workflow_commands::{CancelTimer, workflow_command::Variant as LangCommand},
        workflow_completion::{self, WorkflowActivationCompletion, workflow_activation_completion::Status as CompletionStatus},
    },
    temporal::api::{
        enums::v1::{EventType, WorkflowTaskFailedCause},
        failure::v1::Failure,
    },
};

/// One timer, then one activity, then the end.
fn recorded() -> Service {
    let mut service = Service::new();
    service.start_task();
    service.add_completed(None);
    service.timer_started("1");
    service.fire_timer("1");
    service.start_task();
    service.add_completed(None);
    service.activity_scheduled("1", "charge");
    service.complete_activity("1");
    service.start_task();
    service.add_completed(None);
    service.completed();
    service
}

#[test]
fn code_that_does_the_same_replays() {
    let service = recorded();
    let mut run = replayer();
    run.handle_task(service.replay_task());
    for (expected, length, commands) in [
        ("InitializeWorkflow", 3, vec![start_timer(1)]),
        ("FireTimer", 8, vec![schedule_activity(1, "charge")]),
        ("ResolveActivity", 14, vec![complete_workflow()]),
    ] {
        let activation = next_activation(&mut run);
        assert_eq!((names(&activation), activation.history_length), (vec![expected.to_owned()], length));
        assert!(activation.is_replaying);
        run.handle_completion(completion(commands));
    }
    assert!(run.is_idle() && run.poll().is_none());
    assert_eq!(run.statistics().last_processed_event_id, 16);
}

/// What a replay of `commands`, one list an activation, is evicted for.
fn fault(commands: Vec<Vec<LangCommand>>) -> String {
    let service = recorded();
    let mut run = replayer();
    run.handle_task(service.replay_task());
    for commands in commands {
        next_activation(&mut run);
        run.handle_completion(completion(commands));
    }
    expect_eviction(&mut run)
}

#[test]
fn code_that_does_something_else_is_told_where() {
    let message = fault(vec![vec![schedule_activity(1, "charge")]]);
    assert_eq!(
        message,
        "nondeterminism: event 5 is EVENT_TYPE_TIMER_STARTED, so that the command COMMAND_TYPE_START_TIMER was expected, \
         but the code gave COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK (activity '1' of type 'charge')\n\
         expected: StartTimer (timer 1)\n\
         actual: ScheduleActivityTask (activity '1' of type 'charge')\n\
         event: 5\n\
         command: 1"
    );
    let message = fault(vec![vec![start_timer(2)]]);
    assert!(message.contains("event 5") && message.contains("timer '1', the code's command about timer '2'"), "{message}");
    let message = fault(vec![vec![]]);
    assert!(message.contains("event 5 (EVENT_TYPE_TIMER_STARTED), for which the code gave no command"), "{message}");
    assert!(message.ends_with("\nexpected: StartTimer (timer 1)\nactual: no command\nevent: 5"), "{message}");
    let message = fault(vec![vec![start_timer(1), start_timer(2)]]);
    assert!(message.contains("COMMAND_TYPE_START_TIMER (timer 2), which the history does not have before event 6"), "{message}");
    assert!(message.ends_with("\nexpected: no command\nactual: StartTimer (timer 2)\nevent: 6\ncommand: 2"), "{message}");
    let message = fault(vec![vec![start_timer(1)], vec![LangCommand::CancelTimer(CancelTimer { seq: 9 })]]);
    assert!(message.contains("Timer(9), which it never started"), "{message}");
    let message = fault(vec![vec![start_timer(1)], vec![schedule_activity(1, "charge")], vec![start_timer(2)]]);
    assert!(message.contains("event 16 is EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED"), "{message}");
    assert!(message.ends_with("\nexpected: CompleteWorkflowExecution\nactual: StartTimer (timer 2)\nevent: 16\ncommand: 3"), "{message}");
}

#[test]
fn ids_are_checked_only_where_the_history_was_recorded_with_the_check() {
    let renamed = || vec![vec![start_timer(1)], vec![schedule_activity(1, "refund")]];
    let service = recorded();
    let mut lenient = replayer();
    lenient.handle_task(service.replay_task());
    for commands in renamed() {
        next_activation(&mut lenient);
        lenient.handle_completion(completion(commands));
    }
    assert_eq!(names(&next_activation(&mut lenient)), ["ResolveActivity"]);

    // Recorded live by this core, the same change is found.
    let mut service = Service::new();
    let mut live = run();
    let tasks = [vec![start_timer(1)], vec![schedule_activity(1, "charge")], vec![complete_workflow()]];
    for (step, commands) in tasks.into_iter().enumerate() {
        match step {
            1 => service.fire_timer("1"),
            2 => service.complete_activity("1"),
            _ => 0,
        };
        service.start_task();
        live.handle_task(service.sticky_task());
        next_activation(&mut live);
        live.handle_completion(completion(commands));
        service.complete_task(&next_complete(&mut live));
        live.handle_completed(0);
    }
    let mut strict = replayer();
    strict.handle_task(service.replay_task());
    for commands in renamed() {
        next_activation(&mut strict);
        strict.handle_completion(completion(commands));
    }
    let message = expect_eviction(&mut strict);
    assert!(message.contains("activity '1' of type 'charge', the code's command about activity '1' of type 'refund'"), "{message}");
}

#[test]
fn a_live_task_fails_with_the_cause() {
    let mut service = recorded();
    service.events.truncate(8);
    service.started_id = 8;
    let mut run = run();
    run.handle_task(service.task(0));
    next_activation(&mut run);
    run.handle_completion(completion(vec![]));
    assert!(matches!(jobs(&next_activation(&mut run)).as_slice(), [Job::RemoveFromCache(_)]));
    run.handle_completion(completion(vec![]));
    let Some(Output::Fail(request)) = run.poll() else { panic!("the task must fail") };
    assert_eq!(request.cause(), WorkflowTaskFailedCause::NonDeterministicError);
    assert!(request.failure.unwrap().message.contains("EVENT_TYPE_TIMER_STARTED"));
    assert!(matches!(run.poll(), Some(Output::Evicted)));
}

#[test]
fn the_code_may_say_where_it_differs() {
    let mut service = recorded();
    service.events.truncate(8);
    service.started_id = 8;
    let mut run = run();
    run.handle_task(service.task(0));
    next_activation(&mut run);
    run.handle_completion(completion(vec![]));
    next_activation(&mut run);
    let failure = Failure { message: "line 12 differs".to_owned(), ..Default::default() };
    let told = workflow_completion::Failure { failure: Some(failure.clone()), force_cause: 0 };
    let status = Some(CompletionStatus::Failed(told));
    run.handle_completion(WorkflowActivationCompletion { run_id: RUN_ID.to_owned(), status, ..Default::default() });
    let Some(Output::Fail(request)) = run.poll() else { panic!("the task must fail") };
    assert_eq!((request.cause(), request.failure), (WorkflowTaskFailedCause::NonDeterministicError, Some(failure)));
    assert!(matches!(run.poll(), Some(Output::Evicted)));
}

#[test]
fn failed_tasks_are_passed_over() {
    let mut service = Service::new();
    service.start_task();
    service.fail_task();
    service.signal("a");
    service.start_task();
    let mut run = run();
    run.handle_task(service.task(0));
    let activation = next_activation(&mut run);
    assert_eq!(names(&activation), ["InitializeWorkflow", "SignalWorkflow"]);
    assert_eq!((activation.history_length, activation.timestamp.map(|time| time.seconds)), (7, Some(1_007)));
    assert!(!activation.is_replaying);
}

#[test]
fn an_event_that_nobody_knows_is_no_difference() {
    for (event_type, told) in [(9_999, "event 5 is of type 9999"), (EventType::TimerStarted as i32, "event 5 (EVENT_TYPE_TIMER_STARTED)")] {
        let mut service = recorded();
        service.events[4].event_type = event_type;
        service.events[4].attributes = None;
        let mut run = run();
        run.handle_task(service.task(0));
        next_activation(&mut run);
        run.handle_completion(completion(vec![start_timer(1)]));
        let Some(Output::Fail(request)) = run.poll() else { panic!("the task must fail") };
        assert_eq!(request.cause(), WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure);
        assert!(request.failure.unwrap().message.starts_with(told));
    }
}

#[test]
fn an_event_that_workers_may_ignore_is_ignored() {
    let mut service = Service::new();
    service.start_task();
    service.add_completed(None);
    service.timer_started("1");
    let unknown = usize::try_from(service.signal("later")).unwrap() - 1;
    service.fire_timer("1");
    service.start_task();
    service.events[unknown].event_type = 9_999;
    service.events[unknown].attributes = None;
    service.events[unknown].worker_may_ignore = true;
    let mut run = replayer();
    run.handle_task(service.replay_task());
    next_activation(&mut run);
    run.handle_completion(completion(vec![start_timer(1)]));
    assert_eq!(names(&next_activation(&mut run)), ["FireTimer"]);
}

#[test]
fn an_event_of_a_command_after_the_end_is_a_difference() {
    let mut service = Service::new();
    service.start_task();
    service.add_completed(None);
    service.completed();
    service.timer_started("1");
    let mut run = replayer();
    run.handle_task(service.replay_task());
    next_activation(&mut run);
    run.handle_completion(completion(vec![complete_workflow()]));
    let message = expect_eviction(&mut run);
    assert!(message.contains("after the workflow's end"), "{message}");
}
