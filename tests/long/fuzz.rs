//! A long run of one fuzz target, by hand:
//!
//! ```text
//! cargo test --profile fuzz --test fuzz-long -- message 600 1
//! ```
//!
//! The target (or `all`), seconds, the first seed. Tells what was done, the slowest message in
//! processor time, and the memory at the beginning and the end. An input that breaks a promise is
//! written to the temporary folder, and the run ends.
//!
//! Where nightly is at hand, `cargo +nightly fuzz run --fuzz-dir tests/fuzz message` is better,
//! because it sees which inputs reach new code.

#[path = "mutate.rs"]
mod mutate;

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use afterbeep::fuzz::{TARGETS, slowest};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [wanted, seconds, seed] = &*arguments else {
        eprintln!("target, seconds, seed; targets are {:?} and all", TARGETS.map(|(name, _)| name));
        return ExitCode::FAILURE;
    };
    let seconds = Duration::from_secs(seconds.parse().expect("seconds"));
    let seed: u64 = seed.parse().expect("a seed");
    let mut sound = true;
    for (name, target) in TARGETS.into_iter().filter(|(name, _)| name == wanted || wanted == "all")
    {
        sound &= run(name, target, seconds, seed);
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(name: &str, target: fn(&[u8]), time: Duration, first: u64) -> bool {
    let begun = Instant::now();
    let (mut count, mut bytes, mut seed) = (0_u64, 0, first);
    let mut memory = None;
    while begun.elapsed() < time {
        // A new seed now and then keeps the pool fresh, and makes a finding quick to repeat.
        let mut inputs = mutate::Inputs::new(name, seed);
        for _ in 0..200_000 {
            let input = inputs.next();
            count += 1;
            bytes += input.len();
            // A busy machine can make one message slow; not the same one three times.
            if (0..3).all(|_| catch_unwind(|| target(&input)).is_err()) {
                let path = std::env::temp_dir().join(format!("afterbeep-fuzz-{name}-{seed}.bin"));
                std::fs::write(&path, &input).expect("room for the input");
                println!("{name}: seed {seed} broke a promise: {}", path.display());
                return false;
            }
            if begun.elapsed() >= time {
                break;
            }
        }
        memory.get_or_insert_with(resident);
        seed += 1;
    }
    println!(
        "{name}: {count} inputs, {} MB, seeds {first}..{seed}, {:?}; slowest {:?}; \
         resident {} KB after the first seed, {} KB in the end",
        bytes / 1_000_000,
        begun.elapsed(),
        slowest(),
        memory.unwrap_or(0),
        resident()
    );
    true
}

/// Kilobytes in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}
