//! Two words for what goes wrong: `Reject` is the caller's fault and is sent back; `Error` is ours.

use std::path::PathBuf;

use chancery_proto::aggregation::RuleError;
use thiserror::Error;

/// What a caller did that does not count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reject {
    /// Not part of the round.
    #[error("this site is not part of the round")]
    Foreign,
    /// The lease is not the site's current one.
    #[error("the lease is not this site's current one; its task was given up or given out again")]
    Lease,
    /// The round does not take this any more.
    #[error("it came too late: the round is {phase} by now")]
    TooLate {
        /// What the round is doing.
        phase: &'static str,
    },
    /// The site has handed in something else already.
    #[error("this site has handed in another update for this round already")]
    Another,
    /// Not the round that is running.
    #[error("round {found} is not the one that is running")]
    Round {
        /// The one that was named.
        found: u32,
    },
    /// An update that does not hold.
    #[error("the update does not count: {why}")]
    Update {
        /// The code of what is wrong.
        code: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A message of secure aggregation that does not hold.
    #[error(transparent)]
    Secagg(#[from] chancery_proto::secagg::SecaggError),
    /// Updates that the run's rule or optimiser can make nothing of.
    #[error("{why}")]
    Rule {
        /// The code of what is wrong.
        code: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Something that is not there.
    #[error("{what} is not known here")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The run is in no state for this.
    #[error("the run is {state}; {why}")]
    State {
        /// Its state.
        state: &'static str,
        /// What would have to hold.
        why: &'static str,
    },
    /// An argument that makes no sense.
    #[error("{0}")]
    Argument(String),
    /// A join token that does not count.
    #[error(
        "the join token is unknown, used or expired\n  fix:  ask the operator for a new one: chancery coordinator token NAME"
    )]
    Token,
    /// A caller who may not.
    #[error("{0}")]
    Unauthenticated(&'static str),
}

impl Reject {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Foreign => "CH3101",
            Self::Lease => "CH3102",
            Self::TooLate { .. } => "CH3103",
            Self::Another => "CH3104",
            Self::Round { .. } => "CH3105",
            Self::Update { code, .. } => code,
            Self::Secagg(error) => error.code(),
            Self::Rule { code, .. } => code,
            Self::NotFound { .. } => "CH3107",
            Self::State { .. } => "CH3108",
            Self::Argument(_) => "CH3109",
            Self::Token => "CH3110",
            Self::Unauthenticated(_) => "CH3111",
        }
    }
}

/// What went wrong here.
#[derive(Debug, Error)]
pub enum Error {
    /// The caller's fault.
    #[error(transparent)]
    Reject(#[from] Reject),
    /// The database.
    #[error("database: {0}")]
    Store(#[from] sqlx::Error),
    /// Opening the database.
    #[error("database: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Two changes at once; the second is tried again.
    #[error("the run was changed meanwhile")]
    Conflict,
    /// The blob store.
    #[error("blobs: {0}")]
    Blob(#[from] object_store::Error),
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Keys and signatures.
    #[error(transparent)]
    Key(#[from] chancery_provenance::KeyError),
    /// Signing statements.
    #[error(transparent)]
    Bundle(#[from] chancery_provenance::BundleError),
    /// Certificates.
    #[error("certificates: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Sums.
    #[error(transparent)]
    Codec(#[from] chancery_proto::CodecError),
    /// Tensors.
    #[error(transparent)]
    Tensor(#[from] chancery_proto::TensorError),
    /// Adapters.
    #[error(transparent)]
    Adapter(#[from] chancery_proto::AdapterError),
    /// The registry.
    #[error("publishing: {0}")]
    Publish(String),
    /// Serving.
    #[error("serving: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// Stored state that cannot be read.
    #[error("stored state cannot be read: {0}")]
    State(String),
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes")]
    Randomness,
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::State(error.to_string())
    }
}

impl From<RuleError> for Error {
    fn from(error: RuleError) -> Self {
        match error {
            // Bytes that cannot be read now may be there the next time; a rule will not change its mind.
            RuleError::Read(_) => Self::State(error.to_string()),
            _ => Self::Reject(Reject::Rule { code: error.code(), why: error.to_string() }),
        }
    }
}
