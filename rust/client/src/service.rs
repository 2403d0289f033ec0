//! The calls of the service that this project makes or answers, as one enum of requests and one of responses.
//!
//! A new RPC is one line in the table below. In process and over the wire are the same trait: the embedded engine
//! implements it directly, the cluster connection through gRPC.

use std::{future::Future, pin::Pin, time::Duration};

use prost::Message;
use temporalio_protos::temporal::api::workflowservice::v1 as api;

use crate::{Code, Status};

pub type ServiceFuture = Pin<Box<dyn Future<Output = Result<Response, Status>> + Send + 'static>>;
pub type RawFuture = Pin<Box<dyn Future<Output = Result<Vec<u8>, Status>> + Send + 'static>>;

/// Something that answers the service's calls: the embedded engine or a connection to a cluster.
///
/// Dropping the future before it is ready is the caller's disconnect: a long poll is given up and whatever it would
/// have been handed goes to another poller.
pub trait Service: Send + Sync + 'static {
    fn call(&self, request: Request) -> ServiceFuture;

    /// The same with wishes for this one call, which the default ignores; whoever needs a bound drops the future.
    fn call_with(&self, request: Request, options: CallOptions) -> ServiceFuture {
        let _ = options;
        self.call(request)
    }

    /// A call that is not in the table below, by its name and with encoded messages. In process there is none.
    fn call_raw(&self, call: RawCall, options: CallOptions) -> RawFuture {
        let _ = options;
        let message = format!("{}/{} is not there on an embedded engine", call.service, call.method);
        Box::pin(async { Err(Status::new(Code::Unimplemented, message)) })
    }

    /// True if a workflow task that fails again and again is handed out with growing pauses. A Temporal service hands it out again at once.
    fn paces_failing_tasks(&self) -> bool {
        false
    }

    /// True while the service cannot be reached and somebody has heard of it, so that callers need not say it too.
    fn is_known_to_be_lost(&self) -> bool {
        false
    }

    /// Says that the attempt of this token goes on outside of this process: whoever has the token will report it. A service across
    /// the network cannot know where a worker's attempts are, and need not be told; an engine of this process gives up what its own
    /// process did not finish.
    fn release_activity(&self, task_token: Vec<u8>) {
        drop(task_token);
    }
}

/// A call whose message types this side does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawCall {
    /// `temporal.api.operatorservice.v1.OperatorService`, for instance.
    pub service: String,
    pub method: String,
    /// Of the request, where it has one: services route and authorize by it.
    pub namespace: String,
    pub request: Vec<u8>,
}

/// Wishes for one call, and what is known of its caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// The whole time the call may take, retries included; none: the connection's own bounds. Long polls answer empty before it is over.
    pub timeout: Option<Duration>,
    /// Headers for this call, after the connection's own.
    pub metadata: Vec<(String, String)>,
    /// The caller is another process: work that it is given is in its hands also when this process ends.
    pub is_remote: bool,
}

/// A request message that knows its RPC.
pub trait Rpc: Message + Default {
    type Response: Message + Default;
    const NAME: &'static str;
    fn into_request(self) -> Request;
    fn from_response(response: Response) -> Option<Self::Response>;
}

/// Calls `service` with a typed request and returns its typed answer.
pub async fn call<R: Rpc>(service: &dyn Service, request: R) -> Result<R::Response, Status> {
    let response = service.call(request.into_request()).await?;
    R::from_response(response).ok_or_else(|| Status::new(Code::Internal, format!("{}: the answer is of another call", R::NAME)))
}

