//! Integers of a fixed number of bits as bytes and back, least significant bit first. Eight of them
//! fill whole bytes, so the loops go by groups of eight with the number of bits known when compiled.

use super::lane::Lane;

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

/// Packs the low `bits` of each value into `bytes`, which are exactly as many as it takes.
pub(crate) fn pack<L: Lane>(values: &[L], bits: u32, bytes: &mut [u8]) {
    pulp::Arch::new().dispatch(|| {
        if bits == 16 {
            for (value, raw) in values.iter().zip(bytes.as_chunks_mut().0) {
                *raw = (value.wide() as u16).to_le_bytes();
            }
            return;
        }
        by_bits!(bits, pack_groups, values, bytes);
    });
}

/// The inverse of [`pack`].
pub(crate) fn unpack<L: Lane>(bytes: &[u8], bits: u32, values: &mut [L]) {
    pulp::Arch::new().dispatch(|| {
        if bits == 16 {
            for (value, raw) in values.iter_mut().zip(bytes.as_chunks().0) {
                *value = L::narrow(u32::from(u16::from_le_bytes(*raw)));
            }
            return;
        }
        by_bits!(bits, unpack_groups, bytes, values);
    });
}

#[inline(always)]
fn pack_groups<const BITS: usize, L: Lane>(values: &[L], bytes: &mut [u8]) {
    let (groups, rest) = values.as_chunks::<GROUP>();
    let (whole, last) = bytes.split_at_mut((groups.len() * BITS).min(bytes.len()));
    for (group, out) in groups.iter().zip(whole.chunks_exact_mut(BITS)) {
        out.copy_from_slice(&pack_group::<BITS>(&group.map(L::wide)));
    }
    let mut group = [0u32; GROUP];
    for (slot, value) in group.iter_mut().zip(rest) {
        *slot = value.wide();
    }
    for (out, byte) in last.iter_mut().zip(pack_group::<BITS>(&group)) {
        *out = byte;
    }
}

#[inline(always)]
fn pack_group<const BITS: usize>(group: &[u32; GROUP]) -> [u8; BITS] {
    let mask = u32::MAX >> (32 - BITS);
    // 32 values of 8 bits at most, and what one write of eight bytes may reach beyond.
    let mut buffer = [0u8; 48];
    let mut held = 0u64;
    for (index, value) in group.iter().enumerate() {
        let bit = index * BITS;
        held |= u64::from(value & mask) << (bit % 32);
        if bit % 32 + BITS >= 32 {
            let at = bit / 32 * 4;
            buffer[at..at + 4].copy_from_slice(&(held as u32).to_le_bytes());
            held >>= 32;
        }
    }
    let at = GROUP * BITS / 32 * 4;
    buffer[at..at + 4].copy_from_slice(&(held as u32).to_le_bytes());
    let mut out = [0u8; BITS];
    out.copy_from_slice(&buffer[..BITS]);
    out
}

#[inline(always)]
fn unpack_groups<const BITS: usize, L: Lane>(bytes: &[u8], values: &mut [L]) {
    let (groups, rest) = values.as_chunks_mut::<GROUP>();
    let (whole, last) = bytes.split_at((groups.len() * BITS).min(bytes.len()));
    for (group, raw) in groups.iter_mut().zip(whole.chunks_exact(BITS)) {
        *group = unpack_group::<BITS>(raw).map(L::narrow);
    }
    for (slot, value) in rest.iter_mut().zip(unpack_group::<BITS>(last)) {
        *slot = L::narrow(value);
    }
}

#[inline(always)]
fn unpack_group<const BITS: usize>(raw: &[u8]) -> [u32; GROUP] {
    let mask = u64::from(u32::MAX >> (32 - BITS));
    let mut buffer = [0u8; 48];
    let len = raw.len().min(BITS);
    buffer[..len].copy_from_slice(&raw[..len]);
    std::array::from_fn(|index| {
        let bit = index * BITS;
        let mut word = [0u8; 8];
        word.copy_from_slice(&buffer[bit / 8..bit / 8 + 8]);
        ((u64::from_le_bytes(word) >> (bit % 8)) & mask) as u32
    })
}
