//! The daemon: what starts in which order, and how it ends.

mod identity;
mod lines;
mod listening;
mod notices;
mod trace;

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::field::Field;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::call::Reception;
use crate::call::live::Live;
use crate::config::{self, Config, LogFormat};
use crate::control::{self, Stores};
use crate::http::guard::Guard;
use crate::http::{self, House};
use crate::mailbox::edit::Rules;
use crate::mailbox::retention::{self, Ceiling, Retention, Seen, Turn};
use crate::media::{self, Media};
use crate::sip::{self, Agent};
use crate::spool::{self, Audio, Form, Gauge, Reader, Spool};
use crate::tls;
use crate::tls::acme::{Challenges, Keeper, Wish};

pub use identity::read_secret;
pub use listening::media_for_http;

/// The forms that a message is asked for in beside its own, for [`Renditions`].
pub const FORMS: &[Form] = &[
    Form {
        extension: "mp3",
        media_type: "audio/mpeg",
        make: |audio| export(audio, media::Form::Mp3),
    },
    Form {
        extension: "ogg",
        media_type: "audio/ogg; codecs=opus",
        make: |audio| export(audio, media::Form::Opus),
    },
    // Of what another program recorded as something else.
    Form { extension: "wav", media_type: "audio/wav", make: listening::whole },
];

fn export(audio: &Path, form: media::Form) -> io::Result<Vec<u8>> {
    media::export(audio, form).map_err(io::Error::other)
}

/// How the spool reads audio: any file, and repairs the recordings of ours.
pub const WAV: Reader = Reader {
    info: |path: &Path| media::file::info(path).map(audio),
    repair: |file: &File| media::wav::repair_open(file).map(audio),
    playable: |path: &Path| {
        let sound = media::Sound::read(path, media::Codec::Pcmu);
        sound.map(drop).map_err(io::Error::other)
    },
    join: |parts: &[&Path], to: &Path| media::join(parts, to).map(audio),
};

fn audio(info: media::wav::Info) -> Audio {
    Audio { rate: info.rate, duration: info.duration(), data_at: info.data_offset }
}

