use tokio::sync::mpsc::Receiver;

use super::*;
use crate::media::Sound;
use crate::media::event::tests::told;
use crate::media::filter;
use crate::media::sender::TICKS_PER_FRAME;
use crate::media::writer::Pool;

struct Call {
    line: Line,
    events: Receiver<Told>,
    outbox: Outbox,
    now: Instant,
    sequence: u16,
    tick: u64,
}

impl Call {
    fn new() -> Self {
        let (teller, events) = Teller::new();
        let now = Instant::now();
        let wall = Wall { at: now, unix: Duration::from_secs(1_700_000_000) };
        let line = Line::new(teller, Arc::default(), Duration::from_secs(30), wall, 7);
        let outbox = Pool::start(1).unwrap().outbox();
        Self { line, events, outbox, now, sequence: 0, tick: 0 }
    }

    fn connected() -> Self {
        let mut call = Self::new();
        call.line.connect(stream(Codec::Pcmu), call.now);
        call
    }

    /// Hears one packet: payload type and payload.
    fn hears(&mut self, payload_type: u8, payload: &[u8]) -> Ear {
        let mut datagram = vec![0x80, payload_type];
        datagram.extend(self.sequence.to_be_bytes());
        datagram.extend((u32::from(self.sequence) * 160).to_be_bytes());
        datagram.extend([0, 0, 0, 1]);
        datagram.extend(payload);
        self.sequence += 1;
        self.now += Duration::from_millis(20);
        let ear = self.line.hear(&datagram, phone(), self.now);
        self.line.hand_over(self.now, &mut self.outbox);
        ear
    }

    /// Sends the frame that is due, and says its length, marker and payload type.
    fn sends(&mut self) -> Option<(usize, bool, u8)> {
        let mut packet = [0; FRAME_PACKET];
        self.tick += TICKS_PER_FRAME;
        let length = self.line.frame(self.tick, &mut packet);
        self.line.sent_frame();
        let length = length?;
        Some((length, packet[1] & 0x80 != 0, packet[1] & 0x7f))
    }

    fn told(&mut self) -> String {
        told(&mut self.events)
    }

    fn counts(&self) -> [u64; 3] {
        let counters = &self.line.counters;
        [&counters.received, &counters.strangers, &counters.unknown]
            .map(crate::media::counters::Counter::count)
    }
}

fn phone() -> SocketAddr {
    "192.0.2.1:4000".parse().unwrap()
}

fn stream(codec: Codec) -> Stream {
    Stream { telephone_event: Some(101), ..Stream::new(Some(phone()), codec) }
}

fn sound(millis: u64) -> Playback {
    vec![Arc::new(Sound::silence(Duration::from_millis(millis), Codec::Pcmu))].into()
}

#[test]
fn a_source_of_which_most_is_kept_from_us_stays_in_sight() {
    let passed: Vec<u16> = (0..64).filter(|&number| filter::passes(number)).collect();
    let apart = passed.windows(2).map(|two| two[1] - two[0]).max().unwrap();
    let mut call = Call::connected();
    assert_eq!(call.hears(0, &[0x10; 480]), Ear::Closed);
    // The longest packets that are usual.
    call.now += Duration::from_millis(60) * apart.into();
    assert_eq!(call.line.tick(call.now, &mut call.outbox), Ear::AsBefore);
}

#[test]
fn the_end_of_a_sound_is_told_with_its_last_frame() {
    let mut call = Call::connected();
    call.line.play(sound(30), 1);
    assert_eq!(call.sends(), Some((172, true, 0)));
    assert_eq!(call.told(), "");
    assert_eq!(call.sends(), Some((172, false, 0)));
    assert_eq!(call.told(), "P");
    assert_eq!(call.sends(), None);
    call.line.play(sound(20), 2);
    assert_eq!(call.sends(), Some((172, true, 0)), "a new talk spurt");
}

#[test]
fn a_sound_asked_for_too_early_waits_for_the_stream() {
    let mut call = Call::new();
    call.line.play(sound(20), 1);
    assert_eq!(call.sends(), None);
    call.line.connect(stream(Codec::Pcmu), call.now);
    assert!(call.sends().is_some());
    assert_eq!(call.told(), "P");
}

