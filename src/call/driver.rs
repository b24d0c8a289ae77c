//! One call, from the ACK to the last byte on disk: the only place that knows signalling, media,
//! the conversation and the spool at once. It decides nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::select;
use tokio::time::{sleep_until, timeout};
use tracing::{error, info, warn};

use super::keys::{Keys, Way};
use super::live::Line;
use super::record::{End, Spoken};
use super::speech::Fetched;
use super::talk::{Talk, info_key};
use super::{Inner, route, secure};
use crate::ivr::{self, Command, Session};
use crate::mailbox::call::Stage;
use crate::mailbox::{Envelope, Mailbox, MailboxId, MessageId};
use crate::media::{self, Codec, Direction, Ended, Port, Speed, Stream, Volume};
use crate::pii::Pii;
use crate::say::Prompt;
use crate::sip::{self, Dialog, Party};
use crate::spool::Draft;

/// A phone that does not answer a REFER within this is left alone.
const REFERRED: Duration = Duration::from_secs(8);

/// A call that was answered.
pub(super) struct Conversation<'h> {
    pub(super) house: &'h Inner,
    /// What others are told of it.
    pub(super) line: Line,
    pub(super) dialog: Dialog,
    pub(super) port: Port,
    pub(super) talk: Talk,
    pub(super) id: MailboxId,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) envelope: Envelope,
    /// The recording that is not yet a message.
    pub(super) draft: Option<Draft>,
    /// With whom the call may go on instead.
    pub(super) elsewhere: Option<Talk>,
    /// The recording that is none, but a greeting or an introduction.
    pub(super) take: Option<PathBuf>,
    /// What greets this caller instead of the owner's usual greeting.
    pub(super) special: Option<PathBuf>,
    /// Mailboxes that get the same message.
    pub(super) also: Vec<MailboxId>,
    /// Who tries a PIN.
    pub(super) source: String,
    /// What was last agreed; known before the ACK where the caller made the offer.
    pub(super) stream: Option<Stream>,
    /// What is being said now, for a codec that changes in the middle of it.
    pub(super) saying: Vec<Prompt>,
    /// What will be wanted next.
    pub(super) fetched: Option<Fetched>,
    /// The last message that was to be played, if it cannot be: it stays new.
    pub(super) unplayable: Option<MessageId>,
    /// How it ends, as far as is known.
    pub(super) end: End,
    pub(super) keys: Keys,
    /// How the owner likes to hear messages.
    pub(super) speed: Speed,
    pub(super) volume: Volume,
}

/// What the session hears of something, if it concerns it.
pub(super) type Heard = Option<ivr::Event>;

