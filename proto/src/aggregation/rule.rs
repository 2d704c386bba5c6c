//! The rules by name: what each needs, and which way it takes.

use serde::{Deserialize, Deserializer, Serialize};

use super::error::RuleError;
use super::gram::Gram;
use super::source::Updates;
use super::{bound, geometric, mean, order, selection};

/// How many updates become one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rule {
    /// The weighted mean. One liar can move it anywhere.
    #[serde(deserialize_with = "nothing_else")]
    Mean,
    /// The median of each coordinate. Holds against a minority.
    #[serde(deserialize_with = "nothing_else")]
    Median,
    /// The mean of each coordinate without its extremes. Holds against `trim` sites.
    TrimmedMean {
        /// Values dropped at each end.
        trim: usize,
    },
    /// The update nearest its neighbours.
    Krum {
        /// Hostile sites expected.
        byzantine: usize,
    },
    /// The plain mean of the updates nearest their neighbours.
    MultiKrum {
        /// Hostile sites expected.
        byzantine: usize,
        /// Updates in the mean.
        keep: usize,
    },
    /// Krum's choices, and of these in each coordinate the mean of the values nearest the median.
    Bulyan {
        /// Hostile sites expected.
        byzantine: usize,
    },
    /// The point with the least sum of distances to the updates. Holds against a minority.
    #[serde(deserialize_with = "nothing_else")]
    GeometricMedian,
    /// The weighted mean of updates that are scaled to at most a length. Holds against few.
    NormBound {
        /// The greatest L2 norm.
        norm: f64,
    },
}

/// What a rule made of the updates.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The aggregate, one value per element.
    pub values: Vec<f32>,
    /// Indices of the updates that count, in ascending order.
    pub used: Vec<usize>,
}

impl Rule {
    /// The name, as in a recipe.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Median => "median",
            Self::TrimmedMean { .. } => "trimmed-mean",
            Self::Krum { .. } => "krum",
            Self::MultiKrum { .. } => "multi-krum",
            Self::Bulyan { .. } => "bulyan",
            Self::GeometricMedian => "geometric-median",
            Self::NormBound { .. } => "norm-bound",
        }
    }

    /// Whether the rule can do with `count` updates what it promises.
    pub fn check(&self, count: usize) -> Result<(), RuleError> {
        let (needed, why) = self.needs();
        if count < needed {
            return Err(RuleError::TooFew { rule: self.name(), needed, found: count, why });
        }
        match *self {
            Self::MultiKrum { byzantine, keep } => {
                // El Mhamdi, Guerraoui, Rouault: "Fast and Robust Distributed Learning in High
                // Dimension", 2020, prove it up to here.
                let most = count - byzantine - 2;
                if (1..=most).contains(&keep) {
                    Ok(())
                } else {
                    Err(RuleError::Keep { keep, most })
                }
            }
            Self::NormBound { norm } if !(norm.is_finite() && norm > 0.0) => {
                Err(RuleError::Norm { norm })
            }
            _ => Ok(()),
        }
    }

    /// The least number of updates, and what fails with fewer.
    fn needs(&self) -> (usize, &'static str) {
        let linear =
            |times: usize, liars: usize, more| liars.saturating_mul(times).saturating_add(more);
        match *self {
            Self::Mean | Self::Median | Self::GeometricMedian | Self::NormBound { .. } => {
                (1, "no updates have no middle")
            }
            Self::TrimmedMean { trim } => (linear(2, trim, 1), "trimming would leave nothing"),
            Self::Krum { byzantine } | Self::MultiKrum { byzantine, .. } => (
                linear(2, byzantine, 3),
                "hostile updates could be each other's nearest neighbours",
            ),
            Self::Bulyan { byzantine } => {
                (linear(4, byzantine, 3), "hostile values could be most of those near the median")
            }
        }
    }

    /// The aggregate of the updates.
    pub fn aggregate(&self, updates: &dyn Updates) -> Result<Outcome, RuleError> {
        let count = updates.count();
        self.check(count)?;
        let shares = match *self {
            Self::Mean => mean::shares(updates)?,
            Self::NormBound { norm } => bound::shares(updates, norm)?,
            Self::GeometricMedian => geometric::shares(&Gram::of(updates)?),
            Self::Krum { byzantine } => {
                equal(count, &selection::multi_krum(&Gram::of(updates)?, byzantine, 1))
            }
            Self::MultiKrum { byzantine, keep } => {
                equal(count, &selection::multi_krum(&Gram::of(updates)?, byzantine, keep))
            }
            Self::Bulyan { byzantine } => {
                let used = selection::bulyan(&Gram::of(updates)?, byzantine);
                let values = order::mean_near_median(updates, &used, count - 4 * byzantine)?;
                return Ok(Outcome { values, used });
            }
            Self::Median => {
                return Ok(Outcome { values: order::median(updates)?, used: (0..count).collect() });
            }
            Self::TrimmedMean { trim } => {
                let values = order::trimmed_mean(updates, trim)?;
                return Ok(Outcome { values, used: (0..count).collect() });
            }
        };
        let used = (0..count).filter(|update| shares[*update] > 0.0).collect();
        Ok(Outcome { values: mean::combine(updates, &shares)?, used })
    }
}

/// Refuses fields beside the name of a rule that has none; by itself serde would let them pass.
fn nothing_else<'de, D: Deserializer<'de>>(fields: D) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    Nothing::deserialize(fields).map(|Nothing {}| ())
}

/// The same share for each chosen update, none for the others.
fn equal(count: usize, chosen: &[usize]) -> Vec<f64> {
    let share = |update| if chosen.contains(&update) { 1.0 / chosen.len() as f64 } else { 0.0 };
    (0..count).map(share).collect()
}
