//! Trusted runs with robust rules and server optimisers that remember.

use chancery_proto::aggregation::{
    Change, PackedUpdates, Rule, Seen, ServerOptimiser, ServerState,
};
use chancery_proto::wire::RoundView;
use chancery_proto::wire::task::Work;
use chancery_proto::{Method, Plan, PrivacyMode};
use chancery_provenance::Digest;

use crate::world::{Site, World};

/// Lets all sites train once and gives their updates, in the order in which they are summed.
fn train(world: &mut World, sites: &[Site]) -> (Plan, Vec<Vec<u8>>) {
    let tasks: Vec<_> = sites.iter().map(|site| site.training(world)).collect();
    let plan = Plan::from_json(&tasks[0].plan).unwrap();
    let mut updates = Vec::new();
    for (site, task) in sites.iter().zip(&tasks) {
        updates.push((site.place(&plan), site.update(task).1));
        assert!(site.train(world, task).unwrap().recorded);
    }
    updates.sort();
    (plan, updates.into_iter().map(|(_, bytes)| bytes).collect())
}

/// What the rule and the optimiser make of the updates.
fn step(server: &mut ServerState, plan: &Plan, updates: &[Vec<u8>]) -> String {
    let open = |index: usize| Ok(updates[index].as_slice());
    let updates = PackedUpdates::new(plan.ring, plan.elements(), updates.len(), open).unwrap();
    let delta = plan.aggregation.aggregate(&updates).unwrap().values;
    server.step(plan, &delta).unwrap();
    Digest::of(&server.adapter.to_safetensors().unwrap()).to_string()
}

#[test]
fn a_rule_and_an_optimiser_go_through_both_rounds() {
    let mut world = World::new();
    let sites = world.three_sites();
    let adam = ServerOptimiser::FedAdam { rate: 0.1, beta1: 0.9, beta2: 0.99, tau: 1e-3 };
    let run = world.run_with(3, 3, PrivacyMode::Trusted, 60, 60, |recipe| {
        recipe.federation.aggregation = Rule::Median;
        recipe.federation.optimiser = adam;
    });
    for site in &sites {
        site.poll(&mut world);
    }
    let mut server: Option<ServerState> = None;
    let mut expected = Vec::new();
    for _ in 0..2 {
        let (plan, updates) = train(&mut world, &sites);
        assert_eq!((plan.aggregation, plan.optimiser), (Rule::Median, adam));
        let server = server.get_or_insert_with(|| {
            ServerState::new(plan.adapter.initial(&plan.base_shape, 1).unwrap())
        });
        let before = server.adapter.clone();
        expected.push(step(server, &plan, &updates));
        // What the optimiser remembers is on disk.
        world.restart();
        for site in &sites {
            let Some(work) = (0..20).find_map(|_| site.poll(&mut world)) else { panic!() };
            let Work::Evaluate(task) = work else { panic!("{work:?}") };
            // A median does not follow from the sum, but a byte a number leads to it.
            let bytes = site.download(&mut world, &task.change_digest);
            let mut adapter = before.clone();
            Change::parse(&plan, &bytes).unwrap().apply(&plan, &mut adapter);
            let digest = Digest::of(&adapter.to_safetensors().unwrap()).to_string();
            assert_eq!(digest, task.adapter_digest);
            site.evaluate(&mut world, &task).unwrap();
        }
    }
    let view = world.work_through(&run, &sites);
    let found: Vec<_> = view.history.iter().map(|round| round.adapter_digest.clone()).collect();
    assert_eq!((view.state.as_str(), found), ("succeeded", expected));
}

