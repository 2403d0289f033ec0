//! The Python side of `udl/durable_core.udl`, made by the same release of UniFFI as the Rust side.

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};
use uniffi_bindgen::{
    BindgenPaths, BindgenPathsLayer,
    bindings::{GenerateOptions, TargetLanguage, generate_with_bindgen_paths},
};

/// The contract lies beside the Rust workspace, not inside a crate, where UniFFI would look for it.
struct Contract;

impl BindgenPathsLayer for Contract {
    fn get_udl_path(&self, _crate_name: &str, udl_name: &str) -> Option<Utf8PathBuf> {
        Some(crate::repository().join("udl").join(format!("{udl_name}.udl")))
    }
}

/// Writes `durable_core.py` for the library at `library` into `directory`.
pub fn generate(library: &Utf8Path, directory: &Utf8Path) -> Result<()> {
    let mut paths = BindgenPaths::default();
    paths.add_layer(Contract);
    let options = GenerateOptions {
        languages: vec![TargetLanguage::Python],
        source: library.to_owned(),
        out_dir: directory.to_owned(),
        ..GenerateOptions::default()
    };
    generate_with_bindgen_paths(options, paths)
}
