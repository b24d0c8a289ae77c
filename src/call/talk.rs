//! What two sides agree on for a call's audio; pure.

use std::net::{IpAddr, SocketAddr};

use super::choice::{self, Choice, Codecs};
use super::secure::{Guarded, Rules};
use crate::media::{Direction, Rtcp, Security, Stream};
use crate::sip::sdp::{self, Audio, Description, Format, Local, Terms};

/// We would like 20 ms in a packet and take up to 60.
const TERMS: Terms = Terms { ptime: Some(20), maxptime: Some(60), rtcp_mux: false };

/// Why there can be no audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disagreement {
    /// It is no session description.
    Malformed,
    /// It has nothing that we speak.
    NothingInCommon,
}

/// One side of one call's negotiation: our address, and how often we have described ourselves.
#[derive(Clone)]
pub(crate) struct Talk {
    local: Local,
    /// The last description.
    said: String,
    guarded: Guarded,
    codecs: Codecs,
}

impl Talk {
    pub(crate) fn new(address: IpAddr, port: u16, session_id: u64) -> Self {
        let local = Local { address, port, session_id, version: 0 };
        let (guarded, codecs) = (Guarded::default(), Codecs::default());
        Self { local, said: String::new(), guarded, codecs }
    }

    /// With these codecs instead of all that we know.
    pub(crate) fn speaking(self, codecs: Codecs) -> Self {
        Self { codecs, ..self }
    }

    /// With keys, as these rules want it.
    pub(crate) fn guarded(self, rules: Rules) -> Self {
        Self { guarded: Guarded::new(rules), ..self }
    }

    /// The same with another party, whom our keys may reach in a description or may not.
    pub(super) fn elsewhere(&self, sdes: bool) -> Self {
        Self { guarded: self.guarded.elsewhere(sdes), ..self.clone() }
    }

    /// How the stream that was agreed on last is protected.
    pub(crate) fn security(&self) -> &Security {
        self.guarded.agreed()
    }

    fn here(&self) -> SocketAddr {
        SocketAddr::new(self.local.address, self.local.port)
    }

    /// The answer to an offer, and the stream that follows from both.
    pub(crate) fn answer(&mut self, offer: &[u8]) -> Result<(String, Stream), Disagreement> {
        let (description, format, events, stream) = agree(offer, &self.guarded, &self.codecs)?;
        let terms = Terms { rtcp_mux: stream.rtcp == Rtcp::Mux, ..TERMS };
        let audio = description.audio().ok_or(Disagreement::NothingInCommon)?;
        let here = self.here();
        let protection = self.guarded.answer(audio, here).ok_or(Disagreement::NothingInCommon)?;
        let events = events.as_ref();
        let answer =
            self.say(|local| description.answer(local, &format, events, terms, &protection));
        Ok((answer, stream))
    }

    /// Our offer, for an INVITE that brought none.
    pub(crate) fn offer(&mut self) -> String {
        let formats = self.codecs.formats();
        let (profile, rtcp_mux, protection) = self.guarded.offer(self.here());
        let terms = Terms { rtcp_mux, ..TERMS };
        self.say(|local| sdp::offer(local, &formats, terms, profile, &protection))
    }

    /// The stream that follows from the answer to our offer.
    pub(crate) fn answered(&mut self, answer: &[u8]) -> Result<Stream, Disagreement> {
        let (description, _, _, stream) = agree(answer, &self.guarded, &self.codecs)?;
        let audio = description.audio().ok_or(Disagreement::NothingInCommon)?;
        self.guarded.answered(audio).ok_or(Disagreement::NothingInCommon)?;
        Ok(stream)
    }

    /// RFC 3264 §8: another version if anything differs from the description before, else the same.
    fn say(&mut self, describe: impl Fn(&Local) -> String) -> String {
        let again = describe(&self.local);
        if again != self.said {
            self.local.version += 1;
            self.said = describe(&self.local);
        }
        self.said.clone()
    }
}

