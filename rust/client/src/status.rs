//! The service's refusals: a gRPC status without gRPC, so that the engine and the core can name one.

use prost::Message;

/// gRPC's status codes, by their numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    /// The code of a number on the wire; numbers gRPC does not know are `Unknown`, as gRPC says.
    pub fn from_i32(number: i32) -> Code {
        use Code::*;
        const ALL: [Code; 17] = [
            Ok,
            Cancelled,
            Unknown,
            InvalidArgument,
            DeadlineExceeded,
            NotFound,
            AlreadyExists,
            PermissionDenied,
            ResourceExhausted,
            FailedPrecondition,
            Aborted,
            OutOfRange,
            Unimplemented,
            Internal,
            Unavailable,
            DataLoss,
            Unauthenticated,
        ];
        usize::try_from(number).ok().and_then(|index| ALL.get(index).copied()).unwrap_or(Unknown)
    }
}

/// An answer that is a refusal. `details` is an encoded `google.rpc.Status`, as in the trailer
/// `grpc-status-details-bin`, or empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct Status {
    pub code: Code,
    pub message: String,
    pub details: Vec<u8>,
}

impl Status {
    pub fn new(code: Code, message: impl Into<String>) -> Status {
        Status { code, message: message.into(), details: Vec::new() }
    }

    /// A refusal with one error detail of the service's (`temporal.api.errordetails.v1.*`); `name` is its full name.
    pub fn with_detail(code: Code, message: impl Into<String>, name: &str, detail: &impl Message) -> Status {
        let message = message.into();
        let status = temporalio_protos::google::rpc::Status {
            code: code as i32,
            message: message.clone(),
            details: vec![prost_wkt_types::Any { type_url: format!("type.googleapis.com/{name}"), value: detail.encode_to_vec() }],
        };
        Status { code, message, details: status.encode_to_vec() }
    }
}
