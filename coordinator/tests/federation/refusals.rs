//! What does not count, and the code it is refused with.

use std::sync::Arc;

use chancery_proto::wire::{GetChunkRequest, ListRunsRequest, Progress, RevokeSiteRequest};
use chancery_provenance::{Algorithm, SigningKey};

use crate::world::{TestCaller, World, code};

#[test]
fn duplicates_foreigners_and_late_ones_have_their_codes() {
    let mut world = World::new();
    let sites = world.three_sites();
    let stranger = world.joined("stranger");
    let run = world.run(60);
    for site in &sites {
        site.poll(&mut world);
    }
    let task = sites[0].training(&mut world);
    let (update, bytes) = sites[0].update(&task);

    assert_eq!(code(sites[0].submit(&mut world, &update)), "CH3122", "nothing was uploaded");
    let task = sites[0].training(&mut world);
    let mut wrong_lease = sites[0].sworn(&task, &bytes);
    wrong_lease.lease = "another".to_owned();
    assert_eq!(code(sites[0].submit(&mut world, &wrong_lease)), "CH3102");
    let update = sites[0].sworn(&task, &bytes);
    assert_eq!(code(stranger.submit(&mut world, &update)), "CH3101");
    assert_eq!(code(stranger.upload(&mut world, &bytes)), "CH3102");
    let mut wrong_round = update.clone();
    wrong_round.round = 2;
    assert_eq!(code(sites[0].submit(&mut world, &wrong_round)), "CH3105");
    let mut unknown_run = update.clone();
    unknown_run.run = "nowhere".to_owned();
    assert_eq!(code(sites[0].submit(&mut world, &unknown_run)), "CH3107");

    assert!(sites[0].train(&mut world, &task).unwrap().recorded);
    assert!(!sites[0].submit(&mut world, &update).unwrap().recorded, "the same again");
    let another = sites[0].sworn(&task, b"something else");
    assert_eq!(code(sites[0].submit(&mut world, &another)), "CH3104");

    let view = world.work_through(&run, &sites);
    assert_eq!((view.state.as_str(), view.history[0].updates), ("succeeded", 3));
    assert_eq!(view.history[0].refused, 3, "not uploaded, wrong lease, another digest");
    assert_eq!(code(sites[0].submit(&mut world, &update)), "CH3105");
}

#[test]
fn bad_updates_are_refused_and_the_round_goes_on() {
    let mut world = World::new();
    let sites = world.three_sites();
    let run = world.run(60);
    for site in &sites {
        site.poll(&mut world);
    }
    let task = sites[0].training(&mut world);
    let (_, good) = sites[0].update(&task);

    let short = &good[..good.len() - 1];
    sites[0].upload(&mut world, short).unwrap();
    let update = sites[0].sworn(&task, short);
    assert_eq!(code(sites[0].submit(&mut world, &update)), "CH1202");

    let task = sites[0].training(&mut world);
    let mut wild = good.clone();
    wild[0] = 0xff;
    wild[1] = 0x7f;
    sites[0].upload(&mut world, &wild).unwrap();
    let update = sites[0].sworn(&task, &wild);
    assert_eq!(code(sites[0].submit(&mut world, &update)), "CH1203");

    let task = sites[0].training(&mut world);
    sites[0].upload(&mut world, &good).unwrap();
    let mut forged = sites[0].sworn(&task, &good);
    forged.training_statement = sites[1].sworn(&task, &good).training_statement;
    assert_eq!(code(sites[0].submit(&mut world, &forged)), "CH3123");

    let task = sites[0].training(&mut world);
    let mut spaced = sites[0].sworn(&task, &good);
    spaced.training_statement.push('\n');
    assert_eq!(code(sites[0].submit(&mut world, &spaced)), "CH3123");

    let view = world.work_through(&run, &sites);
    assert_eq!((view.state.as_str(), view.history[0].refused), ("succeeded", 4));
}

#[test]
fn figures_that_are_no_numbers_do_not_reach_the_state() {
    let mut world = World::new();
    let sites = world.three_sites();
    let run = world.run(60);
    for site in &sites {
        site.poll(&mut world);
    }
    let task = sites[0].training(&mut world);
    for rate in [f64::NAN, f64::INFINITY] {
        let progress = Progress {
            run: run.clone(),
            round: 1,
            lease: task.lease.clone(),
            tokens_per_second: rate,
            ..Progress::default()
        };
        let mut calls = sites[0].calls(&mut world);
        assert_eq!(code(world.block_on(calls.report_progress(progress))), "CH3109");
    }
    world.restart();
    assert_eq!(world.work_through(&run, &sites).state, "succeeded");
}

#[test]
fn forged_replayed_and_revoked_callers_are_refused() {
    let mut world = World::new();
    let [harbour, hospital, _] = world.three_sites();

    let thief = SigningKey::generate(Algorithm::Ed25519).unwrap();
    let forged = TestCaller { name: harbour.name.clone(), key: Arc::new(thief), nonce: None };
    let mut calls = harbour.calls_as(&mut world, forged);
    assert_eq!(code(world.block_on(calls.next_task(harbour.request()))), "CH3111");

    let borrowed =
        TestCaller { name: harbour.name.clone(), key: Arc::clone(&harbour.key), nonce: None };
    let mut calls = hospital.calls_as(&mut world, borrowed);
    assert_eq!(code(world.block_on(calls.next_task(harbour.request()))), "CH3111", "its TLS key");

    let progress = Progress { run: "r".to_owned(), ..Progress::default() };
    for (nonce, first, second) in [([0; 16], "CH3111", "CH3111"), ([7; 16], "CH3107", "CH3111")] {
        let caller = || TestCaller { nonce: Some(nonce), ..harbour.caller() };
        let mut calls = harbour.calls_as(&mut world, caller());
        assert_eq!(code(world.block_on(calls.report_progress(progress.clone()))), first);
        assert_eq!(code(world.block_on(calls.report_progress(progress.clone()))), second);
    }

    let mut operator = world.operator();
    let revoke = RevokeSiteRequest { site: harbour.name.clone() };
    world.block_on(operator.revoke_site(revoke)).unwrap();
    let mut calls = harbour.calls(&mut world);
    assert_eq!(code(world.block_on(calls.next_task(harbour.request()))), "CH3111");
}

#[test]
fn a_site_is_no_operator_and_reads_no_other_sites_update() {
    let mut world = World::new();
    let sites = world.three_sites();
    world.run(60);
    for site in &sites {
        site.poll(&mut world);
    }
    let task = sites[0].training(&mut world);
    let (update, _) = sites[0].update(&task);
    sites[0].train(&mut world, &task).unwrap();
    let mut blobs = sites[1].blobs(&mut world);
    let request = GetChunkRequest { digest: update.update_digest, offset: 0 };
    assert_eq!(code(world.block_on(blobs.get_chunk(request))), "CH3107");

    let mut operator = sites[0].operator_calls(&mut world);
    assert_eq!(code(world.block_on(operator.list_runs(ListRunsRequest {}))), "CH3113");
}
