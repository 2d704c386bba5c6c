//! Between what travels and what is meant, for secure aggregation.

use thiserror::Error;

use crate::secagg::{Advert, ChunkRoot, Confirmation, Release, Sealed, Share, Survivor};
use crate::wire;

/// A message whose fields do not have the form they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} is missing or not of its length")]
pub struct Malformed(pub &'static str);

fn bytes<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], Malformed> {
    bytes.try_into().map_err(|_| Malformed(what))
}

impl From<&Advert> for wire::Advert {
    fn from(advert: &Advert) -> Self {
        Self {
            site: advert.site as u32,
            encryption: advert.encryption.to_vec(),
            masking: advert.masking.to_vec(),
            commitment: advert.commitment.to_vec(),
            signature: advert.signature.clone(),
        }
    }
}

impl TryFrom<wire::Advert> for Advert {
    type Error = Malformed;

    fn try_from(advert: wire::Advert) -> Result<Self, Malformed> {
        Ok(Self {
            site: advert.site as usize,
            encryption: bytes(&advert.encryption, "the encryption key")?,
            masking: bytes(&advert.masking, "the masking key")?,
            commitment: bytes(&advert.commitment, "the commitment")?,
            signature: bytes::<64>(&advert.signature, "the signature over the keys")?.to_vec(),
        })
    }
}

impl From<&Sealed> for wire::SealedShare {
    fn from(sealed: &Sealed) -> Self {
        Self { from: sealed.from as u32, to: sealed.to as u32, sealed: sealed.bytes.clone() }
    }
}

impl From<wire::SealedShare> for Sealed {
    fn from(share: wire::SealedShare) -> Self {
        Self { from: share.from as usize, to: share.to as usize, bytes: share.sealed }
    }
}

impl From<&Survivor> for wire::Survivor {
    fn from(survivor: &Survivor) -> Self {
        Self {
            site: survivor.site as u32,
            chunk_root: survivor.update.0.to_vec(),
            signature: survivor.signature.clone(),
        }
    }
}

impl TryFrom<wire::Survivor> for Survivor {
    type Error = Malformed;

    fn try_from(survivor: wire::Survivor) -> Result<Self, Malformed> {
        Ok(Self {
            site: survivor.site as usize,
            update: ChunkRoot(bytes(&survivor.chunk_root, "the root over an update's chunks")?),
            signature: survivor.signature,
        })
    }
}

impl From<&Confirmation> for wire::SignedSet {
    fn from(confirmation: &Confirmation) -> Self {
        Self { site: confirmation.site as u32, signature: confirmation.signature.clone() }
    }
}

impl From<wire::SignedSet> for Confirmation {
    fn from(set: wire::SignedSet) -> Self {
        Self { site: set.site as usize, signature: set.signature }
    }
}

/// The shares of a release as they travel: of own masks, and of masking keys.
pub fn released_shares(release: &Release) -> (Vec<wire::ReleasedShare>, Vec<wire::ReleasedShare>) {
    let wire = |shares: &[(usize, Share)]| {
        let each = shares.iter().map(|(owner, share)| wire::ReleasedShare {
            owner: *owner as u32,
            share: share.as_bytes().to_vec(),
        });
        each.collect()
    };
    (wire(&release.own_mask), wire(&release.masking))
}

/// The release of `site` that travelled.
pub fn release(site: usize, release: &wire::Release) -> Result<Release, Malformed> {
    let shares = |shares: &[wire::ReleasedShare]| {
        let each = shares.iter().map(|share| {
            let bytes = bytes(&share.share, "a released share")?;
            Ok((share.owner as usize, Share::from_bytes(bytes)))
        });
        each.collect::<Result<Vec<_>, Malformed>>()
    };
    Ok(Release { site, own_mask: shares(&release.own_mask)?, masking: shares(&release.masking)? })
}
