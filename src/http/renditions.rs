//! Recordings in other formats, made when somebody asks and kept in memory for a while.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use tokio::sync::Semaphore;

use super::audio::Format;
use super::{Media, blocking};
use crate::mailbox::MessageId;

#[derive(Clone)]
pub struct Renditions(Arc<Inner>);

struct Inner {
    kept: Mutex<Kept>,
    /// Recordings that are made at one time: each takes a core.
    makers: Semaphore,
}

#[derive(Default)]
struct Kept {
    by_message: HashMap<(MessageId, Format), (Bytes, u64)>,
    bytes: usize,
    clock: u64,
}

const MAKERS: usize = 2;
/// In bytes: hours of MP3.
const MOST: usize = 32 * 1024 * 1024;

impl Default for Renditions {
    fn default() -> Self {
        Self(Arc::new(Inner { kept: Mutex::default(), makers: Semaphore::new(MAKERS) }))
    }
}

impl Renditions {
    /// The recording of a message in this format.
    pub(super) async fn of(
        &self,
        media: &Media,
        id: MessageId,
        path: &Path,
        format: Format,
    ) -> io::Result<Bytes> {
        if let Some(known) = self.kept(id, format) {
            return Ok(known);
        }
        let turn = self.0.makers.acquire().await.map_err(io::Error::other)?;
        // Whoever waited for the same may find it made.
        if let Some(known) = self.kept(id, format) {
            return Ok(known);
        }
        let (export, path) = (media.export, path.to_owned());
        let made = Bytes::from(blocking(move || export(&path, format)).await?);
        drop(turn);
        self.keep(id, format, &made);
        Ok(made)
    }

    fn kept(&self, id: MessageId, format: Format) -> Option<Bytes> {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock += 1;
        let now = kept.clock;
        let (bytes, used) = kept.by_message.get_mut(&(id, format))?;
        *used = now;
        Some(bytes.clone())
    }

    fn keep(&self, id: MessageId, format: Format, made: &Bytes) {
        if made.len() > MOST / 4 {
            return;
        }
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = kept.clock;
        if let Some((before, _)) = kept.by_message.insert((id, format), (made.clone(), now)) {
            kept.bytes -= before.len();
        }
        kept.bytes += made.len();
        while kept.bytes > MOST {
            let oldest = kept.by_message.iter().min_by_key(|(_, (_, used))| *used);
            let Some(key) = oldest.map(|(key, _)| *key) else { break };
            if let Some((gone, _)) = kept.by_message.remove(&key) {
                kept.bytes -= gone.len();
            }
        }
    }
}
