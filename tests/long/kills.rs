//! Many kills between message and notice, by hand:
//!
//! ```text
//! cargo test --test kills-long -- 200 1
//! ```
//!
//! How many, in eight daemons at once, and the seed.

#![allow(clippy::unwrap_used, dead_code, unused_imports, reason = "parts of the daemon's tests")]

#[path = "../sip/authority.rs"]
mod authority;
#[path = "../daemon/clients.rs"]
mod clients;
#[path = "../daemon/hook.rs"]
mod hook;
#[path = "../daemon/house.rs"]
mod house;
#[path = "../daemon/kills.rs"]
mod kills;
#[path = "../daemon/mail.rs"]
mod mail;
#[path = "../daemon/notices.rs"]
mod notices;
#[path = "../daemon/phone.rs"]
mod phone;
#[path = "../daemon/voice.rs"]
mod voice;

fn main() {
    let numbers: Vec<u64> =
        std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let [times, seed] = numbers[..] else { return eprintln!("how many kills, and a seed") };
    let begun = std::time::Instant::now();
    let tallies = std::thread::scope(|scope| {
        let each = (0..HOUSES).map(|n| {
            let share = times / HOUSES + u64::from(n < times % HOUSES);
            scope.spawn(move || kills::kill(share, seed.wrapping_mul(1000) + n, 60))
        });
        let each: Vec<_> = each.collect();
        each.into_iter().map(|house| house.join().unwrap()).collect::<Vec<_>>()
    });
    for tally in tallies {
        println!("{tally:?}");
    }
    println!("seed {seed}: {times} kills in {:.0?}", begun.elapsed());
}

const HOUSES: u64 = 8;
