//! The slow and obvious way: dense matrices in f64.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::super::part::Part;

/// Sites that made up their factors of one module.
#[derive(Clone, Debug)]
pub(super) struct Cohort {
    pub(super) shape: [usize; 2],
    pub(super) sites: Vec<Site>,
}

#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) a: Vec<f32>,
    pub(super) b: Vec<f32>,
    pub(super) rank: usize,
    pub(super) share: f64,
}

impl Cohort {
    /// One site for each of `ranks`, with unequal shares.
    pub(super) fn random(seed: u64, shape: [usize; 2], ranks: &[usize]) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let weights: Vec<f64> = ranks.iter().map(|_| 1.2 + f64::from(unit(&mut rng))).collect();
        let total: f64 = weights.iter().sum();
        let site = |(rank, weight): (&usize, &f64)| Site {
            a: (0..rank * shape[1]).map(|_| unit(&mut rng)).collect(),
            b: (0..rank * shape[0]).map(|_| unit(&mut rng)).collect(),
            rank: *rank,
            share: weight / total,
        };
        Self { shape, sites: ranks.iter().zip(&weights).map(site).collect() }
    }

    pub(super) fn parts(&self) -> Vec<Part<'_>> {
        self.sites
            .iter()
            .map(|s| Part { a: &s.a, b: &s.b, shares: vec![s.share; s.rank] })
            .collect()
    }

    /// `dW*`, row by row.
    pub(super) fn ideal(&self) -> Vec<f64> {
        let mut sum = vec![0.0; self.shape[0] * self.shape[1]];
        for site in &self.sites {
            let product = dense(&site.a, &site.b, site.rank, self.shape[1]);
            sum.iter_mut().zip(product).for_each(|(sum, x)| *sum += site.share * x);
        }
        sum
    }

    /// What `dW*` could be at most. Rounding goes with it.
    pub(super) fn reach(&self) -> f64 {
        let size = |x: &[f32]| norm(&x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
        self.sites.iter().map(|s| s.share * size(&s.a) * size(&s.b)).sum()
    }

    /// The same sites, each drawn towards site 0 until only `apart` of the difference is left.
    pub(super) fn drawn_together(mut self, apart: f32) -> Self {
        let first = self.sites[0].clone();
        for site in &mut self.sites {
            let pairs = site.a.iter_mut().zip(&first.a).chain(site.b.iter_mut().zip(&first.b));
            pairs.for_each(|(x, first)| *x = first + apart * (*x - first));
        }
        self
    }
}

/// Uniform in [-1, 1).
pub(super) fn unit(rng: &mut ChaCha20Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1u32 << 23) as f32 - 1.0
}

/// `B A`, row by row.
pub(super) fn dense(a: &[f32], b: &[f32], rank: usize, input: usize) -> Vec<f64> {
    let mut product = Vec::new();
    for row in b.chunks(rank) {
        for i in 0..input {
            let terms = row.iter().enumerate();
            product.push(terms.map(|(j, b)| f64::from(*b) * f64::from(a[j * input + i])).sum());
        }
    }
    product
}

pub(super) fn norm(matrix: &[f64]) -> f64 {
    matrix.iter().map(|x| x * x).sum::<f64>().sqrt()
}

pub(super) fn distance(one: &[f64], other: &[f64]) -> f64 {
    assert_eq!(one.len(), other.len());
    norm(&one.iter().zip(other).map(|(x, y)| x - y).collect::<Vec<_>>())
}

/// Largest first: the square roots of the eigenvalues of `M M^T` or `M^T M`, by two-sided Jacobi, which
/// shares nothing with the code under test. Good to about 1e-8 of the largest.
pub(super) fn singular_values(matrix: &[f64], columns: usize) -> Vec<f64> {
    let rows = matrix.len() / columns;
    let at = |i: usize, j: usize| matrix[i * columns + j];
    let n = rows.min(columns);
    let mut gram: Vec<Vec<f64>> = (0..n)
        .map(|i| {
            let product = |j: usize| match rows <= columns {
                true => (0..columns).map(|k| at(i, k) * at(j, k)).sum(),
                false => (0..rows).map(|k| at(k, i) * at(k, j)).sum(),
            };
            (0..n).map(product).collect()
        })
        .collect();
    for _ in 0..40 {
        for p in 0..n {
            for q in p + 1..n {
                if gram[p][q] == 0.0 {
                    continue;
                }
                let theta = 0.5 * (2.0 * gram[p][q]).atan2(gram[q][q] - gram[p][p]);
                let (s, c) = theta.sin_cos();
                for row in &mut gram {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
                let (head, tail) = gram.split_at_mut(q);
                for (x, y) in head[p].iter_mut().zip(&mut tail[0]) {
                    (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                }
            }
        }
    }
    let mut values: Vec<f64> = (0..n).map(|i| gram[i][i].max(0.0).sqrt()).collect();
    values.sort_by(|x, y| y.total_cmp(x));
    values
}
