//! `/voip/sound`: recordings that mailboxes greet with.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::multipart::MultipartError;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::super::super::body;
use super::super::super::form;
use super::super::super::heavy_turn;
use super::super::super::link;
use super::{Answer, At, Face, Refused, Visitor, answer, broken, map, wire};
use crate::directory::Sound;
use crate::state::credential::Scope;

pub(super) fn routes() -> Router<Face> {
    Router::new()
        .route("/sound", get(list).post(add))
        .route("/sound/{uuid}", get(read).put(rename).delete(remove))
        .route("/sound/{context}/{uuid}/content", get(content))
        .layer(DefaultBodyLimit::max(body::RECORDING))
}

async fn list(visitor: Visitor) -> Answer {
    let face = visitor.to_all(Scope::Provision)?;
    let sounds = face.house.directory.sounds(&visitor.context)?;
    let rows: Vec<_> = sounds.iter().map(|sound| map::sound(sound, None)).collect();
    Ok(answer(StatusCode::OK, rows))
}

async fn read(visitor: Visitor, At(uuid): At, headers: HeaderMap) -> Answer {
    let face = visitor.to_all(Scope::Provision)?;
    let sound = visitor.sound(uuid)?;
    let path = format!("/voip/sound/{}/{}/content", visitor.context, sound.uuid);
    let query = face.links.query(&path, (face.house.now)() + link::LONGEST);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let url = format!("//{}{path}?{query}", host.unwrap_or_default());
    Ok(answer(StatusCode::OK, map::sound(&sound, Some(url))))
}

/// The audio itself, by a link that needs no login.
async fn content(
    State(face): State<Face>,
    path: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Answer {
    let Path((context, uuid)) = path.map_err(|_| StatusCode::NOT_FOUND)?;
    let uuid: Uuid = uuid.parse().map_err(|_| StatusCode::NOT_FOUND)?;
    let pairs = form::pairs(query.as_deref().unwrap_or("")).unwrap_or_default();
    let text = |name| pairs.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
    let expires = text("expires").parse().map_err(|_| StatusCode::FORBIDDEN)?;
    let path = format!("/voip/sound/{context}/{uuid}/content");
    let now = (face.house.now)();
    if !face.links.is_good(&path, expires, text("signature"), now) {
        return Err(Refused(StatusCode::FORBIDDEN));
    }
    face.house.directory.sound(&context, uuid).ok_or(StatusCode::NOT_FOUND)?;
    let file = face.house.directory.sound_path(&context, uuid);
    let audio = tokio::fs::read(file).await?;
    let kind = if audio.starts_with(b"RIFF") { "audio/x-wav" } else { "audio/mpeg" };
    Ok(([(header::CONTENT_TYPE, kind)], audio).into_response())
}

/// A sound as it was sent: its words, and its audio.
struct Upload {
    new: wire::NewSound,
    audio: Bytes,
}

async fn add(visitor: Visitor, request: Request) -> Answer {
    let face = visitor.to_all(Scope::Provision)?;
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    let Upload { new, audio } = if kind.starts_with("multipart/form-data") {
        from_form(request).await?
    } else if kind.starts_with("audio/") {
        let query = request.uri().query().unwrap_or("").to_owned();
        raw(&query, body::read(request.into_body(), body::RECORDING).await?)
    } else {
        from_json(&body::read(request.into_body(), body::RECORDING).await?)?
    };
    let file_name = new.file_name.unwrap_or_else(|| "sound.wav".into());
    let name = new.name.filter(|name| !name.trim().is_empty());
    let name = name.unwrap_or_else(|| file_name.clone());
    let now = (face.house.now)();
    let sound = Sound {
        uuid: Uuid::new_v4(),
        name: cut(&name),
        file_name: cut(&file_name),
        tag: cut(&new.tag.unwrap_or_default()),
        created: now,
        updated: now,
    };
    visitor.keep(&sound, audio).await?;
    let subject = sound.uuid.to_string();
    face.house.record(visitor.asker(), "sound.add", &subject, "").await?;
    Ok(answer(StatusCode::CREATED, map::sound(&sound, None)))
}

async fn rename(visitor: Visitor, At(uuid): At, body: Body) -> Answer {
    let face = visitor.to_all(Scope::Provision)?;
    let before = visitor.sound(uuid)?;
    let bytes = body::words(body).await?;
    let new: wire::NewSound =
        serde_json::from_slice(&bytes).map_err(|_| StatusCode::BAD_REQUEST)?;
    let name = new.name.filter(|name| !name.trim().is_empty());
    let sound = Sound {
        name: cut(&name.ok_or(StatusCode::BAD_REQUEST)?),
        tag: cut(&new.tag.unwrap_or_default()),
        updated: (face.house.now)(),
        ..before
    };
    face.house.directory.edit_sound(&visitor.context, &sound)?;
    face.house.record(visitor.asker(), "sound.edit", &uuid.to_string(), "").await?;
    Ok(answer(StatusCode::OK, map::sound(&sound, None)))
}

async fn remove(visitor: Visitor, At(uuid): At) -> Answer {
    let face = visitor.to_all(Scope::Provision)?;
    let sound = visitor.sound(uuid)?;
    face.house.directory.remove_sound(&visitor.context, sound.uuid)?;
    face.house.record(visitor.asker(), "sound.remove", &uuid.to_string(), "").await?;
    Ok(face.gone())
}

impl Visitor {
    fn sound(&self, uuid: Uuid) -> Result<Sound, Refused> {
        let sound = self.face.house.directory.sound(&self.context, uuid);
        sound.ok_or(Refused(StatusCode::NOT_FOUND))
    }

    async fn keep(&self, sound: &Sound, audio: Bytes) -> Result<(), Refused> {
        let (house, context) = (self.face.house.clone(), self.context.clone());
        let sound = sound.clone();
        let turn = heavy_turn().await?;
        let kept = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let draft = house.directory.sound_draft(&context)?;
            let kept = std::fs::write(&draft, &audio).map_err(Refused::from).and_then(|()| {
                (house.media.playable)(&draft).map_err(|_| StatusCode::BAD_REQUEST)?;
                Ok(house.directory.add_sound(&context, &sound, &draft)?)
            });
            if kept.is_err() {
                let _ = std::fs::remove_file(&draft);
            }
            kept
        });
        kept.await.map_err(broken)?
    }
}

