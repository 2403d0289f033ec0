//! Deleting a run: first it ends, for those that wait for it, then its rows go with the same commit.

use temporalio_protos::temporal::api::workflowservice::v1 as api;

use super::{
    limit::not_found,
    world::{Answer, Env, World},
};

impl World {
    pub fn delete(&mut self, env: &Env, request: api::DeleteWorkflowExecutionRequest) -> Answer {
        self.check_namespace(&request.namespace)?;
        let key = self.find(env, &request.workflow_execution)?;
        let Some(run) = self.run_mut(key) else { return Err(not_found("the run has gone")) };
        if run.is_open() {
            run.terminate(env.now, "Delete workflow execution".into(), None, "history-service".into());
        }
        run.is_deleted = true;
        run.dirty = true;
        Ok(Some(api::DeleteWorkflowExecutionResponse::default().into()))
    }
}
