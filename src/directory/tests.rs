use super::*;
use serde_json::json;

async fn directory(dir: &Path) -> Directory {
    let state = State::open(&dir.join("state")).await.unwrap();
    fs::create_dir_all(dir.join("spool")).unwrap();
    let (directory, problems) = Directory::open(&dir.join("spool"), &state).unwrap();
    assert_eq!(problems, Vec::<String>::new());
    directory
}

pub fn settings(value: &Value) -> Settings {
    value.as_object().unwrap().clone()
}

#[tokio::test]
async fn a_mailbox_is_made_edited_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let directory = directory(dir.path()).await;
    let id: MailboxId = "1000@sales".parse().unwrap();
    let wishes = settings(&json!({"name": "Jane", "email": ["j@x.org"], "notify_email": "attach"}));
    let pin = directory.add(&id, &wishes, None, 7).await.unwrap();
    assert_eq!(pin.len(), 6);
    assert!(matches!(directory.add(&id, &wishes, None, 7).await, Err(Error::Exists(_))));
    let edit = settings(&json!({"e164": "+12125550100"}));
    directory.edit(&id, &edit, Some("4821"), 9).unwrap();
    let mailbox = directory.find(&id).unwrap();
    assert_eq!((mailbox.name.as_str(), mailbox.modified), ("Jane", 9));
    let key = directory.0.state.pin_key();
    assert!(key.is_pin(mailbox.uuid, &mailbox.pin, "4821"));
    directory.edit(&id, &settings(&json!({"e164": ""})), None, 9).unwrap();
    assert_eq!(directory.find(&id).unwrap().e164, None);
    let file = || fs::read_to_string(dir.path().join("spool/sales/1000/mailbox.toml")).unwrap();
    let rules = json!([{"greeting": "evening"}]);
    let wishes = json!({"clock": 24, "temporary_until": 5, "greeting_rules": rules});
    directory.edit(&id, &settings(&wishes), None, 9).unwrap();
    assert!(file().contains("clock = 24") && file().contains("evening"), "{}", file());
    let none = json!({"clock": "", "temporary_until": "", "greeting_rules": []});
    directory.edit(&id, &settings(&none), None, 9).unwrap();
    for gone in ["clock", "temporary_until", "evening"] {
        assert!(!file().contains(gone), "{}", file());
    }
    let [to, taken] = ["2000@sales", "3000"].map(|id| id.parse().unwrap());
    directory.add(&taken, &Settings::new(), None, 7).await.unwrap();
    assert!(matches!(directory.renumber(&id, &taken, 10), Err(Error::Exists(_))));
    directory.renumber(&id, &to, 10).unwrap();
    assert!(directory.find(&id).is_none());
    assert_eq!(directory.owned_by(mailbox.id).unwrap().0, to);
    assert_eq!(directory.named(&mailbox.uuid.to_string()).unwrap().1.modified, 10);
    directory.remove(&to).unwrap();
    assert!(directory.find(&to).is_none());
    let grave = dir.path().join("spool/.removed").join(mailbox.uuid.to_string());
    assert!(grave.join("mailbox.toml").is_file());
}

/// What was moved is not lost because a full disk takes no new time for it.
#[tokio::test]
async fn a_mailbox_whose_settings_cannot_be_written_is_renumbered() {
    let dir = tempfile::tempdir().unwrap();
    let directory = directory(dir.path()).await;
    let [id, to] = ["1000", "2000"].map(|id| id.parse().unwrap());
    directory.add(&id, &settings(&json!({"name": "Jane"})), None, 7).await.unwrap();
    fs::create_dir(directory.dir(&id).join(".mailbox.toml.new")).unwrap();
    directory.renumber(&id, &to, 10).unwrap();
    assert!(directory.find(&id).is_none());
    assert_eq!(directory.find(&to).unwrap().name, "Jane");
}

