//! What one command may carry. A larger one ends the workflow: its code would do the same again.

use prost::Message;
use temporalio_protos::temporal::api::{
    command::v1::{Command, command::Attributes as C},
    enums::v1::WorkflowTaskFailedCause as Cause,
};

use super::{command::Refusal, limit::MAX_BLOB_BYTES};

fn size(blob: &Option<impl Message>) -> usize {
    blob.as_ref().map_or(0, Message::encoded_len)
}

/// Why the first command that carries too much is refused, in the service's words.
pub fn oversized(commands: &[Command]) -> Option<Refusal> {
    commands.iter().filter_map(|command| command.attributes.as_ref()).find_map(|attributes| {
        let parts = match attributes {
            C::ScheduleActivityTaskCommandAttributes(activity) => {
                vec![(Cause::BadScheduleActivityAttributes, size(&activity.input), "ScheduleActivityTaskCommandAttributes.Input")]
            }
            C::CompleteWorkflowExecutionCommandAttributes(end) => {
                vec![(
                    Cause::BadCompleteWorkflowExecutionAttributes,
                    size(&end.result),
                    "CompleteWorkflowExecutionCommandAttributes.Result",
                )]
            }
            C::FailWorkflowExecutionCommandAttributes(end) => {
                vec![(Cause::BadFailWorkflowExecutionAttributes, size(&end.failure), "FailWorkflowExecutionCommandAttributes.Failure")]
            }
            C::CancelWorkflowExecutionCommandAttributes(end) => {
                vec![(Cause::BadCancelWorkflowExecutionAttributes, size(&end.details), "CancelWorkflowExecutionCommandAttributes.Details")]
            }
            C::RecordMarkerCommandAttributes(marker) => {
                let details = marker.details.iter().map(|(name, payloads)| name.len() + payloads.encoded_len()).sum();
                vec![
                    (Cause::BadRecordMarkerAttributes, details, "RecordMarkerCommandAttributes.Details"),
                    (Cause::BadRecordMarkerAttributes, size(&marker.failure), "RecordMarkerCommandAttributes.Failure"),
                ]
            }
            C::ContinueAsNewWorkflowExecutionCommandAttributes(next) => vec![
                (Cause::BadContinueAsNewAttributes, size(&next.input), "ContinueAsNewWorkflowExecutionCommandAttributes. Input"),
                (Cause::BadContinueAsNewAttributes, size(&next.memo), "ContinueAsNewWorkflowExecutionCommandAttributes. Memo"),
            ],
            C::StartChildWorkflowExecutionCommandAttributes(child) => vec![
                (Cause::BadStartChildExecutionAttributes, size(&child.input), "StartChildWorkflowExecutionCommandAttributes. Input"),
                (Cause::BadStartChildExecutionAttributes, size(&child.memo), "StartChildWorkflowExecutionCommandAttributes.Memo"),
            ],
            C::ModifyWorkflowPropertiesCommandAttributes(modify) => {
                let what = "ModifyWorkflowPropertiesCommandAttributes";
                vec![(Cause::BadModifyWorkflowPropertiesAttributes, size(&modify.upserted_memo), what)]
            }
            C::SignalExternalWorkflowExecutionCommandAttributes(signal) => {
                let what = "SignalExternalWorkflowExecutionCommandAttributes.Input";
                vec![(Cause::BadSignalWorkflowExecutionAttributes, size(&signal.input), what)]
            }
            _ => Vec::new(),
        };
        let too_large = parts.into_iter().find(|(_, size, _)| *size > MAX_BLOB_BYTES);
        too_large.map(|(cause, _, what)| (cause, format!("{what} exceeds size limit.")))
    })
}
