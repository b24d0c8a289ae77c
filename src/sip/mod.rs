//! SIP: signalling, free of voicemail.
//!
//! `endpoint` is the machine: bytes and the time go in, bytes, events and one deadline come out.
//! It owns no socket and no clock, cannot fail, and every table in it is bounded. `socket` is the
//! shell that feeds it and all that is not pure; the rest of the house holds three things of it: an [`Agent`] to place calls, an
//! [`Invite`] for each call that comes, a [`Dialog`] while it lasts.
//!
//! ```text
//!  socket ── bytes ──> lexer ─> endpoint ─┬─ transactions (RFC 3261 §17, RFC 6026)
//!    ^                                    ├─ invite, dialog (§12–§15)
//!    └────── bytes, events, deadline ─────┘
//! ```

mod body;
mod chance;
mod dialog;
mod digest;
pub mod endpoint;
pub mod framing;
mod gate;
mod identity;
mod invite;
mod lexer;
mod locate;
mod message;
mod name_addr;
mod registration;
pub mod sdp;
mod secure;
mod session;
mod socket;
mod subscription;
mod text;
mod timer;
pub mod trace;
mod transaction;
mod transactions;
mod transport;
mod uri;
mod via;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use digest::Algorithm;
pub use endpoint::announcing::Announcement;
pub use identity::{Account, Authentication, Credentials, Demand};
pub use name_addr::NameAddr;
pub use registration::{Registration, RegistrationKey, Standing};
pub use socket::{Agent, Dialog, Invite, Subscriber, Trace, Traced, bind};
pub use subscription::{Reason, SubscriptionKey};
pub use text::Params;
pub use transport::Transport;
pub use uri::{BadUri, Scheme, Uri};

#[derive(Debug, Clone, Default)]
pub struct Config {
    pub udp: Vec<SocketAddr>,
    pub tcp: Vec<SocketAddr>,
    pub tls: Vec<SocketAddr>,
    pub ws: Vec<SocketAddr>,
    pub wss: Vec<SocketAddr>,
    pub certificates: Certificates,
    /// The web pages that may call us over WebSocket, as RFC 6454 writes an origin
    /// (`https://phone.example.com`); empty lets all.
    pub origins: Vec<String>,
    /// What Server and User-Agent say; empty says nothing.
    pub user_agent: String,
    /// What peers are told instead of our own address: set it behind a translator that forwards
    /// the SIP port.
    pub advertised: Option<IpAddr>,
    pub limits: Limits,
    pub authentication: Authentication,
    /// Where we let ourselves be called.
    pub registrations: Vec<Registration>,
    /// Whom to ask for names; empty asks as the system does.
    pub nameservers: Vec<SocketAddr>,
}

/// PEM files for TLS. They are read again when they change.
#[derive(Debug, Clone, Default)]
pub struct Certificates {
    /// Needed to listen on TLS and WSS; shown, if asked for, to whom we call.
    pub own: Option<Identity>,
    /// Who vouches for those who call by TLS. One whose certificate is not from there is refused;
    /// one without a certificate is a stranger. Unset asks nobody.
    pub client_ca: Option<PathBuf>,
    /// Who vouches for those whom we call by TLS; unset trusts whom the system trusts.
    pub ca: Option<PathBuf>,
}

/// A certificate, leaf first, and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What is refused beyond: every table and queue has an end.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Calls at one time; the next gets 503 with Retry-After.
    pub calls: usize,
    /// New calls a second, from all peers and from each; beyond, 503 with Retry-After.
    pub calls_per_second: u32,
    pub calls_per_second_per_peer: u32,
    /// Subscriptions at one time; the next gets 503.
    pub subscriptions: usize,
    /// Transactions kept, finished ones included: each stays for 32 s to answer stragglers.
    pub transactions: usize,
    /// Connections at one time, and how many of them from one address.
    pub connections: usize,
    pub connections_per_peer: usize,
    /// How many of them may not have brought a message yet. The oldest of these gives way to a new
    /// one, here and at the two limits before, so that silent connections keep nobody out.
    pub connections_half_open: usize,
    /// How long a handshake, a first message, and any message that has begun may take.
    pub patience: Duration,
    /// TLS handshakes begun in a second on one listener, from all peers and from each: they cost
    /// more than all that follows.
    pub handshakes_per_second: u32,
    pub handshakes_per_second_per_peer: u32,
    /// Invites that wait to be looked at.
    pub backlog: usize,
    /// After how long a refused caller may try again.
    pub retry_after: Duration,
    /// Wrong passwords from one source in a minute; beyond, 403 until a minute has passed.
    pub failures_per_minute: u32,
    /// How long a call may go unrefreshed, where the other side knows of session timers
    /// (RFC 4028); zero: as long as the other side wants.
    pub session: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 10_000,
            calls_per_second: 3_000,
            calls_per_second_per_peer: 2_000,
            subscriptions: 50_000,
            transactions: 200_000,
            connections: 1_024,
            connections_per_peer: 256,
            connections_half_open: 512,
            patience: Duration::from_secs(10),
            handshakes_per_second: 300,
            handshakes_per_second_per_peer: 100,
            backlog: 1_024,
            retry_after: Duration::from_secs(5),
            failures_per_minute: 10,
            session: Duration::from_secs(1_800),
        }
    }
}

/// The way between a peer and us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    pub transport: Transport,
    /// Our address as this peer is told it.
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub link: Link,
}

