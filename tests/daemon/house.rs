//! A daemon of a test's own: a real process, a spool, free ports. Gone when the test is over.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

pub struct House {
    pub dir: TempDir,
    pub spool: PathBuf,
    /// First of the ports that this test may use for audio; ours, then the clients'.
    ports: u16,
    child: Option<Child>,
    log: PathBuf,
}

impl House {
    /// A daemon that runs and has mailbox 1000; `config` comes on top of the test's own.
    pub fn new(config: &str) -> Self {
        let mut house = Self::empty(config);
        house.start();
        let owner = ["--pin", "4711", "--name", "Ada Lovelace", "--set-up", "true"];
        house.ok(&[&["mailbox", "add", "1000"][..], &owner].concat());
        house
    }

    /// Only directories and a configuration.
    pub fn empty(config: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("afterbeep-test-").tempdir().unwrap();
        let ports = free_ports();
        let spool = dir.path().join("spool");
        let (head, sip) = config.split_once("[sip]").unwrap_or((config, ""));
        let text = format!(
            "spool = '{}'\nstate = '{}'\n[media]\nports = [{}, {}]\nbind = '127.0.0.1'\nthreads = 1\n\
             [http]\nlisten = ['127.0.0.1:0']\n{head}\n\
             [sip]\nudp = ['127.0.0.1:0']\ntcp = ['127.0.0.1:0']\n{sip}\n",
            spool.display(),
            dir.path().join("state").display(),
            ports,
            ports + PORTS / 2 - 1,
        );
        fs::write(dir.path().join("afterbeep.toml"), text).unwrap();
        let log = dir.path().join("log");
        Self { dir, spool, ports, child: None, log }
    }

    /// Starts the daemon and returns when it serves.
    pub fn start(&mut self) {
        let program = self.command(&[]);
        self.start_as(program);
    }

    pub fn start_as(&mut self, program: Command) {
        self.begin(program);
        self.until_it_serves();
    }

    /// Starts the daemon and returns at once.
    pub fn begin(&mut self, mut program: Command) {
        program.stderr(File::create(&self.log).unwrap());
        self.child = Some(program.spawn().unwrap());
    }

    pub fn until_it_serves(&self) {
        let socket = self.dir.path().join("state/control.sock");
        self.until("the daemon serves", || UnixStream::connect(&socket).is_ok());
    }