fn from_json(bytes: &[u8]) -> Result<Upload, Refused> {
    let mut new: wire::NewSound =
        serde_json::from_slice(bytes).map_err(|_| StatusCode::BAD_REQUEST)?;
    let content = new.content.take().ok_or(StatusCode::BAD_REQUEST)?;
    let audio = STANDARD.decode(content.trim()).map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(Upload { new, audio: audio.into() })
}

fn raw(query: &str, audio: Bytes) -> Upload {
    let pairs = form::pairs(query).unwrap_or_default();
    let text = |name| pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let new = wire::NewSound {
        name: text("name"),
        file_name: text("file_name"),
        tag: text("tag"),
        content: None,
    };
    Upload { new, audio }
}

async fn from_form(request: Request) -> Result<Upload, Refused> {
    let bad = |why: MultipartError| why.status();
    let mut parts =
        Multipart::from_request(request, &()).await.map_err(|_| StatusCode::BAD_REQUEST)?;
    let mut new = wire::NewSound { name: None, file_name: None, tag: None, content: None };
    let mut audio = None;
    while let Some(part) = parts.next_field().await.map_err(bad)? {
        match part.name().unwrap_or_default() {
            "name" => new.name = Some(part.text().await.map_err(bad)?),
            "tag" => new.tag = Some(part.text().await.map_err(bad)?),
            "file" | "content" | "sound" => {
                new.file_name = part.file_name().map(str::to_owned);
                audio = Some(part.bytes().await.map_err(bad)?);
            }
            _ => {}
        }
    }
    Ok(Upload { new, audio: audio.ok_or(StatusCode::BAD_REQUEST)? })
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
