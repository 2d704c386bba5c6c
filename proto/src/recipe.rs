//! The recipe of a run: typed data, never code. TOML for people, JSON on the wire.
//!
//! Unknown fields are refused, so a misspelt setting is an error and not a default.

mod check;
mod error;

use serde::{Deserialize, Serialize};

pub use self::error::RecipeError;
use crate::adapter::{AdapterConfig, Factors};
use crate::aggregation::{Rule, ServerOptimiser};
use crate::secagg::default_threshold;

/// A documented recipe with every setting; printed by `chancery run create --print-sample`.
pub const SAMPLE: &str = include_str!("sample.toml");

/// Everything a run is made of, except the base model's and the sites' own files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The name the adapter is published under.
    pub name: String,
    /// One sentence for the passport.
    #[serde(default)]
    pub description: String,
    /// The adapter's rank, scale and modules.
    pub adapter: AdapterConfig,
    /// The base model, by content.
    pub base: Base,
    /// Local training at every site.
    pub training: Training,
    /// Rounds and cohort.
    pub federation: Federation,
    /// How an update becomes bytes.
    #[serde(default)]
    pub codec: Codec,
    /// Who may see what.
    #[serde(default)]
    pub privacy: Privacy,
}

/// The base model, by content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// What `adapter_config.json` names it, as on the Hugging Face Hub.
    pub name: String,
    /// `sha256:...` over weights, config and tokenizer; `chancery run create --base DIR` fills it in.
    #[serde(default)]
    pub digest: Option<String>,
}

/// Local training: one optimiser run of `steps` steps per round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Optimiser steps per round.
    pub steps: u32,
    /// Examples per forward pass.
    pub batch: u32,
    /// Forward passes whose gradients are added up for one optimiser step.
    #[serde(default = "one")]
    pub accumulation: u32,
    /// Peak learning rate of AdamW.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises from 0, counted over the whole run.
    #[serde(default)]
    pub warmup: u32,
    /// The share of the peak the cosine ends at, counted over the whole run.
    #[serde(default)]
    pub final_fraction: f64,
    /// AdamW's decoupled weight decay.
    #[serde(default)]
    pub weight_decay: f64,
    /// Gradients are scaled down to this global norm.
    #[serde(default = "unit")]
    pub clip_norm: f64,
    /// Longest sequence in tokens; longer prompts lose their beginning.
    pub max_length: u32,
    /// FedProx: half of this times the squared distance to the round's adapter is added to the loss (Li
    /// et al., MLSys 2020).
    #[serde(default)]
    pub proximal: f64,
    /// Seed of batches; every site and round derives its own.
    #[serde(default)]
    pub seed: u64,
}

/// Rounds and cohort.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Federation {
    /// Rounds.
    pub rounds: u32,
    /// Sites that must have joined before the run starts; at most this many take part.
    pub sites: u32,
    /// Updates a round needs to count.
    pub quorum: u32,
    /// Seconds after which a round closes with what it has.
    #[serde(default = "deadline")]
    pub deadline_seconds: u32,
    /// Seconds without progress after which a site's task is given up.
    #[serde(default = "lease")]
    pub lease_seconds: u32,
    /// Which factors train in which round.
    #[serde(default)]
    pub method: Method,
    /// How many updates become one; anything but the mean needs `trusted` mode.
    #[serde(default = "mean")]
    pub aggregation: Rule,
    /// How far the adapter goes along it.
    #[serde(default = "fedavg")]
    pub optimiser: ServerOptimiser,
}

/// Which LoRA factors train in which round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Only `B`; `A` stays at its shared seeded start. The sum is exact (FFA-LoRA, ICLR 2024).
    #[default]
    Ffa,
    /// `B` in odd rounds, `A` in even ones. The sum is exact (RoLoRA, NeurIPS 2025).
    Rolora,
    /// Both, averaged separately. Inexact: the mean of products is not the product of means (FedIT).
    Fedit,
    /// Both; the sites' products are summed exactly and cut back to the adapter's rank. A site may train
    /// fewer ranks. Needs `trusted` mode.
    Stack,
}

impl Method {
    /// The factors that train in `round`, which counts from 1.
    pub fn factors(self, round: u32) -> Factors {
        match self {
            Self::Ffa => Factors::B,
            Self::Rolora if round % 2 == 1 => Factors::B,
            Self::Rolora => Factors::A,
            Self::Fedit | Self::Stack => Factors::Both,
        }
    }

    /// The name in recipes, receipts and on the passport.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ffa => "ffa",
            Self::Rolora => "rolora",
            Self::Fedit => "fedit",
            Self::Stack => "stack",
        }
    }

    /// Whether what comes out is the average of what the adapters do; for stacked factors, up to what the cut
    /// back to the adapter's rank discards.
    pub fn is_exact(self) -> bool {
        !matches!(self, Self::Fedit)
    }
}

/// How an update becomes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Codec {
    /// Bits per number before the sum (4 to 20); the ring adds what the sum of all sites needs.
    pub bits: u32,
    /// Each element of an update is clipped to `[-clip, clip]` when the learning rate is at its peak; the clip
    /// shrinks with it from round to round, as updates do.
    pub clip: f32,
    /// Sample counts above this weigh no more than this one.
    pub max_samples: u32,
    /// The share of the numbers that train which travels each round; the others wait.
    #[serde(default = "all")]
    pub density: f32,
    /// Error feedback: what clipping, rounding and waiting kept back goes into the site's next update.
    #[serde(default)]
    pub feedback: bool,
}

impl Default for Codec {
    fn default() -> Self {
        Self { bits: 10, clip: 0.25, max_samples: 100_000, density: 1.0, feedback: false }
    }
}

