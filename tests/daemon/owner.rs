//! Owners at real telephones: baresip and `SIPp` press keys in the menus, by RFC 4733 and by INFO,
//! and what baresip heard is compared with the prompts.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use afterbeep::media::{Codec, Sound};

use crate::clients::{installed, modules, sipp_with};
use crate::house::{House, names};
use crate::mail::free_port;
use crate::menus::{MENUS, folders, leave};
use crate::phone::Phone;
use crate::voice::{Law, Voice, frames};

#[test]
fn baresip_presses_keys_by_rfc_4733() {
    an_owner_at_baresip("");
}

#[test]
fn baresip_presses_keys_by_info() {
    an_owner_at_baresip(";dtmfmode=info");
}

#[test]
fn sipp_presses_keys_by_rfc_4733() {
    let house = House::new(MENUS);
    leave(&house, &Voice::new(Law::Mu, 3.0, 9), 3.0);
    sipp_with(&house, "menus-events.xml", "UDP", &["-s", "*981000"]);
    house.until("it is deleted", || folders(&house) == ["Deleted"]);
}

/// Logs in, hears a message, deletes it, takes it back, and leaves.
fn an_owner_at_baresip(keys: &str) {
    let house = House::new(MENUS);
    let voice = Voice::new(Law::Mu, 3.0, 10);
    leave(&house, &voice, 3.0);
    let mut phone = Baresip::start(&house, keys);
    phone.dial(&format!("sip:*981000@{}", house.sip("UDP")));
    phone.hears(&house, "vm-password");
    phone.press("4711#");
    phone.hears(&house, "vm-youhave");
    phone.press("1");
    phone.hears(&house, "position/first");
    // Without the rest of its envelope.
    phone.press("1");
    phone.hears_any(&house, "the message", &pieces(&voice.samples()[6_000..14_000]));
    phone.press("7");
    phone.hears(&house, "vm-deleted");
    assert_eq!(folders(&house), ["Deleted"]);
    phone.press("7");
    phone.hears(&house, "vm-undeleted");
    assert_eq!(folders(&house), ["INBOX"]);
    phone.press("#");
    phone.hears(&house, "vm-goodbye");
    house.until("the call is over", || house.log().contains(" is over: "));
    phone.end();
}

#[test]
fn the_owner_of_a_new_mailbox_sets_it_up_once() {
    let house = House::new(&format!("[menus]\nforce_greetings = false\n{MENUS}"));
    house.ok(&["mailbox", "add", "1001", "--pin", "4822"]);
    let phone = Phone::new(&house);
    let mut call = phone.call("*981001");
    call.hears("vm-password");
    call.dial("4822#");
    call.hears("vm-newuser");
    call.hears("vm-rec-name");
    call.hears_the_beep();
    call.say(&Voice::new(Law::Mu, 2.5, 11), 0..frames(2.5));
    call.press('#');
    call.hears("menu/accept");
    call.press('1');
    call.hears("vm-newpassword");
    call.dial("4822#");
    call.hears("vm-reenterpassword");
    call.dial("4822#");
    // Others know the one that it was made with.
    call.hears("vm-invalid-password");
    call.hears("vm-newpassword");
    call.dial("5937#");
    call.hears("vm-reenterpassword");
    call.dial("5937#");
    call.hears("vm-passchanged");
    call.request("BYE", "", "");
    assert!(names(&house.spool.join("default/1001")).contains(&"greet.wav".to_owned()));

    let phone = Phone::new(&house);
    let mut call = phone.call("*981001");
    call.hears("vm-password");
    call.dial("5937#");
    let heard = call.hears("vm-youhave");
    assert!(heard.len() < 8 * 4_000, "something came before the counts");
}

/// What a prompt sounds like on the line, without its beginning and its end.
fn prompt_samples(prompt: &str) -> Vec<i16> {
    let path = format!("{}/sounds/en/{prompt}.wav", env!("CARGO_MANIFEST_DIR"));
    let sound = Sound::read(path.as_ref(), Codec::Pcmu).unwrap();
    let bytes = sound.encoded();
    let part = bytes.len() / 4..bytes.len() * 3 / 4;
    bytes[part].iter().map(|byte| Law::Mu.decode(*byte)).collect()
}

/// Loud pieces of 50 ms: nothing else sounds like one of them, and a telephone that is not always
/// given its time spoils some.
fn pieces(samples: &[i16]) -> Vec<Vec<i16>> {
    let is_loud = |piece: &&[i16]| piece.iter().filter(|sample| sample.abs() > 300).count() > 200;
    let loud: Vec<Vec<i16>> =
        samples.chunks_exact(400).filter(is_loud).map(<[_]>::to_vec).collect();
    let every = (loud.len() / 6).max(1);
    let pieces: Vec<_> = loud.into_iter().step_by(every).collect();
    assert!(!pieces.is_empty(), "nothing of it is loud");
    pieces
}