#[test]
fn nothing_to_play_is_played_at_once() {
    let mut call = Call::connected();
    call.line.play(Playback::default(), 1);
    assert_eq!(call.told(), "P");
}

#[test]
fn a_stopped_sound_fades_out_in_one_frame_and_is_not_told() {
    let mut call = Call::connected();
    call.line.play(sound(60), 1);
    call.sends();
    call.line.stop_playing();
    assert_eq!((call.sends(), call.sends()), (Some((172, false, 0)), None));
    assert_eq!(call.told(), "");
    assert!(!call.line.is_playing());
}

#[test]
fn a_pause_sends_nothing_and_a_skip_past_the_end_is_the_end() {
    let mut call = Call::connected();
    call.line.control(Control::Pause);
    assert_eq!(call.told(), "", "nothing plays");
    call.line.play(sound(60), 1);
    call.sends();
    call.line.control(Control::Pause);
    assert_eq!((call.sends(), call.sends()), (Some((172, false, 0)), None));
    assert!(!call.line.is_playing());
    call.line.control(Control::Resume);
    assert!(call.line.is_playing());
    assert_eq!(call.sends(), Some((172, true, 0)), "a new talk spurt");
    assert_eq!(call.told(), "@@");
    call.line.control(Control::Forward(Duration::from_secs(3)));
    assert_eq!(call.told(), "@");
    assert_eq!((call.sends(), call.told()), (Some((172, false, 0)), "P".into()));
    call.line.play(sound(60), 2);
    call.line.control(Control::Pause);
    call.sends();
    call.line.control(Control::Forward(Duration::from_secs(3)));
    assert_eq!((call.told(), call.sends()), ("@@P".into(), None));
}

#[test]
fn another_codec_ends_what_plays_and_is_not_told() {
    let mut call = Call::connected();
    call.line.play(sound(60), 1);
    call.line.connect(stream(Codec::Pcma), call.now);
    assert_eq!((call.sends(), call.told()), (None, String::new()));
}

#[test]
fn what_was_not_agreed_is_counted_and_dropped() {
    let mut call = Call::connected();
    assert_eq!(call.hears(0, &[0xff; 160]), Ear::Closed);
    call.hears(96, &[0; 160]);
    call.hears(13, &[60]);
    assert_eq!(call.counts(), [2, 0, 2], "comfort noise shows that the caller is there");
    assert_eq!(Call::new().hears(0, &[0xff; 160]), Ear::AsBefore);
}

#[test]
fn reports_go_where_the_description_says_until_the_source_shows_otherwise() {
    let mut call = Call::new();
    let rtcp = Rtcp::Beside(Some("192.0.2.1:5555".parse().unwrap()));
    call.line.connect(Stream { rtcp, ..stream(Codec::Pcmu) }, call.now);
    let target = |call: &Call| call.line.report_target().unwrap().1.to_string();
    assert_eq!(target(&call), "192.0.2.1:5555");
    // NAT: audio comes from another port, and reports then from yet another.
    for sequence in 1..=2 {
        let datagram = [0x80, 0, 0, sequence, 0, 0, 0, 0, 0, 0, 0, 1, 0xff];
        let from = "192.0.2.1:6000".parse().unwrap();
        call.line.hear(&datagram, from, call.now);
    }
    assert_eq!(target(&call), "192.0.2.1:6001");
    let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
    call.line.hear_report(&report, "203.0.113.5:1".parse().unwrap(), call.now);
    assert_eq!((target(&call).as_str(), call.counts()[1]), ("192.0.2.1:6001", 2));
    call.line.hear_report(&report, "192.0.2.1:7000".parse().unwrap(), call.now);
    assert_eq!(target(&call), "192.0.2.1:7000");
}

