//! How updates are read: the same range of all of them at a time, as often as a rule asks.

use super::error::RuleError;

/// Takes one block: the offset of its first element, and that range of every update.
pub type Each<'a> = dyn FnMut(usize, &[&[f32]]) -> Result<(), RuleError> + 'a;

/// A round's updates: `count` deltas of `elements` finite f32 each.
pub trait Updates {
    /// How many updates.
    fn count(&self) -> usize;

    /// Elements of one update.
    fn elements(&self) -> usize;

    /// One per update, such as its sample count; only the mean and the norm bound read it.
    fn weights(&self) -> &[f64];

    /// Hands out blocks, in order and without gaps, from element 0 to the last; each call starts
    /// again. A few thousand elements a block keep all updates' ranges in the second-level cache.
    fn blocks(&self, each: &mut Each<'_>) -> Result<(), RuleError>;
}

/// One checked pass. A source is outside input: blocks that do not line up and values that are not
/// finite are refused here, once for all rules.
pub(crate) fn stream(
    updates: &dyn Updates,
    mut each: impl FnMut(usize, &[&[f32]]),
) -> Result<(), RuleError> {
    let (count, elements) = (updates.count(), updates.elements());
    let mut next = 0;
    updates.blocks(&mut |offset, block| {
        let len = block.first().map_or(0, |range| range.len());
        let aligned = block.len() == count && block.iter().all(|range| range.len() == len);
        if offset != next || !aligned || len > elements - next {
            return Err(RuleError::Blocks { at: next, elements });
        }
        if let Some(update) = block.iter().position(|range| !finite(range)) {
            return Err(RuleError::NotFinite { update });
        }
        each(offset, block);
        next += len;
        Ok(())
    })?;
    if next == elements { Ok(()) } else { Err(RuleError::Blocks { at: next, elements }) }
}

/// One checked pass in which each block gives its own range of the result.
pub(crate) fn map(
    updates: &dyn Updates,
    mut each: impl FnMut(&[&[f32]], &mut [f32]),
) -> Result<Vec<f32>, RuleError> {
    let mut values = vec![0.0; updates.elements()];
    stream(updates, |offset, block| {
        let len = block.first().map_or(0, |range| range.len());
        each(block, &mut values[offset..offset + len]);
    })?;
    Ok(values)
}

/// Without an early exit, so that it vectorises.
fn finite(range: &[f32]) -> bool {
    range.iter().fold(true, |all, value| all & value.is_finite())
}

/// Updates that lie in memory.
#[derive(Clone, Debug)]
pub struct Memory<'a> {
    updates: Vec<&'a [f32]>,
    weights: Vec<f64>,
    block: usize,
}

impl<'a> Memory<'a> {
    /// Elements of a block.
    const BLOCK: usize = 4096;

    /// These updates, of equal weight.
    pub fn new<T: AsRef<[f32]>>(updates: &'a [T]) -> Self {
        let weights = vec![1.0; updates.len()];
        Self { updates: updates.iter().map(AsRef::as_ref).collect(), weights, block: Self::BLOCK }
    }

    /// With these weights, one per update.
    pub fn with_weights(self, weights: &[f64]) -> Self {
        Self { weights: weights.to_vec(), ..self }
    }

    /// Handed out in blocks of so many elements.
    pub fn with_block(self, elements: usize) -> Self {
        Self { block: elements.max(1), ..self }
    }
}

impl Updates for Memory<'_> {
    fn count(&self) -> usize {
        self.updates.len()
    }

    fn elements(&self) -> usize {
        self.updates.first().map_or(0, |update| update.len())
    }

    fn weights(&self) -> &[f64] {
        &self.weights
    }

    fn blocks(&self, each: &mut Each<'_>) -> Result<(), RuleError> {
        let elements = self.elements();
        if self.updates.iter().any(|update| update.len() != elements) {
            return Err(RuleError::Blocks { at: 0, elements });
        }
        for offset in (0..elements).step_by(self.block) {
            let end = elements.min(offset + self.block);
            let block: Vec<&[f32]> =
                self.updates.iter().map(|update| &update[offset..end]).collect();
            each(offset, &block)?;
        }
        Ok(())
    }
}
