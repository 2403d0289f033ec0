//! How the code differs from its history, in words.
//!
//! A fault's first line says what is wrong. The lines below it say the same piece by piece, `name: value`, for people and for the code's
//! side, which knows the place in the program that a command came from:
//!
//! ```text
//! expected: ScheduleActivityTask (activity '1' of type 'charge')
//! actual: StartTimer (timer 1)
//! event: 5
//! command: 3
//! ```
//!
//! `expected` and `actual` are commands, or "no command"; `command` counts the commands of the run from 1, answers to queries left out.

use crate::{
    fault::Fault,
    machines::{describe_nexus_operation, patch_of},
};
use temporalio_protos::temporal::api::{
    enums::v1::CommandType,
    history::v1::{HistoryEvent, history_event::Attributes},
};

/// A run has one end: nothing more is to be said about it.
const ENDINGS: [CommandType; 4] = [
    CommandType::CompleteWorkflowExecution,
    CommandType::FailWorkflowExecution,
    CommandType::CancelWorkflowExecution,
    CommandType::ContinueAsNewWorkflowExecution,
];

const NO_COMMAND: &str = "no command";

#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// What the history says; none: no command.
    pub(crate) expected: Option<String>,
    /// What the code gave; none: no command.
    pub(crate) actual: Option<String>,
    pub(crate) event_id: i64,
    /// Which command of the run, from 1; 0: there is none.
    pub(crate) command: u32,
}

impl Difference {
    /// The fault with its pieces; one that is not about the code's commands, or has its pieces already, stays as it is.
    pub(crate) fn explain(&self, fault: Fault) -> Fault {
        let Fault::Nondeterminism(mut text) = fault else { return fault };
        if text.contains("\nexpected: ") {
            return Fault::Nondeterminism(text);
        }
        let word = |said: &Option<String>| said.as_deref().unwrap_or(NO_COMMAND).replace('\n', " ");
        text.push_str(&format!("\nexpected: {}\nactual: {}", word(&self.expected), word(&self.actual)));
        if self.event_id > 0 {
            text.push_str(&format!("\nevent: {}", self.event_id));
        }
        if self.command > 0 {
            text.push_str(&format!("\ncommand: {}", self.command));
        }
        Fault::Nondeterminism(text)
    }
}

/// "StartTimer" for COMMAND_TYPE_START_TIMER.
pub(crate) fn command_name(kind: CommandType) -> String {
    let words = kind.as_str_name().trim_start_matches("COMMAND_TYPE_").split('_');
    words.map(|word| word[..1].to_owned() + &word[1..].to_lowercase()).collect()
}

/// A command as messages show it.
pub(crate) fn command_text(kind: CommandType, about: &str) -> String {
    let name = command_name(kind);
    if about.is_empty() || ENDINGS.contains(&kind) { name } else { format!("{name} ({about})") }
}

/// The command that led to an event, as far as the event tells.
pub(crate) fn recorded_command(kind: CommandType, event: &HistoryEvent) -> String {
    let about = match &event.attributes {
        Some(Attributes::ActivityTaskScheduledEventAttributes(attributes)) => {
            let activity_type = attributes.activity_type.as_ref().map_or("", |kind| kind.name.as_str());
            format!("activity '{}' of type '{activity_type}'", attributes.activity_id)
        }
        Some(Attributes::ActivityTaskCancelRequestedEventAttributes(attributes)) => {
            format!("the activity of event {}", attributes.scheduled_event_id)
        }
        Some(Attributes::TimerStartedEventAttributes(attributes)) => format!("timer {}", attributes.timer_id),
        Some(Attributes::TimerCanceledEventAttributes(attributes)) => format!("timer {}", attributes.timer_id),
        Some(Attributes::MarkerRecordedEventAttributes(attributes)) => match patch_of(event) {
            Some((id, _)) => format!("patch '{id}'"),
            None => format!("marker '{}'", attributes.marker_name),
        },
        Some(Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(attributes)) => {
            let workflow_type = attributes.workflow_type.as_ref().map_or("", |kind| kind.name.as_str());
            format!("child workflow '{}' of type '{workflow_type}'", attributes.workflow_id)
        }
        Some(Attributes::NexusOperationScheduledEventAttributes(attributes)) => {
            describe_nexus_operation(&attributes.endpoint, &attributes.service, &attributes.operation)
        }
        Some(Attributes::NexusOperationCancelRequestedEventAttributes(attributes)) => {
            format!("the Nexus operation of event {}", attributes.scheduled_event_id)
        }
        _ => String::new(),
    };
    command_text(kind, &about)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_follow_the_first_line_once() {
        let difference = Difference { actual: Some("StartTimer (timer 1)".to_owned()), event_id: 5, command: 3, ..Default::default() };
        let fault = difference.explain(difference.explain(Fault::Nondeterminism("it differs".to_owned())));
        let text = "it differs\nexpected: no command\nactual: StartTimer (timer 1)\nevent: 5\ncommand: 3";
        assert_eq!(fault, Fault::Nondeterminism(text.to_owned()));
    }

    #[test]
    fn a_broken_history_has_no_pieces() {
        let fault = Difference::default().explain(Fault::Fatal("out of order".to_owned()));
        assert_eq!(fault, Fault::Fatal("out of order".to_owned()));
    }

    #[test]
    fn commands_have_their_names() {
        assert_eq!(command_name(CommandType::RequestCancelActivityTask), "RequestCancelActivityTask");
    }
}
