//! A site's home: its identity key, its certificate, its coordinator, and what it must not forget.
//!
//! ```text
//! identity.key     Ed25519, PKCS#8, 0600; made here, never leaves
//! dataset.salt     32 random bytes, 0600; makes dataset commitments unguessable
//! site.crt ca.pem  what the coordinator issued, and the authority that was checked
//! coordinator.pub  the key that signs plans and receipts
//! site.toml        name and address
//! policy.toml      what this site allows
//! rounds/          what it has answered in each round, and the unfinished ones' secrets and updates
//! ```

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chancery_proto::Caller;
use chancery_provenance::{Digest, PublicKey, SigningKey};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::error::{Error, at};
use crate::policy::Policy;

const SALT: &str = "dataset.salt";

/// Name and address, as `site.toml` holds them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteFile {
    /// The name the operator gave this site.
    pub site: String,
    /// The coordinator, `https://host:port`.
    pub coordinator: String,
}

/// A joined site's home.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    site: SiteFile,
    key: Arc<SigningKey>,
    coordinator_key: PublicKey,
}

/// What enrolment brought, to be written in one go.
pub(crate) struct Issued {
    pub(crate) site: SiteFile,
    pub(crate) certificate_pem: String,
    pub(crate) authority_pem: String,
    pub(crate) coordinator_key: PublicKey,
}

impl Home {
    /// Opens the home of a site that has joined.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("site.toml");
        let Ok(text) = fs::read_to_string(&path) else {
            return Err(Error::NotJoined { home: dir.to_owned() });
        };
        let site =
            toml::from_str(&text).map_err(|e| Error::Key(format!("{}: {e}", path.display())))?;
        let key = SigningKey::load(&dir.join("identity.key")).map_err(key_error)?;
        let path = dir.join("coordinator.pub");
        let pem = fs::read_to_string(&path).map_err(at(&path))?;
        let coordinator_key = PublicKey::from_pem(&pem).map_err(key_error)?;
        Ok(Self { dir: dir.to_owned(), site, key: Arc::new(key), coordinator_key })
    }

    /// Writes what enrolment brought. `site.toml` comes last: a home without it has not joined.
    pub(crate) fn create(dir: &Path, issued: &Issued) -> Result<Self, Error> {
        for (name, text) in [
            ("site.crt", issued.certificate_pem.as_str()),
            ("ca.pem", issued.authority_pem.as_str()),
            ("coordinator.pub", issued.coordinator_key.to_pem().as_str()),
        ] {
            write(&dir.join(name), text.as_bytes(), 0o644)?;
        }
        let salt = dir.join(SALT);
        if !salt.exists() {
            write(&salt, &clock::random::<32>()?, 0o600)?;
        }
        let text = toml::to_string(&issued.site).map_err(|e| Error::Key(e.to_string()))?;
        write(&dir.join("site.toml"), text.as_bytes(), 0o644)?;
        Self::open(dir)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Name and address.
    pub fn site(&self) -> &SiteFile {
        &self.site
    }

    /// The identity's public key in hexadecimal, as other sites name it in their policies.
    pub fn identity(&self) -> String {
        self.key.public().ed25519_bytes().map(hex::encode).unwrap_or_default()
    }

    /// The identity key.
    pub(crate) fn key(&self) -> &Arc<SigningKey> {
        &self.key
    }

    /// The key that signs plans and receipts.
    pub fn coordinator_key(&self) -> &PublicKey {
        &self.coordinator_key
    }

    /// PEM of this site's certificate and of the federation's authority.
    pub(crate) fn certificates(&self) -> Result<(String, String), Error> {
        let read = |name: &str| {
            let path = self.dir.join(name);
            fs::read_to_string(&path).map_err(at(&path))
        };
        Ok((read("site.crt")?, read("ca.pem")?))
    }

    /// What this site allows.
    pub fn policy(&self) -> Result<Policy, Error> {
        Policy::read(&self.dir.join("policy.toml"))
    }

    /// A commitment to a data set that says nothing about it without the salt.
    pub(crate) fn commitment(&self, data: &Digest) -> Result<Digest, Error> {
        let path = self.dir.join(SALT);
        let salt = fs::read(&path).map_err(at(&path))?;
        Ok(Digest::of(&[b"chancery-dataset-v1\n", salt.as_slice(), data.as_bytes()].concat()))
    }

    /// The caller that signs this site's requests.
    pub(crate) fn caller(&self) -> Arc<dyn Caller> {
        Arc::new(SiteCaller { name: self.site.site.clone(), key: Arc::clone(&self.key) })
    }
}

/// Writes a file whole or not at all, readable as `mode` says.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let temporary = path.with_extension("part");
    let file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary);
    file.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    })
    .and_then(|()| fs::rename(&temporary, path))
    .map_err(at(path))
}

pub(crate) fn key_error(error: impl std::fmt::Display) -> Error {
    Error::Key(error.to_string())
}

struct SiteCaller {
    name: String,
    key: Arc<SigningKey>,
}

impl Caller for SiteCaller {
    fn name(&self) -> &str {
        &self.name
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message)
    }

    fn time_ms(&self) -> u64 {
        clock::now_ms()
    }

    fn nonce(&self) -> [u8; 16] {
        // Without randomness there is no nonce, and the coordinator refuses an all-zero one twice.
        clock::random().unwrap_or_default()
    }
}
