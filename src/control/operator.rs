//! Who asks: by the running daemon's socket, or of the stores themselves.

use std::path::Path;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::{Command, Reply, Stores, socket};
use crate::spool::{Options, Reader};

/// The way to whoever performs commands.
pub enum Operator {
    Daemon {
        lines: Lines<BufReader<OwnedReadHalf>>,
        write: OwnedWriteHalf,
    },
    /// And what was found wrong in the stores.
    Here(Box<Stores>, Vec<String>),
}

impl Operator {
    /// The running daemon, else the stores themselves.
    pub async fn reach(spool: &Path, state: &Path, reader: Reader) -> anyhow::Result<Self> {
        Self::reach_with(spool, state, reader, Options::default()).await
    }

    pub async fn reach_with(
        spool: &Path,
        state: &Path,
        reader: Reader,
        options: Options,
    ) -> anyhow::Result<Self> {
        if let Ok(stream) = socket::connect(state).await {
            let (read, write) = stream.into_split();
            return Ok(Self::Daemon { lines: BufReader::new(read).lines(), write });
        }
        let (stores, problems) = Stores::open_with(spool, state, reader, options).await?;
        Ok(Self::Here(Box::new(stores), problems))
    }

    /// Leaves the stores whole, so that the next start need not compare them with the tree.
    pub async fn close(self) {
        if let Self::Here(stores, _) = self {
            stores.spool.close().await;
            stores.state.close().await;
        }
    }

    pub async fn ask(&mut self, command: Command) -> anyhow::Result<Reply> {
        let reply = match self {
            Self::Here(stores, _) => stores.perform(command).await,
            Self::Daemon { write, .. } => {
                socket::send(write, &command).await?;
                self.next().await?
            }
        };
        match reply {
            Reply::Refused { why } => Err(anyhow::anyhow!(why)),
            reply => Ok(reply),
        }
    }

    /// What the daemon says further on.
    pub async fn next(&mut self) -> anyhow::Result<Reply> {
        match self {
            Self::Here(..) => anyhow::bail!("no daemon runs"),
            Self::Daemon { lines, .. } => {
                let line = lines.next_line().await?;
                let line = line.ok_or_else(|| anyhow::anyhow!("the daemon stopped"))?;
                Ok(serde_json::from_str(&line)?)
            }
        }
    }
}
