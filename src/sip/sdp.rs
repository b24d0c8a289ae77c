//! Session descriptions: read one, answer it, make an offer (RFC 8866, RFC 3264).
//!
//! `sdp-types` reads the lines; what they mean for a telephone call is decided here. Nothing of an
//! offer is copied into an answer but the words of its `m=` lines and its `mid`.

use std::fmt::Write;
use std::net::IpAddr;

use sdp_types::{Media, Session};

use super::text::is_token;

pub use super::secure::{
    Crypto, Fingerprint, Hash, Ice, Profile, Protection, Secured, Setup, Suite,
};

/// A payload type and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    pub payload_type: u8,
    /// The encoding name in upper case: `PCMU`, `OPUS`, `TELEPHONE-EVENT`.
    pub name: String,
    pub clock: u32,
    pub channels: u8,
    pub fmtp: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// RFC 3264 §6.1: what we answer to it.
    #[must_use]
    pub fn mirrored(self) -> Self {
        match self {
            Self::SendRecv => Self::SendRecv,
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            Self::Inactive => Self::Inactive,
        }
    }
}

/// The audio stream that we take part in, as the other side describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audio {
    /// `None` for 0.0.0.0, `::` and names: then only the first packet tells where to send.
    pub address: Option<IpAddr>,
    pub port: u16,
    /// In the order of preference; static payload types without `rtpmap` are filled in.
    pub formats: Vec<Format>,
    pub ptime: Option<u8>,
    pub maxptime: Option<u8>,
    pub direction: Direction,
    /// As the `m=` line has it, in upper case.
    pub profile: String,
    pub transport: Profile,
    /// Keys, certificates and ways.
    pub secured: Secured,
    pub rtcp_mux: bool,
    /// Where `a=rtcp` (RFC 3605) wants reports: a port, and an address if it differs.
    pub rtcp: Option<(u16, Option<IpAddr>)>,
}

/// What an answer says of our stream beside its formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// Milliseconds in a packet that we send.
    pub ptime: Option<u8>,
    /// The most that we take in a packet.
    pub maxptime: Option<u8>,
    /// RFC 5761: reports go with the audio.
    pub rtcp_mux: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed session description: {0}")]
pub struct Malformed(String);

/// A whole session, and which of its streams is ours.
#[derive(Debug, Clone)]
pub struct Description {
    session: Session,
    /// All that we could take, and which of them we do.
    streams: Vec<(usize, Audio)>,
    taken: Option<usize>,
}

/// Our end of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    pub address: IpAddr,
    pub port: u16,
    /// Unique per call, and the same for its whole life.
    pub session_id: u64,
    /// One more with every description that differs from the one before (RFC 3264 §8).
    pub version: u64,
}

/// Reads a description; its first usable audio stream is the one we take.
pub fn read(body: &[u8]) -> Result<Description, Malformed> {
    let session = Session::parse(body).map_err(|error| Malformed(error.to_string()))?;
    if session.medias.len() > MAX_MEDIAS {
        return Err(Malformed(format!("more than {MAX_MEDIAS} streams")));
    }
    let streams = session.medias.iter().enumerate();
    let streams = streams.filter_map(|(at, media)| Some((at, audio(&session, media)?)));
    let streams: Vec<_> = streams.collect();
    let taken = (!streams.is_empty()).then_some(0);
    Ok(Description { session, streams, taken })
}

impl Description {
    /// `None`: no audio stream that we could take, or all refused with port 0.
    pub fn audio(&self) -> Option<&Audio> {
        self.ours().map(|(_, audio)| audio)
    }

    /// Takes the stream that is liked best, the first of equals; those that are not liked at all
    /// (`None`) are left out.
    pub fn prefer(&mut self, like: impl Fn(&Audio) -> Option<u8>) {
        let streams = self.streams.iter().enumerate().rev();
        let liked = streams.filter_map(|(n, (_, audio))| Some((n, like(audio)?)));
        self.taken = liked.max_by_key(|(_, much)| *much).map(|(n, _)| n);
    }

