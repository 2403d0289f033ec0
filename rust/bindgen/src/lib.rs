//! What makes code from `udl/`: the Python module here, the Rust side in `bridge`'s build script.
//!
//! `bridge` depends on this crate, if only for a path, so that a source distribution contains the generator.

pub mod python;

use camino::{Utf8Path, Utf8PathBuf};

/// The directory that holds `udl/`, `rust/` and `src/`.
pub fn repository() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
