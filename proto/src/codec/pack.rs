//! Integers of a fixed number of bits as bytes and back, least significant bit first. Eight of them
//! fill whole bytes, so the loops go by groups of eight with the number of bits known when compiled.

use super::lane::Lane;
use crate::kernel::kernel;

/// Elements of a group.
const GROUP: usize = 8;

/// Calls `$kernel::<BITS, L>` for the number of bits at hand.
macro_rules! by_bits {
    ($bits:expr, $kernel:ident, $one:expr, $other:expr) => {
        match $bits {
            4 => $kernel::<4, L>($one, $other),
            5 => $kernel::<5, L>($one, $other),
            6 => $kernel::<6, L>($one, $other),
            7 => $kernel::<7, L>($one, $other),
            8 => $kernel::<8, L>($one, $other),
            9 => $kernel::<9, L>($one, $other),
            10 => $kernel::<10, L>($one, $other),
            11 => $kernel::<11, L>($one, $other),
            12 => $kernel::<12, L>($one, $other),
            13 => $kernel::<13, L>($one, $other),
            14 => $kernel::<14, L>($one, $other),
            15 => $kernel::<15, L>($one, $other),
            16 => $kernel::<16, L>($one, $other),
            17 => $kernel::<17, L>($one, $other),
            18 => $kernel::<18, L>($one, $other),
            19 => $kernel::<19, L>($one, $other),
            20 => $kernel::<20, L>($one, $other),
            21 => $kernel::<21, L>($one, $other),
            22 => $kernel::<22, L>($one, $other),
            23 => $kernel::<23, L>($one, $other),
            24 => $kernel::<24, L>($one, $other),
            25 => $kernel::<25, L>($one, $other),
            26 => $kernel::<26, L>($one, $other),
            27 => $kernel::<27, L>($one, $other),
            28 => $kernel::<28, L>($one, $other),
            29 => $kernel::<29, L>($one, $other),
            30 => $kernel::<30, L>($one, $other),
            31 => $kernel::<31, L>($one, $other),
            32 => $kernel::<32, L>($one, $other),
            // `Ring::check_parameters` lets no other ring pass.
            _ => {}
        }
    };
}

kernel! {
    /// Packs the low `bits` of each value into `bytes`, which are exactly as many as it takes.
    pub(crate) fn pack<'a, L: Lane>(values: &'a [L], bits: u32, bytes: &'a mut [u8]) -> () {
        if bits == 16 {
            for (value, raw) in values.iter().zip(bytes.as_chunks_mut().0) {
                *raw = (value.wide() as u16).to_le_bytes();
            }
            return;
        }
        by_bits!(bits, pack_groups, values, bytes);
    }
}

kernel! {
    /// The inverse of [`pack`].
    pub(crate) fn unpack<'a, L: Lane>(bytes: &'a [u8], bits: u32, values: &'a mut [L]) -> () {
        if bits == 16 {
            for (value, raw) in values.iter_mut().zip(bytes.as_chunks().0) {
                *value = L::narrow(u32::from(u16::from_le_bytes(*raw)));
            }
            return;
        }
        by_bits!(bits, unpack_groups, bytes, values);
    }
}

#[inline(always)]
fn pack_groups<const BITS: usize, L: Lane>(values: &[L], bytes: &mut [u8]) {
    let (groups, rest) = values.as_chunks::<GROUP>();
    let (whole, last) = bytes.split_at_mut((groups.len() * BITS).min(bytes.len()));
    for (group, out) in groups.iter().zip(whole.chunks_exact_mut(BITS)) {
        out.copy_from_slice(&pack_group::<BITS, L>(group));
    }
    let mut group = [L::default(); GROUP];
    for (slot, value) in group.iter_mut().zip(rest) {
        *slot = *value;
    }
    for (out, byte) in last.iter_mut().zip(pack_group::<BITS, L>(&group)) {
        *out = byte;
    }
}

