//! Updates that lie packed in files: read side by side, a block of each at a time.

use std::io::{self, Read};

use super::error::RuleError;
use super::source::{Each, Updates};
use crate::codec::{BLOCK, Ring, unpack};

/// The weight's level, which is the last element.
pub(crate) fn level(ring: &Ring, reader: impl Read, elements: usize) -> Result<i32, RuleError> {
    let mut last = 0;
    let mut values = vec![0; BLOCK];
    ring.read(reader, elements, |_, bytes, count| {
        let Some(values) = values.get_mut(..count) else { return Ok(()) };
        unpack(bytes, ring.ring_bits, values);
        last = values.last().map_or(0, |value| ring.signed(*value));
        Ok(())
    })
    .map_err(RuleError::read)?;
    Ok(last.max(1))
}

/// A round's clear updates; `open` gives the bytes of the one at an index.
pub struct PackedUpdates<F> {
    ring: Ring,
    elements: usize,
    levels: Vec<i32>,
    weights: Vec<f64>,
    open: F,
}

impl<F, R> PackedUpdates<F>
where
    F: Fn(usize) -> io::Result<R>,
    R: Read,
{
    /// `count` updates of `elements` numbers. Each is read once to its end, where its weight is.
    pub fn new(ring: Ring, elements: usize, count: usize, open: F) -> Result<Self, RuleError> {
        let mut levels = Vec::with_capacity(count);
        for update in 0..count {
            levels.push(level(&ring, open(update).map_err(RuleError::read)?, elements)?);
        }
        let weights = levels.iter().map(|level| f64::from(*level) / f64::from(ring.top));
        Ok(Self { ring, elements, weights: weights.collect(), levels, open })
    }
}

impl<F, R> Updates for PackedUpdates<F>
where
    F: Fn(usize) -> io::Result<R>,
    R: Read,
{
    fn count(&self) -> usize {
        self.levels.len()
    }

    fn elements(&self) -> usize {
        self.elements
    }

    fn weights(&self) -> &[f64] {
        &self.weights
    }

    fn blocks(&self, each: &mut Each<'_>) -> Result<(), RuleError> {
        let bits = self.ring.ring_bits;
        let mut readers = (0..self.count())
            .map(&self.open)
            .collect::<io::Result<Vec<R>>>()
            .map_err(RuleError::read)?;
        let mut rows = vec![vec![0f32; BLOCK]; self.count()];
        let (mut bytes, mut values) = (vec![0u8; BLOCK * bits as usize / 8], vec![0u32; BLOCK]);
        for offset in (0..self.elements).step_by(BLOCK) {
            let count = BLOCK.min(self.elements - offset);
            let len = (count * bits as usize).div_ceil(8);
            for ((reader, row), level) in readers.iter_mut().zip(&mut rows).zip(&self.levels) {
                let (Some(bytes), Some(values)) = (bytes.get_mut(..len), values.get_mut(..count))
                else {
                    return Err(RuleError::Blocks { at: offset, elements: self.elements });
                };
                reader.read_exact(bytes).map_err(RuleError::read)?;
                unpack(bytes, bits, values);
                let scale = self.ring.clip / *level as f32;
                row.truncate(count);
                for (x, value) in row.iter_mut().zip(values.iter()) {
                    *x = self.ring.signed(*value) as f32 * scale;
                }
            }
            let block: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            each(offset, &block)?;
        }
        Ok(())
    }
}
