//! PINs of mailboxes: set, tried and, where a contract wants it, told.

use uuid::Uuid;

use super::{Directory, Error, Happening};
use crate::mailbox::{Mailbox, MailboxId, pin};
use crate::state;
use crate::state::attempt::{Door, Locked};

/// What PIN a mailbox gets.
#[derive(Clone, Copy)]
pub enum NewPin<'p> {
    /// As it is; a new mailbox gets one that we draw.
    Unchanged,
    /// We draw one of so many digits.
    Drawn(usize),
    /// A person wants this one: the policy binds.
    Chosen(&'p str),
    /// A vendor's contract or an import brings this one: if it breaks the policy it is marked as
    /// weak, and its owner is asked for another at the next login.
    Given(&'p str),
    /// None: nobody logs in with one.
    Absent,
}

impl<'p> From<Option<&'p str>> for NewPin<'p> {
    fn from(chosen: Option<&'p str>) -> Self {
        chosen.map_or(Self::Unchanged, Self::Chosen)
    }
}

/// What came of trying a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    Right,
    /// And until when this shut the door, if it did.
    Wrong {
        shut: Option<i64>,
    },
    /// Not even the right one opens the door before then.
    Locked(Locked),
    /// The mailbox has no PIN.
    NoPin,
    NoSuchMailbox,
}

impl Directory {
    /// Tries a PIN, and counts it if it is wrong. `source` is who tries: an address, or a caller.
    pub async fn log_in(
        &self,
        id: &MailboxId,
        tried: &str,
        door: Door,
        source: &str,
        now: i64,
    ) -> Result<Login, Error> {
        let state = &self.0.state;
        let mailbox = self.find(id);
        let uuid = mailbox.as_ref().map(|mailbox| mailbox.uuid);
        let attempt = match state.attempt(uuid, source, door, now) {
            Ok(attempt) => attempt,
            Err(locked) => return Ok(Login::Locked(locked)),
        };
        let Some(mailbox) = mailbox else {
            attempt.wrong().await?;
            return Ok(Login::NoSuchMailbox);
        };
        if mailbox.pin.is_empty() {
            attempt.wrong().await?;
            return Ok(Login::NoPin);
        }
        if state.pin_key().is_pin(mailbox.uuid, &mailbox.pin, tried) {
            attempt.right().await?;
            return Ok(Login::Right);
        }
        let shut = attempt.wrong().await?;
        if let Some(until) = shut {
            self.tell(Happening::Shut { mailbox: id.clone(), until });
        }
        Ok(Login::Wrong { shut })
    }

    /// Opens the doors that wrong PINs have shut.
    pub async fn unlock(&self, id: &MailboxId) -> Result<(), Error> {
        let mailbox = self.find(id).ok_or_else(|| Error::NoSuchMailbox(id.clone()))?;
        Ok(self.0.state.forgive(mailbox.uuid).await?)
    }

    /// Which doors are shut, and until when.
    pub fn locks(&self, mailbox: &Mailbox, now: i64) -> Vec<(Door, i64)> {
        self.0.state.locks(mailbox.uuid, now)
    }

    /// The PIN in clear, for interfaces whose contract tells it to administrators.
    pub fn reveal_pin(&self, mailbox: &Mailbox) -> Option<String> {
        self.0.state.pin_key().open(mailbox.uuid, &mailbox.pin)
    }

    /// Changes the PIN, and answers with it.
    pub(super) fn set_pin(
        &self,
        id: &MailboxId,
        mailbox: &mut Mailbox,
        wish: NewPin,
    ) -> Result<String, Error> {
        let (pin, weak) = match wish {
            NewPin::Unchanged if !mailbox.pin.is_empty() => return Ok(String::new()),
            NewPin::Unchanged => (drawn(id, pin::DRAWN)?, false),
            NewPin::Drawn(digits) => (drawn(id, digits)?, false),
            NewPin::Absent => {
                mailbox.pin.clear();
                mailbox.pin_weak = false;
                return Ok(String::new());
            }
            NewPin::Chosen(pin) => match self.weakness(id, mailbox, pin) {
                None => (pin.to_owned(), false),
                Some(weakness) => {
                    return Err(Error::Refused(format!(
                        "{weakness}; leave the PIN out and one is drawn"
                    )));
                }
            },
            NewPin::Given(pin) => match self.weakness(id, mailbox, pin) {
                Some(why) if pin.is_empty() || pin.len() > pin::LONGEST => {
                    return Err(Error::Refused(why.to_string()));
                }
                Some(why @ pin::Weakness::NotDigits) => {
                    return Err(Error::Refused(why.to_string()));
                }
                weakness => (pin.to_owned(), weakness.is_some()),
            },
        };
        self.remember(mailbox);
        mailbox.pin = self.0.state.pin_key().seal(mailbox.uuid, &pin)?;
        mailbox.pin_weak = weak;
        Ok(pin)
    }

