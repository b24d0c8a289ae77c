//! Many crashes, by hand:
//!
//! ```text
//! cargo test --test crash-long -- 1000 1
//! ```
//!
//! How many, and the seed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../crash/play.rs"]
mod play;

fn main() {
    play::work_if_asked();
    let numbers: Vec<u64> =
        std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let [times, seed] = numbers[..] else { return eprintln!("how many crashes, and a seed") };
    let begun = std::time::Instant::now();
    let tally = play::crashes(times, seed, &[]);
    println!("seed {seed}: {tally:?} in {:.0?}", begun.elapsed());
}
