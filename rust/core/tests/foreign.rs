//! Histories that another SDK recorded.

mod support;

use support::*;
use temporalio_protos::temporal::api::sdk::v1::WorkflowTaskCompletedMetadata;

fn recorded_by(name: &str) -> Service {
    let mut service = Service::new();
    service.start_task();
    service.add_completed(Some(WorkflowTaskCompletedMetadata { sdk_name: name.to_owned(), ..Default::default() }));
    service
}

#[test]
fn the_commands_of_a_task_may_stand_in_another_order() {
    let mut service = recorded_by("temporal-python");
    service.timer_started("1");
    service.activity_scheduled("1", "charge");
    service.timer_started("2");
    service.signal("go");
    service.start_task();
    let mut run = replayer();
    run.handle_task(service.replay_task());
    let first = next_activation(&mut run);
    assert_eq!(first.available_internal_flags, [1 << 30], "our language side is told of that SDK's order");
    run.handle_completion(completion(vec![schedule_activity(1, "charge"), start_timer(2), start_timer(1)]));
    assert_eq!(names(&next_activation(&mut run)), ["SignalWorkflow"]);
}

#[test]
fn each_event_still_needs_its_command() {
    let mut service = recorded_by("temporal-python");
    service.timer_started("1");
    service.activity_scheduled("1", "charge");
    service.signal("go");
    service.start_task();
    for commands in [
        vec![schedule_activity(1, "ship"), start_timer(1)],
        vec![start_timer(1)],
        vec![start_timer(1), schedule_activity(1, "charge"), start_timer(2)],
    ] {
        let mut run = replayer();
        run.handle_task(service.replay_task());
        next_activation(&mut run);
        run.handle_completion(completion(commands));
        assert!(expect_eviction(&mut run).contains("nondeterminism"));
    }
}

#[test]
fn our_own_order_is_ours() {
    let mut service = recorded_by("durable-anyio");
    service.timer_started("1");
    service.activity_scheduled("1", "charge");
    service.signal("go");
    service.start_task();
    let mut run = replayer();
    run.handle_task(service.replay_task());
    assert!(next_activation(&mut run).available_internal_flags.is_empty());
    run.handle_completion(completion(vec![schedule_activity(1, "charge"), start_timer(1)]));
    assert!(expect_eviction(&mut run).contains("nondeterminism"));
}
