//! Norm bounding: no update is longer than a given length.

use super::error::RuleError;
use super::gram;
use super::mean;
use super::source::Updates;

/// Each update's share of the weighted mean, times what scales it to an L2 norm of at most `norm`
/// (Sun et al., "Can You Really Backdoor Federated Learning?", 2019, norm thresholding without its
/// noise). One pass. The bound keeps one site from moving the model far; the weights are still
/// believed.
pub(crate) fn shares(updates: &dyn Updates, norm: f64) -> Result<Vec<f64>, RuleError> {
    let shares = mean::shares(updates)?;
    let squared = gram::squared_norms(updates)?;
    // An update of norm zero divides to infinity and keeps its share.
    let scale = |squared: f64| (norm / squared.sqrt()).min(1.0);
    Ok(shares.into_iter().zip(squared).map(|(share, squared)| share * scale(squared)).collect())
}