macro_rules! rpcs {
    ($($rpc:ident: $request:ident => $response:ident;)*) => {
        /// A call of `temporal.api.workflowservice.v1.WorkflowService`.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request { $($rpc(Box<api::$request>),)* }

        /// The answer to the [`Request`] of the same name.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Response { $($rpc(Box<api::$response>),)* }

        impl Request {
            /// The names of all calls, as in the service's definition.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($rpc)),*];

            pub fn name(&self) -> &'static str {
                match self { $(Request::$rpc(_) => stringify!($rpc),)* }
            }

            /// Decodes the request of the call `name`. Unknown calls are `Unimplemented`, bad bytes `InvalidArgument`.
            pub fn decode(name: &str, bytes: &[u8]) -> Result<Request, Status> {
                match name {
                    $(stringify!($rpc) => api::$request::decode(bytes).map(|message| Request::$rpc(Box::new(message)))
                        .map_err(|error| Status::new(Code::InvalidArgument, format!("{name}: the request cannot be decoded: {error}"))),)*
                    _ => Err(Status::new(Code::Unimplemented, format!("unknown method {name}"))),
                }
            }
        }

        impl Response {
            pub fn encode(&self) -> Vec<u8> {
                match self { $(Response::$rpc(message) => message.encode_to_vec(),)* }
            }
        }

        $(impl Rpc for api::$request {
            type Response = api::$response;
            const NAME: &'static str = stringify!($rpc);
            fn into_request(self) -> Request { Request::$rpc(Box::new(self)) }
            fn from_response(response: Response) -> Option<api::$response> {
                match response { Response::$rpc(message) => Some(*message), _ => None }
            }
        }
        impl From<api::$response> for Response {
            fn from(message: api::$response) -> Response { Response::$rpc(Box::new(message)) }
        })*

        /// Calls `$with!(Rpc, Request, Response)` for every RPC of the table: for code that needs the whole list.
        #[macro_export]
        macro_rules! for_each_rpc {
            ($with:ident) => { $($with!{$rpc, $request, $response})* };
        }
    };
}

