//! What may come from anybody, put through the stages that take it: the bodies of fuzz targets.

use std::time::{Duration, Instant};

use super::codec::{Codec, g722, opus};
use super::comfort::Noise;
use super::dtmf::Dtmf;
use super::inband::Inband;
use super::recorder::{Bounds, Head, Recorder};
use super::rtcp::{Moment, REPORT, Reports, Wall};
use super::rtp::{Incoming, Outgoing, Packet};
use super::sound::Sound;
use super::track::Track;
use super::wav;

/// Datagrams to a recording in each codec: it is never longer than it may be, whatever comes.
pub(crate) fn rtp(data: &[u8]) {
    for codec in CODECS {
        let (mut now, mut incoming) = (Instant::now(), Incoming::default());
        let limit = Duration::from_secs(3);
        let silence = Some(Duration::from_secs(1));
        let bounds = Bounds { limit, silence, level: 256, adapts: true, trims: false };
        let mut recorder = Recorder::start(Head::new(codec), bounds, now);
        let mut kept = 0;
        for (delay, datagram) in datagrams(data) {
            now += Duration::from_millis(u64::from(delay) * 4);
            let Some(packet) = Packet::parse(datagram) else { continue };
            let _counted = incoming.note(&packet);
            match packet.payload_type {
                13 => recorder.comfort(packet.payload),
                101 => recorder.key(Some(packet.timestamp)),
                _ => {}
            }
            let speech = packet.payload_type < 13 && codec.ticks(packet.payload) > 0;
            recorder.push(&packet, speech, now);
            recorder.tick(now);
            kept += pulled(&mut recorder);
        }
        let bound = recorder.bound(now);
        let keep = recorder.finish(bound, now);
        kept += pulled(&mut recorder);
        let most = u64::from(codec.rate()) * limit.as_secs();
        assert!(keep <= kept && kept <= most, "{codec:?}: {keep} of {kept}");
    }
}

fn pulled(recorder: &mut Recorder) -> u64 {
    std::iter::from_fn(|| recorder.pull()).map(|piece: Track| piece.len()).sum()
}

/// Reports, and ours after them.
pub(crate) fn rtcp(data: &[u8]) {
    let mut now = Instant::now();
    let mut reports = Reports::new(Wall { at: now, unix: Duration::from_secs(1 << 30) }, 7);
    let (outgoing, mut incoming) = (Outgoing::new(7), Incoming::default());
    reports.begin(now);
    for (delay, datagram) in datagrams(data) {
        now += Duration::from_millis(u64::from(delay) * 40);
        let _whole = reports.hear(datagram, outgoing.ssrc(), 1, now);
        assert!(reports.round_trip().is_none_or(|time| time < Duration::from_secs(3600)));
        let moment = Moment { now, timestamp: 7 };
        let length = reports.write(&moment, &mut incoming, &outgoing, &mut [0; REPORT]);
        assert!((8..=REPORT).contains(&length) && length.is_multiple_of(4), "{length}");
    }
}

/// Events, and the same as audio in each codec: no more keys than packets.
pub(crate) fn dtmf(data: &[u8]) {
    let (mut now, mut dtmf, mut keys) = (Instant::now(), Dtmf::default(), 0);
    let mut inband = CODECS.map(Inband::new);
    let datagrams: Vec<_> = datagrams(data).collect();
    for &(delay, datagram) in &datagrams {
        now += Duration::from_millis(u64::from(delay) * 4);
        let Some(packet) = Packet::parse(datagram) else { continue };
        let clock = if packet.payload_type == 101 { 8000 } else { 48_000 };
        if let Some(key) = dtmf.push(&packet, clock, now) {
            assert!("0123456789*#ABCD".contains(key));
            keys += 1;
        }
        for inband in &mut inband {
            let _key = inband.push(&packet, now);
        }
    }
    assert!(keys <= datagrams.len());
}

/// A WAV file of another program, or half of one of ours: what is repaired is what was told.
pub(crate) fn wav(data: &[u8]) {
    let _sound = Sound::phrase_of(data.to_vec().into(), "wav", Codec::Pcmu);
    let path = std::env::temp_dir().join(format!(
        "afterbeep-trial-{}-{:?}.wav",
        std::process::id(),
        std::thread::current().id()
    ));
    if std::fs::write(&path, data).is_err() {
        return;
    }
    let told = wav::info(&path);
    let repaired = wav::repair(&path);
    assert_eq!(told.is_ok(), repaired.is_ok());
    if let (Ok(told), Ok(repaired)) = (told, repaired) {
        assert_eq!(told, repaired);
        assert!(told.samples <= data.len() as u64);
    }
    let _samples = wav::samples(&path);
    let _gone = std::fs::remove_file(&path);
}

/// Octets of G.722: two samples each.
pub(crate) fn g722(data: &[u8]) {
    let (mut decoder, mut samples) = (g722::Decoder::new(), Vec::new());
    for (_, packet) in datagrams(data) {
        samples.clear();
        decoder.decode(packet, &mut samples);
        assert_eq!(samples.len(), 2 * packet.len());
    }
}

/// Packets of Opus, of which some are lost: each is as long as it says.
pub(crate) fn opus(data: &[u8]) {
    for codec in [Codec::Opus, Codec::OpusNarrow] {
        let (mut decoder, mut samples) = (opus::Decoder::new(codec.rate()), Vec::new());
        for (loss, packet) in datagrams(data) {
            samples.clear();
            let lost = usize::from(loss & 7) * codec.frame() / 4;
            decoder.recover(lost, packet, &mut samples);
            decoder.decode(packet, &mut samples);
            let lasts = codec.samples_in(codec.ticks(packet));
            assert_eq!(samples.len() as u64, lost as u64 + lasts, "{codec:?}");
        }
    }
}

/// Comfort noise: as much as is asked for.
pub(crate) fn noise(data: &[u8]) {
    let mut samples = Vec::new();
    if let Some(mut noise) = Noise::read(data) {
        noise.make(1000, &mut samples);
        assert_eq!(samples.len(), 1000);
    }
}

/// Each is led by an octet of delay and one of length.
fn datagrams(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[delay, length], rest) = data.split_first_chunk()?;
        let (datagram, rest) = rest.split_at(usize::from(length).min(rest.len()));
        data = rest;
        Some((delay, datagram))
    })
    .take(500)
}

const CODECS: [Codec; 5] = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus, Codec::OpusNarrow];