#[test]
fn reports_among_the_audio_are_told_apart_where_that_was_agreed() {
    let mut call = Call::new();
    call.line.connect(Stream { rtcp: Rtcp::Mux, ..stream(Codec::Pcmu) }, call.now);
    assert_eq!(call.line.report_target(), Some((Rtcp::Mux, phone())));
    call.hears(0, &[0xff; 160]);
    let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
    call.line.hear(&report, phone(), call.now);
    call.line.hear(&[0x80, 201, 0, 9], phone(), call.now);
    assert_eq!(call.counts(), [1, 0, 0]);
    assert_eq!(call.line.counters.malformed.count(), 1);
}

#[test]
fn a_report_leaves_when_it_is_due() {
    let mut call = Call::connected();
    call.hears(0, &[0xff; 160]);
    let mut datagram = [0; REPORT];
    assert_eq!(call.line.report(0, call.now, &mut datagram), None);
    let later = call.now + Duration::from_secs(4);
    assert_eq!(call.line.report(0, later, &mut datagram), Some(8 + 24 + 28));
    assert_eq!(call.line.report(0, later, &mut datagram), None);
    assert_eq!(call.line.farewell(0, later, &mut datagram), Some(8 + 24 + 28 + 8));
}

#[test]
fn a_key_is_told_once_whatever_plays() {
    let mut call = Call::connected();
    call.line.play(sound(60), 1);
    let mut press = |end| {
        call.sequence = 5;
        call.hears(101, &[7, end, 1, 0]);
    };
    press(0);
    press(0x80);
    press(0x80);
    assert_eq!(call.told(), "7");
}

#[test]
fn a_caller_out_of_sight_may_come_back_from_elsewhere() {
    let mut call = Call::connected();
    call.hears(0, &[0xff; 160]);
    let soon = call.now + OUT_OF_SIGHT / 2;
    assert_eq!(call.line.tick(soon, &mut call.outbox), Ear::AsBefore);
    let late = call.now + OUT_OF_SIGHT;
    assert_eq!(call.line.tick(late, &mut call.outbox), Ear::Open);
    assert_eq!(call.line.tick(late, &mut call.outbox), Ear::AsBefore);
    assert_eq!(call.line.target(), Some(phone()));
}

proptest::proptest! {
    #[test]
    fn whatever_comes_is_survived_and_stays_within_bounds(
        datagrams in proptest::collection::vec(
            (proptest::bits::u8::masked(0xf1), 0_u8..3, proptest::num::u16::ANY, 0_u32..9,
             proptest::collection::vec(proptest::num::u8::ANY, 0..200), 0_u64..900), 0..200,
        )
    ) {
        let mut call = Call::connected();
        let limit = Duration::from_secs(3);
        let open = Box::new(|| Err(std::io::Error::other("no disk")));
        let take = Take { limit, ..Take::new(open) };
        call.line.record(take, call.now, &mut call.outbox);
        let mut recorded = 0;
        for (flags, kind, sequence, stamp, rest, millis) in datagrams {
            let mut datagram = vec![flags ^ 0x80, [0, 101, 13][usize::from(kind)]];
            datagram.extend((sequence % 512).to_be_bytes());
            datagram.extend((stamp * 500_000_000).wrapping_add(sequence.into()).to_be_bytes());
            datagram.extend([0, 0, 0, u8::from(millis == 0)]);
            datagram.extend(rest);
            call.now += Duration::from_millis(millis);
            call.line.hear(&datagram, phone(), call.now);
            call.line.hand_over(call.now, &mut call.outbox);
            call.line.tick(call.now, &mut call.outbox);
            recorded = recorded.max(call.outbox.gathered());
        }
        proptest::prop_assert!(recorded <= 3 * 8000);
    }
}

#[test]
fn silence_is_told_once_for_each_silence() {
    let mut call = Call::connected();
    let late = |call: &mut Call| {
        for _ in 0..3 {
            call.now += Duration::from_secs(20);
            call.line.tick(call.now, &mut call.outbox);
        }
        call.told()
    };
    assert_eq!(late(&mut call), "S");
    call.hears(0, &[0xff; 160]);
    assert_eq!(late(&mut call), "S");
}
