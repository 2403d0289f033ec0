//! One schedule through its life, with time as an argument.

use temporalio_protos::temporal::api::{
    common::v1::WorkflowExecution,
    enums::v1::{ScheduleOverlapPolicy as Policy, WorkflowExecutionStatus as Status},
    failure::v1::Failure,
    schedule::v1::{
        BackfillRequest, Schedule as Definition, SchedulePatch, SchedulePolicies, ScheduleSpec, ScheduleState, TriggerImmediatelyRequest,
    },
};

use crate::{
    schedules::{
        overlap::{Decision, End, decide},
        record::BufferedStart,
        schedule::{Closed, Schedule},
        spec::canonical,
    },
    state::time::{Nanos, SECOND, duration, timestamp},
};

/// A full minute.
const T: Nanos = 1_700_000_040 * SECOND;
const MINUTE: Nanos = 60 * SECOND;

fn definition(policies: SchedulePolicies, state: ScheduleState) -> Definition {
    let spec = ScheduleSpec { cron_string: vec!["@every 1m".into()], ..Default::default() };
    Definition { spec: canonical(spec).ok(), policies: Some(policies), state: Some(state), ..Default::default() }
}

fn schedule(policies: SchedulePolicies, state: ScheduleState) -> Schedule {
    Schedule::new("s".into(), "default", definition(policies, state), T).expect("a spec")
}

fn policy(policy: Policy) -> SchedulePolicies {
    SchedulePolicies { overlap_policy: policy as i32, ..Default::default() }
}

/// What the driver does, with workflows that run until they are told to end; answers the minutes of what started.
fn run(schedule: &mut Schedule, now: Nanos) -> Vec<Nanos> {
    schedule.advance(now);
    let mut started = Vec::new();
    while let Some(decision) = schedule.poll_decision() {
        let alone = decision.alone.into_iter().map(|start| (start, true));
        for (start, alone) in decision.beside.into_iter().map(|start| (start, false)).chain(alone) {
            if schedule.take_action(start.manual) {
                let execution = WorkflowExecution { workflow_id: start.nominal.to_string(), run_id: "run".into() };
                schedule.handle_started(now, &start, execution, alone);
                started.push((start.nominal - T) / MINUTE);
            }
        }
        if decision.end.is_some() {
            break;
        }
    }
    started
}

fn close(schedule: &mut Schedule, minute: Nanos, status: Status) {
    let failure = (status == Status::Failed).then(|| Failure { message: "it broke".into(), ..Default::default() });
    schedule.handle_closed(&(T + minute * MINUTE).to_string(), Closed { status, result: None, failure });
}

fn backfill(from: Nanos, until: Nanos, policy: Policy) -> SchedulePatch {
    let request = BackfillRequest {
        start_time: Some(timestamp(T + from * MINUTE)),
        end_time: Some(timestamp(T + until * MINUTE)),
        overlap_policy: policy as i32,
    };
    SchedulePatch { backfill_request: vec![request], ..Default::default() }
}

#[test]
fn it_acts_when_its_time_comes_and_not_before() {
    let mut schedule = schedule(policy(Policy::AllowAll), ScheduleState::default());
    assert_eq!(schedule.next_deadline(), Some(T + MINUTE));
    assert!(run(&mut schedule, T + MINUTE - 1).is_empty());
    assert_eq!(run(&mut schedule, T + MINUTE), [1]);
    assert!(run(&mut schedule, T + MINUTE).is_empty());
    assert_eq!(schedule.next_deadline(), Some(T + 2 * MINUTE));
    assert_eq!(schedule.future_times(3), [2, 3, 4].map(|minute| T + minute * MINUTE));
}

#[test]
fn what_was_missed_is_made_up_for_within_the_window() {
    let policies = SchedulePolicies { catchup_window: Some(duration(3 * MINUTE)), ..policy(Policy::AllowAll) };
    let mut schedule = schedule(policies, ScheduleState::default());
    assert_eq!(run(&mut schedule, T + 10 * MINUTE + SECOND), [8, 9, 10]);
    assert_eq!(schedule.record.info.missed_catchup_window, 7);
    // Counted once.
    assert_eq!(run(&mut schedule, T + 11 * MINUTE), [11]);
    assert_eq!(schedule.record.info.missed_catchup_window, 7);
}

