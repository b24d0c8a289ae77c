//! One call, from the ACK to the last byte on disk: the only place that knows signalling, media,
//! the conversation and the spool at once. It decides nothing.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::select;
use tokio::time::sleep_until;
use tracing::{error, info, warn};

use super::Inner;
use super::talk::{Talk, answered, info_key};
use crate::ivr::{self, Command, Session};
use crate::mailbox::{Envelope, Mailbox, MailboxId};
use crate::media::{self, Codec, Ended, Port, Stream, Take};
use crate::pii::Pii;
use crate::say;
use crate::sip::{self, Dialog};
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
}

/// What the session hears of something, if it concerns it.
type Heard = Option<ivr::Event>;

impl Conversation<'_> {
    /// `stream` is known already where the caller made the offer.
    pub(super) async fn run(
        mut self,
        stream: Option<Stream>,
        begin: impl FnOnce(Instant) -> Session,
    ) {
        let Some(codec) = self.confirmed(stream).await else { return };
        let began = Instant::now();
        let mut session = begin(began);
        loop {
            while let Some(command) = session.poll() {
                if let Some(event) = self.perform(command, codec).await {
                    session.handle(event, Instant::now());
                }
            }
            if session.is_over() {
                break;
            }
            let event = select! {
                event = self.dialog.next() => self.signalled(event),
                event = self.port.next() => Some(self.felt(event)),
                () = deadline(&session) => Some(ivr::Event::TimedOut),
            };
            if let Some(event) = event {
                session.handle(event, Instant::now());
            }
        }
        let media::Statistics { received, lost, late, duplicates, strangers, sent, .. } =
            self.port.statistics();
        info!(
            mailbox = %self.id,
            caller = %Pii(&self.envelope.caller.number),
            codec = codec.name(),
            seconds = began.elapsed().as_secs_f32(),
            received, lost, late, duplicates, strangers, sent,
            "a call to {} is over",
            self.id
        );
    }

    /// Waits for the ACK: nobody is spoken to before.
    async fn confirmed(&mut self, mut stream: Option<Stream>) -> Option<Codec> {
        if let Some(stream) = stream {
            self.port.connect(stream);
        }
        loop {
            match self.dialog.next().await {
                sip::Event::Confirmed { answer } => {
                    if let Some(answer) = answer
                        && let Ok(agreed) = answered(&answer)
                    {
                        self.port.connect(agreed);
                        stream = Some(agreed);
                    }
                    if stream.is_none() {
                        warn!("the ACK brought no answer that fits our offer; hung up");
                        self.dialog.bye();
                    }
                    return stream.map(|stream| stream.codec);
                }
                sip::Event::Bye | sip::Event::Lost => return None,
                sip::Event::Offer(_) => self.dialog.refuse(),
                sip::Event::Info { .. } => {}
            }
        }
    }

    /// Does what the session asks; answers where it asked a question.
    async fn perform(&mut self, command: Command, codec: Codec) -> Heard {
        match command {
            Command::Play(prompts) => {
                let clips = say::clips(&prompts);
                let owner = (&self.house.directory, &self.id);
                let language = &self.mailbox.language;
                let sounds = self.house.sounds.of(clips, owner, language, codec).await;
                // Nothing to say is said at once.
                if sounds.is_empty() {
                    return Some(ivr::Event::PlaybackFinished);
                }
                self.port.play(sounds);
            }
            Command::StopPlayback => self.port.stop_playing(),
            Command::Record { limit, silence } => return self.record(limit, silence).await,
            Command::StopRecording => self.port.stop_recording(),
            Command::Deliver => return Some(ivr::Event::Delivered { saved: self.deliver().await }),
            Command::Discard => self.discard().await,
            Command::HangUp => self.dialog.bye(),
        }
        None
    }

    async fn record(&mut self, limit: Duration, silence: Option<Duration>) -> Heard {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.envelope.received = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let envelope = self.envelope.clone();
        match self.house.spool.draft(&self.id, self.mailbox.id, envelope, now_ms).await {
            Ok(draft) => {
                let silence_level = self.house.config.deposit.silence_level;
                let open = Box::new(draft.opener());
                self.port.record(Take { open, limit, silence, silence_level });
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

    async fn discard(&mut self) {
        if let Some(draft) = self.draft.take()
            && let Err(error) = self.house.spool.discard(draft).await
        {
            warn!(mailbox = %self.id, "a recording too short to keep could not be removed: {error}");
        }
    }

    fn signalled(&mut self, event: sip::Event) -> Heard {
        match event {
            sip::Event::Bye | sip::Event::Lost => Some(ivr::Event::HungUp),
            sip::Event::Info { content_type, body } => {
                info_key(&content_type, &body).map(ivr::Event::Key)
            }
            sip::Event::Offer(Some(offer)) => {
                match self.talk.answer(&offer) {
                    Ok((answer, stream)) => {
                        self.dialog.accept(&answer);
                        self.port.connect(stream);
                    }
                    Err(_) => self.dialog.refuse(),
                }
                None
            }
            sip::Event::Offer(None) => {
                self.dialog.accept(&self.talk.offer());
                None
            }
            sip::Event::Confirmed { answer } => {
                if let Some(Ok(stream)) = answer.as_deref().map(answered) {
                    self.port.connect(stream);
                }
                None
            }
        }
    }

    fn felt(&mut self, event: media::Event) -> ivr::Event {
        match event {
            media::Event::Key(key) => ivr::Event::Key(key),
            media::Event::Played => ivr::Event::PlaybackFinished,
            media::Event::Recorded(recording) => {
                let duration = recording.duration();
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
            media::Event::Silent => {
                info!("nothing has been heard for long: hung up");
                self.dialog.bye();
                ivr::Event::HungUp
            }
        }
    }
}

async fn deadline(session: &Session) {
    match session.deadline() {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
