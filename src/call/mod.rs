//! What a call is for: whose mailbox, whether there is room, and what audio both sides speak.
//!
//! One small task for each call; its audio passes through none.

mod breath;
pub(crate) mod choice;
mod clock;
mod desk;
mod driver;
mod early;
mod keys;
pub mod live;
mod record;
mod route;
pub(crate) mod secure;
pub mod sounds;
mod speech;
mod takes;
pub(crate) mod talk;
pub mod terms;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::config::{Config, Deposit};
use crate::directory::{Dialled, Directory, NotFound};
use crate::ivr::keys::KeyMap;
use crate::ivr::{Door, Session};
use crate::mailbox::call::{Call, Purpose, Stage};
use crate::mailbox::{Envelope, Limits, Mailbox, MailboxId, MessageId};
use crate::media::{Media, OpenError, Secrets, Speed, Volume};
use crate::pii::Pii;
use crate::sip::{Invite, Reject, Transport};
use crate::spool::Spool;
use driver::Conversation;
use early::Early;
use live::{Line, Live, Seat};
use record::{End, Record};
use secure::Rules;
use sounds::Sounds;
use talk::{Disagreement, Talk};

pub use route::{may_subscribe, must_authenticate};

/// Everything that a call needs.
#[derive(Clone)]
pub struct Reception(Arc<Inner>);

struct Inner {
    config: Config,
    directory: Directory,
    spool: Spool,
    media: Media,
    sounds: Sounds,
    live: Live,
    keys: Arc<KeyMap>,
    /// Where visits broke off.
    places: Mutex<Places>,
    /// Calls from the menus: the day, and how many of each mailbox.
    calls: Mutex<Calls>,
}

type Places = HashMap<MailboxId, (MessageId, Duration)>;
type Calls = (i64, HashMap<MailboxId, u32>);

impl Reception {
    pub fn new(
        config: &Config,
        directory: Directory,
        spool: Spool,
        media: Media,
        live: Live,
    ) -> Self {
        let sounds = Sounds::new(config.sounds.path.clone());
        // `check-config` and the start have told what is wrong with them.
        let keys = Arc::new(terms::keys(&config.menus).unwrap_or_default());
        Self(Arc::new(Inner {
            config: config.clone(),
            directory,
            spool,
            media,
            sounds,
            live,
            keys,
            places: Mutex::default(),
            calls: Mutex::default(),
        }))
    }

    /// Reads what callers hear most, so that the first one need not wait for it.
    pub async fn warm(&self) {
        let said =
            ["vm-theperson", "vm-isunavail", "vm-intro", "beep", "vm-msgsaved", "vm-goodbye"];
        let digits = (0..10).map(|digit| format!("digits/{digit}"));
        let names: Vec<String> = said.into_iter().map(str::to_owned).chain(digits).collect();
        let codecs = choice::Codecs::new(&self.0.config.media).spoken_by_us();
        self.0.sounds.warm(&names, &codecs).await;
    }

    /// Takes one call, from its INVITE to the last byte on disk. What each part of it needs is
    /// boxed and gone with that part: of a call that lasts only the talk takes memory.
    pub async fn receive(self, invite: Box<Invite>) {
        let id = route::clean(&invite.call_id, LONGEST);
        let span = info_span!("call", id = %id.escape_debug());
        async {
            let mut record = Record::begin(&invite);
            let end = match self.0.admit(&invite) {
                Ok(admitted) => {
                    record.mailbox = Some(admitted.id.clone());
                    record.caller.clone_from(&admitted.envelope.caller.number);
                    invite.is_for(&record.caller, &admitted.id.to_string());
                    match Box::pin(self.0.answer(invite, admitted)).await {
                        Ok(Answered { seat, conversation, begin }) => {
                            let spoken = Box::pin(conversation.run(begin)).await;
                            // Only now may another caller have the place.
                            drop(seat);
                            return record.answered(spoken);
                        }
                        Err(end) => end,
                    }
                }
                Err(why) => refuse(*invite, why),
            };
            record.unanswered(end);
        }
        .instrument(span)
        .await;
    }
}

