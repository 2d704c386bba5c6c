//! The registry: immutable versions of adapters, each with the evidence of how it came about.

mod blob;
mod client;
mod drawing;
mod error;
mod http;
mod publish;
mod store;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use chancery_provenance::{Algorithm, PublicKey, SigningKey, write_secret};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

pub use client::{Pulled, RegistryClient};
pub use error::{ClientError, Error};
pub use wire::{FileView, Publication, VersionView};

use blob::Blobs;
use store::{SqliteStore, Store};

/// What a registry is opened with.
#[derive(Debug)]
pub struct RegistryConfig {
    /// Where it keeps everything.
    pub dir: PathBuf,
    /// Coordinators whose receipts are accepted.
    pub coordinator_keys: Vec<PublicKey>,
}

/// A registry that is ready to serve.
pub struct Registry(Arc<App>);

/// State shared by all requests.
pub(crate) struct App {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) blobs: Blobs,
    pub(crate) key: SigningKey,
    pub(crate) token: Zeroizing<String>,
    pub(crate) coordinator_keys: Vec<PublicKey>,
    /// One publication at a time, so that versions count up without gaps.
    pub(crate) publishing: tokio::sync::Mutex<()>,
}

impl Registry {
    /// Opens its folder; makes its signing key and its publisher's token at the first start.
    pub async fn open(config: RegistryConfig) -> Result<Self, Error> {
        let dir = config.dir;
        let file = |path: &PathBuf, source| Error::File { path: path.clone(), source };
        std::fs::create_dir_all(&dir).map_err(|source| file(&dir, source))?;
        let key = SigningKey::load_or_create(&dir.join("keys/registry.key"), Algorithm::P256)?;
        let public = dir.join("registry.pub");
        std::fs::write(&public, key.public().to_pem()).map_err(|source| file(&public, source))?;
        let path = dir.join("publisher.token");
        if !path.exists() {
            let mut secret = Zeroizing::new([0u8; 32]);
            SystemRandom::new().fill(secret.as_mut_slice()).map_err(|_| Error::Randomness)?;
            let text: Zeroizing<String> =
                Zeroizing::new(secret.iter().map(|byte| format!("{byte:02x}")).collect());
            write_secret(&path, text.as_bytes()).map_err(|source| file(&path, source))?;
        }
        let token = Zeroizing::new(
            std::fs::read_to_string(&path).map_err(|source| file(&path, source))?.trim().to_owned(),
        );
        Ok(Self(Arc::new(App {
            store: Arc::new(SqliteStore::open(&dir.join("registry.db")).await?),
            blobs: Blobs::open(&dir.join("blobs"))?,
            key,
            token,
            coordinator_keys: config.coordinator_keys,
            publishing: tokio::sync::Mutex::new(()),
        })))
    }

    /// The routes, to be mounted or served.
    pub fn router(&self) -> axum::Router {
        http::router(Arc::clone(&self.0))
    }

    /// The key that signs releases.
    pub fn public_key(&self) -> PublicKey {
        self.0.key.public()
    }

    /// The token that allows publishing.
    pub fn publisher_token(&self) -> &Zeroizing<String> {
        &self.0.token
    }
}

/// Serves until `stop`.
pub async fn serve(
    registry: Registry,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    axum::serve(listener, registry.router())
        .with_graceful_shutdown(stop)
        .await
        .map_err(|source| Error::File { path: PathBuf::from("the listening socket"), source })
}
