//! A workload on a disk that writes everything down: what power cuts are tried on.

use std::sync::{LazyLock, RwLock};

use temporalio_protos::temporal::api::workflowservice::v1::CountWorkflowExecutionsRequest;

use crate::{
    chance::Chance,
    client::Client,
    clock::Clock,
    disk::{Disk, Op},
    driver::Driver,
    ledger::Ledger,
    raw::{Mount, seed_sqlite, seed_thread},
    worker::NAMESPACE,
};

const MILLISECOND: i64 = 1_000_000;

/// SQLite's random numbers belong to the process: nobody else takes any while a recording is made.
pub static RANDOMNESS: LazyLock<RwLock<()>> = LazyLock::new(RwLock::default);

/// The state of things after a turn of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// What had been done to the disk.
    pub position: usize,
    pub now: i64,
    /// Of the file's contents.
    pub digest: u64,
}

pub struct Recording {
    pub seed: u64,
    pub log: Vec<Op>,
    pub ledger: Ledger,
    pub turns: Vec<Turn>,
    pub commits: u64,
    pub syncs: u64,
}

impl Recording {
    /// Runs the workload of a seed until there were so many transactions. The same seed gives the same recording.
    pub fn make(seed: u64, commits: u64) -> Result<Recording, String> {
        Recording::make_on(Disk::logging(), seed, commits)
    }

    pub fn make_on(disk: Disk, seed: u64, commits: u64) -> Result<Recording, String> {
        let _guard = RANDOMNESS.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The maps of the standard library have keys of their own in each thread.
        std::thread::scope(|scope| {
            scope.spawn(|| record(disk, seed, commits)).join().unwrap_or_else(|_| Err("the workload panicked".into()))
        })
    }
}

fn record(disk: Disk, seed: u64, commits: u64) -> Result<Recording, String> {
    seed_thread(seed);
    seed_sqlite((seed % 1_000_000) as i32 + 1);
    let mut chance = Chance::new(seed);
    let mut driver = Driver::open(Mount::new(disk), Clock::new(0, chance.fork()))?;
    let mut client = Client::default();
    let mut turns = vec![turn(&driver)?];
    while driver.engine.commits() < commits {
        driver.poll(2);
        for _ in 0..chance.below(4) {
            let mut wants = std::mem::take(&mut driver.wants);
            if let Some((deed, request)) = client.next(&mut chance, &mut wants) {
                driver.ask(deed, request);
            }
            driver.wants = wants;
        }
        work(&mut driver, &mut chance);
        let before = driver.engine.commits();
        driver.step()?;
        if driver.engine.commits() > before + 1 {
            return Err("more than one transaction in one turn: what is between them was not seen".into());
        }
        turns.push(turn(&driver)?);
        if turns.len() % 8 == 0 {
            let request = CountWorkflowExecutionsRequest { namespace: NAMESPACE.into(), query: "ExecutionStatus = 'Running'".into() };
            client.open = driver.look(request).map_err(|status| status.message)?.count;
            turns.push(turn(&driver)?);
        }
        let pause = if chance.percent(5) { 5_000 } else { 10 + chance.below(300) as i64 };
        driver.clock.advance(pause * MILLISECOND);
    }
    let mut disk = driver.mount.disk();
    let (log, syncs) = (std::mem::take(&mut disk.log), disk.syncs);
    drop(disk);
    Ok(Recording { seed, log, syncs, turns, commits: driver.engine.commits(), ledger: driver.ledger })
}

/// The worker answers some of what it has; the rest later, or never.
fn work(driver: &mut Driver, chance: &mut Chance) {
    for task in std::mem::take(&mut driver.tasks) {
        match chance.below(100) {
            0..=69 => {
                driver.answer_task(&task);
            }
            70..=97 => driver.tasks.push(task),
            _ => {}
        }
    }
    for task in std::mem::take(&mut driver.activities) {
        match chance.below(100) {
            0..=59 => {
                driver.answer_activity(&task);
            }
            60..=95 => driver.activities.push(task),
            _ => {}
        }
    }
}

fn turn(driver: &Driver) -> Result<Turn, String> {
    Ok(Turn { position: driver.position(), now: driver.clock.now(), digest: driver.digest()? })
}
