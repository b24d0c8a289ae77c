//! Calls in progress, as the daemon tells of them.

use std::sync::Arc;

use crate::mailbox::call::Call;

/// What can be known of calls in progress, and done about them.
#[derive(Clone)]
pub struct Calls {
    pub count: Arc<dyn Fn() -> usize + Send + Sync>,
    /// By their numbers, the oldest first.
    pub list: Arc<dyn Fn() -> Vec<(u64, Call)> + Send + Sync>,
    /// `false` where there is none of this number.
    pub hang_up: Arc<dyn Fn(u64) -> bool + Send + Sync>,
    /// Takes no new ones from now on.
    pub drain: Arc<dyn Fn() + Send + Sync>,
}
