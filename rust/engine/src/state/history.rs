//! Events: which type an attribute is, and which ids it carries.

use temporalio_protos::temporal::api::{
    enums::v1::EventType,
    history::v1::{HistoryEvent, history_event::Attributes},
};

/// The type of the events this engine writes.
pub fn event_type(attributes: &Attributes) -> EventType {
    use Attributes::*;
    match attributes {
        WorkflowExecutionStartedEventAttributes(_) => EventType::WorkflowExecutionStarted,
        WorkflowExecutionCompletedEventAttributes(_) => EventType::WorkflowExecutionCompleted,
        WorkflowExecutionFailedEventAttributes(_) => EventType::WorkflowExecutionFailed,
        WorkflowExecutionTimedOutEventAttributes(_) => EventType::WorkflowExecutionTimedOut,
        WorkflowTaskScheduledEventAttributes(_) => EventType::WorkflowTaskScheduled,
        WorkflowTaskStartedEventAttributes(_) => EventType::WorkflowTaskStarted,
        WorkflowTaskCompletedEventAttributes(_) => EventType::WorkflowTaskCompleted,
        WorkflowTaskTimedOutEventAttributes(_) => EventType::WorkflowTaskTimedOut,
        WorkflowTaskFailedEventAttributes(_) => EventType::WorkflowTaskFailed,
        ActivityTaskScheduledEventAttributes(_) => EventType::ActivityTaskScheduled,
        ActivityTaskStartedEventAttributes(_) => EventType::ActivityTaskStarted,
        ActivityTaskCompletedEventAttributes(_) => EventType::ActivityTaskCompleted,
        ActivityTaskFailedEventAttributes(_) => EventType::ActivityTaskFailed,
        ActivityTaskTimedOutEventAttributes(_) => EventType::ActivityTaskTimedOut,
        ActivityTaskCancelRequestedEventAttributes(_) => EventType::ActivityTaskCancelRequested,
        ActivityTaskCanceledEventAttributes(_) => EventType::ActivityTaskCanceled,
        TimerStartedEventAttributes(_) => EventType::TimerStarted,
        TimerFiredEventAttributes(_) => EventType::TimerFired,
        TimerCanceledEventAttributes(_) => EventType::TimerCanceled,
        MarkerRecordedEventAttributes(_) => EventType::MarkerRecorded,
        UpsertWorkflowSearchAttributesEventAttributes(_) => EventType::UpsertWorkflowSearchAttributes,
        WorkflowPropertiesModifiedEventAttributes(_) => EventType::WorkflowPropertiesModified,
        WorkflowExecutionCancelRequestedEventAttributes(_) => EventType::WorkflowExecutionCancelRequested,
        WorkflowExecutionCanceledEventAttributes(_) => EventType::WorkflowExecutionCanceled,
        WorkflowExecutionSignaledEventAttributes(_) => EventType::WorkflowExecutionSignaled,
        WorkflowExecutionTerminatedEventAttributes(_) => EventType::WorkflowExecutionTerminated,
        WorkflowExecutionContinuedAsNewEventAttributes(_) => EventType::WorkflowExecutionContinuedAsNew,
        StartChildWorkflowExecutionInitiatedEventAttributes(_) => EventType::StartChildWorkflowExecutionInitiated,
        StartChildWorkflowExecutionFailedEventAttributes(_) => EventType::StartChildWorkflowExecutionFailed,
        ChildWorkflowExecutionStartedEventAttributes(_) => EventType::ChildWorkflowExecutionStarted,
        ChildWorkflowExecutionCompletedEventAttributes(_) => EventType::ChildWorkflowExecutionCompleted,
        ChildWorkflowExecutionFailedEventAttributes(_) => EventType::ChildWorkflowExecutionFailed,
        ChildWorkflowExecutionCanceledEventAttributes(_) => EventType::ChildWorkflowExecutionCanceled,
        ChildWorkflowExecutionTimedOutEventAttributes(_) => EventType::ChildWorkflowExecutionTimedOut,
        ChildWorkflowExecutionTerminatedEventAttributes(_) => EventType::ChildWorkflowExecutionTerminated,
        SignalExternalWorkflowExecutionInitiatedEventAttributes(_) => EventType::SignalExternalWorkflowExecutionInitiated,
        SignalExternalWorkflowExecutionFailedEventAttributes(_) => EventType::SignalExternalWorkflowExecutionFailed,
        ExternalWorkflowExecutionSignaledEventAttributes(_) => EventType::ExternalWorkflowExecutionSignaled,
        RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(_) => EventType::RequestCancelExternalWorkflowExecutionInitiated,
        RequestCancelExternalWorkflowExecutionFailedEventAttributes(_) => EventType::RequestCancelExternalWorkflowExecutionFailed,
        ExternalWorkflowExecutionCancelRequestedEventAttributes(_) => EventType::ExternalWorkflowExecutionCancelRequested,
        WorkflowExecutionUpdateAdmittedEventAttributes(_) => EventType::WorkflowExecutionUpdateAdmitted,
        WorkflowExecutionUpdateAcceptedEventAttributes(_) => EventType::WorkflowExecutionUpdateAccepted,
        WorkflowExecutionUpdateCompletedEventAttributes(_) => EventType::WorkflowExecutionUpdateCompleted,
        _ => EventType::Unspecified,
    }
}

