//! A message's audio: whole or by range (RFC 9110 §14), as it lies or in another format.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use utoipa::ToSchema;

use super::House;
use crate::mailbox::{MailboxId, Message};

/// What a listener wants to hear it as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// As it was recorded, where that is a WAV.
    #[default]
    Wav,
    Mp3,
    #[serde(alias = "ogg")]
    Opus,
}

impl Format {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Mp3 => "mp3",
            Self::Opus => "opus",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Wav => "audio/wav",
            Self::Mp3 => "audio/mpeg",
            Self::Opus => "audio/ogg",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Mp3 => "mp3",
            Self::Opus => "ogg",
        }
    }
}

/// Answers with a message's audio.
pub(super) async fn play(
    house: &House,
    mailbox: &MailboxId,
    message: &Message,
    format: Format,
    headers: &HeaderMap,
) -> io::Result<Response> {
    let recording = house.spool.audio(mailbox, message.id).await.map_err(io::Error::other)?;
    let name = format!("{}.{}", message.stem, format.extension());
    let tag = format!("\"{}-{}\"", message.id, format.extension());
    let about = (format.media_type(), name.as_str(), tag.as_str());
    if format == Format::Wav && is_wav(recording.path()) {
        return file(recording.path(), about, headers).await;
    }
    let made = rendition(house, message, recording.path(), format).await?;
    bytes(&made.into(), about, headers)
}

async fn rendition(
    house: &House,
    message: &Message,
    path: &Path,
    format: Format,
) -> io::Result<Vec<u8>> {
    let renditions = &house.media.renditions;
    let form = renditions.form(format.extension()).ok_or(io::ErrorKind::Unsupported)?;
    renditions.of(&message.sha256, path, form).await
}

/// Answers with a recording that may be of another kind than WAV.
pub(super) async fn wav_file(
    house: &House,
    path: &Path,
    about: (&'static str, &str, &str),
    headers: &HeaderMap,
) -> io::Result<Response> {
    if is_wav(path) {
        return file(path, about, headers).await;
    }
    let (path, whole) = (path.to_owned(), house.media.whole);
    let made = super::heavy(move || whole(&path)).await?;
    bytes(&made.into(), about, headers)
}

fn bytes(
    made: &Bytes,
    about: (&'static str, &str, &str),
    headers: &HeaderMap,
) -> io::Result<Response> {
    answer(made.len() as u64, about, headers, |from, end| {
        let place = |at| usize::try_from(at).unwrap_or(usize::MAX);
        Body::from(made.slice(place(from)..place(end)))
    })
}

/// The whole recording as WAV, however it lies on disk.
pub(super) async fn wav(
    house: &House,
    mailbox: &MailboxId,
    message: &Message,
    most: u64,
) -> io::Result<Vec<u8>> {
    let recording = house.spool.audio(mailbox, message.id).await.map_err(io::Error::other)?;
    if recording.bytes() > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let path = recording.path().to_owned();
    if is_wav(&path) {
        return super::blocking(move || std::fs::read(path)).await;
    }
    rendition(house, message, &path, Format::Wav).await
}

/// `WAV` is another program's name for something else: GSM.
fn is_wav(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wav")
}

/// Answers with a file, or the part of it that is asked for.
pub(super) async fn file(
    path: &Path,
    (media_type, name, tag): (&'static str, &str, &str),
    headers: &HeaderMap,
) -> io::Result<Response> {
    let path = path.to_owned();
    let (file, size) = super::blocking(move || {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    })
    .await?;
    answer(size, (media_type, name, tag), headers, |from, end| pieces(file, from, end))
}

fn answer(
    size: u64,
    (media_type, name, tag): (&'static str, &str, &str),
    headers: &HeaderMap,
    body: impl FnOnce(u64, u64) -> Body,
) -> io::Result<Response> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let asked = text(header::RANGE).filter(|_| {
        // RFC 9110 §13.1.5: of another version the whole is wanted.
        text(header::IF_RANGE).is_none_or(|known| known == tag)
    });
    let (status, from, end) = match asked.map_or(Range::Whole, |asked| range(asked, size)) {
        Range::Whole => (StatusCode::OK, 0, size),
        Range::Part { from, end } => (StatusCode::PARTIAL_CONTENT, from, end),
        Range::Nowhere => {
            let all = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, all).into_response());
        }
    };
    let plain: String = name.chars().filter(|c| c.is_ascii_graphic() && *c != '"').collect();
    let mut response = (status, body(from, end)).into_response();
    let own = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, media_type.to_owned()),
        (header::CONTENT_LENGTH, (end - from).to_string()),
        (header::ACCEPT_RANGES, "bytes".into()),
        (header::ETAG, tag.to_owned()),
        (header::CACHE_CONTROL, "private, no-cache".into()),
        (header::CONTENT_DISPOSITION, format!("inline; filename=\"{plain}\"")),
    ] {
        own.insert(name, HeaderValue::try_from(value).map_err(io::Error::other)?);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {from}-{}/{size}", end - 1);
        own.insert(header::CONTENT_RANGE, HeaderValue::try_from(range).map_err(io::Error::other)?);
    }
    Ok(response)
}

