//! Requests that nobody can read. What parses them refuses them in words of its own; here it is said
//! in those of the face that was asked.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::response::Response;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, copy, sink};

use super::body::{THROWN_AWAY, WORDS};
use super::fault::Fault;

/// Address and header fields together: more nobody means.
pub(super) const LONGEST: usize = 64 * 1024;
/// More than the path of any face.
const KEPT: usize = 256;

/// A connection that remembers how its last request began.
pub(super) struct Heard<S> {
    stream: S,
    begun: Vec<u8>,
    refused: Option<Fault>,
}

impl<S> Heard<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, begun: Vec::with_capacity(KEPT), refused: None }
    }

    /// The path that was asked for, and why it could not be.
    pub(super) fn refused(&self) -> Option<(&str, Fault)> {
        let line = self.begun.split(|byte| b" ?\r\n".contains(byte)).nth(1).unwrap_or_default();
        Some((str::from_utf8(line).unwrap_or_default(), self.refused?))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Heard<S> {
    /// The last that is said here.
    pub(super) async fn answer(&mut self, response: Response) -> io::Result<()> {
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, WORDS).await.map_err(io::Error::other)?;
        let mut answer = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
        for (name, value) in &head.headers {
            answer.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        let end = format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len());
        answer.extend_from_slice(end.as_bytes());
        answer.extend_from_slice(&body);
        self.stream.write_all(&answer).await?;
        self.stream.shutdown().await?;
        let mut rest = (&mut self.stream).take(THROWN_AWAY as u64);
        copy(&mut rest, &mut sink()).await.map(drop)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let come = &buffer.filled()[before..];
        let room = KEPT - self.begun.len();
        self.begun.extend_from_slice(&come[..come.len().min(room)]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // Only what follows on a request: a body may read like anything.
        let answers = !self.begun.is_empty();
        if let Some(fault) = parts.first().filter(|_| answers).and_then(|answer| fault(answer)) {
            self.refused = Some(fault);
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        self.begun.clear();
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.refused {
            // There is something to say yet.
            Some(_) => Poll::Ready(Ok(())),
            None => Pin::new(&mut self.stream).poll_shutdown(cx),
        }
    }
}

/// Why nobody was asked. No face of ours refuses without a word, so this is not one of theirs.
fn fault(answer: &[u8]) -> Option<Fault> {
    let fault = match answer.get(..12)? {
        b"HTTP/1.1 414" | b"HTTP/1.1 431" => Fault::LongHead,
        b"HTTP/1.1 400" => Fault::Garbled,
        _ => return None,
    };
    let says_nothing = b"\r\ncontent-length: 0\r\n";
    answer.windows(says_nothing.len()).any(|part| part == says_nothing).then_some(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_may_read_like_a_refusal() {
        const REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        for (answered, refused) in [(true, false), (false, true)] {
            let (mut there, here) = tokio::io::duplex(1024);
            let mut heard = Heard::new(here);
            there.write_all(b"GET /v1/x HTTP/1.1\r\n").await.unwrap();
            let _ = heard.read(&mut [0; 512]).await.unwrap();
            if answered {
                heard.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 47\r\n\r\n").await.unwrap();
            }
            heard.write_all(REFUSAL).await.unwrap();
            assert_eq!(heard.refused().is_some(), refused);
        }
    }
}
