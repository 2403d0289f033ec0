//! The service's calls about schedules.

use durable_client::{Code, Status};
use temporalio_protos::temporal::api::{
    common::v1::SearchAttributes,
    enums::v1::WorkflowIdReusePolicy,
    errordetails::v1::WorkflowExecutionAlreadyStartedFailure,
    schedule::v1::{Schedule as Definition, SchedulePatch, schedule_action::Action},
    workflowservice::v1 as api,
};

use super::{filter::Filter, schedule::Schedule, spec::canonical};
use crate::state::{Answer, Env, World, check_blob, check_start, invalid, not_found, time::nanos};

/// The service keeps schedules as workflows, whose ids have this before the schedule's.
const ID_PREFIX: &str = "temporal-sys-scheduler:";
const MAX_ID_LENGTH: usize = 1000;
const MAX_NOTES_BYTES: usize = 1000;
/// A started workflow's id has the time behind; checks take one of this length.
const TIME_BEHIND: &str = "-2009-11-10T23:00:00Z";
const MAX_PAGE: usize = 1000;

fn check_request_id(id: &str) -> Result<(), Status> {
    if id.len() > MAX_ID_LENGTH { Err(invalid("RequestId length exceeds limit.")) } else { Ok(()) }
}

fn bad_spec(reason: String) -> Status {
    invalid(format!("Invalid schedule spec: {reason}"))
}

/// Checks a definition and brings its spec into the canonical form.
fn check_definition(mut schedule: Definition) -> Result<Definition, Status> {
    let spec = schedule.spec.take().unwrap_or_default();
    for interval in &spec.interval {
        for (name, part) in [("interval", &interval.interval), ("phase", &interval.phase)] {
            if part.as_ref().is_some_and(|part| (part.seconds > 0 && part.nanos < 0) || (part.seconds < 0 && part.nanos > 0)) {
                return Err(bad_spec(format!("{name} is not a valid duration: its seconds and nanos have different signs")));
            }
        }
    }
    let spec = canonical(spec).map_err(bad_spec)?;
    if let Err(reason) = super::spec::Spec::new(&spec) {
        return Err(bad_spec(reason));
    }
    schedule.spec = Some(spec);
    let Some(Action::StartWorkflow(workflow)) = schedule.action.as_ref().and_then(|action| action.action.as_ref()) else {
        return Err(invalid("Only StartWorkflow action is supported for schedules"));
    };
    let id = workflow.workflow_id.len() + TIME_BEHIND.len();
    if id > MAX_ID_LENGTH {
        return Err(invalid(format!("WorkflowId exceeds maximum allowed length ({id}/{MAX_ID_LENGTH})")));
    }
    match workflow.workflow_type.as_ref().map_or(0, |kind| kind.name.len()) {
        0 => return Err(invalid("WorkflowType is not set on request.")),
        bytes if bytes > MAX_ID_LENGTH => return Err(invalid("WorkflowType length exceeds limit.")),
        _ => {}
    }
    match workflow.task_queue.as_ref().map_or(0, |queue| queue.name.len()) {
        0 => return Err(invalid("missing task queue name")),
        bytes if bytes > MAX_ID_LENGTH => return Err(invalid("taskQueue length exceeds limit")),
        _ => {}
    }
    if !workflow.cron_schedule.is_empty() {
        return Err(invalid("Scheduled workflow must not contain CronSchedule"));
    }
    if !matches!(workflow.workflow_id_reuse_policy(), WorkflowIdReusePolicy::Unspecified | WorkflowIdReusePolicy::AllowDuplicate) {
        return Err(invalid("Scheduled workflow must not contain WorkflowIDReusePolicy"));
    }
    // What a start would be refused for is refused here: later nobody would hear of it.
    check_start(&api::StartWorkflowExecutionRequest {
        workflow_id: format!("{}{TIME_BEHIND}", workflow.workflow_id),
        workflow_type: workflow.workflow_type.clone(),
        task_queue: workflow.task_queue.clone(),
        workflow_execution_timeout: workflow.workflow_execution_timeout,
        workflow_run_timeout: workflow.workflow_run_timeout,
        workflow_task_timeout: workflow.workflow_task_timeout,
        retry_policy: workflow.retry_policy.clone(),
        memo: workflow.memo.clone(),
        ..Default::default()
    })?;
    check_blob("Schedule", &Some(schedule.clone()))?;
    Ok(schedule)
}

