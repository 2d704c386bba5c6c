//! `chancery verify` and `chancery passport`: offline, on a folder or on one signed file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use chancery_provenance::{Policy, PublicKey, Report, verify_bundle, verify_release};
use clap::{Args, ValueEnum};

#[derive(Args)]
pub(crate) struct Verify {
    /// A pulled adapter's folder, or one Sigstore bundle
    path: PathBuf,
    /// The registry's public key (PEM), from somewhere you trust; may be repeated
    #[arg(long = "registry-key", value_name = "FILE")]
    registry_keys: Vec<PathBuf>,
    /// The coordinator's public key (PEM); may be repeated
    #[arg(long = "coordinator-key", value_name = "FILE")]
    coordinator_keys: Vec<PathBuf>,
    /// How to print the report
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

impl Verify {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let policy = Policy {
            registry_keys: keys(&self.registry_keys)?,
            coordinator_keys: keys(&self.coordinator_keys)?,
        };
        let report = report(&self.path, &policy);
        match self.output {
            Output::Text => print!("{report}"),
            Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        }
        Ok(ExitCode::from(report.verdict.exit_code()))
    }
}

fn report(path: &Path, policy: &Policy) -> Report {
    if path.is_dir() { verify_release(path, policy) } else { verify_bundle(path, policy) }
}

pub(crate) fn keys(paths: &[PathBuf]) -> anyhow::Result<Vec<PublicKey>> {
    paths
        .iter()
        .map(|path| {
            let pem = std::fs::read_to_string(path)
                .with_context(|| format!("{} cannot be read", path.display()))?;
            PublicKey::from_pem(&pem).with_context(|| path.display().to_string())
        })
        .collect()
}

#[derive(Args)]
pub(crate) struct Passport {
    /// A pulled adapter's folder
    path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Passport {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let passport = chancery_provenance::Passport::read_release(&self.path)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&passport)?);
        } else {
            print!("{passport}");
        }
        Ok(ExitCode::SUCCESS)
    }
}