    fn ours(&self) -> Option<&(usize, Audio)> {
        self.streams.get(self.taken?)
    }

    /// RFC 8843 §7.3: the group with our stream, the only one that stays, if it was offered.
    fn bundle(&self) -> Option<String> {
        let mid = value(self.session.medias.get(self.ours()?.0)?, "mid")?;
        let mut groups = self.session.attributes.iter().filter(|a| a.attribute == "group");
        let offered = groups.any(|group| {
            let mut words = group.value.as_deref().unwrap_or("").split_ascii_whitespace();
            words.next() == Some("BUNDLE") && words.any(|name| name == mid)
        });
        offered.then(|| format!("group:BUNDLE {mid}"))
    }

    /// RFC 3264 §6: as many `m=` lines as in the offer, all but ours refused with port 0.
    pub fn answer(
        &self,
        local: &Local,
        chosen: &Format,
        telephone_event: Option<&Format>,
        terms: Terms,
        protection: &Protection,
    ) -> String {
        let mut out = head(local, self.session.times.first().map(|t| (t.start_time, t.stop_time)));
        if let Some(bundle) = self.bundle() {
            line(&mut out, "a", &bundle);
        }
        protection.of_session(&mut |attribute| line(&mut out, "a", attribute));
        for (at, media) in self.session.medias.iter().enumerate() {
            match self.ours() {
                Some((ours, audio)) if *ours == at => {
                    let formats: Vec<&Format> =
                        [chosen].into_iter().chain(telephone_event).collect();
                    stream(&mut out, &audio.profile, local.port, &formats, terms);
                    line(&mut out, "a", audio.direction.mirrored().name());
                    protection.of_media(&mut |attribute| line(&mut out, "a", attribute));
                    // RFC 5888 §9.1: the name of a stream is kept.
                    if let Some(mid) = value(media, "mid") {
                        line(&mut out, "a", &format!("mid:{mid}"));
                    }
                }
                Some(_) | None => {
                    line(
                        &mut out,
                        "m",
                        &format!("{} 0 {} {}", media.media, media.proto, media.fmt),
                    );
                }
            }
        }
        out
    }
}

/// Our offer of one audio stream, formats in the order of preference.
pub fn offer(
    local: &Local,
    formats: &[Format],
    terms: Terms,
    profile: &str,
    protection: &Protection,
) -> String {
    let mut out = head(local, None);
    protection.of_session(&mut |attribute| line(&mut out, "a", attribute));
    stream(&mut out, profile, local.port, &formats.iter().collect::<Vec<_>>(), terms);
    line(&mut out, "a", Direction::SendRecv.name());
    protection.of_media(&mut |attribute| line(&mut out, "a", attribute));
    out
}

fn audio(session: &Session, media: &Media) -> Option<Audio> {
    let profile = media.proto.to_ascii_uppercase();
    let transport = Profile::of(&profile)?;
    if !media.media.eq_ignore_ascii_case("audio") || media.port == 0 {
        return None;
    }
    let formats: Vec<Format> = media
        .fmt
        .split_ascii_whitespace()
        .take(MAX_FORMATS)
        .filter_map(|payload_type| format(media, payload_type.parse().ok()?))
        .collect();
    if formats.is_empty() {
        return None;
    }
    let connection = media.connections.first().or(session.connection.as_ref());
    let written = connection.map_or("", |connection| connection.connection_address.as_str());
    let parsed: Option<IpAddr> = written.split('/').next().and_then(|ip| ip.parse().ok());
    // RFC 5118 §4.9: an IPv4 address in IPv6 clothes.
    let parsed = parsed.map(|ip| ip.to_canonical());
    let address = parsed.filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
    let direction = direction(session, media);
    // RFC 3264 §8.4: 0.0.0.0 is how RFC 2543 said "hold".
    // RFC 8839 §4.3.1: with ICE it says that there is no address yet.
    let secured = Secured::read(session, media);
    let held = parsed.is_some_and(|ip| ip.is_unspecified())
        && direction == Direction::SendRecv
        && secured.ice.is_none();
    Some(Audio {
        address,
        port: media.port,
        formats,
        ptime: value(media, "ptime").and_then(milliseconds),
        maxptime: value(media, "maxptime").and_then(milliseconds),
        direction: if held { Direction::SendOnly } else { direction },
        profile,
        transport,
        secured,
        rtcp_mux: media.attributes.iter().any(|a| a.attribute == "rtcp-mux"),
        rtcp: value(media, "rtcp").and_then(rtcp),
    })
}

