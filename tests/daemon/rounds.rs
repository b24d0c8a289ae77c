//! Digests and reminders, over days that pass in no time.

use afterbeep::mailbox::{By, Edit};
use afterbeep::notice::rounds::Rounds;
use afterbeep::notice::template::Kind;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::desk::Desk;
use crate::house::soon;
use crate::mail::Liar;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_day_has_one_digest_and_every_message_one_reminder_whatever_is_restarted() {
    let mut home = Desk::new().await;
    let (start, end) = (second("2026-03-27T10:00:00Z"), second("2026-03-31T10:00:00Z"));
    // From before the option was on: counted in digests, and of no reminder.
    home.leave("Ada Lovelace", start - 90_000).await;
    let mut office = home.office(1);
    let (mut now, mut rounds) = (start, 0);
    while now < end {
        if now == start + 4 * 3_600 {
            home.leave("Grace Hopper", now - 60).await;
        }
        office.round(now).await.unwrap();
        rounds += 1;
        if rounds % 40 == 0 {
            drop(office);
            home = home.reopened().await;
            office = home.office(1);
        }
        // Off over eight o'clock of the 29th.
        now += if rounds == 90 { 60_000 } else { 1_200 };
    }
    let told = home.told().await;
    let of = |kind| told.iter().filter(|(known, _)| *known == kind).count();
    assert_eq!((of(Kind::Digest), of(Kind::Reminder)), (4, 1), "{told:#?}");
    let berlin = |second: i64| {
        let at = Timestamp::from_second(second).unwrap().in_tz("Europe/Berlin").unwrap();
        at.strftime("%d %H:%M").to_string()
    };
    let made: Vec<_> = told.iter().map(|(_, made)| berlin(*made)).collect();
    // Late on the 29th, when the clocks were put forward.
    let expected = ["28 08:00", "28 15:00", "29 10:20", "30 08:00", "31 08:00"];
    assert_eq!(made, expected);

    // They say what they should, to whom it still matters.
    drop(office);
    let liar = Liar::start();
    let (stop, stopped) = watch::channel(false);
    let mut office = home.office(liar.port);
    office.rounds = Rounds::default();
    let runs = tokio::spawn(office.run(stopped));
    // With those of the messages themselves, each a letter of its own.
    assert!(soon(|| liar.had().len() == 7), "{:?}", liar.had());
    let texts = liar.texts();
    let digest = texts.iter().find(|text| text.contains("2 unheard messages")).unwrap();
    for said in ["Ada Lovelace (2001), ", "Grace Hopper (2001), ", "27 March 2026"] {
        assert!(digest.contains(said), "{said} is missing in {digest}");
    }
    let reminder = texts.iter().find(|text| text.contains("Reminder: voicemail")).unwrap();
    assert!(reminder.contains("Grace Hopper") && reminder.contains("has not been heard yet"));
    stop.send(true).unwrap();
    runs.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_heard_meanwhile_is_not_told_any_more() {
    let home = Desk::new().await;
    let liar = Liar::start();
    let start = second("2026-03-02T05:00:00Z");
    let office = home.office(liar.port);
    office.round(start).await.unwrap();
    let message = home.leave("Ada Lovelace", start).await;
    let later = start + 25 * 3_600;
    assert_eq!(office.round(later).await.unwrap(), 2);
    assert_eq!(office.round(later).await.unwrap(), 0);
    let by = By::new("1000", later);
    home.spool.edit(&message.mailbox, message.id, &Edit::MarkHeard, &by).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let mut office = home.office(liar.port);
    office.rounds = Rounds::default();
    let runs = tokio::spawn(office.run(stopped));
    home.until_sent().await;
    let texts = liar.texts();
    assert!(texts.len() == 1 && texts[0].contains("Voicemail from"), "{texts:#?}");
    stop.send(true).unwrap();
    runs.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_was_taken_is_not_sent_again_where_that_cannot_be_written_down() {
    let home = Desk::new().await;
    let liar = Liar::start();
    let (stop, stopped) = watch::channel(false);
    let mut office = home.office(liar.port);
    office.rounds = Rounds::default();
    home.leave("Ada Lovelace", 1_700_000_000).await;
    let disk = Disk::full(&home, "DELETE").await;
    let runs = tokio::spawn(office.run(stopped));
    assert!(soon(|| liar.had().len() == 1));
    home.leave("Grace Hopper", 1_700_000_000).await;
    assert!(soon(|| liar.had().len() == 2));
    assert_eq!(home.state.outbox(0, 9).await.unwrap().len(), 2);
    disk.grow().await;
    home.until_sent().await;
    assert_eq!(liar.had().into_values().collect::<Vec<_>>(), [1, 1], "each once");
    stop.send(true).unwrap();
    runs.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_cannot_be_written_down_is_as_soon_as_it_can_be() {
    let home = Desk::new().await;
    let liar = Liar::start();
    let (stop, stopped) = watch::channel(false);
    let mut office = home.office(liar.port);
    office.rounds = Rounds::default();
    let disk = Disk::full(&home, "INSERT").await;
    // One is there when the office opens, one comes after it.
    home.leave("Ada Lovelace", 1_700_000_000).await;
    let mut heard = home.spool.changes();
    let runs = tokio::spawn(office.run(stopped));
    home.leave("Grace Hopper", 1_700_000_000).await;
    heard.recv().await.unwrap();
    assert_eq!(home.state.outbox(0, 9).await.unwrap(), []);
    disk.grow().await;
    assert!(soon(|| liar.had().len() == 2));
    home.until_sent().await;
    assert_eq!(liar.had().into_values().collect::<Vec<_>>(), [1, 1], "each once");
    stop.send(true).unwrap();
    runs.await.unwrap();
}

/// A state that takes no more of one kind.
struct Disk(sqlx::SqlitePool);

impl Disk {
    async fn full(home: &Desk, verb: &str) -> Self {
        let database = home.dir.path().join("state/state.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
        let sql = sqlx::SqlitePool::connect_with(options).await.unwrap();
        let trigger = format!(
            "CREATE TRIGGER full BEFORE {verb} ON outbox BEGIN SELECT RAISE(ABORT, 'full'); END"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(trigger)).execute(&sql).await.unwrap();
        Self(sql)
    }

    async fn grow(self) {
        sqlx::raw_sql("DROP TRIGGER full").execute(&self.0).await.unwrap();
    }
}

fn second(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_second()
}
