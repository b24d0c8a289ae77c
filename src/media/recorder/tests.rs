use super::*;
use crate::media::codec::g711::Law;

struct Caller {
    recorder: Recorder,
    now: Instant,
    sequence: u16,
    timestamp: u32,
}

impl Caller {
    fn new(head: Head, limit: u64, silence: Option<u64>) -> Self {
        let bounds = Bounds {
            limit: Duration::from_millis(limit),
            silence: silence.map(Duration::from_millis),
            level: 256,
            adapts: true,
            trims: false,
        };
        let now = Instant::now();
        Self { recorder: Recorder::start(head, bounds, now), now, sequence: 0, timestamp: 0 }
    }

    fn says(&mut self, byte: u8, frames: usize) {
        for _ in 0..frames {
            self.sends(&[byte; 160], true);
            self.timestamp += 160;
        }
    }

    fn sends(&mut self, payload: &[u8], audio: bool) {
        let (sequence, timestamp) = (self.sequence, self.timestamp);
        let packet = Packet { payload_type: 0, sequence, timestamp, ssrc: 1, payload };
        self.recorder.push(&packet, audio, self.now);
        self.sequence += 1;
        self.now += Duration::from_millis(20);
    }

    /// The recording ends by itself, with so many samples.
    fn ends(&mut self, bound: Bound) -> usize {
        assert_eq!(self.recorder.bound(self.now), Some(bound));
        self.recorded(Some(bound)).len()
    }

    fn recorded(&mut self, bound: Option<Bound>) -> Vec<u8> {
        let keep = self.recorder.finish(bound, self.now);
        let pieces = std::iter::from_fn(|| self.recorder.pull());
        let mut all: Vec<u8> = pieces.flat_map(|piece| bytes(&piece)).collect();
        all.truncate(usize::try_from(keep).unwrap());
        all
    }
}

/// A piece as µ-law.
fn bytes(piece: &Track) -> Vec<u8> {
    match piece {
        Track::Law(_, bytes) => bytes.clone(),
        Track::Silence(samples) => vec![QUIET; usize::try_from(*samples).unwrap()],
        Track::Linear(_) => panic!("{piece:?}"),
    }
}

fn caller(limit: u64, silence: Option<u64>) -> Caller {
    Caller::new(Head::new(Codec::Pcmu), limit, silence)
}

const LOUD: u8 = 0x10;
const QUIET: u8 = 0xff;

#[test]
fn pieces_end_where_blocks_of_the_file_do_and_the_rest_leaves_at_the_end() {
    let mut caller = caller(60_000, None);
    caller.says(LOUD, 25);
    assert_eq!(caller.recorder.pull(), None);
    caller.says(LOUD, 1);
    assert_eq!(caller.recorder.pull().unwrap().len(), 4096 - 22);
    assert_eq!(caller.recorder.pull(), None);
    caller.says(LOUD, 26);
    assert_eq!(caller.recorder.pull().unwrap().len(), 4096);
    assert_eq!(caller.recorder.pull(), None);
    assert_eq!(caller.recorded(None).len(), 52 * 160 - 2 * 4096 + 22);
}

#[test]
fn after_a_pause_pieces_end_with_blocks_again() {
    let mut caller = caller(60_000, None);
    caller.says(LOUD, 1);
    caller.timestamp += 8000;
    caller.now += Duration::from_secs(1);
    caller.says(LOUD, 60);
    caller.recorder.finish(None, caller.now);
    let pieces = std::iter::from_fn(|| caller.recorder.pull());
    let mut end = 22;
    let ends: Vec<u64> = pieces.map(|piece| (end += piece.len(), end).1).collect();
    assert_eq!(ends, [22 + 160, 22 + 8160, 2 * 4096, 3 * 4096, 4 * 4096, 22 + 160 * 61 + 8000]);
}

