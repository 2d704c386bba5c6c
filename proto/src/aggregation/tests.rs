mod agreement;
mod attacks;
mod optimisers;
mod reference;
mod refusals;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;

/// Updates, one per row.
type Matrix = Vec<Vec<f32>>;

fn matrix(count: usize, elements: usize, mut value: impl FnMut() -> f32) -> Matrix {
    (0..count).map(|_| (0..elements).map(|_| value()).collect()).collect()
}

/// Values on a coarse grid around zero: f64 adds and squares them without rounding, so that two
/// ways to the same number agree to the last bit and ties are ties. Some zeros are negative.
fn grid(count: usize, elements: usize, seed: u64) -> Matrix {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    matrix(count, elements, || {
        let step = (rng.next_u32() % 129) as f32 - 64.0;
        let sign = if rng.next_u32() % 2 == 0 { 1.0 } else { -1.0 };
        sign * step / 64.0
    })
}

/// Normal values (Box and Muller).
fn normal(count: usize, elements: usize, mean: f32, deviation: f32, seed: u64) -> Matrix {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = move || (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0;
    matrix(count, elements, || {
        let (radius, angle) = ((-2.0 * uniform().ln()).sqrt(), std::f64::consts::TAU * uniform());
        mean + deviation * (radius * angle.cos()) as f32
    })
}

fn aggregate(rule: Rule, updates: &Matrix) -> Outcome {
    rule.aggregate(&Memory::new(updates)).unwrap()
}

fn code<T>(result: Result<T, RuleError>) -> &'static str {
    result.err().unwrap().code()
}
