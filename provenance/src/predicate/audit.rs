//! The audit statement: what an auditor swears a run's rounds came to when computed again.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The predicate's type.
pub const AUDIT_TYPE: &str = "https://chancery.dev/audit/v1";

/// One run, computed again. Its subject is the adapter that came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Audit {
    /// The run.
    pub run: String,
    /// The program that did it.
    pub tool: String,
    /// Whether every round gave the adapter that its receipt names.
    pub reproduced: bool,
    /// The rounds, in order, up to the first that did not.
    pub rounds: Vec<AuditedRound>,
}

/// One round, computed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditedRound {
    /// From 1.
    pub round: u32,
    /// Of the receipt's bundle.
    pub receipt: Digest,
    /// Who could see an update.
    pub mode: String,
    /// Updates in the sum.
    pub updates: u32,
    /// The adapter that the receipt names.
    pub expected: Digest,
    /// The adapter that came out now, when one did.
    pub computed: Option<Digest>,
    /// The code of what went wrong.
    pub code: Option<String>,
}
