//! The numbers of one update in the clear, read as they are asked for; 0 where a number did not travel.

use std::io::Read;
use std::iter::Peekable;

use super::super::error::RuleError;
use crate::codec::{BLOCK, Ring, unpack};
use crate::sparsity::{Places, PlacesIter};

/// An update's numbers in order.
pub(crate) struct Values<R> {
    ring: Ring,
    reader: R,
    /// Elements that have not been read, the weight among them.
    left: usize,
    scale: f32,
    block: Vec<f32>,
    at: usize,
    /// The places of the numbers that travel; none when all do.
    places: Option<Peekable<PlacesIter>>,
    /// Numbers that were handed out.
    taken: usize,
}

impl<R: Read> Values<R> {
    pub(crate) fn new(
        ring: &Ring,
        reader: R,
        elements: usize,
        level: i32,
        places: Option<Places>,
    ) -> Self {
        let scale = ring.clip / level as f32;
        let places = places.map(|places| places.iter().peekable());
        let left = elements + 1;
        Self { ring: *ring, reader, left, scale, block: Vec::new(), at: 0, places, taken: 0 }
    }

    /// The next `count` numbers.
    pub(crate) fn take(&mut self, count: usize) -> Result<Vec<f32>, RuleError> {
        let mut taken = Vec::with_capacity(count);
        for place in self.taken..self.taken + count {
            let waits = match &mut self.places {
                Some(places) => places.next_if_eq(&place).is_none(),
                None => false,
            };
            taken.push(if waits { 0.0 } else { self.next()? });
        }
        self.taken += count;
        Ok(taken)
    }

    fn next(&mut self) -> Result<f32, RuleError> {
        if self.at == self.block.len() {
            self.refill()?;
        }
        let number = self.block.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        Ok(number)
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
