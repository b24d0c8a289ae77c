//! The house that the transcripts tell of: people, mailboxes, messages.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afterbeep::config::Config;
use afterbeep::control::Stores;
use afterbeep::daemon;
use afterbeep::directory::{NewPin, Settings, Sound};
use afterbeep::http;
use afterbeep::http::calls::Calls;
use afterbeep::http::guard::Guard;
use afterbeep::mailbox::call::{Call, Purpose, Stage};
use afterbeep::mailbox::{CallerId, MailboxId};
use afterbeep::state::credential::{Credential, Kind, Role};
use serde_json::json;
use uuid::Uuid;

/// When the first question is asked: 2024-05-30 00:00:00 UTC.
pub const NOW: i64 = 1_717_027_200;

pub struct House {
    pub address: SocketAddr,
    /// Unix seconds; time passes only where a transcript says so.
    pub clock: Arc<AtomicI64>,
    pub stores: Stores,
    _dir: tempfile::TempDir,
}

impl House {
    /// For the transcript of this name, which may say what is set, and this text, which says who
    /// asks.
    pub async fn furnished(name: &str, script: &str) -> Self {
        let mut http = Config::default().http;
        http.telebroad_offset_base = u8::from(!name.contains("offset-base-0"));
        http.reveal_pins = !name.contains("pins-hidden");
        http.yay_delete_with_body = name.contains("delete-with-body");
        if name.contains("cors") {
            http.cors_origins = vec!["https://portal.example".into()];
        }
        let mut limits = http::Limits::default();
        if name.contains("hasty") {
            limits.body = Duration::from_millis(200);
        } else if name.contains("patient") {
            limits.body = Duration::from_secs(3600);
        }
        Self::open(messages, http, limits, script).await
    }

    /// With so many messages in one mailbox, and no others.
    pub async fn with(messages: u32) -> Self {
        let fill = move |spool: &Path| {
            for n in 0..messages {
                let fields =
                    format!("origtime={}\nduration=2\nid={}\nnumber={}\n", 1000 + n, id(n), n + 1);
                message(spool, "default/2001", "INBOX", &format!("voicemail_{n}"), &fields, 10);
            }
        };
        Self::open(fill, Config::default().http, http::Limits::default(), "alice").await
    }

    async fn open(
        fill: impl FnOnce(&Path),
        options: afterbeep::config::Http,
        limits: http::Limits,
        script: &str,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("spool");
        fill(&spool);
        let opened = Stores::open(&spool, &dir.path().join("state"), daemon::WAV).await;
        let (stores, problems) = opened.unwrap();
        assert_eq!(problems, Vec::<String>::new());
        people(&stores, script).await;
        mailboxes(&stores).await;
        let clock = Arc::new(AtomicI64::new(NOW));
        let shown = Arc::clone(&clock);
        let house = http::House {
            spool: stores.spool.clone(),
            directory: stores.directory.clone(),
            guard: Guard::new(&stores.state, 0).unwrap(),
            state: stores.state.clone(),
            now: Arc::new(move || shown.load(Ordering::Relaxed)),
            busy: Arc::new(|_| false),
            media: daemon::media_for_http(&dir.path().join("state"), 1_000_000).unwrap(),
            calls: calls(),
            options: Arc::new(json!({"spool": "/var/spool/afterbeep"})),
        };
        let listener = http::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let server = http::Server::of_faces(&house, &options, limits);
        tokio::spawn(async move {
            server.serve(listener, stopped).await;
            drop(stop);
        });
        Self { address, clock, stores, _dir: dir }
    }
}