/// RFC 3605 §2.1: `53020`, or `53020 IN IP4 126.16.64.4`.
fn rtcp(text: &str) -> Option<(u16, Option<IpAddr>)> {
    let mut words = text.split_ascii_whitespace();
    let port = words.next()?.parse().ok().filter(|port| *port > 0)?;
    Some((port, words.nth(2).and_then(|address| address.parse().ok())))
}

/// Some senders write `20.0` or `20 `.
fn milliseconds(text: &str) -> Option<u8> {
    text.trim().split('.').next()?.parse().ok().filter(|ms| *ms > 0)
}

fn direction(session: &Session, media: &Media) -> Direction {
    let mut attributes = media.attributes.iter().chain(&session.attributes);
    attributes
        .find_map(|attribute| match attribute.attribute.as_str() {
            "sendrecv" => Some(Direction::SendRecv),
            "sendonly" => Some(Direction::SendOnly),
            "recvonly" => Some(Direction::RecvOnly),
            "inactive" => Some(Direction::Inactive),
            _ => None,
        })
        .unwrap_or(Direction::SendRecv)
}

fn format(media: &Media, payload_type: u8) -> Option<Format> {
    if payload_type > 127 {
        return None;
    }
    let fmtp = of_type(media, "fmtp", payload_type).map(str::to_owned);
    if let Some(map) = of_type(media, "rtpmap", payload_type) {
        let mut parts = map.trim().split('/');
        let name = parts.next().filter(|name| is_token(name))?.to_ascii_uppercase();
        let clock = parts.next()?.trim().parse().ok().filter(|clock| *clock > 0)?;
        let channels = parts.next().and_then(|c| c.trim().parse().ok()).unwrap_or(1);
        return Some(Format { payload_type, name, clock, channels, fmtp });
    }
    let (_, name, clock, channels) = STATIC.iter().find(|(known, ..)| *known == payload_type)?;
    let (name, clock, channels) = ((*name).to_owned(), *clock, *channels);
    Some(Format { payload_type, name, clock, channels, fmtp })
}

/// The value of `a=<name>:<payload type> <value>`.
fn of_type<'a>(media: &'a Media, name: &str, payload_type: u8) -> Option<&'a str> {
    values(media, name).find_map(|value| {
        let (number, rest) = value.trim_start().split_once([' ', '\t'])?;
        (number.parse() == Ok(payload_type)).then(|| rest.trim())
    })
}

fn value<'a>(media: &'a Media, name: &'a str) -> Option<&'a str> {
    values(media, name).next()
}

fn values<'a>(media: &'a Media, name: &str) -> impl Iterator<Item = &'a str> {
    let named = media.attributes.iter().filter(move |attribute| attribute.attribute == name);
    named.filter_map(|attribute| attribute.value.as_deref())
}

fn head(local: &Local, time: Option<(u64, u64)>) -> String {
    let Local { address, session_id, version, .. } = local;
    let kind = if address.is_ipv4() { "IP4" } else { "IP6" };
    // RFC 3264 §6: the answer's time is the offer's.
    let (start, stop) = time.unwrap_or((0, 0));
    let mut out = String::with_capacity(400);
    line(&mut out, "v", "0");
    line(&mut out, "o", &format!("- {session_id} {version} IN {kind} {address}"));
    line(&mut out, "s", "-");
    line(&mut out, "c", &format!("IN {kind} {address}"));
    line(&mut out, "t", &format!("{start} {stop}"));
    out
}