/// A daemon that answers calls.
pub struct Daemon {
    pub stores: Stores,
    /// Where it listens, with the ports that the system chose.
    pub sip: Vec<(sip::Transport, SocketAddr)>,
    pub http: Vec<SocketAddr>,
    /// Where HTTP is HTTPS.
    shown: Option<tls::Shown>,
    agent: Agent,
    live: Live,
    /// How long calls in progress may go on after the daemon was told to stop.
    drain: Duration,
    hang_up: Signal,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

const HOUR: Duration = Duration::from_hours(1);
const RETRY: Duration = Duration::from_secs(30);
/// How long the last recordings may take to be stored.
const STORING: Duration = Duration::from_secs(30);
/// Files that are open whatever goes on: databases, listeners, logs.
const OTHER_FILES: usize = 200;
/// Files that one call needs: two sockets, its recording, and a sidecar for a moment.
const FILES_A_CALL: usize = 4;

impl Daemon {
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        // Who has certificates read again while a large spool is read has them read after that.
        let hang_up = signal(SignalKind::hangup())?;
        let files = raise_file_limit();
        let options = spool::Options {
            at_once: true,
            rules: Rules { move_heard: config.messages.move_heard },
            shred: config.messages.shred,
            fallback: config.fallback.clone(),
            min_free: u64::from(config.messages.min_free_megabytes) * 1_000_000,
            gauge: slowly_told(),
            ..spool::Options::default()
        };
        let (mut stores, problems) = Stores::open_with(&config.spool, &config.state, WAV, options)
            .await
            .with_context(|| {
                format!(
                    "cannot open the spool {} with the state {}",
                    config.spool.display(),
                    config.state.display()
                )
            })?;
        for problem in problems.iter().chain(&loose(config)) {
            warn!("{problem}");
        }
        limit(config, &stores);
        let media = Media::start(media_config(config)).context("cannot start the media threads")?;
        let share = Share::of(files, config.http.max_connections);
        if share.http < config.http.max_connections {
            let wanted = config.http.max_connections;
            warn!("http.max_connections is {wanted}, but open files allow only {}", share.http);
        }
        let most = most_calls(config, &media, share.calls);
        info!(
            calls = most,
            files,
            ports = media.capacity() * 2,
            sip_connections = share.sip,
            http_connections = share.http,
            "takes up to {most} calls at once"
        );
        let live = Live::new(most);
        let depositing = live.clone();
        stores.busy = Some(Arc::new(move |mailbox| depositing.depositing(mailbox) > 0));
        let reception = Reception::new(
            config,
            stores.directory.clone(),
            stores.spool.clone(),
            media,
            live.clone(),
        );
        reception.warm().await;
        let (agent, invites) = sip::bind(sip_config(config, most, share.sip)?).await?;
        let sip = agent.local_addrs();
        for (transport, address) in &sip {
            info!("listens for SIP on {address} by {}", transport.name());
        }
        let (stop, stopped) = watch::channel(false);
        let mut tasks = vec![tokio::spawn(take_calls(invites, reception))];
        let mut server = web(config, &stores, &live, share.http)?;
        let shown = certificate(config, &mut tasks, &stopped).await?;
        if let Some(shown) = &shown {
            tasks.push(tokio::spawn(shown.clone().watch()));
            server = server.with_tls(shown.clone());
        }
        let mut http = vec![];
        for address in &config.http.listen {
            let listener = http::bind(*address).await?;
            let address = listener.local_addr()?;
            info!("listens for HTTP on {address}");
            http.push(address);
            tasks.push(tokio::spawn(server.clone().serve(listener, stopped.clone())));
        }
        stores.tracer = Some(trace::tracer(agent.clone()));
        tasks.push(tokio::spawn(try_again(stores.spool.clone())));
        tasks.push(tokio::spawn(stores.spool.clone().watch()));
        let retention = config.messages.retention;
        tasks.push(tokio::spawn(sweep_nightly(stores.spool.clone(), retention)));
        tasks.push(tokio::spawn(forget_attempts(stores.clone())));
        tasks.extend(notices::start(config, &stores, &agent, &stopped)?);
        let control = control::listen(&config.state, &stores).with_context(|| {
            format!("cannot make the control socket in {}", config.state.display())
        })?;
        tasks.push(tokio::spawn(control));
        let drain = Duration::from_secs(config.sip.drain_seconds.into());
        Ok(Self { stores, sip, http, shown, agent, live, drain, hang_up, stop, tasks })
    }

    /// Serves until SIGINT or SIGTERM. SIGHUP reads the certificates and the mailboxes' settings
    /// again.
    pub async fn serve(mut self) -> anyhow::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                _ = self.hang_up.recv() => {
                    self.agent.reload().await;
                    let stores = self.stores.clone();
                    tokio::task::spawn_blocking(move || stores.reread());
                    if let Some(shown) = self.shown.clone() {
                        tokio::task::spawn_blocking(move || shown.reload());
                    }
                }
            }
        }
        self.stop().await;
        Ok(())
    }

    /// No new calls; those in progress may end; then everything is closed.
    pub async fn stop(self) {
        info!(
            calls = self.live.count(),
            "stops; calls in progress may go on for {} s",
            self.drain.as_secs()
        );
        let _ = self.stop.send(true);
        self.agent.shutdown(self.drain).await;
        // A hung-up call is still writing its message.
        if tokio::time::timeout(STORING, self.live.drain()).await.is_err() {
            warn!(
                calls = self.live.count(),
                "calls are still being stored; what they left is stored at the next start"
            );
        }
        for task in &self.tasks {
            task.abort();
        }
        self.stores.spool.close().await;
        self.stores.state.close().await;
    }
}

