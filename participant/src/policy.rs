//! What a site allows, in a file that only the site writes.

use std::fs;
use std::path::{Path, PathBuf};

use chancery_proto::{PrivacyMode, Recipe};
use serde::Deserialize;

use crate::error::Error;

/// The documented policy that `participant join` leaves in a new home.
pub(crate) const SAMPLE: &str = "\
# What this site allows. Unknown fields are refused.

# Privacy modes this site takes part in:
#   \"masked\"   nobody sees this site's update
#   \"trusted\"  the coordinator can see this site's update
privacy = [\"masked\"]

# The most optimiser steps that one round may ask for.
max_steps = 10000
";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    privacy: Vec<PrivacyMode>,
    #[serde(default = "max_steps")]
    max_steps: u32,
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
        let file =
            toml::from_str(&text).map_err(|e| Error::Key(format!("{}: {e}", path.display())))?;
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
        let recipe = Recipe::from_toml(chancery_proto::SAMPLE).unwrap();
        let refused = policy(SAMPLE).unwrap().check(&recipe, 1).unwrap_err();
        assert_eq!(refused.code(), "CH2008");
        policy("privacy = [\"trusted\"]").unwrap().check(&recipe, 1).unwrap();
    }

    #[test]
    fn unknown_fields_and_too_many_steps_are_refused() {
        assert!(policy("privacy = []\nprivcy = 1").is_err());
        let recipe = Recipe::from_toml(chancery_proto::SAMPLE).unwrap();
        let strict = policy("privacy = [\"trusted\"]\nmax_steps = 5").unwrap();
        assert_eq!(strict.check(&recipe, 1).unwrap_err().code(), "CH2007");
    }
}
