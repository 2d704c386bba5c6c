//! The round plan: what every site must know, and agree on, before it trains.
//!
//! The coordinator signs the plan's JSON with its Ed25519 key; a site acts on nothing else.

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::adapter::{AdapterConfig, BaseShape, Factors};
use crate::aggregation::{Rule, ServerOptimiser};
use crate::codec::Ring;
use crate::recipe::PrivacyMode;
use crate::secagg::{Member, Setting};
use crate::sketch::{Deviation, Sketch};
use crate::tensor::Tensors;

/// What a signature over a plan covers in front of the plan's bytes.
pub const PLAN_CONTEXT: &[u8] = b"chancery-plan-v1\n";

/// One round, as the coordinator decided it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Plan {
    /// The run.
    pub run: String,
    /// The round, from 1.
    pub round: u32,
    /// Rounds of the run.
    pub rounds: u32,
    /// Digest of the recipe's JSON.
    pub recipe_digest: String,
    /// Digest of the base model.
    pub base_digest: String,
    /// The base model's dimensions.
    pub base_shape: BaseShape,
    /// The adapter's rank, scale and modules.
    pub adapter: AdapterConfig,
    /// Digest of the adapter this round starts from.
    pub adapter_digest: String,
    /// The factors that train.
    pub factors: Factors,
    /// Who can see an update.
    pub mode: PrivacyMode,
    /// How an update becomes bytes.
    pub ring: Ring,
    /// The cohort, sorted by pseudonym.
    pub roster: Vec<Member>,
    /// Updates the round needs.
    pub quorum: u32,
    /// Sites that must answer to open a masked sum; 0 in trusted rounds.
    pub threshold: u32,
    /// How many updates become one.
    pub aggregation: Rule,
    /// How far the adapter goes along it.
    pub optimiser: ServerOptimiser,
    /// How an inexact method's error is estimated; none where the method is exact.
    pub sketch: Option<Sketch>,
}

impl Plan {
    /// The bytes that are signed and sent.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a plan; the signature is the caller's to check first.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The message that is signed: context, then the plan's bytes.
    pub fn signed_bytes(plan_json: &[u8]) -> Vec<u8> {
        [PLAN_CONTEXT, plan_json].concat()
    }

    /// Names and shapes of the tensors that train, in the order of the update.
    pub fn layout(&self) -> Vec<(String, [usize; 2])> {
        let mut layout = self.adapter.layout(&self.base_shape);
        layout.retain(|(name, _)| self.factors.trains_tensor(name));
        layout
    }

    /// The elements of an update, without its weight: numbers that train, then answers to probes.
    pub fn elements(&self) -> usize {
        let probed = self.sketch.map_or(0, |s| s.elements(&self.adapter, &self.base_shape));
        self.trained_elements() + probed
    }

    /// Numbers that train.
    pub fn trained_elements(&self) -> usize {
        self.layout().iter().map(|(_, [rows, columns])| rows * columns).sum()
    }

    /// An adapter's answers to this round's probes, scaled so that their range is what gets clipped.
    pub fn answers(&self, adapter: &Tensors) -> Vec<f32> {
        let Some(sketch) = &self.sketch else { return Vec::new() };
        let answers = sketch.answers(&self.adapter, &self.base_shape, &self.probe_seed(), adapter);
        let scale = self.ring.clip / sketch.range;
        answers.into_iter().map(|answer| answer * scale).collect()
    }

    /// The error of the mean `after`, given the mean of what the sites sent. Also the largest answer, in
    /// its own scale.
    pub fn deviation(&self, sent: &[f32], after: &Tensors) -> Option<(Deviation, f32)> {
        let sketch = self.sketch.as_ref()?;
        let ideal = sent.get(self.trained_elements()..)?;
        let made = self.answers(after);
        let found = sketch.deviation(&self.adapter, &self.base_shape, ideal, &made)?;
        let largest = ideal.iter().fold(0f32, |most, answer| most.max(answer.abs()));
        Some((found, largest * sketch.range / self.ring.clip))
    }

    /// Nobody chooses the probes: they follow from what the round is.
    fn probe_seed(&self) -> [u8; 32] {
        let text = format!("{}\n{}\n{}", self.run, self.round, self.adapter_digest);
        let mut seed = [0; 32];
        seed.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        seed
    }

    /// The cohort's pseudonyms, sorted.
    pub fn pseudonyms(&self) -> Vec<String> {
        self.roster.iter().map(|member| member.pseudonym.clone()).collect()
    }

    /// What secure aggregation goes by; `digest` is SHA-256 of the plan's bytes.
    pub fn setting(&self, digest: [u8; 32]) -> Setting {
        Setting {
            plan: digest,
            run: self.run.clone(),
            round: self.round,
            roster: self.roster.clone(),
            threshold: self.threshold as usize,
        }
    }

    /// Whether sites can make the next adapter out of the packed sum alone: it is the mean, and the
    /// server remembers nothing.
    pub fn follows_from_sum(&self) -> bool {
        self.aggregation == Rule::Mean && matches!(self.optimiser, ServerOptimiser::FedAvg { .. })
    }
}
