//! Rounds that work, and rounds that end cleanly.

use proptest::prelude::*;

use super::*;

#[test]
fn everybody_stays_and_the_sum_is_exact() {
    let mut world = World::new(3, 1000);
    let all = range(3);
    let sum = world.round(&all, &all, &all, &all).unwrap();
    assert_eq!(sum, world.clear_sum(&all));
}

#[test]
fn sites_that_drop_out_at_any_step_leave_the_sum_of_the_rest() {
    let mut world = World::new(7, 20_000);
    // 6 never comes; 5 shares and vanishes; 0 sends its update and vanishes before it answers.
    let advertised = range(6);
    let sum = world.round(&advertised, &advertised, &[0, 1, 2, 3, 4], &[1, 2, 3, 4]);
    // The threshold of 7 sites is 5, so four answers are too few.
    assert_eq!(sum.unwrap_err().code(), "CH1501");
    let mut world = World::new(7, 20_000);
    let sum = world.round(&range(7), &range(7), &[0, 1, 2, 3, 4, 6], &[1, 2, 3, 4, 6]).unwrap();
    assert_eq!(sum, world.clear_sum(&[0, 1, 2, 3, 4, 6]));
}

#[test]
fn one_masked_update_says_nothing_of_the_clear_one() {
    let mut world = World::new(3, 4000);
    let all = range(3);
    let session = world.set_up(&all, &all);
    let (_, masked) = world.masked(&session, 0, &all).unwrap();
    let clear = &world.sites[0].clear;
    assert_eq!(masked.len(), clear.len());
    let same = masked.iter().zip(clear).filter(|(a, b)| a == b).count();
    // One byte in 256 agrees by chance.
    assert!(same < masked.len() / 100, "{same} of {}", masked.len());
}

#[test]
fn a_site_that_comes_back_says_the_same_again() {
    let mut world = World::new(3, 100);
    let all = range(3);
    let session = world.set_up(&all, &all);
    let again = world.set_up(&all, &all);
    assert_eq!(session, again);
    let first = world.masked(&session, 1, &all).unwrap();
    assert_eq!(first, world.masked(&session, 1, &all).unwrap());
}

#[test]
fn more_than_64_sites_use_a_sparse_graph() {
    let mut world = World::new(80, 50);
    let all = range(80);
    let session = Session::open(world.setting.clone(), world.adverts(&all)).unwrap();
    assert!(session.neighbours(0).len() < 79);
    let lost = [3, 40, 41, 77];
    let stay: Vec<usize> = all.iter().copied().filter(|n| !lost.contains(n)).collect();
    let sum = world.round(&all, &all, &stay, &stay).unwrap();
    assert_eq!(sum, world.clear_sum(&stay));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any pattern of drop-outs: the exact sum of those whose update arrived, or a clean refusal.
    #[test]
    fn any_drop_outs_give_the_exact_sum_or_a_clean_end(
        sites in 3usize..9,
        fate in proptest::collection::vec(0u8..8, 9),
        elements in 1usize..300,
    ) {
        let mut world = World::new(sites, elements);
        let left = |least: u8| -> Vec<usize> {
            (0..sites).filter(|n| fate[*n] >= least).collect()
        };
        let (shared, masked, answered) = (left(1), left(2), left(3));
        let needed = world.setting.threshold;
        if shared.len() < needed {
            let adverts = world.adverts(&shared);
            prop_assert_eq!(Session::open(world.setting.clone(), adverts).unwrap_err().code(), "CH1501");
            return Ok(());
        }
        match world.round(&shared, &shared, &masked, &answered) {
            Ok(sum) => {
                prop_assert!(answered.len() >= needed);
                prop_assert_eq!(sum, world.clear_sum(&masked));
            }
            Err(error) => {
                prop_assert!(answered.len() < needed, "{}", error);
                prop_assert_eq!(error.code(), "CH1501");
            }
        }
    }
}

proptest! {
    // A hundred orders.
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// The order of arrival and the number of threads change nothing.
    #[test]
    fn any_order_and_any_threads_give_the_same_sum(
        order in Just(range(5)).prop_shuffle(),
        threads in 1usize..16,
        elements in 8_000usize..40_000,
    ) {
        let mut world = World::new(5, elements);
        let all = range(5);
        let session = world.set_up(&all, &all);
        let updates: Vec<_> = all.iter().map(|n| world.masked(&session, *n, &all).unwrap()).collect();
        let survivors = Survivors::new(
            &session,
            all.clone(),
            order.iter().map(|n| updates[*n].0.clone()).collect(),
        ).unwrap();
        let confirmations: Vec<_> = order
            .iter()
            .map(|n| world.at(*n, |c, j, _| c.confirm(&session, &survivors, j)).unwrap())
            .collect();
        let releases: Vec<_> = order
            .iter()
            .map(|n| {
                world
                    .at(*n, |c, j, r| c.release(&session, &survivors, &confirmations, r, j))
                    .unwrap()
            })
            .collect();
        let mut sum = Accumulator::new(&world.ring, elements).unwrap();
        order.iter().for_each(|n| sum.add(updates[*n].1.as_slice()).unwrap());
        let masks = Revealed::open(&session, &survivors, &releases).unwrap().masks();
        sum.unmask(&masks, threads.try_into().unwrap());
        prop_assert_eq!(sum.finish().unwrap(), world.clear_sum(&all));
    }
}
