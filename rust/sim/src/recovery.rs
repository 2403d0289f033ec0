//! What must hold of an engine that is opened on what a power cut has left.

use std::collections::BTreeSet;

use durable_client::{Code, Rpc};
use temporalio_protos::temporal::api::workflowservice::v1::{DeleteScheduleRequest, DescribeScheduleRequest, ListSchedulesRequest};

use crate::{
    chance::Chance,
    claims,
    client::signal,
    clock::Clock,
    cut::{Loss, Platter},
    disk::{Disk, Image},
    driver::{Driver, Want},
    histories::{self, executions, history},
    ledger::Deed,
    plan::decide,
    raw::Mount,
    recording::{RANDOMNESS, Recording, Turn},
    worker::NAMESPACE,
};

const SECOND: i64 = 1_000_000_000;
/// Turns until every workflow must have ended.
const MAX_TURNS: usize = 5_000;

/// Checks one recording. What an engine does when it goes on follows from the rows of its file, which are compared after every cut; so it
/// goes on once from each state and moment, and no further when the same comes again.
pub struct Checker<'a> {
    recording: &'a Recording,
    /// By the turn whose state was found and how many turns there were before the cut.
    endings: BTreeSet<(usize, usize)>,
    /// Cuts after which the file was as it had to be.
    pub checked: usize,
    /// Cuts after which every workflow was let come to its end.
    pub ended: usize,
}

