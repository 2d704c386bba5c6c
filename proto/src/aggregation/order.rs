//! Rules that look at each coordinate by itself and go by the order of its values.
//!
//! They take no weights: a weighted median could be bought by claiming many samples. Bit for bit,
//! the result does not depend on the order of the updates.

use std::ops::Range;

use super::error::RuleError;
use super::network::{LANES, Lane, Network};
use super::source::{self, Updates};

/// The median of each coordinate; of an even number, the midpoint of the two in the middle (Yin et
/// al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", ICML 2018,
/// definition 1).
pub(crate) fn median(updates: &dyn Updates) -> Result<Vec<f32>, RuleError> {
    let all: Vec<usize> = (0..updates.count()).collect();
    per_coordinate(updates, &all, middle(all.len()), midpoint)
}

/// The mean of each coordinate without its `trim` smallest and `trim` largest values (Yin et al.
/// 2018, definition 2, with beta = trim / n). Takes more than `2 * trim` updates.
pub(crate) fn trimmed_mean(updates: &dyn Updates, trim: usize) -> Result<Vec<f32>, RuleError> {
    let all: Vec<usize> = (0..updates.count()).collect();
    let kept = trim..all.len() - trim;
    per_coordinate(updates, &all, kept.clone(), |sorted| mean(&sorted[kept.clone()]))
}

/// The mean of the `keep` values nearest the median of the updates in `used`, in each coordinate
/// (El Mhamdi et al., "The Hidden Vulnerability of Distributed Learning in Byzantium", ICML 2018,
/// the second step of Bulyan). Of two values equally near, the smaller one counts.
///
/// In sorted order these values lie side by side. Of the places with the same remainder modulo
/// `keep` they hold exactly one; so each remainder gives its nearest value, and no coordinate
/// branches.
pub(crate) fn mean_near_median(
    updates: &dyn Updates,
    used: &[usize],
    keep: usize,
) -> Result<Vec<f32>, RuleError> {
    let mut nearest = vec![[0.0; LANES]; keep];
    per_coordinate(updates, used, 0..used.len(), |sorted| {
        let median = midpoint(sorted);
        for (remainder, nearest) in nearest.iter_mut().enumerate() {
            *nearest = sorted[remainder];
            for upper in sorted.iter().skip(remainder + keep).step_by(keep) {
                for ((best, value), median) in nearest.iter_mut().zip(upper).zip(&median) {
                    *best = if *median - *best > *value - *median { *value } else { *best };
                }
            }
        }
        mean(&nearest)
    })
}

/// One pass: the updates in `used` are sorted at `LANES` coordinates at once, as far as these ranks
/// need it, and `pick` makes the result of them.
fn per_coordinate(
    updates: &dyn Updates,
    used: &[usize],
    ranks: Range<usize>,
    mut pick: impl FnMut(&[Lane]) -> Lane,
) -> Result<Vec<f32>, RuleError> {
    let network = Network::new(used.len(), ranks);
    let mut rows = vec![[0.0; LANES]; used.len()];
    source::map(updates, |block, values| {
        for (part, out) in values.chunks_mut(LANES).enumerate() {
            let range = part * LANES..part * LANES + out.len();
            // What is left over in the rows of a last, short part is sorted too, and then not read.
            for (row, &update) in rows.iter_mut().zip(used) {
                row[..out.len()].copy_from_slice(&block[update][range.clone()]);
            }
            network.sort(&mut rows);
            out.copy_from_slice(&pick(&rows)[..out.len()]);
        }
    })
}

/// The places of the median.
fn middle(count: usize) -> Range<usize> {
    count.saturating_sub(1) / 2..count / 2 + 1
}

fn midpoint(sorted: &[Lane]) -> Lane {
    let ranks = middle(sorted.len());
    let (low, high) = (&sorted[ranks.start], &sorted[ranks.end - 1]);
    // Adding zero makes -0 a 0: which of the two came to lie in the middle is chance.
    std::array::from_fn(|i| low[i].midpoint(high[i]) + 0.0)
}

fn mean(rows: &[Lane]) -> Lane {
    let mut sums = [0.0; LANES];
    for row in rows {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    sums.map(|sum| (sum / rows.len() as f64) as f32)
}
