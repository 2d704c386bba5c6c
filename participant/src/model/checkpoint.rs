//! Reading and writing Hugging Face checkpoint folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use chancery_proto::to_f32;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::config::LlamaConfig;
use super::weights::{Weights, layout};
use crate::trainer::TrainError;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Loads every tensor the architecture needs, shard by shard, as f32. Others are left alone.
pub(crate) fn load(
    dir: &Path,
    config: &LlamaConfig,
    device: &Device,
) -> Result<Weights, TrainError> {
    let wanted = layout(config);
    let mut found: BTreeMap<String, Tensor<2>> = BTreeMap::new();
    for path in shards(dir)? {
        let bad = |why: String| TrainError::Checkpoint { path: path.clone(), why };
        let bytes = fs::read(&path).map_err(|e| bad(e.to_string()))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| bad(e.to_string()))?;
        for (name, shape) in &wanted {
            let Ok(view) = file.tensor(name) else { continue };
            let [rows, columns] = *shape;
            let fits = match *view.shape() {
                [length] => rows == 1 && length == columns,
                [r, c] => (r, c) == (rows, columns),
                _ => false,
            };
            if !fits {
                let shape = view.shape();
                return Err(bad(format!(
                    "{name} has shape {shape:?}, config.json says [{rows}, {columns}]"
                )));
            }
            let values = to_f32(view.dtype(), view.data()).ok_or_else(|| {
                bad(format!("{name} is {:?}; f32, bf16 and f16 are supported", view.dtype()))
            })?;
            found.insert(
                name.clone(),
                Tensor::from_data(TensorData::new(values, [rows, columns]), device),
            );
        }
    }
    let mut tensors = Vec::with_capacity(wanted.len());
    for (name, _) in &wanted {
        let missing = || TrainError::Checkpoint {
            path: dir.to_owned(),
            why: format!("{name} is missing from its safetensors files"),
        };
        tensors.push(found.remove(name).ok_or_else(missing)?);
    }
    Weights::from_tensors(config, tensors).ok_or_else(|| TrainError::Checkpoint {
        path: dir.to_owned(),
        why: "its tensors do not fit its config.json".to_owned(),
    })
}

/// The safetensors files of a checkpoint; an index may only name files beside it.
fn shards(dir: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let index = dir.join("model.safetensors.index.json");
    if !index.exists() {
        return Ok(vec![dir.join("model.safetensors")]);
    }
    let bad = |why: String| TrainError::Checkpoint { path: index.clone(), why };
    let text = fs::read_to_string(&index).map_err(|e| bad(e.to_string()))?;
    let parsed: Index = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
    let mut names: Vec<String> = parsed.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    if let Some(name) =
        names.iter().find(|name| name.contains(['/', '\\']) || name.starts_with('.'))
    {
        return Err(bad(format!("it names {name:?}, which is not a file beside it")));
    }
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

/// Writes `config.json` and `model.safetensors` in bf16.
pub(crate) fn save(dir: &Path, config: &LlamaConfig, weights: &Weights) -> Result<(), TrainError> {
    let bad = |path: &Path, why: String| TrainError::Checkpoint { path: path.to_owned(), why };
    fs::create_dir_all(dir).map_err(|e| bad(dir, e.to_string()))?;
    let path = dir.join("model.safetensors");
    let mut raw = Vec::new();
    for ((name, shape), tensor) in layout(config).into_iter().zip(weights.tensors()) {
        let values: Vec<f32> = tensor.try_to_vec_as().map_err(|e| bad(&path, format!("{e:?}")))?;
        let bytes: Vec<u8> =
            values.iter().flat_map(|x| half::bf16::from_f32(*x).to_bits().to_le_bytes()).collect();
        let shape = if shape[0] == 1 { vec![shape[1]] } else { shape.to_vec() };
        raw.push((name, shape, bytes));
    }
    let views = raw
        .iter()
        .map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::BF16, shape.clone(), bytes)
                .map_err(|e| bad(&path, e.to_string()))?;
            Ok((name.as_str(), view))
        })
        .collect::<Result<Vec<_>, TrainError>>()?;
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let bytes =
        safetensors::serialize(views, Some(metadata)).map_err(|e| bad(&path, e.to_string()))?;
    fs::write(&path, bytes).map_err(|e| bad(&path, e.to_string()))
}
