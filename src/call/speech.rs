//! What is said on a call: prompts in the listener's language, greetings, and messages.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::warn;

use super::breath::{Phrase, joined};
use super::clock;
use super::driver::{Conversation, Heard};
use crate::ivr::{self, Control};
use crate::mailbox::greeting::Greeting;
use crate::mailbox::{MailboxId, MessageId};
use crate::media::{self, Codec, Playback, Sound, Speed, Volume};
use crate::say::{Clip, Clock, Prompt, Voice};

/// Within this the media thread tells where a playback is.
const AT_ONCE: Duration = Duration::from_millis(200);
/// One who goes on after a broken call hears the last words again.
const ONCE_MORE: Duration = Duration::from_secs(2);
const SPEED_STEP: u16 = 25;
const VOLUME_STEP: i8 = 6;

/// A message on its way from the disk.
pub(super) struct Fetched {
    id: MessageId,
    codec: Codec,
    sound: JoinHandle<Option<Arc<Sound>>>,
}

impl Conversation<'_> {
    pub(super) async fn say(&mut self) -> Heard {
        let clips = self.voice().clips(&self.saying);
        let (mut playback, mut phrases) = (Playback::default(), vec![]);
        for clip in clips {
            let Clip::Message { id, from } = clip else {
                phrases.extend(self.phrases_of(clip).await);
                continue;
            };
            let message = self.message(id).await;
            self.unplayable = message.is_none().then_some(id);
            match message {
                Some(message) => {
                    phrases.push(Phrase::whole(message));
                    playback.from = from;
                    (playback.speed, playback.volume) = (self.speed, self.volume);
                }
                // Silence would pass for a message without a word.
                None => phrases.extend(self.phrases(&[cannot_be_played()]).await),
            }
        }
        playback.sounds = joined(phrases, self.codec());
        // Nothing to say is said at once.
        if playback.sounds.is_empty() {
            return Some(self.said());
        }
        self.port.play(playback);
        None
    }

    pub(super) fn said(&mut self) -> ivr::Event {
        self.saying.clear();
        ivr::Event::PlaybackFinished
    }

    fn voice(&self) -> Voice {
        let mailbox = &self.mailbox;
        let language = self.house.sounds.grammar(&mailbox.language);
        let zone = clock::zone(mailbox);
        Voice {
            zone,
            clock: match mailbox.clock {
                Some(12) => Some(Clock::Twelve),
                Some(24) => Some(Clock::TwentyFour),
                Some(_) | None => None,
            },
            date: mailbox.date_format.clone(),
            ..Voice::new(language, clock::seconds())
        }
    }

    async fn phrases_of(&self, clip: Clip) -> Vec<Phrase> {
        let directory = &self.house.directory;
        match clip {
            Clip::Sound { .. } => self.phrases(&[clip]).await,
            Clip::Greeting(greeting) => {
                let special = self.special.clone().filter(|_| greeting == Greeting::Unavailable);
                match special.or_else(|| directory.recording(&self.id, greeting)) {
                    Some(path) => {
                        let sound = self.house.sounds.greeting(path, self.codec()).await;
                        let named = greeting == Greeting::Name;
                        let phrase = if named { Phrase::part } else { Phrase::whole };
                        sound.map(phrase).into_iter().collect()
                    }
                    None => vec![],
                }
            }
            Clip::Name(id, number) => match self.name_of(&id).await {
                Some(name) => vec![name],
                None => self.phrases(&number).await,
            },
            Clip::Caller { number, known, extension, stranger } => {
                let id = MailboxId::new(self.id.context(), &number).ok();
                let id = id.filter(|id| directory.find(id).is_some());
                let name = match &id {
                    Some(id) => self.name_of(id).await,
                    None => self.contact(&number).await,
                };
                match (name, id) {
                    (Some(name), _) => {
                        let mut phrases = self.phrases(&known).await;
                        phrases.push(name);
                        phrases
                    }
                    (None, Some(_)) => self.phrases(&extension).await,
                    (None, None) => self.phrases(&stranger).await,
                }
            }
            // It plays as its owner likes: `say` knows.
            Clip::Message { .. } => vec![],
            Clip::Take => {
                let draft = self.draft.as_ref().map(|draft| draft.audio().to_owned());
                match draft.or_else(|| self.take.clone()) {
                    Some(path) => self.read(path).await.map(Phrase::whole).into_iter().collect(),
                    None => vec![],
                }
            }
        }
    }

    async fn phrases(&self, clips: &[Clip]) -> Vec<Phrase> {
        self.house.sounds.of(clips, &self.mailbox.language, self.codec()).await
    }

    async fn name_of(&self, id: &MailboxId) -> Option<Phrase> {
        let path = self.house.directory.recording(id, Greeting::Name)?;
        self.house.sounds.greeting(path, self.codec()).await.map(Phrase::part)
    }

    /// A recorded name for an outside number, out of a sound pack.
    async fn contact(&self, number: &str) -> Option<Phrase> {
        let number = number.trim_start_matches('+');
        self.house.sounds.contact(number, &self.mailbox.language, self.codec()).await
    }

    /// Reads a message while something else is heard.
    pub(super) async fn fetch(&mut self, id: MessageId) {
        let path = self.audio(id).await;
        let codec = self.codec();
        self.fetched = path.map(|path| Fetched { id, codec, sound: self.reading(path) });
    }

    async fn message(&mut self, id: MessageId) -> Option<Arc<Sound>> {
        let wanted = (id, self.codec());
        match self.fetched.take().filter(|fetched| (fetched.id, fetched.codec) == wanted) {
            Some(fetched) => fetched.sound.await.ok().flatten(),
            None => self.read(self.audio(id).await?).await,
        }
    }

    async fn audio(&self, id: MessageId) -> Option<PathBuf> {
        let message = self.house.spool.get(&self.id, id).await.ok().flatten()?;
        Some(self.house.spool.audio_path(&message))
    }

    async fn read(&self, path: PathBuf) -> Option<Arc<Sound>> {
        self.reading(path).await.ok().flatten()
    }

    fn reading(&self, path: PathBuf) -> JoinHandle<Option<Arc<Sound>>> {
        let codec = self.codec();
        tokio::task::spawn_blocking(move || {
            Sound::read(&path, codec)
                .inspect_err(|error| warn!("{} cannot be played: {error}", path.display()))
                .ok()
                .map(Arc::new)
        })
    }

    pub(super) fn control(&mut self, control: Control) {
        let skip = Duration::from_secs(self.house.config.menus.skip_seconds.into());
        let speed = self.speed.as_percent();
        let volume = self.volume.as_decibels();
        self.port.control(match control {
            Control::Pause => media::Control::Pause,
            Control::Resume => media::Control::Resume,
            Control::Back => media::Control::Back(skip),
            Control::Forward => media::Control::Forward(skip),
            Control::Restart => media::Control::To(Duration::ZERO),
            Control::Slower | Control::Faster => {
                self.speed = Speed::percent(if control == Control::Faster {
                    speed + SPEED_STEP
                } else {
                    speed - SPEED_STEP
                });
                media::Control::Speed(self.speed)
            }
            Control::Quieter | Control::Louder => {
                self.volume = Volume::decibels(if control == Control::Louder {
                    volume + VOLUME_STEP
                } else {
                    volume - VOLUME_STEP
                });
                media::Control::Volume(self.volume)
            }
        });
    }

    /// The caller is gone in the middle of a message: the next visit goes on there.
    pub(super) async fn note_place(&mut self) {
        let Some(Prompt::Message { id, .. }) = self.saying.last() else { return };
        let id = *id;
        // To skip nothing is to ask where one is.
        self.port.control(media::Control::Forward(Duration::ZERO));
        let told = timeout(AT_ONCE, async {
            loop {
                match self.port.next().await {
                    media::Event::At(position) => return Some(position),
                    media::Event::Played => return None,
                    _ => {}
                }
            }
        });
        if let Ok(Some(position)) = told.await {
            self.house.leave_off(&self.id, id, position.at.saturating_sub(ONCE_MORE));
        }
    }
}

fn cannot_be_played() -> Clip {
    Clip::either("vm-notdone", vec![])
}