fn refuse(invite: Invite, why: Reject) -> End {
    let status = why.code();
    invite.reject(why);
    End::Refused(status)
}

/// A call that may leave a message.
struct Admitted {
    seat: Seat,
    line: Line,
    id: MailboxId,
    mailbox: Arc<Mailbox>,
    /// Still without the times of a recording.
    envelope: Envelope,
    errand: Errand,
}

/// A call that was answered.
struct Answered<'a> {
    seat: Seat,
    conversation: Box<Conversation<'a>>,
    begin: Box<dyn FnOnce(Instant) -> Session + Send>,
}

/// What a caller wants.
enum Errand {
    /// To leave a message: for the mailbox, and for others too.
    Deposit { also: Vec<MailboxId> },
    /// To hear messages.
    Visit { door: Door, caller: String },
}

impl Inner {
    fn admit(&self, invite: &Invite) -> Result<Admitted, Reject> {
        let mut seat = self.live.admit().ok_or_else(|| {
            warn!("refused a call: {} are in progress", self.live.count());
            self.overloaded()
        })?;
        if !route::is_welcome(invite, &self.config.sip) {
            debug!("refused a call from {}, which is no peer", invite.source);
            return Err(Reject::Forbidden);
        }
        if let Some((id, mailbox, errand)) = self.visitor(invite) {
            let envelope = self.envelope(invite);
            let line = seat.is(call(&id, &mailbox, &envelope, &errand));
            return Ok(Admitted { seat, line, id, mailbox, envelope, errand });
        }
        let (id, mailbox, also) = match self.taken_over(invite) {
            Some((id, mailbox)) => (id, mailbox, vec![]),
            None => self.mailbox(invite)?,
        };
        if !mailbox.enabled {
            debug!(mailbox = %id, "refused a call: mailbox {id} is disabled");
            return Err(Reject::TemporarilyUnavailable);
        }
        let (envelope, errand) = (self.envelope(invite), self.errand(invite, &id, also));
        if let Errand::Deposit { .. } = errand {
            seat.deposits_in(&id, &invite.call_id);
        }
        let line = seat.is(call(&id, &mailbox, &envelope, &errand));
        Ok(Admitted { seat, line, id, mailbox, envelope, errand })
    }

    fn envelope(&self, invite: &Invite) -> Envelope {
        Envelope {
            caller: route::caller(invite, &self.config.sip),
            to: route::clean(&invite.request_uri.user, LONGEST),
            sip_call_id: route::clean(&invite.call_id, LONGEST),
            ..Envelope::default()
        }
    }

    /// One who dials the own mailbox wants to hear it.
    fn errand(&self, invite: &Invite, id: &MailboxId, also: Vec<MailboxId>) -> Errand {
        let caller = route::caller(invite, &self.config.sip).number;
        let own = self.config.menus.own_calls
            && caller == id.number()
            && route::is_dialled(invite, id.number())
            && invite.replaces.is_none();
        if own {
            return Errand::Visit { door: self.door(Some(&caller), id.context(), invite), caller };
        }
        Errand::Deposit { also }
    }

    /// A number that owners dial for their messages.
    fn visitor(&self, invite: &Invite) -> Option<(MailboxId, Arc<Mailbox>, Errand)> {
        let sip = &self.config.sip;
        let caller = route::caller(invite, sip).number;
        let number = match route::messages(invite, sip)? {
            route::Messages::Of(number) => Some(number),
            route::Messages::Own => Some(caller.clone()).filter(|number| !number.is_empty()),
            route::Messages::Ask => None,
        };
        let has_context = |context: &str| self.directory.has_context(context);
        let context = route::home(invite, sip, has_context);
        let door = self.door(number.as_deref(), &context, invite);
        let (id, mailbox) = match &door {
            Door::Open(owner) => (owner.id.clone(), self.directory.find(&owner.id)?),
            Door::Ask | Door::Pin(_) => {
                // Nobody's, until somebody has logged in.
                let mut mailbox = Mailbox::new(uuid::Uuid::nil(), 0, 0);
                mailbox.language.clone_from(&self.config.menus.language);
                (MailboxId::new(&context, "nobody").ok()?, Arc::new(mailbox))
            }
        };
        Some((id, mailbox, Errand::Visit { door, caller }))
    }

