//! Random conversations: valid ones replay exactly, and no nonsense makes a panic.

mod support;

use durable_core::{EvictionReason, Output, Run};
use proptest::prelude::*;
use support::*;
use temporalio_protos::{
    coresdk::{
        workflow_activation::{WorkflowActivation, workflow_activation_job::Variant as Job},
        workflow_commands::{
            ActivityCancellationType, CancelTimer, RequestCancelActivity, ScheduleActivity, workflow_command::Variant as LangCommand,
        },
    },
    temporal::api::{
        command::v1::command::Attributes, history::v1::history_event::Attributes as Event,
        workflowservice::v1::RespondWorkflowTaskCompletedRequest,
    },
};

/// A small generator: the same choices for the same seed, here and in the shrunk case.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// Code whose commands are a function of the jobs it saw.
struct Code {
    dice: Dice,
    timers: Vec<u32>,
    activities: Vec<u32>,
    next: u32,
    seen: Vec<String>,
}

impl Code {
    fn new(seed: u64) -> Code {
        Code { dice: Dice(seed), timers: vec![], activities: vec![], next: 1, seen: vec![] }
    }

    fn answer(&mut self, activation: &WorkflowActivation, may_end: bool) -> Vec<LangCommand> {
        for job in jobs(activation) {
            match &job {
                Job::FireTimer(fired) => self.timers.retain(|seq| *seq != fired.seq),
                Job::ResolveActivity(resolved) => self.activities.retain(|seq| *seq != resolved.seq),
                _ => {}
            }
            self.seen.push(format!("{} {:?} {job:?}", activation.history_length, activation.timestamp));
        }
        let mut commands = Vec::new();
        for _ in 0..self.dice.roll(4) {
            let seq = self.next;
            match self.dice.roll(4) {
                0 => {
                    self.next += 1;
                    self.timers.push(seq);
                    commands.push(start_timer(seq));
                }
                1 => {
                    self.next += 1;
                    self.activities.push(seq);
                    let cancellation = [
                        ActivityCancellationType::TryCancel,
                        ActivityCancellationType::WaitCancellationCompleted,
                        ActivityCancellationType::Abandon,
                    ][self.dice.roll(3) as usize];
                    commands.push(LangCommand::ScheduleActivity(ScheduleActivity {
                        seq,
                        activity_id: seq.to_string(),
                        activity_type: "charge".to_owned(),
                        cancellation_type: cancellation as i32,
                        ..Default::default()
                    }));
                }
                2 if !self.timers.is_empty() => {
                    let seq = self.timers.remove(self.dice.roll(self.timers.len() as u64) as usize);
                    commands.push(LangCommand::CancelTimer(CancelTimer { seq }));
                }
                3 if !self.activities.is_empty() => {
                    let seq = self.activities[self.dice.roll(self.activities.len() as u64) as usize];
                    commands.push(LangCommand::RequestCancelActivity(RequestCancelActivity { seq }));
                }
                _ => {}
            }
        }
        if may_end && self.dice.roll(20) == 0 {
            commands.push(complete_workflow());
        }
        commands
    }
}

/// What is pending at the small service.
#[derive(Default)]
struct Pending {
    timers: Vec<String>,
    activities: Vec<String>,
    requested: Vec<String>,
}

impl Pending {
    fn take(&mut self, service: &Service, request: &RespondWorkflowTaskCompletedRequest) {
        for command in &request.commands {
            match command.attributes.clone().expect("attributes") {
                Attributes::StartTimerCommandAttributes(a) => self.timers.push(a.timer_id),
                Attributes::CancelTimerCommandAttributes(a) => self.timers.retain(|id| *id != a.timer_id),
                Attributes::ScheduleActivityTaskCommandAttributes(a) => self.activities.push(a.activity_id),
                Attributes::RequestCancelActivityTaskCommandAttributes(a) => {
                    let scheduled = &service.events[a.scheduled_event_id as usize - 1];
                    let id = match &scheduled.attributes {
                        Some(Event::ActivityTaskScheduledEventAttributes(a)) => a.activity_id.clone(),
                        other => panic!("a request to cancel {other:?}"),
                    };
                    self.requested.push(id);
                }
                _ => {}
            }
        }
    }

    /// Writes one thing that happened.
    fn happen(&mut self, service: &mut Service, dice: &mut Dice) {
        match dice.roll(3) {
            0 if !self.timers.is_empty() => {
                let id = self.timers.remove(dice.roll(self.timers.len() as u64) as usize);
                service.fire_timer(&id);
            }
            1 if !self.activities.is_empty() => {
                let id = self.activities.remove(dice.roll(self.activities.len() as u64) as usize);
                let was_requested = self.requested.contains(&id);
                match dice.roll(3) {
                    0 => service.fail_activity(&id),
                    1 if was_requested => service.cancel_activity(&id),
                    _ => service.complete_activity(&id),
                };
            }
            _ => {
                service.signal("poke");
            }
        }
    }
}

