//! What each rule survives, and what it does not.

use super::reference;
use super::*;

const ELEMENTS: usize = 200;

/// Sites that learn the same, each a little differently.
fn honest(count: usize) -> Matrix {
    normal(count, ELEMENTS, 1.0, 0.1, 7)
}

/// The honest updates, and so many times the hostile one.
fn joined_by(honest: &Matrix, liars: usize, update: &[f32]) -> Matrix {
    let mut all = honest.clone();
    all.extend(vec![update.to_vec(); liars]);
    all
}

/// Whether each value lies within what honest sites sent.
fn within(values: &[f32], honest: &Matrix) -> bool {
    values.iter().enumerate().all(|(element, value)| {
        let column = reference::column(honest, element);
        let bounds =
            column.iter().fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
        (bounds.0..=bounds.1).contains(&f64::from(*value))
    })
}

/// How far the values are from what honest sites mean, per element.
fn drift(values: &[f32], honest: &Matrix) -> f64 {
    let mean = reference::mean(honest, &vec![1.0; honest.len()]);
    reference::distance(&reference::wide(values), &mean) / (ELEMENTS as f64).sqrt()
}

#[test]
fn the_mean_dies_of_one_outlier() {
    let honest = honest(10);
    let attacked = joined_by(&honest, 1, &[1e6; ELEMENTS]);
    assert!(drift(&aggregate(Rule::Mean, &honest).values, &honest) < 1e-6);
    assert!(drift(&aggregate(Rule::Mean, &attacked).values, &honest) > 1e4);
}

#[test]
fn the_median_survives_a_minority_that_flips_signs_and_dies_of_a_majority() {
    let honest = honest(6);
    let median =
        |liars| aggregate(Rule::Median, &joined_by(&honest, liars, &[-10.0; ELEMENTS])).values;
    assert!(within(&median(5), &honest));
    assert!(drift(&median(7), &honest) > 10.0);
}

#[test]
fn the_trimmed_mean_survives_as_many_as_it_trims() {
    let honest = honest(9);
    let trimmed = |liars| {
        let rule = Rule::TrimmedMean { trim: 2 };
        aggregate(rule, &joined_by(&honest, liars, &[1e6; ELEMENTS])).values
    };
    assert!(within(&trimmed(2), &honest));
    assert!(drift(&trimmed(3), &honest) > 1e4);
}

#[test]
fn krum_survives_noise_and_dies_of_more_colluders_than_it_expects() {
    let honest = honest(7);
    let mut noisy = honest.clone();
    noisy.extend(normal(4, ELEMENTS, 0.0, 50.0, 8));
    let krum = Rule::Krum { byzantine: 4 };
    assert!(aggregate(krum, &noisy).used[0] < 7);
    let several = aggregate(Rule::MultiKrum { byzantine: 4, keep: 5 }, &noisy);
    assert!(several.used.iter().all(|site| *site < 7), "{:?}", several.used);
    assert!(drift(&several.values, &honest) < 0.1);
    // Six that say the same have five neighbours at distance zero.
    let colluding = joined_by(&honest[..5].to_vec(), 6, &[-100.0; ELEMENTS]);
    assert!(aggregate(krum, &colluding).used[0] >= 5);
}

/// Baruch, Baruch, Goldberg: "A Little Is Enough", NeurIPS 2019. Liars who agree on a point inside
/// the honest spread are everybody's nearest neighbours.
#[test]
fn krum_follows_liars_who_ask_for_little() {
    let honest = honest(7);
    let mean = reference::mean(&honest, &[1.0; 7]);
    let little: Vec<f32> = mean.iter().map(|x| *x as f32 + 0.05).collect();
    let attacked = joined_by(&honest, 4, &little);
    let krum = aggregate(Rule::Krum { byzantine: 4 }, &attacked);
    assert!(krum.used[0] >= 7);
    let several = aggregate(Rule::MultiKrum { byzantine: 4, keep: 5 }, &attacked);
    assert!(several.used.ends_with(&[7, 8, 9, 10]), "{:?}", several.used);
    let shift: f64 = krum.values.iter().zip(&mean).map(|(x, m)| f64::from(*x) - m).sum();
    assert!(shift / ELEMENTS as f64 > 0.049, "every element moves the same way");
}

