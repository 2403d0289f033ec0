//! What a schedule is between two commits: the message stored in the file. Fields are only ever added.

use temporalio_protos::temporal::api::{
    common::v1::{Memo, Payloads, SearchAttributes},
    failure::v1::Failure,
    schedule::v1::{Schedule, ScheduleInfo},
};

#[derive(Clone, PartialEq, prost::Message)]
pub struct ScheduleRecord {
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its spec is in the canonical form, its policies are complete.
    #[prost(message, required, tag = "2")]
    pub schedule: Schedule,
    /// Without what follows from the rest: future times and the buffer's size.
    #[prost(message, required, tag = "3")]
    pub info: ScheduleInfo,
    #[prost(int64, tag = "4")]
    pub conflict_token: i64,
    /// Times up to this one have been dealt with.
    #[prost(int64, tag = "5")]
    pub done_until: i64,
    #[prost(message, repeated, tag = "6")]
    pub buffer: Vec<BufferedStart>,
    #[prost(message, repeated, tag = "7")]
    pub backfills: Vec<BackfillRecord>,
    /// What the next workflow gets from the last one that completed.
    #[prost(message, optional, tag = "8")]
    pub last_completion_result: Option<Payloads>,
    #[prost(message, optional, tag = "9")]
    pub continued_failure: Option<Failure>,
    #[prost(message, optional, tag = "10")]
    pub memo: Option<Memo>,
    #[prost(message, optional, tag = "11")]
    pub search_attributes: Option<SearchAttributes>,
    /// Of its creation, and of the newest patches: a call that comes twice is done once.
    #[prost(string, repeated, tag = "12")]
    pub requests: Vec<String>,
    #[prost(int64, tag = "13")]
    pub create_time: i64,
    #[prost(int64, tag = "14")]
    pub update_time: i64,
}

/// A start that waits for its turn.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BufferedStart {
    #[prost(int64, tag = "1")]
    pub nominal: i64,
    /// The nominal time with jitter.
    #[prost(int64, tag = "2")]
    pub at: i64,
    /// 0: the schedule's own policy, as it is when the turn comes.
    #[prost(int32, tag = "3")]
    pub overlap_policy: i32,
    /// By a trigger or a backfill: neither pause nor limit nor catch-up window concern it.
    #[prost(bool, tag = "4")]
    pub manual: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct BackfillRecord {
    /// Times after it are still to do.
    #[prost(int64, tag = "1")]
    pub after: i64,
    #[prost(int64, tag = "2")]
    pub until: i64,
    #[prost(int32, tag = "3")]
    pub overlap_policy: i32,
}
