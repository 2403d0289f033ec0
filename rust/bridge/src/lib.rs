//! The functions of `udl/durable_core.udl`: where Python and Rust meet. The only crate with `unsafe` (UniFFI's, and the
//! table of handles).

mod answer;
mod error;
mod instance;
mod messages;
mod queue;
mod registry;
mod replay;
mod serving;
mod target;
mod workers;

use crate::{
    error::{Result, guard},
    instance::Core,
    registry::Registry,
    replay::Replay,
};

pub use error::BridgeError;

uniffi::include_scaffolding!("durable_core");

static CORES: Registry<Core> = Registry::new("core");
static REPLAYS: Registry<Replay> = Registry::new("replay");

pub fn core_version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

pub fn core_open() -> Result<u64> {
    guard(|| Ok(CORES.insert(Core::open()?)))
}

pub fn core_wake_fd(core: u64) -> Result<i32> {
    guard(|| Ok(CORES.get(core)?.wake_fd()))
}

pub fn core_submit(core: u64, commands: &[u8]) -> Result<()> {
    guard(|| CORES.get(core)?.submit(commands))
}

pub fn core_drain(core: u64, limit: u32) -> Result<Vec<u8>> {
    guard(|| Ok(CORES.get(core)?.drain(limit)))
}

pub fn core_close(core: u64) {
    // The contract of closing has no error: a panic there was told by the hook's owner and leaves nothing to do.
    let _ = guard(|| {
        if let Some(core) = CORES.remove(core) {
            core.close();
        }
        Ok(())
    });
}

pub fn core_close_all() {
    for core in CORES.remove_all() {
        let _ = guard(|| {
            core.close();
            Ok(())
        });
    }
}

pub fn replay_open(history: &[u8], workflow_id: String, run_id: String) -> Result<u64> {
    guard(|| Ok(REPLAYS.insert(Replay::open(history, workflow_id, run_id)?)))
}

pub fn replay_step(replay: u64, completion: &[u8]) -> Result<Vec<u8>> {
    guard(|| REPLAYS.get(replay)?.step(completion))
}

pub fn replay_close(replay: u64) {
    let _ = guard(|| {
        drop(REPLAYS.remove(replay));
        Ok(())
    });
}

#[allow(clippy::panic)] // its purpose
pub fn core_panic_for_tests() -> Result<()> {
    guard(|| panic!("on purpose"))
}
