//! Patches: what each pairing of a history and the code's calls leads to. And the changes of search attributes and memo.

mod support;

use durable_core::Output;
use support::*;
use temporalio_protos::{
    coresdk::{
        AsJsonPayloadExt,
        workflow_activation::{WorkflowActivation, workflow_activation_job::Variant as Job},
        workflow_commands::{
            ContinueAsNewWorkflowExecution, ModifyWorkflowProperties, SetPatchMarker, UpsertWorkflowSearchAttributes,
            workflow_command::Variant as LangCommand,
        },
    },
    temporal::api::{
        command::v1::command::Attributes as CommandAttributes,
        common::v1::{Memo, Payload, SearchAttributes},
        enums::v1::CommandType,
        workflowservice::v1::RespondWorkflowTaskCompletedRequest,
    },
};

fn patch(id: &str) -> LangCommand {
    LangCommand::SetPatchMarker(SetPatchMarker { patch_id: id.into(), deprecated: false })
}

fn deprecated(id: &str) -> LangCommand {
    LangCommand::SetPatchMarker(SetPatchMarker { patch_id: id.into(), deprecated: true })
}

fn text(value: &str) -> Payload {
    value.as_json_payload().unwrap()
}

fn upsert(name: &str, value: Payload) -> LangCommand {
    let search_attributes = Some(SearchAttributes { indexed_fields: [(name.to_owned(), value)].into() });
    LangCommand::UpsertWorkflowSearchAttributes(UpsertWorkflowSearchAttributes { search_attributes })
}

fn modify(name: &str, value: Payload) -> LangCommand {
    LangCommand::ModifyWorkflowProperties(ModifyWorkflowProperties {
        upserted_memo: Some(Memo { fields: [(name.to_owned(), value)].into() }),
    })
}

/// A history of two tasks, the first of which gave these commands; then the code's end.
fn history(first: Vec<LangCommand>) -> (Service, RespondWorkflowTaskCompletedRequest) {
    let mut service = Service::new();
    service.start_task();
    let mut run = run();
    run.handle_task(service.task(0));
    next_activation(&mut run);
    let mut commands = first;
    commands.push(start_timer(1));
    run.handle_completion(completion(commands));
    let request = next_complete(&mut run);
    service.complete_task(&request);
    service.fire_timer("1");
    service.start_task();
    service.add_completed(None);
    service.completed();
    (service, request)
}

fn listed(request: &RespondWorkflowTaskCompletedRequest) -> Vec<String> {
    request
        .commands
        .iter()
        .filter_map(|command| match &command.attributes {
            Some(CommandAttributes::UpsertWorkflowSearchAttributesCommandAttributes(upsert)) => Some(upsert),
            _ => None,
        })
        .flat_map(|upsert| upsert.search_attributes.clone().unwrap_or_default().indexed_fields)
        .map(|(name, value)| format!("{name}={}", String::from_utf8(value.data).unwrap()))
        .collect()
}

fn patches_told(activation: &WorkflowActivation) -> Vec<String> {
    jobs(activation)
        .into_iter()
        .filter_map(|job| match job {
            Job::NotifyHasPatch(notice) => Some(notice.patch_id),
            _ => None,
        })
        .collect()
}

/// Replays with code that gives these commands in its first activation: the patches it was told of, and what it was evicted for.
fn replay(service: &Service, first: Vec<LangCommand>) -> (Vec<String>, Option<String>) {
    let mut run = replayer();
    run.handle_task(service.replay_task());
    let activation = next_activation(&mut run);
    let told = patches_told(&activation);
    let mut commands = first;
    commands.push(start_timer(1));
    run.handle_completion(completion(commands));
    let Some(Output::Activation(second)) = run.poll() else { panic!("no second activation") };
    if let Some(reason) = evicted(&second) {
        return (told, Some(reason));
    }
    assert_eq!(names(&second), ["FireTimer"]);
    run.handle_completion(completion(vec![complete_workflow()]));
    assert!(run.is_idle());
    (told, None)
}

fn evicted(activation: &WorkflowActivation) -> Option<String> {
    jobs(activation).into_iter().find_map(|job| match job {
        Job::RemoveFromCache(eviction) => Some(eviction.message),
        _ => None,
    })
}

