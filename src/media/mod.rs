//! Media: RTP in and out, free of voicemail.
//!
//! ```text
//!            ┌ source ─ rtp ─┬─ dtmf ────────────────────────────▶ Event::Key
//!  socket ──▶┤               └─ jitter ─ hearing ─ recorder ══▶ writer ─ wav ▶ Event::Recorded
//!   (tick)   └ sender ◀─ player ◀─ sounds (encoded once, shared) ▶ Event::Played
//! ```
//!
//! What plays is a [`Playback`]; its listener moves about in it, and makes it faster or louder, by
//! [`Port::control`], and hears by [`Event::At`] where it is.
//!
//! A call has a [`Port`] and belongs to one media thread, which owns its sockets and ticks every
//! 5 ms (`shard.rs`). All stages of a call meet in `line.rs`; they take `now` and never wait. Audio
//! crosses to the disk in pieces (`══`), on writer threads. We play as soon as we are asked to,
//! whether or not the caller has sent anything.

mod codec;
mod comfort;
mod command;
mod conceal;
mod counters;
mod decode;
mod dtls;
mod dtmf;
mod event;
mod export;
pub mod file;
mod filter;
#[doc(hidden)]
pub mod fuzz;
mod greeting;
mod guard;
mod handshakes;
mod hearing;
mod ice;
mod inband;
mod jitter;
mod join;
mod keying;
mod level;
mod library;
mod line;
mod load;
mod meter;
mod pair;
mod phrase;
mod player;
mod port;
mod ports;
mod post;
mod press;
mod recorder;
mod recording;
mod resample;
mod rtcp;
mod rtp;
mod sender;
mod shard;
mod sound;
mod source;
mod srtp;
mod stream;
mod stretch;
mod stun;
pub mod tone;
mod track;
pub(crate) mod trial;
pub mod wav;
#[cfg(test)]
mod weather;
mod wire;
mod writer;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use codec::Codec;
pub use counters::Statistics;
pub use decode::SoundError;
pub use event::Event;
pub use export::{ExportError, Form, export};
pub use greeting::{LOUDNESS, Samples, greeting};
pub use ice::Ice;
pub use join::join;
pub use keying::{Fingerprint, Keying, Role, Secrets, Security};
pub use library::Library;
pub use meter::Speech;
pub use player::{Control, Playback, Position, Speed, Volume};
pub use port::Port;
pub use recording::{Ended, Recording, Take};
pub use sound::Sound;
pub use srtp::{Keys, MasterKey, Suite};
pub use stream::{Direction, Rtcp, Stream};

use handshakes::Handshakes;
use line::Line;
use pair::Pair;
use ports::Ports;
use rtcp::Wall;
use shard::Link;

#[derive(Debug, Clone)]
pub struct Config {
    /// RTP and RTCP ports; a call takes an even one and the odd one above it.
    pub ports: RangeInclusive<u16>,
    /// The address to listen on; `::` hears IPv4 too.
    pub bind: IpAddr,
    /// Media threads; 0 is one for each core. They are filled one after another.
    pub threads: usize,
    /// Threads that write recordings; 0 is two. More help only where the disk is slow and wide.
    pub writers: usize,
    /// After so long without a packet a port tells `Event::Silent`.
    pub rtp_timeout: Duration,
}

/// All ports of the daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Media {
    exchange: Arc<Exchange>,
}

#[derive(Debug)]
struct Exchange {
    bind: IpAddr,
    rtp_timeout: Duration,
    first: u16,
    capacity: usize,
    ports: Arc<Mutex<Ports>>,
    links: Vec<Arc<Link>>,
    wall: Wall,
    chance: AtomicU64,
    fingerprint: [u8; 32],
}

/// Why there is no port for a call.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("no RTP port is free")]
    NoPorts,
    #[error("the media thread is behind with its work")]
    Overloaded,
    #[error("cannot open an RTP socket: {0}")]
    Io(#[from] io::Error),
}

impl Media {
    #[expect(clippy::needless_pass_by_value, reason = "a description is given away")]
    pub fn start(config: Config) -> io::Result<Self> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if config.threads == 0 { cores() } else { config.threads };
        let writers = if config.writers == 0 { WRITERS } else { config.writers };
        let chance = getrandom::u64().map_err(io::Error::other)?;
        let ports = Ports::new(&config.ports, chance);
        let capacity = ports.len();
        let ports = Arc::new(Mutex::new(ports));
        let identity = dtls::Identity::new().map_err(io::Error::other)?;
        let fingerprint = identity.fingerprint();
        let handshakes = Handshakes::start(identity)?;
        let pool = writer::Pool::start(writers)?;
        let link = |n| {
            let ports = Arc::clone(&ports);
            let (name, handshakes) = (format!("media-{n}"), handshakes.clone());
            Link::start(name, config.bind, ports, pool.outbox(), handshakes).map(Arc::new)
        };
        let links = (0..threads).map(link).collect::<io::Result<_>>()?;
        let exchange = Exchange {
            bind: config.bind,
            rtp_timeout: config.rtp_timeout,
            first: *config.ports.start(),
            capacity,
            ports,
            links,
            wall: Wall {
                at: Instant::now(),
                unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            },
            chance: AtomicU64::new(chance),
            fingerprint,
        };
        Ok(Self { exchange: Arc::new(exchange) })
    }

    /// Takes a pair of ports for a call. Nothing is received before [`Port::connect`].
    pub fn open(&self) -> Result<Port, OpenError> {
        let Exchange { bind, rtp_timeout, first, ports, links, wall, chance, .. } = &*self.exchange;
        let pair = Pair::bind(*bind, ports)?.ok_or(OpenError::NoPorts)?;
        let thread = load::choose(links.iter().map(|link| link.load()));
        let thread = thread.and_then(|n| links.get(n)).ok_or(OpenError::Overloaded)?;
        let index = usize::from(pair.number - first) / 2;
        let (port, teller, counters) = Port::new(pair.number, index, Arc::clone(thread));
        let chance = ports::mix(chance.fetch_add(STEP, Ordering::Relaxed));
        let line = Line::new(teller, counters, *rtp_timeout, *wall, chance);
        match thread.open(index, pair, line) {
            Ok(()) => Ok(port),
            Err(pair) => {
                pair.give_back(ports);
                Err(OpenError::Overloaded)
            }
        }
    }

    /// SHA-256 of the certificate that we show in handshakes.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.exchange.fingerprint
    }

    /// How many calls the port range has room for.
    pub fn capacity(&self) -> usize {
        self.exchange.capacity
    }

    /// How many calls have a port now.
    pub fn in_use(&self) -> usize {
        self.exchange.links.iter().map(|link| link.load().lines).sum()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ports: 10_000..=19_999,
            bind: Ipv4Addr::UNSPECIFIED.into(),
            threads: 0,
            writers: 0,
            rtp_timeout: Duration::from_secs(30),
        }
    }
}

const WRITERS: usize = 2;
/// Keeps the chances of two calls apart.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
