//! Chromium, which leaves messages over WebRTC: SIP by WSS, ICE, DTLS, SRTP.

use std::f64::consts::TAU;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::authority::Authority;
use crate::clients::installed;
use crate::house::{House, field};
use crate::voice::{Law, Voice, write_wav};

#[test]
fn chromium_leaves_a_message_in_pcmu() {
    leaves_a_message("pcmu", 8_000);
}

#[test]
fn chromium_leaves_a_message_in_opus() {
    leaves_a_message("opus", 16_000);
}

fn leaves_a_message(codec: &str, rate: u32) {
    let authority = Authority::new();
    let own = authority.sign("here", &["localhost", "127.0.0.1"]);
    let house = House::new(&format!(
        "[deposit]\ninstructions = false\n[sip]\nwss = ['127.0.0.1:0']\n\
         tls_certificate = '{}'\ntls_key = '{}'\n[[sip.peers]]\naddress = '127.0.0.1'\n\
         srtp = 'required'",
        own.certificate.display(),
        own.key.display(),
    ));
    // So long that the browser's next report, which may come 7.5 s after our first, still tells of
    // it: of who has sent nothing for 8 s it tells nothing.
    write_wav(&house.mailbox().join("unavail.wav"), &Voice::new(Law::Mu, 8.0, 4).samples());
    let said = house.dir.path().join("said.wav");
    write_wav(&said, &bursts(8_000));
    let told = call(&house, codec, &said, 16);
    assert_eq!(told["state"], "connected", "{told}");
    // Greeting and beep came over, and so did reports, both ways.
    assert!(told["received"].as_u64().is_some_and(|packets| packets > 50), "{told}");
    assert_eq!(told["reported"], 0, "{told}");
    assert!(told["roundTrip"].as_f64().is_some_and(|seconds| seconds < 30.0), "{told}");
    assert!(told["remoteSent"].as_u64().is_some_and(|packets| packets > 50), "{told}");

    let audio = house.message();
    assert_eq!(field(&audio, "rate"), rate.to_string());
    let (kept, samples) = read(&audio);
    assert_eq!(kept, rate);
    // Two thirds of the time it is the tone that was said, and nothing else.
    let piece = usize::try_from(rate / 50).unwrap();
    let pieces: Vec<_> = samples.chunks_exact(piece).collect();
    let is_tone = |piece: &&&[i16]| loudness(piece) > 1000.0 && purity(piece, rate) > 0.8;
    let (tone, all) = (pieces.iter().filter(is_tone).count(), pieces.len());
    assert!(all > 200 && (all / 2..all * 4 / 5).contains(&tone), "{tone} of {all}");
    let loud = pieces.iter().filter(|piece| loudness(piece) > 1000.0).count();
    // Two pieces of fifteen are edges, wherever a browser that was not given its time has cut.
    assert!(loud - tone < all / 6, "{loud} loud, of which {tone} are the tone");
    house.until("its end is told", || house.log().contains("srtp=\"DTLS\""));
    let log = house.log();
    let over = log.lines().find(|line| line.contains("is over")).unwrap();
    assert!(over.contains(" lost=0 ") && over.contains("round_trip_ms="), "{over}");
}

/// Two seconds of 1 kHz for two thirds of each 0.3 s; it is said again and again.
fn bursts(rate: u32) -> Vec<i16> {
    let sample = |n: u32| {
        let sound = (TAU * 1000.0 * f64::from(n) / f64::from(rate)).sin() * 8000.0;
        #[expect(clippy::cast_possible_truncation, reason = "it is far within")]
        if n % (rate * 3 / 10) < rate / 5 { sound as i16 } else { 0 }
    };
    (0..rate * 21 / 10).map(sample).collect()
}

fn loudness(piece: &[i16]) -> f64 {
    let sum: u64 = piece.iter().map(|sample| u64::from(sample.unsigned_abs())).sum();
    f64::from(u32::try_from(sum).unwrap()) / f64::from(u32::try_from(piece.len()).unwrap())
}

/// How much of it is 1 kHz.
fn purity(piece: &[i16], rate: u32) -> f64 {
    let (mut real, mut imaginary, mut energy) = (0.0, 0.0, 0.0);
    for (n, sample) in (0..).zip(piece) {
        let angle = TAU * 1000.0 * f64::from(n) / f64::from(rate);
        let sample = f64::from(*sample);
        real += sample * angle.cos();
        imaginary += sample * angle.sin();
        energy += sample * sample;
    }
    let length = f64::from(u32::try_from(piece.len()).unwrap());
    2.0 * (real * real + imaginary * imaginary) / (length * energy.max(1.0))
}

/// Rate and samples of a plain WAV file.
fn read(path: &Path) -> (u32, Vec<i16>) {
    let bytes = fs::read(path).unwrap();
    let rate = u32::from_le_bytes(bytes[24..28].try_into().unwrap());
    let pairs = bytes[44..].chunks_exact(2);
    (rate, pairs.map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
}

/// Calls from a page, speaks what is in the file, and says what the browser tells of it.
fn call(house: &House, codec: &str, wav: &Path, seconds: u32) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (page, server) = (listener.local_addr().unwrap(), house.sip("WSS"));
    let url = format!("http://{page}/?server={server}&codec={codec}&seconds={seconds}");
    let home = house.dir.path().join("chromium");
    fs::create_dir(&home).unwrap();
    let mut chromium = installed("chromium", "chromium");
    chromium
        .env("HOME", &home)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
        .args(["--disable-component-update", "--ignore-certificate-errors"])
        .args(["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"])
        .arg(format!("--use-file-for-fake-audio-capture={}", wav.display()))
        .arg(format!("--user-data-dir={}", home.join("profile").display()))
        .arg(url);
    chromium.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut browser = Browser(chromium.spawn().unwrap());
    let told = serve(&listener, page, &mut browser.0);
    serde_json::from_str(&told).unwrap()
}

/// Gone when the call is over, whatever came of it.
struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gives the page to whoever asks, until it tells what came of its call.
fn serve(listener: &TcpListener, page: SocketAddr, browser: &mut Child) -> String {
    listener.set_nonblocking(true).unwrap();
    let (began, (tell, told)) = (Instant::now(), mpsc::channel());
    loop {
        // A connection that says nothing yet keeps no other waiting.
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            let tell = tell.clone();
            thread::spawn(move || answer(stream).map(|told| tell.send(told)));
        }
        match told.recv_timeout(Duration::from_millis(20)) {
            Ok((what, body)) if what == "/done" => return body,
            Ok((what, body)) if what == "/failed" => panic!("the page: {body}"),
            Ok(_) | Err(_) => {}
        }
        let ended = browser.try_wait().unwrap();
        assert!(ended.is_none(), "chromium: {ended:?}");
        assert!(began.elapsed() < PATIENCE, "nothing was heard from the page at {page}");
    }
}

/// The path and the body of a request, which is answered with the page.
fn answer(stream: TcpStream) -> Option<(String, String)> {
    let mut reads = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reads.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reads.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reads.read_exact(&mut body).ok()?;
    let page = include_str!("phone.html");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
    let mut stream = stream;
    let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{page}", page.len());
    Some((path, String::from_utf8(body).ok()?))
}

const PATIENCE: Duration = Duration::from_secs(150);
