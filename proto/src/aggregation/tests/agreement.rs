//! Each rule against its definition, and what must not matter: the order of the updates, their
//! blocks.

use proptest::prelude::*;

use super::reference;
use super::*;

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|x| *x as f32).collect()
}

fn assert_near(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() <= tolerance, "{found} {expected}");
    }
}

/// Every rule that `count` updates are enough for, as strict as they allow.
fn strictest(count: usize) -> Vec<Rule> {
    let mut rules = vec![
        Rule::Mean,
        Rule::Median,
        Rule::TrimmedMean { trim: (count - 1) / 2 },
        Rule::GeometricMedian,
        Rule::NormBound { norm: 1.5 },
    ];
    if count >= 3 {
        let byzantine = (count - 3) / 2;
        rules.push(Rule::Krum { byzantine });
        rules.push(Rule::MultiKrum { byzantine, keep: count - byzantine - 2 });
        rules.push(Rule::Bulyan { byzantine: (count - 3) / 4 });
    }
    rules
}

/// Whether the rule treats each coordinate by itself, and so promises the same bits.
fn exact(rule: &Rule) -> bool {
    matches!(rule, Rule::Median | Rule::TrimmedMean { .. } | Rule::Bulyan { .. })
}

fn bits(outcome: &Outcome) -> Vec<u32> {
    outcome.values.iter().map(|x| x.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn median_and_trimmed_mean_are_those_of_a_sort(
        count in 1usize..40, elements in 1usize..200, trim in 0usize..20, seed: u64,
    ) {
        let updates = grid(count, elements, seed);
        let median = aggregate(Rule::Median, &updates);
        prop_assert_eq!(median.values, narrow(&reference::median(&updates)));
        prop_assert_eq!(median.used, (0..count).collect::<Vec<_>>());
        let trim = trim.min((count - 1) / 2);
        let trimmed = aggregate(Rule::TrimmedMean { trim }, &updates);
        prop_assert_eq!(trimmed.values, narrow(&reference::trimmed_mean(&updates, trim)));
    }

    #[test]
    fn mean_and_norm_bound_follow_the_weights(
        weights in prop::collection::vec(0u32..50, 1..30), elements in 1usize..600, norm in 0.1f64..9.0,
        seed: u64,
    ) {
        let mut weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
        weights[0] += 1.0;
        let updates = grid(weights.len(), elements, seed);
        let source = Memory::new(&updates).with_weights(&weights);
        let mean = Rule::Mean.aggregate(&source).unwrap();
        assert_near(&mean.values, &reference::mean(&updates, &weights), 1e-7);
        let counted: Vec<usize> = (0..weights.len()).filter(|i| weights[*i] > 0.0).collect();
        prop_assert_eq!(&mean.used, &counted);
        let bounded = Rule::NormBound { norm }.aggregate(&source).unwrap();
        assert_near(&bounded.values, &reference::norm_bound(&updates, &weights, norm), 1e-7);
        prop_assert_eq!(&bounded.used, &counted);
    }

    #[test]
    fn krum_is_the_least_sum_over_all_subsets(
        count in 3usize..10, byzantine in 0usize..4, keep in 1usize..9, elements in 1usize..150,
        seed: u64,
    ) {
        let byzantine = byzantine.min((count - 3) / 2);
        let updates = grid(count, elements, seed);
        let best = reference::multi_krum(&updates, byzantine, 1);
        let krum = aggregate(Rule::Krum { byzantine }, &updates);
        prop_assert_eq!(&krum.values, &updates[best[0]]);
        prop_assert_eq!(krum.used, best);
        let keep = keep.min(count - byzantine - 2);
        let several = aggregate(Rule::MultiKrum { byzantine, keep }, &updates);
        let best = reference::multi_krum(&updates, byzantine, keep);
        let kept: Matrix = best.iter().map(|i| updates[*i].clone()).collect();
        assert_near(&several.values, &reference::mean(&kept, &vec![1.0; keep]), 1e-7);
        prop_assert_eq!(several.used, best);
    }

    #[test]
    fn bulyan_is_the_mean_nearest_the_median_of_krums_choices(
        count in 3usize..13, byzantine in 0usize..3, elements in 1usize..100, seed: u64,
    ) {
        let byzantine = byzantine.min((count - 3) / 4);
        let updates = grid(count, elements, seed);
        let bulyan = aggregate(Rule::Bulyan { byzantine }, &updates);
        prop_assert_eq!(bulyan.used, reference::bulyan_selection(&updates, byzantine));
        prop_assert_eq!(bulyan.values, narrow(&reference::bulyan(&updates, byzantine)));
    }

    // Far from the updates themselves, as in any real model: there Weiszfeld is quick.
    #[test]
    fn the_geometric_median_is_weiszfelds(
        count in 3usize..20, elements in 8usize..100, shift in -3f32..3.0, seed: u64,
    ) {
        let updates = normal(count, elements, shift, 1.0, seed);
        let found = aggregate(Rule::GeometricMedian, &updates).values;
        assert_near(&found, &reference::geometric_median(&updates), 2e-5);
    }

    /// Also where the point is one of the updates, and steps towards it are slow.
    #[test]
    fn no_point_nearby_has_a_smaller_sum_of_distances(
        count in 1usize..12, elements in 1usize..4, seed: u64,
    ) {
        let updates = grid(count, elements, seed);
        let found = reference::wide(&aggregate(Rule::GeometricMedian, &updates).values);
        let least = reference::sum_of_distances(&updates, &found);
        for nudge in normal(50, elements, 0.0, 0.05, seed) {
            let other: Vec<f64> = found.iter().zip(nudge).map(|(x, d)| x + f64::from(d)).collect();
            prop_assert!(reference::sum_of_distances(&updates, &other) > least - 1e-4);
        }
    }

    #[test]
    fn gram_holds_all_inner_products(count in 1usize..12, elements in 1usize..700, seed: u64) {
        let updates = grid(count, elements, seed);
        let gram = Gram::of(&Memory::new(&updates)).unwrap();
        for (i, a) in updates.iter().enumerate() {
            for (j, b) in updates.iter().enumerate() {
                let products = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y));
                prop_assert_eq!(gram.product(i, j), products.sum::<f64>());
                let squares = a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2));
                prop_assert_eq!(gram.squared_distance(i, j), squares.sum::<f64>());
            }
        }
    }

    #[test]
    fn the_order_of_the_updates_does_not_matter(
        order in (1usize..16).prop_flat_map(|n| Just((0..n).collect::<Vec<_>>()).prop_shuffle()),
        elements in 1usize..300, seed: u64,
    ) {
        let check = |rules: Vec<Rule>, updates: &Matrix| {
            let shuffled: Matrix = order.iter().map(|i| updates[*i].clone()).collect();
            for rule in rules {
                let (one, other) = (aggregate(rule, updates), aggregate(rule, &shuffled));
                let mut used: Vec<usize> = other.used.iter().map(|i| order[*i]).collect();
                used.sort_unstable();
                assert_eq!(used, one.used, "{rule:?}");
                if exact(&rule) {
                    assert_eq!(bits(&other), bits(&one), "{rule:?}");
                } else {
                    assert_near(&other.values, &reference::wide(&one.values), 1e-6);
                }
            }
        };
        check(strictest(order.len()), &normal(order.len(), elements, 0.0, 1.0, seed));
        // Here many values are equal, and zeros have two signs.
        let trim = (order.len() - 1) / 3;
        check(vec![Rule::Median, Rule::TrimmedMean { trim }], &grid(order.len(), elements, seed));
    }

    #[test]
    fn the_size_of_the_blocks_does_not_matter(
        count in 1usize..10, elements in 0usize..500, block in 1usize..300, seed: u64,
    ) {
        let updates = grid(count, elements, seed);
        for rule in strictest(count) {
            let whole = aggregate(rule, &updates);
            let source = Memory::new(&updates).with_block(block);
            prop_assert_eq!(rule.aggregate(&source).unwrap(), whole, "{:?}", rule);
        }
    }
}

