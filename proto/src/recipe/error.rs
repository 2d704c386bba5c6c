//! What a recipe is refused for.

use thiserror::Error;

use crate::aggregation::RuleError;

/// Why a recipe was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecipeError {
    /// Not the recipe's shape.
    #[error(
        "the recipe cannot be read: {0}\n  fix:  compare with: chancery run create --print-sample"
    )]
    Toml(String),
    /// A value out of its range.
    #[error("recipe: {field} must be {allowed}")]
    Value {
        /// The field.
        field: &'static str,
        /// What it may be.
        allowed: &'static str,
    },
    /// A rule that looks at single updates, where nobody may.
    #[error(
        "\"{rule}\" looks at each site's update, and in privacy.mode = \"masked\" nobody can\n  fix:  leave it out, or write mode = \"trusted\" if every site agrees that the coordinator may see its update"
    )]
    RuleNeedsTrust {
        /// The rule.
        rule: &'static str,
    },
    /// A rule or a server optimiser that cannot work.
    #[error("recipe: {0}")]
    Rule(String),
    /// Too few sites for one to hide among the others.
    #[error(
        "privacy.mode = \"masked\" needs at least 3 sites, and federation.sites is {sites}: the sum of two shows each of them the other's update\n  fix:  let more sites take part, or write mode = \"trusted\" if every site agrees that the coordinator may see its update"
    )]
    TooFewToMask {
        /// Sites.
        sites: u32,
    },
    /// A round that could have its quorum and still not be opened.
    #[error(
        "federation.quorum is {quorum}, but a masked sum of {sites} sites opens only with {threshold}\n  fix:  write quorum = {threshold}"
    )]
    Quorum {
        /// The recipe's quorum.
        quorum: u32,
        /// The threshold.
        threshold: u32,
        /// Sites.
        sites: u32,
    },
}

impl From<RuleError> for RecipeError {
    fn from(error: RuleError) -> Self {
        Self::Rule(format!("{}: {error}", error.code()))
    }
}

impl RecipeError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Toml(_) => "CH1101",
            Self::Value { .. } => "CH1102",
            Self::TooFewToMask { .. } => "CH1103",
            Self::Quorum { .. } => "CH1104",
            Self::RuleNeedsTrust { .. } => "CH1105",
            Self::Rule(_) => "CH1106",
        }
    }
}
