//! Single numbers that must be remembered.

use super::{Error, State};

impl State {
    pub async fn fact(&self, name: &str) -> Result<Option<i64>, Error> {
        let known = "SELECT value FROM fact WHERE name = ?1";
        Ok(sqlx::query_scalar(known).bind(name).fetch_optional(&self.0.pool).await?)
    }

    pub async fn set_fact(&self, name: &str, value: i64) -> Result<(), Error> {
        let set = "INSERT INTO fact VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
        sqlx::query(set).bind(name).bind(value).execute(&self.0.pool).await?;
        Ok(())
    }

    pub async fn forget_fact(&self, name: &str) -> Result<(), Error> {
        if self.fact(name).await?.is_some() {
            let forget = "DELETE FROM fact WHERE name = ?1";
            sqlx::query(forget).bind(name).execute(&self.0.pool).await?;
        }
        Ok(())
    }
}
