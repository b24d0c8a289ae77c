//! Keys that we press, as RFC 4733 events: for a caller that we are.

/// Frames of 20 ms that a key sounds, that its end is repeated (RFC 4733 §2.5.1.4), and that lie
/// between two keys.
const SOUNDS: u32 = 5;
const ENDS: u32 = 3;
const GAP: u32 = 3;
/// Power of the tone in -dBm0.
const VOLUME: u8 = 10;

/// The keys still to be pressed.
#[derive(Debug)]
pub(super) struct Keys {
    events: std::vec::IntoIter<u8>,
    current: Option<u8>,
    frame: u32,
}

/// One packet of a key: its payload, and how many frames ago the key was pressed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pressed {
    pub payload: [u8; 4],
    pub frames_ago: u32,
}

impl Keys {
    /// What is no key is left out.
    pub fn new(keys: &str) -> Self {
        let events: Vec<u8> = keys.chars().filter_map(event).collect();
        let mut events = events.into_iter();
        let current = events.next();
        Self { events, current, frame: 0 }
    }

    pub fn is_finished(&self) -> bool {
        self.current.is_none()
    }

    /// The packet of the next frame; `None` in the gap between two keys.
    pub fn next(&mut self, samples_a_frame: u32) -> Option<Pressed> {
        let event = self.current?;
        let frame = self.frame;
        self.frame += 1;
        if self.frame == SOUNDS + ENDS + GAP {
            (self.current, self.frame) = (self.events.next(), 0);
        }
        if frame >= SOUNDS + ENDS {
            return None;
        }
        let end = if frame >= SOUNDS { 0x80 } else { 0 };
        let duration = (frame + 1).min(SOUNDS) * samples_a_frame;
        let [high, low] = u16::try_from(duration).unwrap_or(u16::MAX).to_be_bytes();
        Some(Pressed { payload: [event, end | VOLUME, high, low], frames_ago: frame })
    }
}

/// RFC 4733 §3.2, table 3.
fn event(key: char) -> Option<u8> {
    let event = "0123456789*#ABCD".find(key.to_ascii_uppercase())?;
    u8::try_from(event).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_sounds_ends_three_times_and_leaves_a_gap() {
        let mut keys = Keys::new("x#1");
        let first: Vec<_> = (0..11).map(|_| keys.next(160)).collect();
        assert_eq!(first[0], Some(Pressed { payload: [11, 10, 0, 160], frames_ago: 0 }));
        assert_eq!(first[4], Some(Pressed { payload: [11, 10, 3, 32], frames_ago: 4 }));
        for (at, end) in first.iter().enumerate().skip(5).take(3) {
            let frames_ago = u32::try_from(at).unwrap();
            assert_eq!(*end, Some(Pressed { payload: [11, 0x8a, 3, 32], frames_ago }));
        }
        assert_eq!(first[8..], [None, None, None]);
        assert_eq!(keys.next(160).unwrap().payload[0], 1);
        let rest: Vec<_> = (0..10).map(|_| keys.next(160)).collect();
        assert_eq!(rest.len(), 10);
        assert!(keys.is_finished() && keys.next(160).is_none());
    }
}