impl<'a> Checker<'a> {
    pub fn new(recording: &'a Recording) -> Checker<'a> {
        Checker { recording, endings: BTreeSet::new(), checked: 0, ended: 0 }
    }

    /// Cuts the power at `places` of the recording, in ascending order, each time with a loss by chance, and checks what is left. Returns
    /// the first thing that is wrong, with all that is needed to see it again.
    pub fn check(&mut self, places: &[usize], losses: &[Loss], seed: u64) -> Result<(), String> {
        let mut platter = Platter::new(&self.recording.log);
        let mut chance = Chance::new(seed);
        for place in places {
            platter.advance(*place);
            let mut chance = chance.fork();
            let loss = losses[chance.below(losses.len())];
            let image = platter.cut(loss, &mut chance);
            self.check_image(image, *place, chance).map_err(|wrong| {
                let (made, operations) = (self.recording.seed, self.recording.log.len());
                format!("recording {made}, cuts of seed {seed}, cut at {place} of {operations}, loss of {loss:?}: {wrong}")
            })?;
        }
        Ok(())
    }

    /// Opens an engine on `image` and looks whether it is what it must be after a cut at `cut`; then lets every workflow end.
    fn check_image(&mut self, image: Image, cut: usize, ids: Chance) -> Result<(), String> {
        let _guard = RANDOMNESS.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let turns = &self.recording.turns;
        let passed = turns.partition_point(|turn| turn.position <= cut);
        // Opening is before the first turn, and leaves what the first turn finds.
        let first = passed.saturating_sub(1);
        let known: &[Turn] = &turns[first..turns.len().min(passed + 1)];
        let now = known.last().map_or(0, |turn| turn.now) + SECOND;
        let clock = Clock::new(now, ids);
        let mut driver = Driver::open(Mount::new(Disk::of(image)), clock).map_err(|error| format!("it does not open: {error}"))?;
        let integrity = driver.engine.integrity()?;
        if integrity != "ok" {
            return Err(format!("SQLite finds the file damaged: {integrity}"));
        }
        let digest = driver.digest()?;
        let Some(found) = known.iter().position(|turn| turn.digest == digest) else {
            return Err(match turns.iter().rposition(|turn| turn.digest == digest) {
                Some(other) => format!("acknowledged work is lost: the file is as after turn {other}, and turn {first} was over"),
                None => format!("work is done by halves: the file is as after no turn, and turn {first} was over"),
            });
        };
        self.checked += 1;
        driver.step()?;
        if !self.endings.insert((first + found, passed)) {
            return Ok(());
        }
        self.ended += 1;
        go_on(&mut driver, self.recording, cut)
    }
}

/// Asks again what has no answer, lets every workflow end and compares the books.
fn go_on(driver: &mut Driver, recording: &Recording, cut: usize) -> Result<(), String> {
    check_schedules(driver, recording, cut)?;
    for entry in recording.ledger.entries.iter().filter(|entry| entry.asked <= cut && !entry.is_answered(cut)) {
        if matches!(entry.deed, Deed::Start { .. } | Deed::Signal { .. } | Deed::Update { .. } | Deed::Cancel { .. }) {
            driver.ask(entry.deed.clone(), entry.request.clone());
        }
    }
    finish(driver)?;
    let runs = histories::all(driver)?;
    claims::check(&recording.ledger, &driver.ledger, cut, &runs)
}

/// So many places by chance, in ascending order.
pub fn places(recording: &Recording, count: usize, seed: u64) -> Vec<usize> {
    let mut chance = Chance::new(seed);
    let mut places: Vec<usize> = (0..count).map(|_| chance.below(recording.log.len() + 1)).collect();
    places.sort_unstable();
    places
}

/// Before and after each sync.
pub fn syncs(recording: &Recording) -> Vec<usize> {
    let is_sync = |op: &crate::disk::Op| matches!(op, crate::disk::Op::Sync { .. } | crate::disk::Op::SyncDirectory);
    let places = recording.log.iter().enumerate().filter(|(_, op)| is_sync(op)).flat_map(|(place, _)| [place, place + 1]);
    places.collect::<BTreeSet<usize>>().into_iter().collect()
}

/// Schedules are there and gone as the client knows; then all are deleted, because their workflows would never end.
fn check_schedules(driver: &mut Driver, recording: &Recording, cut: usize) -> Result<(), String> {
    let entries = || recording.ledger.entries.iter().filter(|entry| entry.asked <= cut);
    for entry in entries().filter(|entry| entry.is_acknowledged(cut)) {
        let (schedule_id, must_be) = match &entry.deed {
            Deed::CreateSchedule { schedule_id } => (schedule_id, true),
            Deed::DeleteSchedule { schedule_id } => (schedule_id, false),
            _ => continue,
        };
        let deletion = Deed::DeleteSchedule { schedule_id: schedule_id.clone() };
        if must_be && entries().any(|other| other.deed == deletion) {
            continue;
        }
        let found = driver.look(DescribeScheduleRequest { namespace: NAMESPACE.into(), schedule_id: schedule_id.clone() });
        let is_there = found.as_ref().map_or_else(|status| status.code != Code::NotFound, |_| true);
        if is_there != must_be {
            return Err(format!("{:?} was acknowledged before the cut; the schedule: {found:?}", entry.deed));
        }
    }
    let list = ListSchedulesRequest { namespace: NAMESPACE.into(), maximum_page_size: 100, ..Default::default() };
    for schedule in driver.look(list).map_err(|status| status.message)?.schedules {
        let request = DeleteScheduleRequest { namespace: NAMESPACE.into(), schedule_id: schedule.schedule_id, ..Default::default() };
        driver.ask(Deed::Nothing, request.into_request());
    }
    Ok(())
}

/// Works and signals until every workflow has ended.
pub fn finish(driver: &mut Driver) -> Result<(), String> {
    let mut is_known = false;
    let mut signals = 0;
    for _ in 0..MAX_TURNS {
        driver.poll(4);
        let answers = driver.step()?;
        for task in std::mem::take(&mut driver.tasks) {
            driver.answer_task(&task);
        }
        for task in std::mem::take(&mut driver.activities) {
            driver.answer_activity(&task);
        }
        for Want { workflow_id, run_id, signal: name } in std::mem::take(&mut driver.wants) {
            signals += 1;
            let (deed, request) = signal(&workflow_id, &run_id, format!("after{signals}/{name}"));
            driver.ask(deed, request);
        }
        if answers > 0 {
            continue;
        }
        let open = executions(driver, "ExecutionStatus = 'Running'")?;
        if open.is_empty() {
            return Ok(());
        }
        if is_known {
            let pause = i64::try_from(driver.engine.pause().as_nanos()).unwrap_or(SECOND);
            driver.clock.advance(pause.max(1_000_000));
            continue;
        }
        // Those that waited before the cut have no task that would tell what they wait for.
        is_known = true;
        for execution in open {
            let events = history(driver, &execution.workflow_id, &execution.run_id)?;
            for signal in decide(&events).wants {
                driver.wants.push(Want { workflow_id: execution.workflow_id.clone(), run_id: execution.run_id.clone(), signal });
            }
        }
    }
    let open = executions(driver, "ExecutionStatus = 'Running'")?;
    let mut report = format!("{} workflows do not end", open.len());
    if let Some(execution) = open.first() {
        let events = history(driver, &execution.workflow_id, &execution.run_id)?;
        report.push_str(&format!(": {} {}\n{}", execution.workflow_id, execution.run_id, histories::listed(&events)));
    }
    Err(report)
}
