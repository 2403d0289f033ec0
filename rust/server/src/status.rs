//! A refusal as gRPC carries it.

use durable_client::{Code, Status};

/// Headers of one answer are bounded by the peer; the service cuts its messages here too.
const MAX_MESSAGE_CHARACTERS: usize = 4_000;

pub fn to_wire(status: Status) -> tonic::Status {
    let code = tonic::Code::from_i32(status.code as i32);
    let message = match status.message.char_indices().nth(MAX_MESSAGE_CHARACTERS) {
        Some((end, _)) => status.message[..end].to_owned(),
        None => status.message,
    };
    if status.details.is_empty() {
        tonic::Status::new(code, message)
    } else {
        tonic::Status::with_details(code, message, status.details.into())
    }
}

/// What callers are told when the server ends; they know it as the moment to look for another one.
pub fn stopping() -> Status {
    Status::new(Code::Unavailable, "the server is stopping")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_travel_and_long_messages_are_cut() {
        let status = Status { code: Code::NotFound, message: "ä".repeat(5_000), details: vec![1, 2] };
        let wire = to_wire(status);
        assert_eq!((wire.code(), wire.details(), wire.message().chars().count()), (tonic::Code::NotFound, &[1, 2][..], 4_000));
        assert_eq!(to_wire(Status::new(Code::Aborted, "short")).message(), "short");
    }
}
