//! Mail servers of a test's own: Debian's OpenSMTPD, and one that lies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use afterbeep::sip::Identity;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::clients::installed;
use crate::house::soon;

/// Takes letters for example.com, and puts them into a maildir for each user.
pub struct OpenSmtpd {
    child: Child,
    pub port: u16,
    dir: TempDir,
}

impl OpenSmtpd {
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("afterbeep-mail-").tempdir().unwrap();
        // It delivers as one who may do nothing else.
        fs::create_dir(dir.path().join("mail")).unwrap();
        for (place, mode) in [("", 0o755), ("mail", 0o777)] {
            fs::set_permissions(dir.path().join(place), fs::Permissions::from_mode(mode)).unwrap();
        }
        let port = free_port();
        let config = format!(
            "listen on 127.0.0.1 port {port} hostname mail.example\n\
             action \"keep\" maildir \"{}/mail/%{{rcpt.user}}\" virtual {{ \"@\" = \"nobody\" }}\n\
             match from any for domain \"example.com\" action \"keep\"\n",
            dir.path().display()
        );
        fs::write(dir.path().join("smtpd.conf"), config).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let child = as_root("sh")
            .args(["-c", ALONE, "smtpd"])
            .arg(dir.path().join("smtpd.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { child, port, dir };
        let greets = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(soon(greets), "OpenSMTPD does not listen:\n{}", server.log());
        server
    }

    /// The letters that came for a user, once there are so many, in no order. One that came twice
    /// is one.
    pub fn letters(&self, user: &str, many: usize) -> Vec<Value> {
        let place = self.dir.path().join("mail").join(user).join("new");
        let list = || as_root("ls").arg(&place).output().unwrap().stdout;
        let (mut files, mut letters) = (0, BTreeMap::new());
        let came = soon(|| {
            let now = String::from_utf8_lossy(&list()).lines().count();
            if now >= many && now > files {
                (files, letters) = (now, read(&place));
            }
            letters.len() >= many
        });
        assert!(came, "{user} got no {many} letters, but {letters:#?}\n{}", self.log());
        assert_eq!(letters.len(), many, "{letters:#?}");
        letters.into_values().collect()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for OpenSmtpd {
    fn drop(&mut self) {
        // Its children end with it when it is asked to.
        let _ = as_root("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        // What is of nobody.
        let _ = as_root("rm").arg("-rf").arg(self.dir.path().join("mail")).status();
        if thread::panicking() {
            eprintln!("OpenSMTPD's log:\n{}", self.log());
        }
    }
}

/// The letters of a maildir by their Message-ID.
fn read(place: &Path) -> BTreeMap<String, Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/mail.py");
    let done = as_root("python3").arg(script).arg(place).output().unwrap();
    let told = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let letters = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    letters.map(|letter| (letter["headers"]["message-id"].to_string(), letter)).collect()
}

/// It knows one place for its queue and its socket. Where the system lets us, each server sees
/// places of its own there.
const ALONE: &str = r#"
PATH=$PATH:/usr/sbin
command -v smtpd >/dev/null || { echo "smtpd is missing: apt-get install opensmtpd"; exit 1; }
own='mount -t tmpfs -o mode=755 tmpfs /run && mount -t tmpfs -o mode=755 tmpfs /var/spool'
start='mkdir -p -m 711 /var/spool/smtpd && exec smtpd -d -f "$1"'
if unshare --mount true 2>/dev/null; then
    exec unshare --mount --propagation private sh -c "$own && $start" smtpd "$1"
fi
eval "$start"
"#;

/// OpenSMTPD gives rights away, and must have some.
fn as_root(program: &str) -> Command {
    if nix::unistd::geteuid().is_root() {
        return installed(program, program);
    }
    let mut sudo = installed("sudo", "sudo");
    sudo.args(["-n", program]);
    sudo
}

/// How a server may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    None,
    /// It takes the connection and says nothing.
    Hang,
    /// "Not now", to everybody.
    Closing,
    /// "Not now", to this recipient.
    Later(&'static str),
    /// "There is nobody of this name."
    Nobody(&'static str),
    /// It takes this recipient's letter and is gone before it says so.
    Gone(&'static str),
    /// Every byte takes its time.
    Slow,
}

/// Takes letters for anybody, and lies as it is told to.
#[derive(Clone)]
pub struct Liar {
    pub port: u16,
    lie: Arc<Mutex<Lie>>,
    /// Recipient and text of each letter that it had whole.
    had: Arc<Mutex<Vec<(String, String)>>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    /// Clients that wait for a word since it hangs.
    hung: Arc<AtomicUsize>,
    tls: Option<Arc<ServerConfig>>,
}

/// Nobody listens there, but nobody else can either.
pub struct Silence(Socket);

impl Silence {
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        Self(socket)
    }

    pub fn port(&self) -> u16 {
        self.0.local_addr().unwrap().as_socket().unwrap().port()
    }

    /// Somebody does now.
    pub fn ends(self) -> Liar {
        self.0.listen(128).unwrap();
        Liar::on(self.0.into(), None)
    }
}

impl Liar {
    pub fn start() -> Self {
        Silence::new().ends()
    }

    /// It offers STARTTLS with this certificate, and takes no letter without.
    pub fn encrypting(identity: &Identity) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), Some(tls(identity)))
    }

    fn on(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> Self {
        let port = listener.local_addr().unwrap().port();
        let liar = Self {
            port,
            lie: Arc::new(Mutex::new(Lie::None)),
            had: Arc::default(),
            open: Arc::default(),
            hung: Arc::default(),
            tls,
        };
        let server = liar.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, server) = (stream.unwrap(), server.clone());
                server.open.lock().unwrap().push(stream.try_clone().unwrap());
                // A client that goes away ends only its own conversation.
                thread::spawn(move || {
                    let end = stream.try_clone().unwrap();
                    server.meet(stream);
                    let _ = end.shutdown(Shutdown::Both);
                });
            }
        });
        liar
    }

    pub fn lies(&self, lie: Lie) {
        *self.lie.lock().unwrap() = lie;
        // Nobody goes on with an honest server.
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Clients that it lets hang now.
    pub fn hung(&self) -> usize {
        self.hung.load(Ordering::SeqCst)
    }

    /// Who got which, in the order of their coming. One that came twice is one.
    pub fn letters(&self) -> Vec<(String, String)> {
        let (mut letters, mut seen) = (self.all(), BTreeSet::new());
        letters.retain(|letter| seen.insert(named(letter)));
        letters
    }

    pub fn texts(&self) -> Vec<String> {
        self.letters().into_iter().map(|(_, text)| text).collect()
    }

    /// How often each letter came, by its recipient and Message-ID.
    pub fn had(&self) -> BTreeMap<(String, String), usize> {
        let mut had = BTreeMap::new();
        for letter in self.all() {
            *had.entry(named(&letter)).or_default() += 1;
        }
        had
    }

    fn all(&self) -> Vec<(String, String)> {
        self.had.lock().unwrap().clone()
    }

    fn meet(&self, stream: TcpStream) -> Option<()> {
        let mut plain = BufReader::new(stream);
        let lie = *self.lie.lock().unwrap();
        match lie {
            Lie::Hang => {
                self.hung.fetch_add(1, Ordering::SeqCst);
                let waited = plain.read_line(&mut String::new());
                self.hung.fetch_sub(1, Ordering::SeqCst);
                return waited.ok().map(drop);
            }
            Lie::Closing => return self.say(&mut plain, "421 closing"),
            _ => self.say(&mut plain, "220 liar.example")?,
        }
        let Some(tls) = &self.tls else { return self.talk(&mut plain) };
        while command(&mut plain)?.1 != "STARTTLS" {
            self.say(&mut plain, "250-liar.example\r\n250 STARTTLS")?;
        }
        self.say(&mut plain, "220 go on")?;
        let session = ServerConnection::new(tls.clone()).unwrap();
        self.talk(&mut BufReader::new(StreamOwned::new(session, plain.into_inner())))
    }

    fn say(&self, client: &mut BufReader<impl Read + Write>, text: &str) -> Option<()> {
        for byte in format!("{text}\r\n").bytes() {
            if *self.lie.lock().unwrap() == Lie::Slow {
                thread::sleep(Duration::from_millis(2));
            }
            client.get_mut().write_all(&[byte]).ok()?;
        }
        client.get_mut().flush().ok()
    }

    fn talk(&self, client: &mut BufReader<impl Read + Write>) -> Option<()> {
        let mut to = String::new();
        loop {
            let (line, verb) = command(client)?;
            let lie = *self.lie.lock().unwrap();
            match (verb.as_str(), lie) {
                ("EHLO", _) => self.say(client, "250-liar.example\r\n250 8BITMIME")?,
                ("RCPT", lie) => {
                    line.split(['<', '>']).nth(1)?.clone_into(&mut to);
                    let answer = match lie {
                        Lie::Later(who) if to.starts_with(who) => "451 come back later",
                        Lie::Nobody(who) if to.starts_with(who) => "550 there is nobody",
                        _ => "250 known",
                    };
                    self.say(client, answer)?;
                }
                ("DATA", lie) => {
                    self.say(client, "354 go on")?;
                    let text = letter(client)?;
                    self.had.lock().unwrap().push((to.clone(), text));
                    if matches!(lie, Lie::Gone(who) if to.starts_with(who)) {
                        return None;
                    }
                    self.say(client, "250 taken")?;
                }
                ("QUIT", _) => return self.say(client, "221 bye"),
                _ => self.say(client, "250 well")?,
            }
        }
    }
}

