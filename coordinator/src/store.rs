//! What must survive: runs, receipts, sites, tokens. One implementation a database.

mod sqlite;

use async_trait::async_trait;

pub(crate) use sqlite::SqliteStore;

use crate::error::Error;
use crate::run::Run;

/// A run with the number of its last change.
pub(crate) struct Stored {
    pub(crate) run: Run,
    pub(crate) revision: u64,
}

/// A known site.
#[derive(Clone, Debug)]
pub(crate) struct SiteRow {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) state: String,
    pub(crate) certificate: Vec<u8>,
    pub(crate) enrolled_at: String,
}

/// Every method is one sentence and one transaction.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// Adds a run.
    async fn create_run(&self, run: &Run, at: u64) -> Result<(), Error>;
    /// Finds a run.
    async fn run(&self, id: &str) -> Result<Option<Stored>, Error>;
    /// All runs, oldest first.
    async fn runs(&self) -> Result<Vec<Stored>, Error>;
    /// Changes a run that nobody changed since `revision`.
    async fn save_run(&self, run: &Run, revision: u64) -> Result<(), Error>;
    /// Keeps a round's receipt; the first one stays.
    async fn put_receipt(&self, run: &str, round: u32, bundle: &str) -> Result<(), Error>;
    /// A run's receipts, in the order of the rounds.
    async fn receipts(&self, run: &str) -> Result<Vec<String>, Error>;
    /// Keeps a training statement.
    async fn put_training(&self, run: &str, digest: &str, bundle: &str) -> Result<(), Error>;
    /// Finds a training statement.
    async fn training(&self, run: &str, digest: &str) -> Result<Option<String>, Error>;
    /// Keeps a join token's hash.
    async fn put_token(&self, hash: &str, site: &str, expires_at: u64) -> Result<(), Error>;
    /// Uses a token for a site's key, or refuses; the same key may come again.
    async fn redeem(&self, hash: &str, at: u64, site: SiteRow) -> Result<SiteRow, Error>;
    /// Known sites.
    async fn sites(&self) -> Result<Vec<SiteRow>, Error>;
    /// Refuses a site from now on.
    async fn revoke(&self, site: &str) -> Result<SiteRow, Error>;
}
