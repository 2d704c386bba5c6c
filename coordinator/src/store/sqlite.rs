//! SQLite, the default.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row as _, SqlitePool, sqlite::SqliteRow};

use super::{SiteRow, Store, Stored};
use crate::error::{Error, Reject};
use crate::run::Run;

/// A database file.
pub(crate) struct SqliteStore(SqlitePool);

impl SqliteStore {
    /// Opens or makes the file.
    pub(crate) async fn open(path: &Path) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        sqlx::migrate!("migrations/sqlite").run(&pool).await?;
        Ok(Self(pool))
    }
}

fn stored(row: &SqliteRow) -> Result<Stored, Error> {
    let state: String = row.try_get("state")?;
    let revision: i64 = row.try_get("revision")?;
    Ok(Stored { run: serde_json::from_str(&state)?, revision: revision.unsigned_abs() })
}

fn site(row: &SqliteRow) -> Result<SiteRow, Error> {
    Ok(SiteRow {
        name: row.try_get("name")?,
        key: row.try_get("key")?,
        state: row.try_get("state")?,
        certificate: row.try_get("certificate")?,
        enrolled_at: row.try_get("enrolled_at")?,
    })
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[async_trait]
impl Store for SqliteStore {
    async fn create_run(&self, run: &Run, at: u64) -> Result<(), Error> {
        sqlx::query("INSERT INTO runs (id, revision, state, created_at) VALUES ($1, 1, $2, $3)")
            .bind(&run.id)
            .bind(serde_json::to_string(run)?)
            .bind(signed(at))
            .execute(&self.0)
            .await?;
        Ok(())
    }

    async fn run(&self, id: &str) -> Result<Option<Stored>, Error> {
        sqlx::query("SELECT revision, state FROM runs WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.0)
            .await?
            .as_ref()
            .map(stored)
            .transpose()
    }

    async fn runs(&self) -> Result<Vec<Stored>, Error> {
        let rows = sqlx::query("SELECT revision, state FROM runs ORDER BY created_at, id")
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(stored).collect()
    }

    async fn save_run(&self, run: &Run, revision: u64) -> Result<(), Error> {
        let done = sqlx::query(
            "UPDATE runs SET state = $1, revision = revision + 1 WHERE id = $2 AND revision = $3",
        )
        .bind(serde_json::to_string(run)?)
        .bind(&run.id)
        .bind(signed(revision))
        .execute(&self.0)
        .await?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(Error::Conflict) }
    }

    async fn put_receipt(&self, run: &str, round: u32, bundle: &str) -> Result<(), Error> {
        sqlx::query("INSERT OR IGNORE INTO receipts (run, round, bundle) VALUES ($1, $2, $3)")
            .bind(run)
            .bind(round)
            .bind(bundle)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    async fn receipts(&self, run: &str) -> Result<Vec<String>, Error> {
        let rows = sqlx::query("SELECT bundle FROM receipts WHERE run = $1 ORDER BY round")
            .bind(run)
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(|row| Ok(row.try_get("bundle")?)).collect()
    }

    async fn put_training(&self, run: &str, digest: &str, bundle: &str) -> Result<(), Error> {
        sqlx::query("INSERT OR IGNORE INTO trainings (run, digest, bundle) VALUES ($1, $2, $3)")
            .bind(run)
            .bind(digest)
            .bind(bundle)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    async fn training(&self, run: &str, digest: &str) -> Result<Option<String>, Error> {
        let row = sqlx::query("SELECT bundle FROM trainings WHERE run = $1 AND digest = $2")
            .bind(run)
            .bind(digest)
            .fetch_optional(&self.0)
            .await?;
        row.map(|row| Ok(row.try_get("bundle")?)).transpose()
    }

    async fn put_token(&self, hash: &str, site: &str, expires_at: u64) -> Result<(), Error> {
        sqlx::query("INSERT INTO tokens (hash, site, expires_at) VALUES ($1, $2, $3)")
            .bind(hash)
            .bind(site)
            .bind(signed(expires_at))
            .execute(&self.0)
            .await?;
        Ok(())
    }

    async fn redeem(&self, hash: &str, at: u64, new: SiteRow) -> Result<SiteRow, Error> {
        let mut transaction = self.0.begin_with("BEGIN IMMEDIATE").await?;
        let token = sqlx::query("SELECT site, expires_at, used_by FROM tokens WHERE hash = $1")
            .bind(hash)
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or(Reject::Token)?;
        let name: String = token.try_get("site")?;
        let expires_at: i64 = token.try_get("expires_at")?;
        let used_by: Option<String> = token.try_get("used_by")?;
        if used_by.as_ref() == Some(&new.key) {
            let row = sqlx::query("SELECT * FROM sites WHERE name = $1")
                .bind(&name)
                .fetch_one(&mut *transaction)
                .await?;
            return site(&row);
        }
        if used_by.is_some() || expires_at <= signed(at) {
            return Err(Reject::Token.into());
        }
        let known = sqlx::query("SELECT name FROM sites WHERE name = $1 OR key = $2")
            .bind(&name)
            .bind(&new.key)
            .fetch_optional(&mut *transaction)
            .await?;
        if known.is_some() {
            let why = format!("a site called {name}, or with this key, has joined already");
            return Err(Reject::Argument(why).into());
        }
        sqlx::query(
            "INSERT INTO sites (name, key, state, certificate, enrolled_at) \
             VALUES ($1, $2, 'enrolled', $3, $4)",
        )
        .bind(&name)
        .bind(&new.key)
        .bind(&new.certificate)
        .bind(&new.enrolled_at)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("UPDATE tokens SET used_by = $1 WHERE hash = $2")
            .bind(&new.key)
            .bind(hash)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(SiteRow { name, ..new })
    }

    async fn sites(&self) -> Result<Vec<SiteRow>, Error> {
        let rows = sqlx::query("SELECT * FROM sites ORDER BY name").fetch_all(&self.0).await?;
        rows.iter().map(site).collect()
    }

    async fn revoke(&self, name: &str) -> Result<SiteRow, Error> {
        let row = sqlx::query("UPDATE sites SET state = 'revoked' WHERE name = $1 RETURNING *")
            .bind(name)
            .fetch_optional(&self.0)
            .await?
            .ok_or_else(|| Reject::NotFound { what: format!("site {name}") })?;
        site(&row)
    }
}
