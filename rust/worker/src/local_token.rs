//! The task tokens of local activities. They must not be taken for the service's, which are encoded messages.

/// No encoded protobuf message begins with these bytes (there is no wire type 7), and no text does.
const PREFIX: [u8; 2] = [0xFF, b'L'];

pub(crate) fn local_token(id: u64, attempt: u32) -> Vec<u8> {
    [&PREFIX[..], &id.to_le_bytes(), &attempt.to_le_bytes()].concat()
}

pub(crate) fn is_local_token(token: &[u8]) -> bool {
    token.starts_with(&PREFIX)
}

/// The activity's id and the attempt.
pub(crate) fn parse_local_token(token: &[u8]) -> Option<(u64, u32)> {
    let rest = token.strip_prefix(&PREFIX)?;
    let (id, attempt) = rest.split_at_checked(size_of::<u64>())?;
    Some((u64::from_le_bytes(id.try_into().ok()?), u32::from_le_bytes(attempt.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_recognised_and_read() {
        let token = local_token(7, 3);
        assert!(is_local_token(&token));
        assert_eq!(parse_local_token(&token), Some((7, 3)));
        for other in [&b""[..], b"t", &[0xFF], &[0xFF, b'L', 1], &[0x0A, 2, 1, 1]] {
            assert_eq!(parse_local_token(other), None);
        }
    }
}