#[inline(always)]
fn unpack_groups<const BITS: usize, L: Lane>(bytes: &[u8], values: &mut [L]) {
    let (mut bytes, mut values) = (bytes, values);
    if L::BYTES == 2 && BITS <= 16 {
        let done = values.len() / (GROUP * SPAN) * (GROUP * SPAN);
        let (spans, rest) = values.split_at_mut(done);
        let (raw, left) = bytes.split_at((done / GROUP * BITS).min(bytes.len()));
        let groups = raw.as_chunks::<BITS>().0.as_chunks::<SPAN>().0;
        for (span, groups) in spans.chunks_exact_mut(GROUP * SPAN).zip(groups) {
            L::store(unpack_span::<BITS>(groups), span);
        }
        (bytes, values) = (left, rest);
    }
    let (groups, rest) = values.as_chunks_mut::<GROUP>();
    let (whole, last) = bytes.split_at((groups.len() * BITS).min(bytes.len()));
    for (group, raw) in groups.iter_mut().zip(whole.as_chunks::<BITS>().0) {
        *group = unpack_group::<BITS, L>(raw);
    }
    let mut raw = [0; BITS];
    raw.iter_mut().zip(last).for_each(|(slot, byte)| *slot = *byte);
    for (slot, value) in rest.iter_mut().zip(unpack_group::<BITS, L>(&raw)) {
        *slot = value;
    }
}

/// Groups that are unpacked side by side.
const SPAN: usize = 8;

/// Elements of up to 16 bits, four to a word: half a group is spread over a word by four shifts and masks,
/// and those of all words at once.
#[inline(always)]
fn unpack_span<const BITS: usize>(groups: &[[u8; BITS]; SPAN]) -> [u64; 2 * SPAN] {
    let mut words = [0; 2 * SPAN];
    for (pair, raw) in words.as_chunks_mut::<2>().0.iter_mut().zip(groups) {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(raw).for_each(|(slot, byte)| *slot = *byte);
        let group = u128::from_le_bytes(bytes);
        *pair = [group as u64, (group >> (GROUP / 2 * BITS)) as u64];
    }
    let (mask, step) = (u64::MAX >> (64 - BITS.min(16)), 16 - BITS.min(16));
    for word in &mut words {
        *word = *word & mask
            | *word << step & mask << 16
            | *word << (2 * step) & mask << 32
            | *word << (3 * step) & mask << 48;
    }
    words
}

#[inline(always)]
fn pack_group<const BITS: usize, L: Lane>(group: &[L; GROUP]) -> [u8; BITS] {
    let mask = u32::MAX >> (32 - BITS);
    // 32 values of 8 bits at most, and what one write of eight bytes may reach beyond.
    let mut buffer = [0u8; 48];
    let mut held = 0u64;
    for (index, value) in group.iter().enumerate() {
        let bit = index * BITS;
        held |= u64::from(value.wide() & mask) << (bit % 32);
        if bit % 32 + BITS >= 32 {
            let at = bit / 32 * 4;
            buffer[at..at + 4].copy_from_slice(&(held as u32).to_le_bytes());
            held >>= 32;
        }
    }
    let at = GROUP * BITS / 32 * 4;
    buffer[at..at + 4].copy_from_slice(&(held as u32).to_le_bytes());
    let mut out = [0; BITS];
    out.copy_from_slice(&buffer[..BITS]);
    out
}

#[inline(always)]
fn unpack_group<const BITS: usize, L: Lane>(raw: &[u8; BITS]) -> [L; GROUP] {
    let mask = u64::from(u32::MAX >> (32 - BITS));
    let mut buffer = [0u8; 48];
    buffer[..BITS].copy_from_slice(raw);
    std::array::from_fn(|index| {
        let bit = index * BITS;
        let mut word = [0u8; 8];
        word.copy_from_slice(&buffer[bit / 8..bit / 8 + 8]);
        L::narrow(((u64::from_le_bytes(word) >> (bit % 8)) & mask) as u32)
    })
}
