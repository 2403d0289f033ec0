//! One conversation about a local activity, beside a second that gives the code a turn when it ends. The worker brings outcomes while it
//! waits for nothing else, while the code is busy and between two tasks; the task is answered meanwhile, so that both go on in the next.

use super::{
    choices::Choices,
    kind::word,
    support::{Service, completion, jobs, replayer, run},
};
use durable_core::{LocalRequest, LocalResult, Output, Run};
use std::{collections::BTreeMap, time::Duration};
use temporalio_protos::{
    coresdk::{
        activity_result::{Cancellation, Success, activity_execution_result::Status as Outcome},
        workflow_activation::{WorkflowActivation, workflow_activation_job::Variant as Job},
        workflow_commands::{
            ActivityCancellationType, RequestCancelLocalActivity, ScheduleLocalActivity, workflow_command::Variant as LangCommand,
        },
    },
    temporal::api::{
        failure::v1::{CanceledFailureInfo, Failure, failure::FailureInfo},
        workflowservice::v1::RespondWorkflowTaskCompletedRequest,
    },
};

const SUBJECT: u32 = 1;
const OTHER: u32 = 2;
const MOST_CANCELS: usize = 2;
const MOST_HEARTBEATS: usize = 2;
const MOST_POKES: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Complete(u32),
    /// Only of what was asked to stop.
    Stop(u32),
    Heartbeat,
}

/// What was chosen, for those who must do it again.
#[derive(Clone, Default)]
struct Script {
    /// Of each activation: the code cancels in it, and what the worker brings while the code is busy with it.
    turns: Vec<(bool, Option<Deed>)>,
    /// Of the task that is worked on: what is done when there is nothing else to do.
    deeds: Vec<Deed>,
}

/// One worker's run, its code, and what it does with local activities.
struct View {
    run: Run,
    cancellation: ActivityCancellationType,
    activation: usize,
    seen: Vec<(u32, Vec<Job>)>,
    heard: Vec<(usize, &'static str)>,
    /// What runs: true when it was asked to stop.
    open: BTreeMap<u32, bool>,
    asked: Vec<&'static str>,
}

impl View {
    fn new(run: Run, cancellation: ActivityCancellationType) -> View {
        View { run, cancellation, activation: 0, seen: vec![], heard: vec![], open: BTreeMap::new(), asked: vec![] }
    }

    fn request(&mut self, request: LocalRequest) {
        match request {
            LocalRequest::Start(start) => {
                let seq = start.command.seq;
                assert!(self.open.insert(seq, false).is_none(), "number {seq} is to run twice");
            }
            LocalRequest::Cancel { seq } => {
                self.asked.push("cancel");
                // It may have ended meanwhile.
                self.open.entry(seq).and_modify(|is_asked| *is_asked = true);
            }
            LocalRequest::Drop { seq } => {
                self.asked.push("drop");
                self.open.remove(&seq);
            }
            LocalRequest::LetRun { seq } => {
                self.asked.push("let run");
                self.open.remove(&seq);
            }
        }
    }

    fn possible(&self) -> Vec<Deed> {
        let deeds = self.open.iter().flat_map(|(seq, is_asked)| [Some(Deed::Complete(*seq)), is_asked.then_some(Deed::Stop(*seq))]);
        deeds.flatten().collect()
    }

    fn act(&mut self, deed: Deed) {
        let (seq, outcome) = match deed {
            Deed::Heartbeat => return self.run.handle_heartbeat_due(),
            Deed::Complete(seq) => (seq, Outcome::Completed(Success::default())),
            Deed::Stop(seq) => (seq, stopped()),
        };
        assert!(self.open.remove(&seq).is_some(), "number {seq} does not run");
        let runtime = Duration::from_millis(250);
        self.run.handle_local_result(LocalResult { seq, outcome, attempt: 1, runtime, backoff: None });
    }

