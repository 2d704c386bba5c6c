//! The singular value decomposition of a small matrix by one-sided Jacobi rotations (Hestenes, J. SIAM 6,
//! 1958): columns are turned in pairs until all are orthogonal; then their lengths are the singular values.

use super::columns::{Columns, dot, length, rotate};

/// Columns count as orthogonal when the cosine between them is below this.
const ORTHOGONAL: f64 = 1e-15;

/// Ten suffice in practice; convergence is quadratic.
const SWEEPS: usize = 60;

/// `matrix = left diag(values) right^T`, largest value first. The singular vectors of a value that is 0 say
/// nothing.
pub(crate) struct Svd {
    pub(crate) left: Vec<Vec<f64>>,
    pub(crate) values: Vec<f64>,
    pub(crate) right: Vec<Vec<f64>>,
}

impl Svd {
    /// Of a matrix with at least as many rows as columns; `None` when it does not converge, as with numbers
    /// that are not finite.
    pub(crate) fn of(mut matrix: Columns) -> Option<Self> {
        let count = matrix.count();
        let mut turns = Columns::zeros(count, count);
        for index in 0..count {
            turns.column_mut(index)[index] = 1.0;
        }
        let settled = (0..SWEEPS).any(|_| {
            let mut turned = false;
            for high in 1..count {
                for low in 0..high {
                    turned |= straighten(&mut matrix, &mut turns, low, high);
                }
            }
            !turned
        });
        let lengths: Vec<f64> = (0..count).map(|index| length(matrix.column(index))).collect();
        if !settled || lengths.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|one, other| lengths[*other].total_cmp(&lengths[*one]));
        let unit = |index: &usize| {
            let value = lengths[*index];
            matrix
                .column(*index)
                .iter()
                .map(|x| if value > 0.0 { x / value } else { 0.0 })
                .collect()
        };
        Some(Self {
            left: order.iter().map(unit).collect(),
            values: order.iter().map(|index| lengths[*index]).collect(),
            right: order.iter().map(|index| turns.column(*index).to_vec()).collect(),
        })
    }
}

/// Makes two columns orthogonal; whether they were not.
fn straighten(matrix: &mut Columns, turns: &mut Columns, low: usize, high: usize) -> bool {
    let (x, y) = matrix.pair(low, high);
    let (xx, yy, xy) = (dot(x, x), dot(y, y), dot(x, y));
    if xy.abs() <= ORTHOGONAL * (xx.sqrt() * yy.sqrt()) {
        return false;
    }
    // The smaller of the two angles that do it.
    let slope = (yy - xx) / (2.0 * xy);
    let t = 1.0_f64.copysign(slope) / (slope.abs() + (1.0 + slope * slope).sqrt());
    let c = 1.0 / (1.0 + t * t).sqrt();
    rotate(c, c * t, x, y);
    let (x, y) = turns.pair(low, high);
    rotate(c, c * t, x, y);
    true
}
