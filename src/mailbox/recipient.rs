//! A mail address that hears of new messages, as a row with a history of its own.

use std::fmt;

use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// Written as a table; a bare address is read as one too, and gets the rest when it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recipient {
    pub uuid: Uuid,
    pub address: String,
    /// Unix seconds.
    pub created: i64,
    pub updated: i64,
}

impl Recipient {
    /// An address that has no row yet.
    pub fn bare(address: impl Into<String>) -> Self {
        Self { uuid: Uuid::nil(), address: address.into(), created: 0, updated: 0 }
    }
}

impl AsRef<str> for Recipient {
    fn as_ref(&self) -> &str {
        &self.address
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl<'de> Deserialize<'de> for Recipient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Row {
            #[serde(default)]
            uuid: Uuid,
            address: String,
            #[serde(default)]
            created: i64,
            #[serde(default)]
            updated: i64,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Recipient;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mail address")
            }

            fn visit_str<E: de::Error>(self, address: &str) -> Result<Recipient, E> {
                Ok(Recipient::bare(address))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Recipient, A::Error> {
                let Row { uuid, address, created, updated } =
                    Row::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Recipient { uuid, address, created, updated })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The rows of these addresses: those that were there keep what they have.
pub fn settled(
    kept: &[Recipient],
    wanted: Vec<Recipient>,
    now: i64,
    mut fresh: impl FnMut() -> Uuid,
) -> Vec<Recipient> {
    let mut rows: Vec<Recipient> = vec![];
    for one in wanted {
        let known = |row: &&Recipient| row.address.eq_ignore_ascii_case(&one.address);
        if rows.iter().any(|row| known(&row)) {
            continue;
        }
        rows.push(match kept.iter().find(known) {
            Some(row) if row.address == one.address => row.clone(),
            Some(row) => Recipient { address: one.address, updated: now, ..row.clone() },
            None => Recipient { uuid: fresh(), address: one.address, created: now, updated: now },
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_row() {
        let mut n = 0;
        let mut fresh = || {
            n += 1;
            Uuid::from_u128(n)
        };
        let bare = |addresses: &[&str]| addresses.iter().map(|a| Recipient::bare(*a)).collect();
        let first = settled(&[], bare(&["a@x", "b@x", "A@x"]), 5, &mut fresh);
        assert_eq!(first.len(), 2);
        let second = settled(&first, bare(&["B@x", "c@x"]), 9, &mut fresh);
        assert_eq!((second[0].uuid, second[0].created, second[0].updated), (first[1].uuid, 5, 9));
        assert_eq!((second[1].uuid, second[1].created), (Uuid::from_u128(3), 9));
    }

    #[test]
    fn both_forms_are_read() {
        let rows: Vec<Recipient> = serde_json::from_str(
            r#"["a@x", {"address": "b@x", "uuid": "00000000-0000-0000-0000-000000000007"}]"#,
        )
        .unwrap();
        assert_eq!((rows[0].as_ref(), rows[1].uuid), ("a@x", Uuid::from_u128(7)));
        assert!(serde_json::from_str::<Recipient>("3").is_err());
    }
}
