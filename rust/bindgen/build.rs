//! Passes on where the service's messages left their descriptors: cargo tells it to build scripts of direct dependents only.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(path) = std::env::var("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH") {
        println!("cargo:rerun-if-changed={path}");
        println!("cargo:rustc-env=SERVICE_DESCRIPTORS={path}");
    }
}
