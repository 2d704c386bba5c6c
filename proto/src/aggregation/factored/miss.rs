//! What averaging the factors one by one (FedIT) misses.
//!
//! The mean of products is not the product of means. With `b_i = B_i - Bbar` and `a_i = A_i - Abar`,
//!
//! ```text
//! dW* - Bbar Abar = sum p_i b_i a_i
//! ```
//!
//! because the shares sum to 1. The right side never subtracts two large matrices, so the miss keeps its
//! digits when the sites nearly agree, and is zero when they share a factor. Its norm, and that of `dW*`
//! itself, is `sum (G_b)_jk (G_a)_jk` over the Gram matrices of the stacked factors `[b_i | Bbar]` and
//! `[a_i; Abar]`.

use super::columns::{Columns, add_scaled, dot};
use super::part::{Part, Side, stacked};
use crate::sketch::Deviation;

/// Squared Frobenius norms; those of several modules add up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Miss {
    /// Of `dW* - Bbar Abar`.
    pub(crate) missed: f64,
    /// Of `dW*`.
    pub(crate) ideal: f64,
}

impl Miss {
    /// In one module of shape `[out, in]`, whose parts have one rank and shares that sum to 1.
    pub(crate) fn of([output, input]: [usize; 2], parts: &[Part<'_>]) -> Self {
        let shares: Vec<f64> =
            parts.iter().filter_map(|part| part.shares.first().copied()).collect();
        let parts: Vec<Part<'_>> = parts
            .iter()
            .map(|part| Part { shares: vec![1.0; part.shares.len()], ..*part })
            .collect();
        let b = centred(stacked(Side::B, output, &parts), &shares);
        let a = centred(stacked(Side::A, input, &parts), &shares);
        let count = b.count();
        let rank = count / (shares.len() + 1);
        let mut miss = Self::default();
        for j in 0..count {
            for k in 0..=j {
                let twice = if j == k { 1.0 } else { 2.0 };
                let product = twice * dot(b.column(j), b.column(k)) * dot(a.column(j), a.column(k));
                miss.ideal += product;
                // The mean's own columns come last.
                if j < count - rank {
                    miss.missed += product;
                }
            }
        }
        // Rounding may leave a sum of squares just below zero.
        Self { missed: miss.missed.max(0.0), ideal: miss.ideal.max(0.0) }
    }

    /// Of two modules together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { missed: self.missed + other.missed, ideal: self.ideal + other.ideal }
    }

    /// `|dW* - Bbar Abar| / |dW*|`, known exactly; `None` when `dW*` is zero.
    pub(crate) fn deviation(&self) -> Option<Deviation> {
        let relative = (self.missed / self.ideal).sqrt();
        (self.ideal > 0.0).then_some(Deviation { relative, low: relative, high: relative })
    }
}

/// `[sqrt(p_1) v_1 | sqrt(p_2) v_2 | ... | mean]` with `v_i` what site `i` has beyond the mean.
fn centred(mut stack: Columns, shares: &[f64]) -> Columns {
    let rank = stack.count() / shares.len().max(1);
    for j in 0..rank {
        let mut mean = vec![0.0; stack.rows()];
        for (site, share) in shares.iter().enumerate() {
            add_scaled(*share, stack.column(site * rank + j), &mut mean);
        }
        for (site, share) in shares.iter().enumerate() {
            let root = share.sqrt();
            let column = stack.column_mut(site * rank + j);
            column.iter_mut().zip(&mean).for_each(|(x, mean)| *x = root * (*x - mean));
        }
        stack.push(mean.into_iter());
    }
    stack
}
