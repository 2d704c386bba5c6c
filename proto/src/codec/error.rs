//! Why an update was refused.

use std::io;

use thiserror::Error;

/// Why an update was refused.
#[derive(Debug, Error)]
pub enum CodecError {
    /// A plan nobody can encode for.
    #[error("the plan's ring cannot be used: its bits, clip or weight cap are out of range")]
    Ring,
    /// Not the number of bytes the plan asks for.
    #[error("the update does not have the length that the plan asks for")]
    Length,
    /// An element outside of what quantisation can produce.
    #[error("element {element} of the update is out of its range")]
    OutOfRange {
        /// Position in the update; the weight comes last.
        element: usize,
    },
    /// A delta with NaN in it.
    #[error(
        "the delta holds a value that is not a number; training diverged\n  fix:  lower training.learning_rate"
    )]
    NotFinite,
    /// A site without examples, or a sum of none.
    #[error("there are no samples to weigh by")]
    NoSamples,
    /// The bytes could not be read.
    #[error("the update could not be read: {0}")]
    Read(#[source] io::Error),
}

impl CodecError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Ring => "CH1201",
            Self::Length => "CH1202",
            Self::OutOfRange { .. } => "CH1203",
            Self::NotFinite => "CH1204",
            Self::NoSamples => "CH1205",
            Self::Read(_) => "CH1206",
        }
    }
}
