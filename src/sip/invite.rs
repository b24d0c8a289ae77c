//! One call: from its INVITE over 200 and ACK to BYE (RFC 3261 §13–§15).

use std::time::Duration;

use rsip::Headers;

use super::dialog::Dialog;
use super::digest::Answering;
use super::endpoint::CallKey;
use super::message::Wire;
use super::session::{Agreed, Session};
use super::timer::Armed;
use super::transactions::TransactionKey;
use super::uri::Uri;
use super::{Flow, NameAddr, Ticket};

/// A call that has a dialog, early or confirmed.
pub(super) struct Call {
    pub dialog: Dialog,
    pub phase: Phase,
    /// An offer within the dialog that waits for its owner's word.
    pub asked: Option<Asked>,
    /// A refresh of ours that waits for its response.
    pub refreshing: Option<Means>,
    /// How we refresh: RFC 4028 §7.4.
    pub means: Means,
    /// `None`: it lives until somebody hangs up.
    pub session: Option<Session>,
    /// The last description of ours: a refresh by re-INVITE says it again.
    pub described: String,
    /// Who the other side was last said to be.
    pub party: Option<NameAddr>,
    /// The call that ends when this one is answered (RFC 3891).
    pub replaces: Option<CallKey>,
    /// To another party, as the other side has asked.
    pub transfer: Option<Transfer>,
    /// Whether a transfer was tried before, and what its NOTIFYs name (RFC 3515 §2.4.6).
    pub referred: bool,
    pub event: String,
    pub armed: Armed<4>,
}

impl Call {
    pub fn new(dialog: Dialog, phase: Phase, means: Means) -> Self {
        Self {
            dialog,
            phase,
            asked: None,
            refreshing: None,
            means,
            session: None,
            described: String::new(),
            party: None,
            replaces: None,
            transfer: None,
            referred: false,
            event: String::new(),
            armed: Armed::default(),
        }
    }

    /// Whether this INVITE waits for an answer.
    pub fn waits(&self, transaction: TransactionKey) -> bool {
        let first = match &self.phase {
            Phase::Offered(pending, _) => Some(pending),
            Phase::Answered(_) | Phase::Up | Phase::Left => None,
        };
        let later = self.asked.as_ref().map(|asked| &asked.pending);
        first.into_iter().chain(later).any(|pending| pending.transaction == transaction)
    }
}

pub(super) enum Phase {
    /// Its INVITE waits for an answer.
    Offered(Pending, Provisional),
    /// Our 2xx waits for its ACK, for the first INVITE or a later one.
    Answered(Answered),
    Up,
    /// The other side has hung up, and a transfer may yet bring another.
    Left,
}

/// A request that has no final response yet.
pub(super) struct Pending {
    pub transaction: TransactionKey,
    pub headers: Headers,
    pub reply: Flow,
    pub sequence: u32,
    pub offer: Offer,
    /// What its 2xx will say of the session's life.
    pub session: Option<Agreed>,
}

/// Where the first exchange of descriptions stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Offer {
    /// The request has it, our 2xx has the answer.
    Early,
    /// Our 2xx has it, the ACK has the answer (RFC 3261 §13.2.1).
    Late,
    /// Both were exchanged before the 2xx (RFC 3262 §5), which has none. An answer that came in a
    /// PRACK is told when the call is confirmed.
    Settled { answer: Option<Vec<u8>> },
}

/// How responses before the final one go out.
pub(super) enum Provisional {
    Plain,
    Reliable(Reliable),
}

/// The caller requires 100rel: RFC 3262 §3.
pub(super) struct Reliable {
    /// `RSeq` of the last one.
    pub number: u32,
    pub waiting: Option<Unpracked>,
    /// The answer of our owner, which must wait for a PRACK.
    pub answer: Option<String>,
}

/// An 18x that waits for its PRACK.
pub(super) struct Unpracked {
    pub wire: Wire,
    pub interval: Duration,
    pub carries: Carries,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    Nothing,
    Answer,
    Offer,
}

/// An offer in a dialog, and the request that brought it.
pub(super) struct Asked {
    pub ticket: Ticket,
    pub bearer: Bearer,
    pub pending: Pending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bearer {
    /// A re-INVITE, whose 2xx waits for an ACK.
    Invite,
    /// UPDATE or PRACK.
    Other,
}

/// The request that refreshes a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    Update,
    Invite,
}

pub(super) struct Answered {
    pub wire: Wire,
    pub reply: Flow,
    pub sequence: u32,
    pub interval: Duration,
    pub offer: Offer,
    pub then: Then,
    /// RFC 3262 §3: a PRACK that may still come, by `RSeq` and `CSeq`.
    pub prack: Option<(u32, u32)>,
}

/// What follows the ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Talk,
    /// RFC 3261 §15: the callee must not send BYE before the ACK has come.
    HangUp,
}

/// A REFER that we were sent: RFC 3515.
pub(super) struct Transfer {
    pub ticket: Ticket,
    pub stage: Stage,
    /// The status that was told last.
    pub told: u16,
}

pub(super) enum Stage {
    /// It waits for its owner's word.
    Asked(Box<Wanted>),
    /// Our INVITE to the new party is under way.
    Calling(CallKey),
    /// The new party has answered, and waits for its owner's word.
    Reached(CallKey),
}

/// Whom a REFER names, and who names it.
pub(super) struct Wanted {
    pub pending: Pending,
    pub target: Uri,
    /// The values of Replaces and of Referred-By to send.
    pub replaces: String,
    pub by: Option<String>,
}

/// A call of ours that has no final response yet.
pub(super) struct Placing {
    pub transaction: TransactionKey,
    pub wish: Wish,
    /// What we answer challenges with.
    pub answering: Option<Answering>,
    /// The call that is to go on over this one.
    pub on_behalf_of: Option<CallKey>,
}

impl Placing {
    pub fn new(transaction: TransactionKey) -> Self {
        Self { transaction, wish: Wish::Calling, answering: None, on_behalf_of: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing has come yet. RFC 3261 §9.1: no CANCEL before a provisional response.
    Calling,
    Ringing,
    /// Given up, but nothing has come yet.
    GiveUp,
    Cancelled,
}
