//! `afterbeep call`: a caller of our own. It leaves a recording or presses keys, and says what it
//! heard.

use std::fs::{File, OpenOptions};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use tokio::time::{sleep, timeout};

use crate::call::choice::Codecs;
use crate::call::talk::Talk;
use crate::daemon;
use crate::media::{self, Media, Port, Sound, Stream, Take, tone};
use crate::sip::{self, Credentials, Dialog, NameAddr, Uri};

#[derive(Args)]
pub(super) struct Call {
    /// Whom to call, such as sip:1000@192.0.2.5, sip:1000@192.0.2.5:5070;transport=tcp or
    /// sips:1000@vm.example.com
    target: String,
    /// Leave this recording after the beep (any file that symphonia reads)
    #[arg(long, value_name = "FILE")]
    wav: Option<PathBuf>,
    /// Press these keys before (0-9 * # A-D; `,` waits a second), for example '#' to skip a greeting
    #[arg(long, value_name = "KEYS")]
    keys: Option<String>,
    /// The number that calls; without one the caller is anonymous
    #[arg(long)]
    from: Option<String>,
    /// The name that calls
    #[arg(long)]
    name: Option<String>,
    /// Who to be when a password is asked for
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// A file with the password on its only line
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// The realm that may ask for it, where it is not the host that is called
    #[arg(long, value_name = "REALM", requires = "user")]
    realm: Option<String>,
    /// Keep what was heard in this WAV file
    #[arg(long, value_name = "FILE")]
    heard: Option<PathBuf>,
    /// The authorities (PEM) that vouch for whom you call by TLS, instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How many seconds to wait for the beep, or to listen where nothing is left
    #[arg(long, default_value_t = 30)]
    wait: u64,
}

/// What a call came to.
pub(super) struct Report {
    pub(super) answered_after: Duration,
    pub(super) beep_after: Option<Duration>,
    pub(super) spoke: Duration,
    pub(super) statistics: media::Statistics,
}

