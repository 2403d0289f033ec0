//! The conversation of a run with its driver: live tasks, queries, failures, evictions.

mod support;

use durable_core::{EvictionReason, Output};
use support::*;
use temporalio_protos::{
    coresdk::{
        workflow_activation::workflow_activation_job::Variant as Job,
        workflow_commands::{
            CancelTimer, ContinueAsNewWorkflowExecution, RequestCancelActivity, WorkflowCommand, workflow_command::Variant as LangCommand,
        },
        workflow_completion::{Failure, WorkflowActivationCompletion, workflow_activation_completion::Status},
    },
    temporal::api::{
        enums::v1::{CommandType, QueryResultType, WorkflowTaskFailedCause},
        history::v1::history_event::Attributes,
        query::v1::WorkflowQuery,
        workflowservice::v1::RespondWorkflowTaskCompletedRequest,
    },
};

fn kinds(request: &RespondWorkflowTaskCompletedRequest) -> Vec<CommandType> {
    request.commands.iter().map(|command| command.command_type()).collect()
}

/// A run whose first task was completed with these commands.
fn begun(service: &mut Service, commands: Vec<LangCommand>) -> durable_core::Run {
    let mut run = run();
    service.start_task();
    run.handle_task(service.task(0));
    assert_eq!(names(&next_activation(&mut run)), ["InitializeWorkflow"]);
    run.handle_completion(completion(commands));
    let request = next_complete(&mut run);
    service.complete_task(&request);
    run.handle_completed(0);
    run
}

#[test]
fn a_first_task() {
    let mut service = Service::new();
    let mut run = run();
    assert!(run.is_idle());
    service.start_task();
    run.handle_task(service.task(0));
    let activation = next_activation(&mut run);
    assert_eq!((activation.history_length, activation.is_replaying), (3, false));
    assert_eq!(activation.timestamp.map(|time| time.seconds), Some(1_003));
    let jobs = jobs(&activation);
    let [Job::InitializeWorkflow(start)] = jobs.as_slice() else { panic!("expected a start, got {jobs:?}") };
    assert_eq!((start.workflow_id.as_str(), start.workflow_type.as_str()), ("order-7", "Checkout"));
    assert_ne!(start.randomness_seed, 0);
    run.handle_completion(completion(vec![start_timer(1), schedule_activity(1, "charge")]));
    let request = next_complete(&mut run);
    assert_eq!(kinds(&request), [CommandType::StartTimer, CommandType::ScheduleActivityTask]);
    let sticky = request.sticky_attributes.expect("sticky");
    assert_eq!(sticky.schedule_to_start_timeout.map(|d| (d.seconds, d.nanos)), Some((10, 500_000_000)));
    assert!(request.return_new_workflow_task);
    let metadata = request.sdk_metadata.expect("metadata");
    assert_eq!((metadata.sdk_name.as_str(), metadata.core_used_flags), ("durable-anyio", vec![1, 3]));
    assert!(!run.is_idle());
    run.handle_completed(0);
    assert!(run.is_idle() && run.poll().is_none());
}

#[test]
fn jobs_of_one_task_are_ordered() {
    let mut service = Service::new();
    let mut run = begun(&mut service, vec![start_timer(1), schedule_activity(1, "charge")]);
    service.fire_timer("1");
    service.signal("a");
    service.complete_activity("1");
    service.request_cancel();
    service.signal("b");
    service.start_task();
    run.handle_task(service.sticky_task());
    let activation = next_activation(&mut run);
    assert_eq!(names(&activation), ["SignalWorkflow", "SignalWorkflow", "FireTimer", "ResolveActivity", "CancelWorkflow"]);
    assert!(!activation.is_replaying);
    run.handle_completion(completion(vec![complete_workflow()]));
    let request = next_complete(&mut run);
    assert_eq!(kinds(&request), [CommandType::CompleteWorkflowExecution]);
    assert_eq!(request.sdk_metadata.expect("metadata").core_used_flags, Vec::<u32>::new());
    run.handle_completed(0);
    expect_eviction(&mut run);
}

#[test]
fn what_is_cancelled_before_it_was_sent_is_not_sent() {
    let mut service = Service::new();
    service.start_task();
    let mut run = run();
    run.handle_task(service.task(0));
    next_activation(&mut run);
    run.handle_completion(completion(vec![
        start_timer(1),
        schedule_activity(1, "charge"),
        start_timer(2),
        LangCommand::CancelTimer(CancelTimer { seq: 1 }),
        LangCommand::RequestCancelActivity(RequestCancelActivity { seq: 1 }),
    ]));
    // The cancelled activity is told in a further activation of the same task.
    assert_eq!(names(&next_activation(&mut run)), ["ResolveActivity"]);
    run.handle_completion(completion(vec![start_timer(3)]));
    let request = next_complete(&mut run);
    assert_eq!(kinds(&request), [CommandType::StartTimer, CommandType::StartTimer]);
}

