//! One line's way out: sounds or keys to RTP packets, each in its time. It owns no socket and no
//! clock.
//!
//! What each packet needs stands together here: of hundreds of lines that play, nothing is in the
//! processor's cache when a line's turn comes, and each fetch from memory costs as much as all else.

use std::time::Duration;

use super::codec::Codec;
use super::player::{Control, Playback, Player, Position};
use super::press::Keys;
use super::rtp::{self, Outgoing};
use super::stream::Stream;

#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Sender {
    playing: Playing,
    agreed: Option<Agreed>,
    pub outgoing: Outgoing,
    /// The tick at which the last frame was sent, and the one at which it will have been heard.
    sent: Option<u64>,
    lasts: Option<u64>,
}

#[derive(Debug)]
enum Playing {
    Nothing,
    /// Asked for before the stream was agreed.
    Waiting(Playback, u32),
    Sounds(Player, u32),
    Keys {
        keys: Keys,
        playback: u32,
    },
}

/// What was agreed, as far as a packet needs it.
#[derive(Debug, Clone, Copy)]
struct Agreed {
    codec: Codec,
    payload_type: u8,
    telephone_event: Option<u8>,
    sends: bool,
    /// How long a packet is.
    ticks: u8,
}

impl Sender {
    pub fn new(chance: u64) -> Self {
        Self {
            playing: Playing::Nothing,
            agreed: None,
            outgoing: Outgoing::new(chance),
            sent: None,
            lasts: None,
        }
    }

    /// Takes what was agreed. What plays for another codec ends untold: whoever agreed to this one
    /// plays it anew. What waited begins; returned if it is over at once.
    pub fn connect(&mut self, stream: &Stream) -> Option<u32> {
        let changed = self.agreed.is_none_or(|agreed| agreed.codec != stream.codec);
        self.agreed = Some(Agreed {
            codec: stream.codec,
            payload_type: stream.payload_type,
            telephone_event: stream.telephone_event,
            sends: stream.direction.sends(),
            ticks: packet_ticks(stream),
        });
        match std::mem::replace(&mut self.playing, Playing::Nothing) {
            Playing::Waiting(playback, number) => return self.play(playback, number),
            Playing::Sounds(..) if changed => {}
            playing => self.playing = playing,
        }
        None
    }

    /// Plays instead of what plays now; returned if it is over at once.
    pub fn play(&mut self, playback: Playback, number: u32) -> Option<u32> {
        let Some(agreed) = self.agreed else {
            self.playing = Playing::Waiting(playback, number);
            return None;
        };
        let before = match &mut self.playing {
            Playing::Sounds(player, _) => Some(player),
            Playing::Nothing | Playing::Waiting(..) | Playing::Keys { .. } => None,
        };
        let player = Player::new(playback, agreed.codec, before);
        if player.is_finished() {
            self.stop();
            return Some(number);
        }
        self.playing = Playing::Sounds(player, number);
        None
    }

    /// Does it to the sounds that play, and says which those are and where they are now.
    pub fn control(&mut self, control: Control) -> Option<(Position, u32)> {
        let Playing::Sounds(player, number) = &mut self.playing else { return None };
        player.control(control);
        Some((player.position(), *number))
    }

    pub fn stop(&mut self) {
        if let Playing::Sounds(player, _) = &mut self.playing {
            player.stop();
            if player.has_frame() {
                return;
            }
        }
        self.playing = Playing::Nothing;
    }

    /// Presses keys, which ends like a playback. Without a payload type agreed for them they are
    /// not heard.
    pub fn press(&mut self, keys: &str, playback: u32) {
        self.playing = Playing::Keys { keys: Keys::new(keys), playback };
    }

    pub fn is_playing(&self) -> bool {
        match &self.playing {
            Playing::Sounds(player, _) => player.has_frame(),
            Playing::Keys { .. } => true,
            Playing::Nothing | Playing::Waiting(..) => false,
        }
    }

    /// How long sounds will play if nothing happens.
    pub fn left(&self) -> Duration {
        if let Playing::Sounds(player, _) = &self.playing { player.left() } else { Duration::ZERO }
    }

    /// The tick at which the last frame was sent.
    pub fn sent(&self) -> Option<u64> {
        self.sent
    }