impl Call {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let report = self.place().await?;
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        println!("answered after {:.1} ms", ms(report.answered_after));
        if let Some(beep) = report.beep_after {
            println!("beep after {:.1} s", beep.as_secs_f64());
        }
        if !report.spoke.is_zero() {
            println!("spoke for {:.1} s", report.spoke.as_secs_f64());
        }
        let media::Statistics { received, lost, sent, .. } = report.statistics;
        println!("heard {received} packets, {lost} lost; sent {sent}");
        if received == 0 {
            bail!("nothing was heard: does a firewall keep RTP out?");
        }
        Ok(())
    }

    pub(super) fn to(target: &str, wav: &Path, from: (&str, &str)) -> Self {
        Self {
            target: target.to_owned(),
            wav: Some(wav.to_owned()),
            keys: None,
            from: Some(from.0.to_owned()),
            name: Some(from.1.to_owned()),
            user: None,
            password_file: None,
            realm: None,
            heard: None,
            ca: None,
            wait: 30,
        }
    }

    pub(super) async fn place(self) -> anyhow::Result<Report> {
        let target: Uri = self.target.parse().with_context(|| {
            format!("`{}` is no SIP address: write sip:1000@host", self.target.escape_debug())
        })?;
        let way = way_to(&target).await?;
        let here = SocketAddr::new(way, 0);
        let config = sip::Config {
            udp: vec![here],
            certificates: sip::Certificates { ca: self.ca.clone(), ..Default::default() },
            user_agent: concat!("afterbeep-call/", env!("CARGO_PKG_VERSION")).into(),
            ..sip::Config::default()
        };
        let (agent, _invites) = sip::bind(config).await?;
        let media = Media::start(media::Config {
            ports: 30_000..=39_999,
            bind: way,
            threads: 1,
            ..media::Config::default()
        })?;
        let mut port = media.open()?;
        // What it measures is the daemon, not what a codec costs here.
        let mut talk =
            Talk::new(way, port.number(), u64::from(std::process::id())).speaking(Codecs::narrow());
        let mut from = NameAddr::new(match &self.from {
            Some(number) => Uri::sip(number, &way.to_string(), None),
            // RFC 3323 §4.1.1.3.
            None => Uri::sip("anonymous", "anonymous.invalid", None),
        });
        from.display.clone_from(&self.name);
        let began = Instant::now();
        let credentials = self.credentials()?;
        let dialog = agent.call_as(&target, &from, talk.offer(), credentials.as_ref()).await;
        let mut dialog =
            dialog.map_err(|refusal| anyhow::anyhow!("the call was refused: {refusal}"))?;
        let answered_after = began.elapsed();
        let answer = dialog.remote_body().unwrap_or_default();
        let stream = talk
            .answered(answer)
            .map_err(|_| anyhow::anyhow!("the answer has no audio that we speak"))?;
        port.connect(stream);
        let done = self.talk(&mut dialog, &mut port, stream).await;
        let statistics = port.statistics();
        dialog.bye();
        agent.shutdown(Duration::from_secs(1)).await;
        let (beep_after, spoke) = done?;
        Ok(Report { answered_after, beep_after, spoke, statistics })
    }

    fn credentials(&self) -> anyhow::Result<Option<Credentials>> {
        let (Some(user), Some(file)) = (&self.user, &self.password_file) else { return Ok(None) };
        let (username, realm) = (user.clone(), self.realm.clone());
        Ok(Some(Credentials { username, secret: daemon::read_secret(file)?, realm }))
    }

    async fn talk(
        &self,
        dialog: &mut Dialog,
        port: &mut Port,
        stream: Stream,
    ) -> anyhow::Result<(Option<Duration>, Duration)> {
        let codec = stream.codec;
        let message = match self.wav.clone() {
            Some(wav) => {
                let name = wav.display().to_string();
                let read = tokio::task::spawn_blocking(move || Sound::read(&wav, codec));
                Some(Arc::new(read.await?.with_context(|| format!("cannot play {name}"))?))
            }
            None => None,
        };
        let temporary =
            std::env::temp_dir().join(format!("afterbeep-heard-{}.wav", std::process::id()));
        let heard = self.heard.clone().unwrap_or_else(|| temporary.clone());
        let file = new_file(&heard)?;
        port.record(Take::new(Box::new(move || Ok(file))));
        let began = Instant::now();
        let done = async {
            for part in self.keys.iter().flat_map(|keys| keys.split_inclusive(',')) {
                port.press(part);
                played(dialog, port).await?;
                if part.ends_with(',') {
                    sleep(Duration::from_secs(1)).await;
                }
            }
            let Some(message) = message else {
                // Until the other side hangs up, or we have listened long enough.
                let _ = timeout(Duration::from_secs(self.wait), ended(dialog)).await;
                return Ok((None, Duration::ZERO));
            };
            self.beep(dialog, &heard, codec.rate()).await?;
            let beep_after = began.elapsed();
            let spoke = message.duration();
            port.play(vec![message]);
            played(dialog, port).await?;
            Ok((Some(beep_after), spoke))
        }
        .await;
        port.stop_recording();
        while !matches!(
            timeout(Duration::from_secs(5), port.next()).await,
            Err(_) | Ok(media::Event::Recorded(_))
        ) {}
        if heard == temporary {
            let _ = std::fs::remove_file(&temporary);
        }
        done
    }

    /// Listens until a steady tone has ended.
    async fn beep(&self, dialog: &mut Dialog, heard: &Path, rate: u32) -> anyhow::Result<()> {
        let patience = Duration::from_secs(self.wait);
        let listen = async {
            loop {
                if tone::end_of_beep(&media::wav::samples(heard)?, rate).is_some() {
                    return Ok(());
                }
                if timeout(LISTEN, ended(dialog)).await.is_ok() {
                    bail!("the other side hung up before any beep");
                }
            }
        };
        timeout(patience, listen).await.unwrap_or_else(|_| {
            bail!("no beep was heard within {} s (--wait listens longer)", self.wait)
        })
    }
}

/// Between two looks at what was heard.
const LISTEN: Duration = Duration::from_millis(100);

/// Waits until the other side hangs up.
async fn ended(dialog: &mut Dialog) {
    loop {
        match dialog.next().await {
            sip::Event::Bye | sip::Event::Lost => return,
            sip::Event::Offer { .. } => dialog.refuse(),
            sip::Event::Refer(refer) => dialog.decline(&refer),
            sip::Event::Confirmed { .. }
            | sip::Event::Info { .. }
            | sip::Event::Identity(_)
            | sip::Event::Reached { .. }
            | sip::Event::Referred { .. } => {}
        }
    }
}

async fn played(dialog: &mut Dialog, port: &mut Port) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = ended(dialog) => bail!("the other side hung up"),
            event = port.next() => match event {
                media::Event::Played => return Ok(()),
                media::Event::Unkeyed(why) => bail!("no keys for the audio: {why}"),
                media::Event::Key(_)
                | media::Event::At(_)
                | media::Event::Recorded(_)
                | media::Event::Silent => {}
            },
        }
    }
}

fn new_file(path: &Path) -> anyhow::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))
}

/// Our own address as the target sees it. Nothing is sent.
async fn way_to(target: &Uri) -> anyhow::Result<IpAddr> {
    let host = target.host.trim_matches(['[', ']']).to_owned();
    let port = target.port.unwrap_or(5060);
    let resolved = tokio::net::lookup_host((host.clone(), port)).await;
    let address = resolved
        .with_context(|| format!("cannot find {}", host.escape_debug()))?
        .next()
        .with_context(|| format!("{} has no address", host.escape_debug()))?;
    let any: SocketAddr =
        if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let probe = UdpSocket::bind(any)?;
    probe.connect(address).with_context(|| format!("cannot reach {address}"))?;
    Ok(probe.local_addr()?.ip())
}