/// Who may see what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Privacy {
    /// The privacy mode.
    pub mode: PrivacyMode,
    /// Sites that must answer to open a masked sum; by default more than two thirds of the cohort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u32>,
}

/// Who can see one site's update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrivacyMode {
    /// The coordinator can.
    Trusted,
    /// Nobody can.
    #[default]
    Masked,
}

impl PrivacyMode {
    /// The name in recipes, receipts and on the passport.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Masked => "masked",
        }
    }
}

fn mean() -> Rule {
    Rule::Mean
}
fn fedavg() -> ServerOptimiser {
    ServerOptimiser::FedAvg { rate: 1.0 }
}
fn one() -> u32 {
    1
}
fn all() -> f32 {
    1.0
}
fn unit() -> f64 {
    1.0
}
fn deadline() -> u32 {
    3600
}
fn lease() -> u32 {
    120
}

impl Recipe {
    /// Reads a recipe and checks that its numbers make sense together.
    pub fn from_toml(text: &str) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text).map_err(|e| RecipeError::Toml(e.to_string()))?;
        recipe.check()?;
        Ok(recipe)
    }

    /// Reads a recipe from its wire form.
    pub fn from_json(text: &str) -> Result<Self, RecipeError> {
        let recipe: Self =
            serde_json::from_str(text).map_err(|e| RecipeError::Toml(e.to_string()))?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The wire form; also what the recipe's digest is computed over.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What plans and receipts name the recipe by: SHA-256 of its wire form.
    pub fn digest(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.to_json().as_bytes());
        format!("sha256:{}", hex::encode(digest))
    }

    /// Whether an inexact method's error must be estimated, because nobody sees the factors.
    pub fn needs_probes(&self) -> bool {
        self.privacy.mode == PrivacyMode::Masked && !self.federation.method.is_exact()
    }

    /// Sites that must answer to open a masked sum; 0 in trusted mode.
    pub fn threshold(&self) -> u32 {
        match self.privacy.mode {
            PrivacyMode::Trusted => 0,
            PrivacyMode::Masked => self
                .privacy
                .threshold
                .unwrap_or(default_threshold(self.federation.sites as usize) as u32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_is_a_valid_recipe_and_survives_the_wire() {
        let recipe = Recipe::from_toml(SAMPLE).unwrap();
        assert_eq!(Recipe::from_json(&recipe.to_json()).unwrap(), recipe);
    }

    #[test]
    fn unknown_fields_are_refused_by_name() {
        let text = SAMPLE.replace("rounds =", "rouns = 3\nrounds =");
        let error = Recipe::from_toml(&text).unwrap_err();
        assert_eq!(error.code(), "CH1101");
        assert!(error.to_string().contains("rouns"), "{error}");
    }

    #[test]
    fn masked_is_the_default_and_refused_below_three_sites() {
        let text = SAMPLE.split("[privacy]").next().unwrap();
        let recipe = Recipe::from_toml(text).unwrap();
        assert_eq!((recipe.privacy.mode, recipe.threshold()), (PrivacyMode::Masked, 3));
        let two = text.replace("sites = 3", "sites = 2").replace("quorum = 3", "quorum = 2");
        let error = Recipe::from_toml(&two).unwrap_err();
        assert_eq!(error, RecipeError::TooFewToMask { sites: 2 });
        let trusted = format!("{two}[privacy]\nmode = \"trusted\"\n");
        assert_eq!(Recipe::from_toml(&trusted).unwrap().threshold(), 0);
    }

    #[test]
    fn thresholds_that_protect_nobody_are_refused() {
        let five = SAMPLE.replace("sites = 3", "sites = 5").replace("quorum = 3", "quorum = 4");
        let with = |threshold: u32| {
            let text = five.replace("# threshold = 3", &format!("threshold = {threshold}"));
            Recipe::from_toml(&text).map(|recipe| recipe.threshold())
        };
        assert_eq!(with(3).unwrap(), 3);
        assert_eq!(with(2).unwrap_err().code(), "CH1102");
        assert_eq!(with(6).unwrap_err().code(), "CH1102");
        assert_eq!(with(5).unwrap_err().code(), "CH1104");
    }

    #[test]
    fn stacking_needs_trust_and_nothing_that_remembers() {
        let stack = SAMPLE.replace("method = \"ffa\"", "method = \"stack\"");
        assert_eq!(Recipe::from_toml(&stack).unwrap_err().code(), "CH1105");
        let trusted = stack.replace("mode = \"masked\"", "mode = \"trusted\"");
        Recipe::from_toml(&trusted).unwrap();
        for (from, to) in [
            ("density = 1.0", "density = 0.5"),
            ("feedback = false", "feedback = true"),
            ("rate = 1.0", "rate = 0.5"),
            ("aggregation = { name = \"mean\" }", "aggregation = { name = \"median\" }"),
        ] {
            let refused = Recipe::from_toml(&trusted.replace(from, to)).unwrap_err();
            assert_eq!(refused.code(), "CH1102", "{to}");
        }
    }

    #[test]
    fn densities_outside_of_their_range_are_refused() {
        for density in ["0.0", "-1.0", "1.5", "nan"] {
            let text = SAMPLE.replace("density = 1.0", &format!("density = {density}"));
            assert_eq!(Recipe::from_toml(&text).unwrap_err().code(), "CH1102", "{density}");
        }
    }

    #[test]
    fn quorum_above_the_cohort_is_refused() {
        let text = SAMPLE.replace("quorum = 3", "quorum = 4");
        assert_eq!(Recipe::from_toml(&text).unwrap_err().code(), "CH1102");
    }
}
