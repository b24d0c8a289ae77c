//! The transcripts' language: what happens, in words, and what is asked for, in words.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use afterbeep::ivr::keys::{KeyMap, Style};
use afterbeep::ivr::{
    Callee, Command, Door, Edit, Ended, Event, Exits, Found, Item, Marks, May, Owner, Policy,
    Session, SetUp, Target, What, Wishes,
};
use afterbeep::mailbox::greeting::{Greeting, Recorded};
use afterbeep::mailbox::{
    CallerId, Counts, Envelope, Folder, Heard, MailboxId, Message, MessageId, Stem,
};
use afterbeep::say::{Kind, Prompt, Shelf};

/// Feeds the `->` lines to a session and writes the transcript afresh.
pub fn replay(script: &str, file: &str) -> String {
    let mut now = Instant::now();
    let mut session: Option<Session> = None;
    let mut out = String::new();
    for line in script.lines().filter(|line| !line.starts_with("<-")) {
        out += &format!("{line}\n");
        let Some(step) = line.strip_prefix("-> ") else { continue };
        if let Some(wishes) = step.strip_prefix("leave a message") {
            session = Some(Session::deposit(&callee(wishes), policy_for(wishes), now));
        } else if let Some(wishes) = step.strip_prefix("visit") {
            let caller = if wishes.contains("from 1000") { "1000" } else { "" };
            session = Some(Session::visit(door(wishes), caller.into(), policy_for(wishes), now));
        } else {
            let session = session.as_mut().expect("start with «leave a message» or «visit»");
            assert!(!session.is_over(), "{file}: «{step}», but it is over:\n{out}");
            if let Some(long) = step.strip_prefix("nothing") {
                let nothing = format!("{file}: nothing to wait for:\n{out}");
                let until = session.deadline().expect(&nothing);
                let waited = format!(" for {}s", (until - now).as_secs());
                assert!(long.is_empty() || long == waited, "{file}: it waits{waited}:\n{out}");
                now = until;
            }
            for event in events(step) {
                session.handle(event, now);
            }
        }
        while let Some(command) = session.as_mut().and_then(Session::poll) {
            out += &format!("<- {}\n", shown(&command));
        }
        if session.as_ref().is_some_and(Session::is_over) {
            out += "<- over\n";
        }
    }
    out
}

pub fn callee(wishes: &str) -> Callee {
    Callee {
        number: "1000".into(),
        greeting: match () {
            () if wishes.contains("temporary greeting") => Some(Greeting::Temporary),
            () if wishes.contains("busy greeting") => Some(Greeting::Busy),
            () if wishes.contains("own greeting") => Some(Greeting::Unavailable),
            () if wishes.contains("recorded name") => Some(Greeting::Name),
            () => None,
        },
        busy: wishes.contains("busy"),
        beep: !wishes.contains("no beep"),
        full: wishes.contains("full"),
        greeting_only: wishes.contains("greeting only"),
        screen: wishes.contains("screened"),
        review: wishes.contains("review"),
        may_mark_urgent: wishes.contains("review"),
        may_mark_private: wishes.contains("review"),
        exits: Exits {
            operator: wishes.contains("operator"),
            log_in: wishes.contains("star"),
            extensions: wishes.contains("extensions"),
        },
    }
}

fn door(wishes: &str) -> Door {
    match () {
        () if wishes.contains("open") => Door::Open(Box::new(owner(wishes))),
        () if wishes.contains("pin") => Door::Pin("1000".into()),
        () => Door::Ask,
    }
}

/// Who logs in, by words such as `2 new`, `1 urgent`, `3 old`, `temporary`, `may call`.
pub fn owner(wishes: &str) -> Owner {
    let words: Vec<&str> = wishes.split([' ', ',']).collect();
    let count = |what: &str| {
        let at = words.iter().position(|word| *word == what);
        at.and_then(|at| words[at - 1].parse().ok()).unwrap_or(0)
    };
    let has = |what: &str| wishes.contains(what);
    Owner {
        id: id("1000"),
        counts: Counts {
            new: count("new") + count("urgent"),
            urgent_new: count("urgent"),
            old: count("old"),
            urgent_old: 0,
        },
        recorded: Recorded {
            temporary: has("with temp"),
            unavailable: has("with unavail"),
            busy: has("with busy"),
            name: has("with name"),
        },
        set_up: SetUp {
            name: has("first"),
            unavailable: has("first"),
            busy: has("first"),
            pin: has("first") || has("weak"),
        },
        wishes: Wishes {
            caller: has("say caller"),
            datetime: !has("no date"),
            duration: has("say duration").then_some(Duration::ZERO),
            newest_first: has("newest"),
            next_after: has("next after"),
            wrap: has("wrap"),
        },
        may: May {
            send: !has("may not send"),
            call_back: has("may call"),
            dial_out: has("may call"),
            directory: has("directory"),
        },
        left_off: has("left off").then_some((message_id(1), Duration::from_secs(7))),
    }
}

