//! Mail servers of a test's own: Debian's OpenSMTPD, and one that lies.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::mem;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use afterbeep::sip::Identity;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
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

    /// The letters that came for a user, once there are so many.
    pub fn letters(&self, user: &str, many: usize) -> Vec<Value> {
        let place = self.dir.path().join("mail").join(user).join("new");
        let list = || as_root("ls").arg(&place).output().unwrap().stdout;
        let came = soon(|| String::from_utf8_lossy(&list()).lines().count() >= many);
        assert!(came, "{user} got no {many} letters:\n{}", self.log());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/mail.py");
        let done = as_root("python3").arg(script).arg(&place).output().unwrap();
        let told = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let letters: Vec<Value> = told.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(letters.len(), many, "{letters:#?}");
        letters
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
    /// "Not now", to the next recipient; then it is honest.
    LaterOnce,
    /// "There is nobody of this name."
    Nobody(&'static str),
    /// It takes a letter and is gone before it says so; then it is honest.
    GoneOnce,
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
    tls: Option<Arc<ServerConfig>>,
}

impl Liar {
    pub fn start(port: u16) -> Self {
        Self::start_with(port, None)
    }

    /// It offers STARTTLS with this certificate, and takes no letter without.
    pub fn encrypting(identity: &Identity) -> Self {
        let chain = CertificateDer::pem_file_iter(&identity.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        Self::start_with(0, Some(Arc::new(config)))
    }

    fn start_with(port: u16, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let liar = Self {
            port,
            lie: Arc::new(Mutex::new(Lie::None)),
            had: Arc::default(),
            open: Arc::default(),
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

    /// Who got which, in the order of their coming.
    pub fn letters(&self) -> Vec<(String, String)> {
        self.had.lock().unwrap().clone()
    }

    pub fn texts(&self) -> Vec<String> {
        self.had.lock().unwrap().iter().map(|(_, text)| text.clone()).collect()
    }

    /// Who got a letter, with its Message-ID, sorted.
    pub fn had(&self) -> Vec<(String, String)> {
        let had = self.had.lock().unwrap();
        let id = |text: &str| {
            text.lines().find_map(|l| l.strip_prefix("Message-ID: ")).map(str::to_owned)
        };
        let mut had: Vec<_> =
            had.iter().map(|(to, text)| (to.clone(), id(text).unwrap())).collect();
        had.sort();
        had
    }

    fn meet(&self, stream: TcpStream) -> Option<()> {
        let mut plain = BufReader::new(stream);
        let lie = *self.lie.lock().unwrap();
        match lie {
            Lie::Hang => return plain.read_line(&mut String::new()).ok().map(drop),
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
            let lie = {
                let mut lie = self.lie.lock().unwrap();
                // Two letters may come at the same moment, and one of them is the next.
                match (verb.as_str(), *lie) {
                    ("RCPT", Lie::LaterOnce) | ("DATA", Lie::GoneOnce) => {
                        mem::replace(&mut *lie, Lie::None)
                    }
                    (_, lie) => lie,
                }
            };
            match (verb.as_str(), lie) {
                ("EHLO", _) => self.say(client, "250-liar.example\r\n250 8BITMIME")?,
                ("RCPT", lie) => {
                    line.split(['<', '>']).nth(1)?.clone_into(&mut to);
                    let answer = match lie {
                        Lie::LaterOnce => "451 come back later",
                        Lie::Nobody(who) if to.starts_with(who) => "550 there is nobody",
                        _ => "250 known",
                    };
                    self.say(client, answer)?;
                }
                ("DATA", lie) => {
                    self.say(client, "354 go on")?;
                    let text = letter(client)?;
                    self.had.lock().unwrap().push((to.clone(), text));
                    if lie == Lie::GoneOnce {
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

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
