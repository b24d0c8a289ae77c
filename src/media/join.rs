//! One recording after another, in one file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use super::file::{self, Pcm};
use super::resample::Resampler;
use super::wav::{self, Info};

/// Writes a 16-bit WAV file of all parts in their order, at the highest of their rates. Nothing is
/// replaced.
pub fn join(parts: &[&Path], to: &Path) -> io::Result<Info> {
    let mut read = vec![];
    for path in parts {
        let Pcm { samples, rate } = file::read(path).map_err(file::plain)?;
        read.push((samples, rate));
    }
    let rate = read.iter().map(|(_, rate)| *rate).max().unwrap_or(8000);
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(to)?;
    write(file, rate, read)?;
    wav::info(to)
}

fn write(file: File, rate: u32, parts: Vec<(Vec<i16>, u32)>) -> io::Result<()> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let file = Arc::new(file);
    let mut writer =
        hound::WavWriter::new(io::BufWriter::new(&*file), spec).map_err(io::Error::other)?;
    for (samples, from) in parts {
        for sample in at_rate(samples, from, rate) {
            writer.write_sample(sample).map_err(io::Error::other)?;
        }
    }
    writer.finalize().map_err(io::Error::other)
}

fn at_rate(samples: Vec<i16>, from: u32, to: u32) -> Vec<i16> {
    let Some(mut resampler) = Resampler::new(from, to) else { return samples };
    let input: Vec<f32> = samples.into_iter().map(f32::from).collect();
    let mut output = vec![];
    resampler.push(&input, &mut output);
    resampler.finish(&mut output);
    output.into_iter().map(whole).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "clamped before")]
fn whole(sample: f32) -> i16 {
    sample.round().clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn recording(dir: &Path, name: &str, rate: u32, seconds: u32) -> std::path::PathBuf {
        let path = dir.join(name);
        let samples = vec![1000; usize::try_from(rate * seconds).unwrap()];
        write(File::create_new(&path).unwrap(), rate, vec![(samples, rate)]).unwrap();
        path
    }

    #[test]
    fn parts_of_two_rates_become_one_at_the_higher() {
        let dir = tempfile::tempdir().unwrap();
        let narrow = recording(dir.path(), "a.wav", 8000, 1);
        let wide = recording(dir.path(), "b.wav", 16_000, 2);
        let to = dir.path().join("c.wav");
        let joined = join(&[&narrow, &wide], &to).unwrap();
        assert_eq!((joined.rate, joined.duration()), (16_000, Duration::from_secs(3)));
        let samples = wav::samples(&to).unwrap();
        assert!(samples[1000..15_000].iter().all(|s| (990..1010).contains(s)));
        assert!(join(&[&narrow], &to).is_err(), "nothing is replaced");
    }
}
