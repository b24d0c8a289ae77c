//! `/v1/mailboxes/{mailbox}/greetings`: what callers hear.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::{audio, blocking, body};
use super::problem::Problem;
use super::visitor::{At, Visitor};
use super::wire::Recording;
use crate::mailbox::MailboxId;
use crate::mailbox::greeting::Greeting;
use crate::state::credential::Scope;

#[derive(Serialize, ToSchema)]
pub(super) struct Recorded {
    /// `temporary`, `unavailable`, `busy` or `name`.
    greeting: &'static str,
    recorded: bool,
}

const NAMES: [(Greeting, &str); 4] = [
    (Greeting::Temporary, "temporary"),
    (Greeting::Unavailable, "unavailable"),
    (Greeting::Busy, "busy"),
    (Greeting::Name, "name"),
];

/// Which greetings are recorded.
#[utoipa::path(
    get, path = "/mailboxes/{mailbox}/greetings", tag = "greetings",
    params(("mailbox" = String, Path, description = "NUMBER, NUMBER@CONTEXT, or a UUID")),
    responses((status = 200, body = Vec<Recorded>), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn list(
    visitor: Visitor,
    At(name): At<String>,
) -> Result<Json<Vec<Recorded>>, Problem> {
    visitor.needs(Scope::Read)?;
    let (id, _) = visitor.mailbox(&name)?;
    let all = NAMES.iter().map(|(greeting, name)| Recorded {
        greeting: name,
        recorded: visitor.house.directory.recording(&id, *greeting).is_some(),
    });
    Ok(Json(all.collect()))
}

/// Play a greeting.
#[utoipa::path(
    get, path = "/mailboxes/{mailbox}/greetings/{greeting}", tag = "greetings",
    params(("mailbox" = String, Path), ("greeting" = String, Path, description = "temporary, unavailable, busy or name")),
    responses((status = 200, content_type = "audio/wav"), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn play(
    visitor: Visitor,
    At((name, greeting)): At<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    visitor.needs(Scope::Read)?;
    let (id, greeting, known) = named(&visitor, &name, &greeting)?;
    let path = visitor.house.directory.recording(&id, greeting);
    let path = path.ok_or_else(|| Problem::missing("greeting"))?;
    let stamp = path.metadata().and_then(|meta| meta.modified());
    let stamp = stamp.map_err(|_| Problem::missing("greeting"))?;
    let since = stamp.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (file_name, tag) = (format!("{known}.wav"), format!("\"{}\"", since.as_nanos()));
    let about = ("audio/wav", file_name.as_str(), tag.as_str());
    audio::wav_file(&visitor.house, &path, about, &headers).await.map_err(Problem::broken)
}

/// Record a greeting: WAV, MP3, Ogg, FLAC or M4A.
#[utoipa::path(
    put, path = "/mailboxes/{mailbox}/greetings/{greeting}", tag = "greetings",
    params(("mailbox" = String, Path), ("greeting" = String, Path, description = "temporary, unavailable, busy or name")),
    request_body(content = Recording, content_type = "audio/wav"),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn record(
    visitor: Visitor,
    At((name, greeting)): At<(String, String)>,
    request: Request,
) -> Result<StatusCode, Problem> {
    visitor.needs(Scope::Edit)?;
    let (id, greeting, known) = named(&visitor, &name, &greeting)?;
    let bytes = body::read(request.into_body(), body::RECORDING).await?;
    let import = visitor.house.media.greeting;
    let recording = blocking(move || import(bytes.to_vec())).await;
    let recording = recording.map_err(|why| {
        Problem::wrong(format!("this is no audio that callers could hear: {why}"))
    })?;
    let directory = visitor.house.directory.clone();
    let draft = directory.unfinished(&id, &uuid::Uuid::new_v4().simple().to_string());
    let (place, owner) = (draft.clone(), id.clone());
    let kept = blocking(move || {
        std::fs::write(&draft, &recording)?;
        directory.keep_greeting(&owner, greeting, &draft).map_err(std::io::Error::other)
    });
    if let Err(why) = kept.await {
        let _ = std::fs::remove_file(place);
        return Err(Problem::broken(why));
    }
    visitor.record("greeting.record", &id.to_string(), known).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Erase a greeting.
#[utoipa::path(
    delete, path = "/mailboxes/{mailbox}/greetings/{greeting}", tag = "greetings",
    params(("mailbox" = String, Path), ("greeting" = String, Path, description = "temporary, unavailable, busy or name")),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn remove(
    visitor: Visitor,
    At((name, greeting)): At<(String, String)>,
) -> Result<StatusCode, Problem> {
    visitor.needs(Scope::Edit)?;
    let (id, greeting, known) = named(&visitor, &name, &greeting)?;
    let directory = &visitor.house.directory;
    directory.recording(&id, greeting).ok_or_else(|| Problem::missing("greeting"))?;
    directory.erase_greeting(&id, greeting)?;
    visitor.record("greeting.remove", &id.to_string(), known).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn named(
    visitor: &Visitor,
    mailbox: &str,
    greeting: &str,
) -> Result<(MailboxId, Greeting, &'static str), Problem> {
    let (id, _) = visitor.mailbox(mailbox)?;
    let known = NAMES.iter().find(|(_, name)| *name == greeting);
    let (greeting, name) = known.ok_or_else(|| Problem::missing("greeting"))?;
    Ok((id, *greeting, name))
}
