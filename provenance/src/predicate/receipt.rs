//! The round receipt: what the coordinator swears happened in a round.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The predicate's type.
pub const RECEIPT_TYPE: &str = "https://chancery.dev/round-receipt/v1";

/// One round. Sites appear under pseudonyms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    /// The run.
    pub run: String,
    /// From 1.
    pub round: u32,
    /// Of how many.
    pub rounds: u32,
    /// Of the signed round plan's JSON.
    pub plan_digest: Digest,
    /// The plan's JSON itself.
    pub plan: String,
    /// Of the recipe's JSON.
    pub recipe_digest: Digest,
    /// Of the base model.
    pub base_digest: Digest,
    /// The adapter that the round started from.
    pub adapter_before: Digest,
    /// The adapter that came out.
    pub adapter_after: Digest,
    /// The factors that trained.
    pub factors: String,
    /// Who could see an update.
    pub mode: String,
    /// ffa, rolora or fedit.
    pub method: String,
    /// Whether averaging the factors equals averaging what they do.
    pub exact: bool,
    /// Bits of one number before the sum.
    pub quantisation_bits: u32,
    /// Bits of one number in the ring.
    pub ring_bits: u32,
    /// Elements were clipped to this.
    pub clip: f32,
    /// Updates the round needed.
    pub quorum: u32,
    /// Sites that had to answer to open a masked sum; 0 in trusted rounds.
    pub threshold: u32,
    /// The whole cohort, sorted.
    pub roster: Vec<String>,
    /// Whose updates are in the sum, in the order of the roster.
    pub participants: Vec<Participation>,
    /// Sites of the cohort whose updates are not in the sum.
    pub lost: Vec<String>,
    /// In masked rounds, the record that lets anyone open the sum again.
    pub transcript: Option<Digest>,
    /// Messages that did not count.
    pub refused: Vec<Refusal>,
    /// The largest relative error that quantisation brought to an update.
    pub quantisation_error: f64,
    /// What an inexact method missed, or the cut of a stacked sum; none where nothing is missed.
    pub aggregation_error: Option<AggregationError>,
    /// What cutting a stacked sum back to the adapter's rank cost, module by module; empty otherwise.
    pub discarded: Vec<Discarded>,
    /// Bytes of all sites together, as they crossed the socket: TLS, headers and retries included.
    pub traffic: Traffic,
    /// Figures from the sites' held-out examples.
    pub evaluation: Vec<Evaluated>,
    /// The receipt before this one; none for the first round.
    pub previous: Option<Digest>,
    /// RFC 3339.
    pub finished_at: String,
}

/// One module of a stacked sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Discarded {
    /// The module's factor A.
    pub tensor: String,
    /// The share of the sum's squared Frobenius norm that was cut, from 0 to 1.
    pub share: f64,
}

/// One site's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Participation {
    /// The site's name in this run.
    pub pseudonym: String,
    /// The key that signed the training statement (SPKI, PEM).
    pub key: String,
    /// Of the packed update; in masked rounds of the masked one.
    pub update_digest: Digest,
    /// The root over its chunks, in hexadecimal. A site that finds its own here is in the sum.
    pub chunk_root: String,
    /// Of the training statement's bundle.
    pub statement_digest: Digest,
}

/// A message that did not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refusal {
    /// The site's name in this run.
    pub pseudonym: String,
    /// The stable code.
    pub code: String,
    /// In words.
    pub reason: String,
}

/// How far the new adapter is from the mean of what the sites' adapters do, relative to the latter: computed
/// in trusted rounds, estimated from random probes in masked ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AggregationError {
    /// The value or the estimate.
    pub relative: f64,
    /// Where its 95 % confidence interval begins; the value itself where it was computed.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
}

/// Bytes that crossed the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// From the sites.
    pub up: u64,
    /// To the sites.
    pub down: u64,
}

/// One site's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Evaluated {
    /// The site's name in this run.
    pub pseudonym: String,
    /// What the site calls its task.
    pub task: String,
    /// With the round's adapter.
    pub adapter: Score,
    /// Without an adapter; in the first round only.
    pub base: Option<Score>,
}

/// Loss and accuracy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Mean over completion tokens, in nats.
    pub loss: f64,
    /// Share of completions that are right to the last token.
    pub accuracy: f64,
    /// Examples.
    pub examples: u64,
}
