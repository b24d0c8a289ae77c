//! The audio of a message: played, linked to, and drawn.

use axum::Json;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use utoipa::{IntoParams, ToSchema};

use super::super::audio::{self, Format};
use super::super::heavy;
use super::super::link::{self, Links};
use super::Face;
use super::messages::find;
use super::problem::Problem;
use super::visitor::{At, Given, Visitor, read as body};
use super::wire::{Recording, time, whole};
use crate::mailbox::{MailboxId, MessageId};
use crate::state::credential::Scope;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct How {
    /// `wav` where absent.
    #[param(inline)]
    format: Option<Format>,
    /// Of a link that needs no login.
    expires: Option<i64>,
    signature: Option<String>,
}

/// Play a message. Ranges are answered; the message is not marked as heard.
#[utoipa::path(
    get, path = "/mailboxes/{mailbox}/messages/{id}/audio", tag = "messages",
    params(
        ("mailbox" = String, Path), ("id" = String, Path, description = "A ULID"), How,
        ("Range" = Option<String>, Header, description = "Such as bytes=0-99999"),
    ),
    security((), ("basic" = []), ("bearer" = [])),
    responses(
        (status = 200, content((Recording = "audio/wav"), (Recording = "audio/mpeg"), (Recording = "audio/ogg"))),
        (status = 206, content((Recording = "audio/wav"), (Recording = "audio/mpeg"), (Recording = "audio/ogg"))),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn play(
    State(face): State<Face>,
    At((name, id)): At<(String, String)>,
    Given(how): Given<How>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Problem> {
    let format = how.format.unwrap_or_default();
    let (mut parts, _) = request.into_parts();
    let house = &face.house;
    let (mailbox, message) = if let (Some(expires), Some(signature)) = (how.expires, how.signature)
    {
        house.guard.pace(from.ip())?;
        let linked: Option<(MailboxId, MessageId)> = name.parse().ok().zip(id.parse().ok());
        let (mailbox, id) = linked.ok_or_else(|| Problem::missing("message"))?;
        let path = place(&mailbox, id, format);
        let is_good = |links: &Links| links.is_good(&path, expires, &signature, (house.now)());
        if ![&face.links, &face.letters].into_iter().any(is_good) {
            return Err(Problem::forbidden("this link is wrong, or its time is over"));
        }
        let message = house.spool.get(&mailbox, id).await?;
        (mailbox, message.ok_or_else(|| Problem::missing("message"))?)
    } else {
        let visitor = Visitor::from_request_parts(&mut parts, &face).await?;
        visitor.needs(Scope::Read)?;
        find(&visitor, &name, &id).await?
    };
    let played = audio::play(house, &mailbox, &message, format, &parts.headers).await;
    played.map_err(Problem::broken)
}

#[derive(Default, Deserialize, ToSchema)]
pub(super) struct LinkWish {
    /// How long it is good for: 600 at most.
    #[schema(minimum = 1, maximum = 600)]
    #[serde(default, deserialize_with = "whole")]
    seconds: Option<i64>,
    /// `wav` where absent.
    format: Option<Format>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Link {
    /// Path and query, on this host.
    url: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

/// Make a link to a message's audio that needs no login, for some minutes.
#[utoipa::path(
    post, path = "/mailboxes/{mailbox}/messages/{id}/audio/link", tag = "messages",
    request_body = LinkWish,
    params(("mailbox" = String, Path), ("id" = String, Path, description = "A ULID")),
    responses((status = 201, body = Link), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn link(
    State(face): State<Face>,
    visitor: Visitor,
    At((name, id)): At<(String, String)>,
    given: axum::body::Body,
) -> Result<(StatusCode, Json<Link>), Problem> {
    visitor.needs(Scope::Read)?;
    let (mailbox, message) = find(&visitor, &name, &id).await?;
    let wish: LinkWish = body(given).await?;
    let seconds = wish.seconds.unwrap_or(link::LONGEST);
    if !(1..=link::LONGEST).contains(&seconds) {
        return Err(Problem::wrong("seconds is 1 to 600"));
    }
    let format = wish.format.unwrap_or_default();
    let expires = (face.house.now)() + seconds;
    let query = face.links.query(&place(&mailbox, message.id, format), expires);
    let url = format!(
        "/v1/mailboxes/{mailbox}/messages/{}/audio?format={}&{query}",
        message.id,
        format.name()
    );
    visitor.record("message.link", &format!("{} {mailbox}", message.id), "").await?;
    Ok((StatusCode::CREATED, Json(Link { url, expires_at: time(expires) })))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Drawing {
    /// How many columns: 10 to 2000.
    #[param(minimum = 10, maximum = 2000)]
    peaks: Option<usize>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Waveform {
    /// The loudest sample of each column, 0 to 255.
    peaks: Vec<u8>,
    duration_ms: u64,
}

/// Draw a message.
#[utoipa::path(
    get, path = "/mailboxes/{mailbox}/messages/{id}/waveform", tag = "messages",
    params(("mailbox" = String, Path), ("id" = String, Path, description = "A ULID"), Drawing),
    responses((status = 200, body = Waveform), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn waveform(
    visitor: Visitor,
    At((name, id)): At<(String, String)>,
    Given(drawing): Given<Drawing>,
) -> Result<Response, Problem> {
    visitor.needs(Scope::Read)?;
    let peaks = drawing.peaks.unwrap_or(200);
    if !(10..=2000).contains(&peaks) {
        return Err(Problem::bad("peaks is 10 to 2000"));
    }
    let (mailbox, message) = find(&visitor, &name, &id).await?;
    let house = &visitor.house;
    let recording = house.spool.audio(&mailbox, message.id).await?;
    let (path, draw) = (recording.path().to_owned(), house.media.peaks);
    let peaks = heavy(move || draw(&path, peaks)).await.map_err(Problem::broken)?;
    let duration_ms = u64::try_from(message.duration.as_millis()).unwrap_or(u64::MAX);
    let tag = format!("\"{}-{}\"", message.id, peaks.len());
    Ok(([(header::ETAG, tag)], Json(Waveform { peaks, duration_ms })).into_response())
}

/// Path and query of a link for a letter: as MP3, which every browser plays.
pub(in super::super) fn in_letter(
    links: &Links,
    mailbox: &MailboxId,
    id: MessageId,
    expires: i64,
) -> String {
    let query = links.query(&place(mailbox, id, Format::Mp3), expires);
    format!("/v1/mailboxes/{mailbox}/messages/{id}/audio?format=mp3&{query}")
}

/// What a signature is over.
fn place(mailbox: &MailboxId, id: MessageId, format: Format) -> String {
    format!("{mailbox}/{id}/{format:?}")
}
