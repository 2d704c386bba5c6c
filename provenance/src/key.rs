//! Signing keys: made where they are used, kept in files that only their owner reads.
//!
//! P-256 (ECDSA over SHA-256) signs what other people's tools verify; OpenSSF Model Signing and
//! cosign know no Ed25519 here. Ed25519 is the identity of sites and coordinators.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    self, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::digest::Digest;

/// DER in front of a P-256 point: AlgorithmIdentifier id-ecPublicKey, prime256v1 (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// DER in front of an Ed25519 key (RFC 8410).
const ED25519_SPKI: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The largest key file that is read.
const FILE_LIMIT: u64 = 16 << 10;

/// Which kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    P256,
    /// Ed25519.
    Ed25519,
}

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A private key. Its bytes are wiped when it goes.
pub struct SigningKey {
    pair: Pair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    /// A new key.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let document = match algorithm {
            Algorithm::P256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            }
            Algorithm::Ed25519 => Ed25519KeyPair::generate_pkcs8(&random),
        };
        let document = document.map_err(|_| KeyError::Randomness)?;
        Self::from_pkcs8(document.as_ref())
    }

    /// A key in PKCS#8 (DER), P-256 or Ed25519.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pkcs8 = Zeroizing::new(der.to_vec());
        let random = SystemRandom::new();
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &random) {
            return Ok(Self { pair: Pair::P256(pair), pkcs8 });
        }
        match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            Ok(pair) => Ok(Self { pair: Pair::Ed25519(pair), pkcs8 }),
            Err(_) => Err(KeyError::Private),
        }
    }

    /// Reads a key file; refuses one that others can read.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        refuse_shared(path)?;
        let text = Zeroizing::new(read(path)?);
        let der = Zeroizing::new(pem_body(&text, "PRIVATE KEY").ok_or(KeyError::Private)?);
        Self::from_pkcs8(&der)
    }

    /// Reads a key file, or makes a new key and its file (0600) when there is none.
    pub fn load_or_create(path: &Path, algorithm: Algorithm) -> Result<Self, KeyError> {
        if path.exists() {
            return Self::load(path);
        }
        let key = Self::generate(algorithm)?;
        write_secret(path, key.to_pkcs8_pem().as_bytes())
            .map_err(|source| KeyError::File { path: path.to_owned(), source })?;
        Ok(key)
    }

    /// Signs: DER for P-256, 64 bytes for Ed25519.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            // It fails only without randomness; an empty signature verifies nowhere.
            Pair::P256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .unwrap_or_default(),
        }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        match &self.pair {
            Pair::P256(pair) => {
                PublicKey { algorithm: Algorithm::P256, raw: pair.public_key().as_ref().to_vec() }
            }
            Pair::Ed25519(pair) => PublicKey {
                algorithm: Algorithm::Ed25519,
                raw: pair.public_key().as_ref().to_vec(),
            },
        }
    }

    /// PKCS#8, DER.
    pub fn pkcs8_der(&self) -> &[u8] {
        &self.pkcs8
    }

    /// PKCS#8, PEM.
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem("PRIVATE KEY", &self.pkcs8))
    }
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    raw: Vec<u8>,
}

impl PublicKey {
    /// A SubjectPublicKeyInfo (DER) of P-256 or Ed25519.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        if let Some(raw) = der.strip_prefix(&P256_SPKI)
            && raw.len() == 65
            && raw.first() == Some(&4)
        {
            return Ok(Self { algorithm: Algorithm::P256, raw: raw.to_vec() });
        }
        match der.strip_prefix(&ED25519_SPKI) {
            Some(raw) if raw.len() == 32 => {
                Ok(Self { algorithm: Algorithm::Ed25519, raw: raw.to_vec() })
            }
            _ => Err(KeyError::Public),
        }
    }

    /// A SubjectPublicKeyInfo in PEM.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        Self::from_spki_der(&pem_body(text, "PUBLIC KEY").ok_or(KeyError::Public)?)
    }

    /// Reads a PEM file.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        Self::from_pem(&read(path)?)
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn to_spki_der(&self) -> Vec<u8> {
        match self.algorithm {
            Algorithm::P256 => [&P256_SPKI[..], &self.raw].concat(),
            Algorithm::Ed25519 => [&ED25519_SPKI[..], &self.raw].concat(),
        }
    }

    /// SubjectPublicKeyInfo, PEM with 64 columns and a final newline.
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &self.to_spki_der())
    }

    /// Which kind of key.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The 32 bytes of an Ed25519 key.
    pub fn ed25519_bytes(&self) -> Option<[u8; 32]> {
        let ed25519 = self.algorithm == Algorithm::Ed25519;
        self.raw.as_slice().try_into().ok().filter(|_| ed25519)
    }

    /// Checks a signature over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        let verified = match self.algorithm {
            Algorithm::P256 => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, &self.raw)
                    .verify(message, signature)
            }
            Algorithm::Ed25519 => {
                UnparsedPublicKey::new(&signature::ED25519, &self.raw).verify(message, signature)
            }
        };
        verified.map_err(|_| KeyError::Signature)
    }

    /// How bundles refer to the key: SHA-256 of the PEM text, in hexadecimal, which is the rule of
    /// OpenSSF Model Signing.
    pub fn hint(&self) -> String {
        Digest::of(self.to_pem().as_bytes()).hex()
    }

    /// What people compare: SHA-256 of the DER form.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", Digest::of(&self.to_spki_der()).hex())
    }
}

