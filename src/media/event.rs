//! What a call is told of its port.

use tokio::sync::mpsc;

use super::player::Position;
use super::recording::Recording;

/// What happened on a port.
#[derive(Debug)]
pub enum Event {
    /// `0`–`9`, `*`, `#`, `A`–`D`; told at the first packet of a press.
    Key(char),
    /// The last frame of the sounds has been sent.
    Played,
    /// Where the playback is: the answer to a [`Control`].
    At(Position),
    /// The recording is over, and its file is complete as far as it goes.
    Recorded(Recording),
    /// Nothing was received for `Config::rtp_timeout` although something should be. Told once,
    /// and again after something came.
    Silent,
    /// The handshake that should have made keys has failed, for this reason: nothing will be heard.
    Unkeyed(String),
}

/// An event on its way to the port.
#[derive(Debug)]
pub(super) enum Told {
    Key(char),
    Played(u32),
    At(Position, u32),
    Recorded(Recording),
    Silent,
    Unkeyed(String),
}

/// The other end of a port's events. It never waits.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    events: mpsc::Sender<Told>,
}

impl Teller {
    pub fn new() -> (Self, mpsc::Receiver<Told>) {
        let (events, receiver) = mpsc::channel(EVENTS);
        (Self { events }, receiver)
    }

    /// Keys come as fast as the peer likes, so they leave room for what the call itself asked for.
    pub fn key(&self, key: char) {
        if self.events.capacity() > EVENTS / 2 {
            self.tell(Told::Key(key));
        }
    }

    pub fn tell(&self, told: Told) {
        // Full: thirty answers to its own commands wait unread, so nobody reads any more. Closed:
        // the port is gone.
        let _ = self.events.try_send(told);
    }
}

/// Events that may wait for a call to read them.
const EVENTS: usize = 64;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The events told so far, one letter each: a key, `P`layed, `@` a position, `R`ecorded,
    /// `S`ilent.
    pub fn told(events: &mut mpsc::Receiver<Told>) -> String {
        std::iter::from_fn(|| events.try_recv().ok())
            .map(|told| match told {
                Told::Key(key) => key,
                Told::Played(_) => 'P',
                Told::At(..) => '@',
                Told::Recorded(_) => 'R',
                Told::Silent => 'S',
                Told::Unkeyed(_) => 'U',
            })
            .collect()
    }

    #[test]
    fn a_flood_of_keys_leaves_room_for_what_was_asked_for() {
        let (teller, mut events) = Teller::new();
        (0..1000).for_each(|_| teller.key('1'));
        teller.tell(Told::Silent);
        assert_eq!(told(&mut events), "1".repeat(EVENTS / 2) + "S");
    }
}
