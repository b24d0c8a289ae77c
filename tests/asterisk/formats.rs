//! What Asterisk stores audio in, each against sox.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use afterbeep::media::{Codec, Sound, file};

/// Each extension of Asterisk's, how sox calls it, the rate, and how far a sample may be off.
const FORMATS: [(&str, &[&str], u32, u16); 12] = [
    ("gsm", &["-r", "8000", "-t", "gsm"], 8000, 0),
    ("WAV", &["-r", "8000", "-e", "gsm-full-rate", "-t", "wav"], 8000, 0),
    ("wav", &["-r", "8000", "-b", "16", "-t", "wav"], 8000, 0),
    ("wav16", &["-r", "16000", "-b", "16", "-t", "wav"], 16_000, 0),
    ("ulaw", &["-r", "8000", "-t", "ul"], 8000, 0),
    ("ul", &["-r", "8000", "-t", "ul"], 8000, 0),
    ("pcm", &["-r", "8000", "-t", "ul"], 8000, 0),
    ("alaw", &["-r", "8000", "-t", "al"], 8000, 0),
    ("al", &["-r", "8000", "-t", "al"], 8000, 0),
    ("sln", &["-r", "8000", "-t", "s16"], 8000, 0),
    ("sln16", &["-r", "16000", "-t", "s16"], 16_000, 0),
    // Lossy, and decoded in floating point there and here.
    ("ogg", &["-r", "8000", "-t", "vorbis"], 8000, 40),
];

#[test]
fn each_form_is_read_as_sox_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    for (extension, options, rate, off) in FORMATS {
        let path = dir.path().join(format!("msg0000.{extension}"));
        speech(&path, options);
        let expected = sox_reads(&path, options);
        let read = file::read(&path).unwrap();
        assert_eq!((read.rate, read.samples.len()), (rate, expected.len()), "{extension}");
        let worst = read.samples.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(off), "{extension}: {worst:?}");
        let info = file::info(&path).unwrap();
        assert_eq!((info.rate, info.samples), (rate, expected.len() as u64), "{extension}");
        assert!((2.9..3.1).contains(&info.duration().as_secs_f64()), "{extension}");
    }
}

/// Noise, a tone at full scale and silence drive every branch of the decoder into its limits; a
/// stream of any bits does what is left.
#[test]
fn gsm_is_exact_to_the_last_bit() {
    let dir = tempfile::tempdir().unwrap();
    for (n, synth) in
        ["whitenoise", "square 180", "sine 300-3300", "tpdfnoise vol 0.02"].into_iter().enumerate()
    {
        for (extension, options) in
            [("gsm", &["-t", "gsm"][..]), ("WAV", &["-e", "gsm-full-rate", "-t", "wav"])]
        {
            let path = dir.path().join(format!("{n}.{extension}"));
            let effects = format!("synth 4 {synth}");
            let made = ["-q", "-n", "-r", "8000", "-c", "1"];
            let made = made.iter().chain(options).copied().chain([path.to_str().unwrap()]);
            sox(&made.chain(effects.split(' ')).collect::<Vec<_>>());
            let expected = sox_reads(&path, options);
            assert_eq!(file::read(&path).unwrap().samples, expected, "{synth} as {extension}");
        }
    }
    let mut state = 1_u64;
    let mut bits: Vec<u8> = (0..33 * 2000)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        })
        .collect();
    bits.iter_mut().step_by(33).for_each(|first| *first = 0xd0 | (*first & 0x0f));
    let path = dir.path().join("any.gsm");
    fs::write(&path, bits).unwrap();
    assert_eq!(file::read(&path).unwrap().samples, sox_reads(&path, &["-t", "gsm"]));
}

