//! What a stranger finds out about a release, honest or not.

mod story;

use std::fs;
use std::path::Path;

use chancery_provenance::{
    Algorithm, Policy, Release, ReleaseInput, SigningKey, verify_bundle, verify_release,
};
use story::Story;

fn verdict(dir: &Path, story: &Story) -> &'static str {
    let policy = Policy {
        registry_keys: vec![story.registry_key()],
        coordinator_keys: vec![story.coordinator.public()],
    };
    verify_release(dir, &policy).verdict.code()
}

fn released(story: &Story) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    story.release_into(dir.path());
    dir
}

fn flip(path: &Path, place: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[place] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_honest_release_is_verified_and_every_check_is_listed() {
    let story = Story::new();
    let dir = released(&story);
    let policy = Policy { registry_keys: vec![story.registry_key()], ..Policy::default() };
    let report = verify_release(dir.path(), &policy);
    assert_eq!(report.verdict.code(), "CH6000", "{report}");
    assert_eq!(report.verdict.exit_code(), 0);
    assert!(report.not_checked.iter().any(|text| text.contains("coordinator")));
    assert_eq!(verdict(dir.path(), &story), "CH6000");
}

#[test]
fn nothing_is_verified_without_a_key() {
    let story = Story::new();
    let dir = released(&story);
    let report = verify_release(dir.path(), &Policy::default());
    assert_eq!(report.verdict.code(), "CH6001");
    assert!(report.to_string().contains(&story.registry_key().hint()), "{report}");
}

#[test]
fn a_flipped_byte_has_a_code_of_its_own_in_every_file() {
    let story = Story::new();
    for (file, code) in [
        ("adapter_model.safetensors", "CH6006"),
        ("receipts.jsonl", "CH6007"),
        ("trainings.jsonl", "CH6007"),
        ("lineage.car", "CH6008"),
        ("README.md", "CH6009"),
        ("claims.jsonl", "CH6009"),
        ("adapter_config.json", "CH6009"),
    ] {
        let dir = released(&story);
        flip(&dir.path().join(file), 1);
        assert_eq!(verdict(dir.path(), &story), code, "{file}");
    }
    let dir = released(&story);
    let path = dir.path().join("model.sig");
    let text = fs::read_to_string(&path).unwrap();
    flip(&path, text.find("\"sig\":\"").unwrap() + 20);
    assert!(["CH6003", "CH6005"].contains(&verdict(dir.path(), &story)));
    let dir = released(&story);
    flip(&dir.path().join("model.sig"), 0);
    assert_eq!(verdict(dir.path(), &story), "CH6003");
}

#[test]
fn lost_and_added_files_are_named() {
    let story = Story::new();
    let dir = released(&story);
    fs::remove_file(dir.path().join("README.md")).unwrap();
    assert_eq!(verdict(dir.path(), &story), "CH6010");
    let dir = released(&story);
    fs::write(dir.path().join("pytorch_model.bin"), b"x").unwrap();
    assert_eq!(verdict(dir.path(), &story), "CH6011");
    assert_eq!(verdict(&dir.path().join("nowhere"), &story), "CH6002");
}

#[test]
fn other_keys_are_refused() {
    let story = Story::new();
    let dir = released(&story);
    let stranger = SigningKey::generate(Algorithm::P256).unwrap().public();
    let policy = Policy { registry_keys: vec![stranger.clone()], ..Policy::default() };
    assert_eq!(verify_release(dir.path(), &policy).verdict.code(), "CH6004");
    let policy = Policy {
        registry_keys: vec![story.registry_key()],
        coordinator_keys: vec![SigningKey::generate(Algorithm::Ed25519).unwrap().public()],
    };
    assert_eq!(verify_release(dir.path(), &policy).verdict.code(), "CH6004");
    let one = dir.path().join("provenance.sigstore.json");
    let policy = Policy { registry_keys: vec![story.registry_key()], ..Policy::default() };
    assert_eq!(verify_bundle(&one, &policy).verdict.code(), "CH6000");
    flip(&one, 400);
    assert_ne!(verify_bundle(&one, &policy).verdict.code(), "CH6000");
}

#[test]
fn evidence_that_does_not_hold_together_is_never_released() {
    let refused = |story: &Story| {
        let input = ReleaseInput {
            name: "story",
            version: 1,
            issued_at: "",
            recipe_json: &story.recipe,
            coordinator_key: &story.coordinator.public(),
            receipts: &story.receipts,
            trainings: &story.trainings,
            adapter: &story.adapter,
            adapter_config: b"{}",
            started_at: "",
            finished_at: "",
            coordinator_version: "",
        };
        Release::assemble(&input, &story.registry).map(|_| ()).map_err(|error| error.code())
    };
    assert_eq!(refused(&Story::new()), Ok(()));
    let mut cut = Story::new();
    cut.receipts.remove(0);
    assert_eq!(refused(&cut), Err("CH5403"));
    let mut swapped = Story::new();
    swapped.receipts.swap(0, 1);
    assert_eq!(refused(&swapped), Err("CH5403"));
    let mut short = Story::new();
    short.receipts.pop();
    assert_eq!(refused(&short), Err("CH5403"));
    let mut silent = Story::new();
    silent.trainings.pop();
    assert_eq!(refused(&silent), Err("CH5405"));
    let mut doubled = Story::new();
    doubled.trainings.push(doubled.trainings[0].clone());
    assert_eq!(refused(&doubled), Err("CH5406"));
    let mut forged = Story::new();
    forged.coordinator = SigningKey::generate(Algorithm::Ed25519).unwrap();
    assert_eq!(refused(&forged), Err("CH5402"));
    let mut other = Story::new();
    other.adapter.push(0);
    assert_eq!(refused(&other), Err("CH5501"));
    let mut reworded = Story::new();
    reworded.recipe = reworded.recipe.replace("a test", "a best");
    assert_eq!(refused(&reworded), Err("CH5502"));
}
