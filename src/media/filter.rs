//! What the kernel keeps from us. While a long sound plays to a caller whose keys come as events,
//! of his audio nothing is needed but that it comes: a socket filter (BPF) drops seven packets of
//! eight before they cost anything more. Linux counts them as its own receive errors
//! (`UdpInErrors`); in our statistics they have come.

use std::io;
use std::net::UdpSocket;

use socket2::{SockFilter, SockRef};

/// Lets pass of the audio with a payload type only the packets whose number ends in 0000 or 0001
/// in binary: two in a row prove a new stream (RFC 3550 A.1). All else passes.
pub(super) fn attach(socket: &UdpSocket, payload_type: u8) -> io::Result<()> {
    SockRef::from(socket).attach_filter(&program(payload_type))
}

pub(super) fn detach(socket: &UdpSocket) -> io::Result<()> {
    SockRef::from(socket).detach_filter()
}

fn program(payload_type: u8) -> [SockFilter; 11] {
    let step = |code, operand| SockFilter::new(code, 0, 0, operand);
    // How many steps to go over if the condition does not hold.
    let must = |code, operand, or_skip| SockFilter::new(code, 0, or_skip, operand);
    [
        step(LOAD_BYTE, RTP),
        step(AND, 0xc0),
        must(IS, 0x80, 7), // another version, or no RTP at all
        step(LOAD_BYTE, RTP + 1),
        step(AND, 0x7f),
        must(IS, payload_type.into(), 4),
        step(LOAD_HALF, RTP + 2),
        step(AND, PERIOD - 1),
        must(IS_AT_LEAST, PASSES, 1),
        step(RETURN, 0),
        step(RETURN, u32::MAX),
    ]
}

/// Whether the filter lets the packet with this number pass.
pub(super) fn passes(number: u16) -> bool {
    u32::from(number) & (PERIOD - 1) < PASSES
}

/// Of packets of 60 ms one passes in less than a second still: a source of which nothing is heard
/// for so long might be another one.
const PERIOD: u32 = 16;
const PASSES: u32 = 2;
/// A filter sees the UDP header too.
const RTP: u32 = 8;
// Linux: include/uapi/linux/bpf_common.h.
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const AND: u16 = 0x54;
const IS: u16 = 0x15;
const IS_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_audio_two_packets_of_sixteen_pass_and_of_all_else_each() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let [ours, theirs] = [(); 2].map(|()| UdpSocket::bind(address).unwrap());
            ours.set_nonblocking(true).unwrap();
            // Those of 32 packets that come, by their numbers.
            let come = |kind: u8| {
                for number in 0..32 {
                    theirs.send_to(&[0x80, kind, 7, number], ours.local_addr().unwrap()).unwrap();
                }
                let mut bytes = [0; 4];
                let mut numbers = vec![];
                while ours.recv(&mut bytes).is_ok() {
                    numbers.push(bytes[3]);
                }
                numbers
            };
            let all: Vec<u8> = (0..32).collect();
            assert_eq!(come(8), all);
            attach(&ours, 8).unwrap();
            let thinned: Vec<u8> = (0..32).filter(|&number| passes(number.into())).collect();
            assert_eq!(thinned, [0, 1, 16, 17]);
            assert_eq!(come(8), thinned);
            assert_eq!(come(0x80 | 8), thinned, "with the marker");
            assert_eq!((come(101), come(9), come(200)), (all.clone(), all.clone(), all.clone()));
            attach(&ours, 9).unwrap();
            assert_eq!((come(8), come(9)), (all.clone(), thinned.clone()), "another codec");
            theirs.send_to(&[22; 40], ours.local_addr().unwrap()).unwrap();
            assert_eq!(ours.recv(&mut [0; 64]).unwrap(), 40, "DTLS");
            detach(&ours).unwrap();
            assert_eq!(come(9), all);
        }
    }
}
