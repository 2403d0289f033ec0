//! A small service and a small driver: histories are built event by event, a `Program` stands for the workflow's code.
#![allow(dead_code, reason = "each test file uses its part")]

use durable_core::{Output, Run, RunOptions};
use prost_wkt_types::Timestamp;
use temporalio_protos::{
    coresdk::{
        workflow_activation::{WorkflowActivation, workflow_activation_job::Variant as Job},
        workflow_commands::{
            CompleteWorkflowExecution, QueryResult, QuerySuccess, ScheduleActivity, StartTimer, WorkflowCommand, query_result,
            workflow_command::Variant as LangCommand,
        },
        workflow_completion::{Success, WorkflowActivationCompletion, workflow_activation_completion::Status as CompletionStatus},
    },
    temporal::api::{
        command::v1::{Command, command::Attributes as CommandAttributes},
        common::v1::{ActivityType, Payload, Payloads, WorkflowExecution, WorkflowType},
        enums::v1::EventType,
        history::v1::{
            ActivityTaskCancelRequestedEventAttributes, ActivityTaskCanceledEventAttributes, ActivityTaskCompletedEventAttributes,
            ActivityTaskFailedEventAttributes, ActivityTaskScheduledEventAttributes, ActivityTaskStartedEventAttributes, History,
            HistoryEvent, MarkerRecordedEventAttributes, TimerCanceledEventAttributes, TimerFiredEventAttributes,
            TimerStartedEventAttributes, UpsertWorkflowSearchAttributesEventAttributes, WorkflowExecutionCancelRequestedEventAttributes,
            WorkflowExecutionCanceledEventAttributes, WorkflowExecutionCompletedEventAttributes,
            WorkflowExecutionContinuedAsNewEventAttributes, WorkflowExecutionFailedEventAttributes,
            WorkflowExecutionSignaledEventAttributes, WorkflowExecutionStartedEventAttributes, WorkflowPropertiesModifiedEventAttributes,
            WorkflowTaskCompletedEventAttributes, WorkflowTaskFailedEventAttributes, WorkflowTaskScheduledEventAttributes,
            WorkflowTaskStartedEventAttributes, history_event::Attributes,
        },
        sdk::v1::WorkflowTaskCompletedMetadata,
        workflowservice::v1::{PollWorkflowTaskQueueResponse, RespondWorkflowTaskCompletedRequest},
    },
};

pub const RUN_ID: &str = "run-1";

/// A history that grows as the service would write it.
#[derive(Debug, Default, Clone)]
pub struct Service {
    pub events: Vec<HistoryEvent>,
    pub previous_started_id: i64,
    pub started_id: i64,
    scheduled_id: i64,
}

impl Service {
    pub fn new() -> Service {
        let mut service = Service::default();
        service.add(
            EventType::WorkflowExecutionStarted,
            Attributes::WorkflowExecutionStartedEventAttributes(WorkflowExecutionStartedEventAttributes {
                workflow_type: Some(WorkflowType { name: "Checkout".to_owned() }),
                original_execution_run_id: RUN_ID.to_owned(),
                ..Default::default()
            }),
        );
        service
    }

    pub fn add(&mut self, kind: EventType, attributes: Attributes) -> i64 {
        let event_id = self.events.len() as i64 + 1;
        self.events.push(HistoryEvent {
            event_id,
            event_type: kind as i32,
            event_time: Some(Timestamp { seconds: 1_000 + event_id, nanos: 0 }),
            attributes: Some(attributes),
            ..Default::default()
        });
        event_id
    }

    pub fn start_task(&mut self) -> i64 {
        self.scheduled_id = self.add(
            EventType::WorkflowTaskScheduled,
            Attributes::WorkflowTaskScheduledEventAttributes(WorkflowTaskScheduledEventAttributes::default()),
        );
        self.previous_started_id = self.started_id;
        self.started_id = self.add(
            EventType::WorkflowTaskStarted,
            Attributes::WorkflowTaskStartedEventAttributes(WorkflowTaskStartedEventAttributes {
                scheduled_event_id: self.scheduled_id,
                history_size_bytes: 100,
                ..Default::default()
            }),
        );
        self.started_id
    }

