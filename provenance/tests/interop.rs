//! Other people's tools judge our releases. `./test` installs them.

mod story;

use std::path::{Path, PathBuf};
use std::process::Command;

use story::Story;

fn tool(variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => path.into(),
        None => {
            panic!("{variable} is not set; run the tests with ./test, which installs the tools")
        }
    }
}

fn released() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let story = Story::new();
    let dir = tempfile::tempdir().unwrap();
    let release = dir.path().join("story");
    story.release_into(&release);
    let key = dir.path().join("registry.pub");
    std::fs::write(&key, story.registry_key().to_pem()).unwrap();
    (dir, release, key)
}

fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn model_signing_accepts_a_release_without_flags_and_refuses_a_changed_one() {
    let verify = |release: &Path, key: &Path| {
        run(Command::new(tool("CHANCERY_VENV").join("bin/python"))
            .args(["-m", "model_signing", "verify", "key"])
            .arg(release)
            .arg("--signature")
            .arg(release.join("model.sig"))
            .arg("--public_key")
            .arg(key))
    };
    let (_dir, release, key) = released();
    let (ok, words) = verify(&release, &key);
    assert!(ok, "{words}");
    std::fs::write(release.join("adapter_model.safetensors"), b"another").unwrap();
    let (ok, words) = verify(&release, &key);
    assert!(!ok && words.contains("adapter_model.safetensors"), "{words}");
}

#[test]
fn cosign_accepts_the_provenance_of_its_adapter_only() {
    let verify = |release: &Path, key: &Path, kind: &str, bundle: &str, file: &str| {
        run(Command::new(tool("CHANCERY_COSIGN"))
            .args(["verify-blob-attestation", "--insecure-ignore-tlog", "--type", kind, "--key"])
            .arg(key)
            .arg("--bundle")
            .arg(release.join(bundle))
            .arg(release.join(file))
            .env("HOME", release))
    };
    let (_dir, release, key) = released();
    let provenance = "provenance.sigstore.json";
    let (ok, words) =
        verify(&release, &key, "slsaprovenance1", provenance, "adapter_model.safetensors");
    assert!(ok, "{words}");
    let (ok, words) = verify(&release, &key, "slsaprovenance1", provenance, "README.md");
    assert!(!ok, "{words}");
    let (ok, words) = verify(
        &release,
        &key,
        "https://chancery.dev/passport/v1",
        provenance,
        "adapter_model.safetensors",
    );
    assert!(!ok, "{words}");
}
