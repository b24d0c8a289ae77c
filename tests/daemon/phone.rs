//! A telephone of sockets and strings, for what `SIPp` cannot see or do.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use afterbeep::media::{Codec, Sound};

use crate::house::House;
use crate::voice::{FRAME, Voice};

pub struct Phone {
    sip: UdpSocket,
    pub rtp: UdpSocket,
    daemon: SocketAddr,
    call_id: u16,
    /// The last request, for which an answer is awaited.
    asked: Mutex<String>,
    /// Requests outside of calls so far.
    outside: AtomicU16,
}

/// A call that was answered.
pub struct Call<'p> {
    phone: &'p Phone,
    to: String,
    /// The daemon's.
    tag: String,
    cseq: u32,
    /// Where the daemon wants its audio.
    pub audio: SocketAddr,
    packets: u16,
    timestamp: u32,
    /// The payload type of our audio, and where it comes from.
    kind: u8,
    from: UdpSocket,
    pub timing: Timing,
}

/// A call that the daemon placed.
pub struct Taken<'p> {
    phone: &'p Phone,
    audio: SocketAddr,
    from: String,
    to: String,
    call_id: String,
}

/// How long a caller waits.
pub struct Timing {
    pub answer: Duration,
    /// From the ACK to the first packet of sound.
    pub sound: Duration,
}

impl Phone {
    pub fn new(house: &House) -> Self {
        let socket = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        Self {
            sip: socket(),
            rtp: socket(),
            daemon: house.sip("UDP"),
            call_id: NEXT_CALL.fetch_add(1, Ordering::Relaxed),
            asked: Mutex::default(),
            outside: AtomicU16::new(0),
        }
    }

    /// What its Call-IDs begin with.
    pub fn id(&self) -> String {
        self.call_id.to_string()
    }

    /// Calls and says what was answered, head and body; a refusal is acknowledged.
    pub fn invite(&self, to: &str, sdp: &str) -> String {
        self.send_invite(to, sdp);
        self.answer_to_invite(to)
    }

    /// The same, with more header fields.
    pub fn invite_with(&self, to: &str, more: &str, sdp: &str) -> String {
        self.send_invite_with(to, more, sdp);
        self.answer_to_invite(to)
    }

    pub fn send_invite(&self, to: &str, sdp: &str) {
        self.send_invite_with(to, "", sdp);
    }

    fn send_invite_with(&self, to: &str, more: &str, sdp: &str) {
        let head = self.head("INVITE", "1", to, 1, "") + more;
        let kind = "Content-Type: application/sdp\r\n";
        self.send(format!("{head}{kind}Content-Length: {}\r\n\r\n{sdp}", sdp.len()));
    }

    /// Takes the call back.
    pub fn send_cancel(&self, to: &str) {
        let head = self.head("CANCEL", "1", to, 1, "");
        self.send(format!("{head}Content-Length: 0\r\n\r\n"));
    }

    pub fn answer_to_invite(&self, to: &str) -> String {
        let answer = self.answer("INVITE");
        if code(&answer) >= 300 {
            // RFC 3261 §17.1.1.3: it belongs to the INVITE's transaction.
            let ack = self.head("ACK", "1", to, 1, tag(&answer));
            self.send(format!("{ack}Content-Length: 0\r\n\r\n"));
        }
        answer
    }