    /// `kill -9`, and no word to anybody.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "it had ended before:\n{}", self.log());
    }

    pub fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().unwrap().id();
        nix::sys::signal::kill(Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
    }

    /// Waits until the daemon has ended, as it should.
    pub fn until_over(&mut self) {
        assert!(soon(|| !self.runs()), "it still runs:\n{}", self.log());
        let status = self.child.take().unwrap().wait().unwrap();
        assert!(status.success(), "{status}:\n{}", self.log());
    }

    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(self.dir.path().join("afterbeep.toml")).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Runs a command of ours to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdout(Stdio::piped()).output().unwrap()
    }

    /// What a command that works prints.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.run(arguments);
        let told = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{arguments:?}: {told}\n{}", self.log());
        String::from_utf8(stdout).unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Where the daemon takes calls.
    pub fn sip(&self, transport: &str) -> SocketAddr {
        self.listens("SIP", &format!(" by {transport}"))
    }

    /// Ports for the audio of this test's callers.
    pub fn callers_ports(&self) -> (u16, u16) {
        (self.ports + PORTS / 2, self.ports + PORTS - 1)
    }

    /// Telebroad's list of a mailbox, asked by a user of its own.
    pub fn telebroad(&self, mailbox: &str) -> Vec<Value> {
        let mut add = self
            .command(&["user", "add", "reader", "--role", "reader", "--password-stdin"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        add.stdin.take().unwrap().write_all(b"wide open door\n").unwrap();
        assert!(add.wait().unwrap().success());
        let mut stream = TcpStream::connect(self.listens("HTTP", "")).unwrap();
        let basic = STANDARD.encode("reader:wide open door");
        // HTTP/1.0: the answer ends with the connection, in one piece.
        let request = format!(
            "GET /api/teleconsole/rest/voicemail?mailbox={mailbox} HTTP/1.0\r\n\
             Authorization: Basic {basic}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{head}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"], Value::Null, "{body}");
        body["result"].as_array().unwrap().clone()
    }

    /// The messages of mailbox 1000 as `afterbeep messages list` tells them, once there are so many.
    pub fn messages(&self, many: usize) -> Vec<Value> {
        let list = || self.ok(&["messages", "list", "1000", "--json"]);
        self.until("the messages are there", || list().lines().count() >= many);
        let messages: Vec<Value> =
            list().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(messages.len(), many, "{messages:#?}");
        messages
    }

    /// Its audio file, once mailbox 1000 has one message.
    pub fn message(&self) -> PathBuf {
        self.messages(1)[0]["file"].as_str().unwrap().into()
    }

    pub fn inbox(&self) -> PathBuf {
        self.mailbox().join("INBOX")
    }

    pub fn mailbox(&self) -> PathBuf {
        self.spool.join("default/1000")
    }

    /// What lies in `tmp`.
    pub fn drafts(&self) -> Vec<String> {
        names(&self.mailbox().join("tmp"))
    }

    /// Milliseconds of the message that mailbox 1000 is just being left, as far as they are on disk.
    pub fn recorded(&self) -> u64 {
        let tmp = self.mailbox().join("tmp");
        let length = |name: String| {
            let bytes = fs::read(tmp.join(name)).ok()?;
            let rate = u32::from_le_bytes(bytes.get(24..28)?.try_into().unwrap());
            (bytes.len() as u64 - 44).checked_mul(1_000)?.checked_div(2 * u64::from(rate))
        };
        let drafts = names(&tmp)
            .into_iter()
            .filter(|name| name.rsplit_once('.').is_some_and(|(_, kind)| kind == "wav"));
        drafts.filter_map(length).max().unwrap_or(0)
    }

    /// Waits until something is so.
    pub fn until(&self, what: &str, so: impl FnMut() -> bool) {
        assert!(soon(so), "not within {PATIENCE:?}: {what}\n{}", self.log());
    }

    /// Where the daemon answers HTTP.
    pub fn web(&self) -> SocketAddr {
        self.listens("HTTP", "")
    }

    fn listens(&self, what: &str, by: &str) -> SocketAddr {
        let log = self.log();
        let words = format!("listens for {what} on ");
        let mut places = log.lines().filter(|line| line.contains(by));
        let place = places.find_map(|line| line.split_once(&words)).unwrap().1;
        place.split([' ', '"']).next().unwrap().parse().unwrap()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

/// What stands under this key in a message's text file.
pub fn field(audio: &Path, key: &str) -> String {
    let text = fs::read_to_string(audio.with_extension("txt")).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {key} in {text}")).to_owned()
}

/// Names in a directory, sorted; none where there is no directory.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whether it becomes so before patience ends.
pub fn soon(mut so: impl FnMut() -> bool) -> bool {
    let (began, mut tries) = (Instant::now(), 0);
    // A machine that was frozen has let time pass, but has not tried.
    while tries < TRIES || began.elapsed() < PATIENCE {
        if so() {
            return true;
        }
        tries += 1;
        thread::sleep(Duration::from_millis(20));
    }
    false
}

/// A range of its own for each test, below the ports that systems give away; other test programs
/// may run beside this one.
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 8).unwrap();
    11_000 + process * 2400 + NEXT.fetch_add(1, Ordering::Relaxed) * PORTS
}

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_afterbeep");
/// How many ports one test has.
const PORTS: u16 = 40;
const PATIENCE: Duration = Duration::from_secs(150);
const TRIES: usize = 500;
