//! What signalling costs in processor time: an INVITE read, screened, told, answered and printed;
//! and a whole call with its ACK and BYE. In virtual time, without sockets.
//! `cargo bench --bench invite [calls]`

use std::time::{Duration, Instant};

use afterbeep::sip::endpoint::{Endpoint, Output};
use afterbeep::sip::{Flow, Limits, Link, Transport};
use nix::sys::resource::{UsageWho, getrusage};

fn main() {
    let calls = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(100_000);
    for round in 1..=3 {
        let mut bench = Bench::new();
        let [mut answered, mut ended] = [Duration::ZERO; 2];
        for call in 0..calls {
            let begun = processor();
            let tag = bench.invite(call);
            let half = processor();
            bench.end(call, &tag);
            answered += half.saturating_sub(begun);
            ended += processor().saturating_sub(half);
        }
        let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(calls);
        println!(
            "round {round}: {:.1} us to answer an INVITE, {:.1} us for a whole call",
            each(answered),
            each(answered + ended)
        );
    }
}

struct Bench {
    endpoint: Endpoint,
    flow: Flow,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let limits = Limits {
            calls_per_second: u32::MAX,
            calls_per_second_per_peer: u32::MAX,
            ..Limits::default()
        };
        let address = |text: &str| text.parse().expect("an address");
        let flow = Flow {
            transport: Transport::Udp,
            local: address("192.0.2.9:5060"),
            remote: address("10.0.0.1:5060"),
            link: Link::Socket(0),
        };
        Self { endpoint: Endpoint::new("Afterbeep", limits, [7; 32]), flow, now: Instant::now() }
    }

    /// Our tag.
    fn invite(&mut self, call: u32) -> String {
        let message = request("INVITE", call, "", 1, SDP);
        self.endpoint.receive(self.now, self.flow, message.as_bytes());
        let (mut tag, mut key) = (String::new(), None);
        while let Some(output) = self.endpoint.poll() {
            if let Output::Incoming(incoming, _) = output {
                key = Some(incoming);
            }
        }
        self.endpoint.answer(self.now, key.expect("a call"), SDP).expect("a caller");
        while let Some(output) = self.endpoint.poll() {
            if let Output::Transmit(_, bytes) = output {
                let text = String::from_utf8_lossy(&bytes);
                let to = text.lines().find(|line| line.starts_with("To:")).expect("a To");
                to.clone_into(&mut tag);
            }
        }
        tag.split_once(";tag=").expect("a tag").1.to_owned()
    }

    fn end(&mut self, call: u32, tag: &str) {
        for (method, sequence) in [("ACK", 1), ("BYE", 2)] {
            let message = request(method, call, tag, sequence, "");
            self.endpoint.receive(self.now, self.flow, message.as_bytes());
            while self.endpoint.poll().is_some() {}
        }
        // A thousand calls a second.
        self.now += Duration::from_millis(1);
        self.endpoint.wake(self.now);
    }
}

fn request(method: &str, call: u32, tag: &str, sequence: u32, sdp: &str) -> String {
    let to = if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
    format!(
        "{method} sip:1000@192.0.2.9:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bKPj{call}-{method}\r\n\
         Max-Forwards: 70\r\n\
         From: \"Grace Hopper\" <sip:+12125550142@pbx.example.com>;tag=as{call}\r\n\
         To: <sip:1000@192.0.2.9>{to}\r\n\
         Contact: <sip:asterisk@10.0.0.1:5060>\r\n\
         Call-ID: {call}-5c1b2a7e-3f77-4b1d@pbx.example.com\r\n\
         CSeq: {sequence} {method}\r\n\
         Allow: OPTIONS, REGISTER, SUBSCRIBE, NOTIFY, PUBLISH, INVITE, ACK, BYE, CANCEL, UPDATE\r\n\
         Supported: 100rel, timer, replaces, norefersub\r\n\
         Session-Expires: 1800\r\nMin-SE: 90\r\n\
         P-Asserted-Identity: \"Grace Hopper\" <sip:+12125550142@pbx.example.com>\r\n\
         Diversion: <sip:1000@pbx.example.com>;reason=no-answer;counter=1\r\n\
         User-Agent: PBX\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

/// Of this thread.
fn processor() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("the system counts");
    [usage.user_time(), usage.system_time()]
        .into_iter()
        .map(|time| {
            Duration::from_micros(
                u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or_default(),
            )
        })
        .sum()
}

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n\
    m=audio 6000 RTP/AVP 0 8 9 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:9 G722/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n\
    a=ptime:20\r\na=maxptime:150\r\na=sendrecv\r\n";
