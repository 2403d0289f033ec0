//! When an attempt is followed by another, as the service decides it for activities that it hands out.

use std::time::Duration;

use temporalio_protos::temporal::api::{
    common::v1::RetryPolicy,
    failure::v1::{ApplicationFailureInfo, Failure, failure::FailureInfo},
};

use crate::activity_task::duration;

const DEFAULT_INITIAL_INTERVAL: Duration = Duration::from_secs(1);
const DEFAULT_COEFFICIENT: f64 = 2.0;
/// Times the initial interval.
const DEFAULT_MAXIMUM_FACTOR: u32 = 100;

/// How long to wait before the attempt after `attempt` (from 1), or none when there is to be no other.
pub(crate) fn backoff(policy: &RetryPolicy, attempt: u32, failure: &Failure) -> Option<Duration> {
    let most = u32::try_from(policy.maximum_attempts).unwrap_or(0);
    if most > 0 && attempt >= most {
        return None;
    }
    if let Some(info) = application_info(failure) {
        if info.non_retryable || policy.non_retryable_error_types.contains(&info.r#type) {
            return None;
        }
        if let Some(delay) = duration(info.next_retry_delay) {
            return Some(delay);
        }
    }
    let initial = duration(policy.initial_interval).unwrap_or(DEFAULT_INITIAL_INTERVAL);
    let maximum = duration(policy.maximum_interval).unwrap_or(initial.saturating_mul(DEFAULT_MAXIMUM_FACTOR)).max(initial);
    let coefficient = if policy.backoff_coefficient >= 1.0 { policy.backoff_coefficient } else { DEFAULT_COEFFICIENT };
    let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let seconds = initial.as_secs_f64() * coefficient.powi(exponent);
    Some(Duration::try_from_secs_f64(seconds).map_or(maximum, |interval| interval.min(maximum)))
}

fn application_info(failure: &Failure) -> Option<&ApplicationFailureInfo> {
    match &failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => Some(info),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: i64) -> Option<prost_wkt_types::Duration> {
        Some(prost_wkt_types::Duration { seconds, nanos: 0 })
    }

    fn failure(info: ApplicationFailureInfo) -> Failure {
        Failure { failure_info: Some(FailureInfo::ApplicationFailureInfo(info)), ..Default::default() }
    }

    #[test]
    fn intervals_grow_up_to_the_longest() {
        let policy =
            RetryPolicy { initial_interval: seconds(3), backoff_coefficient: 3.0, maximum_interval: seconds(20), ..Default::default() };
        let waits: Vec<_> = (1..5).map(|attempt| backoff(&policy, attempt, &Failure::default()).unwrap().as_secs()).collect();
        assert_eq!(waits, [3, 9, 20, 20]);
        let of_default = |attempt| backoff(&RetryPolicy::default(), attempt, &Failure::default()).unwrap().as_secs();
        assert_eq!([1, 2, 3, 7, 8, 5_000].map(of_default), [1, 2, 4, 64, 100, 100]);
    }

    #[test]
    fn what_ends_the_retries() {
        let policy = RetryPolicy { maximum_attempts: 2, non_retryable_error_types: vec!["Broken".into()], ..Default::default() };
        let plain = failure(ApplicationFailureInfo::default());
        assert!(backoff(&policy, 1, &plain).is_some());
        assert!(backoff(&policy, 2, &plain).is_none());
        assert!(backoff(&policy, 1, &failure(ApplicationFailureInfo { r#type: "Broken".into(), ..Default::default() })).is_none());
        assert!(backoff(&policy, 1, &failure(ApplicationFailureInfo { non_retryable: true, ..Default::default() })).is_none());
    }

    #[test]
    fn a_failure_can_say_when() {
        let later = failure(ApplicationFailureInfo { next_retry_delay: seconds(70), ..Default::default() });
        assert_eq!(backoff(&RetryPolicy::default(), 1, &later), Some(Duration::from_secs(70)));
    }
}
