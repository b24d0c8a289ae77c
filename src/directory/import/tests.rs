use super::*;
use conf::Source;

/// The example of our reference, with oddities added.
const EXAMPLE: &str = "
[general]
format = wav49|gsm|wav
attach = yes
maxmsg = 100
maxsecs = 300
minsecs = 2
maxsilence = 10
silencethreshold = 128
review = yes
saycid = yes
tz = central
emailbody = Hello ${VM_NAME},\\n\\n${VM_DUR}\\n
aliasescontext = devices-map
[zonemessages]
central = America/Chicago|'vm-received' q 'digits/at' IMp
madrid = Europe/Madrid|'vm-received' a d b 'digits/at' HM
mars = Mars/Olympus|x
[default]
directoryintro = dir-intro
1234 => 4242,Example User,user@example.com
4310 => -5432,Sales,sales@example.com|boss@example.com
4069 => 6522,Matt B,matt@example.com,5551234@sms.example.net,tz=madrid|attach=no|callback=out|options=dialout=out|leaveurgent=no
4073 => 1099,Mail Only,m@example.com,,delete=1|emailsubject=You have, voicemail
9000 => 0000,Announcement,,,maxmsg=0
9001 =>
9002 => *12,Star,no address,x,tz=mars|delete=yes|language=pt_BR|maxsecs=0
1234 => 1,Again
*99 => 1,Rejected
[acme]
111 => 7383,Pete,pete@acme.example,,tz=central|sayduration=no|minsecs=400
[devices-map]
1234@devices = 1234@default
";

fn plan(text: &str) -> Plan {
    let source = Source { name: "voicemail.conf".into(), bytes: text.into() };
    let conf = Conf::parse(&source, &mut |_| Ok(vec![]));
    Plan::of(&conf, &house())
}

fn house() -> House<'static> {
    let mailbox = mailbox::Mailbox::new(uuid::Uuid::nil(), 1, 0);
    let keys = super::super::file::keys(&mailbox);
    House {
        settings: keys.leak(),
        is_time_zone: &|zone| zone.contains('/') && !zone.contains("Mars"),
    }
}

fn of<'a>(plan: &'a Plan, id: &str) -> &'a Planned {
    plan.mailboxes.iter().find(|mailbox| mailbox.id.to_string() == id).expect(id)
}

#[test]
fn each_mailbox_gets_what_its_line_and_the_general_section_say() {
    let plan = plan(EXAMPLE);
    let ids: Vec<String> = plan.mailboxes.iter().map(|m| m.id.to_string()).collect();
    assert_eq!(
        ids,
        [
            "1234@default",
            "4310@default",
            "4069@default",
            "4073@default",
            "9000@default",
            "9001@default",
            "9002@default",
            "111@acme"
        ]
    );
    let first = of(&plan, "1234@default");
    assert_eq!(first.pin, Pin::Given("4242".into()));
    let expected = json!({
        "name": "Example User", "email": ["user@example.com"], "notify_email": "attach",
        "time_zone": "America/Chicago", "say_caller_id": true, "say_duration": true,
        "say_datetime": true, "max_messages": 100, "max_seconds": 300, "min_seconds": 2,
    });
    assert_eq!(Value::Object(first.settings.clone()), expected);
    let sales = of(&plan, "4310@default");
    assert_eq!(sales.pin, Pin::Given("5432".into()), "locked");
    assert_eq!(sales.settings["email"], json!(["sales@example.com", "boss@example.com"]));
    let matt = of(&plan, "4069@default");
    assert_eq!(matt.settings["time_zone"], "Europe/Madrid");
    assert_eq!(matt.settings["notify_email"], "yes");
    assert_eq!(matt.settings["pager"], "5551234@sms.example.net");
    assert_eq!(
        matt.kept.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
        ["callback=out", "dialout=out", "leaveurgent=no"]
    );
    let mail_only = of(&plan, "4073@default");
    assert_eq!(mail_only.settings["notify_email"], "delete");
    assert_eq!(mail_only.kept["emailsubject"], "You have, voicemail");
    assert_eq!(of(&plan, "9000@default").settings["max_messages"], 0);
    assert_eq!(of(&plan, "9001@default").pin, Pin::Drawn);
    let star = of(&plan, "9002@default");
    assert_eq!((&star.pin, &star.settings["language"]), (&Pin::Drawn, &json!("pt-BR")));
    assert!(!star.settings.contains_key("time_zone") && !star.settings.contains_key("pager"));
    assert_eq!(star.settings["notify_email"], "no");
    let pete = of(&plan, "111@acme");
    assert_eq!(pete.settings["say_duration"], false);
    assert_eq!(plan.advice, ["deposit.silence_seconds = 10", "deposit.silence_level = 128"]);
}

#[test]
fn what_cannot_be_carried_over_is_told() {
    let report = plan(EXAMPLE).report.join("\n");
    for told in [
        "Mars/Olympus is no time zone",
        "no counterpart: a way of its own to say date and time (madrid)",
        "1234@default stands twice",
        "*99@default cannot be a mailbox",
        "`no address` is no mail address",
        "9002@default: no zone mars",
        "9002@default deletes messages after mail, but has no mail address",
        "no counterpart: a PIN that its owner may not change (4310@default)",
        "no counterpart: no PIN at all: one is drawn (9001@default)",
        "no counterpart: the option callback (4069@default)",
        "no counterpart: only a greeting (maxmsg=0) (9000@default)",
        "no counterpart: directoryintro (default)",
        "no counterpart: emailbody in [general]",
        "111@acme: minsecs is not less than maxsecs",
        "the alias 1234@devices of 1234@default",
    ] {
        assert!(report.contains(told), "{told}\n{report}");
    }
    assert!(!report.contains("4242") && !report.contains("6522"), "no PIN is told: {report}");
}

#[test]
fn a_realtime_table_is_read_by_its_columns() {
    let rows = csv::rows(
        "uniqueid,context,mailbox,password,vmsecret,fullname,email,tz,deletevoicemail,attach\n\
             1,default,2000,1,9876,\"Doe, Jane\",j@x.org|k@x.org,central,no,no\n\
             2,,2001,\\N,NULL,,,,,\n",
    );
    let source = Source {
        name: "v".into(),
        bytes: b"[general]\nmaxmsg=7\n[zonemessages]\ncentral=America/Chicago|x\n".to_vec(),
    };
    let conf = Conf::parse(&source, &mut |_| Ok(vec![]));
    let plan = Plan::of_rows(&rows, &conf, &house());
    let jane = of(&plan, "2000@default");
    assert_eq!(
        (&jane.pin, &jane.settings["name"]),
        (&Pin::Given("9876".into()), &json!("Doe, Jane"))
    );
    assert_eq!(jane.settings["time_zone"], "America/Chicago");
    assert_eq!(
        (&jane.settings["notify_email"], &jane.settings["max_messages"]),
        (&json!("yes"), &json!(7))
    );
    assert_eq!(of(&plan, "2001@default").pin, Pin::Drawn);
}
