//! The secrets of one site in one round, and how they follow from a single one.

use ring::hkdf;
use ring::signature::{ED25519, UnparsedPublicKey};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::error::SecaggError;

/// 32 secret bytes: a mask's seed, a key, or the coins of a sharing.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

impl Seed {
    /// A seed out of its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for the one place that needs them.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn zero() -> Self {
        Self([0; 32])
    }

    pub(crate) fn as_mut_bytes(&mut self) -> &mut [u8; 32] {
        &mut self.0
    }

    fn copy(&self) -> Self {
        Self(self.0)
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed")
    }
}

/// Who signs for a site: its registered Ed25519 identity.
pub trait Identity {
    /// An Ed25519 signature of 64 bytes.
    fn sign(&self, message: &[u8]) -> Vec<u8>;
}

/// Whether `signature` is the identity's over `message`.
pub fn verify_signature(identity: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, identity).verify(message, signature).is_ok()
}

/// The one secret a site draws for a round and keeps until the round is over. All else follows.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RoundSecret(Seed);

impl RoundSecret {
    /// A round's secret out of 32 bytes fresh from the system's generator, or from the site's disk.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Seed(bytes))
    }

    /// Its bytes, for the site's own disk.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The key that seals shares to this site.
    pub(crate) fn encryption(&self) -> KeyPair {
        KeyPair::new(&self.derive(b"encryption key", &[]))
    }

    /// The key that pairwise masks are agreed with.
    pub(crate) fn masking(&self) -> KeyPair {
        KeyPair::new(&self.masking_seed())
    }

    /// What the masking key is made of: this is what gets shared.
    pub(crate) fn masking_seed(&self) -> Seed {
        self.derive(b"masking key", &[])
    }

    /// The seed of the site's own mask.
    pub(crate) fn own_mask(&self) -> Seed {
        self.derive(b"own mask", &[])
    }

    /// The randomness of a sharing in this session; another session draws another polynomial.
    pub(crate) fn coins(&self, what: &[u8], session: &[u8; 32]) -> Seed {
        self.derive(what, session)
    }

    fn derive(&self, label: &[u8], context: &[u8]) -> Seed {
        expand(self.0.as_bytes(), b"chancery-secagg-v1 site secret", &[label, context])
    }
}

impl std::fmt::Debug for RoundSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RoundSecret")
    }
}

/// An X25519 key pair. The secret half is zeroised when it is dropped.
pub(crate) struct KeyPair {
    secret: StaticSecret,
    public: [u8; 32],
}

impl KeyPair {
    pub(crate) fn new(seed: &Seed) -> Self {
        let secret = StaticSecret::from(*seed.as_bytes());
        let public = PublicKey::from(&secret).to_bytes();
        Self { secret, public }
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.public
    }

    /// A secret with the owner of `peer`, bound to the session and a label (HKDF-SHA-256).
    pub(crate) fn agree(
        &self,
        peer: &[u8; 32],
        session: &[u8; 32],
        label: &[&[u8]],
    ) -> Option<Seed> {
        let shared = self.secret.diffie_hellman(&PublicKey::from(*peer));
        // A point of small order would give everybody the same secret.
        shared.was_contributory().then(|| expand(shared.as_bytes(), session, label))
    }
}

/// The seed of the mask between two sites, the same from either side.
pub(crate) fn pair_seed(
    own: &KeyPair,
    own_site: usize,
    peer: &[u8; 32],
    peer_site: usize,
    session: &[u8; 32],
) -> Option<Seed> {
    let (low, high) = (own_site.min(peer_site) as u32, own_site.max(peer_site) as u32);
    own.agree(peer, session, &[b"pair mask", &low.to_le_bytes(), &high.to_le_bytes()])
}

/// What a site publishes of its own mask's seed, so that wrong shares are found out.
pub(crate) fn commitment(seed: &Seed) -> [u8; 32] {
    *expand(seed.as_bytes(), b"chancery-secagg-v1 commitment", &[]).as_bytes()
}

/// HKDF-SHA-256 (RFC 5869).
fn expand(key: &[u8], salt: &[u8], info: &[&[u8]]) -> Seed {
    struct Len;
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            32
        }
    }
    let mut out = Seed::zero();
    let filled = hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(key)
        .expand(info, Len)
        .and_then(|okm| okm.fill(&mut out.0));
    // 32 bytes are far below HKDF-SHA-256's limit of 8,160; ring fails above it only.
    debug_assert!(filled.is_ok());
    out
}

/// 32 fresh bytes from the system's generator.
pub fn fresh_secret() -> Result<RoundSecret, SecaggError> {
    use ring::rand::SecureRandom;
    let mut seed = Seed::zero();
    ring::rand::SystemRandom::new().fill(&mut seed.0).map_err(|_| SecaggError::Randomness)?;
    Ok(RoundSecret(seed.copy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_and_other_sessions_do_not() {
        let one = KeyPair::new(&Seed([1; 32]));
        let other = KeyPair::new(&Seed([2; 32]));
        let seed = |own: &KeyPair, site, peer: &KeyPair, peer_site, session| {
            *pair_seed(own, site, &peer.public(), peer_site, &session).unwrap().as_bytes()
        };
        assert_eq!(seed(&one, 3, &other, 8, [0; 32]), seed(&other, 8, &one, 3, [0; 32]));
        assert_ne!(seed(&one, 3, &other, 8, [0; 32]), seed(&one, 3, &other, 8, [1; 32]));
        assert_ne!(seed(&one, 3, &other, 8, [0; 32]), seed(&one, 3, &other, 7, [0; 32]));
    }

    #[test]
    fn points_of_small_order_are_no_keys() {
        let one = KeyPair::new(&Seed([1; 32]));
        assert!(one.agree(&[0; 32], &[0; 32], &[]).is_none());
    }

    #[test]
    fn secrets_do_not_print() {
        let text = format!("{:?} {:?}", Seed([7; 32]), RoundSecret::from_bytes([7; 32]));
        assert_eq!(text, "Seed RoundSecret");
    }
}
