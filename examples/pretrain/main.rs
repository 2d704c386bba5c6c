//! Makes the files that the examples and the demo run on, from nothing but seeds:
//!
//! ```text
//! cargo run --release --example pretrain -- data   # examples/data/{hospital,legal,industry}
//! cargo run --release --example pretrain -- base   # examples/base, about a quarter of an hour
//! ```

mod corpus;
mod hospital;
mod industry;
mod legal;
mod texts;
mod tokenizer;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use chancery_participant::{Batch, Llama, LlamaConfig, Pretraining, pretrain};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde_json::json;
use tokenizers::Tokenizer;

use texts::{Dice, Vertical};

/// The institutions of the examples.
const VERTICALS: [&Vertical; 3] = [&hospital::HOSPITAL, &legal::LEGAL, &industry::INDUSTRY];

/// Rows per institution; they differ, as institutions do.
const TRAIN_ROWS: [usize; 3] = [960, 720, 840];
const TEST_ROWS: usize = 240;

/// Documents the tokenizer learns from.
const TOKENIZER_DOCUMENTS: usize = 20_000;
/// Sequences per optimiser step, and tokens per sequence.
const ROWS: usize = 24;
const LENGTH: usize = 64;

fn main() -> anyhow::Result<()> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["data"] => data(&examples.join("data")),
        ["base"] => base(&examples.join("base"), 2400),
        ["base", steps] => base(&examples.join("base"), steps.parse()?),
        _ => bail!("say what to make: data, or base"),
    }
}

/// Writes `train.jsonl` and `test.jsonl` for every institution. No pair of signs is in both.
fn data(folder: &Path) -> anyhow::Result<()> {
    for (index, vertical) in VERTICALS.into_iter().enumerate() {
        let mut dice = Dice(ChaCha20Rng::seed_from_u64(100 + index as u64));
        let mut held_out: BTreeSet<(usize, Vec<usize>)> = BTreeSet::new();
        let mut test = String::new();
        for row in 0..TEST_ROWS {
            let class = row % vertical.classes.len();
            let (text, signs) = vertical.text(class, &mut dice);
            held_out.insert((class, signs));
            test.push_str(&line(vertical, class, &text));
        }
        let mut train = String::new();
        let mut rows = 0;
        while rows < TRAIN_ROWS[index] {
            let class = rows % vertical.classes.len();
            let (text, signs) = vertical.text(class, &mut dice);
            if !held_out.contains(&(class, signs)) {
                train.push_str(&line(vertical, class, &text));
                rows += 1;
            }
        }
        let folder = folder.join(vertical.name);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("train.jsonl"), train)?;
        fs::write(folder.join("test.jsonl"), test)?;
    }
    Ok(())
}

fn line(vertical: &Vertical, class: usize, text: &str) -> String {
    let prompt = format!("{text}\n{}", vertical.header);
    let completion = format!(" {}", vertical.classes[class].label);
    format!("{}\n", json!({ "prompt": prompt, "completion": completion }))
}

/// Writes the tokenizer and the pre-trained model.
fn base(folder: &Path, steps: u32) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let mut dice = Dice(ChaCha20Rng::seed_from_u64(1));
    let documents: Vec<String> =
        (0..TOKENIZER_DOCUMENTS).map(|_| corpus::document(&mut dice)).collect();
    let tokenizer = tokenizer::train(&documents)?;
    let text = tokenizer.to_string(true).map_err(|e| anyhow!("{e}"))?;
    fs::write(folder.join("tokenizer.json"), text)?;
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": tokenizer::VOCABULARY,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": 256,
        "tie_word_embeddings": true,
        "attention_bias": false,
        "mlp_bias": false,
        "bos_token_id": tokenizer::BOS.1,
        "eos_token_id": tokenizer::EOS.1,
        "torch_dtype": "bfloat16",
    });
    write_json(&folder.join("config.json"), &config)?;
    write_json(
        &folder.join("generation_config.json"),
        &json!({ "bos_token_id": tokenizer::BOS.1, "eos_token_id": tokenizer::EOS.1, "do_sample": false }),
    )?;
    write_json(
        &folder.join("tokenizer_config.json"),
        &json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": tokenizer::BOS.0,
            "eos_token": tokenizer::EOS.0,
            "model_max_length": 256,
        }),
    )?;
    let config = LlamaConfig::read(folder)?;
    let mut llama = Llama::initial(config, 2)?;
    let settings = Pretraining { steps, learning_rate: 3e-3, warmup: 100, weight_decay: 0.05 };
    let mut average = f64::NAN;
    let mut stream = Stream { dice, tokenizer, held: Vec::new() };
    let mut failed = None;
    pretrain(
        &mut llama,
        &settings,
        |_| {
            stream.batch().unwrap_or_else(|error| {
                failed = Some(error);
                Batch { tokens: vec![0; ROWS * (LENGTH + 1)], rows: ROWS, length: LENGTH + 1 }
            })
        },
        |step, loss| {
            average = if average.is_nan() { loss } else { 0.98 * average + 0.02 * loss };
            if step % 50 == 0 {
                println!("step {step}/{steps}  loss {loss:.3}  average {average:.3}");
            }
        },
    )?;
    if let Some(error) = failed {
        return Err(error);
    }
    llama.save_weights(folder)?;
    println!("{}", folder.display());
    Ok(())
}

/// Documents one after the other, cut into rows of one length.
struct Stream {
    dice: Dice,
    tokenizer: Tokenizer,
    held: Vec<u32>,
}

impl Stream {
    fn batch(&mut self) -> anyhow::Result<Batch> {
        let length = LENGTH + 1;
        while self.held.len() < ROWS * length {
            let document = corpus::document(&mut self.dice);
            let encoding =
                self.tokenizer.encode(document.as_str(), true).map_err(|e| anyhow!("{e}"))?;
            self.held.extend(encoding.get_ids());
            self.held.push(tokenizer::EOS.1);
        }
        let tokens = self.held.drain(..ROWS * length).collect();
        Ok(Batch { tokens, rows: ROWS, length })
    }
}

fn write_json(path: &Path, value: &serde_json::Value) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    fs::write(path, text + "\n").with_context(|| path.display().to_string())
}
