//! Calls in progress, as the daemon tells of them.

use std::fmt;
use std::sync::Arc;

use crate::mailbox::{CallerId, MailboxId};

/// What can be known of calls in progress, and done about them.
#[derive(Clone)]
pub struct Calls {
    pub count: Arc<dyn Fn() -> usize + Send + Sync>,
    /// The oldest first.
    pub list: Arc<dyn Fn() -> Vec<Call> + Send + Sync>,
    /// `false` where there is none of this number.
    pub hang_up: Arc<dyn Fn(u64) -> bool + Send + Sync>,
    /// Takes no new ones from now on.
    pub drain: Arc<dyn Fn() + Send + Sync>,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub id: u64,
    /// The SIP Call-ID.
    pub call_id: String,
    pub caller: CallerId,
    pub mailbox: Option<MailboxId>,
    pub context: String,
    pub purpose: Purpose,
    pub stage: Stage,
    /// Unix seconds.
    pub since: i64,
    pub codec: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    Deposit,
    Visit,
}

#[derive(Clone, Copy, Debug)]
pub enum Stage {
    Ringing,
    Answered,
    Recording,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deposit => "deposit",
            Self::Visit => "visit",
        })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ringing => "ringing",
            Self::Answered => "answered",
            Self::Recording => "recording",
        })
    }
}
