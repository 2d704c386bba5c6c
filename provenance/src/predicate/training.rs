//! The training statement: what a site swears it trained. It says nothing about the data but a
//! salted commitment.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The predicate's type.
pub const TRAINING_TYPE: &str = "https://chancery.dev/training/v1";

/// One site's training in one round. Its subject is the update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrainingStatement {
    /// The run.
    pub run: String,
    /// From 1.
    pub round: u32,
    /// Of the round plan's JSON.
    pub plan_digest: Digest,
    /// Of the base model.
    pub base_digest: Digest,
    /// The adapter that the training started from.
    pub adapter_digest: Digest,
    /// SHA-256 over a secret salt and the digest of the training file.
    pub dataset_commitment: Digest,
    /// The factors that trained.
    pub factors: String,
    /// Of the packed update; in masked rounds of the masked one.
    pub update_digest: Digest,
    /// Optimiser steps.
    pub steps: u32,
    /// What it was trained with.
    pub environment: Environment,
}

/// What it was trained with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Environment {
    /// This program's version.
    pub chancery: String,
    /// linux, macos, ...
    pub os: String,
    /// x86_64, aarch64, ...
    pub architecture: String,
    /// burn's backend.
    pub backend: String,
}
