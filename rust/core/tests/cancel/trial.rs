//! One conversation about one operation: the code cancels it at some point, the service writes what it may, and a worker that has the run
//! cached, workers that begin in the middle, and a replay of the whole must all say and hear the same.

use super::{
    choices::Choices,
    kind::{Kind, is_end, word},
    outside::{Happening, Outside},
    support::{completion, jobs, replayer, run},
};
use durable_core::{Output, Run};
use temporalio_protos::{
    coresdk::{
        nexus::NexusOperationCancellationType,
        workflow_activation::{WorkflowActivation, workflow_activation_job::Variant as Job},
        workflow_commands::workflow_command::Variant as LangCommand,
    },
    temporal::api::workflowservice::v1::RespondWorkflowTaskCompletedRequest,
};

/// Twice: the second finds a cancel that is under way, or what came of it.
const MOST_CANCELS: usize = 2;

/// Tasks in which nothing happens to the operation, so that the code gets a turn meanwhile.
const MOST_POKES: usize = 2;

/// In one task: a start and an end, or an end and the answer to a cancel.
const MOST_AT_ONCE: usize = 2;

/// A cancel that the code made.
#[derive(Clone, Debug)]
struct Cancel {
    task: usize,
    activation: usize,
    /// How many words it had heard.
    heard: usize,
    /// How many things had happened.
    happened: usize,
}

/// Begins the operation in its first activation, and cancels it in those that were chosen.
struct Code {
    kind: Kind,
    /// Of each activation: the code cancels in it.
    script: Vec<bool>,
    activation: usize,
    heard: Vec<(usize, &'static str)>,
    /// Everything, to compare: the activation's place in the history, and its jobs.
    seen: Vec<(u32, Vec<Job>)>,
}

impl Code {
    fn new(kind: Kind, script: Vec<bool>) -> Code {
        Code { kind, script, activation: 0, heard: Vec::new(), seen: Vec::new() }
    }

    fn answer(&mut self, activation: &WorkflowActivation, choose: Option<&mut Choices>) -> Vec<LangCommand> {
        let ordinal = self.activation;
        self.activation += 1;
        let jobs = jobs(activation);
        self.heard.extend(jobs.iter().filter_map(word).map(|word| (ordinal, word)));
        self.seen.push((activation.history_length, jobs));
        if let Some(choices) = choose {
            let cancels = self.script.iter().filter(|cancels| **cancels).count();
            let may_cancel = self.kind.cancel().is_some() && cancels < MOST_CANCELS;
            self.script.push(may_cancel && choices.pick(2) == 1);
        }
        assert!(ordinal < self.script.len(), "a replay has more activations than there were: {:?}", self.seen);
        let begin = (ordinal == 0).then(|| self.kind.begin());
        let cancel = self.script[ordinal].then(|| self.kind.cancel()).flatten();
        begin.into_iter().chain(cancel).collect()
    }
}

/// One worker's view.
struct View {
    run: Run,
    code: Code,
}

impl View {
    /// Up to the answer to the task; none when nothing is to be answered. `note` gets each activation's place with a cancel in it.
    fn settle(
        &mut self,
        mut choices: Option<&mut Choices>,
        mut note: impl FnMut(usize, usize),
    ) -> Option<RespondWorkflowTaskCompletedRequest> {
        loop {
            match self.run.poll() {
                Some(Output::Activation(activation)) => {
                    let ordinal = self.code.activation;
                    let commands = self.code.answer(&activation, choices.as_deref_mut());
                    if self.code.script[ordinal] {
                        note(ordinal, self.code.heard.len());
                    }
                    self.run.handle_completion(completion(commands));
                }
                Some(Output::Complete(request)) => return Some(*request),
                None => return None,
                other => panic!("{other:?}"),
            }
        }
    }
}

struct Trial {
    kind: Kind,
    outside: Outside,
    /// The first has seen everything live; the two others came in with the whole history, one at this task and one at the task before.
    views: Vec<View>,
    cancels: Vec<Cancel>,
    pokes: usize,
    task: usize,
}

/// Takes one path.
pub fn play(kind: Kind, choices: &mut Choices) {
    let first = View { run: run(), code: Code::new(kind, Vec::new()) };
    let mut trial = Trial { kind, outside: Outside::new(kind), views: vec![first], cancels: Vec::new(), pokes: MOST_POKES, task: 0 };
    trial.work(choices);
    while trial.goes_on(choices) {
        trial.task += 1;
        trial.work(choices);
    }
    trial.check_replay();
    trial.check_told();
}

impl Trial {
    /// Lets things happen, up to the next workflow task. False when nothing can happen any more.
    fn goes_on(&mut self, choices: &mut Choices) -> bool {
        let (mut count, mut makes_task) = (0, false);
        while count < MOST_AT_ONCE {
            let possible = self.outside.possible();
            let may_stop = count > 0 || (self.pokes > 0 && self.cancels.len() < MOST_CANCELS);
            if possible.is_empty() && !may_stop {
                return false;
            }
            let chosen = choices.pick(possible.len() + usize::from(may_stop));
            let Some(happening) = possible.get(chosen) else { break };
            makes_task |= self.outside.happen(*happening);
            count += 1;
        }
        if count == 0 {
            // After the end, once is enough.
            self.pokes = if self.outside.possible().is_empty() { 0 } else { self.pokes - 1 };
        }
        if !makes_task {
            self.outside.service.signal("poke");
        }
        true
    }

