//! Sockets that wait for others.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

/// A UDP socket, by its sending end.
pub(super) struct Datagrams {
    pub sender: std::net::UdpSocket,
    pub local: SocketAddr,
}

pub(super) fn udp(address: SocketAddr) -> io::Result<(Datagrams, UdpSocket)> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Else IPv4 peers appear as ::ffff:a.b.c.d, and no Via or SDP wants that.
        socket.set_only_v6(true)?;
    }
    // The system gives what it allows (net.core.rmem_max); less is no reason to fail.
    let _as_large_as_allowed = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    let sender: std::net::UdpSocket = socket.into();
    let local = sender.local_addr()?;
    let receiver = UdpSocket::from_std(sender.try_clone()?)?;
    Ok((Datagrams { sender, local }, receiver))
}

pub(super) fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

pub(super) fn naming(kind: &str, address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {kind} {address}: {error}"))
}

const RECEIVE_BUFFER: usize = 8 << 20;
