//! The geometric median: the point with the least sum of distances to the updates.
//!
//! Smoothed Weiszfeld iterations (Pillutla, Kakade, Harchaoui: "Robust Aggregation for Federated
//! Learning", IEEE TSP 2022, algorithm 2). Each point on the way is a weighted mean of the updates,
//! so that its distances follow from the Gram matrix and only the last one is ever computed.
//!
//! Where we differ: the paper weights by sample counts, we count each site once, because a count is
//! only claimed. It stops after a few steps, each of which costs it a round trip; ours cost n^2
//! multiplications, so that we go on until the point rests. Its smoothing is a length that the user
//! sets; ours follows the updates' own scale.

use super::gram::Gram;

/// The least distance that a share is made of, relative to the updates' scale.
const SMOOTHING: f64 = 1e-6;
/// The same where most updates are alike and there is no scale; its inverse can be summed.
const TINY: f64 = 1e-150;
/// The point rests when a step is shorter than this, relative to the updates' scale.
const REST: f64 = 1e-9;
/// Steps at most.
const STEPS: usize = 1000;

/// Each update's share of the geometric median. They add up to one.
pub(crate) fn shares(gram: &Gram) -> Vec<f64> {
    let scale = scale(gram);
    let floor = (SMOOTHING * scale).max(TINY);
    let mut shares = vec![1.0 / gram.count() as f64; gram.count()];
    for _ in 0..STEPS {
        let next = step(gram, &shares, floor);
        let moved: Vec<f64> = next.iter().zip(&shares).map(|(new, old)| new - old).collect();
        shares = next;
        if inner(&moved, &gram.times(&moved)) <= (REST * scale).powi(2) {
            break;
        }
    }
    shares
}

/// One step: shares inversely proportional to the distances from the point that `shares` stand for.
fn step(gram: &Gram, shares: &[f64], floor: f64) -> Vec<f64> {
    let products = gram.times(shares);
    let squared_norm = inner(shares, &products);
    let inverse: Vec<f64> = (0..gram.count())
        .map(|i| {
            let squared = squared_norm - 2.0 * products[i] + gram.squared_norm(i);
            // Rounding may have made it negative.
            1.0 / squared.max(0.0).sqrt().max(floor)
        })
        .collect();
    let sum: f64 = inverse.iter().sum();
    inverse.into_iter().map(|share| share / sum).collect()
}

/// The radius of the smallest ball around an update that holds more than half of all. A minority
/// can neither blow it up nor shrink it to nothing.
fn scale(gram: &Gram) -> f64 {
    let radius = |i: usize| {
        let mut squared: Vec<f64> =
            (0..gram.count()).map(|j| gram.squared_distance(i, j)).collect();
        squared.sort_by(f64::total_cmp);
        squared[gram.count() / 2].sqrt()
    };
    (0..gram.count()).map(radius).min_by(f64::total_cmp).unwrap_or(0.0)
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}
