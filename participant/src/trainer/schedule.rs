//! Learning rate and batches, as pure functions of a job.

use chancery_proto::Training;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// Linear warm-up, then a cosine to `final_fraction` of the peak; `step` counts from 0 over the
/// whole run.
pub(crate) fn learning_rate(training: &Training, step: u64, total: u64) -> f64 {
    let warmup = u64::from(training.warmup);
    if step < warmup {
        return training.learning_rate * (step + 1) as f64 / warmup as f64;
    }
    let span = total.saturating_sub(warmup).max(1) as f64;
    let progress = ((step - warmup) as f64 / span).min(1.0);
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
    training.learning_rate * (training.final_fraction + (1.0 - training.final_fraction) * cosine)
}

/// Hands out examples in a seeded order, each once before any comes again.
pub(crate) struct Shuffle {
    order: Vec<usize>,
    next: usize,
    rng: ChaCha20Rng,
}

impl Shuffle {
    pub(crate) fn new(examples: usize, seed: u64) -> Self {
        let mut shuffle =
            Self { order: (0..examples).collect(), next: 0, rng: ChaCha20Rng::seed_from_u64(seed) };
        shuffle.mix();
        shuffle
    }

    pub(crate) fn take(&mut self, count: usize) -> Vec<usize> {
        (0..count)
            .map(|_| {
                if self.next == self.order.len() {
                    self.mix();
                    self.next = 0;
                }
                self.next += 1;
                self.order[self.next - 1]
            })
            .collect()
    }

    /// Fisher and Yates.
    fn mix(&mut self) {
        for last in (1..self.order.len()).rev() {
            let other = (self.rng.next_u64() % (last as u64 + 1)) as usize;
            self.order.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_warms_up_and_falls_to_its_final_fraction() {
        let mut training =
            chancery_proto::Recipe::from_toml(chancery_proto::SAMPLE).unwrap().training;
        (training.warmup, training.learning_rate, training.final_fraction) = (10, 1.0, 0.1);
        assert!((learning_rate(&training, 0, 100) - 0.1).abs() < 1e-9);
        assert!((learning_rate(&training, 9, 100) - 1.0).abs() < 1e-9);
        assert!((learning_rate(&training, 55, 100) - 0.55).abs() < 1e-9);
        assert!((learning_rate(&training, 100, 100) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn every_example_comes_once_before_any_comes_again() {
        let mut shuffle = Shuffle::new(10, 3);
        let mut first = shuffle.take(10);
        first.sort_unstable();
        assert_eq!(first, (0..10).collect::<Vec<_>>());
        assert_eq!(Shuffle::new(10, 3).take(25), Shuffle::new(10, 3).take(25));
    }
}
