//! What was agreed with the peer about one audio stream.

use std::net::SocketAddr;
use std::time::Duration;

use super::codec::Codec;

/// What was agreed with the peer about one audio stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// Where the SDP says that the peer receives.
    pub remote: Option<SocketAddr>,
    pub codec: Codec,
    pub payload_type: u8,
    /// The payload type of RFC 4733 events, if agreed.
    pub telephone_event: Option<u8>,
    /// The rate of their timestamps: the audio's, or 8,000 Hz beside Opus.
    pub event_clock: u32,
    /// How much the peer would like to get in a packet: 10 to 60 ms.
    pub ptime: Duration,
    pub direction: Direction,
    pub rtcp: Rtcp,
}

/// Where the reports about a stream go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rtcp {
    /// To this address of the peer's, from our port above RTP's.
    Beside(Option<SocketAddr>),
    /// Both ways with RTP itself (RFC 5761).
    Mux,
}

/// Who may send (RFC 3264 §5.1), seen from our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    #[default]
    SendReceive,
    SendOnly,
    ReceiveOnly,
    Inactive,
}

impl Stream {
    /// A stream as it is usually agreed: static payload type, 20 ms, both ways, no events.
    pub fn new(remote: Option<SocketAddr>, codec: Codec) -> Self {
        Self {
            remote,
            codec,
            payload_type: codec.payload_type(),
            telephone_event: None,
            event_clock: codec.clock(),
            ptime: Duration::from_millis(20),
            direction: Direction::SendReceive,
            rtcp: Rtcp::Beside(remote.and_then(Rtcp::above)),
        }
    }
}

impl Rtcp {
    /// The port above RTP's (RFC 3550 §11), where nothing else was said.
    pub fn above(rtp: SocketAddr) -> Option<SocketAddr> {
        Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?))
    }
}

impl Direction {
    pub(super) fn sends(self) -> bool {
        matches!(self, Self::SendReceive | Self::SendOnly)
    }

    pub(super) fn receives(self) -> bool {
        matches!(self, Self::SendReceive | Self::ReceiveOnly)
    }
}
