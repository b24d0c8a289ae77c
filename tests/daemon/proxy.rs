//! Kamailio in front of daemons: of two, after the recipe in `conf/kamailio`, and as the registrar of
//! telephones.

use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::clients::Lamp;
use crate::house::{House, soon};
use crate::lamps::{TRUSTED, file_away, quick};
use crate::mail::free_port;
use crate::notices::leave;
use crate::voice::{Law, Voice, write_wav};
use crate::watching::Watching;

#[test]
fn kamailio_spreads_calls_over_two_nodes_and_passes_over_one_that_dies() {
    let quick = "[deposit]\ninstructions = false\nsilence_seconds = 2";
    let (first, mut second) = (House::new(quick), House::new(quick));
    for house in [&first, &second] {
        write_wav(&house.mailbox().join("unavail.wav"), &Voice::new(Law::Mu, 0.3, 4).samples());
    }
    let proxy = Kamailio::start(&[first.sip("TCP"), second.sip("TCP")]);
    let voice = first.dir.path().join("said.wav");
    write_wav(&voice, &Voice::new(Law::Mu, 2.5, 5).samples());
    let call = |arguments: &[&str]| {
        let target = format!("sip:1000@127.0.0.1:{}", proxy.port);
        first.ok(&[&["call", &target, "--keys", "#"], arguments].concat())
    };
    let speak = || call(&["--wav", voice.to_str().unwrap()]);

    // UDP to the proxy, TCP to the node, and the proxy stays in between.
    let [wire, _] = [&first, &second].map(|house| Watching::new(house, &["--mailbox", "1000"]));
    // One after the other, unless one has not answered for a moment.
    let has = |house: &House| house.ok(&["messages", "list", "1000", "--json"]).lines().count();
    for _ in 0..10 {
        speak();
        if has(&first) > 0 && has(&second) > 0 {
            break;
        }
    }
    first.until("both have messages", || has(&first) > 0 && has(&second) > 0);
    for house in [&first, &second] {
        house.until("the caller's BYE came", || house.log().contains("the caller hung up"));
        assert!(house.log().contains(" by TCP"), "{}", house.log());
    }
    let invite = wire.messages().into_iter().find(|m| m["summary"].to_string().contains("INVITE"));
    let text = invite.unwrap()["text"].as_str().unwrap().to_owned();
    assert_eq!(text.matches("Record-Route: ").count(), 2, "{text}");

    // Our own BYE finds the caller through it.
    let said = call(&["--wait", "60"]);
    assert!(said.contains("heard"), "{said}");
    let ended = |house: &House| house.log().contains("hung up here");
    first.until("a node has hung up", || ended(&first) || ended(&second));

    // One after the other: of two calls one would have gone to the node that is gone.
    second.kill();
    let before = has(&first);
    speak();
    speak();
    first.until("both are here", || has(&first) >= before + 2);
}

#[test]
fn a_telephone_that_is_registered_at_kamailio_has_its_lamp_from_us() {
    let house = quick(TRUSTED);
    let proxy = Kamailio::registrar(house.sip("UDP"));
    let wire = Watching::new(&house, &[]);
    let mut lamp = Lamp::new(&house, proxy.port);
    lamp.shows("0/0 (0/0)");
    leave(&house);
    lamp.shows("1/0 (0/0)");
    file_away(&house);
    lamp.shows("0/1 (0/0)");
    lamp.leaves();
    // The proxy stays in between, to the end.
    let subscribed = || -> Vec<String> {
        let asked = wire.messages().into_iter().filter(|message| {
            message["direction"] == "in"
                && message["summary"].as_str().is_some_and(|line| line.starts_with("SUBSCRIBE"))
        });
        asked.map(|message| message["text"].as_str().unwrap().to_owned()).collect()
    };
    house.until("it has left", || {
        subscribed().last().is_some_and(|last| last.contains("\r\nExpires: 0\r\n"))
    });
    for text in subscribed() {
        assert_eq!(text.matches("\r\nVia: ").count(), 2, "{text}");
    }
}

/// A proxy of a test's own.
struct Kamailio {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Kamailio {
    /// The recipe as it stands, but for the address, the port and the list, which it says to
    /// change.
    fn start(nodes: &[SocketAddr]) -> Self {
        let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/kamailio");
        let dir = tempfile::Builder::new().prefix("afterbeep-kamailio-").tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut list = fs::read_to_string(recipe.join("dispatcher.list")).unwrap();
        for (node, written) in nodes.iter().zip(["127.0.0.1:5070", "127.0.0.1:5071"]) {
            assert!(list.contains(written), "{list}");
            list = list.replace(written, &node.to_string());
        }
        fs::write(at("dispatcher.list"), list).unwrap();
        let port = free_port();
        let mut text = fs::read_to_string(recipe.join("kamailio.cfg")).unwrap();
        for (written, ours) in [
            ("!LISTEN_PORT!5060!", format!("!LISTEN_PORT!{port}!")),
            ("/etc/kamailio/dispatcher.list", at("dispatcher.list").display().to_string()),
        ] {
            assert!(text.contains(written), "{text}");
            text = text.replace(written, &ours);
        }
        Self::run(dir, port, &text)
    }

    /// Where telephones register; it passes their subscriptions on to this node.
    fn registrar(node: SocketAddr) -> Self {
        let dir = tempfile::Builder::new().prefix("afterbeep-kamailio-").tempdir().unwrap();
        let port = free_port();
        let text = include_str!("registrar.cfg").replace("NODE", &node.to_string());
        Self::run(dir, port, &text.replace("PORT", &port.to_string()))
    }

    fn run(dir: TempDir, port: u16, config: &str) -> Self {
        let at = |name: &str| dir.path().join(name);
        fs::write(at("kamailio.cfg"), config).unwrap();
        let log = File::create(at("log")).unwrap();
        let child = Command::new(program())
            .args(["-DD", "-E", "-m", "32", "-f"])
            .arg(at("kamailio.cfg"))
            .arg("-Y")
            .arg(dir.path())
            .arg("-P")
            .arg(at("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let proxy = Self { child, port, dir };
        assert!(soon(|| proxy.answers()), "{}", proxy.log());
        proxy
    }

    fn answers(&self) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        let (here, port) = (socket.local_addr().unwrap(), self.port);
        let options = format!(
            "OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK1\r\n\
             Max-Forwards: 70\r\nFrom: <sip:t@{here}>;tag=1\r\nTo: <sip:127.0.0.1:{port}>\r\n\
             Call-ID: {here}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        let sent = socket.send_to(options.as_bytes(), ("127.0.0.1", port));
        sent.is_ok() && socket.recv(&mut [0; 2048]).is_ok()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // Its children end with it when it is asked to.
        let id = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("Kamailio's log:\n{}", self.log());
        }
    }
}

/// Debian puts it where only administrators look.
fn program() -> PathBuf {
    let place = Path::new("/usr/sbin/kamailio");
    if place.exists() { place.to_owned() } else { "kamailio".into() }
}