    /// An attended transfer goes on where the call that it replaces was.
    fn taken_over(&self, invite: &Invite) -> Option<(MailboxId, Arc<Mailbox>)> {
        let id = self.live.mailbox_of(invite.replaces.as_deref()?)?;
        let mailbox = self.directory.find(&id)?;
        Some((id, mailbox))
    }

    /// The mailbox that a call is for; of a list those who are there, of whom the first greets.
    fn mailbox(
        &self,
        invite: &Invite,
    ) -> Result<(MailboxId, Arc<Mailbox>, Vec<MailboxId>), Reject> {
        let has_context = |context: &str| self.directory.has_context(context);
        for choice in route::dialled(invite, &self.config.sip, has_context) {
            if let Some(members) = self.config.menus.lists.get(&choice.dialled.user) {
                let mut there = self.members(&choice, members);
                if let Some((id, mailbox)) = there.next() {
                    let mut also: Vec<MailboxId> = vec![];
                    for (other, _) in there {
                        if other != id && !also.contains(&other) {
                            also.push(other);
                        }
                    }
                    return Ok((id, mailbox, also));
                }
            }
            match self.directory.resolve(&choice.dialled) {
                Ok((id, mailbox)) if choice.permits(&id) => return Ok((id, mailbox, vec![])),
                Ok(_) | Err(NotFound::Nobody) => {}
                Err(NotFound::Ambiguous(ids)) => {
                    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                    warn!("refused a call: what was dialled fits {}", ids.join(" and "));
                    return Err(Reject::NotFound);
                }
            }
        }
        debug!("refused a call: {} has no mailbox here", Pii(&invite.request_uri.user));
        Err(Reject::NotFound)
    }

    fn members(
        &self,
        choice: &route::Choice,
        numbers: &[String],
    ) -> impl Iterator<Item = (MailboxId, Arc<Mailbox>)> {
        numbers.iter().filter_map(|number| {
            let dialled = Dialled { user: number.clone(), ..choice.dialled.clone() };
            let (id, mailbox) = self.directory.resolve(&dialled).ok()?;
            (mailbox.enabled && choice.permits(&id)).then_some((id, mailbox))
        })
    }

