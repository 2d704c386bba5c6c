//! Releases with damage that nobody thought of: whatever is changed in whichever file, verification ends,
//! without a panic, in a verdict other than verified.

mod story;

use std::fs;
use std::path::PathBuf;

use chancery_provenance::{Bundle, Policy, verify_release};
use proptest::prelude::*;
use story::Story;

/// One change of a file.
#[derive(Clone, Debug)]
enum Damage {
    Flip(u8),
    Drop(usize),
    Repeat(usize),
    Insert(Vec<u8>),
    Cut,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (1u8..=255).prop_map(Damage::Flip),
        1 => (1usize..200).prop_map(Damage::Drop),
        1 => (1usize..200).prop_map(Damage::Repeat),
        1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Damage::Insert),
        1 => Just(Damage::Cut),
    ]
}

fn damaged(mut bytes: Vec<u8>, place: prop::sample::Index, damage: &Damage) -> Vec<u8> {
    let at = place.index(bytes.len());
    match damage {
        Damage::Flip(bits) => bytes[at] ^= bits,
        Damage::Drop(count) => drop(bytes.drain(at..bytes.len().min(at + count))),
        Damage::Repeat(count) => {
            let again = bytes[at..bytes.len().min(at + count)].to_vec();
            bytes.splice(at..at, again);
        }
        Damage::Insert(more) => drop(bytes.splice(at..at, more.iter().copied())),
        Damage::Cut => bytes.truncate(at),
    }
    bytes
}

/// Whether nothing that counts has changed: space between the fields of a bundle.
fn same(good: &[u8], bad: &[u8]) -> bool {
    let bundle = |bytes| Bundle::parse(bytes).ok();
    good == bad || bundle(good).is_some_and(|good| bundle(bad) == Some(good))
}

#[test]
fn no_damage_is_verified_and_none_panics() {
    let story = Story::new();
    let dir = tempfile::tempdir().unwrap();
    story.release_into(dir.path());
    let policy = Policy {
        registry_keys: vec![story.registry_key()],
        coordinator_keys: vec![story.coordinator.public()],
    };
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "{files:?}");
    let honest = || verify_release(dir.path(), &policy).verdict.code();
    assert_eq!(honest(), "CH6000");

    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let cases = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), damage());
    runner
        .run(&cases, |(file, place, damage)| {
            let path = file.get(&files);
            let good = fs::read(path).unwrap();
            let bad = damaged(good.clone(), place, &damage);
            fs::write(path, &bad).unwrap();
            let code = honest();
            fs::write(path, &good).unwrap();
            prop_assert!(same(&good, &bad) || code != "CH6000", "{} {damage:?}", path.display());
            Ok(())
        })
        .unwrap();
}
