//! What is left when runs are deleted, and which of an id's runs is meant where only the id is given.

mod support;

use std::path::Path;

use durable_client::{Code, Status};
use durable_engine::Engine;
use support::*;
use temporalio_protos::temporal::api::{common::v1::WorkflowExecution, enums::v1::WorkflowIdReusePolicy, workflowservice::v1::*};

fn run(id: &str, run_id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: id.into(), run_id: run_id.into() })
}

async fn begin(engine: &Engine, id: &str, request_id: &str, policy: WorkflowIdReusePolicy) -> Result<String, Status> {
    let request =
        StartWorkflowExecutionRequest { request_id: request_id.into(), workflow_id_reuse_policy: policy as i32, ..start_request(id) };
    ask(engine, request).await.map(|answer| answer.run_id)
}

async fn terminate(engine: &Engine, id: &str) {
    let request =
        TerminateWorkflowExecutionRequest { namespace: "default".into(), workflow_execution: execution(id), ..Default::default() };
    ask(engine, request).await.expect("terminates");
}

async fn delete(engine: &Engine, which: Option<WorkflowExecution>) {
    let request = DeleteWorkflowExecutionRequest { namespace: "default".into(), workflow_execution: which };
    ask(engine, request).await.expect("deletes");
}

/// The run that is found.
async fn found(engine: &Engine, which: Option<WorkflowExecution>) -> Result<String, Code> {
    let request = DescribeWorkflowExecutionRequest { namespace: "default".into(), execution: which };
    let described = ask(engine, request).await.map_err(|status| status.code)?;
    Ok(described.workflow_execution_info.unwrap_or_default().execution.unwrap_or_default().run_id)
}

/// Runs of one id, all ended.
async fn ended(engine: &Engine, id: &str, count: usize) -> Vec<String> {
    let mut runs = Vec::new();
    for number in 0..count {
        runs.push(begin(engine, id, &format!("{id}{number}"), WorkflowIdReusePolicy::AllowDuplicate).await.expect("starts"));
        terminate(engine, id).await;
    }
    runs
}

fn reopened(engine: &Engine, path: &Path) -> std::sync::Arc<Engine> {
    engine.close();
    file(path)
}

#[test]
fn an_older_run_does_not_take_a_deleted_ones_place() {
    block_on(async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("d.db");
        let mut engine = file(&path);
        let runs = ended(&engine, "a", 2).await;
        delete(&engine, execution("a")).await;
        for _ in 0..2 {
            assert_eq!(found(&engine, execution("a")).await, Err(Code::NotFound));
            assert_eq!(found(&engine, run("a", &runs[1])).await, Err(Code::NotFound));
            assert_eq!(found(&engine, run("a", &runs[0])).await, Ok(runs[0].clone()));
            assert_eq!(found(&engine, execution("a")).await, Err(Code::NotFound), "not even when it was just looked at");
            engine = reopened(&engine, &path);
        }
        let fresh = begin(&engine, "a", "again", WorkflowIdReusePolicy::RejectDuplicate).await.expect("the id is free");
        assert_eq!(found(&engine, execution("a")).await, Ok(fresh.clone()));
        terminate(&engine, "a").await;
        engine = reopened(&engine, &path);
        assert_eq!(found(&engine, execution("a")).await, Ok(fresh));
        let refused = begin(&engine, "a", "once more", WorkflowIdReusePolicy::RejectDuplicate).await;
        assert_eq!(refused.expect_err("it has run").code, Code::AlreadyExists);
    });
}

#[test]
fn the_others_stay_what_they_are() {
    block_on(async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("d.db");
        let mut engine = file(&path);
        let runs = ended(&engine, "a", 3).await;
        delete(&engine, run("a", &runs[0])).await;
        delete(&engine, run("a", &runs[1])).await;
        for _ in 0..2 {
            assert_eq!(found(&engine, execution("a")).await, Ok(runs[2].clone()));
            engine = reopened(&engine, &path);
        }
        // The newest, then all others: the id is as if it had never been.
        delete(&engine, run("a", &runs[2])).await;
        let fresh = begin(&engine, "a", "again", WorkflowIdReusePolicy::RejectDuplicate).await.expect("the id is free");
        assert_eq!(found(&engine, execution("a")).await, Ok(fresh));
    });
}

#[test]
fn a_run_that_was_deleted_while_it_was_open_leaves_no_newest() {
    block_on(async {
        let engine = memory(false);
        let runs = ended(&engine, "a", 1).await;
        begin(&engine, "a", "open", WorkflowIdReusePolicy::AllowDuplicate).await.expect("starts");
        delete(&engine, execution("a")).await;
        assert_eq!(found(&engine, execution("a")).await, Err(Code::NotFound));
        // An older run can still be run again from its history, and then there is a newest.
        assert_eq!(found(&engine, run("a", &runs[0])).await, Ok(runs[0].clone()));
    });
}

#[test]
fn an_older_run_that_is_looked_at_does_not_pass_for_the_newest() {
    block_on(async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("d.db");
        let engine = file(&path);
        let runs = ended(&engine, "a", 2).await;
        let engine = reopened(&engine, &path);
        assert_eq!(found(&engine, run("a", &runs[0])).await, Ok(runs[0].clone()));
        assert_eq!(found(&engine, execution("a")).await, Ok(runs[1].clone()));
        assert_eq!(found(&engine, run("a", &runs[0])).await, Ok(runs[0].clone()));
    });
}
