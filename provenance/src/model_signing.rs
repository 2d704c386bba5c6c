//! OpenSSF Model Signing v1.0 with a managed key: `model.sig` over the files of a folder.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bundle::{Bundle, BundleError};
use crate::digest::Digest;
use crate::key::SigningKey;
use crate::manifest::{ManifestError, root_digest, tree_files};
use crate::statement::{Statement, Subject};

/// The predicate's type.
pub const MODEL_SIGNING_TYPE: &str = "https://model_signing/signature/v1.0";
/// Paths outside of the signature: what downloaders leave behind, and what is signed on its own.
/// No loader reads weights or code from them.
pub const IGNORED: [&str; 8] = [
    ".cache",
    ".git",
    ".gitattributes",
    ".github",
    ".gitignore",
    "claims.jsonl",
    "model.sig",
    "passport.json",
];

/// The predicate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSignature {
    /// The files.
    pub resources: Vec<Resource>,
    /// How they were hashed.
    pub serialization: Serialization,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Relative, `/` between parts.
    pub name: String,
    /// Hexadecimal.
    pub digest: String,
    /// "sha256".
    pub algorithm: String,
}

/// How the files were hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serialization {
    /// "files".
    pub method: String,
    /// "sha256".
    pub hash_type: String,
    /// Links are never followed.
    pub allow_symlinks: bool,
    /// Paths outside of the signature.
    pub ignore_paths: Vec<String>,
}

/// The statement over `files` (name and digest, sorted by name) of the model `name`.
pub fn model_statement(name: &str, files: &[(String, Digest)]) -> Statement {
    let signature = ModelSignature {
        resources: files
            .iter()
            .map(|(name, digest)| Resource {
                name: name.clone(),
                digest: digest.hex(),
                algorithm: "sha256".to_owned(),
            })
            .collect(),
        serialization: Serialization {
            method: "files".to_owned(),
            hash_type: "sha256".to_owned(),
            allow_symlinks: false,
            ignore_paths: IGNORED.iter().map(|path| (*path).to_owned()).collect(),
        },
    };
    let root = root_digest(files.iter().map(|(_, digest)| digest));
    Statement::new(vec![Subject::new(name, root)], MODEL_SIGNING_TYPE, &signature)
}

/// Signs `files` of the model `name`.
pub fn sign_model(
    name: &str,
    files: &[(String, Digest)],
    key: &SigningKey,
) -> Result<Bundle, BundleError> {
    Bundle::sign(&model_statement(name, files), key)
}

/// How a folder differs from its signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// In the folder only.
    pub added: Vec<String>,
    /// In the signature only.
    pub missing: Vec<String>,
    /// Name, expected, actual.
    pub changed: Vec<(String, String, String)>,
}

/// Hashes the folder and compares it with a verified statement. `None` when the statement does not
/// hold together by itself.
pub fn compare(dir: &Path, statement: &Statement) -> Result<Option<Difference>, ManifestError> {
    let Some(signed) = statement.predicate_as::<ModelSignature>(MODEL_SIGNING_TYPE) else {
        return Ok(None);
    };
    let mut digests = Vec::with_capacity(signed.resources.len());
    for resource in &signed.resources {
        match Digest::from_hex(&resource.digest) {
            Ok(digest) if resource.algorithm == "sha256" => digests.push(digest),
            _ => return Ok(None),
        }
    }
    let root = root_digest(&digests);
    let [subject] = statement.subject.as_slice() else { return Ok(None) };
    if subject.digest.sha256 != root || signed.serialization.method != "files" {
        return Ok(None);
    }
    let ignored: Vec<&str> = IGNORED.to_vec();
    let found = tree_files(dir, &ignored)?;
    let mut difference = Difference::default();
    for name in &found {
        match signed.resources.iter().find(|resource| resource.name == *name) {
            None => difference.added.push(name.clone()),
            Some(resource) => {
                let path = dir.join(name);
                let file = |source| ManifestError::File { path: path.clone(), source };
                let (actual, _) =
                    Digest::of_reader(std::fs::File::open(&path).map_err(file)?).map_err(file)?;
                if actual.hex() != resource.digest {
                    let expected = resource.digest.clone();
                    difference.changed.push((name.clone(), expected, actual.hex()));
                }
            }
        }
    }
    for resource in &signed.resources {
        if !found.contains(&resource.name) {
            difference.missing.push(resource.name.clone());
        }
    }
    Ok(Some(difference))
}
