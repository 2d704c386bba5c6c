//! The same numbers as `transformers` and PEFT: logits, loss, gradients, one AdamW step, and adapters
//! that travel both ways. `./test` installs them.
//!
//! Tolerances: logits and loss 2e-5 absolute, gradients 1e-4 of the tensor's largest, parameters after a
//! step 5e-5 absolute (Adam's first step is the sign of the gradient, so noise around 0 shows there).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use chancery_participant::{BaseModel, Batch, BurnTrainer, Sequence, load_peft, save_peft};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    ids: Vec<Vec<u32>>,
    logits: Vec<f32>,
    loss: f64,
    gradients: BTreeMap<String, Vec<f32>>,
    stepped: BTreeMap<String, Vec<f32>>,
}

/// The tokens in front of this place are the prompt.
const PROMPT: usize = 6;

fn python(arguments: &[&str]) -> String {
    let Some(venv) = std::env::var_os("CHANCERY_VENV") else {
        panic!("CHANCERY_VENV is not set; run the tests with ./test, which installs the tools");
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity.py");
    let output = Command::new(PathBuf::from(venv).join("bin/python"))
        .arg(script)
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn furthest(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn compare(kind: &str) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    python(&["make", folder, kind]);
    // The texts do not matter here, so neither does the tokenizer.
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/base/tokenizer.json");
    std::fs::copy(tokenizer, dir.path().join("tokenizer.json")).unwrap();
    let text = std::fs::read_to_string(dir.path().join("expected.json")).unwrap();
    let expected: Expected = serde_json::from_str(&text).unwrap();

    let trainer = BurnTrainer::new(BaseModel::open(dir.path()).unwrap());
    let (config, adapter) = load_peft(&dir.path().join("adapter")).unwrap();
    let batch = Batch {
        tokens: expected.ids.concat(),
        rows: expected.ids.len(),
        length: expected.ids[0].len(),
    };
    let logits = trainer.logits(&batch, Some((&config, &adapter))).unwrap();
    let difference = furthest(&logits, &expected.logits);
    println!("{kind}: logits differ by at most {difference:e}");
    assert!(difference < 2e-5, "logits differ by {difference}");

    let sequences: Vec<Sequence> = expected
        .ids
        .iter()
        .map(|tokens| Sequence { tokens: tokens.clone(), completion: PROMPT })
        .collect();
    let gradients = trainer.gradients(&config, &adapter, &sequences).unwrap();
    println!("{kind}: losses {} and {}", gradients.loss, expected.loss);
    assert!((gradients.loss - expected.loss).abs() < 2e-5);
    assert_eq!(gradients.gradients.len(), expected.gradients.len());
    let mut worst = 0.0f32;
    for (name, tensor) in gradients.gradients.iter() {
        let wanted = &expected.gradients[name];
        let largest = wanted.iter().fold(1e-6f32, |most, x| most.max(x.abs()));
        worst = worst.max(furthest(tensor.data(), wanted) / largest);
    }
    println!("{kind}: gradients differ by at most {worst:e} of their largest");
    assert!(worst < 1e-4, "gradients differ by {worst}");

    let stepped = trainer.step(&config, &adapter, &sequences, 1e-3, 0.01).unwrap();
    let mut worst = 0.0f32;
    for (name, tensor) in stepped.iter() {
        worst = worst.max(furthest(tensor.data(), &expected.stepped[name]));
    }
    println!("{kind}: parameters after a step differ by at most {worst:e}");
    assert!(worst < 5e-5, "parameters differ by {worst}");

    save_peft(&dir.path().join("ours"), &config, "base", &stepped).unwrap();
    let theirs: Vec<f32> = serde_json::from_str(&python(&["load", folder])).unwrap();
    let ours = trainer.logits(&batch, Some((&config, &stepped))).unwrap();
    let difference = furthest(&ours, &theirs);
    println!("{kind}: PEFT loads ours, logits differ by at most {difference:e}");
    assert!(difference < 2e-5, "logits differ by {difference}");
}

#[test]
fn a_tied_checkpoint_computes_what_peft_computes() {
    compare("tied");
}

#[test]
fn a_sharded_bf16_checkpoint_with_grouped_queries_and_stretched_positions_does_too() {
    compare("other");
}
