//! Collecting what a run left behind.

use std::process::ExitCode;

use anyhow::ensure;

use super::Export;
use crate::cli::runtime::block_on;

impl Export {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        ensure!(!self.out.exists(), "{} exists already", self.out.display());
        let found = block_on(async {
            Ok(chancery_coordinator::export_run(&self.dir, &self.run, &self.out).await?)
        })?;
        println!(
            "{}  {} rounds  {} updates  {} bytes",
            self.out.display(),
            found.rounds,
            found.updates,
            found.bytes
        );
        Ok(ExitCode::SUCCESS)
    }
}