    /// Calls a mailbox, is answered, acknowledges, and waits for the first sound.
    pub fn call(&self, to: &str) -> Call<'_> {
        let began = Instant::now();
        let answer = self.invite(to, &self.sdp("0 101", "a=rtpmap:101 telephone-event/8000\r\n"));
        self.accepted(to, &answer, began)
    }

    /// A call that was placed then and is answered now.
    pub fn accepted(&self, to: &str, answer: &str, began: Instant) -> Call<'_> {
        assert_eq!(code(answer), 200, "{answer}");
        let acknowledged = Instant::now();
        let media = answer.lines().find_map(|line| line.strip_prefix("m=audio ")).unwrap();
        let port: u16 = media.split(' ').next().unwrap().parse().unwrap();
        let audio = SocketAddr::new(self.daemon.ip(), port);
        let mut call = Call {
            phone: self,
            to: to.to_owned(),
            tag: tag(answer).to_owned(),
            cseq: 1,
            audio,
            packets: 0,
            timestamp: 0,
            kind: 0,
            from: self.rtp.try_clone().unwrap(),
            timing: Timing { answer: acknowledged - began, sound: Duration::ZERO },
        };
        call.send("ACK");
        received(&self.rtp, &mut [0; 2048]).expect("no sound came");
        call.timing.sound = acknowledged.elapsed();
        call
    }

    /// Sends a request outside of any call, and says what was answered.
    pub fn request(&self, method: &str) -> String {
        self.request_to(method, "1000", "")
    }

    /// The same to anybody, with more header fields.
    pub fn request_to(&self, method: &str, to: &str, more: &str) -> String {
        let number = self.outside.fetch_add(1, Ordering::Relaxed) + 1;
        let head = self.head(method, &format!("{method}{number}"), to, number.into(), "");
        self.send(format!("{head}{more}Content-Length: 0\r\n\r\n"));
        self.answer(method)
    }

    pub fn send(&self, datagram: impl AsRef<[u8]>) {
        let datagram = datagram.as_ref();
        let is_asked = !datagram.starts_with(b"SIP/2.0 ") && !datagram.starts_with(b"ACK ");
        if let Ok(text) = std::str::from_utf8(datagram)
            && is_asked
        {
            text.clone_into(&mut self.asked.lock().unwrap());
        }
        self.sip.send_to(datagram, self.daemon).unwrap();
    }

    pub fn sdp(&self, formats: &str, more: &str) -> String {
        let port = self.rtp.local_addr().unwrap().port();
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP {formats}\r\n{more}"
        )
    }

    /// Waits until the daemon sends a request of this method.
    pub fn expect(&self, method: &str) -> String {
        self.sip.set_read_timeout(Some(PATIENCE)).unwrap();
        loop {
            let request = self.hear();
            if request.starts_with(&format!("{method} ")) {
                return request;
            }
        }
    }

    /// Answers a request of the daemon's, with more header fields and perhaps a body.
    pub fn reply(&self, request: &str, status: &str, more: &str) {
        self.reply_with(request, status, more, "");
    }

    fn reply_with(&self, request: &str, status: &str, more: &str, sdp: &str) {
        let (here, id) = (self.sip.local_addr().unwrap(), self.call_id);
        let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
        let lines = request.lines().filter(|line| kept.iter().any(|name| line.starts_with(name)));
        let lines = lines.map(|line| {
            let bare = line.starts_with("To:") && !line.contains(";tag=");
            let tag = if bare { format!(";tag={id}") } else { String::new() };
            format!("{line}{tag}\r\n")
        });
        let lines: String = lines.collect();
        self.send(format!(
            "SIP/2.0 {status}\r\n{lines}Contact: <sip:phone@{here}>\r\n{more}Content-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        ));
    }

    /// Takes a call of the daemon's, and returns when the ACK has come.
    pub fn take(&self, invite: &str, more: &str) -> Taken<'_> {
        let more = format!("{more}Content-Type: application/sdp\r\n");
        self.reply_with(invite, "200 OK", &more, &self.sdp("0", ""));
        self.expect("ACK");
        let value = |name: &str| {
            let line = invite.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {invite}")).trim().to_owned()
        };
        let media = value("m=audio ");
        let port: u16 = media.split(' ').next().unwrap().parse().unwrap();
        Taken {
            phone: self,
            audio: SocketAddr::new(self.daemon.ip(), port),
            from: format!("{};tag={}", value("To:"), self.call_id),
            to: value("From:"),
            call_id: value("Call-ID:"),
        }
    }

    /// The port that the daemon may call us at.
    pub fn address(&self) -> SocketAddr {
        self.sip.local_addr().unwrap()
    }

    /// The final answer to the request of this method that was sent last.
    fn answer(&self, method: &str) -> String {
        let asked = self.asked.lock().unwrap().clone();
        let number = asked.lines().find_map(|line| line.strip_prefix("CSeq: ")).unwrap();
        let ours = format!("CSeq: {} {method}", number.split(' ').next().unwrap());
        self.sip.set_read_timeout(Some(AGAIN)).unwrap();
        let mut silences = 0;
        while silences < SILENCES {
            let Some(answer) = self.heard() else {
                silences += 1;
                // What a full socket could not hold is lost.
                if asked.starts_with(method) {
                    self.sip.send_to(asked.as_bytes(), self.daemon).unwrap();
                }
                continue;
            };
            if code(&answer) >= 200 && answer.lines().any(|line| line == ours) {
                return answer;
            }
        }
        panic!("no answer came to {asked}");
    }

    fn hear(&self) -> String {
        self.heard().expect("nothing came")
    }

    fn heard(&self) -> Option<String> {
        let mut datagram = [0; 4096];
        let size = received(&self.sip, &mut datagram)?;
        Some(String::from_utf8_lossy(&datagram[..size]).into_owned())
    }

    fn head(&self, method: &str, branch: &str, to: &str, cseq: u32, tag: &str) -> String {
        let here = self.sip.local_addr().unwrap();
        let (daemon, call_id) = (self.daemon, self.call_id);
        format!(
            "{method} sip:{to}@{daemon} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {here};branch=z9hG4bK{call_id}.{branch};rport\r\n\
             Max-Forwards: 70\r\n\
             From: \"Grace Hopper\" <sip:+12125550142@{here}>;tag={call_id}\r\n\
             To: <sip:{to}@{daemon}>{tag}\r\n\
             Call-ID: {call_id}@{here}\r\n\
             CSeq: {cseq} {method}\r\n\
             Contact: <sip:phone@{here}>\r\n"
        )
    }
}

