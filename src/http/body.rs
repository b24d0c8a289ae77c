//! A request's body, read whole within bounds, so that each face can say in its words what is wrong
//! with it.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use super::fault::Fault;

/// What a person can say in words or settings.
pub(super) const WORDS: usize = 256 * 1024;
/// An hour of speech, or some minutes of music.
pub(super) const RECORDING: usize = 32 * 1024 * 1024;
/// So much of what is too large is read and thrown away: a client that is still writing does not
/// hear the answer.
pub(super) const THROWN_AWAY: usize = 32 * 1024 * 1024;
/// Recordings that are in memory at one time, all together.
static ROOM: Room = Room { most: 256 * 1024 * 1024, taken: AtomicUsize::new(0) };
/// Each of so many bytes lengthens the patience by a second.
const RATE: u32 = 64 * 1024;

/// Words or settings.
pub(super) async fn words(body: Body) -> Result<Bytes, Fault> {
    read(body, WORDS).await
}

pub(super) async fn read(body: Body, most: usize) -> Result<Bytes, Fault> {
    read_into(&ROOM, body, most).await
}

async fn read_into(room: &'static Room, body: Body, most: usize) -> Result<Bytes, Fault> {
    let mut pieces = body.into_data_stream();
    let (mut all, mut part) = (Vec::new(), Part { room, bytes: 0 });
    while let Some(piece) = pieces.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(why) if is_timeout(&why) => return Err(Fault::TooSlow),
            // A body that breaks off is never answered: whatever is said of it, nobody hears.
            Err(_) => break,
        };
        let bytes = all.len() + piece.len();
        let why = match (bytes > most, part.grows_to(bytes)) {
            (true, _) => Fault::TooLarge,
            (false, false) => Fault::TooFast,
            (false, true) => {
                all.extend_from_slice(&piece);
                continue;
            }
        };
        drop((all, part));
        let mut thrown_away = bytes;
        while let Some(Ok(piece)) = pieces.next().await {
            thrown_away += piece.len();
            if thrown_away > THROWN_AWAY {
                break;
            }
        }
        return Err(why);
    }
    Ok(Bytes::from_owner(Held { all, _part: part }))
}

/// Memory for bodies that are longer than words.
struct Room {
    most: usize,
    taken: AtomicUsize,
}

/// One body's part of it; dropped, it is free again.
struct Part {
    room: &'static Room,
    bytes: usize,
}

impl Part {
    /// `false` where there is no room for so many.
    fn grows_to(&mut self, bytes: usize) -> bool {
        if bytes <= WORDS {
            return true;
        }
        let more = bytes - self.bytes;
        self.bytes = bytes;
        self.room.taken.fetch_add(more, Ordering::Relaxed) + more <= self.room.most
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A body, and its part of the room for as long as anybody has it.
struct Held {
    all: Vec<u8>,
    _part: Part,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.all
    }
}

/// The same body, which is given up when it comes too slowly.
pub(super) fn paced(body: Body, patience: Duration) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let coming = Some((body.into_data_stream(), Instant::now() + patience));
    Body::from_stream(stream::unfold(coming, |coming| async {
        let (mut pieces, until) = coming?;
        match timeout_at(until, pieces.next()).await {
            Ok(Some(Ok(piece))) => {
                let more = Duration::from_secs(piece.len() as u64) / RATE;
                Some((Ok(piece), Some((pieces, until + more))))
            }
            Ok(Some(Err(why))) => Some((Err(io::Error::other(why)), None)),
            Ok(None) => None,
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    }))
}

fn is_timeout(why: &axum::Error) -> bool {
    let mut why: Option<&(dyn std::error::Error + 'static)> = Some(why);
    while let Some(one) = why {
        if one.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        why = one.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_whole_or_refused() {
        let body = |size| Body::from(vec![b'x'; size]);
        assert_eq!(read(body(10), 10).await.unwrap().len(), 10);
        assert_eq!(read(body(11), 10).await, Err(Fault::TooLarge));
    }

    #[tokio::test]
    async fn recordings_wait_for_room() {
        static SMALL: Room = Room { most: WORDS * 3, taken: AtomicUsize::new(0) };
        let read = |size| read_into(&SMALL, Body::from(vec![b'x'; size]), RECORDING);
        let first = read(WORDS * 2).await.unwrap();
        assert_eq!(read(WORDS * 2).await, Err(Fault::TooFast));
        assert!(read(WORDS).await.is_ok(), "words need none");
        drop(first.clone());
        assert_eq!(read(WORDS * 2).await, Err(Fault::TooFast));
        drop(first);
        assert!(read(WORDS * 2).await.is_ok());
        assert_eq!(SMALL.taken.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn who_stops_in_the_middle_is_given_up_and_who_goes_on_is_not() {
        let beginning = || stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"x"))]);
        let stops = Body::from_stream(beginning().chain(stream::pending()));
        let slow = read(paced(stops, Duration::from_millis(1)), 10).await;
        assert_eq!(slow, Err(Fault::TooSlow));
        let ends = paced(Body::from_stream(beginning()), Duration::from_secs(60));
        assert_eq!(read(ends, 10).await.unwrap(), "x");
    }
}
