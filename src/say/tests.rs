use std::time::Duration;

use jiff::tz::{Offset, TimeZone};

use super::*;

fn voice(language: &str) -> Voice {
    // Thursday, 26 November 2026, 14:30 UTC.
    Voice::new(language, 1_795_703_400)
}

/// The names of the sounds, parts left out.
fn names(clips: &[Clip]) -> String {
    let name = |clip: &Clip| match clip {
        Clip::Sound { name, .. } => name.replace("digits/", ""),
        other => format!("{other:?}"),
    };
    clips.iter().map(name).collect::<Vec<_>>().join(" ")
}

/// The same with parts instead of wholes, as deep as they go.
fn parts(clips: &[Clip]) -> String {
    let part = |clip: &Clip| match clip {
        Clip::Sound { name, parts } if parts.is_empty() => name.replace("digits/", ""),
        Clip::Sound { parts: inner, .. } => parts(inner),
        other => format!("{other:?}"),
    };
    clips.iter().map(part).collect::<Vec<_>>().join(" ")
}

fn said(language: &str, prompt: Prompt) -> String {
    names(&voice(language).clips(&[prompt]))
}

#[test]
fn a_number_is_spelled_as_it_is_dialled_and_only_its_end_falls() {
    assert_eq!(
        said("en", Prompt::Digits("+49b#é7".into())),
        "letters/plus mid-4 mid-9 letters/b pound 7"
    );
    assert_eq!(said("en", Prompt::Digits("12".into())), "mid-1 2");
    assert_eq!(parts(&voice("en").clips(&[Prompt::Digits("12".into())])), "1 2");
}

#[test]
fn a_key_is_a_digit_or_has_a_sound_of_its_own() {
    let keys = |language| "4#".chars().map(move |key| said(language, Prompt::Key(key)));
    assert!(keys("en").eq(["4", "pound"]));
    assert!(keys("de").eq(["keys/4", "keys/pound"]));
    assert_eq!(parts(&voice("de").clips(&[Prompt::Key('4')])), "4");
}

#[test]
fn numbers_in_six_languages() {
    let rows = [
        ("en", 0, "mid-0"),
        ("en", 7, "mid-7"),
        ("en", 13, "13"),
        ("en", 42, "42"),
        ("en", 100, "100"),
        ("en", 342, "300 42"),
        ("en", 1_001, "mid-1 thousand mid-1"),
        ("en", 12_345, "12 thousand 300 45"),
        ("es", 101, "100-and mid-1"),
        ("es", 1_000, "thousand"),
        ("fr", 2_021, "mid-2 thousand 21"),
        ("de", 21, "21"),
        ("it", 2_000, "mid-2 thousands"),
        ("pt", 123, "100-and and 23"),
        ("pt", 1_020, "thousand and 20"),
    ];
    for (language, number, expected) in rows {
        assert_eq!(said(language, Prompt::Number(number)), expected, "{language} {number}");
    }
}

#[test]
fn packs_without_whole_numbers_build_them() {
    let built = |language, number| parts(&voice(language).clips(&[Prompt::Number(number)]));
    assert_eq!(built("en", 42), "40 2");
    assert_eq!(built("en", 342), "3 hundred 40 2");
    assert_eq!(built("es", 42), "40 and 2");
    assert_eq!(built("fr", 21), "20 et 1");
    assert_eq!(built("de", 42), "2-and 40");
}

#[test]
fn counts_agree_with_their_noun() {
    let rows = [
        ("en", 1, Kind::New, "mid-1 counts/new-one"),
        ("en", 2, Kind::New, "mid-2 counts/new"),
        ("en", 0, Kind::Old, "counts/no-old"),
        ("es", 1, Kind::Any, "1M counts/one"),
        ("es", 21, Kind::Any, "21M counts/many"),
        ("fr", 1, Kind::Urgent, "mid-1 counts/urgent-one"),
        ("de", 1, Kind::New, "1F counts/new-one"),
        ("de", 21, Kind::New, "21 counts/new"),
        ("it", 1, Kind::Old, "1M counts/old-one"),
        ("pt", 2, Kind::New, "2F counts/new"),
        ("pt", 22, Kind::New, "22F counts/new"),
    ];
    for (language, n, kind, expected) in rows {
        assert_eq!(said(language, Prompt::Count(n, kind)), expected, "{language} {n} {kind:?}");
    }
    let asterisk = parts(&voice("en").clips(&[Prompt::Count(2, Kind::New)]));
    assert_eq!(asterisk, "2 vm-INBOX vm-messages");
}