    /// One activation. `choose` decides anew what the script of others has.
    fn turn(&mut self, activation: &WorkflowActivation, script: &mut Script, choose: Option<&mut Choices>) {
        let ordinal = self.activation;
        self.activation += 1;
        let jobs = jobs(activation);
        let is_subject = |job: &&Job| matches!(job, Job::ResolveActivity(job) if job.seq == SUBJECT);
        self.heard.extend(jobs.iter().filter(is_subject).filter_map(word).map(|word| (ordinal, word)));
        self.seen.push((activation.history_length, jobs));
        if let Some(choices) = choose {
            let cancels = script.turns.iter().filter(|(cancels, _)| *cancels).count();
            let cancels = cancels < MOST_CANCELS && choices.pick(2) == 1;
            let deeds = self.possible();
            let deed = choices.pick(1 + deeds.len());
            script.turns.push((cancels, deed.checked_sub(1).map(|index| deeds[index])));
        }
        let Some((cancels, deed)) = script.turns.get(ordinal).copied() else { panic!("an activation that was not: {:?}", self.seen) };
        if let (Some(deed), false) = (deed, activation.is_replaying) {
            self.act(deed);
        }
        let begin = [(SUBJECT, self.cancellation), (OTHER, ActivityCancellationType::WaitCancellationCompleted)];
        let begin = begin.into_iter().filter(|_| ordinal == 0).map(|(seq, cancellation)| local(seq, cancellation));
        let cancel = cancels.then_some(LangCommand::RequestCancelLocalActivity(RequestCancelLocalActivity { seq: SUBJECT }));
        self.run.handle_completion(completion(begin.chain(cancel).collect()));
    }

