//! The numbers of one update in the clear, read as they are asked for.

use std::io::Read;

use super::super::error::RuleError;
use crate::codec::{BLOCK, Ring, unpack};

/// An update's numbers in order.
pub(crate) struct Values<R> {
    ring: Ring,
    reader: R,
    /// Elements that have not been read, the weight among them.
    left: usize,
    scale: f32,
    block: Vec<f32>,
    at: usize,
}

impl<R: Read> Values<R> {
    pub(crate) fn new(ring: &Ring, reader: R, elements: usize, level: i32) -> Self {
        let scale = ring.clip / level as f32;
        Self { ring: *ring, reader, left: elements + 1, scale, block: Vec::new(), at: 0 }
    }

    /// The next `count` numbers.
    pub(crate) fn take(&mut self, count: usize) -> Result<Vec<f32>, RuleError> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            if self.at == self.block.len() {
                self.refill()?;
            }
            let block = self.block.get(self.at..).unwrap_or_default();
            let some = block.len().min(count - taken.len());
            taken.extend(block.iter().take(some));
            self.at += some;
        }
        Ok(taken)
    }

    fn refill(&mut self) -> Result<(), RuleError> {
        let count = BLOCK.min(self.left);
        if count == 0 {
            return Err(RuleError::Blocks { at: 0, elements: 0 });
        }
        let bits = self.ring.ring_bits;
        let mut bytes = vec![0; (count * bits as usize).div_ceil(8)];
        self.reader.read_exact(&mut bytes).map_err(RuleError::read)?;
        let mut values = vec![0u32; count];
        unpack(&bytes, bits, &mut values);
        let number = |value: &u32| self.ring.signed(*value) as f32 * self.scale;
        self.block = values.iter().map(number).collect();
        (self.left, self.at) = (self.left - count, 0);
        Ok(())
    }
}
