//! Where a round is; each phase holds only its own data.

use std::collections::BTreeMap;

use chancery_proto::Deviation;
use chancery_proto::secagg::{Advert, Confirmation};
use chancery_provenance::Score;
use serde::{Deserialize, Serialize};

use super::stage::{Leases, Stage};

/// Something of each site, by pseudonym.
pub(crate) type BySite<T> = BTreeMap<String, T>;

/// Where a round is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Sites train and hand in what the coordinator can read (trusted rounds).
    Training { stage: Stage<Update> },
    /// Sites train and advertise keys (masked rounds from here).
    Advertising { stage: Stage<Advert> },
    /// Sites share their secrets with one another.
    Sharing { adverts: BySite<Advert>, stage: Stage<Sealed> },
    /// Sites mask and upload their updates.
    Masking { keyed: Keyed, stage: Stage<Update> },
    /// Survivors sign who they are.
    Confirming { keyed: Keyed, updates: BySite<Update>, stage: Stage<Confirmation> },
    /// Survivors release shares.
    Unmasking {
        keyed: Keyed,
        updates: BySite<Update>,
        confirmations: BySite<Confirmation>,
        stage: Stage<Sealed>,
    },
    /// The coordinator sums.
    Aggregating { updates: BySite<Update>, masked: Option<Box<Masked>> },
    /// Sites score the new adapter.
    Evaluating { updates: BySite<Update>, sum: Sum, stage: Stage<Scores> },
    /// Done.
    Succeeded { updates: BySite<Update>, sum: Sum, scores: BySite<Scores>, finished_at: u64 },
    /// Over without an adapter.
    Failed { why: String, finished_at: u64 },
}

/// Sites whose keys and shares are there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Keyed {
    /// All that advertised.
    pub adverts: BySite<Advert>,
    /// Those that shared secrets, with the blobs that hold their sealed shares.
    pub shares: BySite<Sealed>,
}

/// What opens a masked sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Masked {
    pub keyed: Keyed,
    pub confirmations: BySite<Confirmation>,
    /// The blobs that hold the released shares.
    pub releases: BySite<Sealed>,
}

/// A message of shares, kept as a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed {
    /// Its digest.
    pub blob: String,
}

/// An update that counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Update {
    /// Of the packed bytes.
    pub digest: String,
    /// The root over its chunks, and in masked rounds the site's signature over it, in hexadecimal.
    pub chunk_root: String,
    pub chunk_signature: String,
    /// Of the training statement's bundle.
    pub statement: String,
    /// The last step's loss.
    pub loss: f64,
    /// Relative error of quantisation.
    pub quantisation_error: f64,
}

/// What the new adapter misses of what the sites' adapters do together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Missed {
    /// Relative to what should have been averaged, and its 95 % confidence interval.
    pub relative: f64,
    pub low: f64,
    pub high: f64,
    /// The largest answer to a probe; 0 where none were asked.
    pub largest: f32,
}

impl Missed {
    /// What is known exactly.
    pub(crate) fn exactly(found: Deviation) -> Self {
        Self { relative: found.relative, low: found.low, high: found.high, largest: 0.0 }
    }
}

/// What cutting one module's sum back to the adapter's rank cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Discarded {
    /// The module's factor A.
    pub tensor: String,
    /// Share of the squared Frobenius norm.
    pub share: f64,
}

/// What a sum gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sum {
    /// The new adapter.
    pub adapter: String,
    /// What the server optimiser remembers, if it does.
    pub moments: Option<String>,
    /// What sites that hold the adapter before make the new one out of, if they can.
    pub change: Option<String>,
    /// What an inexact method missed, or a cut.
    pub deviation: Option<Missed>,
    /// What stacking discarded, module by module.
    pub discarded: Vec<Discarded>,
    /// The blob of a masked round's record.
    pub transcript: Option<String>,
    /// Blobs of released shares. They open more than the record does, so they are removed.
    pub spent: Vec<String>,
}

/// A site's figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scores {
    /// With the round's adapter.
    pub adapter: Score,
    /// Without one.
    pub base: Option<Score>,
}

impl Phase {
    /// The phase in a word.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Training { .. } | Self::Advertising { .. } => "training",
            Self::Sharing { .. } => "sharing",
            Self::Masking { .. } => "masking",
            Self::Confirming { .. } => "confirming",
            Self::Unmasking { .. } => "unmasking",
            Self::Aggregating { .. } => "aggregating",
            Self::Evaluating { .. } => "evaluating",
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
        }
    }

    /// The leases of the sites at work, if any are.
    pub(crate) fn leases(&self) -> Option<&dyn Leases> {
        match self {
            Self::Training { stage } | Self::Masking { stage, .. } => Some(stage),
            Self::Advertising { stage } => Some(stage),
            Self::Sharing { stage, .. } | Self::Unmasking { stage, .. } => Some(stage),
            Self::Confirming { stage, .. } => Some(stage),
            Self::Evaluating { stage, .. } => Some(stage),
            Self::Aggregating { .. } | Self::Succeeded { .. } | Self::Failed { .. } => None,
        }
    }

    /// The same, to change them.
    pub(crate) fn leases_mut(&mut self) -> Option<&mut dyn Leases> {
        match self {
            Self::Training { stage } | Self::Masking { stage, .. } => Some(stage),
            Self::Advertising { stage } => Some(stage),
            Self::Sharing { stage, .. } | Self::Unmasking { stage, .. } => Some(stage),
            Self::Confirming { stage, .. } => Some(stage),
            Self::Evaluating { stage, .. } => Some(stage),
            Self::Aggregating { .. } | Self::Succeeded { .. } | Self::Failed { .. } => None,
        }
    }

    /// The updates that count, once it is settled which do.
    pub(crate) fn updates(&self) -> Option<&BySite<Update>> {
        match self {
            Self::Confirming { updates, .. }
            | Self::Unmasking { updates, .. }
            | Self::Aggregating { updates, .. }
            | Self::Evaluating { updates, .. }
            | Self::Succeeded { updates, .. } => Some(updates),
            _ => None,
        }
    }
}
