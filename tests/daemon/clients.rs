//! Other people's programs: `SIPp`, baresip and linphone, from Debian's packages.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::house::House;
use crate::mail::free_port;

/// Plays one of the scenarios in `tests/daemon/sipp` to its end, where every message must be as it
/// says. Sounds that it names lie in the house's directory.
pub fn sipp(house: &House, scenario: &str, transport: &str) {
    sipp_with(house, scenario, transport, &[]);
}

pub fn sipp_with(house: &House, scenario: &str, transport: &str, more: &[&str]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/sipp").join(scenario);
    let (mode, target) = match transport {
        "TCP" => ("t1", house.sip("TCP")),
        _ => ("u1", house.sip("UDP")),
    };
    let mut sipp = installed("sipp", "sip-tester");
    sipp.current_dir(house.dir.path())
        .args(["-sf", file.to_str().unwrap(), "-s", "1000", "-m", "1", "-t", mode])
        .args(["-i", "127.0.0.1", "-mi", "127.0.0.1", "-nostdin", "-trace_err"])
        .args(["-mp", &house.callers_ports().0.to_string()])
        .args(more)
        .args(["-timeout", "600", "-timeout_error", &target.to_string()]);
    let done = sipp.stdin(Stdio::null()).output().unwrap();
    if !done.status.success() {
        let errors: String = fs::read_dir(house.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().ends_with("_errors.log"))
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        let told = String::from_utf8_lossy(&done.stderr);
        panic!("SIPp with {scenario}: {}\n{told}{errors}", done.status);
    }
}

/// Calls, speaks what is in the WAV file, and hangs up once so many seconds of it are recorded.
pub fn baresip(house: &House, transport: &str, wav: &Path, seconds: u32) {
    baresip_as(house, transport, ("pcmu", ""), wav, seconds);
}

/// The same with its audio protected by what baresip has under this name.
pub fn baresip_secured(house: &House, transport: &str, media: &str, wav: &Path, seconds: u32) {
    baresip_as(house, transport, ("pcmu", media), wav, seconds);
}

/// The same in a codec of its choice; the WAV file has the codec's rate: 48 kHz for Opus.
pub fn baresip_in(codec: &str, house: &House, transport: &str, wav: &Path, seconds: u32) {
    baresip_as(house, transport, (codec, ""), wav, seconds);
}

fn baresip_as(
    house: &House,
    transport: &str,
    (codec, media): (&str, &str),
    wav: &Path,
    seconds: u32,
) {
    let dir = house.dir.path().join("baresip");
    fs::create_dir(&dir).unwrap();
    let (first, last) = house.callers_ports();
    let port = free_port();
    let config = format!(
        "sip_listen 127.0.0.1:0\nrtp_ports {first}-{last}\naudio_source aufile,{wav}\n\
         audio_player aufile,{heard}\nmodule_path {modules}\nmodule {module}.so\nmodule aufile.so\n\
         opus_stereo no\nopus_sprop_stereo no\nmodule srtp.so\nmodule dtls_srtp.so\n\
         module_app account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n\
         ctrl_tcp_listen 127.0.0.1:{port}\n",
        wav = wav.display(),
        heard = dir.join("heard.wav").display(),
        modules = modules().display(),
        module = if codec == "pcmu" { "g711" } else { codec },
    );
    fs::write(dir.join("config"), config).unwrap();
    fs::write(dir.join("contacts"), "").unwrap();
    // What it dials goes by the transport of its account.
    let account = format!(
        "\"Grace Hopper\" <sip:+12125550142@127.0.0.1;transport={}>;regint=0;audio_codecs={codec}{}\n",
        transport.to_lowercase(),
        if media.is_empty() { String::new() } else { format!(";mediaenc={media}") },
    );
    fs::write(dir.join("accounts"), account).unwrap();
    let target = house.sip(transport);
    let mut baresip = installed("baresip", "baresip-core");
    let log = dir.join("log");
    let output = File::create(&log).unwrap();
    baresip
        .args(["-f", dir.to_str().unwrap(), "-t", "300"])
        .args(["-e", &format!("/dial sip:1000@{target}")])
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output);
    let mut baresip = Client(baresip.spawn().unwrap());
    until_recorded(house, seconds);
    let mut control = None;
    house.until("baresip listens", || {
        control = TcpStream::connect(("127.0.0.1", port)).ok();
        control.is_some()
    });
    let quit = json!({"command": "quit"}).to_string();
    write!(control.unwrap(), "{}:{quit},", quit.len()).unwrap();
    let status = baresip.0.wait().unwrap();
    assert!(status.success(), "baresip: {status}\n{}", fs::read_to_string(log).unwrap());
}

/// Waits until so much of a call is on disk: a client may take its time to begin.
fn until_recorded(house: &House, seconds: u32) {
    house.until("it is recorded", || house.recorded() >= u64::from(seconds) * 1_000);
}

/// Gone when its test is over, however it ends.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The same by linphone, which checks by `ca` whom it calls by TLS.
pub fn linphone(house: &House, transport: &str, ca: Option<&Path>, wav: &Path, seconds: u32) {
    linphone_secured(house, transport, ca, "none", wav, seconds);
}

