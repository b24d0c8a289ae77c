//! Where tests stop or fail what the spool does: after each step that touches the disk.

use std::fmt;
use std::io;
use std::sync::Arc;

type Check = dyn Fn(&'static str) -> io::Result<()> + Send + Sync;

/// Asked after each step, by its name. An error is taken for one of the disk; a panic stops the
/// work as a crash would, with nothing put right.
#[derive(Clone, Default)]
pub struct Probe(Option<Arc<Check>>);

impl Probe {
    pub fn new(check: impl Fn(&'static str) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(check)))
    }

    /// A step after which there is no way back: what is done is done.
    pub(super) fn reached(&self, step: &'static str) {
        let _ = self.after(step);
    }

    pub(super) fn after(&self, step: &'static str) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |check| check(step))
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Probe(set)" } else { "Probe" })
    }
}
