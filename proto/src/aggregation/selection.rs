//! Rules that choose whole updates by how near their neighbours are.
//!
//! They take no weights: neighbours are counted, and a site must count once whatever it claims. Of
//! updates with equal scores the shorter one is chosen, so that the order of the updates does not
//! matter; only between updates of equal score and norm does the first one win.

use super::gram::Gram;

/// Updates by their squared distances to each other.
struct Neighbours<'a> {
    gram: &'a Gram,
    /// Of each update: the others with their squared distances, nearest first.
    nearest: Vec<Vec<(f64, usize)>>,
}

impl<'a> Neighbours<'a> {
    fn new(gram: &'a Gram) -> Self {
        let of = |i: usize| {
            let others = (0..gram.count()).filter(|j| *j != i);
            let mut others: Vec<_> = others.map(|j| (gram.squared_distance(i, j), j)).collect();
            others.sort_by(|a, b| a.0.total_cmp(&b.0));
            others
        };
        Self { gram, nearest: (0..gram.count()).map(of).collect() }
    }

    /// Krum's score: the sum of the squared distances to the nearest `count` of the candidates.
    fn score(&self, update: usize, candidates: &[bool], count: usize) -> f64 {
        let others = self.nearest[update].iter().filter(|(_, other)| candidates[*other]);
        others.take(count).map(|(distance, _)| distance).sum()
    }

    /// The candidates, best first.
    fn ranking(&self, candidates: &[bool], count: usize) -> Vec<usize> {
        let mut ranking: Vec<_> = (0..candidates.len())
            .filter(|update| candidates[*update])
            .map(|i| (self.score(i, candidates, count), self.gram.squared_norm(i), i))
            .collect();
        ranking.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        ranking.into_iter().map(|(.., update)| update).collect()
    }
}

/// The `keep` updates with the best scores, in ascending order; Krum is the case of one (Blanchard
/// et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017,
/// section 4, and its Multi-Krum). A score counts the `n - byzantine - 2` nearest neighbours.
pub(crate) fn multi_krum(gram: &Gram, byzantine: usize, keep: usize) -> Vec<usize> {
    let neighbours = Neighbours::new(gram);
    let everyone = vec![true; gram.count()];
    let mut ranking = neighbours.ranking(&everyone, reach(gram.count(), byzantine));
    ranking.truncate(keep);
    ranking.sort_unstable();
    ranking
}

/// The `n - 2 * byzantine` updates that Krum chooses one after the other, each time from those that
/// are left, in ascending order (El Mhamdi et al., "The Hidden Vulnerability of Distributed
/// Learning in Byzantium", ICML 2018, the first step of Bulyan).
///
/// The last choices are made among fewer than `2 * byzantine + 3` updates, where Krum promises
/// nothing; Bulyan does not need it there, because its second step bounds each coordinate.
pub(crate) fn bulyan(gram: &Gram, byzantine: usize) -> Vec<usize> {
    let neighbours = Neighbours::new(gram);
    let mut left = vec![true; gram.count()];
    let mut chosen = Vec::new();
    for remaining in (2 * byzantine + 1..=gram.count()).rev() {
        let ranking = neighbours.ranking(&left, reach(remaining, byzantine));
        if let Some(&best) = ranking.first() {
            left[best] = false;
            chosen.push(best);
        }
    }
    chosen.sort_unstable();
    chosen
}

/// Neighbours that a score counts. Never none while there is one, or a lone outlier would be as
/// good as any other.
fn reach(candidates: usize, byzantine: usize) -> usize {
    candidates.saturating_sub(byzantine.saturating_add(2)).max(1)
}
