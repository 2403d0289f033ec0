//! Patches.
//!
//! | the history has          | the code calls   | what follows                                                       |
//! |--------------------------|------------------|--------------------------------------------------------------------|
//! | nothing yet (live)       | `patched`        | a marker is recorded, the call is true                             |
//! | its marker               | `patched`        | the call is true                                                   |
//! | no marker (replay)       | `patched`        | the call is false                                                  |
//! | its marker               | nothing          | the code does not know the run any more: nondeterminism            |
//! | a deprecated marker      | nothing          | the marker is passed over                                          |
//! | anything                 | `deprecate_patch`| allowed; live, a deprecated marker is recorded                     |
//!
//! With each marker the run's patches go into the search attribute `TemporalChangeVersion`, so that one can list the runs that still
//! need an old side. The history says which markers it went with, so that a replay needs not know why it was left out.

use super::{Annotations, Workflow};
use crate::{
    difference::recorded_command,
    fault::Fault,
    flags::UPSERT_ON_PATCH,
    machines::{Machine, Patch, patch_of},
};
use std::collections::BTreeMap;
use temporalio_protos::{
    VERSION_SEARCH_ATTR_KEY,
    coresdk::{
        AsJsonPayloadExt,
        workflow_activation::{NotifyHasPatch, workflow_activation_job::Variant as Job},
        workflow_commands::SetPatchMarker,
    },
    temporal::api::{
        common::v1::SearchAttributes,
        enums::v1::CommandType,
        history::v1::{HistoryEvent, history_event::Attributes},
    },
};

/// The service refuses a larger value of a search attribute: the run then goes on with the patches it has listed.
const MAX_ATTRIBUTE_BYTES: usize = 2048;

#[derive(Debug, Default)]
pub(super) struct Patches {
    seen: BTreeMap<String, Seen>,
    /// What the next activation must tell the code. It is no reason for an activation of its own: live there was none.
    notices: Vec<String>,
    /// The event after a marker that was passed over: the search attribute that went with it is passed over too.
    passed_over_until: i64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// The code gave the patch's command.
    commanded: bool,
    /// The history has the search attribute after the patch's marker.
    listed: bool,
}

impl Workflow {
    /// Takes in the patches that the next stretch has markers of: the run is on their new side.
    pub(super) fn look_ahead_to_patches(&mut self) {
        let mut last: Option<String> = None;
        for event in self.history.peek_next() {
            if let Some(id) = last.take().filter(|_| is_upsert_of_patches(event)) {
                self.patches.seen.entry(id).or_default().listed = true;
            }
            let Some((id, _)) = patch_of(event) else { continue };
            if !self.patches.seen.contains_key(&id) {
                self.patches.seen.insert(id.clone(), Seen::default());
                self.patches.notices.push(id.clone());
            }
            last = Some(id);
        }
    }

    pub(super) fn take_patch_notices(&mut self) -> impl Iterator<Item = Job> + use<> {
        std::mem::take(&mut self.patches.notices).into_iter().map(|patch_id| Job::NotifyHasPatch(NotifyHasPatch { patch_id }))
    }

    pub(super) fn set_patch(&mut self, command: SetPatchMarker, annotations: Annotations) -> Result<(), Fault> {
        let seen = self.patches.seen.get(&command.patch_id).copied();
        // Without its marker in a replayed history the run is older than the patch, whatever the code has to say.
        if seen.is_some_and(|seen| seen.commanded) || seen.is_none() && self.replaying {
            return Ok(());
        }
        let seen = seen.unwrap_or_default();
        let patch = Patch::new(&command.patch_id);
        let attributes = patch.command(command.deprecated)?;
        let key = self.add_machine(Machine::Patch(patch));
        self.push_command(attributes, key, annotations.clone());
        self.patches.seen.insert(command.patch_id, Seen { commanded: true, ..seen });
        if self.replaying {
            if seen.listed {
                self.push_upsert(SearchAttributes::default(), annotations);
            }
            return Ok(());
        }
        self.list_patches(annotations)
    }

    fn list_patches(&mut self, annotations: Annotations) -> Result<(), Fault> {
        let ids: Vec<&String> = self.patches.seen.keys().collect();
        let mut value = ids.as_json_payload().map_err(|error| Fault::Fatal(format!("the run's patches cannot be encoded: {error}")))?;
        if value.data.len() >= MAX_ATTRIBUTE_BYTES {
            return Ok(());
        }
        self.flags.use_core(UPSERT_ON_PATCH, true);
        value.metadata.insert("type".to_owned(), b"KeywordList".to_vec());
        let indexed_fields = [(VERSION_SEARCH_ATTR_KEY.to_owned(), value)].into();
        self.push_upsert(SearchAttributes { indexed_fields }, annotations);
        Ok(())
    }

    /// True when an event of a command has no command in the code any more, and needs none: a deprecated patch's marker, and the search
    /// attribute that went with it.
    pub(super) fn passes_over(&mut self, event: &HistoryEvent) -> Result<bool, Fault> {
        if self.patches.passed_over_until == event.event_id && is_upsert_of_patches(event) {
            return Ok(true);
        }
        let Some((id, is_deprecated)) = patch_of(event) else { return Ok(false) };
        let next = self.queue.iter().find(|queued| !self.machines[queued.machine].is_withdrawn());
        let has_command = next.is_some_and(|queued| matches!(&self.machines[queued.machine], Machine::Patch(patch) if patch.id() == id));
        if has_command {
            return Ok(false);
        }
        if is_deprecated {
            self.patches.passed_over_until = event.event_id + 1;
            return Ok(true);
        }
        let fault = Fault::Nondeterminism(format!(
            "the history has event {}, the marker of patch '{id}', for which the code gave no command: the code does not ask for this \
             patch here, and the history does not say that it is deprecated",
            event.event_id
        ));
        let recorded = recorded_command(CommandType::RecordMarker, event);
        Err(self.difference(Some(recorded), next, event.event_id).explain(fault))
    }
}

fn is_upsert_of_patches(event: &HistoryEvent) -> bool {
    matches!(&event.attributes, Some(Attributes::UpsertWorkflowSearchAttributesEventAttributes(attributes))
        if attributes.search_attributes.as_ref().is_some_and(|fields| fields.indexed_fields.contains_key(VERSION_SEARCH_ATTR_KEY)))
}
