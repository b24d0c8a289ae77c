//! What a large spool costs: a million messages, unless told otherwise.
//!
//! `cargo bench --bench spool -- DIR [MAILBOXES] [MESSAGES] [LARGEST]` makes the tree in DIR where it
//! is not there yet, reads it into a new index, opens it again with the index it has, asks for pages
//! and counts, and delivers.

#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a bench stops where anything fails, and counts what fits into any number"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use afterbeep::daemon::WAV;
use afterbeep::mailbox::{CallerId, Envelope, Folder, MailboxId};
use afterbeep::spool::{Herald, Options, Order, Query, Spool};
use afterbeep::state::State;
use afterbeep::state::outbox::Intents;

#[path = "corpus.rs"]
mod corpus;
use corpus::Corpus;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let Some(dir) = arguments.first().map(PathBuf::from) else {
        return println!("cargo bench --bench spool -- DIR [MAILBOXES] [MESSAGES] [LARGEST]");
    };
    let number = |at: usize, or| arguments.get(at).and_then(|a| a.parse().ok()).unwrap_or(or);
    let (mailboxes, messages, largest) =
        (number(1, 10_000), number(2, 900_000), number(3, 100_000));
    let tree = dir.join("spool");
    if !tree.exists() {
        Corpus { mailboxes, messages, largest }.make(&tree);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&dir, mailboxes));
}

async fn measure(dir: &Path, mailboxes: usize) {
    let state = State::open(&dir.join("state")).await.unwrap();
    let (begun, before) = (Instant::now(), processor());
    let options = Options { anew: true, ..Options::default() };
    let opened = Spool::open_with(&dir.join("spool"), &state, WAV, options).await.unwrap();
    let (spool, found) = opened;
    let took = begun.elapsed().as_secs_f64();
    let (all, many) = (found.messages, found.messages as f64);
    println!(
        "read {many} messages in {took:.2} s, {:.0} a second, with {:.1} s of processor time",
        many / took,
        processor().saturating_sub(before).as_secs_f64()
    );
    let begun = Instant::now();
    spool.close().await;
    println!(
        "wrote the rest in {:.2} s; resident {} MB",
        begun.elapsed().as_secs_f64(),
        resident()
    );
    drop(spool);
    state.close().await;
    drop(state);

    let state = State::open(&dir.join("state")).await.unwrap();
    let options = Options { at_once: true, ..Options::default() };
    let begun = Instant::now();
    let opened = Spool::open_with(&dir.join("spool"), &state, WAV, options).await.unwrap();
    let (spool, found) = opened;
    println!(
        "warm start: {} messages in {:.2} s; resident {} MB",
        found.messages,
        begun.elapsed().as_secs_f64(),
        resident()
    );
    assert_eq!(found.messages, all, "some are lost");
    pages(&spool, mailboxes).await;
    spool.engage(Herald { intents: Intents::start(&state), wants: Box::new(|_| true) });
    deliver(&spool).await;
    println!("resident {} MB", resident());
    spool.close().await;
    state.close().await;
}

async fn pages(spool: &Spool, mailboxes: usize) {
    let mut chance = 1_u64;
    let mut draw = |below: usize| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(chance >> 33).unwrap() % below
    };
    let largest: MailboxId = corpus::FIRST.to_string().parse().unwrap();
    let orders = [Order::Received, Order::Number, Order::Duration];
    let (mut small, mut large, mut all, mut counts) = (vec![], vec![], vec![], vec![]);
    for n in 0..3000 {
        let mailbox: MailboxId =
            (corpus::FIRST + 1 + draw(mailboxes - 1)).to_string().parse().unwrap();
        let mut query = Query {
            folders: vec![Folder::Inbox, Folder::Old],
            order: orders[n % 3],
            newest_first: n % 2 == 0,
            skip: draw(40),
            limit: Some(50),
            ..Query::default()
        };
        small.push(timed(spool.list(&mailbox, &query)).await);
        query.skip = draw(100_000);
        large.push(timed(spool.list(&largest, &query)).await);
        query.order = Order::Received;
        query.skip = draw(900_000);
        all.push(timed(spool.list_all("default", &query)).await);
        let begun = Instant::now();
        std::hint::black_box(spool.counts(&mailbox));
        counts.push(begun.elapsed());
    }
    tell("a page of 50 of a mailbox", small);
    tell("a page of 50 of the largest", large);
    tell("a page of 50 of all", all);
    tell("counts", counts);
    let mut searches = vec![];
    for n in 0..200 {
        let text = Some(["zoe", "invoice tomorrow", "2125551", "radia contract"][n % 4].to_owned());
        let query = Query { text, limit: Some(50), ..Query::default() };
        searches.push(timed(spool.list(&largest, &query)).await);
    }
    tell("a search in the largest", searches);
}

