//! One call, from the ACK to the last byte on disk: the only place that knows signalling, media,
//! the conversation and the spool at once. It decides nothing.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::select;
use tokio::time::sleep_until;
use tracing::{error, info, warn};

use super::keys::{Keys, Way};
use super::record::{End, Spoken};
use super::talk::{Talk, info_key};
use super::{Inner, route, secure};
use crate::config::Deposit;
use crate::ivr::{self, Command, Session};
use crate::mailbox::{Envelope, Mailbox, MailboxId};
use crate::media::{self, Codec, Direction, Ended, Port, Stream, Take};
use crate::pii::Pii;
use crate::say::{Prompt, Voice};
use crate::sip::{self, Dialog, Party};
use crate::spool::Draft;

/// A call that was answered.
pub(super) struct Conversation<'h> {
    pub(super) house: &'h Inner,
    pub(super) dialog: Dialog,
    pub(super) port: Port,
    pub(super) talk: Talk,
    pub(super) id: MailboxId,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) envelope: Envelope,
    pub(super) draft: Option<Draft>,
    /// With whom the call may go on instead.
    pub(super) elsewhere: Option<Talk>,
    /// What was last agreed; known before the ACK where the caller made the offer.
    pub(super) stream: Option<Stream>,
    /// What is being said now, for a codec that changes in the middle of it.
    pub(super) saying: Vec<Prompt>,
    /// How it ends, as far as is known.
    pub(super) end: End,
    pub(super) keys: Keys,
}

/// What the session hears of something, if it concerns it.
type Heard = Option<ivr::Event>;

impl Conversation<'_> {
    pub(super) async fn run(mut self, begin: impl FnOnce(Instant) -> Session) -> Spoken {
        let since = Instant::now();
        if !self.confirmed().await {
            return self.spoken(since);
        }
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
                () = deadline(&session) => Some(ivr::Event::TimedOut),
            };
            if let Some(event) = event {
                session.handle(event, Instant::now());
            }
        }
        self.spoken(since)
    }

    fn spoken(&self, since: Instant) -> Spoken {
        Spoken {
            end: self.end,
            codec: self.codec(),
            srtp: secure::name(self.talk.security()),
            seconds: since.elapsed().as_secs_f32(),
            statistics: self.port.statistics(),
            caller: self.envelope.caller.number.clone(),
        }
    }

    /// Waits for the ACK: nobody is spoken to before. False when there is nobody to speak to.
    async fn confirmed(&mut self) -> bool {
        if let Some(stream) = self.stream {
            self.port.secure(self.talk.security());
            self.port.connect(stream);
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
        if before == stream.codec || self.saying.is_empty() { None } else { self.say().await }
    }

    fn codec(&self) -> Codec {
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
            // Nobody controls a greeting.
            Command::Control(_) | Command::Heard(_) => {}
            Command::Record { limit, silence, .. } => return self.record(limit, silence).await,
            Command::StopRecording => self.port.stop_recording(),
            Command::Deliver(_) => {
                return Some(ivr::Event::Delivered { saved: self.deliver().await });
            }
            Command::Keep => self.keep(),
            Command::Discard => self.discard().await,
            Command::HangUp => self.dialog.bye(),
            Command::Send { .. } | Command::Forward { .. } => {
                return Some(ivr::Event::Delivered { saved: false });
            }
            Command::Identify { .. } => return Some(ivr::Event::Identified(None)),
            Command::Load(_) => return Some(ivr::Event::Loaded(vec![])),
            Command::Find(_) | Command::Search(_) => return Some(ivr::Event::Found(vec![])),
            Command::KeepGreeting(_)
            | Command::EraseGreeting(_)
            | Command::ExpireGreeting { .. }
            | Command::ChangePin(_)
            | Command::SetUp
            | Command::Edit(..)
            | Command::Transfer(_) => return Some(ivr::Event::Done { done: false }),
        }
        None
    }

    async fn say(&mut self) -> Heard {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let language = self.mailbox.language.as_str();
        let voice = Voice::new(self.house.sounds.grammar(language), now);
        let clips = voice.clips(&self.saying);
        let owner = (&self.house.directory, &self.id);
        let sounds = self.house.sounds.of(&clips, owner, language, self.codec()).await;
        // Nothing to say is said at once.
        if sounds.is_empty() {
            return Some(self.said());
        }
        self.port.play(sounds);
        None
    }

    fn said(&mut self) -> ivr::Event {
        self.saying.clear();
        ivr::Event::PlaybackFinished
    }

    async fn record(&mut self, limit: Duration, silence: Option<Duration>) -> Heard {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.envelope.received = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let envelope = self.envelope.clone();
        match self.house.spool.draft(&self.id, self.mailbox.id, envelope, now_ms).await {
            Ok(draft) => {
                let Deposit { silence_level, silence_adapts: adapts, trim_silence: trims, .. } =
                    self.house.config.deposit;
                let open = Box::new(draft.opener());
                self.port.record(Take { open, limit, silence, silence_level, adapts, trims });
                self.draft = Some(draft);
                None
            }
            Err(error) => {
                error!(mailbox = %self.id, "nothing can be recorded for {}: {error}", self.id);
                let (duration, ended) = (Duration::ZERO, ivr::Ended::Failed);
                Some(ivr::Event::RecordingFinished { duration, ended })
            }
        }
    }

    async fn deliver(&mut self) -> bool {
        let Some(draft) = self.draft.take() else { return false };
        self.level(&draft).await;
        match self.house.spool.deliver(draft).await {
            Ok(message) => {
                let seconds = message.duration.as_secs_f32();
                info!(
                    mailbox = %self.id,
                    message_id = %message.id,
                    caller = %Pii(&message.envelope.caller.number),
                    seconds,
                    "stored a message of {seconds:.1} s for {}",
                    self.id
                );
                true
            }
            Err(error) => {
                error!(
                    mailbox = %self.id,
                    "a message for {} could not be stored; its recording stays in tmp and is tried again: {error}",
                    self.id
                );
                false
            }
        }
    }

    /// Makes the message as loud as the house wants it. One that cannot be is delivered as it is.
    async fn level(&self, draft: &Draft) {
        let Some(target) = self.house.config.deposit.level_dbfs else { return };
        let audio = draft.audio().to_owned();
        let levelled =
            tokio::task::spawn_blocking(move || media::wav::level(&audio, target.into())).await;
        match levelled.map_err(std::io::Error::other).flatten() {
            Ok(()) => {}
            Err(error) => warn!("a message is left as loud as it was: {error}"),
        }
    }

    fn keep(&mut self) {
        if let Some(draft) = self.draft.take() {
            self.house.spool.keep(draft);
        }
    }

    async fn discard(&mut self) {
        if let Some(draft) = self.draft.take()
            && let Err(error) = self.house.spool.discard(draft).await
        {
            warn!(mailbox = %self.id, "a recording too short to keep could not be removed: {error}");
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
