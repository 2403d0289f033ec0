//! Search attributes and memo that the commands of a run write: its own, a child's, the next run's.

use prost::Message;
use temporalio_protos::temporal::api::{
    command::v1::{
        Command, ModifyWorkflowPropertiesCommandAttributes, UpsertWorkflowSearchAttributesCommandAttributes, command::Attributes as C,
    },
    common::v1::{Memo, SearchAttributes},
    enums::v1::WorkflowTaskFailedCause as Cause,
    history::v1::{UpsertWorkflowSearchAttributesEventAttributes, WorkflowPropertiesModifiedEventAttributes, history_event::Attributes},
};

use super::{
    attributes::{Registry, drop_removed, removes},
    command::Refusal,
    filter::Value,
    limit::MAX_BLOB_BYTES,
    run::Run,
    time::Nanos,
};

impl Registry {
    /// Checks the search attributes in commands and completes them as the service does.
    pub fn complete_commands(&self, commands: &mut [Command]) -> Result<(), Refusal> {
        for command in commands {
            self.complete_command(command).map_err(|text| (Cause::BadSearchAttributes, text))?;
        }
        Ok(())
    }

    fn complete_command(&self, command: &mut Command) -> Result<(), String> {
        match &mut command.attributes {
            Some(C::UpsertWorkflowSearchAttributesCommandAttributes(upsert)) => {
                let missing = match &upsert.search_attributes {
                    None => "SearchAttributes",
                    Some(attributes) if attributes.indexed_fields.is_empty() => "IndexedFields",
                    Some(_) => "",
                };
                if !missing.is_empty() {
                    return Err(format!("{missing} is not set on UpsertWorkflowSearchAttributesCommand."));
                }
                self.complete(&mut upsert.search_attributes).map_err(|refused| refused.text(|text| text))
            }
            Some(C::StartChildWorkflowExecutionCommandAttributes(child)) => {
                self.complete(&mut child.search_attributes).map_err(|refused| {
                    refused.text(|text| {
                        let name = child.workflow_type.as_ref().map_or("", |kind| kind.name.as_str());
                        format!(
                            "invalid SearchAttributes on StartChildWorkflowCommand: {text}. WorkflowId={} WorkflowType={name} Namespace={}",
                            child.workflow_id,
                            self.namespace()
                        )
                    })
                })?;
                drop_removed(&mut child.search_attributes, &mut child.memo);
                Ok(())
            }
            Some(C::ContinueAsNewWorkflowExecutionCommandAttributes(next)) => {
                self.complete(&mut next.search_attributes).map_err(|refused| {
                    refused.text(|text| {
                        let name = next.workflow_type.as_ref().map_or("", |kind| kind.name.as_str());
                        let queue = next.task_queue.as_ref().map_or("", |queue| queue.name.as_str());
                        format!(
                            "invalid SearchAttributes on ContinueAsNewWorkflowExecutionCommand: {text}. WorkflowType={name} \
                             TaskQueue={queue}"
                        )
                    })
                })?;
                drop_removed(&mut next.search_attributes, &mut next.memo);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Run {
    pub fn search_attributes(&self) -> Option<&SearchAttributes> {
        self.record.search_attributes.as_ref().or(self.started().search_attributes.as_ref())
    }

    pub fn memo(&self) -> Option<&Memo> {
        self.record.memo.as_ref().or(self.started().memo.as_ref())
    }

    /// Checks a change of the memo; `after` is the memo after the changes before it.
    pub fn check_memo(&self, modify: &ModifyWorkflowPropertiesCommandAttributes, after: &mut Option<Memo>) -> Result<(), Refusal> {
        let bad = |text: &str| Err((Cause::BadModifyWorkflowPropertiesAttributes, text.to_owned()));
        let Some(upserted) = &modify.upserted_memo else { return bad("UpsertedMemo is not set on ModifyWorkflowPropertiesCommand.") };
        if upserted.fields.is_empty() {
            return bad("UpsertedMemo.Fields is not set on ModifyWorkflowPropertiesCommand.");
        }
        let memo = after.get_or_insert_with(|| self.memo().cloned().unwrap_or_default());
        merge_memo(memo, upserted);
        if memo.encoded_len() > MAX_BLOB_BYTES {
            return bad("ModifyWorkflowPropertiesCommandAttributes. Memo exceeds size limit.");
        }
        Ok(())
    }

    /// What an event of the run says about its search attributes.
    pub fn take_attributes(&mut self, changes: &Option<SearchAttributes>) {
        let mut current = self.search_attributes().cloned().unwrap_or_default();
        for (name, value) in changes.iter().flat_map(|attributes| &attributes.indexed_fields) {
            if removes(value) {
                current.indexed_fields.remove(name);
            } else {
                current.indexed_fields.insert(name.clone(), value.clone());
            }
        }
        self.record.search_attributes = Some(current);
        self.attributes_changed = true;
    }

    /// What an event of the run says about its memo.
    pub fn take_memo(&mut self, changes: &Option<Memo>) {
        let mut memo = self.memo().cloned().unwrap_or_default();
        if let Some(changes) = changes {
            merge_memo(&mut memo, changes);
        }
        self.record.memo = Some(memo);
    }

    pub fn upsert_attributes(&mut self, now: Nanos, upsert: UpsertWorkflowSearchAttributesCommandAttributes, completed: i64) {
        self.take_attributes(&upsert.search_attributes);
        self.add(
            now,
            Attributes::UpsertWorkflowSearchAttributesEventAttributes(UpsertWorkflowSearchAttributesEventAttributes {
                workflow_task_completed_event_id: completed,
                search_attributes: upsert.search_attributes,
            }),
        );
    }

    pub fn modify_properties(&mut self, now: Nanos, modify: ModifyWorkflowPropertiesCommandAttributes, completed: i64) {
        self.take_memo(&modify.upserted_memo);
        self.add(
            now,
            Attributes::WorkflowPropertiesModifiedEventAttributes(WorkflowPropertiesModifiedEventAttributes {
                workflow_task_completed_event_id: completed,
                upserted_memo: modify.upserted_memo,
            }),
        );
    }

    /// What lists find the run by, besides the columns of its row.
    pub fn index(&self, registry: &Registry) -> Vec<(String, Value)> {
        let info = super::read::info(&self.record);
        let mut rows = registry.index(&info.search_attributes.unwrap_or_default());
        if let Some(parent) = info.parent_execution {
            rows.push(("ParentWorkflowId".to_owned(), Value::Text(parent.workflow_id)));
            rows.push(("ParentRunId".to_owned(), Value::Text(parent.run_id)));
        }
        rows
    }
}

fn merge_memo(memo: &mut Memo, changes: &Memo) {
    for (name, value) in &changes.fields {
        if removes(value) {
            memo.fields.remove(name);
        } else {
            memo.fields.insert(name.clone(), value.clone());
        }
    }
}
