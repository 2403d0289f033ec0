//! `uniffi-bindgen` of this workspace: the generator must be of exactly the release that the library was built with,
//! and must find `udl/`. Understands the one command that maturin gives:
//! `generate --no-format --language python --out-dir DIRECTORY --library LIBRARY`.

use anyhow::{Context, Result, bail};
use camino::Utf8PathBuf;
use durable_bindgen::python;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some("generate") {
        bail!("usage: uniffi-bindgen generate --language python --out-dir DIRECTORY [--no-format] [--library] LIBRARY");
    }
    let (mut directory, mut library) = (None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--out-dir" => directory = arguments.next().map(Utf8PathBuf::from),
            "--language" => match arguments.next().as_deref() {
                Some("python") => {}
                other => bail!("--language: only python is generated, not {other:?}"),
            },
            // Formatting would need a tool that is not there; library mode is found out from the file's name.
            "--no-format" | "--library" => {}
            "--config" => drop(arguments.next()),
            flag if flag.starts_with('-') => bail!("unknown option {flag}"),
            _ => library = Some(Utf8PathBuf::from(argument)),
        }
    }
    let directory = directory.context("--out-dir is missing")?;
    python::generate(&library.context("the library's path is missing")?, &directory)
}
