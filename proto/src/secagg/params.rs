//! How many sites a round needs, how many must answer, and how dense the graph of pairs is.
//!
//! The graph's parameters are found as in Bell et al. (CCS 2020, section 3.4) and Google's FCP
//! (`graph_parameter_finder.cc`), for a semi-malicious server: 40 bits of security, 20 of correctness.

use super::error::SecaggError;

/// The fewest sites among which one can hide.
pub const MIN_SITES: usize = 3;

/// Up to here every pair of sites shares a mask.
pub const FULL_GRAPH_LIMIT: usize = 64;

const SECURITY_BITS: f64 = 40.0;
const CORRECTNESS_BITS: f64 = 20.0;

/// Keeps a product such as `0.3 * 10` from falling below its integer.
const ROUNDING: f64 = 1e-14;

/// How many of `sites` must answer by default: more than two thirds, so that two disjoint sets of
/// answers cannot exist beside a third of colluding sites (Bonawitz et al., section 6).
pub fn default_threshold(sites: usize) -> usize {
    (sites * 2 / 3 + 1).max(MIN_SITES.min(sites))
}

/// What a graph of pairs must withstand, as shares of all sites.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Sites that collude with the coordinator.
    pub corrupt: f64,
    /// Sites that do not answer.
    pub lost: f64,
    /// Whether the coordinator may also lie about who answered.
    pub lying_server: bool,
}

impl Rates {
    /// What rounds of more than [`FULL_GRAPH_LIMIT`] sites are built for.
    pub const DEFAULT: Self = Self { corrupt: 0.2, lost: 0.1, lying_server: true };
}

/// A graph's density, and how many neighbours must answer for one site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphParams {
    /// Neighbours of every site.
    pub degree: usize,
    /// Neighbours that must answer.
    pub threshold: usize,
}

/// The sparsest graph over `sites` that keeps the promised probabilities.
pub fn find_graph_params(sites: usize, rates: &Rates) -> Result<GraphParams, SecaggError> {
    let load = rates.corrupt + rates.lost * if rates.lying_server { 2.0 } else { 1.0 };
    let rate = 0.0..1.0;
    if !rate.contains(&rates.corrupt) || !rate.contains(&rates.lost) || load > 0.9 {
        return Err(SecaggError::Graph { sites });
    }
    (2..sites.saturating_sub(1))
        .step_by(2)
        .find_map(|degree| {
            threshold_for(sites, degree, rates).map(|threshold| GraphParams { degree, threshold })
        })
        .ok_or(SecaggError::Graph { sites })
}

/// The threshold that is safe and reachable with this degree, if there is one.
fn threshold_for(sites: usize, degree: usize, rates: &Rates) -> Option<usize> {
    let n = sites as f64;
    let corrupt = ((rates.corrupt + ROUNDING) * n).floor() as usize;
    let lost = ((rates.lost + ROUNDING) * n).floor() as usize;
    // The security budget is split between the two ways to fail: the graph of honest survivors falls
    // apart, or some site has too many corrupt neighbours.
    let bits = SECURITY_BITS + 1.0;
    if ln_disconnected(sites, degree, corrupt + lost) >= -bits * std::f64::consts::LN_2 {
        return None;
    }
    let surviving = ((1.0 - rates.lost - ROUNDING) * n).ceil() as usize;
    let most_corrupt = upper_quantile(sites, corrupt, degree, (-bits).exp2() / n);
    let fewest_left = lower_quantile(sites, surviving, degree, (-CORRECTNESS_BITS).exp2() / n);
    let mut below = most_corrupt as f64;
    if rates.lying_server {
        below = ((below + degree as f64 - 1.25) / 2.0).ceil();
    }
    (fewest_left as f64 > below).then_some((below as usize + 1).max(2))
}