    pub fn fail_task(&mut self) {
        self.add(
            EventType::WorkflowTaskFailed,
            Attributes::WorkflowTaskFailedEventAttributes(WorkflowTaskFailedEventAttributes {
                scheduled_event_id: self.scheduled_id,
                started_event_id: self.started_id,
                ..Default::default()
            }),
        );
        self.started_id = self.previous_started_id;
    }

    pub fn complete_task(&mut self, request: &RespondWorkflowTaskCompletedRequest) {
        self.add_completed(request.sdk_metadata.clone());
        for command in &request.commands {
            self.add_command(command);
        }
    }

    pub fn add_completed(&mut self, sdk_metadata: Option<WorkflowTaskCompletedMetadata>) -> i64 {
        self.add(
            EventType::WorkflowTaskCompleted,
            Attributes::WorkflowTaskCompletedEventAttributes(WorkflowTaskCompletedEventAttributes {
                scheduled_event_id: self.scheduled_id,
                started_event_id: self.started_id,
                sdk_metadata,
                ..Default::default()
            }),
        )
    }

    fn add_command(&mut self, command: &Command) {
        match command.attributes.clone().expect("a command has attributes") {
            CommandAttributes::StartTimerCommandAttributes(a) => self.timer_started(&a.timer_id),
            CommandAttributes::CancelTimerCommandAttributes(a) => {
                let started_event_id = self.timer(&a.timer_id);
                self.add(
                    EventType::TimerCanceled,
                    Attributes::TimerCanceledEventAttributes(TimerCanceledEventAttributes {
                        timer_id: a.timer_id,
                        started_event_id,
                        ..Default::default()
                    }),
                )
            }
            CommandAttributes::ScheduleActivityTaskCommandAttributes(a) => {
                self.activity_scheduled(&a.activity_id, &a.activity_type.unwrap_or_default().name)
            }
            CommandAttributes::RequestCancelActivityTaskCommandAttributes(a) => self.add(
                EventType::ActivityTaskCancelRequested,
                Attributes::ActivityTaskCancelRequestedEventAttributes(ActivityTaskCancelRequestedEventAttributes {
                    scheduled_event_id: a.scheduled_event_id,
                    ..Default::default()
                }),
            ),
            CommandAttributes::RecordMarkerCommandAttributes(a) => self.add(
                EventType::MarkerRecorded,
                Attributes::MarkerRecordedEventAttributes(MarkerRecordedEventAttributes {
                    marker_name: a.marker_name,
                    details: a.details,
                    failure: a.failure,
                    ..Default::default()
                }),
            ),
            CommandAttributes::UpsertWorkflowSearchAttributesCommandAttributes(a) => self.add(
                EventType::UpsertWorkflowSearchAttributes,
                Attributes::UpsertWorkflowSearchAttributesEventAttributes(UpsertWorkflowSearchAttributesEventAttributes {
                    search_attributes: a.search_attributes,
                    ..Default::default()
                }),
            ),
            CommandAttributes::ModifyWorkflowPropertiesCommandAttributes(a) => self.add(
                EventType::WorkflowPropertiesModified,
                Attributes::WorkflowPropertiesModifiedEventAttributes(WorkflowPropertiesModifiedEventAttributes {
                    upserted_memo: a.upserted_memo,
                    ..Default::default()
                }),
            ),
            CommandAttributes::CompleteWorkflowExecutionCommandAttributes(_) => self.completed(),
            CommandAttributes::FailWorkflowExecutionCommandAttributes(_) => self.add(
                EventType::WorkflowExecutionFailed,
                Attributes::WorkflowExecutionFailedEventAttributes(WorkflowExecutionFailedEventAttributes::default()),
            ),
            CommandAttributes::CancelWorkflowExecutionCommandAttributes(_) => self.add(
                EventType::WorkflowExecutionCanceled,
                Attributes::WorkflowExecutionCanceledEventAttributes(WorkflowExecutionCanceledEventAttributes::default()),
            ),
            CommandAttributes::ContinueAsNewWorkflowExecutionCommandAttributes(_) => self.add(
                EventType::WorkflowExecutionContinuedAsNew,
                Attributes::WorkflowExecutionContinuedAsNewEventAttributes(WorkflowExecutionContinuedAsNewEventAttributes::default()),
            ),
            other => panic!("the small service does not know {other:?}"),
        };
    }

