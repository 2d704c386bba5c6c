//! SLSA provenance v1 of a federated adapter; `docs/federated-adapter-v1.md` describes the build type.

use serde_json::{Value, json};

use super::{Receipt, TrainingStatement};
use crate::bundle::Bundle;
use crate::digest::Digest;
use crate::key::PublicKey;

/// The predicate's type.
pub const SLSA_TYPE: &str = "https://slsa.dev/provenance/v1";
/// The build type.
pub const BUILD_TYPE: &str = "https://chancery.dev/buildtypes/federated-adapter/v1";

/// What provenance is made from; all of it verified before.
pub struct SlsaFacts<'a> {
    /// The recipe's JSON.
    pub recipe: &'a Value,
    /// What the base model is called.
    pub base_name: &'a str,
    /// The key that signed the receipts.
    pub coordinator_key: &'a PublicKey,
    /// Receipts with their bundles, in the order of the rounds.
    pub receipts: &'a [(Bundle, Receipt)],
    /// The sites' statements with their bundles.
    pub trainings: &'a [(Bundle, TrainingStatement)],
    /// Of the lineage's CAR file.
    pub lineage: Digest,
    /// RFC 3339.
    pub started_at: &'a str,
    /// RFC 3339.
    pub finished_at: &'a str,
    /// The coordinator's version.
    pub version: &'a str,
}

/// The predicate. Every receipt and every training statement is a resolved dependency.
pub fn slsa(facts: &SlsaFacts<'_>) -> Value {
    let first = facts.receipts.first().map(|(_, receipt)| receipt);
    let run = first.map(|receipt| receipt.run.as_str()).unwrap_or_default();
    let mut dependencies = Vec::new();
    if let Some(first) = first {
        dependencies.push(json!({
            "name": "base-model",
            "uri": format!("urn:chancery:base:{}", facts.base_name),
            "digest": { "sha256": first.base_digest.hex() },
        }));
    }
    for (bundle, receipt) in facts.receipts {
        dependencies.push(json!({
            "name": format!("round-receipt/{}", receipt.round),
            "uri": format!("urn:chancery:run:{run}:round:{}", receipt.round),
            "digest": { "sha256": bundle.digest().hex() },
            "mediaType": crate::bundle::MEDIA_TYPE,
        }));
    }
    for (bundle, training) in facts.trainings {
        dependencies.push(json!({
            "name": format!("training/{}/{}", training.round, &bundle.hint().get(..8).unwrap_or_default()),
            "digest": { "sha256": bundle.digest().hex() },
            "annotations": { "datasetCommitment": training.dataset_commitment },
        }));
    }
    let mut sites: Vec<&str> = facts
        .receipts
        .iter()
        .flat_map(|(_, receipt)| receipt.participants.iter().map(|p| p.pseudonym.as_str()))
        .collect();
    sites.sort_unstable();
    sites.dedup();
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": { "recipe": facts.recipe },
            "internalParameters": {
                "coordinatorKey": facts.coordinator_key.to_pem(),
                "participants": sites,
                "roundsExecuted": facts.receipts.len(),
            },
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": {
                "id": format!("urn:chancery:coordinator:{}", facts.coordinator_key.fingerprint()),
                "version": { "chancery": facts.version },
            },
            "metadata": {
                "invocationId": run,
                "startedOn": facts.started_at,
                "finishedOn": facts.finished_at,
            },
            "byproducts": [
                { "name": "lineage.car", "digest": { "sha256": facts.lineage.hex() } },
            ],
        },
    })
}
