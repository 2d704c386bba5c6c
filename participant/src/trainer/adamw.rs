//! AdamW (Loshchilov and Hutter, 2019) with PyTorch's defaults: betas 0.9 and 0.999, epsilon 1e-8,
//! decay decoupled. burn's own differs in epsilon and decay and clips by tensor; here the norm that
//! is clipped is the global one.

use burn::tensor::Tensor;

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Moments of one tensor, on the device without gradients.
struct Moments {
    first: Tensor<2>,
    second: Tensor<2>,
}

/// Optimiser state of the tensors that train.
pub(crate) struct AdamW {
    moments: Vec<Moments>,
    steps: i32,
    weight_decay: f32,
}

impl AdamW {
    /// No state yet; one slot for each tensor.
    pub(crate) fn new(tensors: &[Tensor<2>], weight_decay: f64) -> Self {
        let moments = tensors
            .iter()
            .map(|tensor| {
                let zeros = tensor.clone().inner().zeros_like();
                Moments { first: zeros.clone(), second: zeros }
            })
            .collect();
        Self { moments, steps: 0, weight_decay: weight_decay as f32 }
    }

    /// One step: the new tensors, to collect gradients anew. `decays` says which ones decay.
    pub(crate) fn step(
        &mut self,
        tensors: Vec<Tensor<2>>,
        gradients: Vec<Tensor<2>>,
        learning_rate: f64,
        decays: impl Fn(usize) -> bool,
    ) -> Vec<Tensor<2>> {
        self.steps += 1;
        let correction_1 = 1.0 - BETA_1.powi(self.steps);
        let correction_2 = (1.0 - BETA_2.powi(self.steps)).sqrt();
        let rate = learning_rate as f32;
        let weight_decay = self.weight_decay;
        tensors
            .into_iter()
            .zip(gradients)
            .zip(&mut self.moments)
            .enumerate()
            .map(|(index, ((tensor, gradient), moments))| {
                moments.first = moments.first.clone().mul_scalar(BETA_1)
                    + gradient.clone().mul_scalar(1.0 - BETA_1);
                moments.second = moments.second.clone().mul_scalar(BETA_2)
                    + gradient.square().mul_scalar(1.0 - BETA_2);
                let spread =
                    moments.second.clone().sqrt().div_scalar(correction_2).add_scalar(EPSILON);
                let update = moments.first.clone().div(spread).mul_scalar(rate / correction_1);
                let mut weight = tensor.inner();
                if weight_decay > 0.0 && decays(index) {
                    weight = weight.mul_scalar(1.0 - rate * weight_decay);
                }
                Tensor::from_inner(weight - update).require_grad()
            })
            .collect()
    }
}

/// Scales the gradients down so that their global norm is at most `limit`.
pub(crate) fn clip(gradients: Vec<Tensor<2>>, limit: f64) -> Vec<Tensor<2>> {
    let squared: f64 = gradients
        .iter()
        .map(|gradient| f64::from(gradient.clone().square().sum().into_scalar::<f32>()))
        .sum();
    // PyTorch's clip_grad_norm_, its 1e-6 included.
    let factor = limit / (squared.sqrt() + 1e-6);
    if factor >= 1.0 {
        return gradients;
    }
    gradients.into_iter().map(|gradient| gradient.mul_scalar(factor as f32)).collect()
}