/// El Mhamdi et al. 2018: in many dimensions a large step in one of them is a small distance.
#[test]
fn bulyan_bounds_the_one_coordinate_that_krum_lets_through() {
    let honest = honest(9);
    let mean = reference::mean(&honest, &[1.0; 9]);
    let mut hidden: Vec<f32> = mean.iter().map(|x| *x as f32).collect();
    hidden[3] += 1.0;
    let attacked = joined_by(&honest, 2, &hidden);
    let krum = aggregate(Rule::Krum { byzantine: 2 }, &attacked);
    assert!(krum.used[0] >= 9 && !within(&krum.values, &honest));
    let bulyan = aggregate(Rule::Bulyan { byzantine: 2 }, &attacked);
    assert!(bulyan.used.ends_with(&[9, 10]), "they are chosen: {:?}", bulyan.used);
    assert!(within(&bulyan.values, &honest), "and have no effect");
}

#[test]
fn bulyan_dies_of_a_majority() {
    let honest = honest(4);
    let attacked = joined_by(&honest, 7, &[-100.0; ELEMENTS]);
    assert!(drift(&aggregate(Rule::Bulyan { byzantine: 2 }, &attacked).values, &honest) > 100.0);
}

#[test]
fn the_geometric_median_survives_a_minority_and_dies_of_a_majority() {
    let honest = honest(5);
    for length in [-1e3, 1e6, 1e12, 1e30] {
        let point = |liars| {
            aggregate(Rule::GeometricMedian, &joined_by(&honest, liars, &[length; ELEMENTS])).values
        };
        assert!(drift(&point(4), &honest) < 0.2, "{length}: {}", drift(&point(4), &honest));
        assert!(drift(&point(6), &honest) > 0.9 * f64::from(length.abs()), "{length}");
    }
}

#[test]
fn the_norm_bound_survives_a_boost_and_dies_of_many_small_pushes() {
    let honest = honest(9);
    let length = (ELEMENTS as f64).sqrt();
    let bound = Rule::NormBound { norm: 1.2 * length };
    let boosted = aggregate(bound, &joined_by(&honest, 1, &[-1e6; ELEMENTS]));
    assert!(drift(&boosted.values, &honest) < 0.25, "{}", drift(&boosted.values, &honest));
    // None of them is longer than an honest update, so that nothing is scaled at all.
    let pushed = joined_by(&honest, 9, &[-1.0; ELEMENTS]);
    assert_eq!(aggregate(bound, &pushed).values, aggregate(Rule::Mean, &pushed).values);
    assert!(drift(&aggregate(bound, &pushed).values, &honest) > 0.9);
}

/// A site that claims a million samples moves the mean, and no rule that is to survive liars.
#[test]
fn claimed_samples_buy_no_votes() {
    let attacked = joined_by(&honest(10), 1, &[9.0; ELEMENTS]);
    let mut weights = [1.0; 11];
    weights[10] = 1e6;
    let source = Memory::new(&attacked).with_weights(&weights);
    for rule in [
        Rule::Median,
        Rule::TrimmedMean { trim: 1 },
        Rule::Krum { byzantine: 1 },
        Rule::MultiKrum { byzantine: 1, keep: 8 },
        Rule::Bulyan { byzantine: 1 },
        Rule::GeometricMedian,
    ] {
        assert_eq!(rule.aggregate(&source).unwrap(), aggregate(rule, &attacked), "{rule:?}");
    }
    assert!(Rule::Mean.aggregate(&source).unwrap().values[0] > 8.9);
}