pub fn policy_for(wishes: &str) -> Policy {
    let mut keys: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    if wishes.contains("own keys") {
        let message = keys.entry("message".into()).or_default();
        message.insert("1".into(), "next".into());
        message.insert("6".into(), "none".into());
    }
    let style = if wishes.contains("short") { Style::Short } else { Style::Full };
    Policy {
        shortest: Duration::from_secs(2),
        longest: Duration::from_secs(180),
        longest_greeting: Duration::from_secs(60),
        silence: Some(Duration::from_secs(10)),
        patience: Duration::from_secs(6),
        rounds: 3,
        logins: 3,
        retries: u8::from(!wishes.contains("no retry")),
        instructions: !wishes.contains("no instructions"),
        keys: Arc::new(KeyMap::new(style, &keys).unwrap()),
    }
}

fn events(step: &str) -> Vec<Event> {
    let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
    vec![match word {
        "key" => Event::Key(rest.chars().next().unwrap()),
        "keys" => return rest.chars().map(Event::Key).collect(),
        "played" => Event::PlaybackFinished,
        "nothing" => Event::TimedOut,
        "hangs" => Event::HungUp,
        "saved" => Event::Delivered { saved: true },
        "unsaved" => Event::Delivered { saved: false },
        "logged" => Event::Identified(Some(Box::new(owner(rest)))),
        "refused" => Event::Identified(None),
        "loaded" => Event::Loaded(items(rest)),
        "read" => Event::Read(items(rest).into_iter().filter_map(|item| item.message).collect()),
        "found" => {
            let (open, full) = rest.split_once("full").unwrap_or((rest, ""));
            let ids = |words: &str| words.split_whitespace().map(id).collect();
            Event::Found(Found { open: ids(open), full: ids(full) })
        }
        "done" => Event::Done { done: true },
        "undone" => Event::Done { done: false },
        "recorded" => {
            let (seconds, ended) = rest.split_once(' ').unwrap_or((rest, "stopped"));
            Event::RecordingFinished {
                duration: Duration::from_secs(seconds.trim_end_matches('s').parse().unwrap()),
                ended: match ended {
                    "stopped" => Ended::Stopped,
                    "silence" => Ended::Silence,
                    "limit" => Ended::Limit,
                    "failed" => Ended::Failed,
                    _ => panic!("ended how? {step}"),
                },
            }
        }
        _ => panic!("unknown step: {step}"),
    }]
}

/// `1, 2 urgent, 3 private heard 90s from 2001 category tt-weasels, 4 unread`
fn items(words: &str) -> Vec<Item> {
    words.split(", ").filter(|one| !one.is_empty()).map(item).collect()
}

fn item(words: &str) -> Item {
    let words: Vec<&str> = words.split(' ').collect();
    let after = |what| words.iter().position(|word| *word == what).map(|at| words[at + 1]);
    let number = words[0].parse().unwrap();
    let mut message = message(number);
    message.urgent = words.contains(&"urgent");
    message.private = words.contains(&"private");
    message.heard =
        words.contains(&"heard").then(|| Heard { at: 1_700_000_000, by: "1000".into() });
    if let Some(seconds) = words.iter().find_map(|word| word.strip_suffix('s')?.parse().ok()) {
        message.duration = Duration::from_secs(seconds);
    }
    if let Some(caller) = after("from") {
        let number = if caller == "nobody" { "" } else { caller };
        message.envelope.caller.number = number.into();
    }
    if let Some(folder) = after("in") {
        message.folder = Folder::named(folder).unwrap();
    }
    after("category").unwrap_or_default().clone_into(&mut message.category);
    let item = Item::new(Arc::new(message));
    let message = item.message.clone().filter(|_| !words.contains(&"unread"));
    Item { message, ..item }
}

pub fn message(number: u64) -> Message {
    let stem = Stem::found("msg0001").unwrap();
    Message {
        envelope: Envelope {
            caller: CallerId { number: "2001".into(), ..CallerId::default() },
            received: 1_700_000_000 + i64::try_from(number).unwrap(),
            ..Envelope::default()
        },
        duration: Duration::from_secs(12),
        ..Message::new(message_id(number), number, id("1000"), stem)
    }
}

fn message_id(number: u64) -> MessageId {
    MessageId::new(number, 0)
}

pub fn id(number: &str) -> MailboxId {
    number.parse().unwrap()
}

