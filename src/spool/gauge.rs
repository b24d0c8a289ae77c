//! How far a work of minutes is, for whoever waits.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How far a reading of the whole tree is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub mailboxes: usize,
    pub of: usize,
    pub messages: usize,
}

/// Told of every mailbox that is done.
#[derive(Clone, Default)]
pub struct Gauge(Option<Arc<dyn Fn(Progress) + Send + Sync>>);

impl Gauge {
    pub fn new(shows: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(shows)))
    }

    pub(super) fn shows(&self, progress: Progress) {
        if let Some(shows) = &self.0 {
            shows(progress);
        }
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Gauge(set)" } else { "Gauge" })
    }
}