fn agree(
    body: &[u8],
    guarded: &Guarded,
    codecs: &Codecs,
) -> Result<(Description, Format, Option<Format>, Stream), Disagreement> {
    let mut description = sdp::read(body).map_err(|_| Disagreement::Malformed)?;
    description.prefer(|audio| guarded.like(audio));
    let audio = description.audio().ok_or(Disagreement::NothingInCommon)?;
    let choice = codecs.choose(audio).ok_or(Disagreement::NothingInCommon)?;
    let Choice { mut format, codec, events, ptime } = choice;
    // What the caller wants of Opus is not what we want of it.
    format.fmtp = choice::parameters(codec);
    let remote = audio.address.map(|address| SocketAddr::new(address, audio.port));
    let stream = Stream {
        remote,
        codec,
        payload_type: format.payload_type,
        telephone_event: events.as_ref().map(|event| event.payload_type),
        event_clock: events.as_ref().map_or(codec.clock(), |event| event.clock),
        ptime,
        // What the other side sends, we receive.
        direction: match audio.direction {
            sdp::Direction::SendRecv => Direction::SendReceive,
            sdp::Direction::SendOnly => Direction::ReceiveOnly,
            sdp::Direction::RecvOnly => Direction::SendOnly,
            sdp::Direction::Inactive => Direction::Inactive,
        },
        rtcp: rtcp(audio, remote),
    };
    Ok((description, format, events, stream))
}

fn rtcp(audio: &Audio, remote: Option<SocketAddr>) -> Rtcp {
    if audio.rtcp_mux {
        return Rtcp::Mux;
    }
    Rtcp::Beside(match audio.rtcp {
        Some((port, address)) => {
            address.or(audio.address).map(|address| SocketAddr::new(address, port))
        }
        None => remote.and_then(Rtcp::above),
    })
}

