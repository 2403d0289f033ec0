//! What calls show of a schedule.

use jiff::Timestamp;
use temporalio_protos::temporal::api::schedule::v1::{
    Schedule as Definition, ScheduleInfo, ScheduleListEntry, ScheduleListInfo, schedule_action::Action,
};

use super::{schedule::Schedule, spec::complete};
use crate::state::time::timestamp;

const FUTURE_TIMES: usize = 10;
/// Of actions and times in lists.
const LISTED: usize = 5;
/// Of calendars and intervals in lists.
const LISTED_SPECS: usize = 10;

/// Seconds since the epoch as workflow ids have them.
pub fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

/// A JSON string.
pub fn json_string(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

impl Schedule {
    pub fn shown_definition(&self) -> Definition {
        let mut schedule = self.record.schedule.clone();
        schedule.spec.iter_mut().for_each(complete);
        schedule
    }

    pub fn shown_info(&self) -> ScheduleInfo {
        ScheduleInfo {
            future_action_times: self.future_times(FUTURE_TIMES).into_iter().map(timestamp).collect(),
            buffer_size: i64::try_from(self.record.buffer.len()).unwrap_or(i64::MAX),
            ..self.record.info.clone()
        }
    }

    pub fn shown_entry(&self) -> ScheduleListEntry {
        let definition = self.shown_definition();
        let mut spec = definition.spec.unwrap_or_default();
        spec.timezone_data.clear();
        spec.structured_calendar.truncate(LISTED_SPECS);
        spec.exclude_structured_calendar.truncate(LISTED_SPECS);
        spec.interval.truncate(LISTED_SPECS);
        let Some(Action::StartWorkflow(workflow)) = definition.action.unwrap_or_default().action else { return Default::default() };
        let state = definition.state.unwrap_or_default();
        let recent = &self.record.info.recent_actions;
        ScheduleListEntry {
            schedule_id: self.record.id.clone(),
            memo: self.record.memo.clone(),
            search_attributes: self.record.search_attributes.clone(),
            info: Some(ScheduleListInfo {
                spec: Some(spec),
                workflow_type: workflow.workflow_type,
                notes: state.notes,
                paused: state.paused,
                recent_actions: recent[recent.len().saturating_sub(LISTED)..].to_vec(),
                future_action_times: self.future_times(LISTED).into_iter().map(timestamp).collect(),
                ..Default::default()
            }),
        }
    }
}
