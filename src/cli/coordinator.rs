//! `chancery coordinator`: serving, and who may take part.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chancery_proto::wire::{CreateTokenRequest, ListSitesRequest, RevokeSiteRequest, SiteView};
use clap::{Args, Subcommand};

use super::federation::refused;
use super::operator::{ADDRESS, Operator};
use super::runtime::{block_on, log, stop_signal};

#[derive(Subcommand)]
pub(crate) enum Coordinator {
    /// Make keys, authority and operator's credentials, and stop
    Init(Init),
    /// Serve; makes its keys, its authority and its operator's credentials at first start
    Serve(Serve),
    /// Make a join token for one site
    Token(Token),
    /// List sites
    Sites(Sites),
    /// Refuse a site from now on
    Revoke(Revoke),
}

#[derive(Args)]
pub(crate) struct Init {
    /// Where the coordinator keeps everything
    #[arg(long, default_value = "chancery-coordinator", value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Args)]
pub(crate) struct Serve {
    /// Where the coordinator keeps everything
    #[arg(long, default_value = "chancery-coordinator", value_name = "DIR")]
    dir: PathBuf,
    /// Address to listen at
    #[arg(long, default_value = "127.0.0.1:7443")]
    listen: SocketAddr,
    /// A further name or address in the server's certificate; may be repeated
    #[arg(long = "name")]
    names: Vec<String>,
    /// The registry that finished adapters are published to
    #[arg(long, value_name = "URL", requires = "registry_token")]
    registry: Option<String>,
    /// File with the registry's publisher token
    #[arg(long, value_name = "FILE")]
    registry_token: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Token {
    /// The site's name: lower-case letters, digits, '-'
    site: String,
    /// Hours until the token expires
    #[arg(long, default_value_t = 24)]
    hours: u32,
    #[command(flatten)]
    operator: Operator,
}

#[derive(Args)]
pub(crate) struct Sites {
    #[command(flatten)]
    operator: Operator,
}

#[derive(Args)]
pub(crate) struct Revoke {
    /// The site's name
    site: String,
    #[command(flatten)]
    operator: Operator,
}

impl Coordinator {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Init(init) => block_on(async {
                let config = chancery_coordinator::CoordinatorConfig {
                    dir: init.dir.clone(),
                    names: Vec::new(),
                    registry: None,
                };
                let coordinator = chancery_coordinator::Coordinator::open(config).await?;
                println!("authority  SHA256 {}", coordinator.authority_fingerprint());
                println!("operator   {}", init.dir.join("operator").display());
                println!("public key {}", init.dir.join("keys/coordinator.pub").display());
                Ok(())
            })?,
            Self::Serve(serve) => serve.run()?,
            Self::Token(token) => {
                let text = block_on(create_token(&token.operator, &token.site, token.hours))?;
                println!("{text}");
            }
            Self::Sites(sites) => block_on(async {
                let reply = sites.operator.connect().await?.list_sites(ListSitesRequest {}).await;
                reply.map_err(refused)?.into_inner().sites.iter().for_each(print_site);
                Ok(())
            })?,
            Self::Revoke(revoke) => block_on(async {
                let request = RevokeSiteRequest { site: revoke.site };
                let reply = revoke.operator.connect().await?.revoke_site(request).await;
                print_site(&reply.map_err(refused)?.into_inner());
                Ok(())
            })?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Serve {
    fn run(self) -> anyhow::Result<()> {
        log();
        let registry = match (self.registry, self.registry_token) {
            (Some(url), Some(path)) => {
                let token = std::fs::read_to_string(&path)
                    .with_context(|| format!("{} cannot be read", path.display()))?;
                Some(chancery_coordinator::RegistryTarget::new(url, token.trim().to_owned()))
            }
            _ => None,
        };
        block_on(async {
            let listener = tokio::net::TcpListener::bind(self.listen)
                .await
                .with_context(|| format!("cannot listen at {}", self.listen))?;
            let url = format!("https://{}", listener.local_addr()?);
            let coordinator =
                chancery_coordinator::Coordinator::open(chancery_coordinator::CoordinatorConfig {
                    dir: self.dir.clone(),
                    names: self.names,
                    registry,
                })
                .await?;
            std::fs::write(self.dir.join("operator").join(ADDRESS), &url)?;
            println!("coordinator at {url}");
            println!("authority  SHA256 {}", coordinator.authority_fingerprint());
            coordinator.serve(listener, stop_signal()).await?;
            Ok(())
        })
    }
}

/// A join token for `site`.
pub(crate) async fn create_token(
    operator: &Operator,
    site: &str,
    hours: u32,
) -> anyhow::Result<String> {
    let request =
        CreateTokenRequest { site: site.to_owned(), valid_seconds: hours.saturating_mul(3600) };
    let reply = operator.connect().await?.create_token(request).await;
    Ok(reply.map_err(refused)?.into_inner().token)
}

fn print_site(site: &SiteView) {
    println!("{}  {}  {}  {}", site.site, site.state, site.fingerprint, site.enrolled_at);
}