/// What serves HTTP, on whichever listeners.
fn web(
    config: &Config,
    stores: &Stores,
    live: &Live,
    connections: usize,
) -> anyhow::Result<http::Server> {
    let house = House {
        spool: stores.spool.clone(),
        directory: stores.directory.clone(),
        guard: Guard::new(&stores.state, config.http.requests_per_second)?,
        state: stores.state.clone(),
        media: media_for_http(
            &config.state,
            u64::from(config.http.renditions_megabytes) * 1_000_000,
        )?,
        now: Arc::new(control::unix_now),
        busy: stores.busy.clone().unwrap_or_else(|| Arc::new(|_| false)),
        calls: lines::calls(live),
        options: Arc::new(in_force(config)),
    };
    let limits = http::Limits { connections, ..http::Limits::default() };
    let server =
        http::Server::of_faces(&house, &config.http, limits).behind(&config.http.trusted_proxies);
    Ok(server)
}

/// What HTTPS shows: the certificate that the configuration names, or one by ACME.
async fn certificate(
    config: &Config,
    tasks: &mut Vec<JoinHandle<()>>,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<Option<tls::Shown>> {
    let http = &config.http;
    if http.acme_names.is_empty() {
        return https(config).context("cannot serve HTTPS");
    }
    let challenges = Challenges::default();
    let wish = Wish {
        directory: http.acme_directory.clone(),
        directory_ca: http.acme_directory_ca.clone(),
        names: http.acme_names.clone(),
        contact: http.acme_contact.clone(),
        place: config.state.join("acme"),
    };
    let keeper = Keeper::open(wish, challenges.clone()).context("cannot keep a certificate")?;
    let router = http::challenges(challenges);
    let server = http::Server::new(router, http::Limits::default());
    for address in &http.acme_listen {
        let listener = http::bind(*address).await?;
        info!("answers ACME's questions on {}", listener.local_addr()?);
        tasks.push(tokio::spawn(server.clone().serve(listener, stopped.clone())));
    }
    let shown = keeper.shown();
    tasks.push(tokio::spawn(keeper.run()));
    Ok(Some(shown))
}

/// The certificate that the configuration names for HTTPS.
pub fn https(config: &Config) -> io::Result<Option<tls::Shown>> {
    let pair = config.http.tls_certificate.as_ref().zip(config.http.tls_key.as_ref());
    pair.map(|(certificate, key)| tls::Shown::read(certificate, key)).transpose()
}

/// What an administrator may know of the configuration: no secret is among it.
fn in_force(config: &Config) -> serde_json::Value {
    let Config { spool, state, fallback, sip, media, deposit, http, log, .. } = config;
    let texts = |addresses: &[SocketAddr]| -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    };
    serde_json::json!({
        "spool": spool,
        "state": state,
        "fallback": fallback,
        "sip": {
            "udp": texts(&sip.udp),
            "tcp": texts(&sip.tcp),
            "tls": texts(&sip.tls),
            "ws": texts(&sip.ws),
            "wss": texts(&sip.wss),
            "max_calls": sip.max_calls,
            "peers": sip.peers.len(),
            "registrations": sip.registrations.len(),
        },
        "media": { "ports": media.ports, "bind": media.bind, "threads": media.threads },
        "deposit": {
            "max_messages": deposit.max_messages,
            "max_seconds": deposit.max_seconds,
            "min_seconds": deposit.min_seconds,
        },
        "http": {
            "listen": texts(&http.listen),
            "tls": http.tls_certificate.is_some() || !http.acme_names.is_empty(),
            "max_connections": http.max_connections,
            "requests_per_second": http.requests_per_second,
            "reveal_pins": http.reveal_pins,
            "telebroad": http.telebroad,
            "onsip": http.onsip,
            "telecomx": http.telecomx,
            "yay": http.yay,
            "telecmi": http.telecmi,
        },
        "log": { "level": log.level },
    })
}

async fn take_calls(mut invites: tokio::sync::mpsc::Receiver<sip::Invite>, reception: Reception) {
    while let Some(invite) = invites.recv().await {
        tokio::spawn(reception.clone().receive(Box::new(invite)));
    }
}

/// A start that reads a large spool says how far it is.
fn slowly_told() -> Gauge {
    let last = Mutex::new(Instant::now());
    Gauge::new(move |progress| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= Duration::from_secs(10) {
            *last = Instant::now();
            info!(
                messages = progress.messages,
                "reads the spool: {} of {} mailboxes, {} messages",
                progress.mailboxes,
                progress.of,
                progress.messages
            );
        }
    })
}

