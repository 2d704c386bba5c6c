//! Against dense matrices in f64: the sum is exact, the cut is the best there is, and costs what it says.

mod oracle;

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::super::halves::read_halves;
use super::super::step::ServerState;
use super::miss::Miss;
use super::stack::{Cut, stack};
use super::*;
use crate::plan::tests::plan;
use crate::recipe::{Method, Recipe, SAMPLE};
use crate::secagg::Member;
use crate::{Moment, PrivacyMode};
use oracle::{Cohort, Site, dense, distance, norm, singular_values, unit};

/// One decimal above what f32 factors can hold.
const ROUNDING: f64 = 1e-6;

/// The cut of a cohort's sum and its dense product.
fn cut(cohort: &Cohort, rank: usize) -> (Cut, Vec<f64>) {
    let cut = stack(cohort.shape, &cohort.parts(), rank).unwrap();
    let product = dense(&cut.a, &cut.b, rank, cohort.shape[1]);
    (cut, product)
}

/// Everything that must hold for any cohort and rank.
fn holds(cohort: &Cohort, rank: usize) {
    let ideal = cohort.ideal();
    let size = norm(&ideal);
    // f64 loses digits against what the sites could have added up to, f32 against the result, and the
    // reference half of its digits.
    let slack = 1e-11 * cohort.reach();
    let loose = slack + 1e-7 * size;
    let rounding = slack + ROUNDING * size;
    let (cut, product) = cut(cohort, rank);
    let expected = singular_values(&ideal, cohort.shape[1]);

    assert!(cut.singular_values.is_sorted_by(|x, y| x >= y));
    for (k, wanted) in expected.iter().enumerate() {
        let found = cut.singular_values.get(k).copied().unwrap_or(0.0);
        assert!((found - wanted).abs() <= loose, "value {k}: {found} for {wanted}");
    }
    assert!((cut.energy().sqrt() - size).abs() <= slack);

    let best = norm(expected.get(rank..).unwrap_or(&[]));
    let missed = distance(&product, &ideal);
    assert!((missed - best).abs() <= rounding, "missed {missed}, the best is {best}");
    assert!((cut.discarded().sqrt() - best).abs() <= loose);

    assert_eq!((cut.a.len(), cut.b.len()), (rank * cohort.shape[1], rank * cohort.shape[0]));
    for (j, row) in cut.a.chunks(cohort.shape[1]).enumerate() {
        let column: Vec<f64> = cut.b.iter().skip(j).step_by(rank).map(|x| f64::from(*x)).collect();
        let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
        assert!((norm(&column) - norm(&row)).abs() <= 1e-6 * norm(&row), "{j} is not balanced");
        let value = cut.singular_values.get(j).copied().unwrap_or(0.0);
        assert!((norm(&column) * norm(&row) - value).abs() <= rounding);
        let (low, high) = column.iter().fold((0.0f64, 0.0f64), |(l, h), x| (l.min(*x), h.max(*x)));
        assert!(high >= -low, "the largest entry of column {j} is negative");
    }
}

#[test]
fn the_sum_is_exact_and_the_cut_is_the_best() {
    let cohorts = [
        ([24, 40], vec![4, 4, 4]),
        ([40, 24], vec![1, 8, 3, 2]),
        // More columns than either side, than one side, and exactly as many.
        ([6, 9], vec![4, 5, 7]),
        ([6, 30], vec![4, 5, 7]),
        ([30, 6], vec![4, 5, 7]),
        ([16, 16], vec![8, 8]),
        ([1, 5], vec![2, 1]),
        ([7, 1], vec![3]),
    ];
    for (seed, (shape, ranks)) in cohorts.into_iter().enumerate() {
        let cohort = Cohort::random(seed as u64, shape, &ranks);
        for rank in [1, 2, 8, 16, 100] {
            holds(&cohort, rank);
        }
    }
}

#[test]
fn nothing_is_lost_at_full_rank() {
    let cohort = Cohort::random(1, [60, 50], &[4, 8, 6]);
    let (cut, product) = cut(&cohort, 18);
    assert!(distance(&product, &cohort.ideal()) <= ROUNDING * norm(&cohort.ideal()));
    assert_eq!(cut.discarded(), 0.0);
}

#[test]
fn the_order_of_the_sites_does_not_matter() {
    let cohort = Cohort::random(3, [30, 34], &[4, 2, 6, 3]);
    let (_, product) = cut(&cohort, 5);
    for turn in 1..4 {
        let mut turned = cohort.clone();
        turned.sites.rotate_left(turn);
        turned.sites.swap(0, 2);
        let (_, other) = cut(&turned, 5);
        assert!(distance(&product, &other) <= ROUNDING * norm(&product));
    }
}

