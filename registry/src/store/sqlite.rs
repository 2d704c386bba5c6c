//! SQLite, the default.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use chancery_provenance::Digest;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row as _, SqlitePool};

use super::{Store, VersionRow};
use crate::error::Error;
use crate::wire::{FileView, VersionView};

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

    async fn fill(&self, row: &SqliteRow) -> Result<VersionRow, Error> {
        let state = |e: &dyn std::fmt::Display| Error::State(e.to_string());
        let name: String = row.try_get("model")?;
        let version: u32 = row.try_get("version")?;
        let digest: String = row.try_get("digest")?;
        let passport: String = row.try_get("passport")?;
        let rows = sqlx::query(
            "SELECT name, digest, size FROM files WHERE model = $1 AND version = $2 ORDER BY name",
        )
        .bind(&name)
        .bind(version)
        .fetch_all(&self.0)
        .await?;
        let mut files = Vec::with_capacity(rows.len());
        for file in &rows {
            let digest: String = file.try_get("digest")?;
            let size: i64 = file.try_get("size")?;
            files.push(FileView {
                name: file.try_get("name")?,
                size: size.unsigned_abs(),
                digest: digest.parse().map_err(|e| state(&e))?,
            });
        }
        Ok(VersionRow {
            view: VersionView {
                name,
                version,
                digest: digest.parse().map_err(|e| state(&e))?,
                issued_at: row.try_get("issued_at")?,
                files,
            },
            passport: serde_json::from_str(&passport).map_err(|e| state(&e))?,
        })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn add(&self, row: &VersionRow, evidence: &Digest) -> Result<(), Error> {
        let passport =
            serde_json::to_string(&row.passport).map_err(|e| Error::State(e.to_string()))?;
        let mut transaction = self.0.begin().await?;
        sqlx::query(
            "INSERT INTO versions (model, version, digest, evidence, passport, issued_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&row.view.name)
        .bind(row.view.version)
        .bind(row.view.digest.to_string())
        .bind(evidence.to_string())
        .bind(passport)
        .bind(&row.view.issued_at)
        .execute(&mut *transaction)
        .await?;
        for file in &row.view.files {
            sqlx::query(
                "INSERT INTO files (model, version, name, digest, size) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(&row.view.name)
            .bind(row.view.version)
            .bind(&file.name)
            .bind(file.digest.to_string())
            .bind(file.size.cast_signed())
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn by_evidence(&self, model: &str, evidence: &Digest) -> Result<Option<u32>, Error> {
        let row = sqlx::query("SELECT version FROM versions WHERE model = $1 AND evidence = $2")
            .bind(model)
            .bind(evidence.to_string())
            .fetch_optional(&self.0)
            .await?;
        row.map(|row| Ok(row.try_get("version")?)).transpose()
    }

    async fn version(
        &self,
        model: &str,
        version: Option<u32>,
    ) -> Result<Option<VersionRow>, Error> {
        let row = sqlx::query(
            "SELECT * FROM versions WHERE model = $1 AND ($2 IS NULL OR version = $2) \
             ORDER BY version DESC LIMIT 1",
        )
        .bind(model)
        .bind(version)
        .fetch_optional(&self.0)
        .await?;
        match row {
            Some(row) => Ok(Some(self.fill(&row).await?)),
            None => Ok(None),
        }
    }

    async fn models(&self) -> Result<Vec<VersionRow>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM versions AS newest WHERE version = \
             (SELECT MAX(version) FROM versions WHERE model = newest.model) ORDER BY model",
        )
        .fetch_all(&self.0)
        .await?;
        let mut models = Vec::with_capacity(rows.len());
        for row in &rows {
            models.push(self.fill(row).await?);
        }
        Ok(models)
    }
}