#[test]
fn dates_are_told_as_one_would() {
    const DAY: i64 = 86_400;
    let now = voice("en").now;
    let rows = [
        ("en", 0, "vm-received today at mid-2 30 p-m"),
        ("en", -DAY, "vm-received yesterday at mid-2 30 p-m"),
        ("en", DAY, "vm-received tomorrow at mid-2 30 p-m"),
        ("en", -3 * DAY, "vm-received day-1 at mid-2 30 p-m"),
        ("en", -20 * DAY, "vm-received day-5 mon-10 h-6 at mid-2 30 p-m"),
        ("en", -100 * DAY, "vm-received mon-7 h-18 at mid-2 30 p-m"),
        ("en", -400 * DAY, "vm-received mon-9 h-22 mid-2 thousand 25 at mid-2 30 p-m"),
        ("de", -20 * DAY, "vm-received am day-5 den h-6 mon-10 at 14 oclock 30"),
        ("fr", -3 * DAY, "vm-received day-1 at 14 hours 30"),
        ("es", -100 * DAY, "vm-received the 18 de mon-7 at 14 and 30"),
        ("it", 0, "vm-received today at 14 and 30"),
        ("pt", 0, "vm-received today at 14 hours and 30"),
    ];
    for (language, ago, expected) in rows {
        let told = said(language, Prompt::DateTime(now + ago));
        assert_eq!(told, expected, "{language} {ago}");
    }
}

#[test]
fn times_have_two_clocks_and_a_zone() {
    let told = |clock, hour: i64, minute: i64| {
        let at = 1_795_651_200 + hour * 3600 + minute * 60;
        let voice = Voice { clock: Some(clock), date: Some("t".into()), ..voice("en") };
        names(&voice.clips(&[Prompt::DateTime(at)]))
    };
    assert_eq!(told(Clock::Twelve, 0, 0), "12 a-m");
    assert_eq!(told(Clock::Twelve, 12, 5), "12 oh mid-5 p-m");
    assert_eq!(told(Clock::TwentyFour, 9, 0), "oh mid-9 hundred-hours");
    assert_eq!(told(Clock::TwentyFour, 0, 30), "oh 30");
    let zone = TimeZone::fixed(Offset::constant(-5));
    let voice = Voice { zone, date: Some("IMp".into()), ..voice("en") };
    assert_eq!(names(&voice.clips(&[Prompt::DateTime(voice.now)])), "mid-9 30 a-m");
}

#[test]
fn one_oclock_has_its_own_at() {
    let one = |language, clock| {
        let voice = Voice { clock: Some(clock), ..voice(language) };
        names(&voice.clips(&[Prompt::DateTime(1_795_651_200 + 13 * 3600 + 5 * 60)]))
    };
    assert_eq!(one("it", Clock::Twelve), "vm-received today at-1 and mid-5 p-m");
    assert_eq!(one("es", Clock::Twelve), "vm-received today at-1 and mid-5 p-m");
    assert_eq!(one("pt", Clock::Twelve), "vm-received today at-1 and mid-5 p-m");
    assert_eq!(one("it", Clock::TwentyFour), "vm-received today at 13 and mid-5");
    assert_eq!(one("de", Clock::Twelve), "vm-received today at 1M oclock mid-5 p-m");
}

#[test]
fn french_minutes_are_feminine() {
    let at = |minute: i64| {
        let at = 1_795_651_200 + 14 * 3600 + minute * 60;
        names(&voice("fr").clips(&[Prompt::DateTime(at)]))
    };
    assert_eq!(at(1), "vm-received today at 14 hours 1F");
    assert_eq!(at(21), "vm-received today at 14 hours 21F");
    assert_eq!(at(22), "vm-received today at 14 hours 22");
}

#[test]
fn asterisks_formats_are_understood() {
    let voice = Voice { date: Some("'vm-received' Q 'digits/at' kM x ' R".into()), ..voice("en") };
    let told = names(&voice.clips(&[Prompt::DateTime(voice.now)]));
    assert_eq!(told, "vm-received today at 14 30  R");
}

#[test]
fn lengths_are_minutes_and_seconds() {
    let lasts = |language, seconds| said(language, Prompt::Lasts(Duration::from_secs(seconds)));
    assert_eq!(lasts("en", 0), "vm-duration mid-1 vm-second");
    assert_eq!(lasts("en", 61), "vm-duration mid-1 vm-minute vm-and mid-1 vm-second");
    assert_eq!(lasts("en", 120), "vm-duration mid-2 vm-minutes");
    assert_eq!(lasts("fr", 60), "vm-duration 1F vm-minute");
    assert_eq!(lasts("de", 21), "vm-duration 21 vm-seconds");
}

#[test]
fn every_caller_is_told_somehow() {
    let caller = |number: &str| {
        let caller = CallerId { number: number.into(), ..CallerId::default() };
        voice("en").clips(&[Prompt::Caller(caller)])
    };
    assert_eq!(names(&caller("")), "vm-unknown-caller");
    assert_eq!(names(&caller("…")), "vm-unknown-caller");
    let [Clip::Caller { stranger, extension, .. }] = &caller("+4a")[..] else { panic!() };
    assert_eq!(names(stranger), "vm-from-phonenumber letters/plus mid-4 letters/a");
    assert_eq!(names(extension), "vm-from-extension letters/plus mid-4 letters/a");
}
