//! What can go wrong in a registry, and at its clients.

use std::path::PathBuf;

use thiserror::Error;

/// What went wrong in the registry.
#[derive(Debug, Error)]
pub enum Error {
    /// Something that is not there.
    #[error("{0} is not in this registry")]
    NotFound(String),
    /// No token, or a wrong one.
    #[error(
        "publishing needs the publisher's token\n  fix:  send the content of publisher.token as a bearer token"
    )]
    Unauthorised,
    /// Receipts by a coordinator that nobody here trusts.
    #[error(
        "the receipts are signed by a coordinator that this registry does not know: {0}\n  fix:  start the registry with --coordinator-key coordinator.pub"
    )]
    UnknownCoordinator(String),
    /// A request that makes no sense.
    #[error("{0}")]
    Bad(String),
    /// Evidence that does not hold.
    #[error(transparent)]
    Release(#[from] chancery_provenance::ReleaseError),
    /// The database.
    #[error("database: {0}")]
    Store(#[from] sqlx::Error),
    /// Opening the database.
    #[error("database: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The blob store.
    #[error("blobs: {0}")]
    Blob(#[from] object_store::Error),
    /// Keys.
    #[error(transparent)]
    Key(#[from] chancery_provenance::KeyError),
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Stored state that cannot be read.
    #[error("stored state cannot be read: {0}")]
    State(String),
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes")]
    Randomness,
}

impl Error {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "CH4001",
            Self::Unauthorised => "CH4002",
            Self::UnknownCoordinator(_) => "CH4003",
            Self::Bad(_) => "CH4004",
            Self::Release(error) => error.code(),
            Self::Key(error) => error.code(),
            _ => "CH4100",
        }
    }
}

/// Why a client could not do what it was asked for.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The registry said no.
    #[error("the registry refused: {0}")]
    Refused(String),
    /// It could not be reached.
    #[error("the registry at {url} cannot be reached: {source}")]
    Unreachable {
        /// Its address.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// An answer that makes no sense.
    #[error("the registry's answer makes no sense: {0}")]
    Answer(String),
    /// Bytes that are not what their digest says.
    #[error("{name} has another digest than the registry says; nothing was kept")]
    Digest {
        /// The file.
        name: String,
    },
    /// Something else is there already.
    #[error("{} is there already and is not this version\n  fix:  name another folder with --out", .0.display())]
    Exists(PathBuf),
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
