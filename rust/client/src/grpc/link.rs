//! Whether the service can be reached: each change is told once.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// A change of a connection's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nobody answers; calls are tried again as the retry options say.
    Lost { reason: String },
    /// It answers again.
    Back { after_ms: u128 },
}

/// Who hears of changes; called from the connection's own tasks, must not block.
pub type Observer = Arc<dyn Fn(Change) + Send + Sync>;

#[derive(Clone)]
pub(super) struct Link {
    lost_since: Arc<Mutex<Option<Instant>>>,
    observer: Observer,
}

impl Link {
    pub fn new(observer: Observer) -> Link {
        Link { lost_since: Arc::default(), observer }
    }

    pub fn failed(&self, reason: &str) {
        {
            let mut lost_since = self.lost_since.lock().unwrap_or_else(PoisonError::into_inner);
            if lost_since.is_some() {
                return;
            }
            *lost_since = Some(Instant::now());
        }
        (self.observer)(Change::Lost { reason: reason.to_owned() });
    }

    /// Nobody answered the last attempt, and that was told.
    pub fn is_lost(&self) -> bool {
        self.lost_since.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub fn answered(&self) {
        let lost_since = self.lost_since.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(since) = lost_since {
            (self.observer)(Change::Back { after_ms: since.elapsed().as_millis() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_told_once() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = told.clone();
        let link = Link::new(Arc::new(move |change| heard.lock().unwrap().push(change)));
        link.answered();
        assert!(told.lock().unwrap().is_empty());
        link.failed("cut");
        link.failed("cut again");
        assert!(link.is_lost());
        link.clone().answered();
        assert!(!link.is_lost());
        link.answered();
        let told = told.lock().unwrap();
        assert_eq!(told[0], Change::Lost { reason: "cut".into() });
        assert!(matches!(told[1], Change::Back { .. }) && told.len() == 2, "{told:?}");
    }
}
