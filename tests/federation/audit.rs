//! A run's sums, computed again by somebody who was not there.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::world::{SITES, World, chancery};

fn replay(folder: &Path, more: &[&str]) -> (bool, String) {
    let output: Output =
        chancery().args(["audit", "replay"]).arg(folder).args(more).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// Exports a run's evidence.
fn export(world: &World, run: &str) -> std::path::PathBuf {
    let (folder, coordinator) = (world.path("audit"), world.path("coordinator"));
    let export = ["audit", "export", run, "--dir", coordinator.to_str().unwrap(), "--out"];
    let output = chancery().args(export).arg(&folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
}

fn first(folder: &Path) -> std::path::PathBuf {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.remove(0)
}

#[test]
fn every_sum_of_a_masked_run_comes_out_again_bit_for_bit() {
    let mut world = World::new();
    let run = world.run(2, 2);
    for site in SITES {
        world.start(site);
    }
    let adapter = world.adapter(&run);
    let (folder, coordinator) = (export(&world, &run), world.path("coordinator"));

    let (key, signed) = (world.path("auditor.key"), world.path("audit.json"));
    let more = ["--key", key.to_str().unwrap(), "--out", signed.to_str().unwrap()];
    let (ok, text) = replay(&folder, &more);
    assert!(ok && text.contains("bit for bit") && text.contains(&adapter), "{text}");
    let bundle = chancery_provenance::Bundle::parse(&fs::read(&signed).unwrap()).unwrap();
    let auditor = chancery_provenance::SigningKey::load(&key).unwrap().public();
    let audit: chancery_provenance::Audit =
        bundle.verify(&auditor).unwrap().predicate_as(chancery_provenance::AUDIT_TYPE).unwrap();
    assert!(audit.reproduced && audit.rounds.len() == 2);

    let directly = chancery()
        .args(["audit", "replay", &run, "--dir", coordinator.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(directly.status.success());

    // One bit of one masked update, of the released seeds, of a receipt.
    let flipped = |kind: &str| {
        let path = first(&folder.join(kind));
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(&path, bad).unwrap();
        let (ok, text) = replay(&folder, &[]);
        fs::write(&path, good).unwrap();
        assert!(!ok, "{text}");
        text
    };
    assert!(flipped("updates").contains("CH1604"));
    assert!(flipped("transcripts").contains("CH6105"));
    flipped("receipts");
    assert!(replay(&folder, &[]).0);
}

#[test]
fn a_stacked_run_of_several_ranks_comes_out_again_bit_for_bit() {
    let mut world = World::new();
    let run = world.stacked_run(2, 2);
    SITES.iter().for_each(|site| world.start(site));
    let adapter = world.adapter(&run);
    assert!(world.show(&run).contains("missed"), "{}", world.show(&run));
    let (ok, text) = replay(&export(&world, &run), &[]);
    assert!(ok && text.contains("bit for bit") && text.contains(&adapter), "{text}");
}

#[test]
fn a_sparse_run_with_feedback_sends_a_quarter_and_keeps_the_rest_at_home() {
    let mut world = World::new();
    let run = world.run_with(2, 2, |recipe| {
        (recipe.codec.density, recipe.codec.feedback) = (0.25, true);
    });
    SITES.iter().for_each(|site| world.start(site));
    let adapter = world.adapter(&run);
    let folder = export(&world, &run);
    let (ok, text) = replay(&folder, &[]);
    assert!(ok && text.contains(&adapter), "{text}");
    // A quarter of 40960 numbers of 16 bits, and the weight.
    let size = fs::metadata(first(&folder.join("updates"))).unwrap().len();
    assert_eq!(size, 2 * (40_960 / 4 + 1));
}
