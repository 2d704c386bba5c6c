//! LoRA as a side path: `x Wᵀ + s (x Aᵀ) Bᵀ`. The product `B A` is never formed, so the frozen
//! weight costs no gradient and no copy.

use burn::tensor::{Device, Tensor, TensorData};
use chancery_proto::{AdapterConfig, BaseShape, Factor, Factors, Target, Tensors, tensor_name};

use crate::trainer::TrainError;

/// The two factors of one module.
#[derive(Clone, Debug)]
struct Pair {
    a: Tensor<2>,
    b: Tensor<2>,
}

/// An adapter on the device.
#[derive(Clone, Debug)]
pub struct Lora {
    scaling: f32,
    layers: Vec<[Option<Pair>; 7]>,
}

impl Lora {
    /// Puts `adapter` on the device; the factors that train collect gradients.
    pub fn new(
        config: &AdapterConfig,
        base: &BaseShape,
        adapter: &Tensors,
        factors: Option<Factors>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let load = |layer, target, factor| -> Result<Tensor<2>, TrainError> {
            let name = tensor_name(layer, target, factor);
            let [output, input] = target.dimensions(base);
            let shape = match factor {
                Factor::A => [config.rank, input],
                Factor::B => [output, config.rank],
            };
            let tensor =
                adapter.get(&name).filter(|tensor| tensor.shape() == shape).ok_or_else(|| {
                    TrainError::Adapter { why: format!("{name} is missing or is not {shape:?}") }
                })?;
            let data = TensorData::new(tensor.data().to_vec(), shape);
            let tensor = Tensor::from_data(data, device);
            let trains = factors.is_some_and(|factors| factors.trains(factor));
            Ok(if trains { tensor.require_grad() } else { tensor })
        };
        let mut layers = Vec::with_capacity(base.num_hidden_layers);
        for layer in 0..base.num_hidden_layers {
            let mut pairs = [const { None }; 7];
            for (slot, target) in pairs.iter_mut().zip(Target::ALL) {
                if config.targets.contains(&target) {
                    let (a, b) = (load(layer, target, Factor::A)?, load(layer, target, Factor::B)?);
                    *slot = Some(Pair { a, b });
                }
            }
            layers.push(pairs);
        }
        Ok(Self { scaling: config.scaling(), layers })
    }

    /// What the adapter adds to module `index` (of [`Target::ALL`]) of `layer` for input `x`.
    pub(crate) fn side(&self, layer: usize, index: usize, x: &Tensor<2>) -> Option<Tensor<2>> {
        let pair = self.layers.get(layer)?.get(index)?.as_ref()?;
        let low = x.clone().matmul(pair.a.clone().transpose()).mul_scalar(self.scaling);
        Some(low.matmul(pair.b.clone().transpose()))
    }

    /// The factors that train, by PEFT name, in lexicographic order of the names.
    pub(crate) fn trainable(&mut self, factors: Factors) -> Vec<(String, &mut Tensor<2>)> {
        let mut all = Vec::new();
        for (layer, pairs) in self.layers.iter_mut().enumerate() {
            for (pair, target) in pairs.iter_mut().zip(Target::ALL) {
                let Some(pair) = pair else { continue };
                if factors.trains(Factor::A) {
                    all.push((tensor_name(layer, target, Factor::A), &mut pair.a));
                }
                if factors.trains(Factor::B) {
                    all.push((tensor_name(layer, target, Factor::B), &mut pair.b));
                }
            }
        }
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }
}
