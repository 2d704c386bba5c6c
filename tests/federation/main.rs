//! Whole federations: real processes, real training, and the accidents that happen to them.

mod audit;
mod leak;
mod world;

use world::{SITES, World, chancery};

#[test]
fn a_site_that_dies_is_lost_and_takes_part_again_when_it_returns() {
    let mut world = World::new();
    let run = world.trusted_run(3, 8);
    for site in SITES {
        world.start(site);
    }
    world.until(&run, |text| text.contains("  running  "));
    world.kill("legal");
    let text = world.until(&run, |text| text.contains("round  1/3"));
    let first = world.until(&run, |text| text.contains("round  2/3"));
    assert!(first.contains("2 updates  1 lost"), "{text}{first}");
    world.start("legal");
    world.adapter(&run);
    let text = world.show(&run);
    assert!(text.lines().last().unwrap().contains("3 updates"), "{text}");
}

#[test]
fn a_site_that_dies_in_a_masked_round_returns_and_the_round_goes_on() {
    let mut world = World::new();
    let run = world.run(2, 8);
    for site in SITES {
        world.start(site);
    }
    world.until(&run, |text| text.contains("  running  "));
    world.kill("legal");
    std::thread::sleep(std::time::Duration::from_secs(2));
    world.start("legal");
    world.adapter(&run);
    let text = world.show(&run);
    assert_eq!(text.matches("3 updates").count(), 2, "{text}");
    let log = std::fs::read_to_string(world.path("legal/log")).unwrap();
    assert!(log.contains("receipts: 2 rounds, this site's update is in 2 of the sums"), "{log}");
}

#[test]
fn a_killed_coordinator_goes_on_and_comes_to_the_same_adapter() {
    let adapter = |accidents: bool| {
        let mut world = World::new();
        let run = world.run(2, 6);
        for site in SITES {
            world.start(site);
        }
        if accidents {
            for round in ["round  1/2", "round  2/2"] {
                world.until(&run, |text| text.contains(round) || text.contains("succeeded"));
                world.kill_coordinator();
                world.start_coordinator();
            }
        }
        world.adapter(&run)
    };
    assert_eq!(adapter(true), adapter(false));
}

#[test]
fn any_llama_checkpoint_will_do() {
    let Some(venv) = std::env::var_os("CHANCERY_VENV") else {
        panic!("CHANCERY_VENV is not set; run the tests with ./test, which installs the tools");
    };
    // Grouped queries, an untied head, stretched positions, bf16, several files.
    let dir = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/participant/tests/parity.py");
    let made = std::process::Command::new(std::path::Path::new(&venv).join("bin/python"))
        .args([script, "make", dir.path().to_str().unwrap(), "other"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(dir.path().join("model.safetensors.index.json").exists());
    let tokenizer = world::examples().join("base/tokenizer.json");
    std::fs::copy(tokenizer, dir.path().join("tokenizer.json")).unwrap();
    let mut world = World::on(dir.path().to_owned());
    let run = world.run(1, 3);
    for site in SITES {
        world.start(site);
    }
    world.adapter(&run);
}

#[test]
fn the_demo_ends_with_a_verified_release_on_one_screen() {
    let output = chancery().args(["demo", "--exit", "--rounds", "2"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("CH6000 verified"), "{text}");
    assert!(text.lines().count() <= 25, "{text}");
}

#[test]
fn a_recipe_with_an_unknown_field_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let sample = chancery().args(["run", "create", "--print-sample"]).output().unwrap();
    let text = String::from_utf8(sample.stdout).unwrap().replace("rounds =", "rouns = 1\nrounds =");
    let path = dir.path().join("recipe.toml");
    std::fs::write(&path, text).unwrap();
    let output = chancery()
        .args(["run", "create", "--operator", "nowhere", "--base", "nowhere"])
        .arg(path)
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && errors.contains("rouns"), "{errors}");
}
