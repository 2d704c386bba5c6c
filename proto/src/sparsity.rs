//! Which numbers of an update travel in a round: as many as the plan says, drawn from a seed that all
//! sites share, so that the sum of what they send is the sum over the same places, masked or not.
//!
//! Random-k sparsification without scaling (Konečný et al., "Federated Learning: Strategies for Improving
//! Communication Efficiency", 2016, random mask). The places are drawn without replacement and come in
//! ascending order: selection sampling (Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S).

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// The places of one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    seed: [u8; 32],
    total: usize,
    kept: usize,
}

impl Places {
    /// `kept` of `total` places; more than all are all.
    pub(crate) fn new(seed: [u8; 32], total: usize, kept: usize) -> Self {
        Self { seed, total, kept: kept.min(total) }
    }

    /// The places, ascending.
    pub fn iter(&self) -> PlacesIter {
        let rng = ChaCha20Rng::from_seed(self.seed);
        PlacesIter { rng, next: 0, total: self.total, needed: self.kept }
    }

    /// The values at the places.
    pub fn gather(&self, values: &[f32]) -> Vec<f32> {
        self.iter().filter_map(|place| values.get(place).copied()).collect()
    }

    /// The inverse of [`Places::gather`]; 0 elsewhere.
    pub fn scatter(&self, sent: &[f32]) -> Vec<f32> {
        let mut values = vec![0.0; self.total];
        for (place, value) in self.iter().zip(sent) {
            if let Some(slot) = values.get_mut(place) {
                *slot = *value;
            }
        }
        values
    }
}

/// The places of one round, one after the other.
pub struct PlacesIter {
    rng: ChaCha20Rng,
    next: usize,
    total: usize,
    needed: usize,
}

impl Iterator for PlacesIter {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.needed > 0 {
            // Taken with probability needed / left; once as many are needed as are left, always.
            let (place, left) = (self.next, (self.total - self.next) as u128);
            self.next += 1;
            if u128::from(self.rng.next_u64()) * left < (self.needed as u128) << 64 {
                self.needed -= 1;
                return Some(place);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_places_as_asked_for_and_each_as_often() {
        let mut hits = [0u32; 40];
        for seed in 0..2000u32 {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&seed.to_le_bytes());
            let places: Vec<usize> = Places::new(bytes, 40, 10).iter().collect();
            assert_eq!(places.len(), 10);
            assert!(places.is_sorted_by(|a, b| a < b));
            places.iter().for_each(|place| hits[*place] += 1);
        }
        // 500 expected, standard deviation 19.
        assert!(hits.iter().all(|hits| (400..600).contains(hits)), "{hits:?}");
    }

    #[test]
    fn what_is_gathered_goes_back_to_its_place() {
        let values: Vec<f32> = (1..=100).map(|x| x as f32).collect();
        for kept in [0, 1, 37, 100, 200] {
            let places = Places::new([5; 32], 100, kept);
            let sent = places.gather(&values);
            assert_eq!(sent.len(), kept.min(100));
            let back = places.scatter(&sent);
            assert_eq!(places.gather(&back), sent);
            assert_eq!(back.iter().filter(|x| **x != 0.0).count(), sent.len());
        }
    }
}
