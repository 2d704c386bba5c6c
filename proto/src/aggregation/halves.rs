//! A whole adapter in two bytes a number (bfloat16, little-endian): what sites download when every number is
//! another. The adapter itself is rounded to what they get.

use half::bf16;

use super::error::RuleError;
use crate::plan::Plan;
use crate::tensor::Tensors;

/// Bytes of a number.
const SIZE: usize = 2;

/// Rounds `adapter` and gives its bytes, tensor by tensor in the order of the layout.
pub(crate) fn round(plan: &Plan, adapter: &mut Tensors) -> Vec<u8> {
    let layout = plan.layout();
    let rounded: Vec<bf16> = adapter.gather("", &layout).into_iter().map(bf16::from_f32).collect();
    let values: Vec<f32> = rounded.iter().map(|x| x.to_f32()).collect();
    adapter.scatter("", &layout, &values);
    rounded.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Bytes of an adapter of this plan.
pub fn halves_size(plan: &Plan) -> usize {
    SIZE * plan.trained_elements()
}

/// The adapter that these bytes are.
pub fn read_halves(plan: &Plan, bytes: &[u8]) -> Result<Tensors, RuleError> {
    let expected = halves_size(plan);
    if bytes.len() != expected {
        return Err(RuleError::Length { what: "adapter", found: bytes.len(), expected });
    }
    let (pairs, _) = bytes.as_chunks::<SIZE>();
    let values: Vec<f32> = pairs.iter().map(|pair| bf16::from_le_bytes(*pair).to_f32()).collect();
    let mut adapter = Tensors::new();
    adapter.scatter("", &plan.layout(), &values);
    Ok(adapter)
}
