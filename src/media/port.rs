//! One call's audio, as the call sees it.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::command::Command;
use super::counters::{Counters, Statistics};
use super::event::{Event, Teller, Told};
use super::keying::Security;
use super::player::{Control, Playback};
use super::recording::Take;
use super::shard::Link;
use super::stream::Stream;

/// One call's audio. Dropping it closes its sockets; a recording that still runs is finished, but
/// nobody hears of it any more.
#[derive(Debug)]
pub struct Port {
    number: u16,
    index: usize,
    link: Arc<Link>,
    events: mpsc::Receiver<Told>,
    counters: Arc<Counters>,
    security: Security,
    /// Counts the playbacks, so that the end of one that was stopped is not told.
    playback: u32,
}

impl Port {
    /// The RTP port, which is even. RTCP is the one above.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Says how the stream is protected: before each [`Port::connect`] where that may have changed.
    pub fn secure(&mut self, security: &Security) {
        if self.security != *security {
            self.security = security.clone();
            self.send(Command::Secure(Box::new(security.clone())));
        }
    }

    /// Says what was agreed: after the answer, and again after each re-INVITE. Another codec stops
    /// the sounds that play, which do not tell their end: play them anew, encoded for it.
    pub fn connect(&mut self, stream: Stream) {
        self.send(Command::Connect(stream));
    }

    /// Plays sounds one after another, joined without a gap, instead of what plays now: sounds
    /// alone, or a [`Playback`] that says where to begin, how fast and how loud.
    pub fn play(&mut self, playback: impl Into<Playback>) {
        self.playback = self.playback.wrapping_add(1);
        self.send(Command::Play { playback: playback.into(), number: self.playback });
    }

    /// Pauses, resumes, skips, restarts, or changes speed or volume of what plays; heard within a
    /// frame of 20 ms.
    pub fn control(&mut self, control: Control) {
        self.send(Command::Control(control));
    }

    /// Presses keys (RFC 4733) instead of what plays now; told as played when the last is released.
    pub fn press(&mut self, keys: &str) {
        self.playback = self.playback.wrapping_add(1);
        self.send(Command::Press { keys: keys.into(), playback: self.playback });
    }

    /// Stops: what plays fades out within the next frame, so that all is silent 30 ms later. The
    /// playback that was stopped does not tell its end.
    pub fn stop_playing(&mut self) {
        self.playback = self.playback.wrapping_add(1);
        self.send(Command::StopPlaying);
    }

    /// Records. What was heard in the last moment since a playback ended is the recording's head.
    pub fn record(&mut self, take: Take) {
        self.send(Command::Record(take));
    }

    pub fn stop_recording(&mut self) {
        self.send(Command::StopRecording);
    }

    /// Waits for the next event. May be dropped and called anew at any time.
    pub async fn next(&mut self) -> Event {
        loop {
            return match self.events.recv().await {
                Some(Told::Key(key)) => Event::Key(key),
                Some(Told::Played(playback)) if playback == self.playback => Event::Played,
                Some(Told::At(position, playback)) if playback == self.playback => {
                    Event::At(position)
                }
                Some(Told::Played(_) | Told::At(..)) => continue,
                Some(Told::Recorded(recording)) => Event::Recorded(recording),
                Some(Told::Silent) => Event::Silent,
                Some(Told::Unkeyed(why)) => Event::Unkeyed(why),
                // The media thread is gone, and with it whatever could still happen here.
                None => std::future::pending().await,
            };
        }
    }

    pub fn statistics(&self) -> Statistics {
        self.counters.statistics()
    }

    pub(super) fn new(number: u16, index: usize, link: Arc<Link>) -> (Self, Teller, Arc<Counters>) {
        let (teller, events) = Teller::new();
        let counters = Arc::new(Counters::default());
        let told = Arc::clone(&counters);
        let security = Security::default();
        let port = Self { number, index, link, events, counters, security, playback: 0 };
        (port, teller, told)
    }

    fn send(&self, command: Command) {
        self.link.send(self.index, command);
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.send(Command::Close);
    }
}