    pub fn completed(&mut self) -> i64 {
        self.add(
            EventType::WorkflowExecutionCompleted,
            Attributes::WorkflowExecutionCompletedEventAttributes(WorkflowExecutionCompletedEventAttributes::default()),
        )
    }

    pub fn timer_started(&mut self, id: &str) -> i64 {
        let timer_id = id.to_owned();
        self.add(
            EventType::TimerStarted,
            Attributes::TimerStartedEventAttributes(TimerStartedEventAttributes { timer_id, ..Default::default() }),
        )
    }

    pub fn activity_scheduled(&mut self, id: &str, kind: &str) -> i64 {
        self.add(
            EventType::ActivityTaskScheduled,
            Attributes::ActivityTaskScheduledEventAttributes(ActivityTaskScheduledEventAttributes {
                activity_id: id.to_owned(),
                activity_type: Some(ActivityType { name: kind.to_owned() }),
                ..Default::default()
            }),
        )
    }

    fn timer(&self, id: &str) -> i64 {
        self.events
            .iter()
            .find(|e| matches!(&e.attributes, Some(Attributes::TimerStartedEventAttributes(a)) if a.timer_id == id))
            .map_or(0, |e| e.event_id)
    }

    fn activity(&self, id: &str) -> i64 {
        self.events
            .iter()
            .find(|e| matches!(&e.attributes, Some(Attributes::ActivityTaskScheduledEventAttributes(a)) if a.activity_id == id))
            .map_or(0, |e| e.event_id)
    }

    pub fn fire_timer(&mut self, id: &str) -> i64 {
        let started_event_id = self.timer(id);
        self.add(
            EventType::TimerFired,
            Attributes::TimerFiredEventAttributes(TimerFiredEventAttributes { timer_id: id.to_owned(), started_event_id }),
        )
    }

    fn start_activity(&mut self, id: &str) -> (i64, i64) {
        let scheduled_event_id = self.activity(id);
        let started = ActivityTaskStartedEventAttributes { scheduled_event_id, ..Default::default() };
        (scheduled_event_id, self.add(EventType::ActivityTaskStarted, Attributes::ActivityTaskStartedEventAttributes(started)))
    }

    pub fn complete_activity(&mut self, id: &str) -> i64 {
        let (scheduled_event_id, started_event_id) = self.start_activity(id);
        self.add(
            EventType::ActivityTaskCompleted,
            Attributes::ActivityTaskCompletedEventAttributes(ActivityTaskCompletedEventAttributes {
                scheduled_event_id,
                started_event_id,
                result: Some(Payloads { payloads: vec![Payload { data: id.as_bytes().to_vec(), ..Default::default() }] }),
                ..Default::default()
            }),
        )
    }

    pub fn fail_activity(&mut self, id: &str) -> i64 {
        let (scheduled_event_id, started_event_id) = self.start_activity(id);
        self.add(
            EventType::ActivityTaskFailed,
            Attributes::ActivityTaskFailedEventAttributes(ActivityTaskFailedEventAttributes {
                scheduled_event_id,
                started_event_id,
                ..Default::default()
            }),
        )
    }

    pub fn cancel_activity(&mut self, id: &str) -> i64 {
        let scheduled_event_id = self.activity(id);
        self.add(
            EventType::ActivityTaskCanceled,
            Attributes::ActivityTaskCanceledEventAttributes(ActivityTaskCanceledEventAttributes {
                scheduled_event_id,
                ..Default::default()
            }),
        )
    }

    pub fn signal(&mut self, name: &str) -> i64 {
        self.add(
            EventType::WorkflowExecutionSignaled,
            Attributes::WorkflowExecutionSignaledEventAttributes(WorkflowExecutionSignaledEventAttributes {
                signal_name: name.to_owned(),
                ..Default::default()
            }),
        )
    }

    pub fn request_cancel(&mut self) -> i64 {
        self.add(
            EventType::WorkflowExecutionCancelRequested,
            Attributes::WorkflowExecutionCancelRequestedEventAttributes(WorkflowExecutionCancelRequestedEventAttributes {
                cause: "enough".to_owned(),
                ..Default::default()
            }),
        )
    }

