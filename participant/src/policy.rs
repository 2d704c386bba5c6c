//! What a site allows, in a file that only the site writes.

use std::fs;
use std::path::{Path, PathBuf};

use chancery_proto::secagg::default_threshold;
use chancery_proto::{Method, Plan, PrivacyMode, Recipe};
use serde::Deserialize;

use crate::error::Error;

/// The documented policy that `participant join` leaves in a new home.
pub(crate) const SAMPLE: &str = r#"# What this site allows. Unknown fields are refused.

# Privacy modes this site takes part in:
#   "masked"   nobody sees this site's update
#   "trusted"  the coordinator can see this site's update
privacy = ["masked"]

# Accept masked rounds that a bare majority of the sites can open. That holds against a coordinator that
# is curious, but not against one that breaks the protocol; for that more than two thirds are needed.
majority_threshold = false

# The identity keys of the sites this one expects beside it (hexadecimal; `participant join` prints a
# site's own). Left out, any sites that the coordinator has enrolled may take part.
# peers = ["..."]

# The most optimiser steps that one round may ask for.
max_steps = 10000

# The most LoRA ranks this site trains. Runs whose method is "stack" give it fewer; others are refused.
# max_rank = 8
"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    privacy: Vec<PrivacyMode>,
    #[serde(default)]
    majority_threshold: bool,
    peers: Option<Vec<String>>,
    #[serde(default = "max_steps")]
    max_steps: u32,
    max_rank: Option<u32>,
}

fn max_steps() -> u32 {
    10_000
}

/// What a site allows.
#[derive(Debug)]
pub struct Policy {
    path: PathBuf,
    file: PolicyFile,
}

impl Policy {
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(crate::error::at(path))?;
        let file: PolicyFile =
            toml::from_str(&text).map_err(|e| Error::Key(format!("{}: {e}", path.display())))?;
        if file.max_rank == Some(0) {
            let why = "max_rank must be at least 1; leave it out to set no limit";
            return Err(Error::Key(format!("{}: {why}", path.display())));
        }
        Ok(Self { path: path.to_owned(), file })
    }

    /// Refuses a recipe that asks for more than this site allows.
    pub fn check(&self, recipe: &Recipe, round: u32) -> Result<(), Error> {
        if !self.file.privacy.contains(&recipe.privacy.mode) {
            return Err(Error::Policy {
                mode: recipe.privacy.mode.name(),
                policy: self.path.clone(),
            });
        }
        let two_thirds = default_threshold(recipe.federation.sites as usize) as u32;
        let masked = recipe.privacy.mode == PrivacyMode::Masked;
        if masked && recipe.threshold() < two_thirds && !self.file.majority_threshold {
            let why = format!(
                "{} of {} sites can open its sums, which a coordinator that breaks the protocol could misuse; if that is fine, write into {}: majority_threshold = true",
                recipe.threshold(),
                recipe.federation.sites,
                self.path.display()
            );
            return Err(Error::Plan { round, why });
        }
        let stacked = recipe.federation.method == Method::Stack;
        if let Some(most) = self.file.max_rank.filter(|_| !stacked)
            && recipe.adapter.rank > most as usize
        {
            let why = format!(
                "it trains {} ranks; {} allows {most}",
                recipe.adapter.rank,
                self.path.display()
            );
            return Err(Error::Plan { round, why });
        }
        if recipe.training.steps > self.file.max_steps {
            let why = format!(
                "it asks for {} steps; {} allows {}",
                recipe.training.steps,
                self.path.display(),
                self.file.max_steps
            );
            return Err(Error::Plan { round, why });
        }
        Ok(())
    }
}

impl Policy {
    /// The most ranks this site trains.
    pub(crate) fn max_rank(&self) -> Option<u32> {
        self.file.max_rank
    }

    /// Refuses a cohort with somebody whom this site does not expect.
    pub(crate) fn check_roster(&self, plan: &Plan, own: Option<[u8; 32]>) -> Result<(), Error> {
        let Some(peers) = &self.file.peers else { return Ok(()) };
        let stranger = plan.roster.iter().find(|member| {
            Some(member.identity) != own && !peers.contains(&hex::encode(member.identity))
        });
        match stranger {
            None => Ok(()),
            Some(member) => {
                let (name, key) = (&member.pseudonym, hex::encode(member.identity));
                let why = format!(
                    "{name} takes part with the key {key}, which {} does not name under peers",
                    self.path.display()
                );
                Err(Error::Plan { round: plan.round, why })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Result<Policy, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.toml");
        fs::write(&path, text).unwrap();
        Policy::read(&path)
    }

    #[test]
    fn trusted_runs_need_the_sites_word() {
        let mut recipe = Recipe::from_toml(chancery_proto::SAMPLE).unwrap();
        policy(SAMPLE).unwrap().check(&recipe, 1).unwrap();
        recipe.privacy.mode = PrivacyMode::Trusted;
        let refused = policy(SAMPLE).unwrap().check(&recipe, 1).unwrap_err();
        assert_eq!(refused.code(), "CH2008");
        policy("privacy = [\"trusted\"]").unwrap().check(&recipe, 1).unwrap();
    }

    #[test]
    fn a_bare_majority_needs_the_sites_word() {
        let mut recipe = Recipe::from_toml(chancery_proto::SAMPLE).unwrap();
        recipe.federation.sites = 5;
        recipe.privacy.threshold = Some(3);
        assert_eq!(policy(SAMPLE).unwrap().check(&recipe, 1).unwrap_err().code(), "CH2007");
        let text = SAMPLE.replace("majority_threshold = false", "majority_threshold = true");
        policy(&text).unwrap().check(&recipe, 1).unwrap();
    }

    #[test]
    fn more_ranks_than_a_site_trains_need_a_method_that_gives_it_fewer() {
        let mut recipe = Recipe::from_toml(chancery_proto::SAMPLE).unwrap();
        let small = policy("privacy = [\"masked\"]\nmax_rank = 4").unwrap();
        assert_eq!(small.check(&recipe, 1).unwrap_err().code(), "CH2007");
        recipe.federation.method = Method::Stack;
        small.check(&recipe, 1).unwrap();
        assert_eq!(small.max_rank(), Some(4));
        assert!(policy("privacy = [\"masked\"]\nmax_rank = 0").is_err());
    }

    #[test]
    fn unknown_fields_and_too_many_steps_are_refused() {
        assert!(policy("privacy = []\nprivcy = 1").is_err());
        let recipe = Recipe::from_toml(chancery_proto::SAMPLE).unwrap();
        let strict = policy("privacy = [\"masked\"]\nmax_steps = 5").unwrap();
        assert_eq!(strict.check(&recipe, 1).unwrap_err().code(), "CH2007");
    }
}