#[test]
fn the_end_goes_last_and_only_once() {
    let mut service = Service::new();
    service.start_task();
    let mut run = run();
    run.handle_task(service.task(0));
    next_activation(&mut run);
    let again = LangCommand::ContinueAsNewWorkflowExecution(ContinueAsNewWorkflowExecution::default());
    run.handle_completion(completion(vec![complete_workflow(), start_timer(1), again]));
    assert_eq!(kinds(&next_complete(&mut run)), [CommandType::StartTimer, CommandType::CompleteWorkflowExecution]);
}

#[test]
fn queries_follow_the_task_and_are_answered_with_it() {
    let mut service = Service::new();
    service.start_task();
    let mut task = service.task(0);
    for id in ["q2", "q1"] {
        task.queries.insert(id.to_owned(), WorkflowQuery { query_type: "status".to_owned(), ..Default::default() });
    }
    let mut run = run();
    run.handle_task(task);
    assert_eq!(names(&next_activation(&mut run)), ["InitializeWorkflow"]);
    run.handle_completion(completion(vec![start_timer(1)]));
    let activation = next_activation(&mut run);
    assert_eq!(names(&activation), ["QueryWorkflow", "QueryWorkflow"]);
    assert!(activation.is_replaying);
    run.handle_completion(completion(vec![answer("q1")]));
    let request = next_complete(&mut run);
    assert_eq!(kinds(&request), [CommandType::StartTimer]);
    assert_eq!(request.query_results["q1"].result_type(), QueryResultType::Answered);
    assert_eq!(request.query_results["q2"].result_type(), QueryResultType::Failed);
}

#[test]
fn an_old_query_is_answered_without_a_completion() {
    let mut service = Service::new();
    let mut cached = begun(&mut service, vec![start_timer(1)]);
    let query = Some(WorkflowQuery { query_type: "status".to_owned(), ..Default::default() });
    let mut task = service.task(0);
    task.query = query;
    task.previous_started_event_id = service.started_id;
    task.started_event_id = 0;
    // Cached: nothing to replay. Not cached: fetched and replayed first.
    let mut empty = task.clone();
    empty.history = None;
    cached.handle_task(empty.clone());
    let mut fresh = run();
    fresh.handle_task(empty);
    assert!(matches!(fresh.poll(), Some(Output::NeedHistory)));
    fresh.handle_history(service.events.clone());
    let activation = next_activation(&mut fresh);
    assert!(activation.is_replaying);
    fresh.handle_completion(completion(vec![start_timer(1)]));
    for run in [&mut cached, &mut fresh] {
        assert_eq!(names(&next_activation(run)), ["QueryWorkflow"]);
        run.handle_completion(completion(vec![answer("legacy_query")]));
        assert!(matches!(run.poll(), Some(Output::AnswerQuery(answer)) if answer.completed_type() == QueryResultType::Answered));
        assert!(run.is_idle() && run.poll().is_none());
    }
    // Both go on with the next real task.
    service.fire_timer("1");
    service.start_task();
    for run in [&mut cached, &mut fresh] {
        run.handle_task(service.sticky_task());
        assert_eq!(names(&next_activation(run)), ["FireTimer"]);
    }
}

#[test]
fn a_gap_needs_the_whole_history() {
    let mut service = Service::new();
    begun(&mut service, vec![start_timer(1)]);
    service.fire_timer("1");
    service.start_task();
    let mut run = run();
    run.handle_task(service.sticky_task());
    assert!(matches!(run.poll(), Some(Output::NeedHistory)));
    run.handle_history(service.events[..5].to_vec());
    let activation = next_activation(&mut run);
    assert_eq!((names(&activation), activation.is_replaying), (vec!["InitializeWorkflow".to_owned()], true));
    run.handle_completion(completion(vec![start_timer(1)]));
    let activation = next_activation(&mut run);
    assert_eq!((names(&activation), activation.is_replaying), (vec!["FireTimer".to_owned()], false));
    // Given up instead:
    let mut other = support::run();
    other.handle_task(service.sticky_task());
    other.poll();
    other.handle_evict(EvictionReason::Fatal, "no connection");
    assert!(matches!(other.poll(), Some(Output::Fail(_))));
    expect_eviction(&mut other);
}

#[test]
fn failures_of_the_code_are_reported_and_evict() {
    let mut service = Service::new();
    service.start_task();
    let mut run = run();
    run.handle_task(service.task(0));
    next_activation(&mut run);
    run.handle_completion(WorkflowActivationCompletion {
        run_id: RUN_ID.to_owned(),
        status: Some(Status::Failed(Failure { failure: None, force_cause: WorkflowTaskFailedCause::NonDeterministicError as i32 })),
        ..Default::default()
    });
    assert!(matches!(run.poll(), Some(Output::Fail(request)) if request.cause() == WorkflowTaskFailedCause::NonDeterministicError));
    expect_eviction(&mut run);
}

