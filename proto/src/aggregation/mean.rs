//! The weighted mean, and every other sum of whole updates.

use super::error::RuleError;
use super::source::{self, Updates};

/// Elements that are summed in f64 before they are rounded: 2 KiB, which stay in the first cache.
const CHUNK: usize = 256;

/// Each update's share of the weighted mean (McMahan et al., "Communication-Efficient Learning of
/// Deep Networks from Decentralized Data", AISTATS 2017, algorithm 1). They add up to one.
pub(crate) fn shares(updates: &dyn Updates) -> Result<Vec<f64>, RuleError> {
    let weights = updates.weights();
    let sum: f64 = weights.iter().sum();
    let why = if weights.len() != updates.count() {
        "are not as many as the updates"
    } else if weights.iter().any(|weight| *weight < 0.0) {
        "hold a negative one"
    } else if !sum.is_finite() {
        "have no finite sum"
    } else if sum == 0.0 {
        "are all zero"
    } else {
        return Ok(weights.iter().map(|weight| weight / sum).collect());
    };
    Err(RuleError::Weights { why })
}

/// One pass: the sum of `shares[i]` times update `i`. An update with share 0 is not looked at.
pub(crate) fn combine(updates: &dyn Updates, shares: &[f64]) -> Result<Vec<f32>, RuleError> {
    source::map(updates, |block, values| {
        for (part, out) in values.chunks_mut(CHUNK).enumerate() {
            let range = part * CHUNK..part * CHUNK + out.len();
            let mut sums = [0.0; CHUNK];
            for (update, share) in block.iter().zip(shares).filter(|(_, share)| **share != 0.0) {
                for (sum, value) in sums.iter_mut().zip(&update[range.clone()]) {
                    *sum += share * f64::from(*value);
                }
            }
            for (value, sum) in out.iter_mut().zip(sums) {
                *value = sum as f32;
            }
        }
    })
}
