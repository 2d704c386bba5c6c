//! The auditor's build holds what verification needs, and nothing that trains, serves or dials out.

use std::process::Command;

#[test]
fn the_auditors_build_has_no_burn_no_server_and_no_http_client() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--no-default-features", "--features", "verify", "-e", "normal"])
        .args(["--prefix", "none", "--locked", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && tree.contains("chancery-provenance"), "{tree}");
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for name in [
        "tokio",
        "hyper",
        "h2",
        "axum",
        "tonic",
        "ureq",
        "reqwest",
        "rustls",
        "sqlx",
        "object_store",
    ] {
        assert!(!names.contains(&name), "{name} is in the auditor's build");
    }
    assert!(!names.iter().any(|name| name.starts_with("burn")), "burn is in the auditor's build");
}