    /// One workflow task, by every worker.
    fn work(&mut self, choices: &mut Choices) {
        self.outside.service.start_task();
        let (task, happened) = (self.task, self.outside.log.len());
        let cancels = &mut self.cancels;
        let first = &mut self.views[0];
        first.run.handle_task(if task == 0 { self.outside.service.task(0) } else { self.outside.service.sticky_task() });
        let note = |activation, heard| cancels.push(Cancel { task, activation, heard, happened });
        let request = first.settle(Some(choices), note).expect("an answer");
        let script = first.code.script.clone();
        for later in &mut self.views[1..] {
            later.code.script.clone_from(&script);
            later.run.handle_task(self.outside.service.sticky_task());
        }
        let mut cold = View { run: run(), code: Code::new(self.kind, script) };
        cold.run.handle_task(self.outside.service.task(0));
        self.views.push(cold);
        if self.views.len() > 3 {
            self.views.remove(1);
        }
        let (first, others) = self.views.split_at_mut(1);
        for other in others {
            let again = other.settle(None, |_, _| {}).expect("an answer");
            assert_eq!(again.commands, request.commands, "what it says in task {task}");
            assert_eq!(other.code.seen, first[0].code.seen, "what it has heard up to task {task}");
        }
        self.outside.take(&request);
        for view in &mut self.views {
            view.run.handle_completed(0);
        }
    }

    fn check_replay(&self) {
        let code = &self.views[0].code;
        let mut replay = View { run: replayer(), code: Code::new(self.kind, code.script.clone()) };
        replay.run.handle_task(self.outside.service.replay_task());
        assert!(replay.settle(None, |_, _| {}).is_none());
        assert!(replay.run.is_idle(), "the replay must reach its end");
        assert_eq!(replay.run.statistics().last_processed_event_id, self.outside.service.events.len() as i64);
        assert_eq!(replay.code.seen, code.seen, "what a replay hears");
    }

    fn check_told(&self) {
        let heard: Vec<_> = self.views[0].code.heard.iter().map(|(_, word)| *word).collect();
        let had_ended = |cancel: &Cancel| heard[..cancel.heard].iter().any(|word| is_end(word));
        let by_history = self.outside.told_by_history();
        let counts = |what| (what, self.outside.cancels);
        match self.cancels.first() {
            Some(cancel) if cancel.task == 0 => {
                assert!(!self.outside.has_begun(), "what is cancelled before it was sent is not sent");
                assert_eq!(heard, self.kind.withdrawn());
            }
            Some(cancel) if !had_ended(cancel) => {
                let live = self.cancels.iter().filter(|cancel| !had_ended(cancel)).count();
                assert_eq!((heard.clone(), self.outside.cancels), (self.after(cancel, &heard, by_history), self.commands(live)));
                if self.kind.tells_at_once() {
                    let at = self.views[0].code.heard[cancel.heard].0;
                    assert_eq!(at, cancel.activation + 1, "told in the next activation of the same task");
                }
            }
            // What has ended cannot be cancelled.
            _ => assert_eq!(counts(heard), (by_history, 0)),
        }
    }

    /// What the code hears when it cancels what has begun and not ended.
    fn after(&self, cancel: &Cancel, heard: &[&'static str], by_history: Vec<&'static str>) -> Vec<&'static str> {
        let had_started = heard[..cancel.heard].contains(&"started");
        match self.kind {
            Kind::Timer => vec![],
            Kind::Nexus(_) if self.kind.tells_at_once() && !had_started => [vec!["cancelled"], by_history].concat(),
            Kind::Nexus(NexusOperationCancellationType::WaitCancellationRequested) => self.after_answer(cancel, by_history),
            _ if self.kind.tells_at_once() => [&heard[..cancel.heard], &["cancelled"]].concat(),
            _ => by_history,
        }
    }

    /// A Nexus operation whose code waits for the handler's answer to the cancel: taken, it hears nothing more; refused, it hears that too.
    fn after_answer(&self, cancel: &Cancel, by_history: Vec<&'static str>) -> Vec<&'static str> {
        let log = &self.outside.log;
        let is_answer = |happening: &Happening| matches!(happening, Happening::CancelDelivered | Happening::CancelRefused);
        let Some(answer) = log.iter().position(is_answer) else { return by_history };
        assert!(answer >= cancel.happened);
        let is_end = |happening: &Happening| !is_answer(happening) && *happening != Happening::Started;
        if log[..answer].iter().any(is_end) {
            return by_history;
        }
        let mut told = vec!["started"];
        if log[answer] == Happening::CancelDelivered {
            told.push("cancelled");
        } else {
            told.push("failed");
            told.extend(&by_history[1..]);
        }
        told
    }

    /// How many commands so many cancels make.
    fn commands(&self, live: usize) -> usize {
        use temporalio_protos::coresdk::{
            child_workflow::ChildWorkflowCancellationType as ChildType, workflow_commands::ActivityCancellationType,
        };
        match self.kind {
            Kind::Signal | Kind::CancelRequest => 0,
            Kind::Activity(ActivityCancellationType::Abandon)
            | Kind::Child(ChildType::Abandon)
            | Kind::Nexus(NexusOperationCancellationType::Abandon) => 0,
            // One for each cancel, as in the histories of other cores.
            Kind::Child(ChildType::WaitCancellationCompleted | ChildType::WaitCancellationRequested) => live,
            _ => 1,
        }
    }
}
