//! Which of the formats of a description we take; pure.

use std::time::Duration;

use crate::config::{self, CodecPreference};
use crate::media::Codec;
use crate::sip::sdp::{Audio, Format};

/// What we speak, best first, and whose order counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Codecs {
    order: Vec<config::Codec>,
    preference: CodecPreference,
}

/// What was chosen of a description's formats.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub format: Format,
    pub codec: Codec,
    pub events: Option<Format>,
    /// How much the other side is sent in a packet.
    pub ptime: Duration,
}

impl Codecs {
    pub(crate) fn new(media: &config::Media) -> Self {
        Self { order: media.codecs.clone(), preference: media.codec_preference }
    }

    /// The band of a telephone, at no cost.
    pub(crate) fn narrow() -> Self {
        let order = vec![config::Codec::Pcmu, config::Codec::Pcma];
        Self { order, preference: CodecPreference::Caller }
    }

    pub(super) fn spoken_by_us(&self) -> Vec<Codec> {
        self.order.iter().map(|codec| spoken(*codec)).collect()
    }

    /// `None` if there is nothing that we speak.
    pub(super) fn choose(&self, audio: &Audio) -> Option<Choice> {
        let known = |format: &Format| Some((format.clone(), self.spoken(format, audio)?));
        let mut formats = audio.formats.iter().filter_map(known);
        let (format, codec) = match self.preference {
            // RFC 3264 §6.1: the offerer's order is its preference.
            CodecPreference::Caller => formats.next()?,
            CodecPreference::Ours => {
                let rank = |codec: Codec| self.order.iter().position(|name| *name == named(codec));
                formats.min_by_key(|(_, codec)| rank(*codec))?
            }
        };
        let events = |clock| {
            let mut events = audio.formats.iter().filter(|event| is_events(event));
            events.find(|event| event.clock == clock).cloned()
        };
        // RFC 4733 §2.4.2 wants the audio's clock; beside Opus many have 8 kHz alone.
        let events = events(format.clock).or_else(|| events(8000));
        Some(Choice { format, codec, events, ptime: ptime(audio) })
    }

    /// What we offer, best first.
    pub(super) fn formats(&self) -> Vec<Format> {
        let mut formats: Vec<Format> =
            self.order.iter().map(|codec| format(spoken(*codec))).collect();
        let wide = self.order.contains(&config::Codec::Opus);
        formats.push(events(OUR_EVENTS, 8000));
        if wide {
            formats.push(events(OUR_EVENTS + 1, Codec::Opus.clock()));
        }
        formats
    }

    fn spoken(&self, format: &Format, audio: &Audio) -> Option<Codec> {
        let codec = self.order.iter().map(|codec| spoken(*codec)).find(|codec| {
            format.name.eq_ignore_ascii_case(codec.name())
                && format.clock == codec.clock()
                && format.channels <= codec.channels()
        })?;
        if codec != Codec::Opus {
            return Some(codec);
        }
        // Frames of 20 ms are not cut for who takes less.
        if audio.maxptime.is_some_and(|most| most < 20) {
            return None;
        }
        // RFC 7587 §6.1: who plays or records no more than a telephone's band.
        let narrow = |name: &str| parameter(format, name).is_some_and(|hertz| hertz <= 8000);
        let narrow = narrow("maxplaybackrate") || narrow("sprop-maxcapturerate");
        Some(if narrow { Codec::OpusNarrow } else { codec })
    }
}

impl Default for Codecs {
    fn default() -> Self {
        Self::new(&config::Config::default().media)
    }
}

/// What our description says of a codec beside its name.
pub(super) fn parameters(codec: Codec) -> Option<String> {
    match codec {
        Codec::Pcmu | Codec::Pcma | Codec::G722 => None,
        Codec::Opus | Codec::OpusNarrow => {
            let rate = codec.rate();
            Some(format!("maxplaybackrate={rate};sprop-maxcapturerate={rate};useinbandfec=1"))
        }
    }
}

pub(super) fn format(codec: Codec) -> Format {
    Format {
        payload_type: codec.payload_type(),
        name: codec.name().to_uppercase(),
        clock: codec.clock(),
        channels: codec.channels(),
        fmtp: parameters(codec),
    }
}

fn events(payload_type: u8, clock: u32) -> Format {
    let name = TELEPHONE_EVENT.to_uppercase();
    Format { payload_type, name, clock, channels: 1, fmtp: Some("0-16".into()) }
}

fn is_events(format: &Format) -> bool {
    format.name.eq_ignore_ascii_case(TELEPHONE_EVENT)
}

fn ptime(audio: &Audio) -> Duration {
    let wanted = audio.ptime.unwrap_or(PTIME);
    let most = audio.maxptime.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST);
    Duration::from_millis(wanted.clamp(SHORTEST, most).into())
}

/// `name=value` among a format's parameters.
fn parameter(format: &Format, name: &str) -> Option<u32> {
    format.fmtp.as_deref()?.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().parse().ok())?
    })
}

