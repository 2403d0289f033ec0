#![allow(deprecated)]

mod schedule;
mod spec;