    /// Up to the answer to the task; none when nothing is to be answered.
    fn settle(
        &mut self,
        script: &mut Script,
        mut choices: Option<&mut Choices>,
        heartbeats: &mut usize,
    ) -> Option<RespondWorkflowTaskCompletedRequest> {
        let (mut waits, mut done) = (false, 0);
        loop {
            match self.run.poll() {
                Some(Output::Activation(activation)) => self.turn(&activation, script, choices.as_deref_mut()),
                Some(Output::Complete(request)) => return Some(*request),
                Some(Output::Local(request)) => self.request(request),
                Some(Output::AwaitLocal(_)) => waits = true,
                None if waits => {
                    if let Some(choices) = choices.as_deref_mut() {
                        let mut deeds = self.possible();
                        deeds.extend((*heartbeats > 0).then_some(Deed::Heartbeat));
                        assert!(!deeds.is_empty(), "it waits for what does not run");
                        script.deeds.push(deeds[choices.pick(deeds.len())]);
                    }
                    let deed = script.deeds[done];
                    done += 1;
                    *heartbeats -= usize::from(deed == Deed::Heartbeat);
                    self.act(deed);
                }
                None => return None,
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Takes one path.
pub fn play(cancellation: ActivityCancellationType, choices: &mut Choices) {
    let (mut service, mut script) = (Service::new(), Script::default());
    let mut first = View::new(run(), cancellation);
    let (mut heartbeats, mut pokes, mut is_apart) = (MOST_HEARTBEATS, MOST_POKES, false);
    let mut answers = 0;
    loop {
        service.start_task();
        first.run.handle_task(if answers == 0 { service.task(0) } else { service.sticky_task() });
        script.deeds.clear();
        if first.open.get(&SUBJECT) == Some(&true) {
            // Who comes in now does not run it again.
            check_not_run_again(&service, &script, cancellation);
            is_apart = true;
        }
        let before = heartbeats;
        let request = first.settle(&mut script, Some(choices), &mut heartbeats).expect("an answer");
        if !is_apart {
            let mut cold = View::new(run(), cancellation);
            cold.run.handle_task(service.task(0));
            let again = cold.settle(&mut script.clone(), None, &mut before.clone()).expect("an answer");
            assert_eq!(again.commands, request.commands, "what it says in task {answers}");
            assert_eq!(cold.seen, first.seen, "what it has heard up to task {answers}");
            assert_eq!(cold.open, first.open, "what it runs after task {answers}, and has asked to stop");
        }
        service.complete_task(&request);
        first.run.handle_completed(0);
        answers += 1;
        is_apart = false;
        if request.force_create_new_workflow_task {
            let deeds = first.possible();
            let deed = choices.pick(1 + deeds.len());
            if let Some(index) = deed.checked_sub(1) {
                // Who has the run not cached does it again, and has no outcome yet.
                first.act(deeds[index]);
                is_apart = true;
            }
        } else if pokes == 0 {
            break;
        }
        if pokes > 0 && (!request.force_create_new_workflow_task || choices.pick(2) == 1) {
            pokes -= 1;
            service.signal("poke");
        }
    }
    let mut replay = View::new(replayer(), cancellation);
    replay.run.handle_task(service.replay_task());
    assert!(replay.settle(&mut script, None, &mut 0).is_none() && replay.run.is_idle());
    assert_eq!(replay.run.statistics().last_processed_event_id, service.events.len() as i64);
    assert_eq!(replay.seen, first.seen, "what a replay hears");
    assert!(replay.open.is_empty(), "a replay runs nothing");
    check_told(&first, &script);
}

/// A worker that has the run not cached, when the code asked in an earlier task to stop what still ran.
fn check_not_run_again(service: &Service, script: &Script, cancellation: ActivityCancellationType) {
    let mut cold = View::new(run(), cancellation);
    let mut script = script.clone();
    // Its next activation is another than that of who has the run cached.
    script.turns.push((false, None));
    script.deeds.push(Deed::Complete(OTHER));
    cold.run.handle_task(service.task(0));
    let is_live = |view: &View| view.activation == script.turns.len();
    while !is_live(&cold) {
        match cold.run.poll() {
            Some(Output::Activation(activation)) => cold.turn(&activation, &mut script.clone(), None),
            Some(Output::Local(request)) => cold.request(request),
            other => panic!("{other:?}"),
        }
    }
    let heard: Vec<_> = cold.heard.iter().map(|(_, word)| *word).collect();
    assert_eq!((heard, cold.open.contains_key(&SUBJECT)), (vec!["cancelled"], false));
}

fn check_told(view: &View, script: &Script) {
    let [(told, word)] = view.heard.as_slice() else { panic!("one outcome, not {:?}", view.heard) };
    let first_cancel = script.turns.iter().position(|(cancels, _)| *cancels);
    let Some(cancel) = first_cancel.filter(|cancel| cancel < told) else {
        assert_eq!((*word, view.asked.as_slice()), ("completed", [].as_slice()));
        return;
    };
    let asked = match view.cancellation {
        ActivityCancellationType::WaitCancellationCompleted => "cancel",
        ActivityCancellationType::TryCancel => "drop",
        ActivityCancellationType::Abandon => "let run",
    };
    let never_ran = cancel == 0;
    if never_ran || asked != "cancel" {
        assert_eq!((*word, *told), ("cancelled", cancel + 1), "told in the next activation");
    }
    assert!(view.asked.iter().all(|word| *word == asked), "{:?}", view.asked);
    assert_eq!(view.asked.is_empty(), never_ran, "the worker is asked about what it has");
}

fn local(seq: u32, cancellation: ActivityCancellationType) -> LangCommand {
    LangCommand::ScheduleLocalActivity(ScheduleLocalActivity {
        seq,
        activity_id: seq.to_string(),
        activity_type: "charge".to_owned(),
        start_to_close_timeout: Some(prost_wkt_types::Duration { seconds: 60, nanos: 0 }),
        cancellation_type: cancellation as i32,
        ..Default::default()
    })
}

fn stopped() -> Outcome {
    let info = FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default());
    let failure = Some(Failure { message: "stopped".to_owned(), failure_info: Some(info), ..Default::default() });
    Outcome::Cancelled(Cancellation { failure })
}
