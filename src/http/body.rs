//! A request's body, read whole within bounds, so that each face can say in its words what is wrong
//! with it.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::StreamExt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    TooLarge,
    TooSlow,
}

/// What a person can say in words or settings.
pub(super) const WORDS: usize = 256 * 1024;
/// An hour of speech, or some minutes of music.
pub(super) const RECORDING: usize = 32 * 1024 * 1024;
/// How long words may take to come, and a recording.
const SLOWEST: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(300));
/// So much of what is too large is read and thrown away: a client that is still writing does not
/// hear the answer.
const THROWN_AWAY: usize = 32 * 1024 * 1024;

pub(super) async fn read(body: Body, most: usize) -> Result<Bytes, Unread> {
    let patience = if most > WORDS { SLOWEST.1 } else { SLOWEST.0 };
    tokio::time::timeout(patience, whole(body, most)).await.map_err(|_| Unread::TooSlow)?
}

async fn whole(body: Body, most: usize) -> Result<Bytes, Unread> {
    let mut pieces = body.into_data_stream();
    let mut all = Vec::new();
    // A body that breaks off is never answered: whatever is said of it, nobody hears.
    while let Some(Ok(piece)) = pieces.next().await {
        if all.len() + piece.len() > most {
            let mut thrown_away = all.len() + piece.len();
            drop(all);
            while let Some(Ok(piece)) = pieces.next().await {
                thrown_away += piece.len();
                if thrown_away > THROWN_AWAY {
                    break;
                }
            }
            return Err(Unread::TooLarge);
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_whole_or_refused() {
        let body = |size| Body::from(vec![b'x'; size]);
        assert_eq!(read(body(10), 10).await.unwrap().len(), 10);
        assert_eq!(read(body(11), 10).await, Err(Unread::TooLarge));
    }
}