impl Call<'_> {
    /// Presses `#` as RFC 4733 does, and returns when the daemon has fallen silent: the beep is over.
    pub fn skip_to_the_end_of_the_beep(&mut self) {
        self.press_pound();
        self.hears_the_beep();
    }

    /// Listens until the beep is over.
    pub fn hears_the_beep(&self) {
        let path = format!("{}/sounds/en/beep.wav", env!("CARGO_MANIFEST_DIR"));
        let sound = Sound::read(path.as_ref(), Codec::Pcmu).unwrap();
        let beep = sound.encoded();
        // Its edges are faded, and what lies between is the same again and again.
        let mut left = beep.len() - 4 * FRAME;
        self.until_heard(&beep[FRAME..3 * FRAME], "the beep");
        let (rtp, mut packet) = (&self.phone.rtp, [0; 2048]);
        while left > 0 {
            let size = received(rtp, &mut packet).expect("half a beep came");
            left = left.saturating_sub(size - 12);
        }
        rtp.set_read_timeout(Some(SILENCE)).unwrap();
        while received(rtp, &mut packet).is_some() {}
    }

    pub fn press_pound(&mut self) {
        self.press('#');
    }

    /// One after the other, as fast as a telephone does.
    pub fn dial(&mut self, keys: &str) {
        for key in keys.chars() {
            self.press(key);
            thread::sleep(Duration::from_millis(60));
        }
    }

    /// Presses a key as RFC 4733 does.
    pub fn press(&mut self, key: char) {
        let event = u8::try_from("0123456789*#".find(key).unwrap()).unwrap();
        for (at, end) in [0, 0, 0, 0x80, 0x80, 0x80].into_iter().enumerate() {
            let duration = u16::try_from((at + 1).min(4) * FRAME).unwrap().to_be_bytes();
            let marker = if at == 0 { MARKER } else { 0 };
            self.packet(EVENTS + marker, &[event, end + 10, duration[0], duration[1]]);
        }
        self.timestamp += 960;
    }

    /// Listens until a prompt has been heard; returns all that was.
    #[track_caller]
    pub fn hears(&self, prompt: &str) -> Vec<u8> {
        self.hears_in("en", prompt)
    }

    /// The same in another language.
    #[track_caller]
    pub fn hears_in(&self, language: &str, prompt: &str) -> Vec<u8> {
        self.until_heard(&middle(language, prompt), prompt)
    }

    /// Listens until this has been heard.
    #[track_caller]
    pub fn hears_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        self.until_heard(bytes, "what was said")
    }

    #[track_caller]
    fn until_heard(&self, bytes: &[u8], what: &str) -> Vec<u8> {
        let rtp = &self.phone.rtp;
        let bytes: Vec<u8> = bytes.iter().map(|&byte| one_zero(byte)).collect();
        let (mut heard, mut packet) = (vec![], [0; 2048]);
        rtp.set_read_timeout(Some(PATIENCE)).unwrap();
        while heard.len() < MOST_HEARD {
            let Some(size) = received(rtp, &mut packet) else { break };
            // Both zeros of G.711 are one once they were linear.
            heard.extend(packet[12..size].iter().map(|&byte| one_zero(byte)));
            let recent = heard.len().saturating_sub(bytes.len() + FRAME * 2);
            if heard[recent..].windows(bytes.len()).any(|window| window == bytes) {
                return heard;
            }
        }
        panic!("{what} was not heard in {} s", heard.len() / 8_000);
    }

    /// Waits for sound and then for its end; returns what was heard, as G.711 bytes.
    pub fn listen_until_silence(&self) -> Vec<u8> {
        let rtp = &self.phone.rtp;
        let (mut heard, mut packet) = (vec![], [0; 2048]);
        rtp.set_read_timeout(Some(PATIENCE)).unwrap();
        while let Some(size) = received(rtp, &mut packet) {
            heard.extend(&packet[12..size]);
            rtp.set_read_timeout(Some(LONG_SILENCE)).unwrap();
        }
        heard
    }

    /// Says these frames, one each 20 ms.
    pub fn say(&mut self, voice: &Voice, frames: Range<usize>) {
        self.say_with(voice, frames, |_| {});
    }

    /// The same, with something done after each.
    pub fn say_with(&mut self, voice: &Voice, frames: Range<usize>, after: impl Fn(&[u8])) {
        let began = Instant::now();
        for (at, frame) in
            voice.bytes.chunks_exact(FRAME).enumerate().take(frames.end).skip(frames.start)
        {
            let due = Duration::from_millis(20) * u32::try_from(at - frames.start).unwrap();
            thread::sleep(due.saturating_sub(began.elapsed()));
            let sent = self.packet(self.kind, frame);
            self.timestamp += 160;
            after(&sent);
        }
    }

    /// Sends a request within the call, and says what was answered; a re-INVITE is acknowledged.
    pub fn request(&mut self, method: &str, more: &str, sdp: &str) -> String {
        self.cseq += 1;
        let branch = format!("{method}{}", self.cseq);
        let head = self.phone.head(method, &branch, &self.to, self.cseq, &self.tag);
        let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        self.phone.send(format!("{head}{more}{kind}Content-Length: {}\r\n\r\n{sdp}", sdp.len()));
        let answer = self.phone.answer(method);
        if method == "INVITE" {
            self.send("ACK");
        }
        answer
    }

    /// An INFO with this body.
    pub fn info(&mut self, kind: &str, body: &str) -> String {
        self.cseq += 1;
        let branch = format!("INFO{}", self.cseq);
        let head = self.phone.head("INFO", &branch, &self.to, self.cseq, &self.tag);
        self.phone.send(format!("{head}{kind}Content-Length: {}\r\n\r\n{body}", body.len()));
        self.phone.answer("INFO")
    }

    /// From now on audio comes from here, in this payload type.
    pub fn goes_on_from(&mut self, socket: &UdpSocket, kind: u8) {
        (self.from, self.kind) = (socket.try_clone().unwrap(), kind);
    }

    /// The port of our audio.
    pub fn port(&self) -> u16 {
        self.from.local_addr().unwrap().port()
    }

    /// What names this call in an attended transfer (RFC 3891).
    pub fn replaces(&self) -> String {
        let (id, here) = (self.phone.call_id, self.phone.sip.local_addr().unwrap());
        let tag = self.tag.replace(";tag=", "");
        format!("{id}@{here};to-tag={tag};from-tag={id}")
    }

    pub fn hang_up(mut self) {
        self.send("BYE");
        assert_eq!(code(&self.phone.answer("BYE")), 200);
    }

    /// Waits for the daemon's BYE, and answers it.
    pub fn expect_bye(self) {
        let bye = self.phone.expect("BYE");
        self.phone.reply(&bye, "200 OK", "");
    }

    /// Waits until a request of this method comes within the call, or between calls.
    pub fn expect(&self, method: &str) -> String {
        self.phone.expect(method)
    }

    /// Answers such a request.
    pub fn reply(&self, request: &str) {
        self.phone.reply(request, "200 OK", "");
    }

    fn send(&mut self, method: &str) {
        self.cseq += u32::from(method != "ACK");
        let branch = format!("{method}{}", self.cseq);
        let head = self.phone.head(method, &branch, &self.to, self.cseq, &self.tag);
        self.phone.send(format!("{head}Content-Length: 0\r\n\r\n"));
    }

    fn packet(&mut self, kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80, kind];
        packet.extend(self.packets.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend(u32::from(self.phone.call_id).to_be_bytes());
        packet.extend(payload);
        self.from.send_to(&packet, self.audio).unwrap();
        self.packets += 1;
        packet
    }
}

