//! The machines of one run, and the history applied to them.
//!
//! Two directions meet here. Events move machines and make jobs for the code ([`Workflow::apply_next`]); commands of the code
//! make machines and queue up ([`Workflow::handle_commands`]). The queue keeps a command until the history answers it:
//! the events after a completed workflow task must be those of the queued commands, one by one and in order, which is how
//! code that does something else than it did is found out.

mod local;
mod patches;
mod updates;
mod upserts;

use crate::{
    difference::{Difference, command_text, recorded_command},
    fault::Fault,
    flags::{CHECK_IDS_AND_TYPES, ENDING_LAST, Flags},
    history::History,
    machines::{Activity, ChildWorkflow, Effect, Ending, External, Machine, NexusOperation, Timer, WorkflowTask},
};
use local::LocalWork;
use patches::Patches;
use prost_wkt_types::{Duration, Timestamp};
use siphasher::sip::SipHasher13;
use std::{
    collections::{BTreeMap, VecDeque},
    hash::{Hash, Hasher},
};
use temporalio_protos::{
    coresdk::{
        IntoPayloadsExt,
        common::{NamespacedWorkflowExecution, VersioningIntent},
        workflow_activation::{
            CancelWorkflow, SignalWorkflow, UpdateRandomSeed, WorkflowActivation, WorkflowActivationJob, start_workflow_from_attribs,
            workflow_activation_job::Variant as Job,
        },
        workflow_commands::{
            ContinueAsNewWorkflowExecution, SignalExternalWorkflowExecution, WorkflowCommand, signal_external_workflow_execution,
            workflow_command::Variant as LangCommand,
        },
    },
    temporal::api::{
        command::v1::{
            Command, CommandAttributesExt, RequestCancelExternalWorkflowExecutionCommandAttributes,
            SignalExternalWorkflowExecutionCommandAttributes,
            command::{self, Attributes as CommandAttributes},
            continue_as_new_cmd_to_api, schedule_activity_cmd_to_api, start_child_workflow_cmd_to_api,
        },
        common::v1::{Memo, RetryPolicy, SearchAttributes, WorkflowExecution},
        enums::v1::{CommandType, EventType},
        history::v1::{HistoryEvent, WorkflowExecutionStartedEventAttributes, history_event::Attributes},
        protocol::v1::Message,
        sdk::v1::{EventGroupMarker, UserMetadata, WorkflowTaskCompletedMetadata},
    },
};
use updates::Updates;

type Key = usize;

/// What the code can name in a later command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Timer(u32),
    Activity(u32),
    LocalActivity(u32),
    Child(u32),
    Signal(u32),
    CancelRequest(u32),
    NexusOperation(u32),
}

/// What a command carries besides its attributes.
#[derive(Debug, Clone, Default)]
struct Annotations {
    user_metadata: Option<UserMetadata>,
    event_group_markers: Vec<EventGroupMarker>,
}

#[derive(Debug)]
struct Queued {
    kind: CommandType,
    machine: Key,
    /// Which of the code's commands made it, counted from 1.
    number: u32,
    /// Taken when the command is sent; the queue then only waits for the event. Boxed, because it may wait for years and what is
    /// taken is a kilobyte.
    content: Option<Box<(CommandAttributes, Annotations)>>,
}

/// What a continued run inherits when the code does not say otherwise.
#[derive(Debug, Default)]
struct Inherited {
    memo: Option<Memo>,
    retry_policy: Option<RetryPolicy>,
    search_attributes: Option<SearchAttributes>,
}

#[derive(Debug, Default)]
pub(crate) struct Workflow {
    run_id: String,
    workflow_id: String,
    workflow_type: String,
    /// How long the service waits for the answer to a workflow task.
    pub(crate) task_timeout: Option<Duration>,
    namespace: String,
    task_queue: String,
    history: History,
    pub(crate) replaying: bool,
    /// The event that closed the run was applied: nothing may be answered any more.
    pub(crate) is_closed: bool,
    /// The code gave the command that ends the run.
    pub(crate) is_finished: bool,
    started_id: i64,
    /// When the task that is worked on was started.
    task_time: Option<Timestamp>,
    next_started_id: i64,
    pub(crate) last_processed_id: i64,
    time: Option<Timestamp>,
    history_size_bytes: u64,
    continue_as_new_suggested: bool,
    suggest_continue_as_new_reasons: Vec<i32>,
    target_version_changed: bool,
    flags: Flags,
    machines: Vec<Machine>,
    by_event: BTreeMap<i64, Key>,
    by_subject: BTreeMap<Subject, Key>,
    queue: VecDeque<Queued>,
    /// Commands that the code gave so far, answers to queries left out.
    commands_given: u32,
    /// Which of them is being taken; 0 outside `handle_commands`.
    command: u32,
    jobs: Vec<Job>,
    local: LocalWork,
    updates: Updates,
    patches: Patches,
    inherited: Inherited,
}

