//! Recordings to the disk, on threads of their own: a slow disk never delays a packet.
//!
//! A media thread hands pieces over and goes on. What the disk owes is counted per recording and
//! in all; when it owes too much the recording fails instead of eating the memory.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::event::{Teller, Told};
use super::recording::{Ended, Recording};
use super::track::Track;
use super::wav::Tape;

/// What both sides know of one recording. Its end is told once, by whichever side knows it first.
#[derive(Debug)]
pub(super) struct Receipt {
    id: u64,
    rate: u32,
    teller: Teller,
    told: AtomicBool,
    /// Samples that are safely in the file.
    written: AtomicU64,
    /// Bytes handed over and not yet written.
    owed: AtomicUsize,
    /// Milliseconds in which somebody spoke, known at the end.
    spoke: AtomicU64,
    /// The writer's alone.
    tape: Mutex<Option<Tape>>,
}

/// The media thread's side: jobs are gathered and handed over once a tick.
pub(super) struct Outbox {
    writers: Vec<Writer>,
    ledger: Arc<Ledger>,
    sheets: Vec<Vec<u8>>,
    /// Recordings that are over for us, and by when the writer should have said so.
    finishing: Vec<(Instant, Arc<Receipt>)>,
}

struct Writer {
    jobs: SyncSender<Vec<Job>>,
    gathered: Vec<Job>,
}

struct Job {
    receipt: Arc<Receipt>,
    deed: Deed,
}

enum Deed {
    Open(Box<dyn FnOnce() -> io::Result<File> + Send>),
    Write(Track),
    Finish { keep: u64, ended: Ended },
}

/// The pool. Threads end when the last outbox is gone.
pub(super) struct Pool {
    writers: Vec<SyncSender<Vec<Job>>>,
    ledger: Arc<Ledger>,
}

/// What is counted over all recordings.
#[derive(Debug, Default)]
struct Ledger {
    recordings: AtomicU64,
    /// Bytes handed over and not yet written.
    owed: AtomicUsize,
    /// What pieces stood on that are written.
    sheets: Mutex<Vec<Vec<u8>>>,
}

impl Ledger {
    /// Takes sheets back, and keeps no more than so many: after a disk has hung there are more.
    fn give_back(&self, sheets: &mut Vec<Vec<u8>>, most: usize) {
        let mut kept = self.sheets.lock().unwrap_or_else(PoisonError::into_inner);
        kept.append(sheets);
        let more = kept.len().min(most);
        let surplus = kept.split_off(more);
        // It is freed while nobody waits.
        drop(kept);
        drop(surplus);
    }

    /// Some sheets, if there are any and no writer is at them.
    fn sheets(&self) -> Vec<Vec<u8>> {
        let Ok(mut kept) = self.sheets.try_lock() else { return Vec::new() };
        let left = kept.len().saturating_sub(STACK);
        kept.split_off(left)
    }
}

impl Pool {
    pub fn start(writers: usize) -> io::Result<Self> {
        let ledger = Arc::<Ledger>::default();
        let start = |n: usize| {
            let (sender, jobs) = sync_channel(BATCHES);
            let ledger = Arc::clone(&ledger);
            let thread = thread::Builder::new().name(format!("writer-{n}"));
            thread.spawn(move || write(&jobs, &ledger, writers))?;
            Ok(sender)
        };
        let writers = (0..writers.max(1)).map(start).collect::<io::Result<_>>()?;
        Ok(Self { writers, ledger })
    }

    pub fn outbox(&self) -> Outbox {
        let writer = |jobs: &SyncSender<_>| Writer { jobs: jobs.clone(), gathered: Vec::new() };
        let writers = self.writers.iter().map(writer).collect();
        let ledger = Arc::clone(&self.ledger);
        Outbox { writers, ledger, sheets: Vec::new(), finishing: Vec::new() }
    }
}

impl Receipt {
    /// Whether the recording's end has been told.
    pub fn is_told(&self) -> bool {
        self.told.load(Ordering::Acquire)
    }

    /// Notes for how long somebody spoke.
    pub fn heard(&self, spoke: Duration) {
        let millis = u64::try_from(spoke.as_millis()).unwrap_or(u64::MAX);
        self.spoke.store(millis, Ordering::Release);
    }

    fn tape(&self) -> MutexGuard<'_, Option<Tape>> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, ended: Ended) {
        if !self.told.swap(true, Ordering::AcqRel) {
            let samples = self.written.load(Ordering::Acquire);
            let spoke = Duration::from_millis(self.spoke.load(Ordering::Acquire));
            self.teller.tell(Told::Recorded(Recording { samples, rate: self.rate, spoke, ended }));
        }
    }
}

impl Outbox {
    /// Begins a recording, whose end will be told to `teller`.
    pub fn open(
        &mut self,
        rate: u32,
        teller: Teller,
        open: Box<dyn FnOnce() -> io::Result<File> + Send>,
    ) -> Arc<Receipt> {
        let id = self.ledger.recordings.fetch_add(1, Ordering::Relaxed);
        let (told, written, owed, spoke, tape) = Default::default();
        let receipt = Arc::new(Receipt { id, rate, teller, told, written, owed, spoke, tape });
        self.add(&receipt, Deed::Open(open));
        receipt
    }

