//! A matrix of few columns, and the two loops that everything here is made of.
//!
//! The loops add in a fixed order and fuse nothing, so that every processor finds the same bits: an audit
//! can then ask for equal digests.

use crate::kernel::kernel;

/// Partial sums of one product.
const LANES: usize = 8;

/// A matrix in column-major order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Columns {
    rows: usize,
    data: Vec<f64>,
}

impl Columns {
    pub(crate) fn zeros(rows: usize, count: usize) -> Self {
        Self { rows, data: vec![0.0; rows * count] }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn count(&self) -> usize {
        self.data.len().checked_div(self.rows).unwrap_or(0)
    }

    pub(crate) fn column(&self, index: usize) -> &[f64] {
        &self.data[index * self.rows..(index + 1) * self.rows]
    }

    pub(crate) fn column_mut(&mut self, index: usize) -> &mut [f64] {
        &mut self.data[index * self.rows..(index + 1) * self.rows]
    }

    /// A column, and those before it.
    pub(crate) fn split(&mut self, index: usize) -> (ColumnsBefore<'_>, &mut [f64]) {
        let (before, rest) = self.data.split_at_mut(index * self.rows);
        (ColumnsBefore { rows: self.rows, data: before }, &mut rest[..self.rows])
    }

    /// Two columns, `low < high`.
    pub(crate) fn pair(&mut self, low: usize, high: usize) -> (&mut [f64], &mut [f64]) {
        let (head, tail) = self.data.split_at_mut(high * self.rows);
        (&mut head[low * self.rows..(low + 1) * self.rows], &mut tail[..self.rows])
    }

    /// Adds a column.
    pub(crate) fn push(&mut self, column: impl Iterator<Item = f64>) {
        let end = self.data.len() + self.rows;
        self.data.extend(column.take(self.rows));
        self.data.resize(end, 0.0);
    }
}

/// The columns in front of another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColumnsBefore<'a> {
    rows: usize,
    data: &'a [f64],
}

impl<'a> ColumnsBefore<'a> {
    pub(crate) fn column(&self, index: usize) -> &'a [f64] {
        &self.data[index * self.rows..(index + 1) * self.rows]
    }
}

kernel! {
    /// The inner product.
    pub(crate) fn dot<'a>(x: &'a [f64], y: &'a [f64]) -> f64 {
        let mut sums = [0.0; LANES];
        let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
        for (x, y) in x.iter().zip(y) {
            for lane in 0..LANES {
                sums[lane] += x[lane] * y[lane];
            }
        }
        for ((sum, x), y) in sums.iter_mut().zip(x_rest).zip(y_rest) {
            *sum += x * y;
        }
        let [a, b, c, d, e, f, g, h] = sums;
        ((a + b) + (c + d)) + ((e + f) + (g + h))
    }
}

kernel! {
    /// `y += factor x`.
    pub(crate) fn add_scaled<'a>(factor: f64, x: &'a [f64], y: &'a mut [f64]) -> () {
        for (y, x) in y.iter_mut().zip(x) {
            *y += factor * x;
        }
    }
}

kernel! {
    /// Turns the plane of `x` and `y`.
    pub(crate) fn rotate<'a>(c: f64, s: f64, x: &'a mut [f64], y: &'a mut [f64]) -> () {
        for (x, y) in x.iter_mut().zip(y) {
            (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
        }
    }
}

/// The length of a vector.
pub(crate) fn length(x: &[f64]) -> f64 {
    dot(x, x).sqrt()
}
