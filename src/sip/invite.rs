//! One call: from its INVITE over 200 and ACK to BYE (RFC 3261 §13–§15).

use rsip::Headers;

use super::Flow;
use super::dialog::Dialog;
use super::digest::Answering;
use super::message::Wire;
use super::timer::Armed;
use super::transactions::TransactionKey;

/// A call that has a dialog, early or confirmed.
pub(super) struct Call {
    pub dialog: Dialog,
    pub phase: Phase,
    pub armed: Armed,
}

impl Call {
    /// The INVITE that waits for an answer, if there is one.
    pub fn pending(&self) -> Option<&Pending> {
        match &self.phase {
            Phase::Offered(pending) | Phase::Reoffered(pending) => Some(pending),
            Phase::Answered(_) | Phase::Up => None,
        }
    }
}

pub(super) enum Phase {
    /// Its INVITE waits for an answer.
    Offered(Pending),
    /// Our 2xx waits for its ACK, for the first INVITE or a later one.
    Answered(Answered),
    Up,
    /// A re-INVITE waits for an answer.
    Reoffered(Pending),
}

/// An INVITE that has no final response yet.
pub(super) struct Pending {
    pub transaction: TransactionKey,
    pub headers: Headers,
    pub reply: Flow,
    pub sequence: u32,
    pub offer: Offer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// The INVITE has it, our 2xx has the answer.
    Early,
    /// Our 2xx has it, the ACK has the answer (RFC 3261 §13.2.1).
    Late,
}

pub(super) struct Answered {
    pub wire: Wire,
    pub reply: Flow,
    pub sequence: u32,
    pub interval: std::time::Duration,
    pub offer: Offer,
    pub then: Then,
}

/// What follows the ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Talk,
    /// RFC 3261 §15: the callee must not send BYE before the ACK has come.
    HangUp,
}

/// A call of ours that has no final response yet.
pub(super) struct Placing {
    pub transaction: TransactionKey,
    pub wish: Wish,
    /// What we answer challenges with.
    pub answering: Option<Answering>,
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