    /// Writes the frame for `tick` into `packet` and says how long it is, if one is to be sent.
    pub fn frame(&mut self, tick: u64, packet: &mut [u8; FRAME_PACKET]) -> Option<usize> {
        let agreed = self.agreed?;
        let player = match &mut self.playing {
            Playing::Sounds(player, _) if player.has_frame() => player,
            Playing::Keys { keys, .. } => {
                // One packet a turn, whatever the length of others.
                if self.sent.replace(tick) == Some(tick) {
                    return None;
                }
                return key_frame(keys, agreed, &mut self.outgoing, tick, packet);
            }
            Playing::Nothing | Playing::Waiting(..) | Playing::Sounds(..) => return None,
        };
        // Packets may be shorter or longer than the turn of the wheel: one is due once what was
        // sent lasts no longer than that.
        let spurt = self.lasts.is_none_or(|lasts| lasts < tick);
        let begins = if spurt { tick } else { self.lasts.unwrap_or(tick) };
        if begins >= tick + TICKS_PER_FRAME {
            return None;
        }
        let ticks = u64::from(agreed.ticks);
        let samples = ticks * u64::from(agreed.codec.rate()) / TICKS_PER_SECOND;
        let (head, audio) = packet.split_first_chunk_mut()?;
        let length = player.fill(audio, samples);
        self.lasts = Some(begins + ticks);
        self.sent = Some(tick);
        if !agreed.sends || length == 0 {
            return None;
        }
        *head = self.outgoing.header(agreed.payload_type, rtp_time(begins, agreed.codec), spurt);
        self.outgoing.sent(length);
        Some(rtp::HEADER + length)
    }

    /// The playback that is over with the last frame; told once.
    pub fn over(&mut self) -> Option<u32> {
        let (over, number) = match &self.playing {
            Playing::Sounds(player, number) => (player.is_finished(), *number),
            // The gap after a key ends it: nothing is left to be sent.
            Playing::Keys { keys, playback } => (keys.is_finished(), *playback),
            Playing::Nothing | Playing::Waiting(..) => return None,
        };
        let stopped = matches!(&self.playing, Playing::Sounds(player, _) if player.is_stopped());
        if over || stopped && !self.is_playing() {
            self.playing = Playing::Nothing;
        }
        over.then_some(number)
    }
}

fn key_frame(
    keys: &mut Keys,
    agreed: Agreed,
    outgoing: &mut Outgoing,
    tick: u64,
    packet: &mut [u8; FRAME_PACKET],
) -> Option<usize> {
    let samples = u64::from(agreed.codec.clock()) / FRAMES_PER_SECOND;
    let pressed = keys.next(u32::try_from(samples).unwrap_or_default());
    let (pressed, events) = (pressed?, agreed.telephone_event?);
    let (head, rest) = packet.split_first_chunk_mut()?;
    let payload = rest.first_chunk_mut()?;
    *payload = pressed.payload;
    // RFC 4733 §2.2.1: all packets of one event share its first timestamp.
    let began = tick.saturating_sub(u64::from(pressed.frames_ago) * TICKS_PER_FRAME);
    let first = pressed.frames_ago == 0;
    *head = outgoing.header(events, rtp_time(began, agreed.codec), first);
    outgoing.sent(payload.len());
    Some(rtp::HEADER + payload.len())
}

/// RTP time, which wraps.
pub(super) fn rtp_time(tick: u64, codec: Codec) -> u32 {
    let elapsed = tick * (u64::from(codec.clock()) / FRAMES_PER_SECOND / TICKS_PER_FRAME);
    u32::try_from(elapsed & u64::from(u32::MAX)).unwrap_or_default()
}

/// How long the packets are that the other side is sent.
fn packet_ticks(stream: &Stream) -> u8 {
    let ticks = u64::try_from(stream.ptime.as_millis()).unwrap_or(0) * TICKS_PER_SECOND / 1000;
    let ticks = ticks.clamp(SHORTEST, LONGEST);
    let ticks = if stream.codec.is_framed() {
        (ticks - ticks % TICKS_PER_FRAME).max(TICKS_PER_FRAME)
    } else {
        ticks - ticks % SHORTEST
    };
    u8::try_from(ticks).unwrap_or(u8::MAX)
}

/// The wheel turns in ticks of 5 ms, and a frame is 20 ms.
pub(super) const TICKS_PER_FRAME: u64 = 4;
const FRAMES_PER_SECOND: u64 = 50;
const TICKS_PER_SECOND: u64 = FRAMES_PER_SECOND * TICKS_PER_FRAME;
/// Packets that we send are of 10 to 60 ms.
const SHORTEST: u64 = 2;
const LONGEST: u64 = 12;
/// Packets of one line in a turn of the wheel.
pub(super) const PACKETS_PER_FRAME: usize = 2;
/// Room for a header and 60 ms of any codec: of Opus three frames, each far from so large.
pub(super) const FRAME_PACKET: usize = rtp::HEADER + 960;
