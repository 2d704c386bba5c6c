//! `chancery registry`: serving models and their passports.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::runtime::{block_on, log, stop_signal};
use super::verify::keys;

#[derive(Subcommand)]
pub(crate) enum Registry {
    /// Serve; makes its signing key and its publisher's token at first start
    Serve(Serve),
}

#[derive(Args)]
pub(crate) struct Serve {
    /// Where the registry keeps everything
    #[arg(long, default_value = "chancery-registry", value_name = "DIR")]
    dir: PathBuf,
    /// Address to listen at; anything but loopback wants a TLS proxy in front
    #[arg(long, default_value = "127.0.0.1:7480")]
    listen: SocketAddr,
    /// Public key (PEM) of a coordinator whose receipts are accepted; may be repeated
    #[arg(long = "coordinator-key", value_name = "FILE")]
    coordinator_keys: Vec<PathBuf>,
}

impl Registry {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let Self::Serve(serve) = self;
        log();
        let coordinator_keys = keys(&serve.coordinator_keys)?;
        block_on(async {
            let config =
                chancery_registry::RegistryConfig { dir: serve.dir.clone(), coordinator_keys };
            let registry = chancery_registry::Registry::open(config).await?;
            let listener = tokio::net::TcpListener::bind(serve.listen)
                .await
                .with_context(|| format!("cannot listen at {}", serve.listen))?;
            let url = format!("http://{}", listener.local_addr()?);
            std::fs::write(serve.dir.join("registry.url"), &url)?;
            println!("registry at {url}");
            chancery_registry::serve(registry, listener, stop_signal()).await?;
            Ok(())
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