impl Taken<'_> {
    pub fn say(&self, voice: &Voice) {
        let began = Instant::now();
        for (at, frame) in voice.bytes.chunks_exact(FRAME).enumerate() {
            let at = u16::try_from(at).unwrap();
            thread::sleep((Duration::from_millis(20) * at.into()).saturating_sub(began.elapsed()));
            let mut packet = vec![0x80, 0];
            packet.extend(at.to_be_bytes());
            packet.extend((u32::from(at) * 160).to_be_bytes());
            packet.extend(u32::from(self.phone.call_id).to_be_bytes());
            packet.extend(frame);
            self.phone.rtp.send_to(&packet, self.audio).unwrap();
        }
    }

    pub fn hang_up(self) {
        let Self { phone, from, to, call_id, .. } = self;
        let (here, daemon) = (phone.address(), phone.daemon);
        phone.send(format!(
            "BYE sip:{daemon} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKbye{call_id};rport\r\n\
             Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: 1 BYE\r\n\
             Content-Length: 0\r\n\r\n"
        ));
        assert_eq!(code(&phone.answer("BYE")), 200);
    }
}

/// Whether an English prompt is in what was heard.
pub fn is_in(heard: &[u8], prompt: &str) -> bool {
    let one_zeros = |bytes: &[u8]| bytes.iter().map(|&byte| one_zero(byte)).collect::<Vec<u8>>();
    let (heard, part) = (one_zeros(heard), one_zeros(&middle("en", prompt)));
    heard.windows(part.len()).any(|window| window == part)
}