    /// The task as it stands, its history from the event after `from_id`.
    pub fn task(&self, from_id: i64) -> PollWorkflowTaskQueueResponse {
        PollWorkflowTaskQueueResponse {
            task_token: self.started_id.to_string().into_bytes(),
            workflow_execution: Some(WorkflowExecution { workflow_id: "order-7".to_owned(), run_id: RUN_ID.to_owned() }),
            previous_started_event_id: self.previous_started_id,
            started_event_id: self.started_id,
            attempt: 1,
            history: Some(History { events: self.events.iter().filter(|e| e.event_id > from_id).cloned().collect() }),
            ..Default::default()
        }
    }

    /// The task of a worker that has the run cached.
    pub fn sticky_task(&self) -> PollWorkflowTaskQueueResponse {
        self.task(self.previous_started_id)
    }

    /// The whole history for a replay, which pretends that every task was completed.
    pub fn replay_task(&self) -> PollWorkflowTaskQueueResponse {
        PollWorkflowTaskQueueResponse { previous_started_event_id: self.started_id, ..self.task(0) }
    }
}

pub fn options() -> RunOptions {
    RunOptions {
        namespace: "default".to_owned(),
        identity: "tester".to_owned(),
        sticky_task_queue: "sticky".to_owned(),
        task_queue: "shop".to_owned(),
        sticky_schedule_to_start_timeout_ms: 10_500,
        replay_only: false,
    }
}

pub fn run() -> Run {
    Run::new(RUN_ID.to_owned(), options())
}

pub fn replayer() -> Run {
    Run::new(RUN_ID.to_owned(), RunOptions { replay_only: true, ..options() })
}

pub fn start_timer(seq: u32) -> LangCommand {
    LangCommand::StartTimer(StartTimer { seq, ..Default::default() })
}

pub fn schedule_activity(seq: u32, kind: &str) -> LangCommand {
    LangCommand::ScheduleActivity(ScheduleActivity {
        seq,
        activity_id: seq.to_string(),
        activity_type: kind.to_owned(),
        ..Default::default()
    })
}

pub fn complete_workflow() -> LangCommand {
    LangCommand::CompleteWorkflowExecution(CompleteWorkflowExecution::default())
}

pub fn answer(query_id: &str) -> LangCommand {
    LangCommand::RespondToQuery(QueryResult {
        query_id: query_id.to_owned(),
        variant: Some(query_result::Variant::Succeeded(QuerySuccess { response: Some(Payload::default()) })),
    })
}

pub fn completion(commands: Vec<LangCommand>) -> WorkflowActivationCompletion {
    let commands = commands.into_iter().map(|variant| WorkflowCommand { variant: Some(variant), ..Default::default() }).collect();
    WorkflowActivationCompletion {
        run_id: RUN_ID.to_owned(),
        status: Some(CompletionStatus::Successful(Success { commands, ..Default::default() })),
        ..Default::default()
    }
}

pub fn jobs(activation: &WorkflowActivation) -> Vec<Job> {
    activation.jobs.iter().filter_map(|job| job.variant.clone()).collect()
}

/// One word a job.
pub fn names(activation: &WorkflowActivation) -> Vec<String> {
    jobs(activation)
        .iter()
        .map(|job| {
            let text = format!("{job:?}");
            text.split('(').next().unwrap_or_default().to_owned()
        })
        .collect()
}

pub fn next_activation(run: &mut Run) -> WorkflowActivation {
    match run.poll() {
        Some(Output::Activation(activation)) => *activation,
        other => panic!("expected an activation, got {other:?}"),
    }
}

pub fn next_complete(run: &mut Run) -> RespondWorkflowTaskCompletedRequest {
    match run.poll() {
        Some(Output::Complete(request)) => *request,
        other => panic!("expected a completion, got {other:?}"),
    }
}

/// Answers the eviction that must come next; gives its message.
pub fn expect_eviction(run: &mut Run) -> String {
    let activation = next_activation(run);
    let jobs = jobs(&activation);
    let [Job::RemoveFromCache(eviction)] = jobs.as_slice() else { panic!("expected an eviction alone, got {jobs:?}") };
    let message = eviction.message.clone();
    run.handle_completion(completion(vec![]));
    assert!(matches!(run.poll(), Some(Output::Evicted)));
    message
}
