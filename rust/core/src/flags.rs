//! Which behaviours a history was recorded with.
//!
//! A completed workflow task carries, in its metadata, the SDK's name and version and the flags of the core and of the
//! language side that were new in that task. A behaviour that changes the order or the checks of a replay is used live
//! (and recorded), and in replay only when the history says that it was used. The numbers of the core's flags are shared
//! with every core-based SDK, so that a history of one replays in the other.

use std::collections::BTreeSet;
use temporalio_protos::temporal::api::{history::v1::WorkflowTaskCompletedEventAttributes, sdk::v1::WorkflowTaskCompletedMetadata};

/// The name that completions carry; readers choose by it how to replay.
pub(crate) const SDK_NAME: &str = "durable-anyio";
pub(crate) const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Ids and types of activities are compared with the history.
pub(crate) const CHECK_IDS_AND_TYPES: u32 = 1;
/// Each patch goes into the search attribute that lists them. Recorded when it is first used, as it says nothing of other runs.
pub(crate) const UPSERT_ON_PATCH: u32 = 2;
/// The command that ends the workflow goes last; commands that the code gave after it are kept in front of it.
/// Without the flag they were dropped.
pub(crate) const ENDING_LAST: u32 = 3;

/// The name in the completions of Temporal's Python SDK.
const PYTHON_SDK: &str = "temporal-python";
/// Its flag for: all jobs of an activation are applied before the workflow runs, as our language side always does it.
const SINGLE_BATCH: u32 = 2;
/// Told to our language side, never recorded: the task was worked on by Temporal's Python SDK without [`SINGLE_BATCH`], which lets the
/// workflow run after the messages of an activation, and again after the rest.
const JOB_SETS: u32 = 1 << 30;

const CORE_FLAGS: [u32; 2] = [CHECK_IDS_AND_TYPES, ENDING_LAST];

#[derive(Debug, Default)]
pub(crate) struct Flags {
    core: BTreeSet<u32>,
    core_new: BTreeSet<u32>,
    lang: BTreeSet<u32>,
    lang_new: BTreeSet<u32>,
    last_name: String,
    last_version: String,
}

impl Flags {
    pub(crate) fn add_completed(&mut self, attributes: &WorkflowTaskCompletedEventAttributes) {
        let Some(metadata) = &attributes.sdk_metadata else { return };
        self.core.extend(&metadata.core_used_flags);
        self.lang.extend(&metadata.lang_used_flags);
        if !metadata.sdk_name.is_empty() {
            self.last_name.clone_from(&metadata.sdk_name);
        }
        if !metadata.sdk_version.is_empty() {
            self.last_version.clone_from(&metadata.sdk_version);
        }
    }

    pub(crate) fn add_lang_used(&mut self, flags: &[u32]) {
        self.lang_new.extend(flags);
    }

    /// True when the history was recorded with this behaviour of the core.
    pub(crate) fn core_was_used(&self, flag: u32) -> bool {
        self.core.contains(&flag)
    }

    /// Whether a behaviour is to be used: always when live, and then it is recorded; in replay as it was.
    pub(crate) fn use_core(&mut self, flag: u32, is_live: bool) -> bool {
        if is_live {
            self.core_new.insert(flag);
        }
        is_live || self.core_was_used(flag)
    }

    /// What the language side is told of the task that is worked on.
    pub(crate) fn lang(&self, replaying: bool) -> Vec<u32> {
        let in_sets = replaying && self.last_name == PYTHON_SDK && !self.lang.contains(&SINGLE_BATCH);
        self.lang.iter().copied().chain(in_sets.then_some(JOB_SETS)).collect()
    }

    /// True when the task that is replayed was another SDK's: its commands may stand in another order than ours.
    pub(crate) fn is_foreign(&self) -> bool {
        !self.last_name.is_empty() && self.last_name != SDK_NAME
    }

    pub(crate) fn last_version(&self) -> &str {
        &self.last_version
    }

    /// What the completion of a live task records: only what the history does not say yet.
    pub(crate) fn take_metadata(&mut self) -> WorkflowTaskCompletedMetadata {
        self.core_new.extend(CORE_FLAGS);
        let core_used_flags = std::mem::take(&mut self.core_new).into_iter().filter(|flag| self.core.insert(*flag)).collect();
        let mut lang_used_flags = Vec::new();
        for flag in std::mem::take(&mut self.lang_new) {
            if self.lang.insert(flag) {
                lang_used_flags.push(flag);
            }
        }
        let sdk_name = if self.last_name == SDK_NAME { String::new() } else { SDK_NAME.to_owned() };
        let sdk_version = if self.last_version == SDK_VERSION { String::new() } else { SDK_VERSION.to_owned() };
        WorkflowTaskCompletedMetadata { core_used_flags, lang_used_flags, sdk_name, sdk_version }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_sets_are_for_replays_of_the_python_sdk_without_its_flag() {
        let mut flags = Flags::default();
        let mut complete = |name: &str, lang_used_flags: Vec<u32>| {
            flags.add_completed(&WorkflowTaskCompletedEventAttributes {
                sdk_metadata: Some(WorkflowTaskCompletedMetadata { sdk_name: name.to_owned(), lang_used_flags, ..Default::default() }),
                ..Default::default()
            });
            (flags.lang(true), flags.lang(false), flags.is_foreign())
        };
        assert_eq!(complete("temporal-go", vec![]), (vec![], vec![], true));
        assert_eq!(complete(PYTHON_SDK, vec![]), (vec![JOB_SETS], vec![], true));
        assert_eq!(complete(SDK_NAME, vec![]), (vec![], vec![], false));
        assert_eq!(complete(PYTHON_SDK, vec![SINGLE_BATCH]), (vec![SINGLE_BATCH], vec![SINGLE_BATCH], true));
    }

    #[test]
    fn only_news_is_recorded() {
        let mut flags = Flags::default();
        flags.add_lang_used(&[4]);
        let first = flags.take_metadata();
        assert_eq!((first.core_used_flags, first.lang_used_flags), (vec![1, 3], vec![4]));
        assert_eq!((first.sdk_name.as_str(), first.sdk_version.as_str()), (SDK_NAME, SDK_VERSION));
        flags.add_completed(&WorkflowTaskCompletedEventAttributes {
            sdk_metadata: Some(WorkflowTaskCompletedMetadata {
                core_used_flags: vec![1, 3],
                lang_used_flags: vec![4],
                sdk_name: SDK_NAME.to_owned(),
                sdk_version: SDK_VERSION.to_owned(),
            }),
            ..Default::default()
        });
        flags.add_lang_used(&[4]);
        assert_eq!(flags.take_metadata(), WorkflowTaskCompletedMetadata::default());
    }
}
