//! A request's body, read whole within bounds, so that each face can say in its words what is wrong
//! with it.

use std::io;
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
const THROWN_AWAY: usize = 32 * 1024 * 1024;
/// Each of so many bytes lengthens the patience by a second.
const RATE: u32 = 64 * 1024;

/// Words or settings.
pub(super) async fn words(body: Body) -> Result<Bytes, Fault> {
    read(body, WORDS).await
}

pub(super) async fn read(body: Body, most: usize) -> Result<Bytes, Fault> {
    let mut pieces = body.into_data_stream();
    let mut all = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(why) if is_timeout(&why) => return Err(Fault::TooSlow),
            // A body that breaks off is never answered: whatever is said of it, nobody hears.
            Err(_) => break,
        };
        if all.len() + piece.len() > most {
            let mut thrown_away = all.len() + piece.len();
            drop(all);
            while let Some(Ok(piece)) = pieces.next().await {
                thrown_away += piece.len();
                if thrown_away > THROWN_AWAY {
                    break;
                }
            }
            return Err(Fault::TooLarge);
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.into())
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
    async fn who_stops_in_the_middle_is_given_up_and_who_goes_on_is_not() {
        let beginning = || stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"x"))]);
        let stops = Body::from_stream(beginning().chain(stream::pending()));
        let slow = read(paced(stops, Duration::from_millis(1)), 10).await;
        assert_eq!(slow, Err(Fault::TooSlow));
        let ends = paced(Body::from_stream(beginning()), Duration::from_secs(60));
        assert_eq!(read(ends, 10).await.unwrap(), "x");
    }
}
