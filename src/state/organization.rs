//! Accounts and their organizations: the numbers and names by which vendors' interfaces know a
//! context.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Error, State};

/// One context of the spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    pub id: u64,
    pub uuid: Uuid,
    /// The account that it belongs to.
    pub account: u64,
    pub account_uuid: Uuid,
    pub context: String,
    pub name: String,
    /// Unix seconds.
    pub created: i64,
}

type Row = (i64, String, i64, String, String, String, i64);

fn read(row: Row) -> Organization {
    let (id, uuid, account, account_uuid, context, name, created) = row;
    Organization {
        id: u64::try_from(id).unwrap_or(0),
        uuid: uuid.parse().unwrap_or_default(),
        account: u64::try_from(account).unwrap_or(0),
        account_uuid: account_uuid.parse().unwrap_or_default(),
        context,
        name,
        created,
    }
}

/// Whose organizations belong to nobody else.
const FIRST_ACCOUNT: &str = "main";
/// Organizations that cost no look into the database.
const MOST_REMEMBERED: usize = 10_000;

impl State {
    /// The organization of this context, made where there is none.
    pub async fn organization(&self, context: &str, now: i64) -> Result<Organization, Error> {
        if let Some(known) = self.remembered().get(context) {
            return Ok(known.clone());
        }
        let known = if let Some(known) = self.known_organization(context).await? {
            known
        } else {
            self.make_organization(context, context, FIRST_ACCOUNT, now).await?;
            let made = self.known_organization(context).await?;
            made.ok_or_else(|| Error::Refused(format!("organization {context} went away")))?
        };
        let mut remembered = self.remembered();
        if remembered.len() < MOST_REMEMBERED {
            remembered.insert(context.to_owned(), known.clone());
        }
        Ok(known)
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<String, Organization>> {
        self.0.organizations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn known_organization(&self, context: &str) -> Result<Option<Organization>, Error> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT o.id, o.uuid, a.id, a.uuid, o.context, o.name, o.created
             FROM organization o JOIN account a ON a.id = o.account WHERE o.context = ?1",
        )
        .bind(context)
        .fetch_optional(&self.0.pool)
        .await?;
        Ok(row.map(read))
    }

    /// Makes an organization, or gives it a new name and account.
    pub async fn make_organization(
        &self,
        context: &str,
        name: &str,
        account: &str,
        now: i64,
    ) -> Result<(), Error> {
        sqlx::query("INSERT OR IGNORE INTO account (uuid, name, created) VALUES (?1, ?2, ?3)")
            .bind(Uuid::new_v4().to_string())
            .bind(account)
            .bind(now)
            .execute(&self.0.pool)
            .await?;
        sqlx::query(
            "INSERT INTO organization (uuid, account, context, name, created)
             VALUES (?1, (SELECT id FROM account WHERE name = ?2), ?3, ?4, ?5)
             ON CONFLICT (context) DO UPDATE SET name = ?4,
                 account = (SELECT id FROM account WHERE name = ?2)",
        )
        .bind(Uuid::new_v4().to_string())
        .bind(account)
        .bind(context)
        .bind(name)
        .bind(now)
        .execute(&self.0.pool)
        .await?;
        self.remembered().clear();
        Ok(())
    }

    pub async fn organizations(&self) -> Result<Vec<Organization>, Error> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT o.id, o.uuid, a.id, a.uuid, o.context, o.name, o.created
             FROM organization o JOIN account a ON a.id = o.account ORDER BY o.context",
        )
        .fetch_all(&self.0.pool)
        .await?;
        Ok(rows.into_iter().map(read).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_context_is_an_organization_that_keeps_its_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        let sales = state.organization("sales", 5).await.unwrap();
        assert_eq!((sales.id, sales.account, sales.name.as_str()), (1, 1, "sales"));
        assert_eq!(state.organization("support", 6).await.unwrap().id, 2);
        state.make_organization("sales", "Sales Ltd", "reseller", 7).await.unwrap();
        let renamed = state.organization("sales", 8).await.unwrap();
        assert_eq!((renamed.id, renamed.uuid), (sales.id, sales.uuid));
        assert_eq!((renamed.account, renamed.name.as_str()), (2, "Sales Ltd"));
        assert_eq!(state.organizations().await.unwrap().len(), 2);
    }
}