#[test]
fn a_patch_is_a_marker_and_a_search_attribute() {
    let (_, request) = history(vec![patch("b"), patch("a"), patch("b")]);
    let kinds: Vec<CommandType> = request.commands.iter().map(|command| command.command_type()).collect();
    let (marker, list) = (CommandType::RecordMarker, CommandType::UpsertWorkflowSearchAttributes);
    assert_eq!(kinds, [marker, list, marker, list, CommandType::StartTimer]);
    assert_eq!(listed(&request), [r#"TemporalChangeVersion=["b"]"#, r#"TemporalChangeVersion=["a","b"]"#]);
    assert_eq!(request.sdk_metadata.unwrap().core_used_flags, [1, 2, 3]);
}

#[test]
fn code_without_patches_records_no_flag_of_theirs() {
    let (_, request) = history(vec![]);
    assert_eq!(request.sdk_metadata.unwrap().core_used_flags, [1, 3]);
}

#[test]
fn the_code_is_told_of_the_patches_that_its_run_has() {
    let (service, _) = history(vec![patch("b"), patch("a")]);
    assert_eq!(replay(&service, vec![patch("b"), patch("a")]), (vec!["b".into(), "a".into()], None));
}

#[test]
fn a_run_older_than_the_patch_replays() {
    let (service, _) = history(vec![]);
    assert_eq!(replay(&service, vec![]), (vec![], None));
    // Code that gives the command although it was told of nothing, as other SDKs' does.
    assert_eq!(replay(&service, vec![patch("a")]), (vec![], None));
    assert_eq!(replay(&service, vec![deprecated("a")]), (vec![], None));
}

#[test]
fn a_deprecated_patch_may_be_missing_on_either_side() {
    let (service, _) = history(vec![deprecated("a")]);
    for code in [vec![], vec![deprecated("a")], vec![patch("a")]] {
        assert_eq!(replay(&service, code).1, None);
    }
    let (service, _) = history(vec![patch("a")]);
    assert_eq!(replay(&service, vec![deprecated("a")]).1, None);
}

#[test]
fn a_deprecated_patch_that_is_gone_leaves_the_others() {
    let (service, _) = history(vec![patch("a"), deprecated("b"), patch("c")]);
    assert_eq!(replay(&service, vec![patch("a"), patch("c")]).1, None);
    let (service, _) = history(vec![deprecated("b"), upsert("Word", text("x"))]);
    assert_eq!(replay(&service, vec![upsert("Word", text("x"))]).1, None);
}

#[test]
fn a_patch_that_the_code_forgot_is_nondeterminism() {
    let (service, _) = history(vec![patch("a")]);
    let reason = replay(&service, vec![]).1.unwrap();
    assert!(reason.contains("event 5, the marker of patch 'a', for which the code gave no command"), "{reason}");
    assert!(reason.contains("expected: RecordMarker (patch 'a')\nactual: StartTimer (timer 1)\nevent: 5\ncommand: 1"), "{reason}");
    let reason = replay(&service, vec![patch("z")]).1.unwrap();
    assert!(reason.contains("the marker of patch 'a'"), "{reason}");
}

#[test]
fn the_list_of_patches_stays_under_the_services_limit() {
    let ids: Vec<String> = (0..30).map(|number| format!("{number:02}{}", "x".repeat(98))).collect();
    let patches: Vec<LangCommand> = ids.iter().map(|id| patch(id)).collect();
    let (service, request) = history(patches.clone());
    let values = listed(&request);
    // Each takes 103 bytes, the brackets one more: the twentieth would go over 2 KB, and the list stops growing there.
    assert_eq!(values.len(), 19);
    assert!(values.iter().all(|value| value.len() < 2048 + "TemporalChangeVersion=".len()));
    let markers = request.commands.iter().filter(|command| command.command_type() == CommandType::RecordMarker).count();
    assert_eq!(markers, 30);
    assert_eq!(replay(&service, patches), (ids, None));
}

#[test]
fn a_history_without_the_search_attribute_replays() {
    // As cores wrote it before they listed patches.
    let mut service = Service::new();
    service.start_task();
    service.add_completed(None);
    let (recorded, _) = history(vec![patch("a")]);
    let mut marker = recorded.events[4].clone();
    service.add(marker.event_type(), marker.attributes.take().unwrap());
    service.timer_started("1");
    service.fire_timer("1");
    service.start_task();
    service.add_completed(None);
    service.completed();
    assert_eq!(replay(&service, vec![patch("a")]), (vec!["a".into()], None));
}

#[test]
fn patches_of_a_later_task_are_told_with_that_task() {
    let mut service = Service::new();
    service.start_task();
    let mut live = run();
    live.handle_task(service.task(0));
    next_activation(&mut live);
    live.handle_completion(completion(vec![start_timer(1)]));
    service.complete_task(&next_complete(&mut live));
    live.handle_completed(0);
    service.fire_timer("1");
    service.start_task();
    live.handle_task(service.sticky_task());
    next_activation(&mut live);
    live.handle_completion(completion(vec![patch("late"), complete_workflow()]));
    service.complete_task(&next_complete(&mut live));
    live.handle_completed(0);

    let mut run = replayer();
    run.handle_task(service.replay_task());
    assert_eq!(names(&next_activation(&mut run)), ["InitializeWorkflow"]);
    run.handle_completion(completion(vec![start_timer(1)]));
    assert_eq!(names(&next_activation(&mut run)), ["NotifyHasPatch", "FireTimer"]);
    run.handle_completion(completion(vec![patch("late"), complete_workflow()]));
    assert!(run.is_idle() && run.poll().is_none());
}

#[test]
fn search_attributes_and_memo_are_recorded_and_inherited() {
    let (service, request) = history(vec![upsert("Word", text("x")), modify("note", text("y"))]);
    let kinds: Vec<CommandType> = request.commands.iter().map(|command| command.command_type()).collect();
    assert_eq!(kinds, [CommandType::UpsertWorkflowSearchAttributes, CommandType::ModifyWorkflowProperties, CommandType::StartTimer]);
    assert_eq!(replay(&service, vec![upsert("Word", text("x")), modify("note", text("y"))]).1, None);
    let reason = replay(&service, vec![modify("note", text("y")), upsert("Word", text("x"))]).1.unwrap();
    assert!(reason.contains("event 5 is EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES"), "{reason}");

    let mut service = Service::new();
    service.start_task();
    let mut run = run();
    run.handle_task(service.task(0));
    next_activation(&mut run);
    let next = LangCommand::ContinueAsNewWorkflowExecution(ContinueAsNewWorkflowExecution::default());
    let null = || Payload { metadata: [("encoding".to_owned(), b"binary/null".to_vec())].into(), ..Default::default() };
    let empty = Vec::<String>::new().as_json_payload().unwrap();
    let gone = [upsert("Gone", text("x")), modify("gone", text("y")), upsert("Gone", empty), modify("gone", null())];
    let mut commands = vec![patch("a"), upsert("Word", text("x")), modify("note", text("y"))];
    commands.extend(gone.into_iter().chain([next]));
    run.handle_completion(completion(commands));
    let request = next_complete(&mut run);
    let Some(CommandAttributes::ContinueAsNewWorkflowExecutionCommandAttributes(next)) =
        request.commands.last().and_then(|command| command.attributes.clone())
    else {
        panic!("no end")
    };
    // The next run asks about its patches itself.
    assert_eq!(next.search_attributes.unwrap().indexed_fields, [("Word".to_owned(), text("x"))].into());
    assert_eq!(next.memo.unwrap().fields, [("note".to_owned(), text("y"))].into());
}

#[test]
fn the_list_of_patches_is_not_the_codes() {
    let (service, request) = history(vec![upsert("TemporalChangeVersion", text("x"))]);
    assert_eq!(listed(&request), Vec::<String>::new());
    assert_eq!(request.commands[0].command_type(), CommandType::UpsertWorkflowSearchAttributes);
    assert_eq!(replay(&service, vec![upsert("TemporalChangeVersion", text("x"))]).1, None);
}
