//! What one site, or the adapter before, adds to a sum of products.

use super::columns::Columns;

/// One of the two sides of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// `B`, which carries the shares.
    B,
    /// `A`.
    A,
}

/// A product `B A`, column `j` of `B` counted `shares[j]` times.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part<'a> {
    /// The input factor, `[rank, in]`, row-major.
    pub(crate) a: &'a [f32],
    /// The output factor, `[out, rank]`, row-major.
    pub(crate) b: &'a [f32],
    /// One for each column of `B`; their number is the rank.
    pub(crate) shares: Vec<f64>,
}

/// The columns of `B`, or of `A^T`, of all parts side by side.
pub(crate) fn stacked(side: Side, rows: usize, parts: &[Part<'_>]) -> Columns {
    let mut stack = Columns::zeros(rows, 0);
    for part in parts {
        let rank = part.shares.len();
        for (j, share) in part.shares.iter().enumerate() {
            match side {
                Side::B => {
                    let column = part.b.iter().skip(j).step_by(rank);
                    stack.push(column.map(|x| share * f64::from(*x)));
                }
                Side::A => stack.push(part.a.iter().skip(j * rows).map(|x| f64::from(*x))),
            }
        }
    }
    stack
}