impl Conversation<'_> {
    pub(super) async fn run(mut self: Box<Self>, begin: impl FnOnce(Instant) -> Session) -> Spoken {
        let since = Instant::now();
        if !self.confirmed().await {
            return self.spoken(since);
        }
        self.line.tell(|call| call.stage = Stage::Answered);
        let since = Instant::now();
        let mut session = begin(since);
        loop {
            while let Some(command) = session.poll() {
                if let Some(event) = self.perform(command).await {
                    session.handle(event, Instant::now());
                }
            }
            if session.is_over() {
                break;
            }
            let event = select! {
                event = self.dialog.next() => self.signalled(event).await,
                event = self.port.next() => self.felt(event),
                () = self.line.ended() => Some(self.ordered_to_end()),
                () = deadline(&session) => Some(ivr::Event::TimedOut),
            };
            if let Some(event) = event {
                if event == ivr::Event::HungUp {
                    self.note_place().await;
                }
                session.handle(event, Instant::now());
            }
        }
        self.put_away().await;
        self.spoken(since)
    }

    fn ordered_to_end(&mut self) -> ivr::Event {
        self.end = End::Ordered;
        self.dialog.bye();
        ivr::Event::HungUp
    }

    fn spoken(&self, since: Instant) -> Spoken {
        Spoken {
            end: self.end,
            codec: self.codec(),
            srtp: secure::name(self.talk.security()),
            seconds: since.elapsed().as_secs_f32(),
            statistics: self.port.statistics(),
            caller: self.envelope.caller.number.clone(),
            // Nobody's, where nobody has logged in.
            mailbox: (!self.mailbox.uuid.is_nil()).then(|| self.id.clone()),
        }
    }

    /// Waits for the ACK: nobody is spoken to before. False when there is nobody to speak to.
    async fn confirmed(&mut self) -> bool {
        if let Some(stream) = self.stream {
            self.port.secure(self.talk.security());
            self.port.connect(stream);
            self.line.tell(|call| call.codec = Some(stream.codec.name()));
        }
        loop {
            let event = self.dialog.next().await;
            let confirmed = matches!(event, sip::Event::Confirmed { .. });
            if let Some(ivr::Event::HungUp) = self.signalled(event).await {
                return false;
            }
            if confirmed {
                if self.stream.is_none() {
                    warn!("the ACK brought no answer that fits our offer; hung up");
                    self.dialog.bye();
                }
                return self.stream.is_some();
            }
        }
    }

    /// Audio goes as agreed from now on. In another codec, what is being said begins anew.
    async fn connect(&mut self, stream: Stream) -> Heard {
        let before = self.codec();
        self.port.secure(self.talk.security());
        self.port.connect(stream);
        self.stream = Some(stream);
        self.line.tell(|call| call.codec = Some(stream.codec.name()));
        if before == stream.codec || self.saying.is_empty() { None } else { self.say().await }
    }

    pub(super) fn codec(&self) -> Codec {
        self.stream.map_or(Codec::Pcmu, |stream| stream.codec)
    }

    /// On hold a caller need not be heard (RFC 3264 §8.4).
    fn on_hold(&self) -> bool {
        match self.stream.map(|stream| stream.direction) {
            Some(Direction::ReceiveOnly | Direction::Inactive) => true,
            Some(Direction::SendReceive | Direction::SendOnly) | None => false,
        }
    }

    /// Does what the session asks; answers where it asked a question.
    async fn perform(&mut self, command: Command) -> Heard {
        match command {
            Command::Play(prompts) => {
                self.saying = prompts;
                return self.say().await;
            }
            Command::StopPlayback => {
                self.saying.clear();
                self.port.stop_playing();
            }
            Command::Control(control) => self.control(control),
            Command::Record { what, limit, silence } => {
                self.line.tell(|call| call.stage = Stage::Recording);
                return self.record(what, limit, silence).await;
            }
            Command::StopRecording => self.port.stop_recording(),
            Command::Keep => self.keep(),
            Command::Discard => self.discard().await,
            Command::HangUp => self.dialog.bye(),
            Command::Fetch(id) => self.fetch(id).await,
            Command::Heard(id) if self.unplayable == Some(id) => {}
            Command::Heard(id) => self.heard(id),
            // What callers never ask takes no room in their calls.
            question => return Some(Box::pin(self.answer(question)).await),
        }
        None
    }

    async fn answer(&mut self, question: Command) -> ivr::Event {
        let done = |done| ivr::Event::Done { done };
        let delivered = |saved| ivr::Event::Delivered { saved };
        match question {
            Command::Deliver(marks) => delivered(self.deliver(marks).await),
            Command::Send { to, marks } => delivered(self.send(&to, marks).await),
            Command::Forward { message, to, intro } => {
                delivered(self.forward(message, &to, intro).await)
            }
            Command::Identify { number, pin } => {
                ivr::Event::Identified(self.identify(&number, &pin).await.map(Box::new))
            }
            Command::Load(shelf) => ivr::Event::Loaded(self.load(&shelf).await),
            Command::Read(numbers) => ivr::Event::Read(self.messages(&numbers).await),
            Command::Find(number) => ivr::Event::Found(self.find(&number)),
            Command::Search(keys) => ivr::Event::Found(self.search(&keys)),
            Command::KeepGreeting(greeting) => done(self.keep_greeting(greeting).await),
            Command::EraseGreeting(greeting) => done(self.erase_greeting(greeting).await),
            Command::ExpireGreeting { days } => done(self.expire_greeting(days).await),
            Command::ChangePin(pin) => done(self.change_pin(pin).await),
            Command::Edit(numbers, edit) => done(self.edit(&numbers, &edit).await),
            Command::MayCall(target) => done(self.may_call(&target)),
            Command::Transfer(target) => done(self.transfer(&target).await),
            Command::SetUp => done(self.set_up().await),
            // None of them is a question.
            Command::Play(_)
            | Command::StopPlayback
            | Command::Control(_)
            | Command::Record { .. }
            | Command::StopRecording
            | Command::Keep
            | Command::Discard
            | Command::HangUp
            | Command::Fetch(_)
            | Command::Heard(_) => done(true),
        }
    }

    async fn signalled(&mut self, event: sip::Event) -> Heard {
        match event {
            sip::Event::Bye => {
                self.end = End::Caller;
                Some(ivr::Event::HungUp)
            }
            sip::Event::Lost => {
                self.end = End::Lost;
                Some(ivr::Event::HungUp)
            }
            sip::Event::Info { content_type, body } => {
                let key = info_key(&content_type, &body)?;
                self.pressed(Way::Info, key)
            }
            sip::Event::Offer { sdp: Some(offer), .. } => {
                let Ok((answer, stream)) = self.talk.answer(&offer) else {
                    self.dialog.refuse();
                    return None;
                };
                self.dialog.accept(&answer);
                self.connect(stream).await
            }
            sip::Event::Offer { sdp: None, .. } => {
                self.dialog.accept(&self.talk.offer());
                None
            }
            sip::Event::Confirmed { answer } => {
                match answer.map(|answer| self.talk.answered(&answer)) {
                    Some(Ok(stream)) => self.connect(stream).await,
                    Some(Err(_)) | None => None,
                }
            }
            sip::Event::Identity(party) => {
                self.transferred(&party);
                None
            }
            // Nobody waits for it any more.
            sip::Event::Referred { .. } => None,
            sip::Event::Refer(refer) => {
                self.refer(&refer);
                None
            }
            sip::Event::Reached { ticket, answer } => {
                let mut talk = self.elsewhere.take()?;
                match talk.answered(&answer) {
                    Ok(stream) if self.dialog.take(ticket) => {
                        self.talk = talk;
                        self.connect(stream).await
                    }
                    Ok(_) => None,
                    Err(_) => {
                        self.dialog.leave(ticket);
                        None
                    }
                }
            }
        }
    }

    /// Asks the other side to call somebody else; whether it will.
    pub(super) async fn refer_to(&mut self, uri: &str) -> bool {
        if !self.dialog.refer(uri) {
            return false;
        }
        let answer = async {
            loop {
                match self.dialog.next().await {
                    sip::Event::Referred { accepted } => return accepted,
                    // It has hung up because it calls already.
                    sip::Event::Bye | sip::Event::Lost => return true,
                    event => {
                        self.signalled(event).await;
                    }
                }
            }
        };
        timeout(REFERRED, answer).await.unwrap_or(false)
    }

    /// The other side wants the call to go on with another party.
    fn refer(&mut self, refer: &sip::Refer) {
        match route::may_refer(refer, &self.house.config.sip) {
            Some(peer) => {
                let sdes = refer.is_private() || self.house.config.media.srtp_keys_in_clear;
                let mut talk = self.talk.elsewhere(sdes);
                let offer = talk.offer();
                self.elsewhere = Some(talk);
                self.dialog.transfer(refer, offer, move |address| peer.contains(address));
            }
            None => self.dialog.decline(refer),
        }
    }

    /// Somebody else is on the line: the message is theirs.
    fn transferred(&mut self, party: &Party) {
        let Some(caller) = route::transferred(party, &self.house.config.sip) else { return };
        info!(caller = %Pii(&caller.number), "the call was transferred");
        if let Some(draft) = &mut self.draft {
            draft.is_from(&caller);
        }
        self.line.tell(|call| call.caller.clone_from(&caller));
        self.envelope.caller = caller;
    }

    /// A press is one key, whichever ways it comes.
    fn pressed(&mut self, way: Way, key: char) -> Heard {
        self.keys.is_new(way, key, Instant::now()).then_some(ivr::Event::Key(key))
    }

    fn felt(&mut self, event: media::Event) -> Heard {
        Some(match event {
            media::Event::Key(key) => return self.pressed(Way::Audio, key),
            media::Event::Played => self.said(),
            media::Event::At(_) => return None,
            media::Event::Recorded(recording) => {
                self.line.tell(|call| call.stage = Stage::Answered);
                let duration = recording.duration();
                if let (true, Some(draft)) = (recording.is_empty(), &mut self.draft) {
                    draft.holds_no_speech();
                }
                let ended = match recording.ended {
                    Ended::Stopped => ivr::Ended::Stopped,
                    Ended::Silence => ivr::Ended::Silence,
                    Ended::Limit => ivr::Ended::Limit,
                    Ended::Failed(error) => {
                        error!(mailbox = %self.id, "a recording for {} broke off: {error}", self.id);
                        ivr::Ended::Failed
                    }
                };
                ivr::Event::RecordingFinished { duration, ended }
            }
            media::Event::Unkeyed(why) => {
                info!("no keys could be made for the audio: {why}; hung up");
                self.end = End::Unkeyed;
                self.dialog.bye();
                ivr::Event::HungUp
            }
            media::Event::Silent if self.on_hold() => return None,
            media::Event::Silent => {
                self.end = End::Silence;
                self.dialog.bye();
                ivr::Event::HungUp
            }
        })
    }
}

async fn deadline(session: &Session) {
    match session.deadline() {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
