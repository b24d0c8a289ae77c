//! Between the call and the answer: ringing, heard or not.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use super::route;
use super::talk::Talk;
use crate::config::{Ringing, Sip};
use crate::mailbox::CallerId;
use crate::media::{Codec, Port, Sound, Stream};
use crate::sip::{Event, Gone, Invite};

/// A call that rings.
pub(super) struct Early {
    pub(super) port: Port,
    pub(super) talk: Talk,
    /// Known already where the caller made the offer.
    pub(super) stream: Option<Stream>,
    pub(super) caller: CallerId,
}

impl Early {
    /// Rings as long as the configuration says.
    pub(super) async fn ring(
        &mut self,
        invite: &mut Invite,
        description: &str,
        sip: &Sip,
    ) -> Result<(), Gone> {
        match sip.ringing {
            Ringing::Silent => {}
            Ringing::Alerting => invite.ring(),
            Ringing::Early => {
                invite.progress(description);
                self.sound(sip.ring_seconds);
            }
        }
        if sip.ring_seconds == 0 {
            return Ok(());
        }
        let answer = tokio::time::sleep(Duration::from_secs(sip.ring_seconds.into()));
        tokio::pin!(answer);
        loop {
            tokio::select! {
                () = &mut answer => return Ok(()),
                event = invite.next() => self.heed(event?, invite, sip),
            }
        }
    }

    /// The audio of the caller's offer is there before the answer.
    fn sound(&mut self, seconds: u32) {
        let Some(stream) = self.stream.filter(|_| seconds > 0) else { return };
        self.port.secure(self.talk.security());
        self.port.connect(stream);
        let tone = Arc::new(ringing_tone(stream.codec));
        let times = seconds.div_ceil(CADENCE.0 + CADENCE.1);
        self.port.play((0..times).map(|_| tone.clone()).collect::<Vec<_>>());
    }

    fn heed(&mut self, event: Event, invite: &mut Invite, sip: &Sip) {
        match event {
            Event::Offer { sdp: Some(offer), .. } => match self.talk.answer(&offer) {
                Ok((answer, stream)) => {
                    invite.accept(&answer);
                    self.port.secure(self.talk.security());
                    self.port.connect(stream);
                    self.stream = Some(stream);
                }
                Err(_) => invite.refuse_offer(),
            },
            Event::Offer { sdp: None, .. } => invite.accept(&self.talk.offer()),
            Event::Identity(party) => {
                if let Some(caller) = route::transferred(&party, sip) {
                    self.caller = caller;
                }
            }
            // The last ones concern calls that are answered.
            Event::Confirmed { .. }
            | Event::Info { .. }
            | Event::Bye
            | Event::Lost
            | Event::Refer(_)
            | Event::Referred { .. }
            | Event::Reached { .. } => {}
        }
    }
}

/// 440 and 480 Hz, as North America rings (ITU-T E.180 supplement 2); everyone knows it from films.
fn ringing_tone(codec: Codec) -> Sound {
    #[expect(clippy::cast_possible_truncation, reason = "twice LOUDNESS at most")]
    let sample = |n: u32| {
        let wave = |hertz: f64| (TAU * hertz * f64::from(n) / f64::from(RATE)).sin();
        (LOUDNESS * (wave(440.0) + wave(480.0))) as i16
    };
    let (rings, rests) = (CADENCE.0 * RATE, CADENCE.1 * RATE);
    let samples: Vec<i16> = (0..rings).map(sample).chain((0..rests).map(|_| 0)).collect();
    Sound::from_samples(&samples, RATE, codec)
}

const RATE: u32 = 8_000;
/// Seconds of tone and of silence.
const CADENCE: (u32, u32) = (2, 4);
/// Of each of the two tones: -19 dBm0 as E.180 asks for.
const LOUDNESS: f64 = 2_000.0;
