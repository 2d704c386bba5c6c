//! What a rule or an optimiser refuses.

use thiserror::Error;

/// Why there is no result.
#[derive(Debug, Error)]
pub enum RuleError {
    /// Too few updates for what the rule promises.
    #[error(
        "{rule} needs {needed} updates or more, because {why}; this round has {found}\n  fix:  raise the quorum to {needed}, or let the rule expect fewer hostile sites"
    )]
    TooFew {
        /// The rule's name.
        rule: &'static str,
        /// Updates it needs.
        needed: usize,
        /// Updates there are.
        found: usize,
        /// What fails below.
        why: &'static str,
    },
    /// Multi-Krum averages too many updates, or none.
    #[error(
        "multi-krum cannot keep {keep} of the updates, because it is proven to hold only up to {most} of them\n  fix:  set `keep` to 1..={most}"
    )]
    Keep {
        /// What was asked for.
        keep: usize,
        /// The most that is proven.
        most: usize,
    },
    /// A bound that bounds nothing.
    #[error(
        "the norm bound {norm} is no length, so that no update can be scaled to it\n  fix:  set `norm` to a positive number, such as the median norm of honest updates"
    )]
    Norm {
        /// What was asked for.
        norm: f64,
    },
    /// Weights that give no mean.
    #[error(
        "the weights {why}, so that there is no mean\n  fix:  give each update one weight, not negative, and at least one of them positive"
    )]
    Weights {
        /// What is wrong with them.
        why: &'static str,
    },
    /// An update that is not all numbers.
    #[error(
        "update {update} holds a value that is not finite, which would spread to the result\n  fix:  leave that update out; its site must clip what it sends"
    )]
    NotFinite {
        /// Its index.
        update: usize,
    },
    /// A source that breaks its word.
    #[error(
        "the updates' blocks do not line up at element {at} of {elements}, so that values would be mixed up\n  fix:  hand out the same range of every update, from the first element to the last"
    )]
    Blocks {
        /// Where.
        at: usize,
        /// How many there should be.
        elements: usize,
    },
    /// Reading failed.
    #[error("an update cannot be read: {0}\n  fix:  aggregate again once its bytes are back")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An optimiser's setting out of its range.
    #[error(
        "{setting} = {value} makes the optimiser diverge or stand still\n  fix:  keep it in {range}"
    )]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// Vectors that do not belong together.
    #[error(
        "the {what} has {found} elements where {expected} belong, so that steps would go astray\n  fix:  use the state that was made for these factors"
    )]
    Length {
        /// Which vector.
        what: &'static str,
        /// Its elements.
        found: usize,
        /// What it should have.
        expected: usize,
    },
    /// Products that have no singular values.
    #[error(
        "the singular values of the stacked factors were not found\n  fix:  look at the sites' losses: factors that have diverged have none"
    )]
    Decomposition,
    /// Products too large for an adapter.
    #[error(
        "the sum of the products is too large for f32\n  fix:  lower training.learning_rate or training.clip_norm"
    )]
    Range,
    /// A delta that would ruin the adapter.
    #[error(
        "element {element} of the delta is not finite or too large to square, which would ruin the adapter\n  fix:  clip the updates before they are aggregated"
    )]
    Delta {
        /// Where.
        element: usize,
    },
}

impl RuleError {
    /// A source that cannot be read.
    pub(crate) fn read(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Read(error.into())
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooFew { .. } => "CH3301",
            Self::Keep { .. } => "CH3302",
            Self::Norm { .. } => "CH3303",
            Self::Weights { .. } => "CH3304",
            Self::NotFinite { .. } => "CH3305",
            Self::Blocks { .. } => "CH3306",
            Self::Read(_) => "CH3307",
            Self::Setting { .. } => "CH3308",
            Self::Length { .. } => "CH3309",
            Self::Delta { .. } => "CH3310",
            Self::Decomposition => "CH3311",
            Self::Range => "CH3312",
        }
    }
}