impl Workflow {
    pub(crate) fn new(run_id: String, workflow_id: String, namespace: String, task_queue: String) -> Workflow {
        Workflow { run_id, workflow_id, namespace, task_queue, ..Default::default() }
    }

    /// Takes the history of a new task and applies its first stretch. `events` may begin with what was applied before.
    pub(crate) fn handle_history(
        &mut self,
        events: Vec<HistoryEvent>,
        previous_started_id: i64,
        messages: Vec<Message>,
    ) -> Result<(), Fault> {
        self.handle_messages(messages)?;
        self.history = History::new(events, previous_started_id);
        self.replaying = previous_started_id > 0;
        self.look_ahead()?;
        if !self.jobs.is_empty() {
            // A query replayed the run up to here; since then the history got the markers of what the code waits for.
            return Ok(());
        }
        self.apply_next()?;
        if self.jobs.is_empty() {
            self.apply_next()?;
        }
        Ok(())
    }

    /// Goes on through a history that is being replayed, up to the next stretch that the code must hear of.
    pub(crate) fn apply_until_jobs(&mut self) -> Result<(), Fault> {
        self.apply_known();
        while self.jobs.is_empty() {
            if self.apply_next()? == 0 || !self.replaying {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn has_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// The next activation. Without jobs it is the frame of a query.
    pub(crate) fn take_activation(&mut self) -> WorkflowActivation {
        let mut jobs = std::mem::take(&mut self.jobs);
        if !jobs.is_empty() {
            self.local.count_activation();
            jobs.extend(self.take_patch_notices());
        }
        jobs.sort_by_key(job_rank);
        WorkflowActivation {
            run_id: self.run_id.clone(),
            timestamp: self.time,
            // Queries are never recorded, so that code must treat them like replay whenever they come.
            is_replaying: self.replaying || jobs.is_empty(),
            history_length: u32::try_from(self.last_processed_id).unwrap_or(u32::MAX),
            jobs: jobs.into_iter().map(|variant| WorkflowActivationJob { variant: Some(variant) }).collect(),
            available_internal_flags: self.flags.lang(self.replaying),
            history_size_bytes: self.history_size_bytes,
            continue_as_new_suggested: self.continue_as_new_suggested,
            last_sdk_version: self.flags.last_version().to_owned(),
            suggest_continue_as_new_reasons: self.suggest_continue_as_new_reasons.clone(),
            target_worker_deployment_version_changed: self.target_version_changed,
            ..Default::default()
        }
    }

    /// What the live task's completion sends: every command that was not sent and not withdrawn.
    pub(crate) fn take_commands(&mut self) -> Vec<Command> {
        let machines = &self.machines;
        self.queue.retain(|queued| !machines[queued.machine].is_withdrawn());
        let mut commands = Vec::new();
        for queued in &mut self.queue {
            let Some(content) = queued.content.take() else { continue };
            let (attributes, annotations) = *content;
            commands.push(Command {
                command_type: queued.kind as i32,
                user_metadata: annotations.user_metadata,
                event_group_markers: annotations.event_group_markers,
                attributes: Some(attributes),
            });
        }
        commands
    }

    /// True when a command other than a marker waits to be sent: something else is to begin with it.
    pub(crate) fn has_unsent_commands(&self) -> bool {
        let waits = |queued: &Queued| queued.content.is_some() && !self.machines[queued.machine].is_withdrawn();
        self.queue.iter().any(|queued| queued.kind != CommandType::RecordMarker && waits(queued))
    }

    pub(crate) fn take_metadata(&mut self) -> WorkflowTaskCompletedMetadata {
        self.flags.take_metadata()
    }

    pub(crate) fn add_lang_flags(&mut self, flags: &[u32]) {
        self.flags.add_lang_used(flags);
    }

    /// The service dropped the task that was just completed (a speculative one): its two events never were.
    pub(crate) fn reset(&mut self, started_id: i64) {
        self.started_id = started_id;
        self.last_processed_id = self.last_processed_id.saturating_sub(2);
        let kept = self.last_processed_id;
        self.by_event.retain(|event_id, _| *event_id <= kept);
    }

    // ---- events ----

    /// Applies the next stretch; answers how many events that were.
    fn apply_next(&mut self) -> Result<usize, Fault> {
        if self.is_closed {
            self.replaying = false;
            return Ok(0);
        }
        let (mut events, is_last) = self.history.take_next(self.started_id).unwrap_or((Vec::new(), true));
        events.retain(|event| event.event_id > self.last_processed_id);
        let Some(last) = events.last() else {
            self.replaying = false;
            return Ok(0);
        };
        if last.event_type() == EventType::WorkflowTaskStarted {
            self.next_started_id = last.event_id;
        }
        self.local.begin_task();
        self.collect_flags(&events);
        let count = events.len();
        let mut answers_due = false;
        for event in events {
            self.check_position(&event)?;
            check_readable(&event)?;
            let event_id = event.event_id;
            let is_command = event.is_command_event();
            let is_completed = event.event_type() == EventType::WorkflowTaskCompleted;
            if self.replaying && is_last && event_id > self.history.previous_started_id && !is_completed && !is_command {
                // Something that this worker neither made nor has seen: from here on it is live.
                self.replaying = false;
            }
            if answers_due && !is_command && !event.is_ignorable() {
                self.check_all_answered(&format!("event {event_id} ({})", event.event_type().as_str_name()), event_id)?;
                answers_due = false;
            }
            answers_due |= is_completed;
            self.deliver_updates_before(event_id);
            self.apply(event, is_last)?;
            self.last_processed_id = event_id;
        }
        if answers_due {
            self.check_all_answered("its end", 0)?;
        }
        if is_last {
            self.deliver_updates_before(i64::MAX);
        }
        if let Some(event) = self.history.first_command().filter(|_| self.is_closed) {
            let (event_id, kind) = (event.event_id, event.event_type().as_str_name());
            return Err(Fault::Nondeterminism(format!("the history has event {event_id} ({kind}) after the workflow's end")));
        }
        self.look_ahead()?;
        Ok(count)
    }

    /// What the code must know in this stretch although the history tells of it in the next one: the events of its commands.
    fn look_ahead(&mut self) -> Result<(), Fault> {
        self.look_ahead_to_patches();
        // Updates first: whether a marker that is held is due depends on whether anything else gives the code a turn.
        self.look_ahead_to_updates()?;
        self.look_ahead_to_markers()
    }

    /// Flags of a task hold from its own replay on, and are written when it completes: look one completion ahead.
    fn collect_flags(&mut self, events: &[HistoryEvent]) {
        for event in events {
            if let Some(Attributes::WorkflowTaskCompletedEventAttributes(attributes)) = &event.attributes {
                self.flags.add_completed(attributes);
            }
        }
        if let Some(attributes) = self.history.peek_completed() {
            self.flags.add_completed(attributes);
        }
    }

    fn check_position(&self, event: &HistoryEvent) -> Result<(), Fault> {
        let expected = self.last_processed_id + 1;
        if event.event_id == expected {
            return Ok(());
        }
        Err(Fault::Fatal(format!("the history is out of order: event {expected} should come, it is event {}", event.event_id)))
    }

    /// A completed task's events of commands are over: every command must have had its event.
    fn check_all_answered(&self, position: &str, event_id: i64) -> Result<(), Fault> {
        let Some(extra) = self.queue.iter().find(|queued| !self.machines[queued.machine].is_withdrawn()) else {
            return Ok(());
        };
        let fault = Fault::Nondeterminism(format!(
            "the code gave the command {} ({}), which the history does not have before {position}",
            extra.kind.as_str_name(),
            self.machines[extra.machine].describe()
        ));
        Err(self.difference(None, Some(extra), event_id).explain(fault))
    }

    fn difference(&self, expected: Option<String>, actual: Option<&Queued>, event_id: i64) -> Difference {
        Difference {
            expected,
            actual: actual.map(|queued| command_text(queued.kind, &self.machines[queued.machine].describe())),
            event_id,
            command: actual.map_or(0, |queued| queued.number),
        }
    }

    fn apply(&mut self, event: HistoryEvent, is_last: bool) -> Result<(), Fault> {
        self.is_closed |= event.is_final_wf_execution_event();
        if event.is_ignorable() {
            return Ok(());
        }
        match event.event_type() {
            EventType::WorkflowExecutionTerminated | EventType::WorkflowExecutionTimedOut => return Ok(()),
            EventType::Unspecified if event.worker_may_ignore => return Ok(()),
            _ => {}
        }
        if event.is_command_event() {
            return self.apply_command_event(event, is_last);
        }
        if let Some(Attributes::WorkflowTaskStartedEventAttributes(attributes)) = &event.attributes {
            self.history_size_bytes = u64::try_from(attributes.history_size_bytes).unwrap_or_default();
            self.continue_as_new_suggested = attributes.suggest_continue_as_new;
            self.suggest_continue_as_new_reasons.clone_from(&attributes.suggest_continue_as_new_reasons);
            self.target_version_changed = attributes.target_worker_deployment_version_changed;
        }
        match event.get_initial_command_event_id() {
            Some(initial_id) => {
                let key = self.by_event.get(&initial_id).copied().ok_or_else(|| {
                    Fault::Nondeterminism(format!(
                        "event {} ({}) belongs to event {initial_id}, for which the code gave no command",
                        event.event_id,
                        event.event_type().as_str_name()
                    ))
                })?;
                self.move_machine(key, event, is_last)
            }
            None => self.apply_own_event(event),
        }
    }

    /// An event that a command of the code made: the next command in the queue must be that one.
    fn apply_command_event(&mut self, event: HistoryEvent, is_last: bool) -> Result<(), Fault> {
        if self.apply_foreseen_marker(&event, self.checks_ids(is_last))? {
            return Ok(());
        }
        if self.passes_over(&event)? {
            return Ok(());
        }
        let event_id = event.event_id;
        let event_name = event.event_type().as_str_name();
        let Some(expected) = command_of_event(event.event_type()) else {
            return Err(Fault::Fatal(format!("event {event_id} ({event_name}) is of a kind that this version does not support")));
        };
        let recorded = recorded_command(expected, &event);
        if self.flags.is_foreign() {
            self.bring_forward(expected, &recorded);
        }
        let queued = loop {
            let Some(queued) = self.queue.pop_front() else {
                let fault = Fault::Nondeterminism(format!(
                    "the history has event {event_id} ({event_name}), for which the code gave no command: \
                     expected {}, found none",
                    expected.as_str_name()
                ));
                return Err(self.difference(Some(recorded), None, event_id).explain(fault));
            };
            if !self.machines[queued.machine].is_withdrawn() {
                break queued;
            }
        };
        if queued.kind != expected {
            let fault = Fault::Nondeterminism(format!(
                "event {event_id} is {event_name}, so that the command {} was expected, but the code gave {} ({})",
                expected.as_str_name(),
                queued.kind.as_str_name(),
                self.machines[queued.machine].describe()
            ));
            return Err(self.difference(Some(recorded), Some(&queued), event_id).explain(fault));
        }
        if let Err(fault) = self.move_machine(queued.machine, event, is_last) {
            return Err(self.difference(Some(recorded), Some(&queued), event_id).explain(fault));
        }
        self.by_event.insert(event_id, queued.machine);
        Ok(())
    }

    /// Another SDK gave the commands of one task in another order (its timers, for one, come when they are asked for, ours at the end of
    /// a step): the one that the event is of is taken, wherever it stands. Each event still needs its command, and each command its event.
    fn bring_forward(&mut self, kind: CommandType, recorded: &str) {
        let is_it = |queued: &Queued| {
            let machine = &self.machines[queued.machine];
            queued.kind == kind && !machine.is_withdrawn() && command_text(kind, &machine.describe()) == recorded
        };
        if let Some(queued) = self.queue.iter().position(is_it).and_then(|index| self.queue.remove(index)) {
            self.queue.push_front(queued);
        }
    }

    /// An event that is about the run itself.
    fn apply_own_event(&mut self, event: HistoryEvent) -> Result<(), Fault> {
        let event_id = event.event_id;
        match event.attributes {
            Some(Attributes::WorkflowExecutionStartedEventAttributes(attributes)) => {
                self.apply_start(attributes, event.event_time);
            }
            Some(Attributes::WorkflowTaskScheduledEventAttributes(_)) => {
                // A machine begins in the state that this event puts it into.
                let key = self.add_machine(Machine::WorkflowTask(WorkflowTask::new(self.next_started_id)));
                self.by_event.insert(event_id, key);
            }
            Some(Attributes::WorkflowExecutionSignaledEventAttributes(attributes)) => {
                self.jobs.push(Job::SignalWorkflow(SignalWorkflow::from((attributes, event_id))));
            }
            Some(Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(attributes)) => {
                self.admit_update(attributes.request, event_id)?;
            }
            Some(Attributes::WorkflowExecutionCancelRequestedEventAttributes(attributes)) => {
                self.jobs.push(Job::CancelWorkflow(CancelWorkflow::from(attributes)));
            }
            _ => {
                return Err(Fault::Fatal(format!(
                    "event {event_id} ({}) is of a kind that this version does not support",
                    EventType::try_from(event.event_type).unwrap_or_default().as_str_name()
                )));
            }
        }
        Ok(())
    }

    fn apply_start(&mut self, attributes: WorkflowExecutionStartedEventAttributes, time: Option<Timestamp>) {
        self.move_time(time);
        self.workflow_type = attributes.workflow_type.as_ref().map(|kind| kind.name.clone()).unwrap_or_default();
        self.task_timeout = attributes.workflow_task_timeout;
        self.inherited = Inherited {
            memo: attributes.memo.clone(),
            retry_policy: attributes.retry_policy.clone(),
            search_attributes: attributes.search_attributes.clone(),
        };
        let seed = seed_of(&attributes.original_execution_run_id);
        let start = start_workflow_from_attribs(attributes, self.workflow_id.clone(), seed, time.unwrap_or_default());
        self.jobs.push(Job::InitializeWorkflow(start));
    }

    fn move_machine(&mut self, key: Key, event: HistoryEvent, is_last: bool) -> Result<(), Fault> {
        let check_ids = self.checks_ids(is_last);
        let effects = self.machines[key].handle_event(event, check_ids)?;
        self.handle_effects(key, effects, Annotations::default());
        Ok(())
    }

    fn checks_ids(&self, is_last: bool) -> bool {
        is_last || self.flags.core_was_used(CHECK_IDS_AND_TYPES)
    }

    fn handle_effects(&mut self, key: Key, effects: Vec<Effect>, annotations: Annotations) {
        for effect in effects {
            match effect {
                Effect::Job(job) => {
                    if let Job::FireTimer(fired) = &*job {
                        self.local.forget_timer(fired.seq);
                    }
                    self.jobs.push(*job);
                }
                Effect::Command(attributes) => self.push_command(attributes, key, annotations.clone()),
                Effect::CancelExternal(attributes) => {
                    let request = External::child_cancel_request(attributes.workflow_id.clone());
                    let request = self.add_machine(Machine::External(request));
                    self.push_command(attributes.into(), request, annotations.clone());
                }
                Effect::Message(message) => self.push_message(*message),
                Effect::TaskStarted { started_id, time } => {
                    self.started_id = started_id;
                    self.task_time = time.or(self.task_time);
                    self.move_time(time);
                    if !self.replaying {
                        self.start_awaiting_locals();
                    }
                }
                Effect::Time(time) => self.move_time(time),
                Effect::NewSeed { run_id } => {
                    let randomness_seed = seed_of(&run_id);
                    self.jobs.push(Job::UpdateRandomSeed(UpdateRandomSeed { randomness_seed }));
                }
            }
        }
    }

    /// The run's time never goes back, whatever the service's clocks did.
    fn move_time(&mut self, time: Option<Timestamp>) {
        let Some(time) = time else { return };
        if self.time.is_none_or(|now| (now.seconds, now.nanos) < (time.seconds, time.nanos)) {
            self.time = Some(time);
        }
    }

    // ---- commands ----

    /// Takes the commands of one activation (answers to queries removed).
    pub(crate) fn handle_commands(&mut self, commands: Vec<WorkflowCommand>) -> Result<(), Fault> {
        if self.is_finished {
            // A further activation of the task that ended the run (a cancel was told at once): nothing may follow the end.
            return Ok(());
        }
        let keep_late = !self.replaying || self.flags.core_was_used(ENDING_LAST);
        let mut ending = None;
        for command in commands {
            self.commands_given += 1;
            self.command = self.commands_given;
            let is_ending = command.variant.as_ref().is_some_and(is_ending);
            if is_ending {
                ending.get_or_insert((self.command, command));
            } else if ending.is_none() || keep_late {
                self.handle_command(command)?;
            }
        }
        if let Some((number, command)) = ending {
            self.command = number;
            self.handle_command(command)?;
        }
        self.command = 0;
        Ok(())
    }

    fn handle_command(&mut self, command: WorkflowCommand) -> Result<(), Fault> {
        let annotations = Annotations { user_metadata: command.user_metadata, event_group_markers: command.event_group_markers };
        match command.variant {
            None => return Err(Fault::Fatal("the code gave a command without content".to_owned())),
            Some(LangCommand::StartTimer(command)) => {
                let seq = command.seq;
                self.local.note_timer(seq, command.start_to_fire_timeout, self.time);
                self.add_subject(Subject::Timer(seq), Machine::Timer(Timer::new(seq)), command.into(), annotations)?;
            }
            Some(LangCommand::ScheduleActivity(command)) => {
                let subject = Subject::Activity(command.seq);
                let machine = Machine::Activity(Activity::new(&command));
                let inherit = self.inherits_build(command.versioning_intent(), &command.task_queue);
                let attributes = schedule_activity_cmd_to_api(command, inherit);
                self.add_subject(subject, machine, attributes, annotations)?;
            }
            Some(LangCommand::ScheduleLocalActivity(command)) => self.schedule_local(command, annotations)?,
            Some(LangCommand::RequestCancelLocalActivity(command)) => self.cancel_local(command.seq)?,
            Some(LangCommand::StartChildWorkflowExecution(command)) => {
                let subject = Subject::Child(command.seq);
                let machine = Machine::ChildWorkflow(ChildWorkflow::new(&command));
                let inherit = self.inherits_build(command.versioning_intent(), &command.task_queue);
                self.add_subject(subject, machine, start_child_workflow_cmd_to_api(command, inherit), annotations)?;
            }
            Some(LangCommand::SignalExternalWorkflowExecution(command)) => self.signal_external(command, annotations)?,
            Some(LangCommand::RequestCancelExternalWorkflowExecution(command)) => {
                let Some(target) = command.workflow_execution else {
                    return Err(Fault::Fatal("the code asked to cancel a workflow and named none".to_owned()));
                };
                let machine = Machine::External(External::cancel_request(command.seq, target.workflow_id.clone()));
                #[allow(deprecated, reason = "the service still reads the namespace")]
                let attributes = RequestCancelExternalWorkflowExecutionCommandAttributes {
                    namespace: target.namespace,
                    workflow_id: target.workflow_id,
                    run_id: target.run_id,
                    reason: command.reason,
                    ..Default::default()
                };
                self.add_subject(Subject::CancelRequest(command.seq), machine, attributes.into(), annotations)?;
            }
            Some(LangCommand::ScheduleNexusOperation(command)) => {
                let machine = Machine::NexusOperation(Box::new(NexusOperation::new(&command)));
                self.add_subject(Subject::NexusOperation(command.seq), machine, command.into(), annotations)?;
            }
            Some(LangCommand::RequestCancelNexusOperation(command)) => {
                self.cancel(Subject::NexusOperation(command.seq), annotations, String::new())?;
            }
            Some(LangCommand::CancelTimer(command)) => {
                self.local.forget_timer(command.seq);
                self.cancel(Subject::Timer(command.seq), annotations, String::new())?;
            }
            Some(LangCommand::RequestCancelActivity(command)) => self.cancel(Subject::Activity(command.seq), annotations, String::new())?,
            Some(LangCommand::CancelChildWorkflowExecution(command)) => {
                self.cancel(Subject::Child(command.child_workflow_seq), annotations, command.reason)?;
            }
            Some(LangCommand::CancelSignalWorkflow(command)) => self.cancel(Subject::Signal(command.seq), annotations, String::new())?,
            Some(LangCommand::SetPatchMarker(command)) => self.set_patch(command, annotations)?,
            Some(LangCommand::UpsertWorkflowSearchAttributes(command)) => self.upsert_attributes(command, annotations),
            Some(LangCommand::ModifyWorkflowProperties(command)) => self.modify_properties(command, annotations),
            Some(LangCommand::UpdateResponse(response)) => self.handle_update_response(response, annotations)?,
            Some(LangCommand::CompleteWorkflowExecution(command)) => {
                self.finish(Ending::completed(), command.into(), annotations);
            }
            Some(LangCommand::FailWorkflowExecution(command)) => self.finish(Ending::failed(), command.into(), annotations),
            Some(LangCommand::CancelWorkflowExecution(command)) => {
                self.finish(Ending::canceled(), command.into(), annotations);
            }
            Some(LangCommand::ContinueAsNewWorkflowExecution(command)) => {
                let attributes = self.continue_as_new(command);
                self.finish(Ending::continued_as_new(), attributes, annotations);
            }
            Some(other) => {
                return Err(Fault::Fatal(format!("the code gave the command {}, which this version does not support", name_of(&other))));
            }
        }
        Ok(())
    }

    fn add_subject(
        &mut self,
        subject: Subject,
        machine: Machine,
        attributes: CommandAttributes,
        annotations: Annotations,
    ) -> Result<(), Fault> {
        let key = self.add_machine(machine);
        if self.by_subject.insert(subject, key).is_some() {
            return Err(Fault::Fatal(format!("the code gave two commands for {subject:?}")));
        }
        self.push_command(attributes, key, annotations);
        Ok(())
    }

    fn signal_external(&mut self, command: SignalExternalWorkflowExecution, annotations: Annotations) -> Result<(), Fault> {
        let (target, child_workflow_only) = match command.target {
            Some(signal_external_workflow_execution::Target::WorkflowExecution(target)) => (target, false),
            Some(signal_external_workflow_execution::Target::ChildWorkflowId(workflow_id)) => {
                (NamespacedWorkflowExecution { namespace: self.namespace.clone(), workflow_id, run_id: String::new() }, true)
            }
            None => return Err(Fault::Fatal("the code sent a signal to a workflow and named none".to_owned())),
        };
        let machine = Machine::External(External::signal(command.seq, target.workflow_id.clone()));
        #[allow(deprecated, reason = "the service still reads the namespace")]
        let attributes = SignalExternalWorkflowExecutionCommandAttributes {
            namespace: target.namespace,
            execution: Some(WorkflowExecution { workflow_id: target.workflow_id, run_id: target.run_id }),
            signal_name: command.signal_name,
            input: command.args.into_payloads(),
            header: (!command.headers.is_empty()).then(|| command.headers.into()),
            child_workflow_only,
            ..Default::default()
        };
        self.add_subject(Subject::Signal(command.seq), machine, attributes.into(), annotations)
    }

    fn cancel(&mut self, subject: Subject, annotations: Annotations, reason: String) -> Result<(), Fault> {
        let Some(key) = self.by_subject.get(&subject).copied() else {
            return Err(Fault::Nondeterminism(format!("the code cancelled {subject:?}, which it never started")));
        };
        let effects = match &mut self.machines[key] {
            Machine::Timer(timer) => timer.cancel(),
            Machine::Activity(activity) => activity.cancel(),
            Machine::ChildWorkflow(child) => child.cancel(reason),
            Machine::External(external) => external.withdraw(),
            Machine::NexusOperation(operation) => operation.cancel(),
            _ => Vec::new(),
        };
        self.handle_effects(key, effects, annotations);
        Ok(())
    }

    fn finish(&mut self, ending: Ending, attributes: CommandAttributes, annotations: Annotations) {
        let key = self.add_machine(Machine::Ending(ending));
        self.push_command(attributes, key, annotations);
        self.is_finished = true;
        self.local.finish();
    }

    fn continue_as_new(&self, mut command: ContinueAsNewWorkflowExecution) -> CommandAttributes {
        if command.memo.is_empty() {
            command.memo = self.inherited.memo.clone().map(Into::into).unwrap_or_default();
        }
        if command.retry_policy.is_none() {
            command.retry_policy.clone_from(&self.inherited.retry_policy);
        }
        if command.search_attributes.is_none() {
            let current = self.inherited.search_attributes.clone();
            command.search_attributes = current.filter(|attributes| !attributes.indexed_fields.is_empty());
        }
        let inherit = self.inherits_build(command.versioning_intent(), &command.task_queue);
        continue_as_new_cmd_to_api(command, inherit)
    }

    fn inherits_build(&self, intent: VersioningIntent, task_queue: &str) -> bool {
        match intent {
            VersioningIntent::Compatible => true,
            VersioningIntent::Default => false,
            VersioningIntent::Unspecified => task_queue.is_empty() || task_queue == self.task_queue,
        }
    }

    fn add_machine(&mut self, machine: Machine) -> Key {
        self.machines.push(machine);
        self.machines.len() - 1
    }

    fn push_command(&mut self, attributes: command::Attributes, machine: Key, annotations: Annotations) {
        let kind = attributes.as_type();
        self.queue.push_back(Queued { kind, machine, number: self.command, content: Some(Box::new((attributes, annotations))) });
    }
}

/// The random seed of a run. The algorithm is part of the contract with every recorded history: it never changes.
fn seed_of(run_id: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    run_id.hash(&mut hasher);
    hasher.finish()
}

/// Where a job stands in its activation; equal ranks keep the order of the history.
fn job_rank(job: &Job) -> u8 {
    match job {
        Job::InitializeWorkflow(_) => 0,
        Job::NotifyHasPatch(_) => 1,
        Job::UpdateRandomSeed(_) => 2,
        Job::SignalWorkflow(_) | Job::DoUpdate(_) => 3,
        Job::ResolveActivity(resolve) if resolve.is_local => 5,
        Job::QueryWorkflow(_) => 6,
        Job::RemoveFromCache(_) => 7,
        _ => 4,
    }
}

/// Refuses an event that this version cannot apply, before it looks like a difference between code and history.
fn check_readable(event: &HistoryEvent) -> Result<(), Fault> {
    let kind = event.event_type();
    let says_all = matches!(kind, EventType::WorkflowExecutionTerminated | EventType::WorkflowExecutionTimedOut);
    if event.is_ignorable() || event.worker_may_ignore || says_all || event.attributes.is_some() {
        return Ok(());
    }
    Err(Fault::Fatal(match kind {
        EventType::Unspecified => format!(
            "event {} is of type {}, which this version does not know\nhint: a newer version of the package may know it",
            event.event_id, event.event_type
        ),
        _ => format!("event {} ({}) has no attributes", event.event_id, kind.as_str_name()),
    }))
}

fn command_of_event(event: EventType) -> Option<CommandType> {
    Some(match event {
        EventType::TimerStarted => CommandType::StartTimer,
        EventType::TimerCanceled => CommandType::CancelTimer,
        EventType::ActivityTaskScheduled => CommandType::ScheduleActivityTask,
        EventType::ActivityTaskCancelRequested => CommandType::RequestCancelActivityTask,
        EventType::MarkerRecorded => CommandType::RecordMarker,
        EventType::UpsertWorkflowSearchAttributes => CommandType::UpsertWorkflowSearchAttributes,
        EventType::WorkflowPropertiesModified => CommandType::ModifyWorkflowProperties,
        EventType::StartChildWorkflowExecutionInitiated => CommandType::StartChildWorkflowExecution,
        EventType::SignalExternalWorkflowExecutionInitiated => CommandType::SignalExternalWorkflowExecution,
        EventType::RequestCancelExternalWorkflowExecutionInitiated => CommandType::RequestCancelExternalWorkflowExecution,
        EventType::NexusOperationScheduled => CommandType::ScheduleNexusOperation,
        EventType::NexusOperationCancelRequested => CommandType::RequestCancelNexusOperation,
        EventType::WorkflowExecutionUpdateAccepted | EventType::WorkflowExecutionUpdateCompleted => CommandType::ProtocolMessage,
        EventType::WorkflowExecutionCompleted => CommandType::CompleteWorkflowExecution,
        EventType::WorkflowExecutionFailed => CommandType::FailWorkflowExecution,
        EventType::WorkflowExecutionCanceled => CommandType::CancelWorkflowExecution,
        EventType::WorkflowExecutionContinuedAsNew => CommandType::ContinueAsNewWorkflowExecution,
        _ => return None,
    })
}

fn is_ending(command: &LangCommand) -> bool {
    matches!(
        command,
        LangCommand::CompleteWorkflowExecution(_)
            | LangCommand::FailWorkflowExecution(_)
            | LangCommand::CancelWorkflowExecution(_)
            | LangCommand::ContinueAsNewWorkflowExecution(_)
    )
}

fn name_of(command: &LangCommand) -> String {
    let text = format!("{command:?}");
    text.split('(').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every idle run keeps its queue, for as long as its timers last.
    #[test]
    fn a_waiting_command_is_small() {
        assert!(size_of::<Queued>() <= 32, "{}", size_of::<Queued>());
    }
}
