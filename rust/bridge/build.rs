//! Makes the Rust side of `udl/`: UniFFI's scaffolding and the messages of the hot path (without `protoc`).

use std::{error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let udl = durable_bindgen::repository().join("udl");
    let contract = udl.join("durable_core.udl");
    let messages = udl.join("durable_bridge.proto");
    println!("cargo:rerun-if-changed={}", contract);
    println!("cargo:rerun-if-changed={}", messages);
    uniffi::generate_scaffolding_for_crate(contract.as_str(), "durable_bridge")?;
    let descriptors = protox::compile([fs::canonicalize(&messages)?], [fs::canonicalize(&udl)?])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
