//! A thin QR decomposition whose Q is kept as reflectors: applying it to the few columns that survive
//! costs a fraction of writing it out.
//!
//! Householder reflections are backward stable column by column (Golub and Van Loan, Matrix Computations,
//! 5.2), so sites whose factors differ in size by many orders do not blur each other, as they would in a
//! Gram matrix. A column meets all earlier reflectors while it is in the cache.

use super::columns::{Columns, add_scaled, dot, length};

/// A matrix as Q and R.
pub(crate) struct Qr {
    /// Reflectors from the diagonal down, their heads left out as 1; above them, R without its diagonal.
    packed: Columns,
    /// R's diagonal, and what a reflector counts.
    diagonal: Vec<(f64, f64)>,
}

impl Qr {
    /// Decomposes `matrix` in place.
    pub(crate) fn of(mut matrix: Columns) -> Self {
        let size = matrix.rows().min(matrix.count());
        let mut diagonal: Vec<(f64, f64)> = Vec::with_capacity(size);
        for index in 0..matrix.count() {
            let (before, column) = matrix.split(index);
            for (place, (_, tau)) in diagonal.iter().enumerate().take(index) {
                reflect(&before.column(place)[place..], *tau, &mut column[place..]);
            }
            if index < size {
                diagonal.push(reflector(&mut column[index..]));
            }
        }
        Self { packed: matrix, diagonal }
    }

    /// Column `index` of R, which has as many rows as the shorter side of the matrix.
    pub(crate) fn r(&self, index: usize) -> Vec<f64> {
        let mut column = vec![0.0; self.diagonal.len()];
        let above = index.min(column.len());
        column[..above].copy_from_slice(&self.packed.column(index)[..above]);
        if let Some((slot, (value, _))) = column.get_mut(index).zip(self.diagonal.get(index)) {
            *slot = *value;
        }
        column
    }

    /// Columns of the decomposed matrix.
    pub(crate) fn count(&self) -> usize {
        self.packed.count()
    }

    /// Rows of R.
    pub(crate) fn size(&self) -> usize {
        self.diagonal.len()
    }

    /// `Q core`: coordinates in Q's columns turned into a vector of full length.
    pub(crate) fn lift(&self, core: &[f64]) -> Vec<f64> {
        let mut lifted = vec![0.0; self.packed.rows()];
        lifted.iter_mut().zip(core).for_each(|(slot, x)| *slot = *x);
        for (place, (_, tau)) in self.diagonal.iter().enumerate().rev() {
            reflect(&self.packed.column(place)[place..], *tau, &mut lifted[place..]);
        }
        lifted
    }
}

/// Turns `column` into the reflector that maps it onto its first axis; gives the length there and what the
/// reflector counts.
fn reflector(column: &mut [f64]) -> (f64, f64) {
    let norm = length(column);
    let Some((head, tail)) = column.split_first_mut() else { return (0.0, 0.0) };
    if norm == 0.0 {
        return (0.0, 0.0);
    }
    // Away from the head, so that nothing cancels.
    let target = -norm.copysign(*head);
    let first = *head - target;
    tail.iter_mut().for_each(|x| *x /= first);
    (target, first / -target)
}

/// Applies the reflector `1 - tau v v^T`, whose first entry is 1 whatever stands there.
fn reflect(v: &[f64], tau: f64, x: &mut [f64]) {
    let (Some((_, v)), Some((head, tail))) = (v.split_first(), x.split_first_mut()) else { return };
    let along = tau * (*head + dot(v, tail));
    *head -= along;
    add_scaled(-along, v, tail);
}