#[test]
fn the_window_has_a_least_and_a_default_length() {
    let window = |given| {
        let schedule = schedule(SchedulePolicies { catchup_window: given, ..Default::default() }, ScheduleState::default());
        schedule.record.schedule.policies.and_then(|policies| policies.catchup_window).map_or(0, |window| window.seconds)
    };
    assert_eq!(window(None), 365 * 24 * 3600);
    assert_eq!(window(Some(duration(0))), 10);
    assert_eq!(window(Some(duration(11 * SECOND))), 11);
}

#[test]
fn a_long_absence_is_worked_off_in_pieces() {
    let mut schedule = schedule(policy(Policy::AllowAll), ScheduleState::default());
    let now = T + 250 * MINUTE;
    let mut pieces = Vec::new();
    while schedule.next_deadline().is_some_and(|at| at <= now) {
        pieces.push(run(&mut schedule, now).len());
    }
    assert_eq!(pieces, [100, 100, 50]);
    assert_eq!(schedule.record.info.action_count, 250);
    assert_eq!(schedule.record.info.recent_actions.len(), 10);
}

#[test]
fn a_pause_is_not_made_up_for() {
    let mut schedule = schedule(policy(Policy::AllowAll), ScheduleState { paused: true, ..Default::default() });
    assert_eq!(schedule.next_deadline(), None);
    assert!(run(&mut schedule, T + 5 * MINUTE).is_empty());
    schedule.handle_patch(T + 5 * MINUTE, SchedulePatch { unpause: "go on".into(), ..Default::default() });
    assert_eq!(run(&mut schedule, T + 6 * MINUTE), [6]);
    schedule.advance(T + 7 * MINUTE);
    schedule.handle_patch(T + 7 * MINUTE, SchedulePatch { pause: "stop".into(), ..Default::default() });
    assert!(run(&mut schedule, T + 7 * MINUTE).is_empty(), "what is buffered is dropped by a pause");
    assert_eq!(schedule.record.conflict_token, 3);
    let trigger = SchedulePatch { trigger_immediately: Some(TriggerImmediatelyRequest::default()), ..Default::default() };
    schedule.handle_patch(T + 8 * MINUTE, trigger);
    assert_eq!(run(&mut schedule, T + 8 * MINUTE), [8], "a trigger does not mind");
}

#[test]
fn limited_actions_run_out() {
    let limited = ScheduleState { limited_actions: true, remaining_actions: 2, ..Default::default() };
    let mut schedule = schedule(policy(Policy::AllowAll), limited);
    assert_eq!(schedule.future_times(10).len(), 2);
    assert_eq!(run(&mut schedule, T + 5 * MINUTE), [1, 2]);
    assert_eq!(schedule.next_deadline(), None);
    assert!(schedule.future_times(10).is_empty());
    let expiration = schedule.next_expiration().expect("it is over");
    assert_eq!(expiration, T + 5 * MINUTE + 7 * 24 * 60 * MINUTE);
}

#[test]
fn an_update_counts_from_now_and_keeps_what_jitter_put_off() {
    let mut schedule = schedule(policy(Policy::AllowAll), ScheduleState::default());
    assert_eq!(run(&mut schedule, T + 2 * MINUTE), [1, 2]);
    let mut jittered = definition(policy(Policy::AllowAll), ScheduleState::default());
    if let Some(spec) = jittered.spec.as_mut() {
        spec.jitter = Some(duration(MINUTE));
    }
    let now = T + 9 * MINUTE + 30 * SECOND;
    schedule.handle_update(now, jittered).expect("a spec");
    assert!(run(&mut schedule, now).is_empty(), "nothing of the time before the update");
    let next = schedule.next_deadline().expect("a time");
    assert!(next > now && next < T + 11 * MINUTE);
    assert_eq!(schedule.record.info.update_time, Some(timestamp(now)));
}

#[test]
fn backfills_include_their_edges_and_fill_half_the_buffer() {
    let mut schedule = schedule(policy(Policy::Skip), ScheduleState { paused: true, ..Default::default() });
    schedule.handle_patch(T, backfill(-3, -1, Policy::AllowAll));
    assert_eq!(run(&mut schedule, T), [-3, -2, -1]);
    schedule.handle_patch(T, backfill(-2000, -1, Policy::BufferAll));
    for _ in 0..20 {
        run(&mut schedule, T);
    }
    assert_eq!(schedule.record.buffer.len(), 500);
    assert_eq!(schedule.next_deadline(), None, "it waits for the workflow that runs");
    close(&mut schedule, -2000, Status::Completed);
    assert_eq!(run(&mut schedule, T), [-1999]);
    assert_eq!(schedule.record.info.buffer_dropped, 0);
}

