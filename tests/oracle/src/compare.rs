//! Two replays of one history side by side: the same jobs in the same activations, and the same verdict.

use anyhow::Result;
use temporalio_protos::{
    coresdk::{
        workflow_activation::{
            RemoveFromCache, WorkflowActivation, remove_from_cache::EvictionReason, workflow_activation_job::Variant as Job,
        },
        workflow_completion::{Success, WorkflowActivationCompletion, workflow_activation_completion::Status},
    },
    temporal::api::{
        enums::v1::EventType,
        history::v1::{History, HistoryEvent},
    },
};

use crate::{
    live::{Generated, as_replayed},
    official::Official,
    ours::Ours,
    program::Program,
    service::WORKFLOW_ID,
};

/// How a core's replay ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// At the end of the history.
    Good,
    /// The code does not fit the history, or the history is none.
    Bad(String),
}

pub struct Compared {
    pub activations: usize,
    /// Activations of ours for what came after the last completed task.
    pub further: usize,
    pub ours: Verdict,
    pub theirs: Verdict,
    /// Where they part, if they do.
    pub difference: Option<String>,
}

fn eviction(activation: &WorkflowActivation) -> Option<&RemoveFromCache> {
    activation.jobs.iter().find_map(|job| match &job.variant {
        Some(Job::RemoveFromCache(eviction)) => Some(eviction),
        _ => None,
    })
}

fn verdict(eviction: &RemoveFromCache) -> Verdict {
    match eviction.reason() {
        EvictionReason::LangRequested | EvictionReason::CacheFull | EvictionReason::WorkflowExecutionEnding => Verdict::Good,
        reason => Verdict::Bad(format!("{reason:?}: {}", eviction.message)),
    }
}

/// A workflow task that only said that a local activity ran on. The official core merges it, in a replay, with the stretch before
/// it, and so shows a later time and a longer history than was seen live; ours shows what was seen.
pub fn has_heartbeats(events: &[HistoryEvent]) -> bool {
    events
        .windows(2)
        .any(|pair| pair[0].event_type() == EventType::WorkflowTaskCompleted && pair[1].event_type() == EventType::WorkflowTaskScheduled)
}

fn comparable(activation: &WorkflowActivation, has_heartbeats: bool) -> WorkflowActivation {
    let mut copy = activation.clone();
    copy.available_internal_flags.clear();
    copy.deployment_version_for_current_task = None;
    if has_heartbeats {
        copy.timestamp = None;
        copy.history_length = 0;
        copy.history_size_bytes = 0;
        copy.is_replaying = false;
        copy.continue_as_new_suggested = false;
    }
    copy
}

/// An activation, a line for its frame and one for each job.
fn lines(activation: &WorkflowActivation) -> Vec<String> {
    let frame = WorkflowActivation { jobs: Vec::new(), ..activation.clone() };
    let jobs = activation.jobs.iter().map(|job| format!("{:?}", job.variant.as_ref()));
    std::iter::once(format!("{frame:?}")).chain(jobs).collect()
}

/// What only one of two says.
fn parted((left_name, left): (&str, Vec<String>), (right_name, right): (&str, Vec<String>)) -> String {
    let only = |name: &str, these: &[String], those: &[String]| {
        these.iter().filter(|line| !those.contains(line)).map(|line| format!("\n  {name}: {line}")).collect::<String>()
    };
    let text = only(left_name, &left, &right) + &only(right_name, &right, &left);
    if text.is_empty() { format!("the same jobs in another order: {left:?}, {right:?}") } else { text }
}

pub async fn compare(generated: &Generated) -> Result<Compared> {
    let history = History { events: generated.events.clone() };
    let mut ours = Ours::open(WORKFLOW_ID.to_owned(), &generated.run_id, history.clone());
    let official = Official::open(WORKFLOW_ID.to_owned(), history)?;
    let compared = side_by_side(generated, &mut ours, &official).await;
    official.close().await;
    compared
}

