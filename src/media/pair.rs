//! The two sockets of a call, at the ports that it is given.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use super::ports::Ports;
use super::post;

/// The sockets of a call.
#[derive(Debug)]
pub(super) struct Pair {
    pub number: u16,
    pub rtp: UdpSocket,
    /// For reports (RFC 3550 §11), unless they come and go with RTP.
    pub rtcp: UdpSocket,
}

impl Pair {
    /// Binds the next pair that is free, stepping over those that other programs hold.
    pub fn bind(bind: IpAddr, ports: &Mutex<Ports>) -> io::Result<Option<Self>> {
        let ports = || ports.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TRIES {
            let now = Instant::now();
            let Some(number) = ports().take(now) else { return Ok(None) };
            match Self::at(bind, number) {
                Ok(pair) => return Ok(Some(pair)),
                Err(error) => {
                    ports().give_back(number, now);
                    if error.kind() != io::ErrorKind::AddrInUse {
                        return Err(error);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Closes the sockets and lets the pair rest.
    pub fn give_back(self, ports: &Mutex<Ports>) {
        let number = self.number;
        drop(self);
        let mut ports = ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.give_back(number, Instant::now());
    }

    fn at(bind: IpAddr, number: u16) -> io::Result<Self> {
        let audio = socket(SocketAddr::new(bind, number))?;
        post::stamps(&audio);
        // Twice what is usual, for a flood that comes between two rounds; taken only where it does.
        let _ = audio.set_recv_buffer_size(BUFFER);
        // Expedited forwarding (RFC 4594 §4.1): voice goes first where the network cares.
        match bind {
            IpAddr::V4(_) => audio.set_tos_v4(EXPEDITED)?,
            IpAddr::V6(_) => audio.set_tclass_v6(EXPEDITED)?,
        }
        let reports = socket(SocketAddr::new(bind, number + 1))?;
        post::stamps(&reports);
        Ok(Self { number, rtp: audio.into(), rtcp: reports.into() })
    }
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// What Linux lets anybody have; it counts double.
const BUFFER: usize = 212_992;
/// Ports that other programs may hold in a row.
const TRIES: usize = 64;
const EXPEDITED: u32 = 46 << 2;
