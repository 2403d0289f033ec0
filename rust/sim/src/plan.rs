//! What a simulated workflow does: stages one after the other, in each some things at once. It follows from the numbers in its input, and
//! how far it is follows from its history, so that a worker needs nothing but the history.

use std::collections::{BTreeMap, BTreeSet};

use temporalio_protos::temporal::api::{
    command::v1::{
        CancelWorkflowExecutionCommandAttributes, CompleteWorkflowExecutionCommandAttributes,
        ContinueAsNewWorkflowExecutionCommandAttributes, FailWorkflowExecutionCommandAttributes, RecordMarkerCommandAttributes,
        ScheduleActivityTaskCommandAttributes, SignalExternalWorkflowExecutionCommandAttributes,
        StartChildWorkflowExecutionCommandAttributes, StartTimerCommandAttributes, command::Attributes,
    },
    common::v1::{ActivityType, Payload, Payloads, RetryPolicy, WorkflowExecution, WorkflowType},
    failure::v1::{ApplicationFailureInfo, Failure, failure::FailureInfo},
    history::v1::{HistoryEvent, history_event::Attributes as Event},
    taskqueue::v1::TaskQueue,
};

use crate::chance::Chance;

pub const QUEUE: &str = "q";
pub const TYPE: &str = "W";
/// Children of children have no children.
const MAX_DEPTH: u32 = 2;
const MAX_AGAIN: u32 = 2;

/// A workflow's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    pub seed: u64,
    pub depth: u32,
    /// How often it has continued as new.
    pub again: u32,
}

impl Input {
    pub fn encode(self) -> Option<Payloads> {
        text(&format!("{} {} {}", self.seed, self.depth, self.again))
    }

    fn decode(payloads: &Option<Payloads>) -> Option<Input> {
        let data = &payloads.as_ref()?.payloads.first()?.data;
        let mut words = std::str::from_utf8(data).ok()?.trim_matches('"').split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        Some(Input { seed: number()?, depth: number()? as u32, again: number()? as u32 })
    }
}

/// One JSON text. A payload has one entry of metadata: maps of more are encoded in any order.
pub fn text(text: &str) -> Option<Payloads> {
    let metadata = [("encoding".to_owned(), b"json/plain".to_vec())].into();
    Some(Payloads { payloads: vec![Payload { metadata, data: format!("\"{text}\"").into_bytes(), ..Default::default() }] })
}

pub fn queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue { name: name.into(), ..Default::default() })
}

pub fn milliseconds(length: u64) -> Option<prost_wkt_types::Duration> {
    Some(prost_wkt_types::Duration { seconds: (length / 1000) as i64, nanos: (length % 1000 * 1_000_000) as i32 })
}

pub fn failure(message: &str) -> Option<Failure> {
    let info = FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo::default());
    Some(Failure { message: message.into(), failure_info: Some(info), ..Default::default() })
}

#[derive(Clone, Debug)]
enum Step {
    /// Fails so often before it succeeds.
    Activity(u32),
    Timer(u64),
    Child(u64),
    /// Waits for a signal of this stage's name.
    Signal,
    /// Signals another workflow, which may not be there.
    Tell(usize),
    Marker,
}

#[derive(Clone, Debug)]
enum End {
    Complete,
    Fail,
    Again,
}

fn plan(input: Input) -> (Vec<Vec<Step>>, End) {
    let mut chance = Chance::new(input.seed.wrapping_add(u64::from(input.again)));
    let stages = (0..1 + chance.below(3)).map(|_| (0..1 + chance.below(3)).map(|_| step(&mut chance, input.depth)).collect()).collect();
    let end = match chance.below(10) {
        0 => End::Fail,
        1 | 2 if input.again < MAX_AGAIN => End::Again,
        _ => End::Complete,
    };
    (stages, end)
}

