//! The search attributes and the memo that the code changes.

use super::{Annotations, Workflow};
use crate::{
    flags::UPSERT_ON_PATCH,
    machines::{Machine, Upsert},
};
use temporalio_protos::{
    VERSION_SEARCH_ATTR_KEY,
    coresdk::workflow_commands::{ModifyWorkflowProperties, UpsertWorkflowSearchAttributes},
    temporal::api::{
        command::v1::{
            ModifyWorkflowPropertiesCommandAttributes, UpsertWorkflowSearchAttributesCommandAttributes,
            command::Attributes as CommandAttributes,
        },
        common::v1::{Payload, SearchAttributes},
    },
};

impl Workflow {
    /// The code's own search attributes. The list of patches is not the code's: a change of it is without effect.
    pub(super) fn upsert_attributes(&mut self, command: UpsertWorkflowSearchAttributes, annotations: Annotations) {
        let mut attributes = command.search_attributes.unwrap_or_default();
        let guards = self.flags.use_core(UPSERT_ON_PATCH, !self.replaying);
        if guards && attributes.indexed_fields.contains_key(VERSION_SEARCH_ATTR_KEY) {
            attributes = SearchAttributes::default();
        }
        let inherited = self.inherited.search_attributes.get_or_insert_default();
        inherited.indexed_fields.extend(attributes.indexed_fields.clone());
        inherited.indexed_fields.retain(|_, value| !removes(value));
        self.push_upsert(attributes, annotations);
    }

    pub(super) fn modify_properties(&mut self, command: ModifyWorkflowProperties, annotations: Annotations) {
        if let Some(memo) = &command.upserted_memo {
            let inherited = self.inherited.memo.get_or_insert_default();
            inherited.fields.extend(memo.fields.clone());
            inherited.fields.retain(|_, value| !removes(value));
        }
        let key = self.add_machine(Machine::Upsert(Upsert::memo()));
        self.push_command(
            CommandAttributes::ModifyWorkflowPropertiesCommandAttributes(ModifyWorkflowPropertiesCommandAttributes {
                upserted_memo: command.upserted_memo,
            }),
            key,
            annotations,
        );
    }

    pub(super) fn push_upsert(&mut self, attributes: SearchAttributes, annotations: Annotations) {
        let key = self.add_machine(Machine::Upsert(Upsert::attributes()));
        let command = UpsertWorkflowSearchAttributesCommandAttributes { search_attributes: Some(attributes) };
        self.push_command(CommandAttributes::UpsertWorkflowSearchAttributesCommandAttributes(command), key, annotations);
    }
}

/// The service's rule: a null or an empty list takes a field away.
fn removes(value: &Payload) -> bool {
    match value.metadata.get("encoding").map(Vec::as_slice) {
        Some(b"binary/null") => value.data.is_empty(),
        Some(b"json/plain") => value.data == b"[]",
        _ => false,
    }
}
