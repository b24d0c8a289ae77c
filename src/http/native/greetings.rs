//! `/v1/mailboxes/{mailbox}/greetings`: what callers hear.

use std::path::PathBuf;

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::{audio, blocking, body, heavy};
use super::problem::Problem;
use super::visitor::{At, Visitor};
use super::wire::Recording;
use crate::mailbox::MailboxId;
use crate::mailbox::greeting::Greeting;
use crate::state::credential::Scope;

#[derive(Serialize, ToSchema)]
pub(super) struct Recorded {
    /// `temporary`, `unavailable`, `busy`, `name`, or what a rule of the mailbox calls it.
    greeting: String,
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
    let (id, mailbox) = visitor.mailbox(&name)?;
    let mut names: Vec<&str> = NAMES.iter().map(|(_, name)| *name).collect();
    for rule in &mailbox.greeting_rules {
        if !names.contains(&rule.greeting.as_str()) {
            names.push(&rule.greeting);
        }
    }
    let recorded = |name: &str| Place::named(&visitor, &id, name)?.recording(&visitor, &id);
    let all = names
        .iter()
        .map(|name| Recorded { greeting: (*name).to_owned(), recorded: recorded(name).is_some() });
    Ok(Json(all.collect()))
}

/// Play a greeting.
#[utoipa::path(
    get, path = "/mailboxes/{mailbox}/greetings/{greeting}", tag = "greetings",
    params(("mailbox" = String, Path), ("greeting" = String, Path, description = "temporary, unavailable, busy, name, or what a rule of the mailbox calls it")),
    responses((status = 200, content_type = "audio/wav"), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn play(
    visitor: Visitor,
    At((name, greeting)): At<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    visitor.needs(Scope::Read)?;
    let (id, place) = named(&visitor, &name, &greeting)?;
    let path = place.recording(&visitor, &id).ok_or_else(|| Problem::missing("greeting"))?;
    let stamp = path.metadata().and_then(|meta| meta.modified());
    let stamp = stamp.map_err(|_| Problem::missing("greeting"))?;
    let since = stamp.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (file_name, tag) = (format!("{greeting}.wav"), format!("\"{}\"", since.as_nanos()));
    let about = ("audio/wav", file_name.as_str(), tag.as_str());
    audio::wav_file(&visitor.house, &path, about, &headers).await.map_err(Problem::broken)
}

/// Record a greeting: WAV, MP3, Ogg, FLAC or M4A.
#[utoipa::path(
    put, path = "/mailboxes/{mailbox}/greetings/{greeting}", tag = "greetings",
    params(("mailbox" = String, Path), ("greeting" = String, Path, description = "temporary, unavailable, busy, name, or what a rule of the mailbox calls it")),
    request_body(content = Recording, content_type = "audio/wav"),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn record(
    visitor: Visitor,
    At((name, greeting)): At<(String, String)>,
    request: Request,
) -> Result<StatusCode, Problem> {
    visitor.needs(Scope::Edit)?;
    let (id, place) = named(&visitor, &name, &greeting)?;
    let bytes = body::read(request.into_body(), body::RECORDING).await?;
    let import = visitor.house.media.greeting;
    let recording = heavy(move || import(bytes.to_vec())).await;
    let recording = recording.map_err(|why| {
        Problem::wrong(format!("this is no audio that callers could hear: {why}"))
    })?;
    let directory = visitor.house.directory.clone();
    let draft = directory.unfinished(&id, &uuid::Uuid::new_v4().simple().to_string());
    let (unfinished, owner) = (draft.clone(), id.clone());
    let kept = blocking(move || {
        std::fs::write(&draft, &recording)?;
        let kept = match &place {
            Place::Owner(greeting) => directory.keep_greeting(&owner, *greeting, &draft),
            Place::Rule(path) => directory.keep_rule_greeting(path, &draft),
        };
        kept.map_err(std::io::Error::other)
    });
    if let Err(why) = kept.await {
        let _ = std::fs::remove_file(unfinished);
        return Err(Problem::broken(why));
    }
    visitor.record("greeting.record", &id.to_string(), &greeting).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Erase a greeting.
#[utoipa::path(
    delete, path = "/mailboxes/{mailbox}/greetings/{greeting}", tag = "greetings",
    params(("mailbox" = String, Path), ("greeting" = String, Path, description = "temporary, unavailable, busy, name, or what a rule of the mailbox calls it")),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn remove(
    visitor: Visitor,
    At((name, greeting)): At<(String, String)>,
) -> Result<StatusCode, Problem> {
    visitor.needs(Scope::Edit)?;
    let (id, place) = named(&visitor, &name, &greeting)?;
    let path = place.recording(&visitor, &id).ok_or_else(|| Problem::missing("greeting"))?;
    match place {
        Place::Owner(greeting) => visitor.house.directory.erase_greeting(&id, greeting)?,
        Place::Rule(_) => std::fs::remove_file(path).map_err(Problem::broken)?,
    }
    visitor.record("greeting.remove", &id.to_string(), &greeting).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which recording it is.
enum Place {
    Owner(Greeting),
    /// Of a rule: the file.
    Rule(PathBuf),
}

impl Place {
    fn named(visitor: &Visitor, id: &MailboxId, name: &str) -> Option<Self> {
        let own = NAMES.iter().find(|(_, known)| *known == name);
        let rule = || visitor.house.directory.rule_greeting(id, name).map(Self::Rule);
        own.map(|(greeting, _)| Self::Owner(*greeting)).or_else(rule)
    }

    fn recording(&self, visitor: &Visitor, id: &MailboxId) -> Option<PathBuf> {
        match self {
            Self::Owner(greeting) => visitor.house.directory.recording(id, *greeting),
            Self::Rule(path) => path.is_file().then(|| path.clone()),
        }
    }
}

/// Of greetings for rules only those that the mailbox has rules for.
fn named(visitor: &Visitor, mailbox: &str, name: &str) -> Result<(MailboxId, Place), Problem> {
    let (id, mailbox) = visitor.mailbox(mailbox)?;
    let ruled = || mailbox.greeting_rules.iter().any(|rule| rule.greeting == name);
    let place = Place::named(visitor, &id, name);
    let place = place.filter(|place| matches!(place, Place::Owner(_)) || ruled());
    Ok((id, place.ok_or_else(|| Problem::missing("greeting"))?))
}