/// Three, until somebody ends one.
fn calls() -> Calls {
    let call = |id, context: &str, number: &str, stage| {
        let call = Call {
            call_id: format!("a84b4c76e{id}@pbx.example.com"),
            caller: CallerId {
                number: "+12125550147".into(),
                name: "JANE DOE".into(),
                ext: String::new(),
            },
            mailbox: MailboxId::new(context, number).ok(),
            context: context.into(),
            purpose: if number.is_empty() { Purpose::Visit } else { Purpose::Deposit },
            stage,
            since: NOW - 60,
            codec: (id != 7).then_some("PCMU"),
        };
        (id, call)
    };
    let all = vec![
        call(5, "default", "2001", Stage::Recording),
        call(6, "sales", "", Stage::Answered),
        call(7, "sales", "2003", Stage::Ringing),
    ];
    let all = Arc::new(Mutex::new(all));
    let (counted, listed) = (Arc::clone(&all), Arc::clone(&all));
    Calls {
        count: Arc::new(move || counted.lock().unwrap().len()),
        list: Arc::new(move || listed.lock().unwrap().clone()),
        hang_up: Arc::new(move |id| {
            let mut all = all.lock().unwrap();
            let before = all.len();
            all.retain(|(known, _)| *known != id);
            all.len() < before
        }),
        drain: Arc::new(|| {}),
    }
}

/// Each costs an argon2: only those who ask.
async fn people(stores: &Stores, script: &str) {
    let sales = |one| Credential { context: Some("sales".into()), ..one };
    for (credential, secret) in [
        (Credential::user("alice", Role::Reader), "open sesame"),
        (Credential::user("zo\u{eb}", Role::Editor), "pass:w\u{f6}rd!"),
        (Credential::user("root", Role::Admin), "correct horse"),
        (sales(Credential::user("boss", Role::Manager)), "of sales only"),
        (Credential::new(Kind::Token, "portal", Role::Reader), "hello-portal"),
        (Credential::new(Kind::Yay, "acme/api-user", Role::Manager), "yay-secret"),
        (
            Credential {
                allow: vec!["192.0.2.0/24".into()],
                ..Credential::new(Kind::Yay, "acme/elsewhere", Role::Manager)
            },
            "yay-secret",
        ),
        (
            Credential {
                mailbox: Some("2001".into()),
                ..Credential::new(Kind::Yay, "acme/bell-desk", Role::Manager)
            },
            "yay-secret",
        ),
        (sales(Credential::new(Kind::Yay, "acme/sales", Role::Manager)), "yay-secret"),
        (
            Credential {
                context: Some("cmi".into()),
                ..Credential::new(Kind::Telecmi, "2220001", Role::Reader)
            },
            "cmi-secret",
        ),
    ] {
        if script.contains(credential.name.rsplit('/').next().unwrap()) {
            stores.state.set_credential(&credential, secret, 0).await.unwrap();
        }
    }
}

async fn mailboxes(stores: &Stores) {
    for (mailbox, settings) in [
        ("2001", json!({"time_zone": "America/New_York", "name": "Zo\u{eb} <2001> & \"co\""})),
        ("2002", json!({"time_zone": "America/New_York"})),
        ("2003@sales", json!({})),
        ("2004@sales", json!({"name": "Sam"})),
        ("2004@support", json!({})),
        ("5001@cmi", json!({})),
        ("6001@dk", json!({"e164": "+4520000001", "name": "Karen"})),
        ("6002@dk", json!({"e164": "+4520000009", "enabled": false})),
        ("6003@dk", json!({"e164": "+4520000008"})),
    ] {
        let id: MailboxId = mailbox.parse().unwrap();
        let settings: Settings = settings.as_object().unwrap().clone();
        let pin = if mailbox == "6003@dk" { NewPin::Absent } else { NewPin::Given("4821") };
        stores.directory.add(&id, &settings, pin, NOW - 86_400).await.unwrap();
    }
    let sound = Sound {
        uuid: Uuid::parse_str("63e54af8-07b5-4fd2-b15b-f4c31a82ca0b").unwrap(),
        name: "Welcome".into(),
        file_name: "welcome.wav".into(),
        tag: String::new(),
        created: NOW - 86_400,
        updated: NOW - 86_400,
    };
    let draft = stores.directory.sound_draft("default").unwrap();
    fs::write(&draft, wav(8000)).unwrap();
    stores.directory.add_sound("default", &sound, &draft).unwrap();
}

