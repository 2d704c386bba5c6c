//! A sorting network: the same compare-exchanges whatever the values, hence on many coordinates at
//! once.
//!
//! Batcher's odd-even merge exchange (AFIPS 1968; Knuth, The Art of Computer Programming 3, 5.2.2,
//! algorithm M) takes any number of values, not only powers of two, and O(n log^2 n) exchanges.

use std::ops::Range;

use crate::kernel::kernel;

/// Coordinates that are sorted side by side: 256 bytes of each update.
pub(crate) const LANES: usize = 64;

/// One update's values at `LANES` coordinates.
pub(crate) type Lane = [f32; LANES];

/// Compare-exchanges, in order; afterwards the smaller value is in the first place.
#[derive(Debug)]
pub(crate) struct Network(Vec<(usize, usize)>);

impl Network {
    /// Brings the values of these ranks out of `count` to their places. What only matters to other
    /// ranks is left out, so that a median is cheaper than a sort.
    pub(crate) fn new(count: usize, ranks: Range<usize>) -> Self {
        let mut wanted: Vec<bool> = (0..count).map(|place| ranks.contains(&place)).collect();
        let mut kept: Vec<_> = merge_exchange(count)
            .into_iter()
            .rev()
            .filter(|&(low, high)| {
                let matters = wanted[low] || wanted[high];
                (wanted[low], wanted[high]) = (wanted[low] || matters, wanted[high] || matters);
                matters
            })
            .collect();
        kept.reverse();
        Self(kept)
    }

    /// Sorts each coordinate by itself.
    pub(crate) fn sort(&self, rows: &mut [Lane]) {
        exchange_all(&self.0, rows);
    }
}

kernel! {
    fn exchange_all<'a>(exchanges: &'a [(usize, usize)], rows: &'a mut [Lane]) -> () {
        for &(low, high) in exchanges {
            let (head, tail) = rows.split_at_mut(high);
            exchange(&mut head[low], &mut tail[0]);
        }
    }
}

/// Branchless, a vector at a time. Not `if a < b`: where masked stores exist LLVM makes one of it,
/// which takes thrice as long on some processors.
#[inline(always)]
fn exchange(low: &mut Lane, high: &mut Lane) {
    for (a, b) in low.iter_mut().zip(high) {
        (*a, *b) = (a.min(*b), a.max(*b));
    }
}

fn merge_exchange(count: usize) -> Vec<(usize, usize)> {
    let mut exchanges = Vec::new();
    let top = count.next_power_of_two() / 2;
    let mut p = top;
    while p > 0 {
        let (mut q, mut r, mut d) = (top, 0, p);
        loop {
            let places = 0..count.saturating_sub(d);
            exchanges.extend(places.filter(|i| i & p == r).map(|i| (i, i + d)));
            if q == p {
                break;
            }
            (d, q, r) = (q - p, q / 2, p);
        }
        p /= 2;
    }
    exchanges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network that sorts every sequence of zeros and ones sorts everything (Knuth 5.3.4, theorem
    /// Z).
    #[test]
    fn sorts_all_zeros_and_ones() {
        for count in 1..=13 {
            for (first, last) in [(0, count), ((count - 1) / 2, count / 2 + 1), (count - 1, count)]
            {
                let network = Network::new(count, first..last);
                for word in 0..1usize << count {
                    let value = |place: usize| (word >> place & 1) as f32;
                    let mut rows: Vec<Lane> = (0..count).map(|i| [value(i); LANES]).collect();
                    network.sort(&mut rows);
                    let zeros = count - word.count_ones() as usize;
                    let expected: Vec<Lane> =
                        (0..count).map(|rank| [f32::from(rank >= zeros); LANES]).collect();
                    assert_eq!(rows[first..last], expected[first..last], "{count} {word:b}");
                }
            }
        }
    }

    #[test]
    fn a_median_takes_fewer_exchanges() {
        assert_eq!(Network::new(16, 0..16).0.len(), 63, "Batcher's count");
        assert!(Network::new(16, 7..9).0.len() < 60);
    }
}
