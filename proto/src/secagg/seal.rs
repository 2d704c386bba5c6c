//! Shares on their way to the one site that may read them.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::key::{KeyPair, Seed};
use super::session::Session;
use super::share::{SHARE_LEN, Share};

/// Bytes of a sealed pair of shares: both, and the tag.
const SEALED_LEN: usize = 2 * SHARE_LEN + 16;

/// Both shares that one site made for another, sealed (AES-256-GCM).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Who made them.
    pub from: usize,
    /// Who can open them.
    pub to: usize,
    /// Ciphertext and tag.
    pub bytes: Vec<u8>,
}

/// What a holder has of one owner: a share of each of its two secrets.
pub(crate) struct Held {
    /// Of the seed of its own mask.
    pub(crate) own_mask: Share,
    /// Of its masking key.
    pub(crate) masking: Share,
}

impl Sealed {
    /// Seals what `from` made for `to`. Each key seals one message, so the nonce is constant.
    pub(crate) fn seal(
        session: &Session,
        keys: &KeyPair,
        from: usize,
        to: usize,
        held: &Held,
    ) -> Option<Self> {
        let key = key(session, keys, from, to, to)?;
        let mut bytes = Vec::with_capacity(SEALED_LEN);
        bytes.extend_from_slice(held.own_mask.as_bytes());
        bytes.extend_from_slice(held.masking.as_bytes());
        key.seal_in_place_append_tag(
            nonce(),
            Aad::from(session.share_context(from, to)),
            &mut bytes,
        )
        .ok()?;
        Some(Self { from, to, bytes })
    }

    /// Opens what `from` made for `to`, who asks.
    pub(crate) fn open(&self, session: &Session, keys: &KeyPair) -> Option<Held> {
        let key = key(session, keys, self.from, self.to, self.from)?;
        let mut bytes = Zeroizing::new(self.bytes.clone());
        let aad = Aad::from(session.share_context(self.from, self.to));
        let plain = key.open_in_place(nonce(), aad, &mut bytes).ok()?;
        let (own_mask, masking) = plain.split_at_checked(SHARE_LEN)?;
        Some(Held {
            own_mask: Share(own_mask.try_into().ok()?),
            masking: Share(masking.try_into().ok()?),
        })
    }

    /// Whether it has the size of a sealed pair of shares.
    pub(crate) fn is_whole(&self) -> bool {
        self.bytes.len() == SEALED_LEN
    }
}

fn key(
    session: &Session,
    keys: &KeyPair,
    from: usize,
    to: usize,
    peer: usize,
) -> Option<LessSafeKey> {
    let (one, other) = ((from as u32).to_le_bytes(), (to as u32).to_le_bytes());
    let advert = session.advert(peer)?;
    let seed: Seed = keys.agree(&advert.encryption, session.id(), &[b"share", &one, &other])?;
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, seed.as_bytes()).ok()?))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}
