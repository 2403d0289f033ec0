//! The simulator: the real engine on a disk, on clocks and with ids that follow from a seed, and what may befall them.

// Fields the API calls deprecated are still part of what histories carry.
#![allow(deprecated)]

mod chance;
mod claims;
mod client;
mod clock;
mod cut;
mod disk;
mod driver;
mod histories;
mod ledger;
mod plan;
mod raw;
mod recording;
mod recovery;
mod worker;

pub use chance::Chance;
pub use cut::{LOSSES, Loss, Platter};
pub use disk::{Disk, Failing, Fault, Image, Op};
pub use ledger::{Deed, Ledger};
pub use recording::{Recording, Turn};
pub use recovery::{Checker, places, syncs};