/// A line, and its first word.
fn command(client: &mut BufReader<impl Read>) -> Option<(String, String)> {
    let mut line = String::new();
    client.read_line(&mut line).ok().filter(|size| *size > 0)?;
    let line = line.trim_end().to_owned();
    let verb = line.split([' ', ':']).next()?.to_ascii_uppercase();
    Some((line, verb))
}

/// What follows DATA.
fn letter(client: &mut BufReader<impl Read>) -> Option<String> {
    let mut text = String::new();
    loop {
        let (line, _) = command(client)?;
        match line.strip_prefix('.') {
            Some("") => return Some(text),
            stuffed => text += stuffed.unwrap_or(&line),
        }
        text.push('\n');
    }
}

/// A server that shows this certificate.
pub fn tls(identity: &Identity) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&identity.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    Arc::new(config)
}

fn named((to, text): &(String, String)) -> (String, String) {
    let id = text.lines().find_map(|line| line.strip_prefix("Message-ID: "));
    (to.clone(), id.unwrap_or_else(|| panic!("no Message-ID in {text}")).to_owned())
}

/// For a program that binds it itself: one that the system gives to nobody, and no other test has.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 8).unwrap();
    loop {
        let port = 30_300 + process * 300 + NEXT.fetch_add(1, Ordering::Relaxed) % 300;
        let address = ("127.0.0.1", port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
}