#[test]
fn directions_that_are_missing_are_zero() {
    let shape = [48, 40];
    // Every site has the same A: the sum has rank 8 whatever the sites do.
    let mut shared = Cohort::random(5, shape, &[8; 6]);
    let a = shared.sites[0].a.clone();
    shared.sites.iter_mut().for_each(|site| site.a.clone_from(&a));
    holds(&shared, 8);
    let (found, _) = cut(&shared, 20);
    assert_eq!(found.kept, 8);
    assert!(found.singular_values[8..].iter().all(|value| *value == 0.0));
    // A site without a share, one without an update, and one that repeats another.
    let mut holes = Cohort::random(6, shape, &[8; 6]);
    holes.sites[5].share += holes.sites[1].share;
    holes.sites[1].share = 0.0;
    holes.sites[0].b.fill(0.0);
    holes.sites[3].b = holes.sites[2].b.clone();
    holds(&holes, 4);
    holds(&holes, 40);
    // Sites that cancel.
    let mut cancel = Cohort::random(7, [30, 30], &[4, 4]);
    cancel.sites[1] = cancel.sites[0].clone();
    cancel.sites[1].b.iter_mut().for_each(|b| *b = -*b);
    cancel.sites.iter_mut().for_each(|site| site.share = 0.5);
    assert_eq!(cut(&cancel, 4).0.energy(), 0.0);
}

#[test]
fn a_pair_may_share_its_size_in_any_way() {
    let mut cohort = Cohort::random(8, [40, 30], &[3, 3, 3]);
    for (site, size) in cohort.sites.iter_mut().zip([1e12f32, 1.0, 1e-12]) {
        site.b.iter_mut().for_each(|b| *b *= size);
        site.a.iter_mut().for_each(|a| *a /= size);
    }
    holds(&cohort, 4);
    holds(&cohort, 9);
}

#[test]
fn what_is_too_large_is_refused() {
    let mut cohort = Cohort::random(9, [12, 10], &[2, 3]);
    for site in &mut cohort.sites {
        site.b.iter_mut().chain(&mut site.a).for_each(|x| *x *= 1e38);
    }
    assert!(stack(cohort.shape, &cohort.parts(), 3).is_ok());
    cohort.sites[0].share = 1e10;
    assert_eq!(stack(cohort.shape, &cohort.parts(), 3).unwrap_err().code(), "CH3312");
    cohort.sites[0].a[0] = f32::NAN;
    assert_eq!(stack(cohort.shape, &cohort.parts(), 3).unwrap_err().code(), "CH3311");
}

/// The two norms from dense matrices.
fn reference(cohort: &Cohort) -> Miss {
    let ideal = cohort.ideal();
    let mut made = vec![0.0; ideal.len()];
    // Bbar Abar = sum p_i p_k B_i A_k, so that no rounded mean is needed.
    for one in &cohort.sites {
        for other in &cohort.sites {
            let mixed = dense(&other.a, &one.b, one.rank, cohort.shape[1]);
            made.iter_mut().zip(mixed).for_each(|(sum, x)| *sum += one.share * other.share * x);
        }
    }
    Miss { missed: distance(&ideal, &made).powi(2), ideal: norm(&ideal).powi(2) }
}

/// Up to the rounding of sums of squares.
fn misses_what_it_should(cohort: &Cohort) {
    let found = Miss::of(cohort.shape, &cohort.parts());
    let wanted = reference(cohort);
    let slack = 1e-12 * cohort.reach().powi(2);
    assert!((found.ideal - wanted.ideal).abs() <= slack, "{found:?} for {wanted:?}");
    assert!((found.missed - wanted.missed).abs() <= slack, "{found:?} for {wanted:?}");
}

#[test]
fn the_miss_is_that_of_the_dense_matrices() {
    for (seed, apart) in [1.0f32, 0.1, 1e-2, 1e-4].into_iter().enumerate() {
        for sites in [1, 2, 5, 9] {
            let cohort = Cohort::random(seed as u64, [40, 28], &vec![4; sites]);
            misses_what_it_should(&cohort.drawn_together(apart));
        }
    }
}

