use std::{path::PathBuf, sync::Arc, time::{Duration, SystemTime}};
use durable_client::*;
#[derive(Debug, PartialEq, Eq)]
pub enum Location { File(PathBuf), Memory }
#[derive(Debug)]
pub struct EngineOptions { pub location: Location, pub namespace: String, pub time_skipping: bool }
#[derive(Debug, thiserror::Error)]
#[error("stub")]
pub enum OpenError { NotADatabase{}, NotOurs{}, NotAFile{}, NewerSchema{}, OtherOptions{}, Corrupt{}, Held{}, MissingDirectory{}, Permission{}, Io{} }
pub struct Engine;
impl Engine {
    pub fn open(_: EngineOptions) -> Result<Arc<Engine>, OpenError> { Ok(Arc::new(Engine)) }
    pub fn close(&self) {}
    pub async fn advance(&self, _: Duration) {}
    pub fn now(&self) -> SystemTime { SystemTime::now() }
}
impl Service for Engine {
    fn call(&self, r: Request) -> ServiceFuture { Box::pin(async move {
        match r { Request::GetSystemInfo(_) => Ok(temporalio_protos::temporal::api::workflowservice::v1::GetSystemInfoResponse{server_version:"stub".into(), ..Default::default()}.into()), _ => std::future::pending().await } }) }
}
