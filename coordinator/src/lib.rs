//! The coordinator: runs, rounds, sums, receipts. It never holds data, and what it knows survives it.

mod aggregate;
mod app;
mod authority;
mod blob;
mod clock;
mod error;
mod export;
mod grpc;
mod publish;
mod receipt;
mod round;
mod run;
mod store;
mod traffic;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

pub use app::CoordinatorConfig;
pub use error::{Error, Reject};
pub use export::{Exported, export_run};
pub use publish::RegistryTarget;

use app::App;

/// How long calls may take to end after `stop`; a site that waits for work asks again elsewhere.
const GRACE: Duration = Duration::from_secs(1);

/// A coordinator that is ready to serve.
pub struct Coordinator(Arc<App>);

impl Coordinator {
    /// Opens its folder; makes keys, authority and database at the first start.
    pub async fn open(config: CoordinatorConfig) -> Result<Self, Error> {
        Ok(Self(Arc::new(App::open(config).await?)))
    }

    /// The fingerprint people compare: SHA-256 of the authority's certificate.
    pub fn authority_fingerprint(&self) -> String {
        let fingerprint = self.0.authority.fingerprint();
        let pairs: Vec<String> =
            fingerprint.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }

    /// Serves, and does what the runs ask for, until `stop`.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let app = self.0;
        let (ending, ended) = tokio::sync::oneshot::channel::<()>();
        let ended = async {
            let _ = ended.await;
        };
        let overdue = async {
            stop.await;
            drop(ending);
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            served = grpc::serve(Arc::clone(&app), listener, ended) => served,
            () = drive(&app) => Ok(()),
            () = overdue => Ok(()),
        }
    }
}

/// Looks at the runs whenever something changed or a deadline is due.
async fn drive(app: &App) {
    let mut changes = app.changes();
    loop {
        changes.mark_unchanged();
        let wait = match app.drive().await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::error!(error = %error, "the runs cannot be read and are tried again");
                app::RETRY
            }
        };
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