/// Tells the spool what each mailbox may hold.
fn limit(config: &Config, stores: &Stores) {
    let (directory, house) = (stores.directory.clone(), config.deposit.max_messages);
    let any = |most: u32, unit: u64| (most > 0).then(|| u64::from(most) * unit);
    let seconds = any(config.messages.max_minutes, 60);
    let bytes = any(config.messages.max_megabytes, 1_000_000);
    stores.spool.limit(move |id| {
        let own = directory.find(id).and_then(|mailbox| mailbox.max_messages);
        Ceiling { messages: Some(own.unwrap_or(house).into()), seconds, bytes }
    });
}

/// Wrong PINs and passwords are held against nobody for ever.
async fn forget_attempts(stores: Stores) {
    let mut tick = tokio::time::interval(HOUR);
    loop {
        tick.tick().await;
        if let Err(error) = stores.state.forget_attempts(control::unix_now()).await {
            warn!("old wrong attempts could not be forgotten: {error}");
        }
    }
}

/// Lets go what is too old, once a day.
async fn sweep_nightly(spool: Spool, retention: Retention) {
    let mut tick = tokio::time::interval(HOUR);
    let mut began = (Instant::now(), control::unix_now());
    loop {
        tick.tick().await;
        let now = control::unix_now();
        let passed = i64::try_from(began.0.elapsed().as_secs()).unwrap_or(i64::MAX);
        let seen = Seen { since: began.1, passed };
        let swept = match spool.last_sweep().await {
            Ok(_) if !retention.ends() => continue,
            Ok(last) => match retention::turn(last, now, seen) {
                Turn::Later => continue,
                Turn::Now => spool.sweep(&retention, now, false).await.map(drop),
                Turn::Odd(halt) => {
                    began = (Instant::now(), now);
                    spool.skip_sweep(now, halt).await
                }
            },
            Err(error) => Err(error),
        };
        if let Err(error) = swept {
            warn!("old messages could not be let go: {error}");
        }
    }
}

/// What a full disk kept from its mailbox gets there when there is room again.
async fn try_again(spool: Spool) {
    let mut tick = tokio::time::interval(RETRY);
    loop {
        tick.tick().await;
        match spool.retry().await {
            0 => {}
            delivered => {
                info!(delivered, "stored {delivered} messages that could not be stored before");
            }
        }
    }
}

/// Writes the log to standard error. `as_configured` is for the daemon; a command tells only
/// what went wrong.
pub fn log(log: &config::Log, as_configured: bool) -> anyhow::Result<()> {
    let level = if as_configured { &log.level } else { "warn" };
    let filter = filter(level)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    match log.format {
        LogFormat::Text => builder.fmt_fields(debug_fn(one_line).delimited(" ")).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// Writes a field of an event; whatever a file or an error is called, it begins no line of its own.
fn one_line(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        // Where the crate `log` was called is nobody's business.
        name if name.starts_with("log.") => return Ok(()),
        "message" => {}
        name => write!(writer, "{name}=")?,
    }
    for letter in format!("{value:?}").chars() {
        if letter.is_control() {
            write!(writer, "{}", letter.escape_debug())?;
        } else {
            writer.write_char(letter)?;
        }
    }
    Ok(())
}

/// What `log.level` lets through.
pub fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    // What a decoder thinks of a file is ours to tell, once and with the file's name.
    EnvFilter::try_new(format!("symphonia_core=off,{level}"))
        .with_context(|| format!("log.level: `{}` is no level or filter", level.escape_debug()))
}

/// As many open files as the system lets us have.
fn raise_file_limit() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map(|(_, hard)| {
        if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            warn!("the limit of open files could not be raised to {hard}: {error}");
        }
        getrlimit(Resource::RLIMIT_NOFILE).map_or(hard, |(soft, _)| soft)
    });
    usize::try_from(limit.unwrap_or(1024)).unwrap_or(usize::MAX)
}

/// Who may have how many of the open files: each connection needs one.
#[derive(Debug, PartialEq, Eq)]
struct Share {
    calls: usize,
    sip: usize,
    http: usize,
}