fn stream(out: &mut String, profile: &str, port: u16, formats: &[&Format], terms: Terms) {
    let mut types = String::new();
    for format in formats {
        let _a_string_takes_all = write!(types, " {}", format.payload_type);
    }
    line(out, "m", &format!("audio {port} {profile}{types}"));
    for format in formats {
        let Format { payload_type, clock, .. } = format;
        let channels =
            if format.channels > 1 { format!("/{}", format.channels) } else { String::new() };
        let name = spelling(&format.name);
        line(out, "a", &format!("rtpmap:{payload_type} {name}/{clock}{channels}"));
        let fmtp = match (&format.fmtp, format.name.as_str()) {
            (Some(fmtp), _) => Some(fmtp.as_str()),
            // RFC 4733 §2.4.1: the sixteen keys and flash.
            (None, "TELEPHONE-EVENT") => Some("0-16"),
            (None, _) => None,
        };
        if let Some(fmtp) = fmtp {
            line(out, "a", &format!("fmtp:{payload_type} {fmtp}"));
        }
    }
    if let Some(ptime) = terms.ptime {
        line(out, "a", &format!("ptime:{ptime}"));
    }
    if let Some(maxptime) = terms.maxptime {
        line(out, "a", &format!("maxptime:{maxptime}"));
    }
    if terms.rtcp_mux {
        line(out, "a", "rtcp-mux");
    }
}

/// One line, whatever the value holds.
fn line(out: &mut String, key: &str, value: &str) {
    out.push_str(key);
    out.push('=');
    out.extend(value.chars().filter(|c| !c.is_control()));
    out.push_str("\r\n");
}

/// Encoding names compare without case (RFC 4855 §3), but not in every telephone.
fn spelling(name: &str) -> &str {
    match name {
        "TELEPHONE-EVENT" => "telephone-event",
        "OPUS" => "opus",
        "SPEEX" => "speex",
        "ILBC" => "iLBC",
        other => other,
    }
}

/// RFC 3551 table 4. G.722 has a clock of 8,000 there by mistake, and for ever.
const STATIC: [(u8, &str, u32, u8); 17] = [
    (0, "PCMU", 8_000, 1),
    (3, "GSM", 8_000, 1),
    (4, "G723", 8_000, 1),
    (5, "DVI4", 8_000, 1),
    (6, "DVI4", 16_000, 1),
    (7, "LPC", 8_000, 1),
    (8, "PCMA", 8_000, 1),
    (9, "G722", 8_000, 1),
    (10, "L16", 44_100, 2),
    (11, "L16", 44_100, 1),
    (12, "QCELP", 8_000, 1),
    (13, "CN", 8_000, 1),
    (14, "MPA", 90_000, 1),
    (15, "G728", 8_000, 1),
    (16, "DVI4", 11_025, 1),
    (17, "DVI4", 22_050, 1),
    (18, "G729", 8_000, 1),
];