async fn timed<T, E: std::fmt::Debug>(work: impl Future<Output = Result<T, E>>) -> Duration {
    let begun = Instant::now();
    std::hint::black_box(work.await.unwrap());
    begun.elapsed()
}

/// A thousand callers at once, again and again.
async fn deliver(spool: &Spool) {
    let (mut recorded, mut delivered, mut took) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let rounds = 5;
    for round in 0..rounds {
        let before = processor();
        let callers: Vec<_> = (0..1000)
            .map(|n| {
                let spool = spool.clone();
                tokio::spawn(async move {
                    let mailbox: MailboxId = format!("{}", 100_001 + n).parse().unwrap();
                    let caller = CallerId { number: "2001".into(), ..CallerId::default() };
                    let received = 1_750_000_000 + round;
                    let envelope = Envelope { caller, received, ..Envelope::default() };
                    let draft = spool.draft(&mailbox, 10_001, envelope, 0).await.unwrap();
                    let open = draft.opener();
                    tokio::task::spawn_blocking(move || {
                        use std::io::Write;
                        open().unwrap().write_all(&wav(8000)).unwrap();
                    })
                    .await
                    .unwrap();
                    draft
                })
            })
            .collect();
        let mut drafts = vec![];
        for caller in callers {
            drafts.push(caller.await.unwrap());
        }
        let (hung_up, begun) = (processor(), Instant::now());
        recorded += hung_up.saturating_sub(before);
        let callers: Vec<_> = drafts
            .into_iter()
            .map(|draft| {
                let spool = spool.clone();
                tokio::spawn(async move {
                    let begun = Instant::now();
                    spool.deliver(draft).await.unwrap();
                    begun.elapsed()
                })
            })
            .collect();
        let mut each = vec![];
        for caller in callers {
            each.push(caller.await.unwrap());
        }
        // With what the index writes of them, which comes a moment later.
        took += begun.elapsed();
        spool.write_out().await.unwrap();
        delivered += processor().saturating_sub(hung_up);
        if round == 0 {
            tell("a delivery among a thousand", each);
        }
    }
    let many = f64::from(1000 * i32::try_from(rounds).unwrap());
    println!(
        "delivered {:.0} a second, {:.3} ms of processor time each, and {:.3} ms to record it",
        many / took.as_secs_f64(),
        delivered.as_secs_f64() * 1000.0 / many,
        recorded.as_secs_f64() * 1000.0 / many
    );
}

fn tell(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |part: usize| took[(took.len() - 1) * part / 100].as_secs_f64() * 1000.0;
    println!("{what}: p50 {:.3} ms, p99 {:.3} ms", at(50), at(99));
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn processor() -> Duration {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let of = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec().unsigned_abs())
            + Duration::from_micros(time.tv_usec().unsigned_abs())
    };
    of(usage.user_time()) + of(usage.system_time())
}

fn wav(samples: usize) -> Vec<u8> {
    let bytes = u32::try_from(samples * 2).unwrap();
    let mut wav = Vec::from(*b"RIFF");
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data");
    wav.extend(bytes.to_le_bytes());
    wav.extend(vec![0; samples * 2]);
    wav
}
