//! Which recipes can work.

use super::error::RecipeError;
use super::{Method, PrivacyMode, Recipe, fedavg};
use crate::aggregation::Rule;
use crate::secagg::MIN_SITES;

impl Recipe {
    /// Refuses settings that cannot work.
    pub fn check(&self) -> Result<(), RecipeError> {
        let name_ok = !self.name.is_empty()
            && self.name.len() <= 64
            && self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        must(name_ok, "name", "lower-case letters, digits and '-', at most 64 of them")?;
        must((1..=1024).contains(&self.adapter.rank), "adapter.rank", "1 to 1024")?;
        must(
            self.adapter.alpha > 0.0 && self.adapter.alpha.is_finite(),
            "adapter.alpha",
            "above 0",
        )?;
        must(!self.adapter.targets.is_empty(), "adapter.targets", "at least one module")?;
        let mut targets = self.adapter.targets.clone();
        targets.sort();
        targets.dedup();
        must(targets.len() == self.adapter.targets.len(), "adapter.targets", "each module once")?;
        let training = &self.training;
        must((1..=1_000_000).contains(&training.steps), "training.steps", "1 to 1,000,000")?;
        must((1..=4096).contains(&training.batch), "training.batch", "1 to 4096")?;
        must((1..=4096).contains(&training.accumulation), "training.accumulation", "1 to 4096")?;
        must(
            training.learning_rate > 0.0 && training.learning_rate <= 1.0,
            "training.learning_rate",
            "above 0 and at most 1",
        )?;
        must((0.0..=1.0).contains(&training.final_fraction), "training.final_fraction", "0 to 1")?;
        must((0.0..=1.0).contains(&training.weight_decay), "training.weight_decay", "0 to 1")?;
        must(
            training.clip_norm > 0.0 && training.clip_norm.is_finite(),
            "training.clip_norm",
            "above 0",
        )?;
        must((0.0..=1e6).contains(&training.proximal), "training.proximal", "0 to 1,000,000")?;
        must((2..=131_072).contains(&training.max_length), "training.max_length", "2 to 131072")?;
        let federation = &self.federation;
        must((1..=100_000).contains(&federation.rounds), "federation.rounds", "1 to 100,000")?;
        must((1..=1024).contains(&federation.sites), "federation.sites", "1 to 1024")?;
        must(
            (1..=federation.sites).contains(&federation.quorum),
            "federation.quorum",
            "at least 1 and at most federation.sites",
        )?;
        must(federation.deadline_seconds >= 1, "federation.deadline_seconds", "at least 1")?;
        must(federation.lease_seconds >= 1, "federation.lease_seconds", "at least 1")?;
        must((4..=20).contains(&self.codec.bits), "codec.bits", "4 to 20")?;
        must(self.codec.clip > 0.0 && self.codec.clip.is_finite(), "codec.clip", "above 0")?;
        let density = self.codec.density;
        must(density > 0.0 && density <= 1.0, "codec.density", "above 0 and at most 1")?;
        must(self.codec.max_samples >= 1, "codec.max_samples", "at least 1")?;
        let masked = self.privacy.mode == PrivacyMode::Masked;
        if masked && federation.aggregation != Rule::Mean {
            return Err(RecipeError::RuleNeedsTrust { rule: federation.aggregation.name() });
        }
        if federation.method == Method::Stack {
            self.check_stack()?;
        }
        federation.aggregation.check(federation.quorum as usize)?;
        federation.optimiser.check()?;
        self.check_privacy()
    }

    /// The cut finds new factors each round, so nothing that remembers the old ones goes with it.
    fn check_stack(&self) -> Result<(), RecipeError> {
        let (federation, codec) = (&self.federation, &self.codec);
        if self.privacy.mode == PrivacyMode::Masked {
            return Err(RecipeError::RuleNeedsTrust { rule: Method::Stack.name() });
        }
        must(
            federation.aggregation == Rule::Mean,
            "federation.aggregation",
            "\"mean\" with stack",
        )?;
        must(
            federation.optimiser == fedavg(),
            "federation.optimiser",
            "fedavg at rate 1 with stack",
        )?;
        must(codec.density == 1.0, "codec.density", "1 with method = \"stack\"")?;
        must(!codec.feedback, "codec.feedback", "false with method = \"stack\"")
    }

    fn check_privacy(&self) -> Result<(), RecipeError> {
        let (sites, quorum) = (self.federation.sites, self.federation.quorum);
        if self.privacy.mode == PrivacyMode::Trusted {
            let none = self.privacy.threshold.is_none();
            return must(none, "privacy.threshold", "left out when privacy.mode is \"trusted\"");
        }
        if (sites as usize) < MIN_SITES {
            return Err(RecipeError::TooFewToMask { sites });
        }
        let threshold = self.threshold();
        let least = (sites / 2 + 1).max(MIN_SITES as u32);
        let allowed = "3 at least, more than half of federation.sites, and no more than these";
        must((least..=sites).contains(&threshold), "privacy.threshold", allowed)?;
        if quorum < threshold {
            return Err(RecipeError::Quorum { quorum, threshold, sites });
        }
        Ok(())
    }
}

fn must(ok: bool, field: &'static str, allowed: &'static str) -> Result<(), RecipeError> {
    if ok { Ok(()) } else { Err(RecipeError::Value { field, allowed }) }
}
