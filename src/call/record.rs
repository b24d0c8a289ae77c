//! What stays of a call in the log: one line each, however it ended.

use std::fmt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::info;

use crate::mailbox::MailboxId;
use crate::media::{Codec, Statistics};
use crate::pii::Pii;
use crate::sip::Incoming;

/// A call, from its INVITE on.
pub(super) struct Record {
    began: Instant,
    /// Unix seconds.
    at: u64,
    source: String,
    pub(super) caller: String,
    dialled: String,
    pub(super) mailbox: Option<MailboxId>,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The caller hung up.
    Caller,
    /// We hung up: all was said.
    Here,
    /// An administrator wanted it to end.
    Ordered,
    /// Nothing was heard for long.
    Silence,
    /// No keys could be made for its audio.
    Unkeyed,
    /// The other side vanished.
    Lost,
    /// The caller gave up before the answer.
    Gone,
    /// With this status.
    Refused(u16),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caller => "the caller hung up",
            Self::Here => "hung up here",
            Self::Ordered => "an administrator hung up",
            Self::Silence => "nothing was heard for long",
            Self::Unkeyed => "no keys could be made for the audio",
            Self::Lost => "the other side vanished",
            Self::Gone => "cancelled before the answer",
            Self::Refused(_) => "refused",
        })
    }
}

/// What became of an answered call.
pub(super) struct Spoken {
    pub end: End,
    pub codec: Codec,
    /// How its audio was protected.
    pub srtp: &'static str,
    pub seconds: f32,
    pub statistics: Statistics,
    /// Who was on the line in the end, and whose mailbox it was about: an owner logs in late.
    pub caller: String,
    pub mailbox: Option<MailboxId>,
}

impl Record {
    pub fn begin(call: &Incoming) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            began: Instant::now(),
            at: since.as_secs(),
            source: format!("{} by {}", call.source, call.transport.name()),
            caller: call.from.uri.user.clone(),
            dialled: call.request_uri.user.clone(),
            mailbox: None,
        }
    }

    /// A call that came to no answer.
    pub fn unanswered(&self, end: End) {
        let Self { at, source, .. } = self;
        let (caller, dialled) = (Pii(&self.caller), Pii(&self.dialled));
        let mailbox = self.mailbox.as_ref().map(ToString::to_string);
        let status = match end {
            End::Refused(status) => Some(status),
            End::Gone => Some(487),
            End::Caller | End::Here | End::Ordered | End::Silence | End::Unkeyed | End::Lost => {
                None
            }
        };
        info!(
            record = "call", at, %source, %caller, %dialled, mailbox, %end, status,
            waited = self.began.elapsed().as_secs_f32(),
            "a call to {dialled} is over: {end}{}",
            status.map(|status| format!(" with {status}")).unwrap_or_default()
        );
    }

    pub fn answered(&self, spoken: Spoken) {
        let Self { at, source, .. } = self;
        let Spoken { end, codec, srtp, seconds, statistics, caller, mailbox } = spoken;
        let (caller, dialled) = (Pii(&caller), Pii(&self.dialled));
        let mailbox = mailbox.as_ref().map(ToString::to_string);
        // Nobody's, if nobody has logged in.
        let whose = mailbox.clone().unwrap_or_else(|| dialled.to_string());
        let Statistics {
            received,
            lost,
            late,
            duplicates,
            strangers,
            sent,
            jitter,
            round_trip,
            ..
        } = statistics;
        info!(
            record = "call", at, %source, %caller, %dialled, mailbox, %end,
            waited = (self.began.elapsed().as_secs_f32() - seconds).max(0.0),
            seconds,
            codec = codec.name(),
            srtp,
            received, lost, late, duplicates, strangers, sent,
            jitter_ms = jitter.as_secs_f32() * 1000.0,
            round_trip_ms = round_trip.map(|time| time.as_secs_f32() * 1000.0),
            "a call to {whose} is over: {end}"
        );
    }
}
