//! All inner products of the updates: what the rules need that compare whole updates.
//!
//! Distances, norms, and distances to any weighted mean of the updates follow from these n x n
//! numbers, so that a rule may iterate without reading the updates again.

use std::array;

use super::error::RuleError;
use super::source::{self, Updates};
use crate::kernel::kernel;

/// Elements of each update that are multiplied at a time, as f64: 1 KiB an update.
const STRIP: usize = 128;
/// Partial sums of one product; a fixed number, so that each processor sums in the same order.
const LANES: usize = 4;
/// Products that share the reading of one operand.
const TILE: usize = 4;

type Strip = [f64; STRIP];
type Sum = [f64; LANES];

/// The inner products of each pair of updates, in f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Gram {
    count: usize,
    /// Row by row, symmetric.
    products: Vec<f64>,
}

impl Gram {
    /// One pass. A product of two f32 is exact in f64, and distances of updates that are nearly
    /// alike need that: they are small differences of large products.
    pub fn of(updates: &dyn Updates) -> Result<Self, RuleError> {
        let count = updates.count();
        // Whole tiles; the rows beyond the last update stay zero.
        let width = count.next_multiple_of(TILE);
        let mut strips = vec![[0.0; STRIP]; width];
        let mut sums = vec![[0.0; LANES]; count * width];
        source::stream(updates, |_, block| {
            let len = block.first().map_or(0, |range| range.len());
            for from in (0..len).step_by(STRIP) {
                let to = len.min(from + STRIP);
                for (strip, update) in strips.iter_mut().zip(block) {
                    widen(&update[from..to], strip);
                }
                add_products(&strips, &mut sums);
            }
        })?;
        // What lies below the diagonal was not summed, or only in part.
        let product = |i: usize, j: usize| total(&sums[i.min(j) * width + i.max(j)]);
        let products = (0..count * count).map(|at| product(at / count, at % count)).collect();
        Ok(Self { count, products })
    }

    /// How many updates.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The inner product of two updates.
    pub fn product(&self, i: usize, j: usize) -> f64 {
        self.products[i * self.count + j]
    }

    /// The squared L2 norm of an update.
    pub fn squared_norm(&self, i: usize) -> f64 {
        self.product(i, i)
    }

    /// The squared L2 distance of two updates; rounding never makes it negative.
    pub fn squared_distance(&self, i: usize, j: usize) -> f64 {
        (self.squared_norm(i) + self.squared_norm(j) - 2.0 * self.product(i, j)).max(0.0)
    }

    /// The products of each update with the sum of `shares[j]` times update `j`.
    pub(crate) fn times(&self, shares: &[f64]) -> Vec<f64> {
        let rows = self.products.chunks_exact(self.count.max(1));
        rows.map(|row| row.iter().zip(shares).map(|(product, share)| product * share).sum())
            .collect()
    }
}

/// The squared L2 norm of each update, in one pass.
pub(crate) fn squared_norms(updates: &dyn Updates) -> Result<Vec<f64>, RuleError> {
    let mut sums = vec![[[0.0; LANES]]; updates.count()];
    let mut strip = [0.0; STRIP];
    source::stream(updates, |_, block| {
        for (sum, update) in sums.iter_mut().zip(block) {
            for part in update.chunks(STRIP) {
                widen(part, &mut strip);
                add_dots(&strip, array::from_ref(&strip), sum);
            }
        }
    })?;
    Ok(sums.iter().map(|[sum]| total(sum)).collect())
}

/// As f64, and zero behind the end.
fn widen(values: &[f32], strip: &mut Strip) {
    let (head, rest) = strip.split_at_mut(values.len());
    for (wide, value) in head.iter_mut().zip(values) {
        *wide = f64::from(*value);
    }
    rest.fill(0.0);
}

kernel! {
    /// Adds the products of each strip with itself and those behind it.
    fn add_products<'a>(strips: &'a [Strip], sums: &'a mut [Sum]) -> () {
        let (tiles, _) = strips.as_chunks::<TILE>();
        for (i, row) in sums.chunks_exact_mut(strips.len()).enumerate() {
            let (row, _) = row.as_chunks_mut::<TILE>();
            for (tile, sums) in tiles.iter().zip(row).skip(i / TILE) {
                add_dots(&strips[i], tile, sums);
            }
        }
    }
}

/// Adds the products of one strip with several. Each takes the same steps wherever it stands in a
/// tile, so that the order of the updates changes no bit.
#[inline(always)]
fn add_dots<const N: usize>(one: &Strip, others: &[Strip; N], sums: &mut [Sum; N]) {
    // A copy, which stays in registers.
    let mut local = *sums;
    let others = others.each_ref().map(|other| other.as_chunks::<LANES>().0);
    for (at, one) in one.as_chunks::<LANES>().0.iter().enumerate() {
        for (sums, other) in local.iter_mut().zip(others) {
            for ((sum, x), y) in sums.iter_mut().zip(one).zip(&other[at]) {
                *sum += x * y;
            }
        }
    }
    *sums = local;
}

fn total([a, b, c, d]: &Sum) -> f64 {
    (a + b) + (c + d)
}