fn step(chance: &mut Chance, depth: u32) -> Step {
    match chance.below(12) {
        0..=3 => Step::Activity([0, 0, 1, 2][chance.below(4)]),
        4..=6 => Step::Timer(1 + chance.below(20_000) as u64),
        7 if depth < MAX_DEPTH => Step::Child(chance.number() % 1_000_000),
        8 => Step::Tell(chance.below(50)),
        9 => Step::Marker,
        _ => Step::Signal,
    }
}

/// The name of the workflow that the client starts as number `index`.
pub fn workflow_id(index: usize) -> String {
    format!("w{index}")
}

/// What a history says of the things that a plan may ask for, by their names.
#[derive(Default)]
struct Progress {
    input: Option<Input>,
    workflow_id: String,
    asked: BTreeSet<String>,
    /// The event that asked, and the name of what it asked for.
    names: BTreeMap<i64, String>,
    over: BTreeSet<String>,
    signals: BTreeSet<String>,
    cancelled: bool,
}

impl Progress {
    fn ask(&mut self, event_id: i64, name: &str) {
        self.asked.insert(name.into());
        self.names.insert(event_id, name.into());
    }

    fn end(&mut self, event_id: i64) {
        self.over.extend(self.names.get(&event_id).cloned());
    }

    fn see(&mut self, event: &HistoryEvent) {
        match event.attributes.as_ref() {
            Some(Event::WorkflowExecutionStartedEventAttributes(e)) => {
                self.input = Input::decode(&e.input);
                self.workflow_id.clone_from(&e.workflow_id);
            }
            Some(Event::ActivityTaskScheduledEventAttributes(e)) => self.ask(event.event_id, &e.activity_id),
            Some(Event::ActivityTaskCompletedEventAttributes(e)) => self.end(e.scheduled_event_id),
            Some(Event::ActivityTaskFailedEventAttributes(e)) => self.end(e.scheduled_event_id),
            Some(Event::ActivityTaskTimedOutEventAttributes(e)) => self.end(e.scheduled_event_id),
            Some(Event::TimerStartedEventAttributes(e)) => self.ask(event.event_id, &e.timer_id),
            Some(Event::TimerFiredEventAttributes(e)) => self.end(e.started_event_id),
            Some(Event::StartChildWorkflowExecutionInitiatedEventAttributes(e)) => self.ask(event.event_id, last_word(&e.workflow_id)),
            Some(Event::StartChildWorkflowExecutionFailedEventAttributes(e)) => self.end(e.initiated_event_id),
            Some(Event::ChildWorkflowExecutionCompletedEventAttributes(e)) => self.end(e.initiated_event_id),
            Some(Event::ChildWorkflowExecutionFailedEventAttributes(e)) => self.end(e.initiated_event_id),
            Some(Event::ChildWorkflowExecutionCanceledEventAttributes(e)) => self.end(e.initiated_event_id),
            Some(Event::ChildWorkflowExecutionTimedOutEventAttributes(e)) => self.end(e.initiated_event_id),
            Some(Event::ChildWorkflowExecutionTerminatedEventAttributes(e)) => self.end(e.initiated_event_id),
            Some(Event::SignalExternalWorkflowExecutionInitiatedEventAttributes(e)) => {
                let name = e.control.clone();
                self.ask(event.event_id, &name);
            }
            Some(Event::SignalExternalWorkflowExecutionFailedEventAttributes(e)) => self.end(e.initiated_event_id),
            Some(Event::ExternalWorkflowExecutionSignaledEventAttributes(e)) => self.end(e.initiated_event_id),
            Some(Event::MarkerRecordedEventAttributes(e)) => {
                self.asked.insert(e.marker_name.clone());
                self.over.insert(e.marker_name.clone());
            }
            Some(Event::WorkflowExecutionSignaledEventAttributes(e)) => {
                self.signals.insert(last_word(&e.signal_name).into());
            }
            Some(Event::WorkflowExecutionCancelRequestedEventAttributes(_)) => self.cancelled = true,
            _ => {}
        }
    }
}

