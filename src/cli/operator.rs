//! The operator's connection to a coordinator: signed calls to the `Run` service.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use chancery_proto::wire::run_client::RunClient;
use chancery_proto::{Caller, Signed};
use chancery_provenance::SigningKey;
use clap::Args;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Which coordinator, and who asks.
#[derive(Args)]
pub(crate) struct Operator {
    /// Folder with the operator's key and certificate; the coordinator makes it at first start
    #[arg(long, env = "CHANCERY_OPERATOR", value_name = "DIR")]
    operator: PathBuf,
    /// The coordinator's address; left out, the one it last served at
    #[arg(long, env = "CHANCERY_COORDINATOR", value_name = "URL")]
    coordinator: Option<String>,
}

/// The file in the operator's folder that holds the coordinator's address.
pub(crate) const ADDRESS: &str = "coordinator.url";

impl Operator {
    /// An operator whose folder is `dir`.
    pub(crate) fn at(dir: PathBuf, coordinator: Option<String>) -> Self {
        Self { operator: dir, coordinator }
    }

    /// Connects.
    pub(crate) async fn connect(&self) -> anyhow::Result<RunClient<Signed<Channel>>> {
        let dir = &self.operator;
        let url = match &self.coordinator {
            Some(url) => url.clone(),
            None => read(dir, ADDRESS)?.trim().to_owned(),
        };
        let key = SigningKey::load(&dir.join("operator.key"))
            .with_context(|| format!("{} is not an operator's folder", dir.display()))?;
        let pem = key.to_pkcs8_pem();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(dir, "ca.pem")?))
            .identity(Identity::from_pem(read(dir, "operator.crt")?, pem.as_bytes()));
        let channel = Endpoint::from_shared(url.clone())
            .with_context(|| format!("{url} is not an address of the form https://host:port"))?
            .tls_config(tls)?
            .connect()
            .await
            .with_context(|| format!("the coordinator at {url} cannot be reached"))?;
        Ok(RunClient::new(Signed::new(channel, Arc::new(OperatorCaller(key)))))
    }
}

fn read(dir: &Path, name: &str) -> anyhow::Result<String> {
    let path = dir.join(name);
    std::fs::read_to_string(&path).with_context(|| {
        format!(
            "{} cannot be read\n  fix:  point --operator (or CHANCERY_OPERATOR) at the folder \
             `operator` that the coordinator made",
            path.display()
        )
    })
}

struct OperatorCaller(SigningKey);

impl Caller for OperatorCaller {
    fn name(&self) -> &str {
        "operator"
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message)
    }

    #[expect(clippy::disallowed_methods, reason = "the edge that reads the clock")]
    fn time_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn nonce(&self) -> [u8; 16] {
        use ring::rand::SecureRandom as _;
        let mut nonce = [0; 16];
        // Without randomness there is no nonce, and the coordinator refuses an all-zero one twice.
        let _ = ring::rand::SystemRandom::new().fill(&mut nonce);
        nonce
    }
}
