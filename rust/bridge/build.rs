//! Makes the Rust side of `udl/`: UniFFI's scaffolding and the messages of the hot path (without `protoc`).

use std::{error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let udl = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../udl");
    let contract = udl.join("durable_core.udl");
    let messages = udl.join("durable_bridge.proto");
    println!("cargo:rerun-if-changed={}", contract.display());
    println!("cargo:rerun-if-changed={}", messages.display());
    let contract = contract.to_str().ok_or("the path of udl/ is not UTF-8")?;
    uniffi::generate_scaffolding_for_crate(contract, "durable_bridge")?;
    let descriptors = protox::compile([fs::canonicalize(&messages)?], [fs::canonicalize(&udl)?])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