fn last_word(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// What comes next in a workflow.
#[derive(Debug, Default)]
pub struct Decision {
    pub commands: Vec<Attributes>,
    /// The signals that it waits for.
    pub wants: Vec<String>,
}

pub fn decide(history: &[HistoryEvent]) -> Decision {
    let mut progress = Progress::default();
    history.iter().for_each(|event| progress.see(event));
    let mut decision = Decision::default();
    // An input that is not ours: there are no such workflows.
    let Some(input) = progress.input else { return decision };
    if progress.cancelled {
        decision.commands.push(Attributes::CancelWorkflowExecutionCommandAttributes(CancelWorkflowExecutionCommandAttributes::default()));
        return decision;
    }
    let (stages, end) = plan(input);
    for (number, stage) in stages.iter().enumerate() {
        let mut is_over = true;
        for (index, step) in stage.iter().enumerate() {
            let name = format!("{number}.{index}");
            if let Step::Signal = step {
                let signal = format!("s{number}");
                if !progress.signals.contains(&signal) {
                    is_over = false;
                    decision.wants.push(signal);
                }
                continue;
            }
            if !progress.asked.contains(&name) {
                decision.commands.push(command(step, &name, &progress.workflow_id, input));
            }
            is_over &= progress.over.contains(&name) || matches!(step, Step::Marker);
        }
        if !is_over {
            return decision;
        }
    }
    decision.commands.push(match end {
        End::Complete => {
            Attributes::CompleteWorkflowExecutionCommandAttributes(CompleteWorkflowExecutionCommandAttributes { result: text("done") })
        }
        End::Fail => {
            Attributes::FailWorkflowExecutionCommandAttributes(FailWorkflowExecutionCommandAttributes { failure: failure("as planned") })
        }
        End::Again => Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(ContinueAsNewWorkflowExecutionCommandAttributes {
            workflow_type: Some(WorkflowType { name: TYPE.into() }),
            task_queue: queue(QUEUE),
            input: Input { again: input.again + 1, ..input }.encode(),
            ..Default::default()
        }),
    });
    decision
}

fn command(step: &Step, name: &str, workflow_id: &str, input: Input) -> Attributes {
    match step {
        Step::Activity(failures) => Attributes::ScheduleActivityTaskCommandAttributes(ScheduleActivityTaskCommandAttributes {
            activity_id: name.into(),
            activity_type: Some(ActivityType { name: "A".into() }),
            task_queue: queue(QUEUE),
            input: text(&failures.to_string()),
            start_to_close_timeout: milliseconds(10_000),
            retry_policy: Some(RetryPolicy { initial_interval: milliseconds(500), ..Default::default() }),
            ..Default::default()
        }),
        Step::Timer(length) => Attributes::StartTimerCommandAttributes(StartTimerCommandAttributes {
            timer_id: name.into(),
            start_to_fire_timeout: milliseconds(*length),
        }),
        Step::Child(seed) => Attributes::StartChildWorkflowExecutionCommandAttributes(StartChildWorkflowExecutionCommandAttributes {
            workflow_id: format!("{workflow_id}/{name}"),
            workflow_type: Some(WorkflowType { name: TYPE.into() }),
            task_queue: queue(QUEUE),
            input: Input { seed: *seed, depth: input.depth + 1, again: 0 }.encode(),
            ..Default::default()
        }),
        Step::Tell(index) => {
            Attributes::SignalExternalWorkflowExecutionCommandAttributes(SignalExternalWorkflowExecutionCommandAttributes {
                execution: Some(WorkflowExecution { workflow_id: self::workflow_id(*index), run_id: String::new() }),
                signal_name: format!("told/{workflow_id}/{name}/s0"),
                control: name.into(),
                ..Default::default()
            })
        }
        Step::Marker | Step::Signal => {
            Attributes::RecordMarkerCommandAttributes(RecordMarkerCommandAttributes { marker_name: name.into(), ..Default::default() })
        }
    }
}
