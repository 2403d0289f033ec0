//! What becomes of starts that wait, while something the schedule started runs or not.

use temporalio_protos::temporal::api::enums::v1::ScheduleOverlapPolicy as Policy;

use super::record::BufferedStart;

/// How what runs is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Cancel,
    Terminate,
}

#[derive(Debug, Default, PartialEq)]
pub struct Decision {
    /// To start beside whatever runs.
    pub beside: Vec<BufferedStart>,
    /// To start, because nothing runs.
    pub alone: Option<BufferedStart>,
    pub end: Option<End>,
    /// What goes on waiting.
    pub kept: Vec<BufferedStart>,
    pub skipped: i64,
}

/// Decides about all waiting starts in their order. `resolve` gives a start's policy, never the unspecified one.
pub fn decide(waiting: Vec<BufferedStart>, is_running: bool, resolve: impl Fn(i32) -> Policy) -> Decision {
    let mut decision = Decision::default();
    for start in waiting {
        match resolve(start.overlap_policy) {
            Policy::AllowAll => decision.beside.push(start),
            _ if !is_running && decision.alone.is_none() => decision.alone = Some(start),
            Policy::BufferAll => decision.kept.push(start),
            Policy::BufferOne if decision.kept.is_empty() => decision.kept.push(start),
            policy @ (Policy::CancelOther | Policy::TerminateOther) if is_running => {
                let end = if policy == Policy::TerminateOther { End::Terminate } else { End::Cancel };
                decision.end = decision.end.max(Some(end));
                decision.kept.push(start);
            }
            // Nothing of the other's has begun: this one takes its place.
            Policy::CancelOther | Policy::TerminateOther => decision.alone = Some(start),
            _ => decision.skipped += 1,
        }
    }
    if decision.end.is_some() {
        // They would be ended with the rest.
        decision.beside.clear();
    }
    decision
}