/// Scheduled or initiated id and the place of the started id, of the end of an activity or a child.
pub fn end_ids(event: &mut HistoryEvent) -> Option<(i64, &mut i64)> {
    use Attributes::*;
    match event.attributes.as_mut()? {
        ActivityTaskCompletedEventAttributes(end) => Some((end.scheduled_event_id, &mut end.started_event_id)),
        ActivityTaskFailedEventAttributes(end) => Some((end.scheduled_event_id, &mut end.started_event_id)),
        ActivityTaskTimedOutEventAttributes(end) => Some((end.scheduled_event_id, &mut end.started_event_id)),
        ActivityTaskCanceledEventAttributes(end) => Some((end.scheduled_event_id, &mut end.started_event_id)),
        ChildWorkflowExecutionCompletedEventAttributes(end) => Some((end.initiated_event_id, &mut end.started_event_id)),
        ChildWorkflowExecutionFailedEventAttributes(end) => Some((end.initiated_event_id, &mut end.started_event_id)),
        ChildWorkflowExecutionCanceledEventAttributes(end) => Some((end.initiated_event_id, &mut end.started_event_id)),
        ChildWorkflowExecutionTimedOutEventAttributes(end) => Some((end.initiated_event_id, &mut end.started_event_id)),
        ChildWorkflowExecutionTerminatedEventAttributes(end) => Some((end.initiated_event_id, &mut end.started_event_id)),
        _ => None,
    }
}

/// The activity an end of an activity is about.
pub fn scheduled_event_id(event: &HistoryEvent) -> Option<i64> {
    use Attributes::*;
    match event.attributes.as_ref()? {
        ActivityTaskCompletedEventAttributes(end) => Some(end.scheduled_event_id),
        ActivityTaskFailedEventAttributes(end) => Some(end.scheduled_event_id),
        ActivityTaskTimedOutEventAttributes(end) => Some(end.scheduled_event_id),
        ActivityTaskCanceledEventAttributes(end) => Some(end.scheduled_event_id),
        _ => None,
    }
}

/// The service moves ends of activities and children behind the other waiting events.
pub fn moves_to_the_end(event: &HistoryEvent) -> bool {
    use Attributes::*;
    scheduled_event_id(event).is_some()
        || matches!(
            event.attributes,
            Some(
                ChildWorkflowExecutionCompletedEventAttributes(_)
                    | ChildWorkflowExecutionFailedEventAttributes(_)
                    | ChildWorkflowExecutionCanceledEventAttributes(_)
                    | ChildWorkflowExecutionTimedOutEventAttributes(_)
                    | ChildWorkflowExecutionTerminatedEventAttributes(_)
            )
        )
}

/// Whether the event is the end of a run.
pub fn is_close(event: &HistoryEvent) -> bool {
    matches!(
        EventType::try_from(event.event_type),
        Ok(EventType::WorkflowExecutionCompleted
            | EventType::WorkflowExecutionFailed
            | EventType::WorkflowExecutionTimedOut
            | EventType::WorkflowExecutionCanceled
            | EventType::WorkflowExecutionTerminated
            | EventType::WorkflowExecutionContinuedAsNew)
    )
}