/// sox knows no G.722; ffmpeg does.
#[test]
fn g722_is_read_as_ffmpeg_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let (wav, g722) = (dir.path().join("a.wav"), dir.path().join("a.g722"));
    speech(&wav, &["-r", "16000", "-b", "16", "-t", "wav"]);
    let ffmpeg = |arguments: &[&str]| {
        let done = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-y"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    };
    ffmpeg(&["-i", wav.to_str().unwrap(), "-c:a", "g722", "-f", "g722", g722.to_str().unwrap()]);
    let decoded = ffmpeg(&[
        "-f",
        "g722",
        "-i",
        g722.to_str().unwrap(),
        "-f",
        "s16le",
        "-c:a",
        "pcm_s16le",
        "-",
    ]);
    let expected = samples(&decoded);
    let read = file::read(&g722).unwrap();
    assert_eq!((read.rate, read.samples.len()), (16_000, expected.len()));
    // Their filters round differently, which the decoder's memory carries on: 30 dB below is near enough.
    let square = |sample: i32| i64::from(sample) * i64::from(sample);
    let loud: i64 = expected.iter().map(|&sample| square(sample.into())).sum();
    let pairs = read.samples.iter().zip(&expected);
    let off: i64 = pairs.map(|(&a, &b)| square(i32::from(a) - i32::from(b))).sum();
    assert!(off < loud / 1000, "{off} of {loud}");
    assert_eq!(file::info(&g722).unwrap().samples, expected.len() as u64);
}

/// In a call, where they are resampled and encoded anew.
#[test]
fn each_form_can_be_played() {
    let dir = tempfile::tempdir().unwrap();
    for (extension, options, ..) in FORMATS {
        let path = dir.path().join(format!("unavail.{extension}"));
        speech(&path, options);
        for codec in [Codec::Pcmu, Codec::Pcma] {
            let sound = Sound::read(&path, codec).unwrap();
            let seconds = sound.duration().as_secs_f64();
            assert!((2.9..3.1).contains(&seconds), "{extension} {codec:?}: {seconds} s");
        }
    }
}

/// Asterisk makes the header true only when a recording ends.
#[test]
fn a_gsm_file_that_is_still_written_is_read_as_far_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.WAV");
    speech(&path, FORMATS[1].1);
    let mut bytes = fs::read(&path).unwrap();
    let whole = file::read(&path).unwrap().samples;
    bytes[56..60].fill(0);
    bytes.truncate(60 + 65 * 10 + 12);
    fs::write(&path, bytes).unwrap();
    assert_eq!(file::read(&path).unwrap().samples, whole[..3200]);
    assert_eq!(file::info(&path).unwrap().samples, 3200);
}

#[test]
fn what_has_the_name_and_not_the_content_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("a.gsm", &b"not GSM at all"[..]),
        ("a.WAV", b"neither this"),
        ("a.wav16", b"RIFF"),
        ("a.ogg", b""),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert!(file::read(&path).is_err() && file::info(&path).is_err(), "{name}");
    }
    fs::write(dir.path().join("empty.gsm"), b"").unwrap();
    assert_eq!(file::read(&dir.path().join("empty.gsm")).unwrap().samples, Vec::<i16>::new());
    // A PCM file under the name of the other: the header is believed.
    let path = dir.path().join("pcm.WAV");
    speech(&path, FORMATS[2].1);
    assert_eq!(file::read(&path).unwrap().samples.len(), 24_000);
}

/// Three seconds that sound like a voice, in one of sox's formats.
pub fn speech(path: &Path, options: &[&str]) {
    let made = ["-q", "-n", "-c", "1", "-D"].iter().chain(options).copied();
    let effects = "synth 3 sawtooth 120 vol 0.4 lowpass 900 tremolo 4 80";
    sox(&made.chain([path.to_str().unwrap()]).chain(effects.split(' ')).collect::<Vec<_>>());
}

fn sox_reads(path: &Path, options: &[&str]) -> Vec<i16> {
    let raw: PathBuf = path.with_extension("expected");
    // What has a header says itself what it is.
    let headed = options.contains(&"wav") || options.contains(&"vorbis");
    let kind: Vec<&str> = if headed { vec![] } else { [&["-c", "1"], options].concat() };
    let last = options.last().copied().unwrap_or_default();
    let kind = if headed { vec!["-t", last] } else { kind };
    let to = ["-t", "s16", raw.to_str().unwrap()];
    sox(&[&["-q", "-D"][..], &kind, &[path.to_str().unwrap()], &to].concat());
    samples(&fs::read(raw).unwrap())
}

fn samples(bytes: &[u8]) -> Vec<i16> {
    bytes.as_chunks().0.iter().map(|&pair| i16::from_le_bytes(pair)).collect()
}

pub fn sox(arguments: &[&str]) {
    let done = Command::new("sox").args(arguments).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}