#[test]
fn a_long_stretch_is_laid_over_blocks_in_order() {
    let mut caller = Caller::new(Head::new(Codec::G722), 60_000, None);
    let said: Vec<i16> = (0..10_000).collect();
    for part in [&said[..4074], &said[4074..]] {
        caller.recorder.tape.take(Audio::Linear(part), caller.now);
    }
    caller.recorder.finish(None, caller.now);
    let pieces: Vec<_> = std::iter::from_fn(|| caller.recorder.pull()).collect();
    let expected = [&said[..4074], &said[4074..8170], &said[8170..]];
    assert_eq!(pieces, expected.map(|part| Track::Linear(part.to_vec())));
}

#[test]
fn a_sheet_is_asked_for_before_a_piece_begins() {
    let mut caller = caller(60_000, None);
    assert!(caller.recorder.wants_sheet());
    caller.recorder.refill(Vec::with_capacity(5000));
    assert!(!caller.recorder.wants_sheet());
    caller.says(LOUD, 1);
    assert!(!caller.recorder.wants_sheet(), "it grows");
    caller.says(LOUD, 13);
    assert!(caller.recorder.wants_sheet(), "another will be begun");
    caller.says(LOUD, 12);
    let piece = caller.recorder.pull().unwrap();
    assert_eq!((piece.len(), piece.memory()), (4074, 5000), "on what was lent");
}

#[test]
fn an_old_piece_leaves_although_it_is_short() {
    let mut caller = caller(60_000, None);
    caller.says(LOUD, 1);
    caller.recorder.tick(caller.now + AGE);
    assert_eq!(caller.recorder.pull().unwrap().len(), 160);
}

#[test]
fn the_limit_is_exact() {
    let mut caller = caller(50, None);
    caller.says(LOUD, 4);
    assert_eq!(caller.ends(Bound::Limit), 400);
}

#[test]
fn the_limit_holds_for_a_caller_who_sends_nothing() {
    let caller = caller(5000, None);
    assert_eq!(caller.recorder.bound(caller.now + Duration::from_millis(5900)), None);
    let bound = caller.recorder.bound(caller.now + Duration::from_secs(6));
    assert_eq!(bound, Some(Bound::Limit));
}

#[test]
fn silence_ends_a_recording_and_most_of_it_is_cut() {
    let mut caller = caller(60_000, Some(400));
    caller.says(LOUD, 5);
    caller.says(QUIET, 19);
    assert_eq!(caller.recorder.bound(caller.now), None);
    caller.says(QUIET, 1);
    assert_eq!(caller.ends(Bound::Silence), 5 * 160 + 1600);
}

#[test]
fn what_follows_on_a_silence_in_one_handful_of_packets_is_not_recorded() {
    let mut caller = caller(60_000, Some(400));
    caller.says(LOUD, 5);
    caller.says(QUIET, 20);
    caller.says(LOUD, 3);
    caller.timestamp += 8000;
    caller.now += Duration::from_secs(1);
    caller.says(QUIET, 1);
    assert_eq!(caller.ends(Bound::Silence), 5 * 160 + 1600);
}

#[test]
fn what_was_lost_before_a_word_is_no_evidence_of_silence() {
    let mut caller = caller(60_000, Some(400));
    caller.says(LOUD, 5);
    caller.says(QUIET, 15);
    caller.sequence += 25;
    caller.timestamp += 25 * 160;
    caller.now += Duration::from_millis(500);
    caller.says(LOUD, 10);
    assert_eq!(caller.recorder.bound(caller.now), None);
    assert_eq!(caller.recorded(None).len(), 55 * 160);
}

#[test]
fn a_noisy_line_is_silent_when_nobody_speaks() {
    let mut noise = vec![];
    Law::Mu.encode(&[400], &mut noise);
    let noise = noise[0];
    let mut caller = caller(60_000, Some(1000));
    for _ in 0..4 {
        caller.says(LOUD, 15);
        caller.says(noise, 10);
    }
    assert_eq!(caller.recorder.bound(caller.now), None);
    caller.says(noise, 40);
    assert_eq!(caller.ends(Bound::Silence), 90 * 160 + 1600);
}