async fn side_by_side(generated: &Generated, ours: &mut Ours, official: &Official) -> Result<Compared> {
    let merges = has_heartbeats(&generated.events);
    let mut program = Program::new(generated.seed);
    let mut compared = Compared { activations: 0, further: 0, ours: Verdict::Good, theirs: Verdict::Good, difference: None };
    loop {
        let our = ours.next();
        let their = official.next().await?;
        let (our_end, their_end) = (our.as_ref().map_or(Some(Verdict::Good), |a| eviction(a).map(verdict)), eviction(&their).map(verdict));
        if let (Some(our), None, Some(Verdict::Good)) = (&our, &our_end, &their_end)
            && !our.is_replaying
        {
            // The official replayer ends with the last completed task. Ours goes on: what came since is given to the code, and held
            // against nothing.
            compared.further += 1;
            ours.complete(program.answer(our));
            while let Some(our) = ours.next() {
                if let Some(verdict) = eviction(&our).map(verdict) {
                    compared.ours = verdict;
                    break;
                }
                compared.further += 1;
                ours.complete(program.answer(&our));
            }
            official.complete(done(their.run_id)).await?;
            break;
        }
        let differ = match (&our, &our_end, &their_end) {
            (Some(our), None, None) => comparable(our, merges) != comparable(&their, merges),
            (_, our_end, their_end) => our_end.is_none() != their_end.is_none(),
        };
        if differ {
            let lines = |activation: &WorkflowActivation| lines(&comparable(activation, merges));
            let text = parted(("ours", our.as_ref().map_or(vec!["the end".to_owned()], lines)), ("theirs", lines(&their)));
            compared.difference = Some(format!("activation {}: {text}", compared.activations + 1));
        }
        if differ || our_end.is_some() {
            finish(&mut compared, official, our_end, their, &mut program).await?;
            break;
        }
        let our = our.expect("an activation");
        compared.activations += 1;
        let completion = program.answer(&our);
        ours.complete(completion.clone());
        // What is said to a live task is held against nothing, and the official core does not like to be evicted with it.
        let is_replaying = our.is_replaying && their.is_replaying;
        official.complete(if is_replaying { completion } else { done(our.run_id) }).await?;
    }
    Ok(compared)
}

/// Our replay alone: what the code is told, and the verdict.
pub fn replay_ours(generated: &Generated) -> (Vec<WorkflowActivation>, Verdict) {
    let history = History { events: generated.events.clone() };
    let mut ours = Ours::open(WORKFLOW_ID.to_owned(), &generated.run_id, history);
    let mut program = Program::new(generated.seed);
    let mut replayed = Vec::new();
    while let Some(activation) = ours.next() {
        if let Some(eviction) = eviction(&activation) {
            return (replayed, verdict(eviction));
        }
        replayed.extend(as_replayed(generated.seed, &activation));
        ours.complete(program.answer(&activation));
    }
    (replayed, Verdict::Good)
}

/// Holds our replay against what was seen live; says where it differs.
pub fn differs_from_live(generated: &Generated) -> Option<String> {
    let (replayed, verdict) = replay_ours(generated);
    if let Verdict::Bad(reason) = verdict {
        return Some(format!("our replay refuses what was live: {reason}"));
    }
    let seen = &generated.seen;
    let index = (0..seen.len()).find(|index| replayed.get(*index) != seen.get(*index))?;
    let again = replayed.get(index).map_or(vec!["the end".to_owned()], lines);
    let text = parted(("live", lines(&seen[index])), ("our replay", again));
    Some(format!("activation {}: {text}", index + 1))
}

/// Brings both to their end, so that each one's own verdict is known.
async fn finish(
    compared: &mut Compared,
    official: &Official,
    our_end: Option<Verdict>,
    mut their: WorkflowActivation,
    program: &mut Program,
) -> Result<()> {
    compared.ours = our_end.unwrap_or(Verdict::Good);
    // Where they part, the program goes on with the official core alone.
    let mut steps = 0;
    while eviction(&their).is_none() {
        official.complete(program.answer(&their)).await?;
        their = official.next().await?;
        steps += 1;
        anyhow::ensure!(steps < 1_000, "the official core does not come to an end");
    }
    compared.theirs = eviction(&their).map_or(Verdict::Good, verdict);
    official.complete(done(their.run_id)).await
}

/// The answer to an eviction.
fn done(run_id: String) -> WorkflowActivationCompletion {
    WorkflowActivationCompletion { run_id, status: Some(Status::Successful(Success::default())), ..Default::default() }
}
