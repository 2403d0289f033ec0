//! `grpc.health.v1`: whether the server takes calls.

use futures_util::stream::{BoxStream, StreamExt, unfold};
use prost::Message;
use temporalio_protos::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus};
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::router::{OPERATOR_SERVICE, WORKFLOW_SERVICE};

pub const HEALTH_SERVICE: &str = "grpc.health.v1.Health";

/// Answers for the server as a whole (the empty name) and for each of its services.
fn check(request: &[u8], is_stopping: bool) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest::decode(request)
        .map_err(|error| Status::new(Code::Internal, format!("grpc: error unmarshalling request: {error}")))?;
    match request.service.as_str() {
        "" | HEALTH_SERVICE | WORKFLOW_SERVICE | OPERATOR_SERVICE if is_stopping => Ok(ServingStatus::NotServing),
        "" | HEALTH_SERVICE | WORKFLOW_SERVICE | OPERATOR_SERVICE => Ok(ServingStatus::Serving),
        _ => Err(Status::new(Code::NotFound, "unknown service")),
    }
}

fn encoded(status: ServingStatus) -> Vec<u8> {
    HealthCheckResponse { status: status as i32 }.encode_to_vec()
}

/// The state now.
pub fn check_now(request: &[u8], stopping: &watch::Receiver<bool>) -> Result<Vec<u8>, Status> {
    check(request, *stopping.borrow()).map(encoded)
}

/// The state now and at each change. A service that is not known may still come, says the protocol, so that is no error here.
pub fn watch(request: Vec<u8>, stopping: watch::Receiver<bool>) -> BoxStream<'static, Result<Vec<u8>, Status>> {
    let told = move |is_stopping| match check(&request, is_stopping) {
        Err(status) if status.code() == Code::NotFound => Ok(encoded(ServingStatus::ServiceUnknown)),
        other => other.map(encoded),
    };
    // The second answer is the last: the server stops once.
    unfold((stopping, 0), move |(mut stopping, count)| {
        let first = told(*stopping.borrow());
        let last = told(true);
        async move {
            if count == 0 {
                return Some((first, (stopping, 1)));
            }
            let stops = count == 1 && stopping.wait_for(|is_stopping| *is_stopping).await.is_ok();
            stops.then_some((last, (stopping, 2)))
        }
    })
    .boxed()
}
