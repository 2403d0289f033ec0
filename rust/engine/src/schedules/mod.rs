//! Schedules. `fields`, `calendar` and `spec` say when a schedule acts, `overlap` what then becomes of what runs, `schedule` is
//! one schedule with its state; all of that is pure. `drive` and `calls` let schedules act on the engine's workflows and
//! answer the service's calls; `record` is what is stored, `shown` what is answered, `filter` what lists ask for.

mod calendar;
mod calls;
mod drive;
mod fields;
mod filter;
mod overlap;
mod record;
mod schedule;
mod shown;
mod spec;
#[cfg(test)]
mod tests;

pub use drive::Schedules;
pub use record::ScheduleRecord;

fn damaged(reason: String) -> durable_client::Status {
    durable_client::Status::new(durable_client::Code::DataLoss, format!("a stored schedule is damaged: {reason}"))
}