fn messages(spool: &Path) {
    let put = |mailbox: &str, folder: &str, n: u32, fields: &str| {
        let stem = format!("voicemail_{n}");
        let fields = format!("{fields}id={}\nnumber={n}\n", id(n));
        message(spool, mailbox, folder, &stem, &fields, 8000);
    };
    let jane = "callerid=\"JANE DOE\" <12125550147>\n";
    let box1 = "default/2001";
    put(
        box1,
        "INBOX",
        811,
        "origtime=1716990000\nduration=95\ncallerid=2002\ncaller_ext=12125550102\nheard_at=1716990500\nread_by=alice\n",
    );
    put(box1, "INBOX", 812, &format!("origtime=1717000100\nduration=12\n{jane}"));
    put(box1, "INBOX", 813, &format!("origtime=1717000100\nduration=13\n{jane}"));
    put(
        box1,
        "Old",
        814,
        &format!("origtime=1717000200\nduration=14\n{jane}heard_at=1\nread_by=bob\n"),
    );
    put(box1, "Urgent", 815, "origtime=1717000300\nduration=15\ncallerid=Unknown\nflag=Urgent\n");
    put(
        box1,
        "INBOX",
        816,
        "origtime=1717000400\nduration=16\ncallerid=\"x\" <+4930123>\ncaller_name=Zo\u{eb} \"Q\" a/b \u{2603}\n",
    );
    put(box1, "SENT", 817, "origtime=1717000500\nduration=17\ncallerid=2001\nto=2002\n");
    put(box1, "Deleted", 818, "origtime=1717000600\nduration=18\n");
    put("default/2002", "INBOX", 820, &format!("origtime=1717000150\nduration=20\n{jane}"));
    put("sales/2003", "INBOX", 830, "origtime=1717000150\nduration=30\n");
    message(
        spool,
        "default/2001",
        "INBOX",
        "msg0007",
        "origtime=1716980000\nduration=7\ncallerid=\"Old Style\" <2005>\nmsg_id=1716980000-00000001\n",
        30,
    );
    for n in 0..11 {
        let fields =
            format!("origtime={}\nduration=4\ncallerid=1212555{:04}\n", 1_716_950_000 + n * 100, n);
        put("cmi/5001", "INBOX", 900 + n, &fields);
    }
    for n in 0..21 {
        put(
            "cmi/5001",
            "INBOX",
            860 + n,
            &format!("origtime={}\nduration=4\n", 1_715_000_000 + n * 100),
        );
    }
    put("cmi/5001", "Work", 920, "origtime=1716960000\nduration=4\ncallerid=anonymous\n");
    put("cmi/5001", "SENT", 921, "origtime=1716960001\nduration=4\n");
    put("cmi/5001", "INBOX", 922, "origtime=1716000000\nduration=4\n");
    let call = "call_id=k3j4h5g6@sbc1.example.net\n";
    put(
        "dk/6001",
        "INBOX",
        950,
        &format!(
            "origtime=1716982528\nduration=37\ncallerid=\"Jane Doe\" <+4520000002>\n{call}heard_at=1\nread_by=6001\n"
        ),
    );
    put("dk/6001", "INBOX", 951, "origtime=1716982600\nduration=5\ncallerid=Unknown\n");
    put("dk/6001", "Old", 952, "origtime=1716982700\nduration=6\ncallerid=4520000003\n");
    put("dk/6001", "Family", 953, "origtime=1716982800\nduration=7\n");
    put("dk/6001", "Cust1", 954, "origtime=1716982900\nduration=8\n");
    put("dk/6001", "Deleted", 955, "origtime=1716983000\nduration=9\n");
}

fn id(n: u32) -> String {
    format!("01HZ{n:022}")
}

/// One message as another program would leave it: 16-bit, 8 kHz.
fn message(spool: &Path, mailbox: &str, folder: &str, stem: &str, fields: &str, samples: u32) {
    let dir = spool.join(mailbox).join(folder);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(format!("{stem}.txt")), format!("[message]\n{fields}")).unwrap();
    fs::write(dir.join(format!("{stem}.wav")), wav(samples)).unwrap();
}

pub fn wav(samples: u32) -> Vec<u8> {
    let bytes = samples * 2;
    let mut wav = Vec::from(*b"RIFF");
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data");
    wav.extend(bytes.to_le_bytes());
    wav.extend((0..samples).flat_map(|n| u16::try_from(n).unwrap().to_le_bytes()));
    wav
}
