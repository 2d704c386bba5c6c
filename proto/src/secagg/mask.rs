//! Masks: streams of ring elements that one seed gives, added to an update or taken off a sum.
//!
//! The stream is AES-256 in counter mode over zeros (NIST SP 800-38A, section 6.5), keyed with the whole
//! 256-bit seed, counter from 0. The counter is encrypted in place, which spares a pass over zeros.
//! An element takes two bytes of it (little-endian) in rings of up to 16 bits
//! and four above; only its low `ring_bits` count, and those are uniform.

use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use aes::{Aes256, Block};

use zeroize::Zeroize as _;

use super::error::SecaggError;
use super::key::Seed;
use crate::codec::{BLOCK, Lane, Ring, pack, unpack};

/// Bytes of one block of the cipher.
const CIPHER_BLOCK: usize = 16;

/// A keyed stream of cipher blocks: the encrypted counter, from 0 on, in big-endian.
pub(crate) struct Stream {
    cipher: Aes256,
    counter: u64,
}

impl Stream {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        Self { cipher: Aes256::new(&(*seed).into()), counter: 0 }
    }

    /// The next blocks, as bytes.
    fn blocks<'a>(&mut self, out: &'a mut [Block]) -> &'a [u8] {
        for block in out.iter_mut() {
            *block = u128::from(self.counter).to_be_bytes().into();
            self.counter = self.counter.wrapping_add(1);
        }
        self.cipher.encrypt_blocks(out);
        Array::cast_slice_to_core(out).as_flattened()
    }

    /// The next two bytes for each of a block's elements.
    pub(crate) fn pairs<'a>(&mut self, scratch: &'a mut PairBlocks) -> &'a [[u8; 2]] {
        self.blocks(scratch.0.as_mut_slice()).as_chunks().0
    }

    /// Fills `out` from the next block on; what is left of the last block is skipped.
    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        let mut blocks = [Block::default(); 64];
        for part in out.chunks_mut(blocks.len() * CIPHER_BLOCK) {
            let needed = part.len().div_ceil(CIPHER_BLOCK);
            let Some(blocks) = blocks.get_mut(..needed) else { return };
            for (byte, key) in part.iter_mut().zip(self.blocks(blocks)) {
                *byte = *key;
            }
        }
    }
}

/// Room for two bytes of a stream for each of a block's elements.
pub(crate) struct PairBlocks(Vec<Block>);

impl PairBlocks {
    pub(crate) fn new() -> Self {
        Self(vec![Block::default(); BLOCK * 2 / CIPHER_BLOCK])
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
    scratch: Vec<Block>,
}

impl Masks {
    /// The masks from the element `start` on, which is a multiple of [`BLOCK`].
    pub(crate) fn new<L: Lane>(masks: &[MaskSeed], start: usize) -> Self {
        let counter = (start * L::BYTES / CIPHER_BLOCK) as u64;
        let streams = masks
            .iter()
            .map(|mask| (Stream { counter, ..Stream::new(mask.seed.as_bytes()) }, mask.sign));
        let scratch = vec![Block::default(); BLOCK * L::BYTES / CIPHER_BLOCK];
        Self { streams: streams.collect(), scratch }
    }

    /// Applies all masks to the next elements, a block at most; what lies above the ring's bits is
    /// garbage after.
    pub(crate) fn apply<L: Lane>(&mut self, values: &mut [L]) {
        let blocks = (values.len() * L::BYTES).div_ceil(CIPHER_BLOCK);
        let Some(scratch) = self.scratch.get_mut(..blocks) else { return };
        for (stream, sign) in &mut self.streams {
            let key = stream.blocks(scratch);
            match sign {
                Sign::Plus => L::add_bytes(values, key),
                Sign::Minus => L::subtract_bytes(values, key),
            }
        }
    }
}

impl Drop for Masks {
    fn drop(&mut self) {
        Array::cast_slice_to_core_mut(&mut self.scratch).as_flattened_mut().zeroize();
    }
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
    match ring.ring_bits {
        ..=16 => mask_blocks::<u16>(ring, packed, elements + 1, masks),
        _ => mask_blocks::<u32>(ring, packed, elements + 1, masks),
    }
    Ok(())
}

fn mask_blocks<L: Lane>(ring: &Ring, packed: &mut [u8], mut left: usize, masks: &[MaskSeed]) {
    let mut masks = Masks::new::<L>(masks, 0);
    let mut values = [L::default(); BLOCK];
    // A block holds a multiple of eight elements, so only the last one ends inside a byte.
    for bytes in packed.chunks_mut(BLOCK * ring.ring_bits as usize / 8) {
        let count = BLOCK.min(left);
        left -= count;
        let Some(block) = values.get_mut(..count) else { break };
        unpack(bytes, ring.ring_bits, block);
        masks.apply(block);
        pack(block, ring.ring_bits, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From an independent implementation (pyca/cryptography).
    const STREAM: &str =
        "f29000b62a499fd0a9f39a6add2e7780f05d76ae4ab99fe5a6f69b3148c2363d0ebcb5deb52c83bd";

    #[test]
    fn stream_is_aes_256_of_a_counter() {
        let key: [u8; 32] = std::array::from_fn(|i| i as u8);
        let mut stream = Stream { counter: 0, ..Stream::new(&key) };
        let mut blocks = [0u8; 40];
        stream.fill(&mut blocks);
        assert_eq!(hex::encode(blocks), STREAM);
    }

    #[test]
    fn masks_may_begin_at_any_block() {
        fn check<L: Lane + PartialEq + std::fmt::Debug>() {
            let masks = [MaskSeed { seed: Seed::from_bytes([9; 32]), sign: Sign::Plus }];
            let mut whole = [L::default(); 3 * BLOCK + 77];
            let mut all = Masks::new::<L>(&masks, 0);
            whole.chunks_mut(BLOCK).for_each(|block| all.apply(block));
            let mut part = [L::default(); 77];
            Masks::new::<L>(&masks, 3 * BLOCK).apply(&mut part);
            assert_eq!(part, whole[3 * BLOCK..]);
        }
        check::<u16>();
        check::<u32>();
    }
}