pub fn shown(command: &Command) -> String {
    match command {
        Command::Play(prompts) => {
            format!("play {}", prompts.iter().map(said).collect::<Vec<_>>().join(", "))
        }
        Command::StopPlayback => "stop playback".into(),
        Command::Control(control) => format!("{control:?}").to_lowercase(),
        Command::Record { what, limit, silence } => format!(
            "record {}up to {}s{}",
            match what {
                What::Deposit => String::new(),
                What::Message(to) => format!("a message for {} ", to.number()),
                What::Greeting(greeting) => format!("{greeting} "),
                What::Intro => "an introduction ".into(),
            },
            limit.as_secs(),
            silence.map_or(String::new(), |s| format!(", or {}s of silence", s.as_secs()))
        ),
        Command::StopRecording => "stop recording".into(),
        Command::Deliver(marks) => format!("deliver{}", marked(*marks)),
        Command::Send { to, marks } => format!("send to {}{}", listed(to), marked(*marks)),
        Command::Forward { message, to, intro } => {
            let intro = if *intro { " with introduction" } else { "" };
            format!("forward {} to {}{intro}", named(*message), listed(to))
        }
        Command::Keep => "keep".into(),
        Command::Discard => "discard".into(),
        Command::KeepGreeting(greeting) => format!("keep as {greeting}"),
        Command::EraseGreeting(greeting) => format!("erase {greeting}"),
        Command::ExpireGreeting { days } => format!("expire temp in {days} days"),
        Command::Identify { number, pin } => format!("identify {number} by {pin}"),
        Command::ChangePin(pin) => format!("change PIN to {pin}"),
        Command::SetUp => "set up".into(),
        Command::Load(of) => format!("load {}", shelf(of)),
        Command::Read(numbers) => format!("read {}", numbered(numbers)),
        Command::Edit(numbers, edit) => {
            let edit = match edit {
                Edit::New => "new".into(),
                Edit::File(folder) => format!("to {folder}"),
                Edit::Delete => "deleted".into(),
                Edit::Restore => "restored".into(),
            };
            format!("edit {} {edit}", numbered(numbers))
        }
        Command::Fetch(id) => format!("fetch {}", named(*id)),
        Command::Heard(id) => format!("heard {}", named(*id)),
        Command::Find(number) => format!("find {number}"),
        Command::Search(keys) => format!("search {keys}"),
        Command::MayCall(target) => format!("ask to {}", gone_to(target)),
        Command::Transfer(target) => gone_to(target),
        Command::HangUp => "hang up".into(),
    }
}

fn gone_to(target: &Target) -> String {
    match target {
        Target::Operator => "transfer to the operator".into(),
        Target::Extension(number) => format!("transfer to extension {number}"),
        Target::CallBack(number) => format!("call back {number}"),
        Target::Number(number) => format!("call {number}"),
    }
}

fn marked(marks: Marks) -> String {
    let Marks { urgent, private } = marks;
    format!("{}{}", if urgent { " urgent" } else { "" }, if private { " private" } else { "" })
}

fn listed(ids: &[MailboxId]) -> String {
    ids.iter().map(MailboxId::number).collect::<Vec<_>>().join(" ")
}

fn numbered(numbers: &[u64]) -> String {
    numbers.iter().map(|number| format!("m{number}")).collect::<Vec<_>>().join(" ")
}

fn named(id: MessageId) -> String {
    let number = (1..100).find(|number| message_id(*number) == id);
    number.map_or("?".into(), |number| format!("m{number}"))
}

fn said(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Sound(name) | Prompt::Either(name, _) => (*name).into(),
        Prompt::Digits(digits) => format!("digits {digits}"),
        Prompt::Number(number) => number.to_string(),
        Prompt::Key(key) => format!("key {key}"),
        Prompt::Greeting(greeting) => format!("own {greeting}"),
        Prompt::Name(id) => format!("name of {}", id.number()),
        Prompt::Count(many, kind) => {
            let kind = match kind {
                Kind::New => "new",
                Kind::Urgent => "urgent",
                Kind::Old => "old",
                Kind::Any => "",
            };
            format!("{many} {kind} messages").replace("  ", " ")
        }
        Prompt::Shelf(of) => shelf(of),
        Prompt::DateTime(at) => format!("date of m{}", at - 1_700_000_000),
        Prompt::Lasts(duration) => format!("lasts {}s", duration.as_secs()),
        Prompt::Caller(caller) => format!("from {}", caller.number),
        Prompt::Category(name) => format!("category {name}"),
        Prompt::Message { id, from } if from.is_zero() => named(*id),
        Prompt::Message { id, from } => format!("{} from {}s", named(*id), from.as_secs()),
        Prompt::Take => "what was recorded".into(),
    }
}

fn shelf(shelf: &Shelf) -> String {
    match shelf {
        Shelf::New => "new messages".into(),
        Shelf::Old => "old messages".into(),
        Shelf::Filed(folder) => format!("messages in {folder}"),
    }
}