/// From the middle of a prompt: nothing else sounds like that.
fn middle(language: &str, prompt: &str) -> Vec<u8> {
    let path = format!("{}/sounds/{language}/{prompt}.wav", env!("CARGO_MANIFEST_DIR"));
    let sound = Sound::read(path.as_ref(), Codec::Pcmu).unwrap();
    let bytes = sound.encoded();
    bytes[bytes.len() / 3..bytes.len() / 3 + (bytes.len() / 3).min(1_600)].to_vec()
}

fn one_zero(byte: u8) -> u8 {
    if byte == 0x7f { 0xff } else { byte }
}

pub fn code(answer: &str) -> u16 {
    let code = answer.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// `;tag=…` of the one who answered.
fn tag(answer: &str) -> &str {
    let to = answer.lines().find(|line| line.starts_with("To:")).unwrap();
    to.find(";tag=").map_or("", |at| &to[at..])
}

pub fn received(socket: &UdpSocket, packet: &mut [u8]) -> Option<usize> {
    loop {
        match socket.recv(packet).map_err(|error| (error.kind(), error)) {
            Ok(size) => return Some(size),
            Err((ErrorKind::WouldBlock | ErrorKind::TimedOut, _)) => return None,
            // A machine that is frozen and thawed breaks off what has a time limit.
            Err((ErrorKind::Interrupted, _)) => {}
            Err((_, error)) => panic!("{error}"),
        }
    }
}

/// Ports come again, and with them what a server remembers of who had them before; these do not.
static NEXT_CALL: AtomicU16 = AtomicU16::new(10_000);
/// The payload type of our RFC 4733 events, and the bit beside it that marks a new one.
const EVENTS: u8 = 101;
const MARKER: u8 = 0x80;
/// After a sound that was heard nearly to its end.
const SILENCE: Duration = Duration::from_millis(300);
/// Longer than a busy machine holds a packet back in the midst of sounds.
const LONG_SILENCE: Duration = Duration::from_millis(1_500);
const PATIENCE: Duration = Duration::from_secs(60);
/// A request is sent again where no answer comes for so long.
const AGAIN: Duration = Duration::from_secs(4);
/// And so often.
const SILENCES: usize = 15;
/// So much is listened to for what must come: two minutes.
const MOST_HEARD: usize = 120 * 8_000;