/// PEM with 64 columns (RFC 7468).
pub fn pem(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = String::with_capacity(body.len() + body.len() / 64 + 64);
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// The bytes of the first PEM block called `label`.
pub fn pem_body(text: &str, label: &str) -> Option<Vec<u8>> {
    let start = text.split_once(&format!("-----BEGIN {label}-----"))?.1;
    let body = start.split_once(&format!("-----END {label}-----"))?.0;
    let joined: Zeroizing<String> =
        Zeroizing::new(body.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    STANDARD.decode(joined.as_bytes()).ok()
}

/// Writes a new file that only its owner reads; never over an old one.
pub fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn refuse_shared(path: &Path) -> Result<(), KeyError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(path)
            .map_err(|source| KeyError::File { path: path.to_owned(), source })?;
        if metadata.mode() & 0o077 != 0 {
            return Err(KeyError::Shared { path: path.to_owned() });
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, KeyError> {
    use io::Read as _;
    let file = |source| KeyError::File { path: path.to_owned(), source };
    let mut text = String::new();
    fs::File::open(path).map_err(file)?.take(FILE_LIMIT).read_to_string(&mut text).map_err(file)?;
    Ok(text)
}

/// Why a key or a signature was refused.
#[derive(Debug, Error)]
pub enum KeyError {
    /// Not a private key of a known kind.
    #[error("this is not a P-256 or Ed25519 private key in PKCS#8")]
    Private,
    /// Not a public key of a known kind.
    #[error("this is not a P-256 or Ed25519 public key (-----BEGIN PUBLIC KEY-----)")]
    Public,
    /// A signature that this key did not make over these bytes.
    #[error("the signature does not fit the key and the bytes")]
    Signature,
    /// A private key that others can read.
    #[error("{} can be read by others\n  fix:  chmod 600 {}", path.display(), path.display())]
    Shared {
        /// The file.
        path: PathBuf,
    },
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes")]
    Randomness,
}

impl KeyError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Private => "CH5101",
            Self::Public => "CH5102",
            Self::Signature => "CH5103",
            Self::Shared { .. } => "CH5104",
            Self::File { .. } => "CH5105",
            Self::Randomness => "CH5106",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_sign_verify_and_survive_their_files() {
        let dir = tempfile::tempdir().unwrap();
        for algorithm in [Algorithm::P256, Algorithm::Ed25519] {
            let path = dir.path().join(format!("{algorithm:?}.key"));
            let key = SigningKey::load_or_create(&path, algorithm).unwrap();
            let signature = key.sign(b"message");
            let again = SigningKey::load_or_create(&path, algorithm).unwrap();
            let public = PublicKey::from_pem(&again.public().to_pem()).unwrap();
            assert_eq!(public, key.public());
            public.verify(b"message", &signature).unwrap();
            assert!(public.verify(b"massage", &signature).is_err());
            assert_eq!(format!("{key:?}"), "SigningKey");
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shared.key");
        SigningKey::load_or_create(&path, Algorithm::P256).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(SigningKey::load(&path).unwrap_err().code(), "CH5104");
    }

    #[test]
    fn other_bytes_are_no_keys() {
        assert!(SigningKey::from_pkcs8(b"").is_err());
        assert!(
            PublicKey::from_pem("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----")
                .is_err()
        );
        assert!(PublicKey::from_spki_der(&ED25519_SPKI).is_err());
    }
}
