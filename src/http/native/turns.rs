//! Changes that depend on how things stand: one after the other, so that none overtakes what another
//! has just looked at.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

#[derive(Clone)]
pub(super) struct Turns(Arc<[Mutex<()>; MANY]>);

const MANY: usize = 64;

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(std::array::from_fn(|_| Mutex::new(()))))
    }
}

impl Turns {
    /// Others who change the same wait until this is dropped.
    pub(super) async fn of(&self, what: impl Hash) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        let place = hasher.finish() % (MANY as u64);
        self.0[usize::try_from(place).unwrap_or_default()].lock().await
    }
}
