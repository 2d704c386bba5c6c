//! `chancery pull`: a published adapter, checked against its digests before it becomes visible.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

#[derive(Args)]
pub(crate) struct Pull {
    /// name@version, or name for the newest version
    model: String,
    /// The registry's address
    #[arg(long, env = "CHANCERY_REGISTRY", default_value = "http://127.0.0.1:7480")]
    registry: String,
    /// Where it goes; left out, a folder called name-version
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Pull {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let (name, version) = self.model.split_once('@').unwrap_or((&self.model, "latest"));
        let client = chancery_registry::RegistryClient::new(&self.registry, None);
        let version = client.version(name, version).context("the model cannot be found")?;
        let out = self.out.unwrap_or_else(|| PathBuf::from(format!("{name}-{}", version.version)));
        let pulled = client.pull(name, version.version, &out)?;
        println!("{}  {} files  {} bytes", out.display(), pulled.files, pulled.bytes);
        println!("{}", pulled.digest);
        println!("check it with: chancery verify {} --registry-key registry.pub", out.display());
        Ok(ExitCode::SUCCESS)
    }
}
