//! The files of a folder by digest, and one digest over all of them.
//!
//! The root is OpenSSF Model Signing's: SHA-256 over the concatenated raw digests of the files, in
//! the order of their names.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::digest::{Digest, Hasher};

/// The most files a folder may hold.
const FILE_COUNT_LIMIT: usize = 10_000;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Relative to the folder, `/` between parts.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Of its content.
    pub digest: Digest,
}

/// Files in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The files.
    pub files: Vec<ManifestFile>,
    /// Over all digests.
    pub root: Digest,
}

impl Manifest {
    /// Hashes `names` in `dir`, streaming.
    pub fn of_files(dir: &Path, mut names: Vec<String>) -> Result<Self, ManifestError> {
        names.sort();
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            let path = dir.join(&name);
            let file = |source| ManifestError::File { path: path.clone(), source };
            let (digest, size) =
                Digest::of_reader(File::open(&path).map_err(file)?).map_err(file)?;
            files.push(ManifestFile { name, size, digest });
        }
        let root = root_digest(files.iter().map(|file| &file.digest));
        Ok(Self { files, root })
    }
}

/// SHA-256 over raw digests one after the other.
pub fn root_digest<'a>(digests: impl IntoIterator<Item = &'a Digest>) -> Digest {
    let mut hasher = Hasher::new();
    for digest in digests {
        hasher.update(digest.as_bytes());
    }
    hasher.finish()
}

/// What identifies a base model: its configuration, its tokenizer and its weights.
pub fn base_manifest(dir: &Path) -> Result<Manifest, ManifestError> {
    let names: Vec<String> = flat_files(dir)?
        .into_iter()
        .filter(|name| {
            matches!(
                name.as_str(),
                "config.json" | "tokenizer.json" | "model.safetensors.index.json"
            ) || name.ends_with(".safetensors")
        })
        .collect();
    for wanted in ["config.json", "tokenizer.json"] {
        if !names.iter().any(|name| name == wanted) {
            return Err(ManifestError::NotACheckpoint { dir: dir.to_owned(), missing: wanted });
        }
    }
    if !names.iter().any(|name| name.ends_with(".safetensors")) {
        return Err(ManifestError::NotACheckpoint {
            dir: dir.to_owned(),
            missing: "model.safetensors",
        });
    }
    Manifest::of_files(dir, names)
}

/// The names of the regular files directly in `dir`; links are followed, as the Hugging Face cache
/// consists of them.
fn flat_files(dir: &Path) -> Result<Vec<String>, ManifestError> {
    let file = |source| ManifestError::File { path: dir.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(file)? {
        let entry = entry.map_err(file)?;
        if entry.path().is_file()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
        if names.len() > FILE_COUNT_LIMIT {
            return Err(ManifestError::TooMany { dir: dir.to_owned() });
        }
    }
    Ok(names)
}

/// All regular files under `dir` but those in `ignored`, as OpenSSF Model Signing lists them. Links
/// and names that are not UTF-8 are errors, since a signature could not cover them.
pub fn tree_files(dir: &Path, ignored: &[&str]) -> Result<Vec<String>, ManifestError> {
    let mut names = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = dir.join(&folder);
        let file = |source| ManifestError::File { path: path.clone(), source };
        for entry in fs::read_dir(&path).map_err(file)? {
            let entry = entry.map_err(file)?;
            let odd = || ManifestError::Odd { path: entry.path() };
            let name = entry.file_name().into_string().map_err(|_| odd())?;
            let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if ignored.contains(&name.as_str()) {
                continue;
            }
            let kind = entry.file_type().map_err(file)?;
            if kind.is_dir() {
                folders.push(name);
            } else if kind.is_file() {
                names.push(name);
            } else {
                return Err(odd());
            }
            if names.len() + folders.len() > FILE_COUNT_LIMIT {
                return Err(ManifestError::TooMany { dir: dir.to_owned() });
            }
        }
    }
    names.sort();
    Ok(names)
}

/// Why a folder could not be listed.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// Not a base model.
    #[error("{} has no {missing}; a base model is a Hugging Face folder with config.json, tokenizer.json and safetensors weights", dir.display())]
    NotACheckpoint {
        /// The folder.
        dir: PathBuf,
        /// What it lacks.
        missing: &'static str,
    },
    /// Neither a file nor a folder, or a name that is not UTF-8.
    #[error("{} is a link or has an unusual name, which no signature covers", path.display())]
    Odd {
        /// The entry.
        path: PathBuf,
    },
    /// More files than any model has.
    #[error("{} holds more than {FILE_COUNT_LIMIT} files", dir.display())]
    TooMany {
        /// The folder.
        dir: PathBuf,
    },
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl ManifestError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotACheckpoint { .. } => "CH5201",
            Self::Odd { .. } => "CH5202",
            Self::TooMany { .. } => "CH5203",
            Self::File { .. } => "CH5204",
        }
    }
}
