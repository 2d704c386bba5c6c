//! DSSE envelopes in Sigstore bundles v0.3, signed by a managed key.
//!
//! The pre-authentication encoding is DSSE v1's. `publicKey.hint` is the key's hint as OpenSSF Model
//! Signing computes it and `keyid` is empty, so one bundle satisfies `model_signing` and `cosign`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::digest::Digest;
use crate::key::{PublicKey, SigningKey};
use crate::statement::Statement;

/// The bundle's media type; no other spelling is accepted.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The payload's type.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The largest bundle that is read.
pub const BUNDLE_LIMIT: usize = 16 << 20;

/// A signed statement. Fields that are not known are refused, as ProtoJSON asks: what they say would go
/// unchecked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bundle {
    media_type: String,
    verification_material: VerificationMaterial,
    dsse_envelope: Envelope,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VerificationMaterial {
    public_key: PublicKeyHint,
    #[serde(default)]
    tlog_entries: Vec<serde_json::Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicKeyHint {
    #[serde(default)]
    hint: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    sig: String,
    #[serde(default)]
    keyid: String,
}

impl Bundle {
    /// Signs a statement.
    pub fn sign(statement: &Statement, key: &SigningKey) -> Result<Self, BundleError> {
        let payload = serde_json::to_vec(statement).map_err(|_| BundleError::Malformed)?;
        let signature = key.sign(&pae(PAYLOAD_TYPE, &payload));
        let hint = key.public().hint();
        Ok(Self {
            media_type: MEDIA_TYPE.to_owned(),
            verification_material: VerificationMaterial {
                public_key: PublicKeyHint { hint },
                tlog_entries: Vec::new(),
            },
            dsse_envelope: Envelope {
                payload: STANDARD.encode(payload),
                payload_type: PAYLOAD_TYPE.to_owned(),
                // A key id would make cosign look for a key of that name, and find none.
                signatures: vec![Signature {
                    sig: STANDARD.encode(signature),
                    keyid: String::new(),
                }],
            },
        })
    }

    /// Reads a bundle; nothing in it is believed yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > BUNDLE_LIMIT {
            return Err(BundleError::TooLarge);
        }
        let bundle: Self = serde_json::from_slice(bytes).map_err(|_| BundleError::Malformed)?;
        let envelope = &bundle.dsse_envelope;
        if bundle.media_type != MEDIA_TYPE
            || envelope.payload_type != PAYLOAD_TYPE
            || envelope.signatures.len() != 1
        {
            return Err(BundleError::Malformed);
        }
        Ok(bundle)
    }

    /// Reads one bundle a line.
    pub fn parse_lines(bytes: &[u8]) -> Result<Vec<Self>, BundleError> {
        bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(Self::parse)
            .collect()
    }

    /// The bundle's bytes; also what its digest is computed over.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The digest by which others refer to this bundle.
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_json().as_bytes())
    }

    /// The hint of the key that claims to have signed.
    pub fn hint(&self) -> &str {
        &self.verification_material.public_key.hint
    }

    /// Checks the signature and gives the statement.
    pub fn verify(&self, key: &PublicKey) -> Result<Statement, BundleError> {
        if self.hint() != key.hint() {
            return Err(BundleError::AnotherKey);
        }
        let (payload, signature) = self.decode()?;
        key.verify(&pae(PAYLOAD_TYPE, &payload), &signature).map_err(|_| BundleError::Signature)?;
        serde_json::from_slice(&payload).map_err(|_| BundleError::Malformed)
    }

    /// The statement without any check, for showing what is claimed.
    pub fn unverified(&self) -> Result<Statement, BundleError> {
        serde_json::from_slice(&self.decode()?.0).map_err(|_| BundleError::Malformed)
    }

    fn decode(&self) -> Result<(Vec<u8>, Vec<u8>), BundleError> {
        let envelope = &self.dsse_envelope;
        let [signature] = envelope.signatures.as_slice() else {
            return Err(BundleError::Malformed);
        };
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| BundleError::Malformed);
        Ok((decode(&envelope.payload)?, decode(&signature.sig)?))
    }
}

/// DSSE's pre-authentication encoding.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// Why a bundle was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BundleError {
    /// Not a Sigstore bundle v0.3 with one DSSE signature by a managed key.
    #[error("not a Sigstore bundle v0.3 with one signed in-toto statement")]
    Malformed,
    /// Larger than any bundle.
    #[error("larger than {BUNDLE_LIMIT} bytes")]
    TooLarge,
    /// It names another key.
    #[error("signed by another key")]
    AnotherKey,
    /// The signature does not fit.
    #[error("the signature does not fit the key and the statement")]
    Signature,
}

impl BundleError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "CH5301",
            Self::TooLarge => "CH5302",
            Self::AnotherKey => "CH5303",
            Self::Signature => "CH5304",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::Algorithm;
    use crate::statement::Subject;

    fn statement() -> Statement {
        let subject = Subject::new("adapter", Digest::of(b"x"));
        Statement::new(vec![subject], "https://example.org/p", &serde_json::json!({ "a": 1 }))
    }

    #[test]
    fn pae_is_dsse_v1() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn a_bundle_verifies_with_its_key_only() {
        for algorithm in [Algorithm::P256, Algorithm::Ed25519] {
            let key = SigningKey::generate(algorithm).unwrap();
            let other = SigningKey::generate(algorithm).unwrap();
            let bundle = Bundle::sign(&statement(), &key).unwrap();
            let read = Bundle::parse(bundle.to_json().as_bytes()).unwrap();
            assert_eq!(read.verify(&key.public()).unwrap(), statement());
            assert_eq!(read.verify(&other.public()), Err(BundleError::AnotherKey));
        }
    }

    proptest! {
        #[test]
        fn a_changed_byte_never_verifies(place: prop::sample::Index, bit in 0u8..8) {
            let key = SigningKey::generate(Algorithm::P256).unwrap();
            let bundle = Bundle::sign(&statement(), &key).unwrap();
            let mut bytes = bundle.to_json().into_bytes();
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            if let Ok(read) = Bundle::parse(&bytes)
                && read != bundle
                && let Ok(read) = read.verify(&key.public())
            {
                // Only the redundant key id outside of the signature may differ.
                prop_assert_eq!(read, statement());
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = Bundle::parse(&bytes);
            let _ = Bundle::parse_lines(&bytes);
        }
    }
}
