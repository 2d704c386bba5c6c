//! Adapters in PEFT's folder layout: strict when written, tolerant when read.

use std::fs;
use std::path::Path;

use chancery_proto::{AdapterConfig, Target, Tensors, peft_config};
use serde::Deserialize;

use crate::trainer::TrainError;

/// The largest adapter that is read.
const LIMIT: u64 = 8 << 30;

#[derive(Deserialize)]
struct PeftConfig {
    peft_type: String,
    r: usize,
    lora_alpha: f32,
    target_modules: TargetModules,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    rank_pattern: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    alpha_pattern: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TargetModules {
    List(Vec<String>),
    Pattern(String),
}

/// Reads `adapter_config.json` and `adapter_model.safetensors`.
pub fn load_peft(dir: &Path) -> Result<(AdapterConfig, Tensors), TrainError> {
    let path = dir.join("adapter_config.json");
    let bad = |why: String| TrainError::Checkpoint { path: path.clone(), why };
    let text = fs::read_to_string(&path).map_err(|e| bad(e.to_string()))?;
    let peft: PeftConfig = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
    if peft.peft_type != "LORA" {
        return Err(bad(format!("peft_type {:?} is not supported; only LORA is", peft.peft_type)));
    }
    if peft.use_dora || !peft.rank_pattern.is_empty() || !peft.alpha_pattern.is_empty() {
        return Err(bad("use_dora, rank_pattern and alpha_pattern are not supported".to_owned()));
    }
    if peft.r == 0 {
        return Err(bad("r is 0".to_owned()));
    }
    let mut targets = match peft.target_modules {
        TargetModules::List(names) => names
            .iter()
            .map(|name| name.parse())
            .collect::<Result<Vec<Target>, _>>()
            .map_err(|e| bad(e.to_string()))?,
        TargetModules::Pattern(pattern) if pattern == "all-linear" => Target::ALL.to_vec(),
        TargetModules::Pattern(pattern) => {
            return Err(bad(format!(
                "target_modules is the pattern {pattern:?}; write a list of names"
            )));
        }
    };
    targets.sort();
    targets.dedup();
    // rsLoRA divides alpha by sqrt(r) instead of r; the same adapter has alpha * sqrt(r) here.
    let alpha =
        if peft.use_rslora { peft.lora_alpha * (peft.r as f32).sqrt() } else { peft.lora_alpha };
    let path = dir.join("adapter_model.safetensors");
    let bad = |why: String| TrainError::Checkpoint { path: path.clone(), why };
    let size = fs::metadata(&path).map_err(|e| bad(e.to_string()))?.len();
    if size > LIMIT {
        return Err(bad(format!("{size} bytes are more than the {LIMIT} that are read")));
    }
    let bytes = fs::read(&path).map_err(|e| bad(e.to_string()))?;
    let tensors = Tensors::from_safetensors(&bytes).map_err(|e| bad(e.to_string()))?;
    Ok((AdapterConfig { rank: peft.r, alpha, targets }, tensors))
}

/// Writes a folder that PEFT loads.
pub fn save_peft(
    dir: &Path,
    config: &AdapterConfig,
    base_name: &str,
    adapter: &Tensors,
) -> Result<(), TrainError> {
    let bad = |why: String| TrainError::Checkpoint { path: dir.to_owned(), why };
    fs::create_dir_all(dir).map_err(|e| bad(e.to_string()))?;
    let json = serde_json::to_string_pretty(&peft_config(config, base_name))
        .map_err(|e| bad(e.to_string()))?;
    fs::write(dir.join("adapter_config.json"), json + "\n").map_err(|e| bad(e.to_string()))?;
    let bytes = adapter.to_safetensors().map_err(|e| bad(e.to_string()))?;
    fs::write(dir.join("adapter_model.safetensors"), bytes).map_err(|e| bad(e.to_string()))
}
