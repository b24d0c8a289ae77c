//! Datagrams by the handful: one call of the system for all that waits, each with the time at which
//! the kernel got it.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrLike, SockaddrStorage, recvmmsg,
    setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;

/// One time by both clocks: datagrams are stamped by the other one than ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub now: Instant,
    unix: Duration,
}

/// Room for some datagrams, which all sockets of a thread share.
pub(super) struct Post {
    headers: MultiHeaders<SockaddrStorage>,
    buffers: Box<[[u8; DATAGRAM]; HANDFUL]>,
    letters: [Option<Letter>; HANDFUL],
}

#[derive(Debug, Clone, Copy)]
struct Letter {
    length: usize,
    from: SocketAddr,
    at: Instant,
}

impl Moment {
    pub fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { now: Instant::now(), unix }
    }

    /// When something was stamped. The clock on the wall may have been set meanwhile; so late as
    /// that nothing is read.
    fn when(&self, stamp: Duration) -> Instant {
        let ago = self.unix.checked_sub(stamp).filter(|ago| *ago < LATEST);
        ago.and_then(|ago| self.now.checked_sub(ago)).unwrap_or(self.now)
    }
}

impl Post {
    #[expect(clippy::large_stack_arrays, reason = "27 KB, once in a thread's life")]
    pub fn new() -> Self {
        Self {
            headers: headers(),
            buffers: Box::new([[0; DATAGRAM]; HANDFUL]),
            letters: [None; HANDFUL],
        }
    }

    /// Takes up to [`HANDFUL`] datagrams, and says how many.
    pub fn fetch(&mut self, socket: &UdpSocket, moment: &Moment) -> io::Result<usize> {
        let Self { headers, buffers, letters } = self;
        take(headers, buffers, letters, socket, moment, |message| address_of(&message.address?))
    }

    /// The same from a socket in which nobody else's can be: the kernel is spared the names.
    pub fn fetch_from(
        &mut self,
        from: SocketAddr,
        socket: &UdpSocket,
        moment: &Moment,
    ) -> io::Result<usize> {
        // Anew each time: the kernel notes a name's length even where there is no room for it, and
        // would believe that length the next time.
        let mut headers: MultiHeaders<()> = headers();
        let Self { buffers, letters, .. } = self;
        take(&mut headers, buffers, letters, socket, moment, |_| Some(from))
    }

    /// One of those that were just taken: what it says, from whom, and when it came.
    pub fn letter(&mut self, n: usize) -> Option<(&mut [u8], SocketAddr, Instant)> {
        let Letter { length, from, at } = self.letters.get_mut(n)?.take()?;
        Some((self.buffers[n].get_mut(..length)?, from, at))
    }
}

/// Has a socket's datagrams stamped. Without that they count as come when they are read.
pub(super) fn stamps(socket: &socket2::Socket) {
    let _ = setsockopt(socket, sockopt::ReceiveTimestampns, &true);
}

fn headers<Name: SockaddrLike + Copy>() -> MultiHeaders<Name> {
    MultiHeaders::preallocate(HANDFUL, Some(cmsg_space!(TimeSpec)))
}

fn take<Name: SockaddrLike + Copy>(
    headers: &mut MultiHeaders<Name>,
    buffers: &mut [[u8; DATAGRAM]; HANDFUL],
    letters: &mut [Option<Letter>; HANDFUL],
    socket: &UdpSocket,
    moment: &Moment,
    sender: impl Fn(&RecvMsg<'_, '_, Name>) -> Option<SocketAddr>,
) -> io::Result<usize> {
    let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
    let flags = MsgFlags::MSG_DONTWAIT;
    let received = recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), flags, None)?;
    let mut count = 0;
    for message in received {
        let at = stamp(&message).map_or(moment.now, |stamp| moment.when(stamp));
        let length = message.bytes;
        letters[count] = sender(&message).map(|from| Letter { length, from, at });
        count += 1;
    }
    Ok(count)
}

fn stamp<Name>(message: &RecvMsg<'_, '_, Name>) -> Option<Duration> {
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(at) => Some(at.into()),
        _ => None,
    })
}

fn address_of(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4(SocketAddrV4::from(*v4)));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6(SocketAddrV6::from(*v6))))
}

/// Datagrams taken at once: more than come in the longest round, so that one call is enough to see
/// that there are no more.
pub(super) const HANDFUL: usize = 13;
/// No packet of ours is longer, and a longer one is cut. No power of two, or the beginnings of all
/// would share few lines of the processor's cache.
const DATAGRAM: usize = 2048 + 64;
const LATEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_by_the_handful_with_their_sender_and_time() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let [ours, theirs] = [(); 2].map(|()| UdpSocket::bind(address).unwrap());
            stamps(&socket2::SockRef::from(&ours));
            let mut post = Post::new();
            let before = Moment::now();
            let all: Vec<u8> = (0..u8::try_from(HANDFUL).unwrap() + 2).collect();
            for n in all.iter().copied() {
                theirs.send_to(&[n; 3], ours.local_addr().unwrap()).unwrap();
            }
            let moment = Moment::now();
            let mut said = vec![];
            for expected in [HANDFUL, 2] {
                assert_eq!(post.fetch(&ours, &moment).unwrap(), expected);
                for n in 0..expected {
                    let (datagram, from, at) = post.letter(n).unwrap();
                    assert_eq!((datagram.len(), from), (3, theirs.local_addr().unwrap()));
                    assert!(at <= moment.now && at + Duration::from_millis(1) >= before.now);
                    said.push(datagram[0]);
                    assert!(post.letter(n).is_none(), "once");
                }
            }
            assert_eq!(said, all);
            let nothing = post.fetch(&ours, &moment).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn from_one_source_they_come_without_its_name_time_after_time() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let [ours, theirs] = [(); 2].map(|()| UdpSocket::bind(address).unwrap());
            stamps(&socket2::SockRef::from(&ours));
            let from = theirs.local_addr().unwrap();
            ours.connect(from).unwrap();
            let mut post = Post::new();
            for n in 0..3 {
                let before = Moment::now();
                theirs.send_to(&[n; 3], ours.local_addr().unwrap()).unwrap();
                let moment = Moment::now();
                assert_eq!(post.fetch_from(from, &ours, &moment).unwrap(), 1);
                let (datagram, sender, at) = post.letter(0).unwrap();
                assert_eq!((&*datagram, sender), (&[n; 3][..], from));
                assert!(at <= moment.now && at + Duration::from_millis(1) >= before.now);
            }
        }
    }

    #[test]
    fn a_stamp_that_cannot_be_true_is_not_believed() {
        let moment = Moment::now();
        let [early, late, ancient] = [
            moment.unix.saturating_sub(Duration::from_millis(30)),
            moment.unix + Duration::from_secs(5),
            Duration::ZERO,
        ];
        assert_eq!(moment.when(early) + Duration::from_millis(30), moment.now);
        assert_eq!([moment.when(late), moment.when(ancient)], [moment.now; 2]);
    }
}