    /// Hands a piece over. False if the recording is over because the disk owes too much.
    pub fn write(&mut self, receipt: &Arc<Receipt>, piece: Track, now: Instant) -> bool {
        let bytes = piece.memory();
        let owed = receipt.owed.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let in_all = self.ledger.owed.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if owed <= patience(receipt.rate) && in_all <= MEMORY {
            self.add(receipt, Deed::Write(piece));
            return true;
        }
        receipt.owed.fetch_sub(bytes, Ordering::Relaxed);
        self.ledger.owed.fetch_sub(bytes, Ordering::Relaxed);
        receipt.tell(Ended::Failed(too_slow()));
        self.finish(receipt, u64::MAX, Ended::Stopped, now);
        false
    }

    pub fn finish(&mut self, receipt: &Arc<Receipt>, keep: u64, ended: Ended, now: Instant) {
        self.add(receipt, Deed::Finish { keep, ended });
        self.finishing.push((now + DEADLINE, Arc::clone(receipt)));
    }

    /// A sheet for another piece; one of no size if none has come back.
    pub fn sheet(&mut self) -> Vec<u8> {
        if self.sheets.is_empty() {
            self.sheets = self.ledger.sheets();
        }
        self.sheets.pop().unwrap_or_default()
    }

    /// Hands over what has been gathered, as far as the writers take it.
    pub fn flush(&mut self) {
        for writer in &mut self.writers {
            if writer.gathered.is_empty() {
                continue;
            }
            match writer.jobs.try_send(std::mem::take(&mut writer.gathered)) {
                Ok(()) => {}
                Err(TrySendError::Full(jobs)) => writer.gathered = jobs,
                Err(TrySendError::Disconnected(jobs)) => {
                    for job in &jobs {
                        job.receipt.tell(Ended::Failed(gone()));
                    }
                }
            }
        }
    }

    /// Tells of recordings that a hung disk will not finish.
    pub fn tick(&mut self, now: Instant) {
        self.finishing.retain(|(deadline, receipt)| {
            if *deadline <= now {
                receipt.tell(Ended::Failed(too_slow()));
            }
            !receipt.is_told()
        });
    }

    pub fn is_empty(&self) -> bool {
        self.finishing.is_empty() && self.writers.iter().all(|writer| writer.gathered.is_empty())
    }

    /// Hands over everything, however long it takes: the media thread is ending.
    pub fn close(mut self) {
        for writer in &mut self.writers {
            let _ = writer.jobs.send(std::mem::take(&mut writer.gathered));
        }
    }

    /// Samples that wait to be handed over.
    #[cfg(test)]
    pub fn gathered(&self) -> u64 {
        let jobs = self.writers.iter().flat_map(|writer| &writer.gathered);
        jobs.map(|job| if let Deed::Write(piece) = &job.deed { piece.len() } else { 0 }).sum()
    }

    fn add(&mut self, receipt: &Arc<Receipt>, deed: Deed) {
        let count = self.writers.len() as u64;
        // All jobs of a recording go to one writer, in order.
        let writer = usize::try_from(receipt.id % count).unwrap_or_default();
        self.writers[writer].gathered.push(Job { receipt: Arc::clone(receipt), deed });
    }
}

/// A writer's life.
fn write(jobs: &Receiver<Vec<Job>>, ledger: &Ledger, writers: usize) {
    let (mut open, mut desk, mut sheets) = (0, Vec::new(), Vec::new());
    for Job { receipt, deed } in jobs.iter().flatten() {
        let mut tape = receipt.tape();
        let had = usize::from(tape.is_some());
        match deed {
            Deed::Open(file) => match file().and_then(|file| Tape::create(file, receipt.rate)) {
                Ok(new) => *tape = Some(new),
                Err(error) => receipt.tell(Ended::Failed(error)),
            },
            Deed::Write(piece) => {
                match tape.as_mut().map(|tape| tape.append(&piece, &mut desk)) {
                    None => {}
                    Some(Ok(samples)) => receipt.written.store(samples, Ordering::Release),
                    Some(Err(error)) => {
                        finish(tape.take(), u64::MAX, &receipt, Ended::Failed(error));
                    }
                }
                receipt.owed.fetch_sub(piece.memory(), Ordering::Relaxed);
                ledger.owed.fetch_sub(piece.memory(), Ordering::Relaxed);
                if let Track::Law(_, sheet) = piece {
                    sheets.push(sheet);
                }
                if sheets.len() >= STACK {
                    // Each writer has its share of the recordings, and a quarter of them begin a
                    // piece between two wakings of the media threads.
                    ledger.give_back(&mut sheets, (open * writers).div_ceil(4));
                }
            }
            Deed::Finish { keep, ended } => {
                finish(tape.take(), keep, &receipt, ended);
            }
        }
        open = open + usize::from(tape.is_some()) - had;
    }
}

