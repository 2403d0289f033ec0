//! A patch: a marker that says which side of a change in its code a run is on.
//!
//! The code gives the command at its first call about a patch, unless a replay shows that the run is older than the patch. The
//! history answers with the marker. In replay the command may stay without one: code that only says that a patch is over says so of
//! every run, also of those that never had it.

use super::{Effect, refused, step};
use crate::fault::Fault;
use temporalio_protos::{
    constants::PATCH_MARKER_NAME,
    coresdk::common::{build_has_change_marker_details, decode_change_marker_details},
    temporal::api::{
        command::v1::{RecordMarkerCommandAttributes, command::Attributes as CommandAttributes},
        history::v1::{HistoryEvent, history_event::Attributes},
    },
};

#[rustfmt::skip]
const TABLE: &[(State, Input, State)] = &[
    (State::Commanded, Input::Marker, State::Recorded),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Commanded,
    Recorded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Marker,
}

#[derive(Debug)]
pub(crate) struct Patch {
    id: String,
    state: State,
}

/// The patch that an event is the marker of, and whether the code says that it is over.
pub(crate) fn patch_of(event: &HistoryEvent) -> Option<(String, bool)> {
    match &event.attributes {
        Some(Attributes::MarkerRecordedEventAttributes(attributes)) if attributes.marker_name == PATCH_MARKER_NAME => {
            decode_change_marker_details(&attributes.details)
        }
        _ => None,
    }
}

impl Patch {
    pub(crate) fn new(id: &str) -> Patch {
        Patch { id: id.to_owned(), state: State::Commanded }
    }

    pub(crate) fn command(&self, deprecated: bool) -> Result<CommandAttributes, Fault> {
        let details = build_has_change_marker_details(&self.id, deprecated)
            .map_err(|error| Fault::Fatal(format!("the marker of {} cannot be encoded: {error}", self.describe())))?;
        Ok(CommandAttributes::RecordMarkerCommandAttributes(RecordMarkerCommandAttributes {
            marker_name: PATCH_MARKER_NAME.to_owned(),
            details,
            ..Default::default()
        }))
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn describe(&self) -> String {
        format!("patch '{}'", self.id)
    }

    pub(crate) fn handle_event(&mut self, event: &HistoryEvent) -> Result<Vec<Effect>, Fault> {
        let (Some((id, _)), Some(after)) = (patch_of(event), step(TABLE, self.state, Input::Marker)) else {
            return Err(refused(&self.describe(), &self.state, event));
        };
        if id != self.id {
            let text = format!("event {} is the marker of patch '{id}', the code's command is of {}", event.event_id, self.describe());
            return Err(Fault::Nondeterminism(text));
        }
        self.state = after;
        Ok(Vec::new())
    }
}

#[cfg(test)]
pub(crate) fn marker(id: &str, deprecated: bool) -> HistoryEvent {
    use temporalio_protos::temporal::api::{enums::v1::EventType, history::v1::MarkerRecordedEventAttributes};
    let Ok(CommandAttributes::RecordMarkerCommandAttributes(command)) = Patch::new(id).command(deprecated) else { panic!("no marker") };
    let attributes = MarkerRecordedEventAttributes { marker_name: command.marker_name, details: command.details, ..Default::default() };
    HistoryEvent {
        event_id: 5,
        event_type: EventType::MarkerRecorded as i32,
        attributes: Some(Attributes::MarkerRecordedEventAttributes(attributes)),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::table;

    #[test]
    fn every_transition_of_the_table_and_no_other() {
        table::check(TABLE, &[State::Commanded, State::Recorded], &[Input::Marker], |state, _| {
            let mut patch = Patch { id: "p".into(), state };
            let accepted = patch.handle_event(&marker("p", false)).is_ok();
            (accepted, patch.state)
        });
    }

    #[test]
    fn another_patchs_marker_is_refused() {
        let fault = Patch::new("p").handle_event(&marker("q", true)).unwrap_err();
        assert!(fault.to_string().contains("the marker of patch 'q', the code's command is of patch 'p'"), "{fault}");
        assert_eq!(patch_of(&marker("q", true)), Some(("q".to_owned(), true)));
    }
}
