//! Masks: streams of ring elements that one seed gives, added to an update or taken off a sum.
//!
//! The stream is AES-256 in counter mode over zeros (NIST SP 800-38A), keyed with the whole 256-bit
//! seed, counter from 0. An element takes two bytes of it (little-endian) in rings of up to 16 bits
//! and four above; only its low `ring_bits` count, and those are uniform.

use aes::Aes256;
use aes::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use ctr::Ctr128BE;

use super::error::SecaggError;
use super::key::Seed;
use crate::codec::{BLOCK, Ring, pack, unpack};

/// A keyed stream of bytes.
pub(crate) struct Stream(Ctr128BE<Aes256>);

impl Stream {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        Self(Ctr128BE::new(seed.into(), &[0; 16].into()))
    }

    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
        self.0.apply_keystream(out);
    }

    fn seek(&mut self, byte: u64) {
        self.0.seek(byte);
    }
}

/// Whether a mask is added or taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Added.
    Plus,
    /// Taken off.
    Minus,
}

impl Sign {
    /// Of the two sites of a pair the lower one adds the mask and the higher one takes it off.
    pub(crate) fn of(site: usize, peer: usize) -> Self {
        if site < peer { Self::Plus } else { Self::Minus }
    }

    /// What undoes this one.
    #[must_use]
    pub(crate) fn undone(self) -> Self {
        match self {
            Self::Plus => Self::Minus,
            Self::Minus => Self::Plus,
        }
    }
}

/// A mask to apply.
#[derive(Debug)]
pub struct MaskSeed {
    /// What its stream is keyed with.
    pub seed: Seed,
    /// Whether it is added or taken off.
    pub sign: Sign,
}

/// Masks at work on consecutive blocks of elements.
pub(crate) struct Masks {
    streams: Vec<(Stream, Sign)>,
    wide: bool,
    scratch: Vec<u8>,
}

impl Masks {
    /// The masks from the element `start` on.
    pub(crate) fn new(ring: &Ring, masks: &[MaskSeed], start: usize) -> Self {
        let wide = ring.ring_bits > 16;
        let byte = start as u64 * if wide { 4 } else { 2 };
        let streams = masks.iter().map(|mask| {
            let mut stream = Stream::new(mask.seed.as_bytes());
            stream.seek(byte);
            (stream, mask.sign)
        });
        Self { streams: streams.collect(), wide, scratch: vec![0; BLOCK * 4] }
    }

    /// Applies all masks to the next elements; what lies above the ring's bits is garbage after.
    pub(crate) fn apply(&mut self, values: &mut [u32]) {
        for (stream, sign) in &mut self.streams {
            for part in values.chunks_mut(BLOCK) {
                let len = part.len() * if self.wide { 4 } else { 2 };
                let Some(key) = self.scratch.get_mut(..len) else { return };
                stream.fill(key);
                combine(part, key, self.wide, *sign);
            }
        }
    }
}

/// Adds or subtracts one element of the key stream to each value, modulo 2^32.
fn combine(values: &mut [u32], key: &[u8], wide: bool, sign: Sign) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || match (wide, sign) {
            (false, Sign::Plus) => {
                for (value, key) in values.iter_mut().zip(key.as_chunks().0) {
                    *value = value.wrapping_add(u32::from(u16::from_le_bytes(*key)));
                }
            }
            (false, Sign::Minus) => {
                for (value, key) in values.iter_mut().zip(key.as_chunks().0) {
                    *value = value.wrapping_sub(u32::from(u16::from_le_bytes(*key)));
                }
            }
            (true, Sign::Plus) => {
                for (value, key) in values.iter_mut().zip(key.as_chunks().0) {
                    *value = value.wrapping_add(u32::from_le_bytes(*key));
                }
            }
            (true, Sign::Minus) => {
                for (value, key) in values.iter_mut().zip(key.as_chunks().0) {
                    *value = value.wrapping_sub(u32::from_le_bytes(*key));
                }
            }
        },
    );
}

/// Masks a packed update in place.
pub fn mask_packed(
    ring: &Ring,
    packed: &mut [u8],
    elements: usize,
    masks: &[MaskSeed],
) -> Result<(), SecaggError> {
    if packed.len() != ring.packed_len(elements) || ring.check_parameters().is_err() {
        return Err(SecaggError::Update);
    }
    let mut masks = Masks::new(ring, masks, 0);
    let mut values = vec![0u32; BLOCK];
    let mut left = elements + 1;
    // A block holds a multiple of eight elements, so only the last one ends inside a byte.
    for bytes in packed.chunks_mut(BLOCK * ring.ring_bits as usize / 8) {
        let count = BLOCK.min(left);
        left -= count;
        let Some(block) = values.get_mut(..count) else { break };
        unpack(bytes, ring.ring_bits, block);
        masks.apply(block);
        pack(block, ring.ring_bits, bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NIST SP 800-38A, F.5.5 encrypts with a counter that does not start at 0; this is the block
    /// cipher's own vector (FIPS 197, C.3) with the plaintext as counter instead.
    #[test]
    fn stream_is_aes_256() {
        let key: [u8; 32] = std::array::from_fn(|i| i as u8);
        let counter: [u8; 16] = std::array::from_fn(|i| (i * 0x11) as u8);
        let mut block = [0u8; 16];
        Ctr128BE::<Aes256>::new(&key.into(), &counter.into()).apply_keystream(&mut block);
        assert_eq!(hex::encode(block), "8ea2b7ca516745bfeafc49904b496089");
    }

    #[test]
    fn seeking_gives_the_same_stream() {
        for bits in [12, 16, 20] {
            let ring = Ring { quantisation_bits: 10, ring_bits: bits, clip: 1.0, weight_cap: 1 };
            let masks = [MaskSeed { seed: Seed::from_bytes([9; 32]), sign: Sign::Plus }];
            let mut whole = vec![0u32; 5000];
            Masks::new(&ring, &masks, 0).apply(&mut whole);
            let mut part = vec![0u32; 1000];
            Masks::new(&ring, &masks, 1234).apply(&mut part);
            assert_eq!(part, whole[1234..2234]);
        }
    }
}