    async fn answer(
        &self,
        mut invite: Box<Invite>,
        admitted: Admitted,
    ) -> Result<Answered<'_>, End> {
        let port = match self.media.open() {
            Ok(port) => port,
            Err(error) => {
                warn!("refused a call: {error}");
                let why = match error {
                    OpenError::NoPorts | OpenError::Overloaded => self.overloaded(),
                    OpenError::Io(_) => Reject::ServerError,
                };
                return Err(refuse(*invite, why));
            }
        };
        let address = self.config.media.advertise.unwrap_or(invite.local);
        let Some(rules) = self.rules(&invite) else {
            return Err(refuse(*invite, Reject::ServerError));
        };
        let talk = Talk::new(address, port.number(), session_id(&invite.call_id));
        let codecs = choice::Codecs::new(&self.config.media);
        let mut talk = talk.guarded(rules).speaking(codecs);
        let (description, stream) = match invite.offer.clone() {
            Some(offer) => match talk.answer(&offer) {
                Ok((answer, stream)) => (answer, Some(stream)),
                Err(why) => return Err(refuse(*invite, refusal(why))),
            },
            None => (talk.offer(), None),
        };
        let Admitted { seat, line, id, mailbox, envelope, errand } = admitted;
        let mut early = Early { port, talk, stream, caller: envelope.caller.clone() };
        let rung = tokio::select! {
            rung = early.ring(&mut invite, &description, &self.config.sip) => Some(rung),
            () = line.ended() => None,
        };
        match rung {
            Some(Ok(())) => {}
            Some(Err(_)) => return Err(End::Gone),
            None => return Err(refuse(*invite, Reject::TemporarilyUnavailable)),
        }
        let Early { port, talk, stream, caller } = early;
        line.tell(|call| call.caller.clone_from(&caller));
        if secure::name(talk.security()) == "SDES" && !is_private(&invite) {
            info!(
                "the keys of this call came by {}, where others may read them",
                invite.transport.name()
            );
        }
        let envelope = Envelope { caller, ..envelope };
        let (mut callee, special) = self.callee(&id, &mailbox, &invite);
        if let Errand::Deposit { also } = &errand {
            callee.full &= also.iter().all(|id| self.is_full(id));
        }
        let source = route::guesser(&invite, &self.config.sip);
        let Ok(dialog) = invite.answer(description).await else {
            return Err(End::Gone);
        };
        let policy = self.policy(self.limits(&mailbox));
        let mut conversation = Box::new(Conversation {
            house: self,
            line,
            dialog,
            port,
            talk,
            elsewhere: None,
            id,
            mailbox,
            envelope,
            draft: None,
            take: None,
            special,
            also: vec![],
            source,
            stream,
            saying: vec![],
            fetched: None,
            unplayable: None,
            end: End::Here,
            keys: keys::Keys::default(),
            speed: Speed::default(),
            volume: Volume::default(),
        });
        let begin: Box<dyn FnOnce(Instant) -> Session + Send> = match errand {
            Errand::Deposit { also } => {
                conversation.also = also;
                Box::new(move |now| Session::deposit(&callee, policy, now))
            }
            Errand::Visit { door, caller } => {
                // Owners hear what they have recorded.
                conversation.special = None;
                Box::new(move |now| Session::visit(door, caller, policy, now))
            }
        };
        Ok(Answered { seat, conversation, begin })
    }

    /// How this call's audio is protected.
    fn rules(&self, invite: &Invite) -> Option<Rules> {
        let secrets = Secrets::new();
        if secrets.is_none() {
            error!("refused a call: the system has no random numbers for its keys");
        }
        Some(Rules {
            demand: route::srtp(invite, &self.config),
            sdes: is_private(invite) || self.config.media.srtp_keys_in_clear,
            browser: matches!(invite.transport, Transport::Ws | Transport::Wss),
            secrets: secrets?,
            fingerprint: self.media.fingerprint(),
        })
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limits(&self, mailbox: &Mailbox) -> Limits {
        let Deposit { max_messages, max_seconds, min_seconds, .. } = self.config.deposit;
        Limits { max_messages, max_seconds, min_seconds }.of(mailbox)
    }

    fn overloaded(&self) -> Reject {
        let retry_after = Duration::from_secs(self.config.sip.retry_after_seconds.into());
        Reject::Overloaded { retry_after }
    }
}

/// What is told of a call that has just come.
fn call(id: &MailboxId, mailbox: &Mailbox, envelope: &Envelope, errand: &Errand) -> Call {
    Call {
        call_id: envelope.sip_call_id.clone(),
        caller: envelope.caller.clone(),
        mailbox: (!mailbox.uuid.is_nil()).then(|| id.clone()),
        context: id.context().to_owned(),
        purpose: match errand {
            Errand::Deposit { .. } => Purpose::Deposit,
            Errand::Visit { .. } => Purpose::Visit,
        },
        stage: Stage::Ringing,
        since: clock::seconds(),
        codec: None,
    }
}

/// Whether nobody on the way can read what it says.
fn is_private(invite: &Invite) -> bool {
    matches!(invite.transport, Transport::Tls | Transport::Wss)
}

fn refusal(why: Disagreement) -> Reject {
    match why {
        Disagreement::NothingInCommon => Reject::NotAcceptableHere,
        Disagreement::Malformed => Reject::BadRequest("Malformed Session Description"),
    }
}

/// Characters that are kept of a Call-ID and of what was dialled.
const LONGEST: usize = 256;
/// The same for the whole call, and another for each (RFC 8866 §5.2).
fn session_id(call_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    call_id.hash(&mut hasher);
    // Some peers read it as a signed 32-bit number.
    hasher.finish() & 0x7fff_ffff
}
