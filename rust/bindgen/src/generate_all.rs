//! Makes the committed files of `generated/`: `generate-all LIBRARY DIRECTORY`.
//!
//! `durable_core.py` is UniFFI's; `descriptors.bin` holds the messages of the service, of its core interface and of
//! `udl/durable_bridge.proto` for Python's private descriptor pool.

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use durable_bindgen::{python, repository};
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

/// Parts of the crate's descriptor set that nothing here speaks: the cloud's control plane, the Java test server.
const LEFT_OUT: [&str; 2] = ["temporal/api/cloud/", "temporal/api/testservice/"];

const HEADER: &str = "# Made from udl/durable_core.udl by UniFFI 0.32.2 (`.ci/gen`); never edited by hand.\n";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).map(Utf8PathBuf::from);
    let usage = "usage: generate-all LIBRARY DIRECTORY";
    let (library, directory) = (arguments.next().context(usage)?, arguments.next().context(usage)?);
    python::generate(&library, &directory)?;
    let module = directory.join("durable_core.py");
    let text = std::fs::read_to_string(&module).with_context(|| format!("{module} was not made"))?;
    std::fs::write(&module, format!("{HEADER}{}", strip_trailing_space(&text)))?;
    std::fs::write(directory.join("descriptors.bin"), descriptors(&repository().join("udl"))?)?;
    Ok(())
}

/// The generator leaves blanks at ends of lines; repositories' whitespace checks do not like them.
fn strip_trailing_space(text: &str) -> String {
    let mut lines = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    lines.push('\n');
    lines
}

fn descriptors(udl: &Utf8Path) -> Result<Vec<u8>> {
    let service = std::fs::read(env!("SERVICE_DESCRIPTORS")).context("the service's descriptors")?;
    let mut set = FileDescriptorSet::decode(service.as_slice())?;
    set.file.retain(|file| !LEFT_OUT.iter().any(|prefix| file.name().starts_with(prefix)));
    let bridge = protox::compile([udl.join("durable_bridge.proto").as_std_path()], [udl.as_std_path()])?;
    set.file.extend(bridge.file);
    set.file.iter_mut().for_each(|file: &mut FileDescriptorProto| file.source_code_info = None);
    Ok(FileDescriptorSet { file: by_dependency(set.file) }.encode_to_vec())
}

/// Every file after those it imports, by name where that leaves a choice: the order must not vary between machines.
fn by_dependency(mut files: Vec<FileDescriptorProto>) -> Vec<FileDescriptorProto> {
    files.sort_by(|one, other| one.name().cmp(other.name()));
    let mut ordered: Vec<FileDescriptorProto> = Vec::with_capacity(files.len());
    while !files.is_empty() {
        let waiting: Vec<String> = files.iter().map(|file| file.name().to_owned()).collect();
        let ready = files.iter().position(|file| file.dependency.iter().all(|name| !waiting.contains(name)));
        // Imports cannot form a ring; were there one, the pool would name it better than this program.
        ordered.push(files.remove(ready.unwrap_or(0)));
    }
    ordered
}
