//! Shamir's secret sharing of 32 bytes over GF(2^8), byte by byte, in constant time.
//!
//! The field is that of AES (`x^8 + x^4 + x^3 + x + 1`). Multiplication uses no tables and no branches
//! on secrets, because a share is a secret and tables leak through the cache.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::key::Seed;
use super::mask::Stream;

/// Bytes of one share; its place on the polynomial is not part of it.
pub const SHARE_LEN: usize = 32;

/// One holder's share of a secret.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Share(pub(crate) [u8; SHARE_LEN]);

impl Share {
    /// A share out of its bytes.
    pub fn from_bytes(bytes: [u8; SHARE_LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for the one message that carries it.
    pub fn as_bytes(&self) -> &[u8; SHARE_LEN] {
        &self.0
    }
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Share")
    }
}

/// The shares of `secret` at the places `1..=holders`; any `threshold` of them give it back, fewer
/// say nothing about it. The polynomial's other coefficients are drawn from `coins`.
pub(crate) fn split(secret: &Seed, threshold: usize, holders: usize, coins: &Seed) -> Vec<Share> {
    let mut stream = Stream::new(coins.as_bytes());
    let mut coefficients = vec![Share(*secret.as_bytes())];
    for _ in 1..threshold {
        let mut coefficient = Share([0; SHARE_LEN]);
        stream.fill(&mut coefficient.0);
        coefficients.push(coefficient);
    }
    (1..=holders)
        .map(|place| {
            let mut share = Share([0; SHARE_LEN]);
            // Horner's rule, from the highest coefficient down.
            for coefficient in coefficients.iter().rev() {
                for (sum, byte) in share.0.iter_mut().zip(&coefficient.0) {
                    *sum = multiply(*sum, place as u8) ^ byte;
                }
            }
            share
        })
        .collect()
}

/// The secret behind shares at distinct places (Lagrange at 0); as many as the threshold.
pub(crate) fn join(shares: &[(u8, &Share)]) -> Seed {
    let mut secret = Seed::zero();
    for (index, (place, share)) in shares.iter().enumerate() {
        let mut factor = 1;
        for (other, (peer, _)) in shares.iter().enumerate() {
            if other != index {
                factor = multiply(factor, multiply(*peer, inverse(place ^ peer)));
            }
        }
        for (sum, byte) in secret.as_mut_bytes().iter_mut().zip(&share.0) {
            *sum ^= multiply(*byte, factor);
        }
    }
    secret
}

/// The product in the field, bit by bit.
fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    for _ in 0..8 {
        product ^= a & (b & 1).wrapping_neg();
        let carry = (a >> 7).wrapping_neg();
        a = (a << 1) ^ (carry & 0x1b);
        b >>= 1;
    }
    product
}

/// `a^254`, which is the inverse of everything but 0.
fn inverse(a: u8) -> u8 {
    let mut power = a;
    let mut result = 1;
    for _ in 1..8 {
        power = multiply(power, power);
        result = multiply(result, power);
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn field_agrees_with_the_aes_standard() {
        // FIPS 197, section 4.2: {57} * {83} = {c1}, and {57} * {13} = {fe}.
        assert_eq!(multiply(0x57, 0x83), 0xc1);
        assert_eq!(multiply(0x57, 0x13), 0xfe);
        for a in 1..=255 {
            assert_eq!(multiply(a, inverse(a)), 1);
        }
    }

    proptest! {
        #[test]
        fn any_threshold_of_shares_gives_the_secret(
            secret: [u8; 32],
            coins: [u8; 32],
            threshold in 1usize..20,
            more in 0usize..20,
            order in any::<prop::sample::Index>(),
        ) {
            let holders = threshold + more;
            let shares = split(&Seed::from_bytes(secret), threshold, holders, &Seed::from_bytes(coins));
            let mut chosen: Vec<(u8, &Share)> =
                shares.iter().enumerate().map(|(i, share)| (i as u8 + 1, share)).collect();
            chosen.rotate_left(order.index(holders));
            chosen.truncate(threshold);
            let joined = join(&chosen);
            prop_assert_eq!(joined.as_bytes(), &secret);
        }

        /// With one share too few every secret is equally possible: for any other secret there is a
        /// polynomial through the same shares.
        #[test]
        fn fewer_shares_fit_every_secret(secret: [u8; 32], other: [u8; 32], threshold in 2usize..12) {
            let shares = split(&Seed::from_bytes(secret), threshold, threshold, &Seed::from_bytes([7; 32]));
            let mut known: Vec<(u8, &Share)> =
                shares.iter().enumerate().map(|(i, share)| (i as u8 + 1, share)).collect();
            known.pop();
            // The share that would complete them to `other`: interpolate through (0, other) as well.
            let last = threshold as u8;
            let mut completing = [0u8; 32];
            let mut points: Vec<(u8, Share)> = known.iter().map(|(x, s)| (*x, (*s).clone())).collect();
            points.push((0, Share(other)));
            for (i, (x, y)) in points.iter().enumerate() {
                let mut factor = 1;
                for (j, (peer, _)) in points.iter().enumerate() {
                    if i != j {
                        factor = multiply(factor, multiply(last ^ peer, inverse(x ^ peer)));
                    }
                }
                for (sum, byte) in completing.iter_mut().zip(&y.0) {
                    *sum ^= multiply(*byte, factor);
                }
            }
            let completing = Share(completing);
            known.push((last, &completing));
            let joined = join(&known);
            prop_assert_eq!(joined.as_bytes(), &other);
        }
    }
}