fn finish(tape: Option<Tape>, keep: u64, receipt: &Receipt, ended: Ended) {
    let Some(tape) = tape else { return };
    let ended = match tape.finish(keep) {
        Ok(samples) => {
            receipt.written.store(samples, Ordering::Release);
            ended
        }
        Err(error) => Ended::Failed(error),
    };
    receipt.tell(ended);
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the disk is too slow for the recording")
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the writer is gone")
}

/// Batches that may wait for a writer; one a tick, so half a second of them. More are gathered
/// where they come from.
const BATCHES: usize = 128;
/// So many sheets are given back, or taken, at once.
const STACK: usize = 32;
/// A disk may owe a recording 30 s, which are bytes in a telephone's band, and else samples,
const fn patience(rate: u32) -> usize {
    30 * if rate <= 8000 { 8000 } else { 2 * rate as usize }
}
/// and all recordings together so many bytes.
const MEMORY: usize = 256 << 20;
/// A recording should be closed by then.
const DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use tokio::sync::mpsc;

    use super::*;
    use crate::media::codec::g711::Law;

    struct Disk {
        outbox: Outbox,
        receipt: Arc<Receipt>,
        events: mpsc::Receiver<Told>,
        now: Instant,
    }

    type Opening = Box<dyn FnOnce() -> io::Result<File> + Send>;

    fn disk(open: Opening) -> Disk {
        let (teller, events) = Teller::new();
        let mut outbox = Pool::start(1).unwrap().outbox();
        let receipt = outbox.open(8000, teller, open);
        Disk { outbox, receipt, events, now: Instant::now() }
    }

    /// A disk that hangs until something is sent, or the sender is dropped.
    fn hung() -> (Disk, Sender<()>) {
        let (sender, release) = channel();
        let open = move || {
            let _ = release.recv();
            tempfile::tempfile()
        };
        (disk(Box::new(open)), sender)
    }

    impl Disk {
        fn write(&mut self, bytes: usize) -> bool {
            let piece = Track::Law(Law::Mu, vec![0xff; bytes]);
            let taken = self.outbox.write(&self.receipt, piece, self.now);
            self.outbox.flush();
            taken
        }

        fn finish(&mut self) {
            self.outbox.finish(&self.receipt, u64::MAX, Ended::Stopped, self.now);
            self.outbox.flush();
        }

        fn told(&mut self) -> Option<(u64, bool)> {
            match self.events.try_recv().ok()? {
                Told::Recorded(recording) => {
                    Some((recording.samples, matches!(recording.ended, Ended::Failed(_))))
                }
                other => panic!("{other:?}"),
            }
        }

        /// The receipt is signed a moment before the end is told.
        fn wait(&mut self) -> Option<(u64, bool)> {
            loop {
                if let Some(told) = self.told() {
                    return Some(told);
                }
                self.outbox.flush();
                thread::yield_now();
            }
        }
    }

    #[test]
    fn a_disk_that_hangs_delays_nobody_and_loses_nothing_when_it_comes_back() {
        let (mut disk, release) = hung();
        for _ in 0..patience(8000) / 2880 {
            assert!(disk.write(2880));
        }
        assert_eq!(disk.told(), None);
        drop(release);
        disk.finish();
        assert_eq!(disk.wait(), Some((patience(8000) as u64 / 2880 * 2880, false)));
        assert_eq!(disk.outbox.ledger.owed.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_pieces_stood_on_is_used_again_and_no_more_of_it_kept_than_is_needed() {
        let mut disk = disk(Box::new(tempfile::tempfile));
        for _ in 0..2 * STACK {
            assert!(disk.write(80));
        }
        disk.finish();
        assert_eq!(disk.wait(), Some((2 * STACK as u64 * 80, false)));
        assert_eq!(disk.outbox.sheet().capacity(), 80);
        assert_eq!(disk.outbox.sheet().capacity(), 0, "one recording needs one");
    }

    #[test]
    fn a_disk_that_owes_too_much_ends_the_recording() {
        let (mut disk, release) = hung();
        assert!(disk.write(patience(8000)));
        assert!(!disk.write(1));
        assert_eq!(disk.told(), Some((0, true)));
        drop(release);
        disk.outbox.close();
    }

    #[test]
    fn a_recording_that_is_never_closed_is_told_in_the_end() {
        let (mut disk, release) = hung();
        disk.finish();
        disk.outbox.tick(disk.now + DEADLINE / 2);
        assert_eq!((disk.told(), disk.outbox.is_empty()), (None, false));
        disk.outbox.tick(disk.now + DEADLINE);
        assert_eq!((disk.told(), disk.outbox.is_empty()), (Some((0, true)), true));
        drop(release);
    }

    #[test]
    fn a_full_disk_keeps_what_is_whole_and_says_how_much() {
        let mut disk = disk(Box::new(|| File::options().read(true).write(true).open("/dev/full")));
        disk.write(2880);
        disk.finish();
        assert_eq!(disk.wait(), Some((0, true)));
        assert_eq!(disk.told(), None, "once");
    }
}