/// More streams than any telephone has; each costs a line in the answer.
const MAX_MEDIAS: usize = 32;
const MAX_FORMATS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Local {
        let address = "192.0.2.9".parse().expect("an address");
        Local { address, port: 4000, session_id: 7, version: 1 }
    }

    fn described(text: &str) -> Description {
        read(text.replace('\n', "\r\n").as_bytes()).expect(text)
    }

    const OFFER: &str = "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=x\nc=IN IP4 10.0.0.1\nt=0 0\n\
        m=video 5000 RTP/AVP 96\na=rtpmap:96 H264/90000\n\
        m=audio 6000 RTP/AVP 96 8 0 101\na=rtpmap:96 opus/48000/2\na=fmtp:96 useinbandfec=1\n\
        a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\na=mid:a1\na=sendonly\n";

    const TERMS: Terms = Terms { ptime: Some(20), maxptime: Some(60), rtcp_mux: true };

    #[test]
    fn where_reports_go() {
        let rtcp = |line: &str| {
            let text = OFFER.replace("a=ptime:20\n", &format!("a=ptime:20\n{line}"));
            described(&text).audio().expect("audio").rtcp
        };
        assert_eq!(rtcp(""), None);
        assert_eq!(rtcp("a=rtcp:53020\n"), Some((53_020, None)));
        let elsewhere = "126.16.64.4".parse().ok();
        assert_eq!(rtcp("a=rtcp:53020 IN IP4 126.16.64.4\n"), Some((53_020, elsewhere)));
        assert_eq!(rtcp("a=rtcp:0\n"), None);
        assert_eq!(rtcp("a=rtcp:mux\n"), None);
    }

    #[test]
    fn the_audio_of_an_offer() {
        let offer = described(OFFER);
        let audio = offer.audio().expect("audio");
        assert_eq!(
            (audio.port, audio.ptime, audio.direction),
            (6000, Some(20), Direction::SendOnly)
        );
        let names: Vec<_> = audio.formats.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["OPUS", "PCMA", "PCMU", "TELEPHONE-EVENT"]);
        assert_eq!((audio.formats[0].clock, audio.formats[0].channels), (48_000, 2));
    }

    #[test]
    fn an_answer_has_as_many_streams_and_mirrors_the_direction() {
        let offer = described(OFFER);
        let formats = &offer.audio().expect("audio").formats;
        let none = Protection::default();
        let answer = offer.answer(&local(), &formats[1], Some(&formats[3]), TERMS, &none);
        assert_eq!(
            answer.replace("\r\n", "\n"),
            "v=0\no=- 7 1 IN IP4 192.0.2.9\ns=-\nc=IN IP4 192.0.2.9\nt=0 0\n\
             m=video 0 RTP/AVP 96\n\
             m=audio 4000 RTP/AVP 8 101\na=rtpmap:8 PCMA/8000\n\
             a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\na=maxptime:60\na=rtcp-mux\na=recvonly\na=mid:a1\n"
        );
    }

    #[test]
    fn holds_names_and_refusals() {
        let held = described(
            "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=x\nc=IN IP4 0.0.0.0\nt=0 0\nm=audio 6000 RTP/AVP 0\n",
        );
        let audio = held.audio().expect("audio");
        assert_eq!((audio.address, audio.direction), (None, Direction::SendOnly));
        let named = described(
            "v=0\no=- 1 1 IN IP4 h\ns=x\nc=IN IP4 media.example.com\nt=0 0\nm=audio 6000 RTP/AVP 0\n",
        );
        assert_eq!(named.audio().expect("audio").address, None);
        for nothing in [
            "m=audio 0 RTP/AVP 0",
            "m=audio 6000 TCP/RTP/AVP 0",
            "m=image 6000 udptl t38",
            "m=audio 6000 RTP/AVP 99",
        ] {
            let text = format!("v=0\no=- 1 1 IN IP4 h\ns=x\nc=IN IP4 1.2.3.4\nt=0 0\n{nothing}\n");
            assert_eq!(described(&text).audio(), None, "{nothing}");
        }
    }

    #[test]
    fn our_own_offer_reads_back() {
        let format = |payload_type, name: &str| Format {
            payload_type,
            name: name.to_owned(),
            clock: 8_000,
            channels: 1,
            fmtp: None,
        };
        let formats = [format(0, "PCMU"), format(101, "TELEPHONE-EVENT")];
        let none = Protection::default();
        let offer = offer(&local(), &formats, TERMS, "RTP/AVP", &none);
        let offer = read(offer.as_bytes()).expect("an offer");
        let audio = offer.audio().expect("audio");
        assert_eq!(audio.formats[0], formats[0]);
        assert_eq!(audio.formats[1].fmtp.as_deref(), Some("0-16"));
        assert_eq!(audio.address, Some(local().address));
    }

    #[test]
    fn garbage_is_malformed() {
        assert!(read(b"").is_err());
        assert!(read(b"\xff\xfe").is_err());
        assert!(read(b"hello").is_err());
    }
}
