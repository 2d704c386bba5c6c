//! The rules as their papers define them, in f64, one coordinate or one subset at a time, without
//! regard to speed. Nothing here calls what it is compared with.

use super::Matrix;

pub(super) fn column(updates: &Matrix, element: usize) -> Vec<f64> {
    updates.iter().map(|update| f64::from(update[element])).collect()
}

fn columns(updates: &Matrix, rule: impl Fn(Vec<f64>) -> f64) -> Vec<f64> {
    (0..updates[0].len()).map(|element| rule(column(updates, element))).collect()
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

pub(super) fn mean(updates: &Matrix, weights: &[f64]) -> Vec<f64> {
    columns(updates, |values| {
        let sum: f64 = values.iter().zip(weights).map(|(x, w)| x * w).sum();
        sum / weights.iter().sum::<f64>()
    })
}

fn middle(values: Vec<f64>) -> f64 {
    let values = sorted(values);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
}

pub(super) fn median(updates: &Matrix) -> Vec<f64> {
    columns(updates, middle)
}

pub(super) fn trimmed_mean(updates: &Matrix, trim: usize) -> Vec<f64> {
    columns(updates, |values| average(&sorted(values)[trim..updates.len() - trim]))
}

pub(super) fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt()
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
}

/// The least sum of squared distances to any `size` of the others: all subsets are tried.
fn krum_score(updates: &Matrix, from: &[usize], one: usize, size: usize) -> f64 {
    let others: Vec<usize> = from.iter().copied().filter(|other| *other != one).collect();
    let distance = |other: usize| squared_distance(&updates[one], &updates[other]);
    let subsets = (0..1u32 << others.len()).filter(|set| set.count_ones() as usize == size);
    let sum = |set: u32| {
        (0..others.len()).filter(|bit| set >> bit & 1 == 1).map(|bit| distance(others[bit])).sum()
    };
    subsets.map(sum).min_by(f64::total_cmp).unwrap()
}

/// Best first; of equals the shorter, then the first.
fn krum_ranking(updates: &Matrix, from: &[usize], byzantine: usize) -> Vec<usize> {
    let wished = from.len().saturating_sub(byzantine + 2).max(1);
    let size = wished.min(from.len() - 1);
    let zero = vec![0f32; updates[0].len()];
    let mut ranking: Vec<(f64, f64, usize)> = from
        .iter()
        .map(|&i| {
            let norm = squared_distance(&updates[i], &zero);
            (krum_score(updates, from, i, size), norm, i)
        })
        .collect();
    ranking.sort_by(|a, b| a.partial_cmp(b).unwrap());
    ranking.into_iter().map(|(.., i)| i).collect()
}

pub(super) fn multi_krum(updates: &Matrix, byzantine: usize, keep: usize) -> Vec<usize> {
    let everyone: Vec<usize> = (0..updates.len()).collect();
    sorted_indices(krum_ranking(updates, &everyone, byzantine)[..keep].to_vec())
}

pub(super) fn bulyan_selection(updates: &Matrix, byzantine: usize) -> Vec<usize> {
    let mut left: Vec<usize> = (0..updates.len()).collect();
    let mut chosen = Vec::new();
    while chosen.len() < updates.len() - 2 * byzantine {
        let best = krum_ranking(updates, &left, byzantine)[0];
        left.retain(|other| *other != best);
        chosen.push(best);
    }
    sorted_indices(chosen)
}

pub(super) fn bulyan(updates: &Matrix, byzantine: usize) -> Vec<f64> {
    let chosen: Matrix =
        bulyan_selection(updates, byzantine).iter().map(|i| updates[*i].clone()).collect();
    let keep = updates.len() - 4 * byzantine;
    columns(&chosen, |values| {
        let median = middle(values.clone());
        let mut values = values;
        values
            .sort_by(|a, b| (a - median).abs().total_cmp(&(b - median).abs()).then(a.total_cmp(b)));
        average(&values[..keep])
    })
}

fn sorted_indices(mut indices: Vec<usize>) -> Vec<usize> {
    indices.sort_unstable();
    indices
}

/// What the geometric median makes least.
pub(super) fn sum_of_distances(updates: &Matrix, point: &[f64]) -> f64 {
    updates.iter().map(|update| distance(&wide(update), point)).sum()
}

/// Weiszfeld's iteration on the vectors themselves.
pub(super) fn geometric_median(updates: &Matrix) -> Vec<f64> {
    let mut point = mean(updates, &vec![1.0; updates.len()]);
    for _ in 0..200 {
        let weights: Vec<f64> =
            updates.iter().map(|update| 1.0 / distance(&wide(update), &point).max(1e-12)).collect();
        point = mean(updates, &weights);
    }
    point
}

pub(super) fn norm_bound(updates: &Matrix, weights: &[f64], bound: f64) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    let mut result = vec![0.0; updates[0].len()];
    for (update, weight) in updates.iter().zip(weights) {
        let norm = update.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let scale = if norm > bound { bound / norm } else { 1.0 };
        for (sum, x) in result.iter_mut().zip(update) {
            *sum += weight / total * scale * f64::from(*x);
        }
    }
    result
}

pub(super) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}