/// What carries a flow; the shell gives the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    Socket(usize),
    Connection(u64),
    /// Whatever leads to the remote address; a connection is opened if there is none.
    Any,
}

/// What a SUBSCRIBE says: who wants to hear of whose messages.
#[derive(Debug, Clone)]
pub struct Subscribing {
    pub request_uri: Uri,
    pub to: NameAddr,
    pub from: NameAddr,
    pub source: SocketAddr,
    /// Where it reached us: what Message-Account leads to.
    pub local: SocketAddr,
    /// The account that the subscriber has proved to hold.
    pub authenticated: Option<String>,
    /// The names in its TLS certificate, as of [`Incoming`].
    pub certificate: Option<String>,
}

/// What an INVITE says about a new call. An [`Invite`] derefs to it.
#[derive(Debug, Clone)]
pub struct Incoming {
    pub request_uri: Uri,
    pub from: NameAddr,
    pub to: NameAddr,
    /// The first P-Asserted-Identity (RFC 3325), else Remote-Party-ID; whether to believe it
    /// depends on `source`.
    pub asserted: Option<NameAddr>,
    /// Privacy asks for `id`, `user` or `header` (RFC 3323, RFC 3325 §9.3).
    pub privacy: bool,
    /// RFC 5806, as they stand: most recent first.
    pub diversion: Vec<NameAddr>,
    /// RFC 7044, in order: oldest first.
    pub history: Vec<NameAddr>,
    /// RFC 4458 `target=` and `cause=` of the Request-URI.
    pub target: Option<String>,
    pub cause: Option<u16>,
    pub call_id: String,
    pub source: SocketAddr,
    pub transport: Transport,
    /// The account that the caller has proved to hold.
    pub authenticated: Option<String>,
    /// The address of record under which we are registered where the call comes from, if it came
    /// for the contact that we gave there.
    pub registration: Option<Uri>,
    /// The names in the TLS certificate that the other end of the connection has shown and that
    /// `client_ca` vouches for: domains and addresses, in lower case, separated by blanks. For an
    /// INVITE that a proxy passed on it is the proxy's.
    pub certificate: Option<String>,
    /// Our address as this peer reaches it: what belongs into an SDP of ours.
    pub local: IpAddr,
    /// The session description, also out of `multipart/mixed`; `None` asks us to offer.
    pub offer: Option<Vec<u8>>,
    /// The Call-ID of a call here that this one takes over when it is answered (RFC 3891): an
    /// attended transfer.
    pub replaces: Option<String>,
}

/// Which offer an answer is for: a cancelled one may be followed by another before its owner has
/// spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// Who the other side of a call is now said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    pub name: NameAddr,
    /// It does not want to be named.
    pub privacy: bool,
    /// Who says so; whether to believe it depends on that.
    pub source: IpAddr,
}

/// Where the other side of a call wants it to go on: an attended transfer (RFC 3515, RFC 3891).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refer {
    pub ticket: Ticket,
    pub target: Uri,
    /// Who says so; whether to obey depends on that.
    pub source: IpAddr,
}

impl Refer {
    /// Whether nobody on the way there can read what we say.
    pub fn is_private(&self) -> bool {
        Transport::wanted_by(&self.target).is_some_and(Transport::is_secure)
    }
}

/// What happens in a dialog. The large ones are boxed: each call has room for many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The ACK for our 2xx came, with the answer if the offer was ours. A re-INVITE is confirmed
    /// in the same way.
    Confirmed { answer: Option<Vec<u8>> },
    /// A re-INVITE, UPDATE or PRACK that waits for `accept` or `refuse`; without a description it
    /// asks us to offer.
    Offer { ticket: Ticket, sdp: Option<Vec<u8>> },
    /// INFO with a key; 200 is sent already.
    Info { content_type: String, body: Vec<u8> },
    /// The call was transferred: P-Asserted-Identity or Remote-Party-ID of a request within the
    /// dialog names somebody else than before.
    Identity(Box<Party>),
    /// The other side wants the call to go on elsewhere: waits for `transfer` or `decline`.
    Refer(Box<Refer>),
    /// What the other side thinks of our wish that it call somebody else (`refer`).
    Referred { accepted: bool },
    /// There it was answered, with this description: waits for `take` or `leave`.
    Reached { ticket: Ticket, answer: Vec<u8> },
    /// The other side hung up.
    Bye,
    /// Nobody acknowledged our 2xx for 64·T1, or refreshed the session in time: hung up from here.
    Lost,
}

/// The caller hung up before the answer; 487 is sent already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the caller is gone")]
pub struct Gone;

/// Why a call is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    BadRequest(&'static str),
    Forbidden,
    NotFound,
    TemporarilyUnavailable,
    BusyHere,
    NotAcceptableHere,
    ServerError,
    Overloaded { retry_after: Duration },
}

impl Reject {
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::TemporarilyUnavailable => 480,
            Self::BusyHere => 486,
            Self::NotAcceptableHere => 488,
            Self::ServerError => 500,
            Self::Overloaded { .. } => 503,
        }
    }
}

/// Why a call of ours came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code} {reason}")]
pub struct Refusal {
    /// The status code; 408 also when nobody answered, 503 also when nobody could be reached
    /// (RFC 3261 §8.1.3.1).
    pub code: u16,
    pub reason: String,
    pub retry_after: Option<Duration>,
}
