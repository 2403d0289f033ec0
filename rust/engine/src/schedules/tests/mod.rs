#![allow(deprecated)]

mod spec;
