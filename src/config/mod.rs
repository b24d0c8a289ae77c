//! The configuration as it is meant: typed, complete, every field with its default.
//!
//! The daemon runs without a file. `conf/afterbeep.toml` names every option; a test holds it
//! against [`Config::default`].

mod file;
mod identity;
mod menus;
mod network;
mod notices;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use crate::mailbox::retention::Retention;

pub use file::{Problem, parse};
pub use identity::{Authenticate, Peer, Registration};
pub use menus::{Menus, StarLogin, Style};
pub use network::Network;
pub use notices::{Form, Mail, Notices, Shape, Webhook};

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub spool: PathBuf,
    pub state: PathBuf,
    /// Where recordings go that the spool cannot take; beside the state where unset.
    pub fallback: Option<PathBuf>,
    pub sip: Sip,
    pub media: Media,
    pub deposit: Deposit,
    pub messages: Messages,
    pub menus: Menus,
    pub sounds: Sounds,
    pub http: Http,
    pub mail: Mail,
    pub notices: Notices,
    pub log: Log,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sip {
    pub udp: Vec<SocketAddr>,
    pub tcp: Vec<SocketAddr>,
    pub tls: Vec<SocketAddr>,
    /// WebSocket for browsers, in the clear and over TLS.
    pub ws: Vec<SocketAddr>,
    pub wss: Vec<SocketAddr>,
    /// PEM files: the certificate with its chain, and its key.
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// PEM files of authorities: for those who call us, and for those whom we call.
    pub tls_client_ca: Option<PathBuf>,
    pub tls_ca: Option<PathBuf>,
    /// Origins of web pages that may call; empty: all.
    pub ws_origins: Vec<String>,
    /// The most calls at once; 0: as many as ports and file descriptors allow.
    pub max_calls: usize,
    /// Seconds after which a refused caller may try again.
    pub retry_after_seconds: u32,
    /// What callers are told before the answer.
    pub ringing: Ringing,
    /// Seconds between the call and the answer.
    pub ring_seconds: u32,
    /// Seconds that a call may go unrefreshed (RFC 4028); 0: as long as the other side wants.
    pub session_expires_seconds: u32,
    pub drain_seconds: u32,
    /// Host of the Request-URI to context.
    pub domains: BTreeMap<String, String>,
    /// What a dialled prefix means; it is taken off before the mailbox is looked up.
    pub prefixes: BTreeMap<String, Service>,
    pub peers: Vec<Peer>,
    /// Whose calls are asked for a password.
    pub authenticate: Authenticate,
    pub realm: String,
    /// Algorithms that are offered, the preferred one first.
    pub digest: Vec<String>,
    pub registrations: Vec<Registration>,
    /// Whom to ask for names; empty: as the system does.
    pub nameservers: Vec<SocketAddr>,
    /// Where calls go that begin here, with `{number}` for the number: by REFER to the caller's
    /// own PBX.
    pub calls_to: Option<String>,
}

/// What callers are told between the call and the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Ringing {
    /// Nothing.
    #[serde(rename = "none")]
    Silent,
    /// 180: their telephone makes the ringing tone.
    #[serde(rename = "180")]
    Alerting,
    /// 183 with audio: we make it.
    #[serde(rename = "183")]
    Early,
}

/// What a caller who dials a prefix wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Leave a message in the mailbox whose number follows.
    Deposit,
    /// Hear the messages of the mailbox whose number follows; without a number it is asked for.
    Messages,
    /// Hear the messages of the caller's own mailbox.
    Own,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    /// First and last UDP port for RTP and RTCP.
    pub ports: (u16, u16),
    pub bind: IpAddr,
    /// The address that callers are told to send to; the one that they reached us at where unset.
    pub advertise: Option<IpAddr>,
    /// 0: one for each processor.
    pub threads: usize,
    pub srtp: Srtp,
    /// Whether keys count that came with signalling which anybody on the way can read.
    pub srtp_keys_in_clear: bool,
    /// What is spoken, best first.
    pub codecs: Vec<Codec>,
    pub codec_preference: CodecPreference,
}

/// Whether audio is protected, by keys in the description (SDES) or by a handshake (DTLS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Srtp {
    /// Never: calls that insist on it are refused.
    Off,
    /// If the other side wants it.
    #[default]
    Optional,
    /// Always: calls that cannot are refused.
    Required,
}

/// How audio is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    Opus,
    G722,
    Pcmu,
    Pcma,
}

/// Whose order of codecs counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodecPreference {
    Caller,
    Ours,
}

