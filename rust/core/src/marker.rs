//! The marker that records the outcome of a local activity, in the form that every core-based SDK writes and reads.

use temporalio_protos::{
    constants::LOCAL_ACTIVITY_MARKER_NAME,
    coresdk::{
        activity_result::{self, Cancellation, activity_execution_result::Status as Outcome},
        common::{build_local_activity_marker_details, extract_local_activity_marker_details},
        external_data::LocalActivityMarkerData,
    },
    temporal::api::{
        command::v1::{RecordMarkerCommandAttributes, command::Attributes as CommandAttributes},
        failure::v1::{Failure, failure::FailureInfo},
        history::v1::{HistoryEvent, history_event::Attributes},
    },
};

use crate::fault::Fault;

/// What a marker says.
#[derive(Debug, Clone)]
pub(crate) struct Marker {
    pub(crate) data: LocalActivityMarkerData,
    pub(crate) outcome: Outcome,
}

impl Marker {
    /// The marker in an event, none when the event is something else.
    pub(crate) fn of_event(event: &HistoryEvent) -> Result<Option<Marker>, Fault> {
        let Some(Attributes::MarkerRecordedEventAttributes(attributes)) = &event.attributes else { return Ok(None) };
        if attributes.marker_name != LOCAL_ACTIVITY_MARKER_NAME {
            return Ok(None);
        }
        let (data, result) = extract_local_activity_marker_details(&mut attributes.details.clone());
        let Some(data) = data else {
            return Err(Fault::Fatal(format!("event {} (local activity marker) has no details that can be read", event.event_id)));
        };
        let outcome = match attributes.failure.clone() {
            Some(failure) if is_cancelled(&failure) => Outcome::Cancelled(Cancellation { failure: Some(failure) }),
            Some(failure) => Outcome::Failed(activity_result::Failure { failure: Some(failure), ..Default::default() }),
            None => Outcome::Completed(activity_result::Success { result }),
        };
        Ok(Some(Marker { data, outcome }))
    }

    pub(crate) fn into_command(self) -> CommandAttributes {
        let (result, failure) = match self.outcome {
            Outcome::Completed(success) => (success.result, None),
            Outcome::Failed(failed) => (None, failed.failure),
            Outcome::Cancelled(cancelled) => (None, cancelled.failure),
            Outcome::WillCompleteAsync(_) => (None, None),
        };
        CommandAttributes::RecordMarkerCommandAttributes(RecordMarkerCommandAttributes {
            marker_name: LOCAL_ACTIVITY_MARKER_NAME.to_owned(),
            details: build_local_activity_marker_details(self.data, result),
            header: None,
            failure,
        })
    }
}

fn is_cancelled(failure: &Failure) -> bool {
    let is_cancel = |failure: &Failure| matches!(failure.failure_info, Some(FailureInfo::CanceledFailureInfo(_)));
    is_cancel(failure) || failure.cause.as_deref().is_some_and(is_cancel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use temporalio_protos::temporal::api::{
        common::v1::Payload,
        failure::v1::{ApplicationFailureInfo, CanceledFailureInfo},
        history::v1::MarkerRecordedEventAttributes,
    };

    fn recorded(marker: Marker) -> HistoryEvent {
        let CommandAttributes::RecordMarkerCommandAttributes(command) = marker.into_command() else { panic!("not a marker") };
        let attributes = MarkerRecordedEventAttributes {
            marker_name: command.marker_name,
            details: command.details,
            failure: command.failure,
            ..Default::default()
        };
        HistoryEvent { event_id: 5, attributes: Some(Attributes::MarkerRecordedEventAttributes(attributes)), ..Default::default() }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let data = LocalActivityMarkerData {
            seq: 3,
            attempt: 2,
            activity_id: "3".to_owned(),
            activity_type: "charge".to_owned(),
            complete_time: Some(prost_wkt_types::Timestamp { seconds: 5, nanos: 7 }),
            backoff: Some(prost_wkt_types::Duration { seconds: 90, nanos: 0 }),
            original_schedule_time: None,
            activation_index: Some(1),
        };
        let failure = |info| Failure { message: "no".to_owned(), failure_info: Some(info), ..Default::default() };
        let outcomes = [
            Outcome::Completed(activity_result::Success { result: Some(Payload { data: b"1".to_vec(), ..Default::default() }) }),
            Outcome::Completed(activity_result::Success { result: None }),
            Outcome::Failed(activity_result::Failure {
                failure: Some(failure(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo::default()))),
                ..Default::default()
            }),
            Outcome::Cancelled(Cancellation { failure: Some(failure(FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default()))) }),
        ];
        for outcome in outcomes {
            let read = Marker::of_event(&recorded(Marker { data: data.clone(), outcome: outcome.clone() })).unwrap().expect("a marker");
            assert_eq!((read.data, read.outcome), (data.clone(), outcome));
        }
    }

    #[test]
    fn other_markers_are_none_and_unreadable_ones_a_fault() {
        let mut event = recorded(Marker { data: LocalActivityMarkerData::default(), outcome: Outcome::Completed(Default::default()) });
        let Some(Attributes::MarkerRecordedEventAttributes(attributes)) = &mut event.attributes else { panic!() };
        attributes.details.clear();
        assert!(Marker::of_event(&event).unwrap_err().to_string().contains("event 5"));
        let Some(Attributes::MarkerRecordedEventAttributes(attributes)) = &mut event.attributes else { panic!() };
        attributes.marker_name = "another".to_owned();
        assert!(Marker::of_event(&event).unwrap().is_none());
        assert!(Marker::of_event(&HistoryEvent::default()).unwrap().is_none());
    }
}