#[test]
fn what_is_not_supported_fails_the_task() {
    let mut service = Service::new();
    service.start_task();
    let mut run = run();
    run.handle_task(service.task(0));
    next_activation(&mut run);
    // Every command of today is known; one that only a later version has comes without a kind.
    let mut given = completion(vec![]);
    if let Some(Status::Successful(success)) = &mut given.status {
        success.commands.push(WorkflowCommand::default());
    }
    run.handle_completion(given);
    let Some(Output::Fail(request)) = run.poll() else { panic!("the task must fail") };
    assert_eq!(request.cause(), WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure);
    assert!(expect_eviction(&mut run).contains("command"));
}

#[test]
fn a_refused_completion_evicts() {
    let mut service = Service::new();
    service.start_task();
    let mut run = run();
    run.handle_task(service.task(0));
    next_activation(&mut run);
    run.handle_completion(completion(vec![]));
    next_complete(&mut run);
    run.handle_refused("UnhandledCommand");
    assert!(expect_eviction(&mut run).contains("UnhandledCommand"));
}

#[test]
fn eviction_waits_for_what_is_open() {
    let mut service = Service::new();
    service.start_task();
    let mut run = run();
    run.handle_task(service.task(0));
    run.handle_evict(EvictionReason::CacheFull, "full");
    next_activation(&mut run);
    assert!(run.poll().is_none());
    run.handle_completion(completion(vec![start_timer(1)]));
    next_complete(&mut run);
    assert!(run.poll().is_none());
    run.handle_completed(0);
    assert_eq!(expect_eviction(&mut run), "full");
    run.handle_evict(EvictionReason::CacheFull, "again");
    run.handle_completion(completion(vec![]));
    assert!(run.poll().is_none());
}

#[test]
fn a_broken_contract_is_no_panic() {
    let mut idle = run();
    idle.handle_completion(completion(vec![]));
    expect_eviction(&mut idle);

    let mut service = Service::new();
    service.start_task();
    let mut busy = run();
    busy.handle_task(service.task(0));
    next_activation(&mut busy);
    busy.handle_task(service.task(0));
    assert!(matches!(busy.poll(), Some(Output::Fail(_))));
    let other = WorkflowActivationCompletion { run_id: "another".to_owned(), ..completion(vec![]) };
    busy.handle_completion(other);
    assert!(matches!(busy.poll(), Some(Output::Fail(_))));
    busy.handle_completion(completion(vec![start_timer(1)]));
    assert!(expect_eviction(&mut busy).contains("run 'another'"));
}

#[test]
fn a_history_that_ends_before_its_task_is_fetched_whole() {
    let mut service = Service::new();
    let mut run = begun(&mut service, vec![start_timer(1)]);
    service.signal("first");
    service.signal("second");
    service.start_task();
    let mut task = service.sticky_task();
    task.history.as_mut().unwrap().events.truncate(3);
    run.handle_task(task);
    assert!(matches!(run.poll(), Some(Output::NeedHistory)));
    run.handle_history(service.events.clone());
    assert_eq!(names(&next_activation(&mut run)), ["SignalWorkflow", "SignalWorkflow"]);
}

#[test]
fn a_history_that_stays_incomplete_fails_its_task() {
    let mut service = Service::new();
    service.start_task();
    service.add_completed(None);
    service.signal("lost");
    service.start_task();
    let mut run = run();
    let mut task = service.task(0);
    task.history.as_mut().unwrap().events.truncate(4);
    run.handle_task(task);
    assert!(matches!(run.poll(), Some(Output::NeedHistory)));
    run.handle_history(service.events[..5].to_vec());
    let Some(Output::Fail(request)) = run.poll() else { panic!("expected a failure") };
    assert_eq!(request.cause(), WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure);
    let message = request.failure.unwrap().message;
    assert!(message.contains("incomplete: the task was started by event 7, and the service gave no event after 5"), "{message}");
    assert!(expect_eviction(&mut run).contains("incomplete"));
}

#[test]
fn a_history_of_another_workflow_fails_its_task() {
    let mut service = Service::new();
    service.start_task();
    let mut task = service.task(0);
    let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) = &mut task.history.as_mut().unwrap().events[0].attributes
    else {
        panic!("no start")
    };
    started.workflow_id = "order-8".to_owned();
    let mut run = run();
    run.handle_task(task);
    let Some(Output::Fail(request)) = run.poll() else { panic!("expected a failure") };
    let message = request.failure.unwrap().message;
    assert!(message.contains("another workflow: it is of \"order-8\", the task of \"order-7\""), "{message}");
}