/// What becomes of messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Messages {
    /// A heard message moves from the INBOX to Old.
    pub move_heard: bool,
    /// Audio that is purged is written over first.
    pub shred: bool,
    pub retention: Retention,
    /// What one mailbox may hold in all; 0: any.
    pub max_minutes: u32,
    pub max_megabytes: u32,
    /// New recordings leave so much of the spool's disk free.
    pub min_free_megabytes: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Deposit {
    pub max_messages: u32,
    pub max_seconds: u32,
    pub min_seconds: u32,
    /// A recording ends after so much silence; 0: never.
    pub silence_seconds: u32,
    /// Mean absolute sample value below which a frame is silent.
    pub silence_level: u16,
    /// Noise that a line always has raises the level.
    pub silence_adapts: bool,
    /// Silence at a message's end is cut off.
    pub trim_silence: bool,
    /// The loudness that messages are brought to, in dB of their speech's RMS below full scale.
    pub level_dbfs: Option<i8>,
    pub instructions: bool,
    pub retries: u8,
    /// Callers may hear and correct what they said.
    pub review: bool,
    pub mark_urgent: bool,
    pub mark_private: bool,
    /// A key must be pressed before anything is recorded.
    pub screen: bool,
    /// The number of the operator, whom `0` reaches.
    pub operator: Option<String>,
    pub star_login: StarLogin,
    /// Digits in the greeting call an extension.
    pub extensions: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sounds {
    /// A directory of sound packs that come before the built-in prompts.
    pub path: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    pub listen: Vec<SocketAddr>,
    /// Connections at one time; further ones wait.
    pub max_connections: usize,
    /// How much room the MP3s and Opus files take that were asked for.
    pub renditions_megabytes: u32,
    /// PEM files: the certificate with its chain, and its key. HTTPS where they are set.
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// Names that a certificate is got for by ACME; empty: none is.
    pub acme_names: Vec<String>,
    /// The directory of the authority, and a PEM file with the CA behind it.
    pub acme_directory: String,
    pub acme_directory_ca: Option<PathBuf>,
    /// A mail address that the authority may write to.
    pub acme_contact: Option<String>,
    /// Where the authority asks whether we have these names: its port 80.
    pub acme_listen: Vec<SocketAddr>,
    /// Proxies whose `X-Forwarded-For` says who asks.
    pub trusted_proxies: Vec<Network>,
    /// Requests a second of one source, and of one user; 0: any number.
    pub requests_per_second: u32,
    /// Web pages of other origins that may ask.
    pub cors_origins: Vec<String>,
    /// Whether administrators are told PINs where a vendor's interface tells them.
    pub reveal_pins: bool,
    pub api: bool,
    pub telebroad: bool,
    /// What Telebroad's `offset` counts from; 0 and 1 both name the first record where it is 1.
    pub telebroad_offset_base: u8,
    pub onsip: bool,
    /// Seconds that an OnSIP session lasts after its last request.
    pub onsip_session_seconds: u32,
    pub telecomx: bool,
    pub yay: bool,
    /// The numbers that mailboxes made over Yay's interface get.
    pub yay_number_range: (u64, u64),
    /// Whether a removal answers 200 with a body, which HTTP forbids a 204.
    pub yay_delete_with_body: bool,
    pub telecmi: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,afterbeep::sip=debug`.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            move_heard: false,
            shred: false,
            retention: Retention::default(),
            max_minutes: 0,
            max_megabytes: 0,
            min_free_megabytes: 100,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let everywhere = |port| vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))];
        Self {
            spool: "/var/spool/afterbeep".into(),
            state: "/var/lib/afterbeep".into(),
            fallback: None,
            sip: Sip {
                udp: everywhere(5060),
                tcp: everywhere(5060),
                tls: vec![],
                ws: vec![],
                wss: vec![],
                tls_certificate: None,
                tls_key: None,
                tls_client_ca: None,
                tls_ca: None,
                ws_origins: vec![],
                max_calls: 0,
                retry_after_seconds: 10,
                ringing: Ringing::Silent,
                ring_seconds: 0,
                session_expires_seconds: 1_800,
                drain_seconds: 30,
                domains: BTreeMap::new(),
                prefixes: BTreeMap::new(),
                peers: vec![],
                authenticate: Authenticate::Peers,
                realm: "afterbeep".into(),
                digest: ["SHA-512-256", "SHA-256", "MD5"].map(str::to_owned).into(),
                registrations: vec![],
                nameservers: vec![],
                calls_to: None,
            },
            media: Media {
                ports: (10_000, 29_999),
                bind: Ipv4Addr::UNSPECIFIED.into(),
                advertise: None,
                threads: 0,
                srtp: Srtp::Optional,
                srtp_keys_in_clear: true,
                codecs: vec![Codec::Opus, Codec::G722, Codec::Pcmu, Codec::Pcma],
                codec_preference: CodecPreference::Caller,
            },
            deposit: Deposit {
                max_messages: 100,
                max_seconds: 180,
                min_seconds: 2,
                silence_seconds: 10,
                silence_level: 256,
                silence_adapts: true,
                trim_silence: false,
                level_dbfs: None,
                instructions: true,
                retries: 1,
                review: false,
                mark_urgent: true,
                mark_private: true,
                screen: false,
                operator: None,
                star_login: StarLogin::Nobody,
                extensions: false,
            },
            menus: Menus::default(),
            messages: Messages::default(),
            sounds: Sounds::default(),
            http: Http {
                listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))],
                max_connections: 512,
                renditions_megabytes: 256,
                tls_certificate: None,
                tls_key: None,
                acme_names: vec![],
                acme_directory: "https://acme-v02.api.letsencrypt.org/directory".into(),
                acme_directory_ca: None,
                acme_contact: None,
                acme_listen: vec![SocketAddr::from(([0, 0, 0, 0], 80))],
                trusted_proxies: vec![],
                requests_per_second: 500,
                cors_origins: vec![],
                reveal_pins: true,
                api: true,
                telebroad: true,
                telebroad_offset_base: 1,
                onsip: true,
                onsip_session_seconds: 3_600,
                telecomx: true,
                yay: true,
                yay_number_range: (700_000, 799_999),
                yay_delete_with_body: false,
                telecmi: true,
            },
            mail: Mail::default(),
            notices: Notices::default(),
            log: Log { level: "info".into(), format: LogFormat::Text },
        }
    }
}

impl Deposit {
    /// Whether messages would be too loud or too soft to be heard.
    fn is_unheard(&self) -> bool {
        self.level_dbfs.is_some_and(|level| !(-40..=-10).contains(&level))
    }
}

/// In seconds.
const A_DAY: u64 = 86_400;

impl Config {
    /// What cannot work, each in a sentence that says what to do.
    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = vec![];
        let mut refuse = |wrong: bool, key: &'static str, why: String| {
            if wrong {
                problems.push((key, why));
            }
        };
        let (first, last) = self.media.ports;
        refuse(
            first < 1024 || last <= first,
            "media.ports",
            format!("{first} to {last} is no range of ports: write [FIRST, LAST] above 1023"),
        );
        let Sip { udp, tcp, tls, ws, wss, .. } = &self.sip;
        refuse(
            first >= 1024 && last > first && first.next_multiple_of(2) >= last,
            "media.ports",
            format!("{first} to {last} has no even port with the odd one above it"),
        );
        refuse(
            [udp, tcp, tls, ws, wss].iter().all(|listeners| listeners.is_empty()),
            "sip.udp",
            "nothing listens for SIP: name an address in sip.udp, tcp, tls, ws or wss".into(),
        );
        let identity = (&self.sip.tls_certificate, &self.sip.tls_key);
        refuse(
            !(tls.is_empty() && wss.is_empty()) && identity == (&None, &None),
            if tls.is_empty() { "sip.wss" } else { "sip.tls" },
            "needs sip.tls_certificate and sip.tls_key".into(),
        );
        refuse(
            identity.0.is_some() && identity.1.is_none(),
            "sip.tls_certificate",
            "needs its key in sip.tls_key".into(),
        );
        refuse(
            identity.0.is_none() && identity.1.is_some(),
            "sip.tls_key",
            "needs its certificate in sip.tls_certificate".into(),
        );
        let Deposit { max_seconds, min_seconds, max_messages, .. } = self.deposit;
        refuse(
            max_seconds <= min_seconds,
            "deposit.max_seconds",
            format!("must be more than min_seconds, {min_seconds}"),
        );
        refuse(self.deposit.is_unheard(), "deposit.level_dbfs", "is -40 to -10".into());
        refuse(max_messages == 0, "deposit.max_messages", "must be at least 1".into());
        for (value, key, most) in [
            (max_seconds.into(), "deposit.max_seconds", A_DAY),
            (self.deposit.silence_seconds.into(), "deposit.silence_seconds", A_DAY),
            (self.deposit.silence_level.into(), "deposit.silence_level", 32_767),
            (self.sip.retry_after_seconds.into(), "sip.retry_after_seconds", A_DAY),
            (self.sip.session_expires_seconds.into(), "sip.session_expires_seconds", A_DAY),
            (self.sip.drain_seconds.into(), "sip.drain_seconds", A_DAY),
            (self.sip.max_calls as u64, "sip.max_calls", 1_000_000),
            (self.media.threads as u64, "media.threads", 1_024),
        ] {
            refuse(value > most, key, format!("is {most} at most"));
        }
        refuse(
            (1..90).contains(&self.sip.session_expires_seconds),
            "sip.session_expires_seconds",
            "is 0 or at least 90 (RFC 4028 §5)".into(),
        );
        // RFC 3261 §16.6: proxies on the way give up after three minutes.
        refuse(
            self.sip.ring_seconds > 170,
            "sip.ring_seconds",
            "is more than proxies wait for: 170 at most".into(),
        );
        let calls_to = self.sip.calls_to.as_deref();
        refuse(
            calls_to.is_some_and(|to| !to.starts_with("sip") || !to.contains("{number}")),
            "sip.calls_to",
            "is like sip:{number}@pbx.example.com".into(),
        );
        refuse(
            calls_to.is_none() && (self.deposit.operator.is_some() || self.deposit.extensions),
            "deposit.operator",
            "and deposit.extensions need sip.calls_to, which says where calls go".into(),
        );
        let menus = menus::problems(&self.menus, calls_to).into_iter();
        for (key, why) in menus.chain(self.problems_of_parts()) {
            refuse(true, key, why);
        }
        problems
    }
}

impl Config {
    fn problems_of_parts(&self) -> Vec<(&'static str, String)> {
        let mut problems = identity::problems(&self.sip);
        problems.extend(self.http.problems());
        problems.extend(notices::problems(self));
        problems.extend(contexts(&self.sip));
        if self.media.codecs.is_empty() {
            problems.push(("media.codecs", "names at least one".into()));
        }
        problems
    }
}

/// Contexts that are named must be such as directories can be.
fn contexts(sip: &Sip) -> Vec<(&'static str, String)> {
    let is_none = |context: &&str| !crate::mailbox::is_plain_name(context);
    let of_hosts = sip.domains.values().map(String::as_str).filter(is_none);
    let of_peers = sip.peers.iter().filter_map(|peer| peer.context.as_deref()).filter(is_none);
    let told = |context: &str| format!("`{}` is no context", context.escape_debug());
    let hosts = of_hosts.map(|context| ("sip.domains", told(context)));
    hosts.chain(of_peers.map(|context| ("sip.peers", told(context)))).collect()
}

impl Http {
    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = vec![];
        let mut refuse = |wrong: bool, key: &'static str, why: String| {
            if wrong {
                problems.push((key, why));
            }
        };
        refuse(
            !(1..=65_536).contains(&self.max_connections),
            "http.max_connections",
            "is 1 to 65536".into(),
        );
        refuse(self.telebroad_offset_base > 1, "http.telebroad_offset_base", "is 0 or 1".into());
        let most = 30 * A_DAY;
        refuse(
            !(1..=most).contains(&self.onsip_session_seconds.into()),
            "http.onsip_session_seconds",
            format!("is 1 to {most}"),
        );
        let (first, last) = self.yay_number_range;
        refuse(
            first == 0 || last < first || last >= 10_000_000_000,
            "http.yay_number_range",
            format!("{first} to {last} is no range of numbers: write [FIRST, LAST]"),
        );
        refuse(
            self.tls_certificate.is_some() != self.tls_key.is_some(),
            "http.tls_certificate",
            "and http.tls_key need each other".into(),
        );
        refuse(
            self.tls_certificate.is_some() && !self.acme_names.is_empty(),
            "http.acme_names",
            "and http.tls_certificate exclude each other".into(),
        );
        let host = |name: &String| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
            !name.is_empty() && name.chars().all(plain)
        };
        refuse(
            !self.acme_names.iter().all(host),
            "http.acme_names",
            "are host names in small letters, such as [\"voicemail.example.com\"]".into(),
        );
        refuse(
            !self.acme_directory.starts_with("https://"),
            "http.acme_directory",
            "is an address that begins with https://".into(),
        );
        refuse(
            !self.acme_names.is_empty() && self.acme_listen.is_empty(),
            "http.acme_listen",
            "is empty: the authority asks there".into(),
        );
        problems
    }
}