#[test]
fn known_answers() {
    let updates = vec![
        vec![1.0, -4.0, 0.5],
        vec![2.0, 0.0, 0.5],
        vec![3.0, 9.0, 0.25],
        vec![100.0, 1.0, 0.5],
        vec![5.0, 2.0, 0.0],
    ];
    assert_eq!(aggregate(Rule::Mean, &updates).values, [22.2, 1.6, 0.35]);
    assert_eq!(aggregate(Rule::Median, &updates).values, [3.0, 1.0, 0.5]);
    let trimmed = aggregate(Rule::TrimmedMean { trim: 1 }, &updates);
    assert_eq!(trimmed.values, [10.0 / 3.0, 1.0, 1.25 / 3.0]);
    assert_eq!(aggregate(Rule::Median, &updates[..4].to_vec()).values, [2.5, 0.5, 0.5]);
    assert_eq!(aggregate(Rule::Krum { byzantine: 1 }, &updates).used, [1]);
}

/// Values of which a careless sum or midpoint would overflow.
#[test]
fn the_largest_values_do_not_overflow() {
    let updates = vec![vec![f32::MAX; 70]; 4];
    for rule in [
        Rule::Mean,
        Rule::Median,
        Rule::TrimmedMean { trim: 1 },
        Rule::Krum { byzantine: 0 },
        Rule::Bulyan { byzantine: 0 },
        Rule::GeometricMedian,
    ] {
        assert_eq!(aggregate(rule, &updates).values, vec![f32::MAX; 70], "{rule:?}");
    }
}

/// Updates one bit apart: their products' rounding is larger than their distance.
#[test]
fn no_distance_is_negative() {
    let mut updates = normal(1, 99, 0.0, 1e3, 5);
    for element in 0..40 {
        let mut next = updates[0].clone();
        next[element] = next[element].next_up();
        updates.push(next);
    }
    let gram = Gram::of(&Memory::new(&updates)).unwrap();
    let raw = |i| gram.squared_norm(0) + gram.squared_norm(i) - 2.0 * gram.product(0, i);
    assert!((1..41).any(|i| raw(i) < 0.0), "without the guard, one would be");
    assert!((1..41).all(|i| gram.squared_distance(0, i) >= 0.0));
    let median = aggregate(Rule::GeometricMedian, &updates).values;
    assert_near(&median, &reference::wide(&updates[0]), 1e-3);
}

#[test]
fn updates_that_are_all_the_same_stay_what_they_are() {
    let updates = vec![vec![0.25f32, -3.0, 0.0]; 12];
    for rule in [Rule::GeometricMedian, Rule::Krum { byzantine: 4 }, Rule::Bulyan { byzantine: 2 }]
    {
        assert_eq!(aggregate(rule, &updates).values, updates[0], "{rule:?}");
    }
    let zeros = vec![vec![0f32; 5]; 7];
    assert_eq!(aggregate(Rule::GeometricMedian, &zeros).values, [0.0; 5]);
    assert_eq!(aggregate(Rule::NormBound { norm: 1.0 }, &zeros).values, [0.0; 5]);
}