/// The same with its audio protected, by `srtp` or `dtls`, or not at all.
pub fn linphone_secured(
    house: &House,
    transport: &str,
    ca: Option<&Path>,
    media: &str,
    wav: &Path,
    seconds: u32,
) {
    let home = house.dir.path().join("linphone");
    // It makes none of these itself.
    fs::create_dir_all(home.join(".local/share/linphone")).unwrap();
    fs::create_dir_all(home.join(".config/linphone")).unwrap();
    let (first, last) = house.callers_ports();
    // -1 is any port, 0 none.
    let port = |name: &str| if name == transport { -1 } else { 0 };
    let config = format!(
        "[sip]\nsip_port={}\nsip_tcp_port={}\nsip_tls_port={}\nuse_ipv6=0\nroot_ca={}\n\
         media_encryption={media}\nmedia_encryption_mandatory={}\n\
         contact=\"Grace Hopper\" <sip:+12125550142@127.0.0.1>\n\
         [rtp]\naudio_rtp_port={first}-{last}\n[sound]\nechocancellation=0\n\
         [video]\nautomatically_initiate=0\n",
        port("UDP"),
        port("TCP"),
        port("TLS"),
        ca.unwrap_or(Path::new("/dev/null")).display(),
        u8::from(media != "none"),
    );
    fs::write(home.join("linphonerc"), config).unwrap();
    let mut linphone = installed("linphonec", "linphone-cli");
    linphone.env("HOME", &home).arg("-c").arg(home.join("linphonerc"));
    let linphone = linphone.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut linphone = Client(linphone.spawn().unwrap());
    let mut types = linphone.0.stdin.take().unwrap();
    let mut shows = BufReader::new(linphone.0.stdout.take().unwrap());
    writeln!(types, "soundcard use files\nplay {}", wav.display()).unwrap();
    writeln!(types, "record {}", home.join("heard.wav").display()).unwrap();
    // Its TLS knows names in certificates, and no addresses.
    let (port, param) = (house.sip(transport).port(), transport.to_lowercase());
    writeln!(types, "call sip:1000@localhost:{port};transport={param}").unwrap();
    let mut told = String::new();
    while !told.contains("Media streams established") {
        assert!(shows.read_line(&mut told).unwrap() > 0, "linphone:\n{told}");
    }
    until_recorded(house, seconds);
    writeln!(types, "terminate\nquit").unwrap();
    shows.read_to_string(&mut told).unwrap();
    assert!(linphone.0.wait().unwrap().success() && told.contains("ended (No error)"), "{told}");
}

/// baresip with its lamp on, told what to do over its control socket, where it tells what happens.
pub struct Lamp {
    baresip: Child,
    control: BufReader<TcpStream>,
}

impl Lamp {
    /// Registers at a proxy as 1000, and subscribes there.
    pub fn new(house: &House, proxy: u16) -> Self {
        let dir = house.dir.path().join("lamp");
        fs::create_dir(&dir).unwrap();
        let (port, _) = house.callers_ports();
        let config = format!(
            "sip_listen 127.0.0.1:0\nmodule_path {}\nmodule g711.so\nmodule_app menu.so\n\
             module_app mwi.so\nmodule_app ctrl_tcp.so\nctrl_tcp_listen 127.0.0.1:{port}\n",
            modules().display(),
        );
        for (name, text) in [("config", &*config), ("contacts", ""), ("accounts", "")] {
            fs::write(dir.join(name), text).unwrap();
        }
        let mut baresip = installed("baresip", "baresip-core");
        baresip.arg("-f").arg(&dir).stdin(Stdio::null()).stdout(Stdio::null());
        let baresip = baresip.spawn().unwrap();
        let mut control = None;
        house.until("baresip listens", || {
            control = TcpStream::connect(("127.0.0.1", port)).ok();
            control.is_some()
        });
        let control = control.unwrap();
        control.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut lamp = Self { baresip, control: BufReader::new(control) };
        // Whom it knows in its first millisecond it subscribes for again and again, without end.
        thread::sleep(Duration::from_millis(20));
        lamp.tell("uanew", &format!("<sip:1000@127.0.0.1:{proxy}>;regint=600;mwi=yes"));
        lamp
    }

    /// Waits until it shows these counts.
    pub fn shows(&mut self, counts: &str) {
        let line = format!("\r\nVoice-Message: {counts}\r\n");
        while !self.hears("MWI_NOTIFY").contains(&line) {}
    }

    /// Ends its subscription, and itself.
    pub fn leaves(&mut self) {
        self.tell("quit", "");
        self.hears("EXIT");
        assert!(self.baresip.wait().unwrap().success());
    }

    fn tell(&mut self, command: &str, params: &str) {
        let text = json!({"command": command, "params": params}).to_string();
        write!(self.control.get_mut(), "{}:{text},", text.len()).unwrap();
    }

    /// What is said about the next event of this kind.
    fn hears(&mut self, kind: &str) -> String {
        loop {
            let mut length = vec![];
            self.control.read_until(b':', &mut length).unwrap();
            let length = String::from_utf8(length).unwrap();
            let length: usize = length.trim_end_matches(':').parse().unwrap();
            let mut text = vec![0; length + 1];
            self.control.read_exact(&mut text).unwrap();
            let event: Value = serde_json::from_slice(&text[..length]).unwrap();
            if event["type"] == kind {
                return event["param"].as_str().unwrap_or_default().to_owned();
            }
        }
    }
}

impl Drop for Lamp {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.baresip.kill();
        let _ = self.baresip.wait();
    }
}

/// A client that must not be missing: a test that did not run proves nothing.
pub fn installed(program: &str, package: &str) -> Command {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    assert!(found, "{program} is missing: `apt-get install {package}`, or let tests/run do it");
    Command::new(program)
}

/// Where Debian has baresip's modules.
pub fn modules() -> &'static Path {
    let places = [
        "/usr/lib/baresip/modules",
        "/usr/lib/x86_64-linux-gnu/baresip/modules",
        "/usr/lib/aarch64-linux-gnu/baresip/modules",
    ];
    let place = places.into_iter().map(Path::new).find(|place| place.is_dir());
    place.expect("baresip's modules are missing: `apt-get install baresip-core`")
}
