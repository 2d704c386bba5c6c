//! The order of a site's examples, as a function of its seed.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

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
    fn every_example_comes_once_before_any_comes_again() {
        let mut shuffle = Shuffle::new(10, 3);
        let mut first = shuffle.take(10);
        first.sort_unstable();
        assert_eq!(first, (0..10).collect::<Vec<_>>());
        assert_eq!(Shuffle::new(10, 3).take(25), Shuffle::new(10, 3).take(25));
    }
}
