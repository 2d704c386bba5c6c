//! `chancery audit`: a run's sums computed again, offline, by somebody who was not there.
//!
//! An audit folder holds, besides the coordinator's public key and the recipe:
//!
//! ```text
//! receipts/0001.json ...   signed round receipts, each with its plan
//! trainings/DIGEST.json    signed training statements
//! transcripts/DIGEST       the public record of a masked round: signatures and released seeds
//! updates/DIGEST           what the sites uploaded: masked, unless the run was trusted
//! ```

#[cfg(feature = "coordinator")]
mod export;
mod replay;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Collect what a run left behind, so that anyone can compute its sums again
    #[cfg(feature = "coordinator")]
    Export(Export),
    /// Compute every round's sum again, bit for bit, and sign what came out
    Replay(Replay),
}

#[cfg(feature = "coordinator")]
#[derive(Args)]
pub(crate) struct Export {
    /// The run
    run: String,
    /// The coordinator's folder
    #[arg(long, default_value = "chancery-coordinator", value_name = "DIR")]
    dir: PathBuf,
    /// Where the audit folder goes; it must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Args)]
pub(crate) struct Replay {
    /// An audit folder; with --dir the name of a run
    run: PathBuf,
    /// The coordinator's folder, to audit a run where it was made
    #[cfg(feature = "coordinator")]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The coordinator's public key (PEM), from somewhere you trust; otherwise the folder's own is used
    #[arg(long, value_name = "FILE")]
    coordinator_key: Option<PathBuf>,
    /// Sign the result with this Ed25519 key (PEM), which is made when it is not there
    #[arg(long, value_name = "FILE", requires = "out")]
    key: Option<PathBuf>,
    /// Where the signed result goes
    #[arg(long, value_name = "FILE", requires = "key")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Audit {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            #[cfg(feature = "coordinator")]
            Self::Export(export) => export.run(),
            Self::Replay(replay) => replay.run(),
        }
    }
}