    fn weakness(&self, id: &MailboxId, mailbox: &Mailbox, pin: &str) -> Option<pin::Weakness> {
        let used = || {
            let mark = self.0.state.pin_key().fingerprint(mailbox.uuid, pin);
            let now = self.reveal_pin(mailbox).as_deref() == Some(pin);
            (now || mailbox.earlier_pins.contains(&mark)).then_some(pin::Weakness::Used)
        };
        pin::weakness(pin, id.number()).or_else(used)
    }

    fn remember(&self, mailbox: &mut Mailbox) {
        if let Some(before) = self.reveal_pin(mailbox) {
            let mark = self.0.state.pin_key().fingerprint(mailbox.uuid, &before);
            mailbox.earlier_pins.retain(|kept| *kept != mark);
            mailbox.earlier_pins.insert(0, mark);
            mailbox.earlier_pins.truncate(pin::REMEMBERED);
        }
    }
}

fn drawn(id: &MailboxId, digits: usize) -> Result<String, Error> {
    let mut bytes = [0; 4096];
    state::seal::chance(&mut bytes)?;
    let mut chances = bytes
        .chunks_exact(8)
        .cycle()
        .map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
    Ok(pin::draw(id.number(), digits, || chances.next().unwrap_or_default()))
}

/// The mark of a mailbox that has just been made.
pub(super) fn fresh_uuid() -> Uuid {
    Uuid::new_v4()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Settings;
    use crate::state::State;

    async fn house(dir: &std::path::Path) -> (Directory, MailboxId) {
        let state = State::open(&dir.join("state")).await.unwrap();
        std::fs::create_dir_all(dir.join("spool")).unwrap();
        let (directory, _) = Directory::open(&dir.join("spool"), &state).unwrap();
        let id: MailboxId = "1000".parse().unwrap();
        directory.add(&id, &Settings::new(), NewPin::Chosen("4821"), 0).await.unwrap();
        (directory, id)
    }

    #[tokio::test]
    async fn a_pin_is_tried_and_the_door_shuts() {
        let dir = tempfile::tempdir().unwrap();
        let (directory, id) = house(dir.path()).await;
        let tries = async |pin, now| {
            directory.log_in(&id, pin, Door::Telecomx, "10.0.0.1", now).await.unwrap()
        };
        for _ in 0..4 {
            assert_eq!(tries("0000", 5).await, Login::Wrong { shut: None });
        }
        assert_eq!(tries("4821", 5).await, Login::Right);
        for _ in 0..4 {
            assert_eq!(tries("0000", 5).await, Login::Wrong { shut: None });
        }
        assert_eq!(tries("0000", 5).await, Login::Wrong { shut: Some(65) });
        let locked = Login::Locked(Locked { until: 65, source: false });
        assert_eq!(tries("4821", 6).await, locked);
        let phone = directory.log_in(&id, "4821", Door::Phone, "2001", 6).await.unwrap();
        assert_eq!(phone, Login::Right);
        assert_eq!(tries("4821", 65).await, Login::Right);
        let nobody = "9999".parse().unwrap();
        let none = directory.log_in(&nobody, "4821", Door::Phone, "2001", 6).await.unwrap();
        assert_eq!(none, Login::NoSuchMailbox);
    }

    #[tokio::test]
    async fn a_person_is_bound_by_the_policy_and_a_contract_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (directory, id) = house(dir.path()).await;
        let set = |pin| directory.edit(&id, &Settings::new(), pin, 0);
        set(NewPin::Chosen("5937")).unwrap();
        assert!(set(NewPin::Chosen("4821")).is_err(), "used before");
        assert!(set(NewPin::Chosen("1234")).is_err());
        set(NewPin::Given("1234")).unwrap();
        let mailbox = directory.find(&id).unwrap();
        assert!(mailbox.pin_weak);
        assert_eq!(directory.reveal_pin(&mailbox).as_deref(), Some("1234"));
        for wrong in ["", "12a4", "12345678901234567"] {
            assert!(set(NewPin::Given(wrong)).is_err(), "{wrong}");
        }
        set(NewPin::Given("0042")).unwrap();
        let mailbox = directory.find(&id).unwrap();
        assert!(!mailbox.pin_weak && directory.reveal_pin(&mailbox).as_deref() == Some("0042"));
        set(NewPin::Absent).unwrap();
        let login = directory.log_in(&id, "", Door::Phone, "2001", 6).await.unwrap();
        assert_eq!(login, Login::NoPin);
    }
}