rpcs! {
    GetSystemInfo: GetSystemInfoRequest => GetSystemInfoResponse;
    GetClusterInfo: GetClusterInfoRequest => GetClusterInfoResponse;
    DescribeNamespace: DescribeNamespaceRequest => DescribeNamespaceResponse;
    ListNamespaces: ListNamespacesRequest => ListNamespacesResponse;
    RegisterNamespace: RegisterNamespaceRequest => RegisterNamespaceResponse;
    StartWorkflowExecution: StartWorkflowExecutionRequest => StartWorkflowExecutionResponse;
    SignalWithStartWorkflowExecution: SignalWithStartWorkflowExecutionRequest => SignalWithStartWorkflowExecutionResponse;
    GetWorkflowExecutionHistory: GetWorkflowExecutionHistoryRequest => GetWorkflowExecutionHistoryResponse;
    GetWorkflowExecutionHistoryReverse: GetWorkflowExecutionHistoryReverseRequest => GetWorkflowExecutionHistoryReverseResponse;
    DescribeWorkflowExecution: DescribeWorkflowExecutionRequest => DescribeWorkflowExecutionResponse;
    QueryWorkflow: QueryWorkflowRequest => QueryWorkflowResponse;
    SignalWorkflowExecution: SignalWorkflowExecutionRequest => SignalWorkflowExecutionResponse;
    UpdateWorkflowExecution: UpdateWorkflowExecutionRequest => UpdateWorkflowExecutionResponse;
    PollWorkflowExecutionUpdate: PollWorkflowExecutionUpdateRequest => PollWorkflowExecutionUpdateResponse;
    ExecuteMultiOperation: ExecuteMultiOperationRequest => ExecuteMultiOperationResponse;
    RequestCancelWorkflowExecution: RequestCancelWorkflowExecutionRequest => RequestCancelWorkflowExecutionResponse;
    TerminateWorkflowExecution: TerminateWorkflowExecutionRequest => TerminateWorkflowExecutionResponse;
    ResetWorkflowExecution: ResetWorkflowExecutionRequest => ResetWorkflowExecutionResponse;
    DeleteWorkflowExecution: DeleteWorkflowExecutionRequest => DeleteWorkflowExecutionResponse;
    PollWorkflowTaskQueue: PollWorkflowTaskQueueRequest => PollWorkflowTaskQueueResponse;
    RespondWorkflowTaskCompleted: RespondWorkflowTaskCompletedRequest => RespondWorkflowTaskCompletedResponse;
    RespondWorkflowTaskFailed: RespondWorkflowTaskFailedRequest => RespondWorkflowTaskFailedResponse;
    RespondQueryTaskCompleted: RespondQueryTaskCompletedRequest => RespondQueryTaskCompletedResponse;
    ResetStickyTaskQueue: ResetStickyTaskQueueRequest => ResetStickyTaskQueueResponse;
    ShutdownWorker: ShutdownWorkerRequest => ShutdownWorkerResponse;
    RecordWorkerHeartbeat: RecordWorkerHeartbeatRequest => RecordWorkerHeartbeatResponse;
    ListWorkers: ListWorkersRequest => ListWorkersResponse;
    CountWorkers: CountWorkersRequest => CountWorkersResponse;
    DescribeWorker: DescribeWorkerRequest => DescribeWorkerResponse;
    PollActivityTaskQueue: PollActivityTaskQueueRequest => PollActivityTaskQueueResponse;
    RecordActivityTaskHeartbeat: RecordActivityTaskHeartbeatRequest => RecordActivityTaskHeartbeatResponse;
    RespondActivityTaskCompleted: RespondActivityTaskCompletedRequest => RespondActivityTaskCompletedResponse;
    RespondActivityTaskFailed: RespondActivityTaskFailedRequest => RespondActivityTaskFailedResponse;
    RespondActivityTaskCanceled: RespondActivityTaskCanceledRequest => RespondActivityTaskCanceledResponse;
    RecordActivityTaskHeartbeatById: RecordActivityTaskHeartbeatByIdRequest => RecordActivityTaskHeartbeatByIdResponse;
    RespondActivityTaskCompletedById: RespondActivityTaskCompletedByIdRequest => RespondActivityTaskCompletedByIdResponse;
    RespondActivityTaskFailedById: RespondActivityTaskFailedByIdRequest => RespondActivityTaskFailedByIdResponse;
    RespondActivityTaskCanceledById: RespondActivityTaskCanceledByIdRequest => RespondActivityTaskCanceledByIdResponse;
    PauseActivity: PauseActivityRequest => PauseActivityResponse;
    UnpauseActivity: UnpauseActivityRequest => UnpauseActivityResponse;
    ResetActivity: ResetActivityRequest => ResetActivityResponse;
    UpdateActivityOptions: UpdateActivityOptionsRequest => UpdateActivityOptionsResponse;
    ListWorkflowExecutions: ListWorkflowExecutionsRequest => ListWorkflowExecutionsResponse;
    CountWorkflowExecutions: CountWorkflowExecutionsRequest => CountWorkflowExecutionsResponse;
    DescribeTaskQueue: DescribeTaskQueueRequest => DescribeTaskQueueResponse;
    ListTaskQueuePartitions: ListTaskQueuePartitionsRequest => ListTaskQueuePartitionsResponse;
    CreateSchedule: CreateScheduleRequest => CreateScheduleResponse;
    DescribeSchedule: DescribeScheduleRequest => DescribeScheduleResponse;
    UpdateSchedule: UpdateScheduleRequest => UpdateScheduleResponse;
    PatchSchedule: PatchScheduleRequest => PatchScheduleResponse;
    DeleteSchedule: DeleteScheduleRequest => DeleteScheduleResponse;
    ListSchedules: ListSchedulesRequest => ListSchedulesResponse;
    CountSchedules: CountSchedulesRequest => CountSchedulesResponse;
    ListScheduleMatchingTimes: ListScheduleMatchingTimesRequest => ListScheduleMatchingTimesResponse;
}