fn spoken(codec: config::Codec) -> Codec {
    match codec {
        config::Codec::Opus => Codec::Opus,
        config::Codec::G722 => Codec::G722,
        config::Codec::Pcmu => Codec::Pcmu,
        config::Codec::Pcma => Codec::Pcma,
    }
}

fn named(codec: Codec) -> config::Codec {
    match codec {
        Codec::Opus | Codec::OpusNarrow => config::Codec::Opus,
        Codec::G722 => config::Codec::G722,
        Codec::Pcmu => config::Codec::Pcmu,
        Codec::Pcma => config::Codec::Pcma,
    }
}

const TELEPHONE_EVENT: &str = "telephone-event";
/// Our payload type for RFC 4733 events, where the offer is ours, and the next for those at 48 kHz.
const OUR_EVENTS: u8 = 101;
/// Milliseconds in a packet that we send, where nothing else is wanted, and the bounds.
const PTIME: u8 = 20;
const SHORTEST: u8 = 10;
const LONGEST: u8 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::sdp;

    fn audio(formats: &str, rest: &str) -> Audio {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP {formats}\r\n{rest}"
        );
        sdp::read(text.as_bytes()).unwrap().audio().unwrap().clone()
    }

    /// Codec, its payload type, and that of events with their clock.
    type Chosen = (Codec, u8, Option<(u8, u32)>);

    fn chosen(codecs: &Codecs, audio: &Audio) -> Option<Chosen> {
        let Choice { format, codec, events, .. } = codecs.choose(audio)?;
        Some((codec, format.payload_type, events.map(|events| (events.payload_type, events.clock))))
    }

    const OPUS: &str = "a=rtpmap:96 opus/48000/2\r\na=rtpmap:97 telephone-event/48000\r\n\
                        a=rtpmap:101 telephone-event/8000\r\n";

    #[test]
    fn the_callers_order_counts_unless_ours_shall() {
        let all = Codecs::default();
        let offer = audio("8 9 96 101 97", OPUS);
        assert_eq!(chosen(&all, &offer), Some((Codec::Pcma, 8, Some((101, 8000)))));
        let ours = Codecs { preference: CodecPreference::Ours, ..all.clone() };
        assert_eq!(chosen(&ours, &offer), Some((Codec::Opus, 96, Some((97, 48_000)))));
        let some = Codecs { order: vec![config::Codec::G722], ..all.clone() };
        assert_eq!(chosen(&some, &offer), Some((Codec::G722, 9, Some((101, 8000)))));
        assert_eq!(chosen(&all, &audio("3 18", "")), None);
        assert_eq!(chosen(&Codecs::narrow(), &audio("9 96", OPUS)), None);
    }

    #[test]
    fn events_at_the_clock_of_g711_go_with_opus_where_there_are_no_others() {
        let offer = audio("96 101", &OPUS.replace("97", "98"));
        assert_eq!(chosen(&Codecs::default(), &offer), Some((Codec::Opus, 96, Some((101, 8000)))));
        assert_eq!(chosen(&Codecs::default(), &audio("96", OPUS)).unwrap().2, None);
    }

    #[test]
    fn who_has_no_more_than_a_telephones_band_gets_that() {
        for (fmtp, codec) in [
            ("maxplaybackrate=8000", Codec::OpusNarrow),
            ("useinbandfec=1; sprop-maxcapturerate=8000", Codec::OpusNarrow),
            ("maxplaybackrate=16000;stereo=1", Codec::Opus),
            ("maxplaybackrate=x", Codec::Opus),
        ] {
            let offer = audio("96", &format!("{OPUS}a=fmtp:96 {fmtp}\r\n"));
            assert_eq!(chosen(&Codecs::default(), &offer).unwrap().0, codec, "{fmtp}");
        }
    }

    #[test]
    fn packets_are_as_long_as_the_other_side_likes_within_reason() {
        let codecs = Codecs::default();
        let millis = |rest: &str| {
            codecs.choose(&audio("0 96", &format!("{OPUS}{rest}"))).unwrap().ptime.as_millis()
        };
        assert_eq!(millis(""), 20);
        assert_eq!(millis("a=ptime:30\r\n"), 30);
        assert_eq!(millis("a=ptime:5\r\n"), 10);
        assert_eq!(millis("a=ptime:100\r\n"), 60);
        assert_eq!(millis("a=ptime:60\r\na=maxptime:40\r\n"), 40);
        assert_eq!(millis("a=maxptime:10\r\n"), 10);
        let offer = audio("96 0", &format!("{OPUS}a=maxptime:10\r\n"));
        assert_eq!(chosen(&codecs, &offer).unwrap().0, Codec::Pcmu, "no frame of Opus is cut");
    }

    #[test]
    fn what_we_offer_we_would_take() {
        let codecs = Codecs::default();
        let formats = codecs.formats();
        let types: Vec<u8> = formats.iter().map(|format| format.payload_type).collect();
        assert_eq!(types, [107, 9, 0, 8, 101, 102]);
        let offer = Audio { formats, ..audio("0", "") };
        assert_eq!(chosen(&codecs, &offer), Some((Codec::Opus, 107, Some((102, 48_000)))));
    }
}
