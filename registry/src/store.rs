//! What must survive: versions and their files.

mod sqlite;

use async_trait::async_trait;
use chancery_provenance::{Digest, Passport};

pub(crate) use sqlite::SqliteStore;

use crate::error::Error;
use crate::wire::VersionView;

/// A version with its passport.
#[derive(Clone, Debug)]
pub(crate) struct VersionRow {
    pub(crate) view: VersionView,
    pub(crate) passport: Passport,
}

/// Every method is one sentence and one transaction.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// Adds a version with all its files.
    async fn add(&self, row: &VersionRow, evidence: &Digest) -> Result<(), Error>;
    /// The version made from this evidence, if there is one.
    async fn by_evidence(&self, model: &str, evidence: &Digest) -> Result<Option<u32>, Error>;
    /// A version, or the newest one.
    async fn version(&self, model: &str, version: Option<u32>)
    -> Result<Option<VersionRow>, Error>;
    /// The newest version of every model.
    async fn models(&self) -> Result<Vec<VersionRow>, Error>;
}
