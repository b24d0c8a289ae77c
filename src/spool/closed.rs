//! What cannot be read, as this user or at all: the rest of the spool goes on without it.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

use tracing::warn;

use super::{Error, Spool};

impl Spool {
    /// Goes on without what cannot be read, which is told once. What else is wrong ends the work.
    pub(super) fn without(&self, what: &str, error: Error) -> Result<(), Error> {
        if !matches!(error, Error::Io { .. }) {
            return Err(error);
        }
        if self.closed().insert(what.to_owned()) {
            warn!(
                "{what} is left out until the user that this runs as can read it (or it is moved \
                 out of the spool): {error}"
            );
        }
        Ok(())
    }

    /// Is told anew when it cannot be read again.
    pub(super) fn is_open(&self, what: &str) {
        self.closed().remove(what);
    }

    pub(super) fn closed(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