/// The key in an INFO: `application/dtmf-relay` has `Signal=5`, `application/dtmf` just the key.
pub(super) fn info_key(content_type: &str, body: &[u8]) -> Option<char> {
    let text = std::str::from_utf8(body).ok()?;
    let kind = content_type.split(';').next().unwrap_or("").trim();
    let signal = if kind.eq_ignore_ascii_case("application/dtmf-relay") {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            name.trim().eq_ignore_ascii_case("signal").then(|| value.trim())
        })?
    } else if kind.eq_ignore_ascii_case("application/dtmf") {
        text.trim()
    } else {
        return None;
    };
    match signal {
        // RFC 2833's event numbers for star and pound.
        "10" => Some('*'),
        "11" => Some('#'),
        _ => {
            let mut keys = signal.chars();
            let key = keys.next()?.to_ascii_uppercase();
            (keys.next().is_none() && "0123456789*#ABCD".contains(key)).then_some(key)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Codec;

    fn offer(formats: &str, rest: &str) -> Vec<u8> {
        format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP {formats}\r\n{rest}"
        )
        .into_bytes()
    }

    fn talk() -> Talk {
        Talk::new("198.51.100.9".parse().unwrap(), 10_000, 7)
    }

    #[test]
    fn the_first_common_codec_is_taken() {
        let (answer, stream) =
            talk().answer(&offer("18 8 0 96", "a=rtpmap:96 telephone-event/8000\r\n")).unwrap();
        assert_eq!((stream.codec, stream.payload_type), (Codec::Pcma, 8));
        assert_eq!(stream.telephone_event, Some(96));
        assert_eq!(stream.remote, Some("192.0.2.1:4000".parse().unwrap()));
        assert!(answer.contains("m=audio 10000 RTP/AVP 8 96"), "{answer}");
    }

    #[test]
    fn a_dynamic_number_for_a_known_codec_is_kept() {
        let (_, stream) = talk().answer(&offer("111", "a=rtpmap:111 PCMU/8000\r\n")).unwrap();
        assert_eq!((stream.codec, stream.payload_type), (Codec::Pcmu, 111));
    }

    #[test]
    fn nothing_in_common_is_told_apart_from_nonsense() {
        let tell = |body: &[u8]| talk().answer(body).err();
        assert_eq!(tell(&offer("3 18", "")), Some(Disagreement::NothingInCommon));
        assert_eq!(tell(b"hello"), Some(Disagreement::Malformed));
    }

    #[test]
    fn hold_turns_the_direction() {
        let (answer, stream) = talk().answer(&offer("0", "a=sendonly\r\n")).unwrap();
        assert_eq!(stream.direction, Direction::ReceiveOnly);
        assert!(answer.contains("a=recvonly"), "{answer}");
    }

    #[test]
    fn the_version_counts_what_differs() {
        let mut talk = talk();
        let mut version = |rest| {
            let (answer, _) = talk.answer(&offer("0", rest)).unwrap();
            answer.split(' ').nth(2).unwrap().to_owned()
        };
        assert_eq!(version(""), "1");
        assert_eq!(version(""), "1", "a refresh changes nothing");
        assert_eq!(version("a=sendonly\r\n"), "2");
        assert_eq!(version(""), "3");
    }

    #[test]
    fn reports_go_with_the_audio_where_that_is_offered_and_else_where_they_are_wanted() {
        let (answer, stream) = talk().answer(&offer("0", "a=rtcp-mux\r\n")).unwrap();
        assert_eq!(stream.rtcp, Rtcp::Mux);
        assert!(answer.contains("a=rtcp-mux\r\n"), "{answer}");
        let (answer, stream) = talk().answer(&offer("0", "a=rtcp:4711\r\n")).unwrap();
        assert_eq!(stream.rtcp, Rtcp::Beside(Some("192.0.2.1:4711".parse().unwrap())));
        assert!(!answer.contains("rtcp"), "{answer}");
        let (_, stream) = talk().answer(&offer("0", "")).unwrap();
        assert_eq!(stream.rtcp, Rtcp::Beside(Some("192.0.2.1:4001".parse().unwrap())));
    }

    #[test]
    fn our_offer_can_be_answered() {
        let ours = talk().offer();
        assert!(ours.contains("RTP/AVP 107 9 0 8 101 102\r\na=rtpmap:107 opus/48000/2"), "{ours}");
        assert_eq!(talk().answered(&offer("8", "")).unwrap().codec, Codec::Pcma);
        let ours = talk().speaking(Codecs::narrow()).offer();
        assert!(ours.contains("RTP/AVP 0 8 101\r\n"), "{ours}");
    }

    #[test]
    fn opus_is_answered_with_what_we_want_of_it() {
        let rest = "a=rtpmap:96 opus/48000/2\r\na=fmtp:96 stereo=1;maxplaybackrate=48000\r\n\
                    a=rtpmap:97 telephone-event/48000\r\na=ptime:40\r\n";
        let (answer, stream) = talk().answer(&offer("96 97 0", rest)).unwrap();
        assert_eq!((stream.codec, stream.payload_type), (Codec::Opus, 96));
        assert_eq!((stream.telephone_event, stream.event_clock), (Some(97), 48_000));
        assert_eq!(stream.ptime.as_millis(), 40);
        let expected = "a=rtpmap:96 opus/48000/2\r\n\
             a=fmtp:96 maxplaybackrate=16000;sprop-maxcapturerate=16000;useinbandfec=1\r\n";
        assert!(answer.contains(expected), "{answer}");
    }

    #[test]
    fn an_info_is_one_key() {
        let key = |kind, body: &str| info_key(kind, body.as_bytes());
        assert_eq!(key("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"), Some('5'));
        assert_eq!(key("application/dtmf-relay", "signal= #\n"), Some('#'));
        assert_eq!(key("Application/DTMF; x=y", "*"), Some('*'));
        assert_eq!(key("application/dtmf", "11"), Some('#'));
        assert_eq!(key("application/dtmf", "12"), None);
        assert_eq!(key("text/plain", "1"), None);
    }
}
