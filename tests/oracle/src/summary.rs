//! Many generated histories, and what came of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use temporalio_protos::{
    coresdk::workflow_completion::workflow_activation_completion::Status,
    temporal::api::history::v1::{History, history_event::Attributes},
};

use crate::{
    compare::{Verdict, compare, differs_from_live, replay_ours},
    dice::Dice,
    known::Known,
    live::generate,
    ours::Ours,
    program::Program,
    service::WORKFLOW_ID,
    spoil::{ALL, Spoiled, spoil},
};

/// A known difference is rare in random histories; within this many there is one.
const KNOWN_LIMIT: u64 = 3_000;

#[derive(Default)]
struct Summary {
    histories: u64,
    activations: usize,
    events: BTreeMap<&'static str, usize>,
    /// With a difference that is known.
    known: BTreeMap<Known, u64>,
    differing: u64,
}

pub async fn generated(first: u64, count: u64) -> Result<()> {
    let mut summary = Summary::default();
    for seed in first..first + count {
        summary.histories += 1;
        if let Err(text) = one(seed, &mut summary).await {
            summary.differing += 1;
            println!("seed {seed}: {text}");
        }
    }
    println!("histories {}", summary.histories);
    println!("activations {}", summary.activations);
    println!("events {}", summary.events.values().sum::<usize>());
    for (kind, count) in &summary.events {
        println!("event {kind} {count}");
    }
    for (known, count) in &summary.known {
        println!("known {known:?} {count}");
    }
    println!("differing {}", summary.differing);
    Ok(())
}

async fn one(seed: u64, summary: &mut Summary) -> Result<(), String> {
    let (generated, fault) = generate(seed, None);
    fault.map_or(Ok(()), Err)?;
    for event in &generated.events {
        *summary.events.entry(event.event_type().as_str_name()).or_default() += 1;
    }
    // A panic of a core is a finding, not the end.
    if let Some(text) = differs_from_live(&generated) {
        return Err(text);
    }
    let known = generated.known.or(Known::of(&generated.events));
    let compared = tokio::spawn(async move { compare(&generated).await }).await;
    let compared = compared.map_err(|panic| format!("panic: {panic}"))?.map_err(|error| format!("{error:#}"))?;
    summary.activations += compared.activations;
    if let Verdict::Bad(reason) = compared.ours {
        return Err(format!("our core refuses a good history: {reason}"));
    }
    let difference = match (compared.theirs, compared.difference) {
        (Verdict::Good, difference) => difference,
        (Verdict::Bad(reason), difference) => Some(format!("the official core refuses a good history: {reason}; {difference:?}")),
    };
    match (difference, known) {
        (None, _) => Ok(()),
        (Some(_), Some(known)) => {
            *summary.known.entry(known).or_default() += 1;
            Ok(())
        }
        (Some(text), None) => Err(text),
    }
}

/// How often each way of spoiling a history was tried, reported by ours, by the official core.
#[derive(Default)]
struct Reports {
    tried: u64,
    by_ours: u64,
    by_theirs: u64,
}

pub async fn spoiled(first: u64, count: u64) -> Result<()> {
    let mut reports: BTreeMap<Spoiled, Reports> = BTreeMap::new();
    for seed in first..first + count {
        let how = ALL[seed as usize % ALL.len()];
        let (mut generated, _) = generate(seed, None);
        if !spoil(&mut generated.events, how, &mut Dice::named(seed, "spoil")) {
            continue;
        }
        let (_, ours) = replay_ours(&generated);
        let theirs = match tokio::spawn(async move { compare(&generated).await }).await {
            Ok(compared) => compared?.theirs,
            Err(panic) => Verdict::Bad(panic.to_string()),
        };
        let report = reports.entry(how).or_default();
        report.tried += 1;
        report.by_ours += u64::from(ours != Verdict::Good);
        report.by_theirs += u64::from(theirs != Verdict::Good);
        if ours == Verdict::Good || (theirs == Verdict::Good && !how.may_pass_official()) {
            println!("seed {seed}: {how:?}: ours {ours:?}, theirs {theirs:?}");
        }
    }
    for (how, report) in &reports {
        println!("spoiled {how:?} {} ours {} theirs {}", report.tried, report.by_ours, report.by_theirs);
    }
    Ok(())
}

/// The first history that has the difference: ours must be content with it, and see what was seen live.
pub async fn known(name: &str) -> Result<()> {
    let known = Known::ALL.into_iter().find(|known| format!("{known:?}") == name).context("no such difference")?;
    for seed in 1..KNOWN_LIMIT {
        let (generated, fault) = generate(seed, Some(known));
        anyhow::ensure!(fault.is_none(), "seed {seed}: {fault:?}");
        if let Some(text) = differs_from_live(&generated) {
            anyhow::bail!("seed {seed}: {text}");
        }
        let is_it = known.is_made() || generated.known.or(Known::of(&generated.events)) == Some(known);
        if !is_it {
            continue;
        }
        let compared = tokio::spawn(async move { compare(&generated).await }).await??;
        anyhow::ensure!(compared.ours == Verdict::Good, "seed {seed}: ours: {:?}", compared.ours);
        if compared.theirs != Verdict::Good || compared.difference.is_some() {
            println!("seed {seed}: theirs {:?} {}", compared.theirs, compared.difference.unwrap_or_default());
            return Ok(());
        }
    }
    anyhow::bail!("no history among {KNOWN_LIMIT} shows it: it may be gone")
}

/// The start of a message, without its own name.
fn short(message: &impl std::fmt::Debug) -> String {
    let text = format!("{message:?}");
    let text = text.trim_start_matches("Some(");
    text.split_once('{').map_or("", |(_, rest)| rest).chars().take(200).collect()
}

fn named(message: &impl std::fmt::Debug) -> String {
    let text = format!("{message:?}");
    let text = text.trim_start_matches("Some(");
    format!("{} {}", text.split('(').next().unwrap_or_default(), short(message))
}

pub async fn show(seed: u64) -> Result<()> {
    let (generated, fault) = generate(seed, None);
    println!("{}", fault.unwrap_or_default());
    for event in &generated.events {
        let name = event.event_type().as_str_name().trim_start_matches("EVENT_TYPE_");
        println!("{:3} {name} {}", event.event_id, short(&event.attributes));
        if let Some(Attributes::WorkflowTaskCompletedEventAttributes(completed)) = &event.attributes {
            println!("      {:?}", completed.sdk_metadata);
        }
        if let Some(Attributes::MarkerRecordedEventAttributes(marker)) = &event.attributes {
            let data = marker.details.get("data").and_then(|payloads| payloads.payloads.first());
            println!("      {}", data.map_or_else(String::new, |payload| String::from_utf8_lossy(&payload.data).into_owned()));
        }
    }
    for activation in &generated.seen {
        println!("-- live: up to event {}", activation.history_length);
        activation.jobs.iter().for_each(|job| println!("   {}", named(&job.variant)));
    }
    let mut ours = Ours::open(WORKFLOW_ID.to_owned(), &generated.run_id, History { events: generated.events });
    let mut program = Program::new(seed);
    while let Some(activation) = ours.next() {
        println!("-- up to event {}, replaying: {}", activation.history_length, activation.is_replaying);
        for job in &activation.jobs {
            println!("   {}", named(&job.variant));
        }
        let completion = program.answer(&activation);
        if let Some(Status::Successful(success)) = &completion.status {
            for command in &success.commands {
                println!("      > {}", named(&command.variant));
            }
        }
        ours.complete(completion);
    }
    Ok(())
}