#[tokio::test]
async fn a_mailbox_that_was_copied_back_is_removed_again() {
    let dir = tempfile::tempdir().unwrap();
    let directory = directory(dir.path()).await;
    let id: MailboxId = "1000".parse().unwrap();
    directory.add(&id, &Settings::new(), None, 7).await.unwrap();
    let uuid = directory.find(&id).unwrap().uuid;
    directory.remove(&id).unwrap();
    let grave = dir.path().join("spool/.removed");
    fs::create_dir(directory.dir(&id)).unwrap();
    let text = grave.join(uuid.to_string()).join("mailbox.toml");
    fs::copy(text, directory.dir(&id).join("mailbox.toml")).unwrap();
    let (again, _) = Directory::open(&dir.path().join("spool"), &directory.0.state).unwrap();
    again.remove(&id).unwrap();
    for name in [uuid.to_string(), format!("{uuid}.1")] {
        assert!(grave.join(name).join("mailbox.toml").is_file());
    }
}

#[tokio::test]
async fn what_belongs_to_one_mailbox_is_refused_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let directory = directory(dir.path()).await;
    let [first, second] = ["1000", "1000@sales"].map(|id| id.parse().unwrap());
    let hers = json!({"e164": "+12125550100", "sip_address": "jane@example.com"});
    directory.add(&first, &settings(&hers), None, 7).await.unwrap();
    directory.edit(&first, &settings(&hers), None, 8).unwrap();
    for wish in [json!({"e164": "+12125550100"}), json!({"sip_address": "Jane@Example.com"})] {
        let added = directory.add(&second, &settings(&wish), None, 7).await;
        assert!(matches!(added, Err(Error::Taken { .. })), "{wish}: {added:?}");
    }
    directory.add(&second, &Settings::new(), None, 7).await.unwrap();
    assert!(directory.edit(&second, &settings(&hers), None, 8).is_err());
}

#[tokio::test]
async fn settings_survive_and_strangers_keys_stay() {
    let dir = tempfile::tempdir().unwrap();
    let id: MailboxId = "1000".parse().unwrap();
    let state = State::open(&dir.path().join("state")).await.unwrap();
    let root = dir.path().join("spool");
    fs::create_dir_all(&root).unwrap();
    let (directory, _) = Directory::open(&root, &state).unwrap();
    directory.add(&id, &settings(&json!({"name": "Zoë \"Z\""})), None, 7).await.unwrap();
    let path = root.join("default/1000/mailbox.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("portal_skin = 'blue'\n{text}")).unwrap();
    let (directory, problems) = Directory::open(&root, &state).unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    directory.edit(&id, &settings(&json!({"say_duration": true})), None, 8).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("portal_skin = \"blue\"") && text.contains("say_duration = true"));
    let (directory, _) = Directory::open(&root, &state).unwrap();
    assert_eq!(directory.find(&id).unwrap().name, "Zoë \"Z\"");
}

#[tokio::test]
async fn a_broken_file_is_told_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(&dir.path().join("state")).await.unwrap();
    let root = dir.path().join("spool");
    let path = root.join("default/1000/mailbox.toml");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "uuid = [").unwrap();
    let (directory, problems) = Directory::open(&root, &state).unwrap();
    assert_eq!(problems.len(), 1);
    let id: MailboxId = "1000".parse().unwrap();
    assert!(directory.find(&id).is_none());
    assert!(directory.add(&id, &Settings::new(), None, 0).await.is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "uuid = [");
}

#[tokio::test]
async fn what_cannot_be_set_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let directory = directory(dir.path()).await;
    let id: MailboxId = "1000".parse().unwrap();
    for wrong in [
        json!({"uuid": "00000000-0000-0000-0000-000000000000"}),
        json!({"colour": "red"}),
        json!({"notify_email": "sometimes"}),
        json!({"notify_email": "yes"}),
        json!({"email": ["no address"]}),
        json!({"time_zone": "Europe/Atlantis"}),
        json!({"min_seconds": 9, "max_seconds": 3}),
    ] {
        let added = directory.add(&id, &settings(&wrong), None, 0).await;
        assert!(matches!(added, Err(Error::Refused(_))), "{wrong}: {added:?}");
    }
    assert!(directory.add(&id, &Settings::new(), Some("1234"), 0).await.is_err());
    assert!(!dir.path().join("spool/default").exists());
}
