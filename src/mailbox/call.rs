//! Calls in progress, as those who run the house see them.

use std::fmt;

use super::{CallerId, MailboxId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The SIP Call-ID.
    pub call_id: String,
    pub caller: CallerId,
    /// None until an owner has said which one is his.
    pub mailbox: Option<MailboxId>,
    pub context: String,
    pub purpose: Purpose,
    pub stage: Stage,
    /// Unix seconds.
    pub since: i64,
    /// None until both sides agree.
    pub codec: Option<&'static str>,
}

/// What a caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To leave a message.
    Deposit,
    /// To hear messages.
    Visit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Ringing,
    Answered,
    /// The caller is being recorded.
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