fn check_patch(patch: &SchedulePatch) -> Result<(), Status> {
    if patch.pause.len() > MAX_NOTES_BYTES || patch.unpause.len() > MAX_NOTES_BYTES {
        return Err(invalid("Schedule notes exceeds limit."));
    }
    Ok(())
}

impl World {
    /// Refuses attributes that a start would be refused for, and gives each its type's name.
    fn check_attributes(&self, attributes: &mut Option<SearchAttributes>) -> Result<(), Status> {
        self.attributes.complete(attributes).map_err(|refused| invalid(refused.text(|text| text)))
    }

    fn checked_definition(&self, schedule: Option<Definition>) -> Result<Definition, Status> {
        let mut definition = check_definition(schedule.unwrap_or_default())?;
        if let Some(Action::StartWorkflow(workflow)) = definition.action.as_mut().and_then(|action| action.action.as_mut()) {
            self.check_attributes(&mut workflow.search_attributes)?;
        }
        Ok(definition)
    }

    fn check_schedule_call(&self, namespace: &str, id: &str) -> Result<(), Status> {
        self.check_namespace(namespace)?;
        // The service's words: it looks for a workflow.
        if id.is_empty() { Err(invalid("Can't load workflow execution.  WorkflowId not set.")) } else { Ok(()) }
    }

    fn schedule(&mut self, namespace: &str, id: &str) -> Result<&mut Schedule, Status> {
        self.check_schedule_call(namespace, id)?;
        self.schedules.all.get_mut(id).ok_or_else(|| not_found(format!("schedule not found: {id}")))
    }

    pub fn create_schedule(&mut self, env: &Env, mut request: api::CreateScheduleRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        let bytes = ID_PREFIX.len() + request.schedule_id.len();
        if bytes > MAX_ID_LENGTH {
            return Err(invalid(format!("WorkflowId exceeds maximum allowed length ({bytes}/{MAX_ID_LENGTH})")));
        }
        if request.request_id.is_empty() {
            return Err(invalid("RequestId is not set on request."));
        }
        check_request_id(&request.request_id)?;
        let definition = self.checked_definition(request.schedule.take())?;
        self.check_attributes(&mut request.search_attributes)?;
        self.check_schedule_call(&request.namespace, &request.schedule_id)?;
        request.initial_patch.as_ref().map_or(Ok(()), check_patch)?;
        check_blob("CreateScheduleRequest.Memo", &request.memo)?;
        let id = request.schedule_id;
        if let Some(schedule) = self.schedules.all.get(&id) {
            if schedule.record.requests.first() == Some(&request.request_id) {
                return Ok(Some(api::CreateScheduleResponse { conflict_token: token(schedule) }.into()));
            }
            return Err(Status::with_detail(
                Code::AlreadyExists,
                format!("schedule {id:?} is already registered"),
                "temporal.api.errordetails.v1.WorkflowExecutionAlreadyStartedFailure",
                &WorkflowExecutionAlreadyStartedFailure::default(),
            ));
        }
        let mut schedule = Schedule::new(id.clone(), &self.namespace, definition, env.now).map_err(bad_spec)?;
        schedule.record.memo = request.memo;
        schedule.record.search_attributes = request.search_attributes;
        schedule.record.requests.push(request.request_id);
        schedule.handle_patch(env.now, request.initial_patch.unwrap_or_default());
        let conflict_token = token(&schedule);
        self.schedules.insert(schedule);
        self.run_schedule(env, &id);
        Ok(Some(api::CreateScheduleResponse { conflict_token }.into()))
    }

    pub fn describe_schedule(&mut self, request: api::DescribeScheduleRequest) -> Answer {
        let schedule = self.schedule(&request.namespace, &request.schedule_id)?;
        Ok(Some(
            api::DescribeScheduleResponse {
                schedule: Some(schedule.shown_definition()),
                info: Some(schedule.shown_info()),
                memo: schedule.record.memo.clone(),
                search_attributes: schedule.record.search_attributes.clone(),
                conflict_token: token(schedule),
            }
            .into(),
        ))
    }

