//! Schedules. `fields`, `calendar` and `spec` say when a schedule acts; nothing here knows a clock, a file or a thread.

mod calendar;
mod fields;
mod spec;
#[cfg(test)]
mod tests;
