//! Handing a finished run over to the registry.

use std::fmt;

use chancery_provenance::{Bundle, Digest, RECEIPT_TYPE, Receipt};
use chancery_registry::{Publication, RegistryClient};
use zeroize::Zeroizing;

use crate::app::App;
use crate::clock::rfc3339;
use crate::error::Error;
use crate::round::Phase;
use crate::run::{Published, Run};

/// A registry, and the token that allows publishing there.
#[derive(Clone)]
pub struct RegistryTarget {
    url: String,
    token: Zeroizing<String>,
}

impl RegistryTarget {
    /// A registry at `url`.
    pub fn new(url: String, token: String) -> Self {
        Self { url, token: Zeroizing::new(token) }
    }
}

impl fmt::Debug for RegistryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryTarget").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Publishes the run's adapter with all its evidence. Publishing the same again changes nothing.
pub(crate) async fn publish(
    app: &App,
    target: &RegistryTarget,
    run: &Run,
) -> Result<Published, Error> {
    let wrong = |e: &dyn fmt::Display| Error::Publish(e.to_string());
    let digest: Digest = run.adapter.parse().map_err(|e| wrong(&e))?;
    let adapter = app.blob_bytes(&digest).await?;
    let config = chancery_proto::peft_config(&run.recipe.adapter, &run.recipe.base.name);
    let config = serde_json::to_string_pretty(&config)? + "\n";
    let receipts = app.store.receipts(&run.id).await?;
    let mut trainings = Vec::new();
    for text in &receipts {
        let receipt: Receipt = Bundle::parse(text.as_bytes())?
            .verify(&app.authority.key.public())?
            .predicate_as(RECEIPT_TYPE)
            .ok_or_else(|| Error::State("a stored receipt is not one".to_owned()))?;
        for participation in receipt.participants {
            let digest = participation.statement_digest.to_string();
            let statement = app.store.training(&run.id, &digest).await?;
            trainings.push(
                statement.ok_or_else(|| {
                    Error::State(format!("training statement {digest} is missing"))
                })?,
            );
        }
    }
    let finished = run.history.last().map(|round| match &round.phase {
        Phase::Succeeded { finished_at, .. } => *finished_at,
        _ => round.started_at,
    });
    let publication = Publication {
        recipe: run.recipe.to_json(),
        coordinator_key: app.authority.key.public().to_pem(),
        receipts,
        trainings,
        adapter_config: config,
        adapter: digest,
        started_at: rfc3339(run.started_at),
        finished_at: rfc3339(finished.unwrap_or(run.started_at)),
        coordinator_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let (target, name) = (target.clone(), run.recipe.name.clone());
    let version = tokio::task::spawn_blocking(move || {
        let client = RegistryClient::new(&target.url, Some(target.token));
        client.publish(&name, &publication, &adapter)
    })
    .await
    .map_err(|e| wrong(&e))?
    .map_err(|e| wrong(&e))?;
    Ok(Published {
        name: version.name,
        version: version.version,
        digest: version.digest.to_string(),
    })
}