#[test]
fn silence_at_the_end_is_cut_where_that_is_wanted() {
    for (trims, frames) in [(false, 55), (true, 15)] {
        let mut caller = caller(60_000, None);
        caller.recorder.bounds.trims = trims;
        caller.says(LOUD, 5);
        caller.says(QUIET, 50);
        assert_eq!(caller.recorded(None).len(), frames * 160, "{trims}");
    }
}

#[test]
fn a_message_that_holds_no_word_is_known() {
    let mut empty = caller(60_000, None);
    empty.says(QUIET, 100);
    assert_eq!(empty.recorder.spoke(), Duration::ZERO);
    let mut spoken = caller(60_000, None);
    spoken.says(QUIET, 10);
    for byte in [LOUD, LOUD | 0x20, LOUD, LOUD | 0x30].repeat(10) {
        spoken.says(byte, 1);
    }
    spoken.says(QUIET, 10);
    assert_eq!(spoken.recorder.spoke(), Duration::from_millis(800));
}

#[test]
fn a_caller_who_sends_nothing_is_silent() {
    let mut caller = caller(60_000, Some(3000));
    caller.says(LOUD, 5);
    let bound = caller.recorder.bound(caller.now + Duration::from_secs(3));
    assert_eq!(bound, Some(Bound::Silence));
    assert_eq!(caller.recorded(bound).len(), 800);
}

#[test]
fn a_key_at_the_end_leaves_neither_tone_nor_dead_air() {
    let mut caller = caller(60_000, None);
    caller.says(LOUD, 3);
    // Two frames of the tone are heard before the gateway knows the key.
    let pressed = caller.timestamp;
    caller.says(0x33, 2);
    caller.timestamp = pressed;
    caller.recorder.key(Some(pressed));
    for _ in 0..4 {
        caller.sends(&[11, 10, 0, 160], false);
    }
    assert_eq!(caller.recorded(None), [LOUD; 480]);
}

#[test]
fn a_key_in_the_middle_cuts_nothing() {
    let mut caller = caller(60_000, None);
    caller.says(LOUD, 2);
    caller.recorder.key(Some(caller.timestamp));
    caller.sends(&[5, 10, 0, 160], false);
    caller.timestamp += 160;
    caller.says(LOUD, 20);
    let expected = [&[LOUD; 320][..], &[QUIET; 160], &[LOUD; 20 * 160]].concat();
    assert_eq!(caller.recorded(None), expected);
}

#[test]
fn what_comes_with_the_handful_of_a_key_that_ends_the_recording_is_cut() {
    let mut caller = caller(60_000, None);
    caller.says(LOUD, 2);
    caller.recorder.key(Some(caller.timestamp));
    caller.sends(&[11, 10, 0, 160], false);
    caller.timestamp += 160;
    caller.says(0x33, 10);
    assert_eq!(caller.recorded(None), [LOUD; 320]);
}

#[test]
fn what_was_said_just_before_is_the_head() {
    let mut head = Head::new(Codec::Pcmu);
    let now = Instant::now();
    for sequence in 0..100_u16 {
        let packet = Packet {
            payload_type: 0,
            sequence,
            timestamp: u32::from(sequence) * 160,
            ssrc: 1,
            payload: &[u8::try_from(sequence).unwrap(); 160],
        };
        head.push(&packet, true, now);
    }
    let mut caller = Caller::new(head, 60_000, None);
    caller.sequence = 100;
    caller.timestamp = 16_000;
    caller.says(100, 1);
    let recorded = caller.recorded(None);
    assert_eq!(recorded.len(), 51 * 160);
    assert_eq!((recorded[0], recorded[51 * 160 - 1]), (50, 100));
}

#[test]
fn another_codec_begins_another_piece() {
    let mut caller = caller(60_000, None);
    caller.says(LOUD, 1);
    caller.recorder.change(Codec::Pcma, caller.now);
    caller.says(LOUD, 1);
    caller.recorder.finish(None, caller.now);
    let pieces: Vec<_> = std::iter::from_fn(|| caller.recorder.pull()).collect();
    let law = |law| Track::Law(law, vec![LOUD; 160]);
    assert_eq!(pieces, [law(Law::Mu), law(Law::A)]);
}