impl Share {
    /// Connections get what they may have, but together no more than a quarter.
    fn of(files: usize, http: usize) -> Self {
        let sip = sip::Limits::default().connections;
        let files = files.saturating_sub(OTHER_FILES);
        let wanted = sip + http;
        let connections = wanted.min(files / 4);
        let part = |of: usize| (of * connections / wanted).max(1);
        Self { calls: (files - connections) / FILES_A_CALL, sip: part(sip), http: part(http) }
    }
}

fn most_calls(config: &Config, media: &Media, by_files: usize) -> usize {
    let possible = media.capacity().min(by_files).max(1);
    match config.sip.max_calls {
        0 => possible,
        wanted if wanted > possible => {
            warn!("sip.max_calls is {wanted}, but ports and open files allow only {possible}");
            possible
        }
        wanted => wanted,
    }
}

fn media_config(config: &Config) -> media::Config {
    let (first, last) = config.media.ports;
    media::Config {
        ports: first..=last,
        bind: config.media.bind,
        threads: config.media.threads,
        ..media::Config::default()
    }
}

fn sip_config(config: &Config, calls: usize, connections: usize) -> anyhow::Result<sip::Config> {
    let defaults = sip::Limits::default();
    Ok(sip::Config {
        udp: config.sip.udp.clone(),
        tcp: config.sip.tcp.clone(),
        user_agent: concat!("Afterbeep/", env!("CARGO_PKG_VERSION")).into(),
        tls: config.sip.tls.clone(),
        ws: config.sip.ws.clone(),
        wss: config.sip.wss.clone(),
        certificates: certificates(&config.sip),
        origins: config.sip.ws_origins.clone(),
        advertised: config.media.advertise,
        limits: sip::Limits {
            // What is beyond `calls` is refused by name, with what the configuration says.
            calls: calls + 1000,
            retry_after: Duration::from_secs(config.sip.retry_after_seconds.into()),
            session: Duration::from_secs(config.sip.session_expires_seconds.into()),
            connections,
            connections_per_peer: defaults.connections_per_peer.min(connections),
            ..defaults
        },
        authentication: identity::authentication(config)?,
        registrations: identity::registrations(config)?,
        nameservers: config.sip.nameservers.clone(),
    })
}

/// The files that the configuration names.
pub fn certificates(sip: &config::Sip) -> sip::Certificates {
    let pair = sip.tls_certificate.clone().zip(sip.tls_key.clone());
    sip::Certificates {
        own: pair.map(|(certificate, key)| sip::Identity { certificate, key }),
        client_ca: sip.tls_client_ca.clone(),
        ca: sip.tls_ca.clone(),
    }
}

/// Who else may read what is kept.
pub fn loose(config: &Config) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let is_loose =
        |dir: &&PathBuf| dir.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0);
    let dirs = [&config.spool, &config.state].into_iter().filter(is_loose);
    dirs.map(|dir| format!("{} can be read by others: chmod 700 it", dir.display())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_calls() {
        assert_eq!(Share::of(65_536, 512), Share { calls: 15_950, sip: 1_024, http: 512 });
        assert_eq!(Share::of(1_024, 512), Share { calls: 154, sip: 137, http: 68 });
        assert_eq!(Share::of(0, 512), Share { calls: 0, sip: 1, http: 1 });
        assert!(Share::of(usize::MAX, 512).calls > 1_000_000);
    }

    #[test]
    fn whatever_something_is_called_it_begins_no_line_of_the_log() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(Arc::new(log.reopen().unwrap()))
            .fmt_fields(debug_fn(one_line).delimited(" "))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let name = "evil\nERROR \x1b[31m forged\u{85}";
            let _span = tracing::info_span!("call", id = %name).entered();
            warn!(folder = name, path = %name, "{name} cannot be read");
        });
        let log = std::fs::read_to_string(log.path()).unwrap();
        let name = r"evil\nERROR \u{1b}[31m forged\u{85}";
        let expected = format!(
            " WARN call{{id={name}}}: {name} cannot be read folder=\"{name}\" path={name}\n"
        );
        assert_eq!(log, expected);
    }
}