#[test]
fn sites_that_share_a_factor_miss_nothing() {
    let apart = Cohort::random(21, [32, 48], &[4; 5]);
    let miss = |c: &Cohort| Miss::of(c.shape, &c.parts()).deviation().unwrap().relative;
    assert!(miss(&apart) > 0.1);
    let mut frozen = apart.clone();
    frozen.sites.iter_mut().for_each(|site| site.a.clone_from(&apart.sites[0].a));
    assert!(miss(&frozen) < 1e-14, "{}", miss(&frozen));
    let mut zero = apart;
    zero.sites.iter_mut().for_each(|site| site.b.fill(0.0));
    assert_eq!(Miss::of(zero.shape, &zero.parts()).deviation(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_cohort_holds(
        seed: u64,
        shape in [1usize..14, 1usize..14],
        ranks in prop::collection::vec(1usize..6, 1..6),
        rank in 1usize..16,
        empty in prop::collection::vec(any::<bool>(), 6),
    ) {
        let mut cohort = Cohort::random(seed, shape, &ranks);
        for (site, empty) in cohort.sites.iter_mut().zip(empty) {
            if empty {
                site.b.fill(0.0);
            }
        }
        holds(&cohort, rank);
    }

    #[test]
    fn any_even_cohort_misses_what_it_should(
        seed: u64,
        shape in [1usize..14, 1usize..14],
        rank in 1usize..5,
        sites in 1usize..7,
    ) {
        misses_what_it_should(&Cohort::random(seed, shape, &vec![rank; sites]));
    }
}

/// A round of three sites that train 2, 1 and 2 ranks, with fine quantisation.
fn stacked_plan() -> Plan {
    let mut recipe = Recipe::from_toml(SAMPLE).unwrap();
    recipe.adapter.rank = 2;
    recipe.privacy.mode = PrivacyMode::Trusted;
    recipe.federation.method = Method::Stack;
    (recipe.codec.bits, recipe.codec.clip) = (20, 2.0);
    recipe.check().unwrap();
    let member = |site: u8| Member { pseudonym: format!("s{site}"), identity: [site; 32] };
    let moment = Moment {
        run: "run".to_owned(),
        round: 1,
        base_shape: plan().base_shape,
        adapter_digest: String::new(),
        roster: vec![(member(1), Some(1)), (member(0), None), (member(2), Some(9))],
        samples: 10,
        sketch: None,
    };
    Plan::new(&recipe, moment)
}

#[test]
fn a_round_is_the_mean_of_what_its_sites_do_cut_to_the_rank() {
    let plan = stacked_plan();
    assert_eq!(plan.ranks, [2, 1, 2]);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut server = ServerState::new(plan.adapter.initial(&plan.base_shape, 1).unwrap());
    for (_, shape) in plan.layout() {
        assert_eq!(shape.iter().min(), Some(&2));
    }
    // A round from the start, and one from what it gave.
    for _ in 0..2 {
        let samples = [10u64, 5, 8];
        let mut updates = Vec::new();
        let mut wanted: Vec<Vec<f64>> = Vec::new();
        for (site, samples) in samples.into_iter().enumerate() {
            let before = plan.start(site, &server.adapter);
            let mut after = before.clone();
            for (name, tensor) in before.iter() {
                let data = tensor.data().iter().map(|x| x + unit(&mut rng)).collect();
                after.insert(name, Tensor::new(tensor.shape().to_vec(), data).unwrap());
            }
            let update = plan.update(&before, &after, None, samples, [site as u8; 32]);
            let bytes = update.unwrap().bytes;
            assert_eq!(bytes.len(), plan.ring.packed_len(plan.elements_of(site)));
            updates.push(bytes);
            // What the site says the whole adapter should do: its product, and the ranks it left alone.
            let share = samples as f64 / 23.0;
            let rank = plan.adapter_of(site).rank;
            assert_eq!(plan.adapter_of(site).scaling(), plan.adapter.scaling());
            for (m, [(a, [_, input]), (b, _)]) in
                plan.layout().as_chunks::<2>().0.iter().enumerate()
            {
                let data =
                    |tensors: &Tensors, name: &str| tensors.get(name).unwrap().data().to_vec();
                let mut product = dense(&data(&after, a), &data(&after, b), rank, *input);
                let whole = (data(&server.adapter, a), data(&server.adapter, b));
                let whole = dense(&whole.0, &whole.1, 2, *input);
                let part = dense(&data(&before, a), &data(&before, b), rank, *input);
                for ((x, whole), part) in product.iter_mut().zip(whole).zip(part) {
                    *x = share * (*x + whole - part);
                }
                match wanted.get_mut(m) {
                    Some(sum) => sum.iter_mut().zip(product).for_each(|(x, y)| *x += y),
                    None => wanted.push(product),
                }
            }
        }
        let open = |index: usize| Ok(updates[index].as_slice());
        let stacked = Seen { plan: &plan, sites: &[0, 1, 2], open }.stack(&mut server).unwrap();
        for ((m, [(a, [_, input]), (b, _)]), discarded) in
            plan.layout().as_chunks::<2>().0.iter().enumerate().zip(&stacked.discarded)
        {
            let data = |name: &str| server.adapter.get(name).unwrap().data();
            let made = dense(data(a), data(b), 2, *input);
            let values = singular_values(&wanted[m], *input);
            let best = norm(&values[2..]);
            let missed = distance(&made, &wanted[m]);
            // bfloat16 keeps eight bits of each factor.
            assert!((missed - best).abs() < 4e-3 * norm(&wanted[m]), "{missed} {best}");
            assert_eq!(&discarded.tensor, a);
            let share = (best / norm(&wanted[m])).powi(2);
            assert!((discarded.share - share).abs() < 1e-4, "{discarded:?} {share}");
        }
        assert!(stacked.deviation.unwrap().relative > 0.05);
        assert_eq!(read_halves(&plan, &stacked.halves).unwrap(), server.adapter);
        assert!(read_halves(&plan, &stacked.halves[1..]).is_err());
    }
}

#[test]
fn what_did_not_travel_of_a_sparse_round_has_not_moved() {
    let mut plan = stacked_plan();
    (plan.method, plan.ranks, plan.density) = (Method::Fedit, Vec::new(), 0.3);
    let adapter = plan.adapter.initial(&plan.base_shape, 1).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let (mut updates, mut arrived) = (Vec::new(), Vec::new());
    for site in 0..3u8 {
        let mut after = adapter.clone();
        for (name, tensor) in adapter.iter() {
            let data = tensor.data().iter().map(|x| x + unit(&mut rng)).collect();
            after.insert(name, Tensor::new(tensor.shape().to_vec(), data).unwrap());
        }
        updates.push(plan.update(&adapter, &after, None, 10, [site; 32]).unwrap().bytes);
        // The same with the numbers that waited put back.
        let delta: Vec<f32> = after
            .gather("", &plan.layout())
            .iter()
            .zip(adapter.gather("", &plan.layout()))
            .map(|(new, old)| new - old)
            .collect();
        let sent = plan.expand(&plan.select(&delta)).into_owned();
        let mut now = adapter.gather("", &plan.layout());
        now.iter_mut().zip(&sent).for_each(|(x, sent)| *x += sent);
        let mut there = Tensors::new();
        there.scatter("", &plan.layout(), &now);
        arrived.push(there);
    }
    let server = ServerState::new(adapter);
    let open = |index: usize| Ok(updates[index].as_slice());
    let found = Seen { plan: &plan, sites: &[0, 1, 2], open }.deviation(&server).unwrap().unwrap();
    let mut wanted = Miss::default();
    for [(a, [_, input]), (b, [output, _])] in plan.layout().as_chunks::<2>().0 {
        let data = |site: usize, name: &str| arrived[site].get(name).unwrap().data().to_vec();
        let site = |site| Site { a: data(site, a), b: data(site, b), rank: 2, share: 1.0 / 3.0 };
        let cohort = Cohort { shape: [*output, *input], sites: (0..3).map(site).collect() };
        wanted = wanted.and(reference(&cohort));
    }
    let wanted = wanted.deviation().unwrap().relative;
    assert!((found.relative - wanted).abs() < 1e-4 * wanted, "{found:?} {wanted}");
}

#[test]
fn a_direction_that_nothing_uses_begins_anew() {
    let plan = stacked_plan();
    let mut server = ServerState::new(plan.adapter.initial(&plan.base_shape, 1).unwrap());
    let updates: Vec<Vec<u8>> = (0..3)
        .map(|site| {
            let start = plan.start(site, &server.adapter);
            plan.update(&start, &start, None, 10, [0; 32]).unwrap().bytes
        })
        .collect();
    let open = |index: usize| Ok(updates[index].as_slice());
    let stacked = Seen { plan: &plan, sites: &[0, 1, 2], open }.stack(&mut server).unwrap();
    assert_eq!(stacked.deviation, None);
    for (name, tensor) in server.adapter.iter() {
        assert_eq!(tensor.data().iter().any(|x| *x != 0.0), name.contains("lora_A"), "{name}");
    }
}

#[test]
fn short_updates_are_an_error() {
    let plan = stacked_plan();
    let mut server = ServerState::new(plan.adapter.initial(&plan.base_shape, 1).unwrap());
    let bytes = vec![0u8; 7];
    let open = |_: usize| Ok(bytes.as_slice());
    assert!(Seen { plan: &plan, sites: &[0], open }.stack(&mut server).is_err());
}