const PIECE: u64 = 64 * 1024;

/// Read as it is sent: a listener who is slow costs one piece of memory.
fn pieces(file: File, from: u64, end: u64) -> Body {
    let file = Arc::new(file);
    Body::from_stream(stream::unfold(from, move |at| {
        let file = Arc::clone(&file);
        async move {
            if at >= end {
                return None;
            }
            let size = (end - at).min(PIECE);
            let read = super::blocking(move || {
                let mut piece = vec![0; usize::try_from(size).unwrap_or_default()];
                file.read_exact_at(&mut piece, at).map(|()| Bytes::from(piece))
            });
            Some((read.await, at + size))
        }
    }))
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    Part { from: u64, end: u64 },
    Nowhere,
}

/// RFC 9110 §14.1.2. Several ranges at once are more than anybody needs: the whole answers them.
fn range(asked: &str, size: u64) -> Range {
    let Some(spec) = asked.strip_prefix("bytes=").filter(|spec| !spec.contains(',')) else {
        return Range::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-') else { return Range::Whole };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return Range::Whole;
    }
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let (from, end) = match (first.is_empty(), last.is_empty()) {
        (true, true) => return Range::Whole,
        (true, false) => (size.saturating_sub(number(last)), size),
        (false, true) => (number(first), size),
        (false, false) => (number(first), number(last).saturating_add(1).min(size)),
    };
    if number(first) > number(last) && !first.is_empty() && !last.is_empty() {
        return Range::Whole;
    }
    if from < end { Range::Part { from, end } } else { Range::Nowhere }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_has_them() {
        let part = |from, end| Range::Part { from, end };
        for (asked, wanted) in [
            ("bytes=0-99", part(0, 100)),
            ("bytes=900-", part(900, 1000)),
            ("bytes=-100", part(900, 1000)),
            ("bytes=-5000", part(0, 1000)),
            ("bytes=990-99999999999999999999", part(990, 1000)),
            ("bytes=1000-", Range::Nowhere),
            ("bytes=-0", Range::Nowhere),
            ("bytes=5-4", Range::Whole),
            ("bytes=0-1,5-6", Range::Whole),
            ("bytes=-", Range::Whole),
            ("bytes=x-y", Range::Whole),
            ("lines=0-1", Range::Whole),
        ] {
            assert_eq!(range(asked, 1000), wanted, "{asked}");
        }
        assert_eq!(range("bytes=0-", 0), Range::Nowhere);
    }

    #[tokio::test]
    async fn a_file_is_sent_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.wav");
        let whole: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, &whole).unwrap();
        let ask = async |range: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(range) = range {
                headers.insert(header::RANGE, range.parse().unwrap());
            }
            let response =
                file(&path, ("audio/wav", "a\"b\n.wav", "\"t\""), &headers).await.unwrap();
            let status = response.status().as_u16();
            let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
            (status, body)
        };
        assert_eq!(ask(None).await, (200, whole.clone().into()));
        let part = whole[70_001..=300_000].to_vec();
        assert_eq!(ask(Some("bytes=70001-300000")).await, (206, part.into()));
        assert_eq!(ask(Some("bytes=800000-")).await.0, 416);
    }
}
