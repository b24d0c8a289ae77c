//! `afterbeep demo`: the main job, shown: a server, a real call over loopback, a message.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use super::Place;
use super::call::Call;
use crate::config::Config;
use crate::control::{Command, Reply, Stores};
use crate::daemon::Daemon;
use crate::directory::Settings;
use crate::mailbox::{Folder, MailboxId, Message};
use crate::spool::Query;
use crate::state::credential::{Credential, Role};

#[derive(Args)]
pub(super) struct Demo {
    /// End after the show instead of waiting for your own call
    #[arg(long)]
    once: bool,
}

/// What the sample caller says, part of the program like the prompts.
const MESSAGE: &[u8] = include_bytes!("../../sounds/en/demo-message.wav");
const MAILBOX: &str = "1000";
const USER: &str = "demo";

impl Demo {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let dir = fresh_dir()?;
        let config = demo_config(place, &dir)?;
        let daemon = Daemon::start(&config).await?;
        let password = random_password()?;
        let pin = sample(&daemon.stores, &password).await?;
        let sip = daemon.sip.first().context("nothing listens for SIP")?.1;
        let http = *daemon.http.first().context("nothing listens for HTTP")?;
        println!(
            "Afterbeep runs: SIP on {sip}, HTTP on {http}, spool in {}",
            config.spool.display()
        );
        println!("Mailbox {MAILBOX} was made; its PIN is {pin} (shown this once).\n");

        println!("Calling sip:{MAILBOX}@{} and leaving a spoken message…", loopback(sip));
        let wav = dir.join("demo-message.wav");
        std::fs::write(&wav, MESSAGE)?;
        let target = format!("sip:{MAILBOX}@{}", loopback(sip));
        let report = Call::to(&target, &wav, ("2125550142", "Michael Demo")).place().await?;
        println!(
            "  answered after {:.1} ms, beep after {:.1} s, spoke for {:.1} s, then hung up\n",
            report.answered_after.as_secs_f64() * 1000.0,
            report.beep_after.unwrap_or_default().as_secs_f64(),
            report.spoke.as_secs_f64(),
        );
        let message = stored(&daemon.stores).await?;
        show_files(&daemon.stores, &message)?;
        show_list(http, &password).await?;
        if self.once {
            daemon.stop().await;
            std::fs::remove_dir_all(&dir).context("cannot remove the demonstration's files")?;
            return Ok(());
        }
        show_phone(sip, http, &password, &dir);
        println!("\nCtrl-C ends it. The messages stay in {}.", config.spool.display());
        daemon.serve().await
    }
}

/// A directory that nobody can have prepared for us.
fn fresh_dir() -> anyhow::Result<PathBuf> {
    let dir = std::env::temp_dir().join(format!("afterbeep-demo-{}", random_password()?));
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&dir)
        .with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// The flags, or a directory of its own and ports that are free.
fn demo_config(place: &Place, dir: &Path) -> anyhow::Result<Config> {
    let mut config = place.config()?;
    if place.spool.is_none() && place.config.is_none() {
        config.spool = dir.join("spool");
    }
    if place.state.is_none() && place.config.is_none() {
        config.state = dir.join("state");
    }
    if place.sip.is_none() && place.config.is_none() {
        let everywhere = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let free = |port: &u16| UdpSocket::bind(everywhere(*port)).is_ok();
        let port = (5060..5100).find(free).context("no port from 5060 to 5099 is free for SIP")?;
        config.sip.udp = vec![everywhere(port)];
        config.sip.tcp = vec![everywhere(port)];
    }
    if place.http.is_none() && place.config.is_none() {
        let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let free = |port: &u16| std::net::TcpListener::bind(here(*port)).is_ok();
        let port = (8080..8120).find(free).context("no port from 8080 to 8119 is free for HTTP")?;
        config.http.listen = vec![here(port)];
    }
    Ok(config)
}

async fn sample(stores: &Stores, password: &str) -> anyhow::Result<String> {
    let mut settings = Settings::new();
    settings.insert("name".into(), "Demo Mailbox".into());
    let made = Command::AddMailbox { mailbox: MAILBOX.into(), settings, pin: None };
    let Reply::Pin { pin } = done(stores.perform(made).await)? else { bail!("no PIN was drawn") };
    let user = Command::AddCredential {
        credential: Credential::user(USER, Role::Reader),
        secret: password.to_owned(),
    };
    done(stores.perform(user).await)?;
    Ok(pin)
}

fn done(reply: Reply) -> anyhow::Result<Reply> {
    match reply {
        Reply::Refused { why } => bail!(why),
        reply => Ok(reply),
    }
}

fn random_password() -> anyhow::Result<String> {
    let mut bytes = [0; 12];
    crate::state::seal::chance(&mut bytes)?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

/// The message that the call left: it is there a moment after the hang-up.
async fn stored(stores: &Stores) -> anyhow::Result<Message> {
    let id: MailboxId = MAILBOX.parse()?;
    let query = Query { folders: vec![Folder::Inbox], newest_first: true, ..Query::default() };
    for _ in 0..100 {
        if let Some(message) = stores.spool.list(&id, &query).await?.first() {
            return Ok((**message).clone());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the call left no message")
}

fn show_files(stores: &Stores, message: &Message) -> anyhow::Result<()> {
    println!("In the spool:");
    let audio = stores.spool.audio_path(message);
    for path in [&audio, &audio.with_extension("txt")] {
        let shown = path.strip_prefix(stores.spool.root()).unwrap_or(path);
        println!("  {:>8} bytes  {}", std::fs::metadata(path)?.len(), shown.display());
    }
    Ok(())
}

async fn show_list(http: SocketAddr, password: &str) -> anyhow::Result<()> {
    let path = format!("/api/teleconsole/rest/voicemail?mailbox={MAILBOX}");
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {http}\r\nAuthorization: Basic {}\r\n\r\n",
        STANDARD.encode(format!("{USER}:{password}"))
    );
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(http)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    })
    .await??;
    let (_, body) = answer.split_once("\r\n\r\n").context("HTTP gave no answer")?;
    println!("\nThe list over HTTP, GET {path}:");
    println!("  {}", body.replace("\",\"", "\",\n    \"").replace("[{", "[{\n    "));
    Ok(())
}

fn show_phone(sip: SocketAddr, http: SocketAddr, password: &str, dir: &Path) {
    let here = outside().unwrap_or(Ipv4Addr::LOCALHOST.into());
    println!(
        "\nCall it yourself, from any SIP phone, without registering: sip:{MAILBOX}@{here}:{}",
        sip.port()
    );
    println!(
        "or with this program: afterbeep call sip:{MAILBOX}@{} --wav {}",
        loopback(sip),
        dir.join("demo-message.wav").display()
    );
    println!(
        "List messages:   curl -u {USER}:{password} 'http://{http}/api/teleconsole/rest/voicemail?mailbox={MAILBOX}'"
    );
}

fn loopback(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))
    } else {
        address
    }
}

/// The address that a phone in the same network would use. Nothing is sent.
fn outside() -> Option<IpAddr> {
    let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // RFC 5737: an address for documents, which leads to the default route.
    probe.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    probe.local_addr().ok().map(|address| address.ip())
}