/// Logarithm of a bound on the probability that removing `bad` random sites disconnects the graph:
/// two runs of `degree / 2` neighbours on the ring would have to vanish.
fn ln_disconnected(sites: usize, degree: usize, bad: usize) -> f64 {
    if degree > bad {
        return f64::NEG_INFINITY;
    }
    let pairs = (sites as f64).ln() + ((sites - degree - 1) as f64).ln() - std::f64::consts::LN_2;
    pairs + ln_factorial(bad) + ln_factorial(sites - degree)
        - ln_factorial(sites)
        - ln_factorial(bad - degree)
}

/// `ln(n!)`, summed: the sizes are small, and a sum has no approximation to vouch for.
fn ln_factorial(n: usize) -> f64 {
    (2..=n).map(|i| (i as f64).ln()).sum()
}

/// Probabilities of `marked` items among `drawn` of `total`, of which `all_marked` are marked.
fn hypergeometric(total: usize, all_marked: usize, drawn: usize) -> Vec<f64> {
    let ln_choose = |n: usize, k: usize| {
        if k > n {
            f64::NEG_INFINITY
        } else {
            ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
        }
    };
    let all = ln_choose(total, drawn);
    (0..=drawn)
        .map(|k| (ln_choose(all_marked, k) + ln_choose(total - all_marked, drawn - k) - all).exp())
        .collect()
}

/// The least `x` with `P(X > x) <= p`.
fn upper_quantile(total: usize, marked: usize, drawn: usize, p: f64) -> usize {
    let mut tail = 0.0;
    for (x, probability) in hypergeometric(total, marked, drawn).iter().enumerate().rev() {
        tail += probability;
        if tail > p {
            return x;
        }
    }
    0
}

/// The greatest `x` with `P(X < x) <= p`.
fn lower_quantile(total: usize, marked: usize, drawn: usize, p: f64) -> usize {
    let mut tail = 0.0;
    for (x, probability) in hypergeometric(total, marked, drawn).iter().enumerate() {
        tail += probability;
        if tail > p {
            return x;
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_above_two_thirds() {
        for (sites, threshold) in [(3, 3), (4, 3), (5, 4), (6, 5), (12, 9), (17, 12), (64, 43)] {
            assert_eq!(default_threshold(sites), threshold, "{sites} sites");
        }
    }

    /// Values that Google publishes with its finder (`graph_parameter_finder_test.cc`): the degree is
    /// exact there, the threshold an upper bound.
    #[test]
    fn graph_parameters_agree_with_the_published_ones() {
        let cases = [
            (100, 0.45, 0.45, false, 92, 46),
            (1000, 0.45, 0.45, false, 822, 417),
            (10, 0.33, 0.33, false, 8, 4),
            (100, 0.33, 0.33, false, 68, 34),
            (1000, 0.33, 0.33, false, 286, 150),
            (100, 0.3, 0.3, true, 92, 62),
            (1000, 0.3, 0.3, true, 872, 584),
        ];
        for (sites, corrupt, lost, lying_server, degree, threshold) in cases {
            let rates = Rates { corrupt, lost, lying_server };
            let found = find_graph_params(sites, &rates).unwrap();
            assert_eq!(found.degree, degree, "{sites} {rates:?}");
            assert!(found.threshold <= threshold, "{sites} {rates:?} {found:?}");
            assert!(found.threshold + 2 >= threshold, "{sites} {rates:?} {found:?}");
        }
    }

    #[test]
    fn impossible_rates_are_refused() {
        let rates = Rates { corrupt: 0.5, lost: 0.3, lying_server: true };
        assert_eq!(find_graph_params(1000, &rates).unwrap_err().code(), "CH1503");
    }

    #[test]
    fn default_rates_give_a_graph_up_to_a_thousand_sites() {
        for sites in [65, 100, 200, 500, 1024] {
            let found = find_graph_params(sites, &Rates::DEFAULT).unwrap();
            assert!(found.degree <= 254, "{sites}: {found:?}");
            assert!(found.threshold * 2 > found.degree, "{sites}: {found:?}");
        }
    }
}