#[test]
fn one_poisoned_update_moves_the_mean_and_not_the_median() {
    let norm_after = |rule: Rule| {
        let mut world = World::new();
        let mut sites = world.three_sites();
        // The same weight for all, and one site that sends the largest values there are.
        sites.iter_mut().for_each(|site| site.samples = 50);
        world.run_with(3, 3, PrivacyMode::Trusted, 60, 60, |recipe| {
            recipe.federation.aggregation = rule;
            // Ten times what an honest site sends: the poison's share cannot hide among theirs.
            recipe.codec.clip = 1.0;
        });
        for site in &sites {
            site.poll(&mut world);
        }
        let tasks: Vec<_> = sites.iter().map(|site| site.training(&mut world)).collect();
        for (index, (site, task)) in sites.iter().zip(&tasks).enumerate() {
            if index < 2 {
                site.train(&mut world, task).unwrap();
                continue;
            }
            let plan = Plan::from_json(&task.plan).unwrap();
            let delta = vec![1e9; plan.elements()];
            let bytes = plan.ring.encode(&delta, 50, [1; 32]).unwrap().bytes;
            site.upload(&mut world, &bytes).unwrap();
            let update = site.sworn(task, &bytes);
            site.submit(&mut world, &update).unwrap();
        }
        let work = (0..20).find_map(|_| sites[0].poll(&mut world)).unwrap();
        let Work::Evaluate(task) = work else { panic!("{work:?}") };
        let bytes = sites[0].download(&mut world, &task.adapter_digest);
        let adapter = chancery_proto::Tensors::from_safetensors(&bytes).unwrap();
        let trained = adapter.iter().filter(|(name, _)| name.contains("lora_B"));
        trained.flat_map(|(_, tensor)| tensor.data()).map(|x| f64::from(x * x)).sum::<f64>().sqrt()
    };
    let (mean, median) = (norm_after(Rule::Mean), norm_after(Rule::Median));
    assert!(mean > 2.0 * median, "{mean} {median}");
}

/// What the coordinator made of a trusted round of `method`, and what that should have been.
fn trusted(method: Method, max_rank: u32) -> (Plan, RoundView, ServerState, Vec<Vec<u8>>) {
    let mut world = World::new();
    let mut sites = world.three_sites();
    sites[1].max_rank = max_rank;
    let run = world.run_with(3, 3, PrivacyMode::Trusted, 60, 60, |recipe| {
        recipe.federation.method = method;
        recipe.federation.rounds = 1;
    });
    for site in &sites {
        site.poll(&mut world);
    }
    let (plan, updates) = train(&mut world, &sites);
    let server = ServerState::new(plan.adapter.initial(&plan.base_shape, 1).unwrap());
    let view = world.work_through(&run, &sites);
    assert_eq!(view.state, "succeeded", "{view:?}");
    (plan, view.history[0].clone(), server, updates)
}

#[test]
fn stacked_factors_of_several_ranks_are_summed_and_what_is_cut_is_said() {
    let (plan, view, mut server, updates) = trusted(Method::Stack, 1);
    let ranks: std::collections::BTreeSet<u32> = plan.ranks.iter().copied().collect();
    assert_eq!(ranks.into_iter().collect::<Vec<_>>(), [1, plan.adapter.rank as u32]);
    let open = |index: usize| Ok(updates[index].as_slice());
    let stacked = Seen { plan: &plan, sites: &[0, 1, 2], open }.stack(&mut server).unwrap();
    let digest = Digest::of(&server.adapter.to_safetensors().unwrap()).to_string();
    assert_eq!(view.adapter_digest, digest);
    assert_eq!(view.missed, stacked.deviation.map(|found| found.relative));
    assert!(view.missed.unwrap() > 0.0);
}

#[test]
fn what_fedit_misses_is_computed_where_the_factors_are_seen() {
    let (plan, view, server, updates) = trusted(Method::Fedit, 0);
    assert_eq!(plan.sketch, None);
    let open = |index: usize| Ok(updates[index].as_slice());
    let found = Seen { plan: &plan, sites: &[0, 1, 2], open }.deviation(&server).unwrap().unwrap();
    assert!(found.relative > 0.0);
    assert_eq!(view.missed, Some(found.relative));
    assert_eq!((view.missed_low, view.missed_high), (found.relative, found.relative));
}

#[test]
fn an_update_of_more_ranks_than_the_plan_gives_is_refused() {
    let mut world = World::new();
    let mut sites = world.three_sites();
    sites[0].max_rank = 1;
    world.run_with(3, 3, PrivacyMode::Trusted, 60, 60, |recipe| {
        recipe.federation.method = Method::Stack;
    });
    for site in &sites {
        site.poll(&mut world);
    }
    let task = sites[0].training(&mut world);
    let plan = Plan::from_json(&task.plan).unwrap();
    let delta = vec![0.0; plan.elements()];
    let bytes = plan.ring.encode(&delta, 50, [1; 32]).unwrap().bytes;
    sites[0].upload(&mut world, &bytes).unwrap_err();
    let delta = vec![0.0; plan.elements_of(sites[0].place(&plan)) - 1];
    let bytes = plan.ring.encode(&delta, 50, [1; 32]).unwrap().bytes;
    sites[0].upload(&mut world, &bytes).unwrap();
    let update = sites[0].sworn(&task, &bytes);
    let refused = sites[0].submit(&mut world, &update).unwrap_err();
    assert!(refused.message().contains("CH1202"), "{refused:?}");
}
