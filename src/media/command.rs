//! What a media thread is told, and the way to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use nix::sys::eventfd::EventFd;

use super::keying::Security;
use super::line::Line;
use super::pair::Pair;
use super::player::{Control, Playback};
use super::recording::Take;
use super::srtp::Keys;
use super::stream::Stream;

/// A way to one media thread, for whoever has something to tell it. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub commands: SyncSender<(usize, Command)>,
    pub bell: Arc<Bell>,
}

/// What the owner of a port, or of all of them, may ask of its thread.
#[derive(Debug)]
pub(super) enum Command {
    Open(Box<Pair>, Box<Line>),
    /// Comes before `Connect`.
    Secure(Box<Security>),
    Connect(Stream),
    Play {
        playback: Playback,
        number: u32,
    },
    Control(Control),
    Press {
        keys: Box<str>,
        playback: u32,
    },
    StopPlaying,
    Record(Take),
    StopRecording,
    /// From a handshake: a datagram of its own, what it came to.
    Transmit {
        ticket: u64,
        to: SocketAddr,
        datagram: Box<[u8]>,
    },
    Key {
        ticket: u64,
        keys: Box<Keys>,
    },
    Unkeyed {
        ticket: u64,
        why: String,
    },
    Close,
    /// Nobody can command any more.
    End,
}

/// Wakes a media thread.
#[derive(Debug)]
pub(super) struct Bell {
    pub event: EventFd,
    pub rung: AtomicBool,
}

impl Way {
    pub fn send(&self, index: usize, command: Command) {
        // Waits only while a thousand commands are before it, which the thread does in passing. It
        // never waits for us, so this ends.
        if self.commands.send((index, command)).is_ok() {
            self.bell.ring();
        }
    }
}

impl Bell {
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Fails only when it has been rung 2^64 times.
            let _ = self.event.write(1);
        }
    }

    pub fn answer(&self) {
        if self.event.read().is_ok() {
            self.rung.store(false, Ordering::Release);
        }
    }
}

/// Commands that may wait for a thread.
pub(super) const COMMANDS: usize = 1024;
