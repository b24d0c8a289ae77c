//! Ids of messages whose sidecar has none: another program's, and copies of ours.

use std::collections::HashSet;

use super::{Counter, Error, State};

impl State {
    /// The id and number of each message, as they were told before, or from now on with the id
    /// that comes with its key.
    pub async fn foreign_ids(
        &self,
        mailbox: &str,
        keys: &[(String, String)],
    ) -> Result<Vec<(String, u64)>, Error> {
        let mut ids = Vec::with_capacity(keys.len());
        let mut fresh = vec![];
        for (key, id) in keys {
            if let Some(known) = self.foreign(mailbox, key).await? {
                ids.push(known);
            } else {
                fresh.push((ids.len(), key));
                ids.push((id.clone(), self.next(Counter::Message).await?));
            }
        }
        if fresh.is_empty() {
            return Ok(ids);
        }
        let mut tx = self.0.pool.begin().await?;
        for (at, key) in &fresh {
            let (id, number) = &ids[*at];
            sqlx::query("INSERT OR IGNORE INTO foreign_message VALUES (?1, ?2, ?3, ?4)")
                .bind(mailbox)
                .bind(key)
                .bind(id)
                .bind(i64::try_from(*number).unwrap_or(i64::MAX))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        // Two of these keys may be the same: the first one's id is then the second one's too.
        for (at, key) in fresh {
            if let Some(known) = self.foreign(mailbox, key).await? {
                ids[at] = known;
            }
        }
        Ok(ids)
    }

    /// Whether a message was told apart by this key before.
    pub async fn is_foreign(&self, mailbox: &str, key: &str) -> Result<bool, Error> {
        Ok(self.foreign(mailbox, key).await?.is_some())
    }

    /// Copies of messages of ours: each mailbox and key, with a space between.
    pub async fn copies(&self) -> Result<HashSet<String>, Error> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT mailbox, key FROM foreign_message WHERE key >= 'copy of ' AND key < 'copy of!'",
        )
        .fetch_all(&self.0.pool)
        .await?;
        Ok(rows.into_iter().map(|(mailbox, key)| format!("{mailbox} {key}")).collect())
    }

    /// A mailbox is about to get another name: a crash before [`State::rename_mailbox`] must not
    /// cost its messages their ids, under whichever name they are found then.
    pub async fn will_rename_mailbox(&self, from: &str, to: &str) -> Result<(), Error> {
        sqlx::query(
            "INSERT OR REPLACE INTO foreign_message
             SELECT ?2, key, id, number FROM foreign_message WHERE mailbox = ?1",
        )
        .bind(from)
        .bind(to)
        .execute(&self.0.pool)
        .await?;
        Ok(())
    }

    /// A mailbox has another name: its messages keep their ids.
    pub async fn rename_mailbox(&self, from: &str, to: &str) -> Result<(), Error> {
        sqlx::query("UPDATE OR REPLACE foreign_message SET mailbox = ?2 WHERE mailbox = ?1")
            .bind(from)
            .bind(to)
            .execute(&self.0.pool)
            .await?;
        Ok(())
    }

    async fn foreign(&self, mailbox: &str, key: &str) -> Result<Option<(String, u64)>, Error> {
        let known = "SELECT id, number FROM foreign_message WHERE mailbox = ?1 AND key = ?2";
        let row: Option<(String, i64)> =
            sqlx::query_as(known).bind(mailbox).bind(key).fetch_optional(&self.0.pool).await?;
        Ok(row.map(|(id, number)| (id, u64::try_from(number).unwrap_or(0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_foreign_message_keeps_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        let ask = async |mailbox: &str, keys: &[(&str, &str)]| {
            let keys: Vec<_> = keys.iter().map(|(k, id)| ((*k).into(), (*id).into())).collect();
            state.foreign_ids(mailbox, &keys).await.unwrap()
        };
        let first = ask("box", &[("key", "A"), ("other", "B"), ("key", "C")]).await;
        assert_eq!((first[0].0.as_str(), first[1].0.as_str()), ("A", "B"));
        assert_eq!(first[2], first[0], "the same message");
        assert_ne!(first[0].1, first[1].1);
        assert_eq!(
            ask("box", &[("other", "D"), ("key", "E")]).await,
            [&first[1..2], &first[..1]].concat()
        );
        state.rename_mailbox("box", "place").await.unwrap();
        assert_eq!(ask("place", &[("key", "F")]).await, first[..1]);
        assert_ne!(ask("box", &[("key", "G")]).await, first[..1]);
        assert!(state.is_foreign("place", "other").await.unwrap());
        ask("box", &[("copy of X at INBOX/y", "H")]).await;
        assert_eq!(state.copies().await.unwrap(), ["box copy of X at INBOX/y".to_owned()].into());
    }
}
