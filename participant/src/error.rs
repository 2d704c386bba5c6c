//! What can go wrong at a site, each with a stable code and what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a site could not go on.
#[derive(Debug, Error)]
pub enum Error {
    /// The site has not joined a federation.
    #[error("{0} is not the home of a joined site\n  fix:  chancery participant join https://coordinator:port --token TOKEN --home {0}", home.display())]
    NotJoined {
        /// Where it was looked for.
        home: PathBuf,
    },
    /// The site has joined before.
    #[error("{} has joined {url} already\n  fix:  use another --home, or remove that folder to join anew with a new key", home.display())]
    Joined {
        /// The home.
        home: PathBuf,
        /// The coordinator it belongs to.
        url: String,
    },
    /// The coordinator is not the one the token was made by.
    #[error(
        "{url} did not present the certificate authority that the token names\n  why:  this is another coordinator, or something between decrypts TLS\n  fix:  check the address, then ask the operator for the fingerprint over another channel"
    )]
    Authority {
        /// The address that was called.
        url: String,
    },
    /// An address that cannot be called.
    #[error("{url} is not an address of the form https://host:port")]
    Url {
        /// What was given.
        url: String,
    },
    /// The token.
    #[error(transparent)]
    Token(#[from] chancery_proto::TokenError),
    /// The coordinator could not be reached.
    #[error(
        "the coordinator at {url} cannot be reached: {source}\n  fix:  check that it is running and that this site may open connections to it"
    )]
    Unreachable {
        /// Its address.
        url: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The coordinator refused a call.
    #[error("the coordinator refused {call}: {message}")]
    Refused {
        /// The call.
        call: &'static str,
        /// Its words.
        message: String,
        /// The gRPC status, for decisions on retrying.
        status: tonic::Code,
    },
    /// What the coordinator asks for is not what it may ask for.
    #[error("the coordinator's plan for round {round} was not followed: {why}")]
    Plan {
        /// The round.
        round: u32,
        /// What is wrong with it.
        why: String,
    },
    /// A receipt that cannot be right.
    #[error(
        "the coordinator's receipt for round {round} is wrong: {why}\n  fix:  keep this site's home and show its rounds and receipts to an auditor"
    )]
    Receipt {
        /// The round.
        round: u32,
        /// What is wrong with it.
        why: String,
    },
    /// This site's policy says no.
    #[error("this site's policy does not allow privacy mode \"{mode}\"\n  fix:  if the coordinator may see this site's updates, write into {}: privacy = [\"{mode}\"]", policy.display())]
    Policy {
        /// The run's mode.
        mode: &'static str,
        /// The policy file.
        policy: PathBuf,
    },
    /// Bytes that are not what their digest says.
    #[error("the bytes received for {digest} have another digest; they were thrown away")]
    Digest {
        /// The digest that was asked for.
        digest: String,
    },
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The model, the data or the training.
    #[error(transparent)]
    Train(#[from] crate::trainer::TrainError),
    /// Secure aggregation: what the coordinator shows cannot be right, so nothing was answered.
    #[error("the masked round was not gone on with: {0}")]
    Secagg(#[from] chancery_proto::secagg::SecaggError),
    /// A message of secure aggregation without its form.
    #[error("the coordinator's task cannot be read: {0}")]
    Malformed(#[from] chancery_proto::Malformed),
    /// The update could not be encoded.
    #[error(transparent)]
    Codec(#[from] chancery_proto::CodecError),
    /// Tensors that do not fit.
    #[error(transparent)]
    Tensor(#[from] chancery_proto::TensorError),
    /// An adapter that cannot be made.
    #[error(transparent)]
    Adapter(#[from] chancery_proto::AdapterError),
    /// A key file or a signature.
    #[error("keys: {0}")]
    Key(String),
    /// A certificate or a certificate request.
    #[error("certificates: {0}")]
    Certificate(String),
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes")]
    Randomness,
    /// Something asked the site to stop.
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotJoined { .. } => "CH2001",
            Self::Joined { .. } => "CH2002",
            Self::Authority { .. } => "CH2003",
            Self::Url { .. } => "CH2004",
            Self::Token(error) => error.code(),
            Self::Unreachable { .. } => "CH2005",
            Self::Refused { .. } => "CH2006",
            Self::Plan { .. } => "CH2007",
            Self::Policy { .. } => "CH2008",
            Self::Receipt { .. } => "CH2017",
            Self::Digest { .. } => "CH2009",
            Self::File { .. } => "CH2010",
            Self::Train(error) => error.code(),
            Self::Secagg(error) => error.code(),
            Self::Malformed(_) => "CH2016",
            Self::Codec(error) => error.code(),
            Self::Tensor(_) | Self::Adapter(_) => "CH2011",
            Self::Key(_) => "CH2012",
            Self::Certificate(_) => "CH2013",
            Self::Randomness => "CH2014",
            Self::Stopped => "CH2015",
        }
    }

    /// Whether the site goes on after this refusal: its task is no longer wanted, but it still is.
    pub(crate) fn ends_the_task_only(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: tonic::Code::FailedPrecondition
                    | tonic::Code::AlreadyExists
                    | tonic::Code::NotFound,
                ..
            }
        )
    }

    /// Whether the same call may succeed later without anybody doing anything.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => matches!(
                status,
                tonic::Code::Unavailable
                    | tonic::Code::DeadlineExceeded
                    | tonic::Code::Unknown
                    | tonic::Code::Aborted
                    | tonic::Code::Cancelled
            ),
            _ => false,
        }
    }
}

/// Names the file in an I/O error.
pub(crate) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::File { path, source }
}