fn settle(run: &mut Run, code: &mut Code) -> Option<RespondWorkflowTaskCompletedRequest> {
    loop {
        match run.poll() {
            Some(Output::Activation(activation)) => {
                if let [Job::RemoveFromCache(eviction)] = jobs(&activation).as_slice() {
                    panic!("evicted: {}", eviction.message);
                }
                let commands = code.answer(&activation, true);
                run.handle_completion(completion(commands));
            }
            Some(Output::Complete(request)) => return Some(*request),
            None => return None,
            Some(Output::Fail(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Live with a cache, live without one, and a replay of the whole: the same jobs at the same places.
    #[test]
    fn valid_histories_replay(seed in any::<u64>(), tasks in 1..12_usize) {
        let (mut service, mut dice, mut pending) = (Service::new(), Dice(seed ^ 0xABCD), Pending::default());
        let (mut cached, mut code) = (run(), Code::new(seed));
        for _ in 0..tasks {
            // At least one, because a task without a cause is a heartbeat, which is not told to the code.
            for _ in 0..=dice.roll(3) {
                pending.happen(&mut service, &mut dice);
            }
            if dice.roll(6) == 0 {
                service.start_task();
                service.fail_task();
                // The service keeps nothing sticky after a failure.
                cached = run();
                code = Code::new(seed);
            }
            service.start_task();
            let is_cold = cached.statistics().activations == 0;
            cached.handle_task(if is_cold { service.task(0) } else { service.sticky_task() });
            let request = settle(&mut cached, &mut code).expect("a completion");

            let (mut cold, mut cold_code) = (run(), Code::new(seed));
            cold.handle_task(service.task(0));
            let cold_request = settle(&mut cold, &mut cold_code).expect("a completion");
            prop_assert_eq!(&code.seen, &cold_code.seen);
            prop_assert_eq!(&request.commands, &cold_request.commands);

            let is_end = |a: &Attributes| matches!(a, Attributes::CompleteWorkflowExecutionCommandAttributes(_));
            let ended = request.commands.iter().filter_map(|c| c.attributes.as_ref()).any(is_end);
            service.complete_task(&request);
            pending.take(&service, &request);
            cached.handle_completed(0);
            if ended {
                break;
            }
        }
        let (mut replay, mut replay_code) = (replayer(), Code::new(seed));
        replay.handle_task(service.replay_task());
        prop_assert!(settle(&mut replay, &mut replay_code).is_none());
        prop_assert!(replay.is_idle(), "the replay must reach its end");
        prop_assert_eq!(replay.statistics().last_processed_event_id, service.events.len() as i64);
        prop_assert_eq!(&code.seen, &replay_code.seen);
    }

    /// Histories that no service would write, answered by code that does not care, by a driver that mixes calls up.
    #[test]
    fn nonsense_is_no_panic(seed in any::<u64>(), steps in 1..40_usize) {
        let (mut service, mut dice) = (Service::new(), Dice(seed));
        for _ in 0..steps {
            let id = dice.roll(4).to_string();
            match dice.roll(15) {
                0 => { service.timer_started(&id); }
                1 => { service.fire_timer(&id); }
                2 => { service.activity_scheduled(&id, "charge"); }
                3 => { service.complete_activity(&id); }
                4 => { service.fail_activity(&id); }
                5 => { service.cancel_activity(&id); }
                6 => { service.signal("poke"); }
                7 => { service.request_cancel(); }
                8 => { service.completed(); }
                9 => service.fail_task(),
                10 => {
                    let broken = service.events.len();
                    service.events[broken - 1].event_type = dice.roll(70) as i32;
                }
                11 => {
                    let broken = service.events.len();
                    service.events[broken - 1].event_id = dice.roll(20) as i64;
                }
                12 => { service.add_completed(None); }
                _ => { service.start_task(); }
            }
        }
        let (mut run, mut code) = (run(), Code::new(seed));
        for _ in 0..20 {
            match dice.roll(6) {
                0 => run.handle_completion(completion(vec![start_timer(dice.roll(5) as u32)])),
                1 => run.handle_completed(dice.roll(3) as i64),
                2 => run.handle_refused("no"),
                3 if dice.roll(4) == 0 => run.handle_evict(EvictionReason::CacheFull, "full"),
                4 => run.handle_history(service.events.clone()),
                _ => {
                    let mut task = service.task(dice.roll(4) as i64);
                    task.previous_started_event_id = dice.roll(20) as i64;
                    run.handle_task(task);
                }
            }
            for _ in 0..50 {
                match run.poll() {
                    Some(Output::Activation(activation)) => {
                        let commands = code.answer(&activation, true);
                        run.handle_completion(completion(commands));
                    }
                    Some(_) => {}
                    None => break,
                }
            }
            prop_assert!(run.poll().is_none(), "the run must come to rest");
        }
    }
}
