//! The messages of `udl/durable_bridge.proto`.

#![allow(clippy::all, clippy::pedantic, missing_docs)]
include!(concat!(env!("OUT_DIR"), "/durable_anyio.bridge.v1.rs"));
