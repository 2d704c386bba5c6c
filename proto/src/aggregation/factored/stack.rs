//! The exact sum of low-rank products, cut back to a rank, without the dense matrix.
//!
//! `sum p_i B_i A_i` is one product of two thin stacks, `[p_1 B_1 | ...]` and `[A_1; ...]`, of rank `R = sum
//! r_i` at most. With a QR decomposition of each, its singular values are those of the small core `R_b
//! R_a^T`, and cutting them is the best approximation of the wanted rank (Eckart and Young, 1936). The route
//! is FLoRIST's (arXiv 2506.09199); unlike it, the plan names the rank and the receipt says what the cut
//! cost.

use super::columns::{Columns, add_scaled, length};
use super::part::{Part, Side, stacked};
use super::qr::Qr;
use super::svd::Svd;
use crate::aggregation::error::RuleError;

/// What rounding leaves of a column that is a sum of earlier ones, relative to the number of rows. Singular
/// values below that say nothing.
const NOISE: f64 = 16.0 * f64::EPSILON;

/// The best approximation of a sum, as factors.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cut {
    /// The input factor, `[rank, in]`, row-major.
    pub(crate) a: Vec<f32>,
    /// The output factor, `[out, rank]`, row-major.
    pub(crate) b: Vec<f32>,
    /// Directions that the sum has; the factors are zero in the others.
    pub(crate) kept: usize,
    /// Largest first. What is only rounding is exactly zero.
    pub(crate) singular_values: Vec<f64>,
}

impl Cut {
    /// The sum's squared Frobenius norm.
    pub(crate) fn energy(&self) -> f64 {
        energy(&self.singular_values)
    }

    /// The part of it that was cut.
    pub(crate) fn discarded(&self) -> f64 {
        energy(&self.singular_values[self.kept..])
    }
}

/// Summed from the smallest, so that the tail is not lost in the head.
fn energy(values: &[f64]) -> f64 {
    values.iter().rev().map(|value| value * value).sum()
}

/// The sum of `parts` of a module of shape `[out, in]`, cut to `rank`. The factors are balanced: column `j`
/// of B is as long as row `j` of A, and its largest entry is positive. Columns come in descending order, so
/// that the first few of them are the best approximation of a smaller rank.
pub(crate) fn stack(shape: [usize; 2], parts: &[Part<'_>], rank: usize) -> Result<Cut, RuleError> {
    let [output, input] = shape;
    let b = Qr::of(stacked(Side::B, output, parts));
    let a = Qr::of(stacked(Side::A, input, parts));
    let (core, turned) = core(&b, &a);
    let noise = NOISE * output.max(input) as f64 * reach(&b, &a);
    let Svd { mut left, mut values, mut right } = Svd::of(core).ok_or(RuleError::Decomposition)?;
    if turned {
        std::mem::swap(&mut left, &mut right);
    }
    values.iter_mut().filter(|value| **value <= noise).for_each(|value| *value = 0.0);
    let kept = values.iter().take(rank).take_while(|value| **value > 0.0).count();
    let mut cut = Cut {
        a: vec![0.0; rank * input],
        b: vec![0.0; output * rank],
        kept,
        singular_values: values,
    };
    for j in 0..kept {
        let half = cut.singular_values[j].sqrt();
        let (mut column, mut row) = (b.lift(&left[j]), a.lift(&right[j]));
        let largest =
            column.iter().fold(0.0f64, |most, x| if x.abs() > most.abs() { *x } else { most });
        let half = half.copysign(largest);
        column.iter_mut().chain(&mut row).for_each(|x| *x *= half);
        for (slot, x) in cut.b.iter_mut().skip(j).step_by(rank).zip(&column) {
            *slot = *x as f32;
        }
        for (slot, x) in cut.a[j * input..(j + 1) * input].iter_mut().zip(&row) {
            *slot = *x as f32;
        }
    }
    let finite = cut.a.iter().chain(&cut.b).all(|x| x.is_finite());
    if finite && cut.energy().is_finite() { Ok(cut) } else { Err(RuleError::Range) }
}

/// `R_b R_a^T`, or its transpose if that is the one with more rows than columns.
fn core(b: &Qr, a: &Qr) -> (Columns, bool) {
    let turned = b.size() < a.size();
    let (long, short) = if turned { (a, b) } else { (b, a) };
    let mut core = Columns::zeros(long.size(), short.size());
    for k in 0..long.count() {
        let (column, row) = (long.r(k), short.r(k));
        for (j, x) in row.iter().enumerate().filter(|(_, x)| **x != 0.0) {
            add_scaled(*x, &column, core.column_mut(j));
        }
    }
    (core, turned)
}

/// A bound on the largest singular value of `B A` that does not care how a column of B and its row of A
/// share their size, since they only ever meet each other.
fn reach(b: &Qr, a: &Qr) -> f64 {
    (0..b.count()).map(|k| length(&b.r(k)) * length(&a.r(k))).sum()
}