    pub fn update_schedule(&mut self, env: &Env, mut request: api::UpdateScheduleRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        check_request_id(&request.request_id)?;
        let definition = self.checked_definition(request.schedule.take())?;
        self.check_attributes(&mut request.search_attributes)?;
        check_blob("UpdateScheduleRequest.Memo", &request.memo)?;
        let schedule = self.schedule(&request.namespace, &request.schedule_id)?;
        if schedule.knows_request(&request.request_id) {
            return Ok(Some(api::UpdateScheduleResponse::default().into()));
        }
        if !request.conflict_token.is_empty() && request.conflict_token != token(schedule) {
            return Err(Status::new(Code::FailedPrecondition, "mismatched conflict token: the schedule was changed meanwhile"));
        }
        schedule.advance(env.now);
        schedule.handle_update(env.now, definition).map_err(bad_spec)?;
        if request.search_attributes.is_some() {
            schedule.record.search_attributes = request.search_attributes;
        }
        if request.memo.is_some() {
            schedule.record.memo = request.memo;
        }
        self.run_schedule(env, &request.schedule_id);
        Ok(Some(api::UpdateScheduleResponse::default().into()))
    }

    pub fn patch_schedule(&mut self, env: &Env, request: api::PatchScheduleRequest) -> Answer {
        let Some(patch) = request.patch else {
            self.check_namespace(&request.namespace)?;
            return Err(invalid("Patch is not set on request."));
        };
        check_request_id(&request.request_id)?;
        check_patch(&patch)?;
        check_blob("PatchScheduleRequest.Patch", &Some(patch.clone()))?;
        let schedule = self.schedule(&request.namespace, &request.schedule_id)?;
        if !schedule.knows_request(&request.request_id) {
            schedule.advance(env.now);
            schedule.handle_patch(env.now, patch);
            self.run_schedule(env, &request.schedule_id);
        }
        Ok(Some(api::PatchScheduleResponse::default().into()))
    }

    pub fn delete_schedule(&mut self, request: api::DeleteScheduleRequest) -> Answer {
        self.schedule(&request.namespace, &request.schedule_id)?;
        self.schedules.remove(&request.schedule_id);
        Ok(Some(api::DeleteScheduleResponse::default().into()))
    }

    pub fn schedule_matching_times(&mut self, request: api::ListScheduleMatchingTimesRequest) -> Answer {
        let schedule = self.schedule(&request.namespace, &request.schedule_id)?;
        let (Some(start), Some(end)) = (&request.start_time, &request.end_time) else { return Err(invalid("missing or invalid query")) };
        let times = schedule.matching_times(nanos(start), nanos(end));
        Ok(Some(
            api::ListScheduleMatchingTimesResponse { start_time: times.into_iter().map(crate::state::time::timestamp).collect() }.into(),
        ))
    }

    /// Those that a query finds, the newest first.
    fn find_schedules(&self, namespace: &str, query: &str) -> Result<Vec<&Schedule>, Status> {
        self.check_namespace(namespace)?;
        let filter = Filter::parse(query).map_err(invalid)?;
        let mut found: Vec<&Schedule> = self.schedules.all.values().filter(|schedule| filter.holds(schedule)).collect();
        found.sort_by_key(|schedule| std::cmp::Reverse(position(schedule)));
        Ok(found)
    }

    pub fn list_schedules(&mut self, request: api::ListSchedulesRequest) -> Answer {
        let found = self.find_schedules(&request.namespace, &request.query)?;
        let from = match request.next_page_token.split_first_chunk::<8>() {
            _ if request.next_page_token.is_empty() => 0,
            Some((time, id)) => {
                let last = (i64::from_be_bytes(*time), std::str::from_utf8(id).map_err(|_| invalid("Invalid NextPageToken."))?);
                found.partition_point(|schedule| position(schedule) >= last)
            }
            None => return Err(invalid("Invalid NextPageToken.")),
        };
        let page = usize::try_from(request.maximum_page_size).ok().filter(|size| *size > 0).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let rest = &found[from..];
        let next_page_token = match rest.get(page.saturating_sub(1)) {
            Some(last) if rest.len() > page => [last.record.create_time.to_be_bytes().as_slice(), last.record.id.as_bytes()].concat(),
            _ => Vec::new(),
        };
        let schedules = rest.iter().take(page).map(|schedule| schedule.shown_entry()).collect();
        Ok(Some(api::ListSchedulesResponse { schedules, next_page_token }.into()))
    }

    pub fn count_schedules(&mut self, request: api::CountSchedulesRequest) -> Answer {
        let count = i64::try_from(self.find_schedules(&request.namespace, &request.query)?.len()).unwrap_or(i64::MAX);
        Ok(Some(api::CountSchedulesResponse { count, ..Default::default() }.into()))
    }
}

fn position(schedule: &Schedule) -> (i64, &str) {
    (schedule.record.create_time, &schedule.record.id)
}

fn token(schedule: &Schedule) -> Vec<u8> {
    schedule.record.conflict_token.to_be_bytes().to_vec()
}
