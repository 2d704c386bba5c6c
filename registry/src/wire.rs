//! What crosses the registry's HTTP interface, as JSON.

use chancery_provenance::Digest;
use serde::{Deserialize, Serialize};

/// A finished run, to be published. The adapter's bytes are uploaded before, under their digest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Publication {
    /// The recipe's JSON.
    pub recipe: String,
    /// The key that signed the receipts (SPKI, PEM).
    pub coordinator_key: String,
    /// Bundles of the round receipts, in order.
    pub receipts: Vec<String>,
    /// Bundles of the training statements that the receipts name.
    pub trainings: Vec<String>,
    /// The text of `adapter_config.json`.
    pub adapter_config: String,
    /// Of `adapter_model.safetensors`.
    pub adapter: Digest,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
    /// The coordinator's version.
    pub coordinator_version: String,
}

/// A published version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionView {
    /// The model.
    pub name: String,
    /// From 1.
    pub version: u32,
    /// Over the signed files.
    pub digest: Digest,
    /// RFC 3339.
    pub issued_at: String,
    /// By name.
    pub files: Vec<FileView>,
}

/// One file of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileView {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Of its content.
    pub digest: Digest,
}