#[test]
fn a_failure_pauses_if_it_is_to() {
    let policies = SchedulePolicies { pause_on_failure: true, ..policy(Policy::BufferAll) };
    let mut schedule = schedule(policies, ScheduleState::default());
    assert_eq!(run(&mut schedule, T + MINUTE), [1]);
    close(&mut schedule, 1, Status::Canceled);
    assert_eq!(run(&mut schedule, T + 2 * MINUTE), [2]);
    close(&mut schedule, 2, Status::Failed);
    let state = schedule.record.schedule.state.clone().unwrap_or_default();
    assert!(state.paused);
    assert_eq!(state.notes, format!("paused due to workflow failure: {}: it broke", T + 2 * MINUTE));
    assert!(schedule.record.continued_failure.is_some());
    let statuses: Vec<i32> = schedule.record.info.recent_actions.iter().map(|action| action.start_workflow_status).collect();
    assert_eq!(statuses, [Status::Canceled as i32, Status::Failed as i32]);
}

#[test]
fn a_request_is_known_again() {
    let mut schedule = schedule(policy(Policy::Skip), ScheduleState::default());
    assert!(!schedule.knows_request("a") && schedule.knows_request("a"));
    assert!(!schedule.knows_request("") && !schedule.knows_request(""));
}

fn start(nominal: Nanos, policy: Policy) -> BufferedStart {
    BufferedStart { nominal, at: nominal, overlap_policy: policy as i32, manual: false }
}

fn decided(policy: Policy, count: Nanos, is_running: bool) -> Decision {
    decide((1..=count).map(|nominal| start(nominal, policy)).collect(), is_running, |policy| Policy::try_from(policy).unwrap_or_default())
}

#[test]
fn every_policy_with_something_running_and_without() {
    type Row = (Policy, bool, &'static [Nanos], Option<Nanos>, &'static [Nanos], i64, Option<End>);
    let table: [Row; 12] = [
        (Policy::Skip, false, &[], Some(1), &[], 2, None),
        (Policy::Skip, true, &[], None, &[], 3, None),
        (Policy::BufferOne, false, &[], Some(1), &[2], 1, None),
        (Policy::BufferOne, true, &[], None, &[1], 2, None),
        (Policy::BufferAll, false, &[], Some(1), &[2, 3], 0, None),
        (Policy::BufferAll, true, &[], None, &[1, 2, 3], 0, None),
        (Policy::CancelOther, false, &[], Some(3), &[], 0, None),
        (Policy::CancelOther, true, &[], None, &[1, 2, 3], 0, Some(End::Cancel)),
        (Policy::TerminateOther, false, &[], Some(3), &[], 0, None),
        (Policy::TerminateOther, true, &[], None, &[1, 2, 3], 0, Some(End::Terminate)),
        (Policy::AllowAll, false, &[1, 2, 3], None, &[], 0, None),
        (Policy::AllowAll, true, &[1, 2, 3], None, &[], 0, None),
    ];
    for (policy, is_running, beside, alone, kept, skipped, end) in table {
        let nominal = |starts: &[BufferedStart]| starts.iter().map(|start| start.nominal).collect::<Vec<_>>();
        let decision = decided(policy, 3, is_running);
        assert_eq!(nominal(&decision.beside), beside, "{policy:?} {is_running}");
        assert_eq!(decision.alone.map(|start| start.nominal), alone, "{policy:?} {is_running}");
        assert_eq!(nominal(&decision.kept), kept, "{policy:?} {is_running}");
        assert_eq!((decision.skipped, decision.end), (skipped, end), "{policy:?} {is_running}");
    }
}

#[test]
fn terminating_outdoes_cancelling_and_nothing_starts_beside_it() {
    let waiting = vec![start(1, Policy::TerminateOther), start(2, Policy::CancelOther), start(3, Policy::AllowAll)];
    let decision = decide(waiting, true, |policy| Policy::try_from(policy).unwrap_or_default());
    assert_eq!((decision.end, decision.beside.len(), decision.kept.len()), (Some(End::Terminate), 0, 2));
}
