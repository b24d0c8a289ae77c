//! The daemon's end of `<state>/control.sock`: commands in, answers out.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines, Take};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::{Command, Reply, Stores, TraceFilter};
use crate::accept::accept;
use crate::spool::{Gauge, Progress};

fn path(state: &Path) -> PathBuf {
    state.join("control.sock")
}

/// The way to the daemon, if one runs.
pub(super) async fn connect(state: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path(state)).await
}

/// Answers commands until the task is dropped.
pub fn listen(state: &Path, stores: &Stores) -> io::Result<impl Future<Output = ()> + use<>> {
    let path = path(state);
    // A socket file of a daemon that died: the lock on the state says that none lives.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let stores = stores.clone();
    Ok(async move {
        loop {
            let (stream, _) = accept("the control socket", || listener.accept()).await;
            tokio::spawn(answer(stream, stores.clone()));
        }
    })
}

const LONGEST: u64 = 1024 * 1024;

async fn answer(stream: UnixStream, stores: Stores) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read.take(LONGEST)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let reply = match serde_json::from_str(&line) {
            Ok(Command::Trace { filter }) if stores.tracer.is_some() => {
                return trace(&stores, filter, &mut lines, &mut write).await;
            }
            Ok(Command::ReindexSpool) => match reindex(&stores, &mut write).await {
                Ok(reply) => reply,
                Err(_) => return,
            },
            Ok(command) => stores.perform(command).await,
            Err(error) => Reply::Refused { why: format!("no command: {error}") },
        };
        lines.get_mut().get_mut().set_limit(LONGEST);
        if send(&mut write, &reply).await.is_err() {
            return;
        }
    }
}

/// Reads the spool anew, and tells how far it is for as long as somebody listens.
async fn reindex(stores: &Stores, write: &mut OwnedWriteHalf) -> io::Result<Reply> {
    let (told, progress) = watch::channel(Progress::default());
    let gauge = Gauge::new(move |progress| {
        told.send_replace(progress);
    });
    let mut work = pin!(stores.reindex(&gauge));
    let mut tick = tokio::time::interval(TOLD);
    loop {
        tokio::select! {
            reply = &mut work => {
                return Ok(reply.unwrap_or_else(|e| Reply::Refused { why: format!("{e:#}") }));
            }
            _ = tick.tick() => {
                let progress = *progress.borrow();
                send(write, &Reply::Reading { progress }).await?;
            }
        }
    }
}

/// Between two words of progress.
const TOLD: Duration = Duration::from_millis(200);

/// Shows messages until whoever asked goes away, or says anything more.
async fn trace(
    stores: &Stores,
    filter: TraceFilter,
    lines: &mut Lines<BufReader<Take<OwnedReadHalf>>>,
    write: &mut OwnedWriteHalf,
) {
    let Some(mut told) = stores.tracer.as_ref().and_then(|tracer| tracer(filter)) else {
        let why = "as many watch already as may".to_owned();
        let _nobody_reads_it = send(write, &Reply::Refused { why }).await;
        return;
    };
    let mut reply = Reply::Done;
    while send(write, &reply).await.is_ok() {
        reply = tokio::select! {
            next = told.recv() => match next {
                Some(next) => next,
                None => return,
            },
            _ = lines.next_line() => return,
        };
    }
}

pub(super) async fn send(
    write: &mut (impl AsyncWriteExt + Unpin),
    line: &impl Serialize,
) -> io::Result<()> {
    let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
    text.push(b'\n');
    write.write_all(&text).await
}