/// baresip, told by its control port what to do.
struct Baresip {
    child: Child,
    control: TcpStream,
    dir: PathBuf,
    /// Samples that were listened to.
    listened: usize,
}

impl Baresip {
    fn start(house: &House, keys: &str) -> Self {
        let dir = house.dir.path().join("baresip");
        fs::create_dir(&dir).unwrap();
        let silence = dir.join("silence.wav");
        crate::voice::write_wav(&silence, &vec![0; 8_000 * 300]);
        let port = free_port();
        let (first, last) = house.callers_ports();
        let config = format!(
            "sip_listen 127.0.0.1:0\nrtp_ports {first}-{last}\naudio_source aufile,{}\n\
             audio_player aubridge,nobody\nsnd_path {}\nmodule_path {}\nmodule g711.so\n\
             module aufile.so\nmodule aubridge.so\nmodule sndfile.so\n\
             module_app account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n\
             ctrl_tcp_listen 127.0.0.1:{port}\n",
            silence.display(),
            dir.display(),
            modules().display(),
        );
        fs::write(dir.join("config"), config).unwrap();
        fs::write(dir.join("contacts"), "").unwrap();
        let account = format!(
            "\"Grace Hopper\" <sip:+12125550142@127.0.0.1;transport=udp>;regint=0;\
             audio_codecs=pcmu{keys}\n"
        );
        fs::write(dir.join("accounts"), account).unwrap();
        let mut baresip = installed("baresip", "baresip-core");
        baresip.args(["-f", dir.to_str().unwrap(), "-t", "600"]);
        baresip.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = baresip.spawn().unwrap();
        let begun = Instant::now();
        let control = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(control) => break control,
                Err(error) if begun.elapsed() > Duration::from_secs(60) => {
                    let _ = child.kill();
                    panic!("baresip's control port: {error}");
                }
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        };
        Self { child, control, dir, listened: 0 }
    }

    /// A command as JSON in a netstring.
    fn order(&mut self, command: &str, what: &str) {
        let json = format!(r#"{{"command":"{command}","params":"{what}"}}"#);
        self.control.write_all(format!("{}:{json},", json.len()).as_bytes()).unwrap();
    }

    /// Calls, and waits for the answer.
    fn dial(&mut self, uri: &str) {
        self.order("dial", uri);
        self.control.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let (mut told, mut piece) = (String::new(), [0; 4096]);
        while !told.contains("CALL_ESTABLISHED") {
            let size = match self.control.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.unwrap(),
            };
            assert!(size > 0, "baresip: {told}");
            told += &String::from_utf8_lossy(&piece[..size]);
        }
    }

    fn press(&mut self, keys: &str) {
        for key in keys.chars() {
            self.order("sndcode", &key.to_string());
            thread::sleep(Duration::from_millis(150));
        }
    }

    /// Waits until a prompt was heard, after what was heard before.
    fn hears(&mut self, house: &House, prompt: &str) {
        self.hears_any(house, prompt, &pieces(&prompt_samples(prompt)));
    }

    fn hears_any(&mut self, house: &House, what: &str, pieces: &[Vec<i16>]) {
        let mut found = None;
        house.until(&format!("{what} is heard"), || {
            let heard = self.heard();
            let new = heard.get(self.listened..).unwrap_or_default();
            let find = |piece: &Vec<i16>| new.windows(piece.len()).position(|part| part == piece);
            found = pieces.iter().find_map(find);
            found.is_some()
        });
        self.listened += found.unwrap() + pieces[0].len();
    }

    /// So far.
    fn heard(&self) -> Vec<i16> {
        let files = names(&self.dir);
        let file = files.iter().find(|name| name.ends_with("dec.wav"));
        file.map_or(vec![], |name| samples(&self.dir.join(name)))
    }

    fn end(mut self) {
        self.order("quit", "");
        self.child.wait().unwrap();
    }
}

/// baresip writes its WAV files with a header of its own.
fn samples(path: &Path) -> Vec<i16> {
    let bytes = fs::read(path).unwrap();
    let Some(data) = bytes.windows(4).position(|four| four == b"data") else { return vec![] };
    // Its decoder makes 2 of G.711's zeros.
    let nothing = |sample: i16| if sample.abs() <= 2 { 0 } else { sample };
    let pairs = bytes[(data + 8).min(bytes.len())..].chunks_exact(2);
    pairs.map(|pair| nothing(i16::from_le_bytes([pair[0], pair[1]]))).collect()
}
