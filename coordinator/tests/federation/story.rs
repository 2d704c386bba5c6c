//! Runs that go well, and runs that go well in spite of something.

use chancery_proto::Plan;
use chancery_proto::wire::task::Work;
use chancery_proto::wire::{Progress, RunRequest, StatRequest};
use chancery_provenance::{Algorithm, Digest, SigningKey};

use crate::world::{World, code};

#[test]
fn three_sites_finish_two_rounds() {
    let view = World::undisturbed();
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!(view.history.len(), 2);
    for round in &view.history {
        assert_eq!((round.updates, round.lost, round.refused), (3, 0, 0));
        assert_eq!((round.scores.len(), round.accuracy), (3, 0.75));
        assert!(round.bytes_up > 0);
    }
    assert_eq!(view.adapter_digest, view.history[1].adapter_digest);
    let base = |round: usize| view.history[round].scores[0].base.is_some();
    assert!(base(0) && !base(1));
}

#[test]
fn killed_before_every_call_it_comes_to_the_same_adapter() {
    let expected = World::undisturbed().adapter_digest;
    let mut world = World::new();
    let sites = world.three_sites();
    let run = world.run(60);
    world.restless = true;
    let view = world.work_through(&run, &sites);
    assert_eq!(
        (view.state.as_str(), view.adapter_digest.as_str()),
        ("succeeded", expected.as_str())
    );
    assert!(world.restarts > 30, "{}", world.restarts);
}

#[test]
fn a_silent_site_is_given_up_and_joins_the_next_round() {
    let mut world = World::new();
    let sites = world.three_sites();
    let run = world.run(2);
    for site in &sites {
        site.poll(&mut world);
    }
    let [works, harbour, hospital] = [&sites[2], &sites[0], &sites[1]];
    works.training(&mut world);
    for site in [harbour, hospital] {
        let task = site.training(&mut world);
        site.train(&mut world, &task).unwrap();
    }
    while world.view(&run).history[0].state == "training" {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let view = world.work_through(&run, &sites);
    assert_eq!(view.state, "succeeded", "{view:?}");
    assert_eq!((view.history[0].updates, view.history[0].lost), (2, 1));
    assert_eq!(view.history[1].updates, 3);
}

#[test]
fn a_lost_site_comes_back_while_the_round_is_open() {
    let mut world = World::new();
    let sites = world.three_sites();
    let run = world.run(1);
    for site in &sites {
        site.poll(&mut world);
    }
    let old = sites[2].training(&mut world);
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(code(sites[2].train(&mut world, &old)), "CH3102");
    let new = sites[2].training(&mut world);
    assert_ne!(old.lease, new.lease);
    assert!(sites[2].train(&mut world, &new).unwrap().recorded);
    assert_eq!(world.work_through(&run, &sites).state, "succeeded");
}

#[test]
fn bytes_that_move_keep_a_lease() {
    let mut world = World::new();
    let sites = world.three_sites();
    world.run(2);
    for site in &sites {
        site.poll(&mut world);
    }
    let task = sites[0].training(&mut world);
    let (update, bytes) = sites[0].update(&task);
    for part in bytes.chunks(bytes.len().div_ceil(4)).enumerate() {
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let (index, chunk) = part;
        let request = chancery_proto::wire::PutChunkRequest {
            digest: update.update_digest.clone(),
            size: bytes.len() as u64,
            offset: (index * bytes.len().div_ceil(4)) as u64,
            data: chunk.to_vec(),
        };
        let mut blobs = sites[0].blobs(&mut world);
        world.block_on(blobs.put_chunk(request)).unwrap();
    }
    assert!(sites[0].submit(&mut world, &update).unwrap().recorded);
}

#[test]
fn an_upload_goes_on_after_a_crash() {
    let mut world = World::new();
    let sites = world.three_sites();
    world.run(60);
    for site in &sites {
        site.poll(&mut world);
    }
    let task = sites[0].training(&mut world);
    let (update, bytes) = sites[0].update(&task);
    let mut blobs = sites[0].blobs(&mut world);
    let request = chancery_proto::wire::PutChunkRequest {
        digest: update.update_digest.clone(),
        size: bytes.len() as u64,
        offset: 0,
        data: bytes[..100].to_vec(),
    };
    world.block_on(blobs.put_chunk(request)).unwrap();
    world.restart();
    let mut blobs = sites[0].blobs(&mut world);
    let stat = StatRequest { digest: Digest::of(&bytes).to_string() };
    let stat = world.block_on(blobs.stat(stat)).unwrap().into_inner();
    assert_eq!((stat.complete, stat.stored), (false, 100));
    sites[0].upload(&mut world, &bytes).unwrap();
    assert!(sites[0].submit(&mut world, &update).unwrap().recorded);
}

#[test]
fn an_operator_stops_a_run_and_the_sites_are_told() {
    let mut world = World::new();
    let sites = world.three_sites();
    let run = world.run(60);
    for site in &sites {
        site.poll(&mut world);
    }
    let task = sites[0].training(&mut world);
    let mut operator = world.operator();
    world.block_on(operator.stop_run(RunRequest { run: run.clone() })).unwrap();
    assert_eq!(world.view(&run).state, "stopped");
    let progress = Progress {
        run,
        round: Plan::from_json(&task.plan).unwrap().round,
        lease: task.lease,
        ..Progress::default()
    };
    let mut calls = sites[0].calls(&mut world);
    assert!(world.block_on(calls.report_progress(progress)).unwrap().into_inner().cancelled);
    let Some(Work::Finished(finished)) = sites[0].poll(&mut world) else { panic!("not told") };
    assert_eq!(finished.outcome, "stopped");
}

#[test]
fn whoever_waits_for_work_does_not_hold_up_the_end() {
    let mut world = World::new();
    let site = world.joined("harbour");
    let mut calls = site.calls(&mut world);
    let request = site.request();
    let waiting = world.spawn(async move { calls.next_task(request).await.map(|_| ()) });
    let begun = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(6));
    });
    world.stop();
    assert!(!begun.is_finished(), "it took longer than six seconds");
    drop(waiting);
}

#[test]
fn a_token_is_for_one_site_which_may_ask_twice() {
    let mut world = World::new();
    let token = world.token("harbour");
    let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
    let same = SigningKey::from_pkcs8(key.pkcs8_der()).unwrap();
    let first = world.enrol(&token, key).unwrap();
    let second = world.enrol(&token, same).unwrap();
    assert_eq!(first.certificate, second.certificate);
    let other = SigningKey::generate(Algorithm::Ed25519).unwrap();
    assert_eq!(code(world.enrol(&token, other).map(|site| site.name)), "CH3110");
}
