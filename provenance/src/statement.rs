//! in-toto Statement v1: what a signature is about.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The type of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// Subjects, and something said of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// What it is about.
    pub subject: Vec<Subject>,
    /// What kind of thing is said.
    pub predicate_type: String,
    /// What is said.
    pub predicate: serde_json::Value,
}

/// Something with a name and a digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its digest.
    pub digest: DigestSet,
}

/// A digest by algorithm; only SHA-256 is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestSet {
    /// SHA-256.
    pub sha256: Digest,
}

#[derive(Serialize, Deserialize)]
struct HexDigestSet {
    sha256: String,
}

impl Serialize for DigestSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        HexDigestSet { sha256: self.sha256.hex() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DigestSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let set = HexDigestSet::deserialize(deserializer)?;
        let sha256 = Digest::from_hex(&set.sha256).map_err(serde::de::Error::custom)?;
        Ok(Self { sha256 })
    }
}

impl Subject {
    /// A subject.
    pub fn new(name: impl Into<String>, sha256: Digest) -> Self {
        Self { name: name.into(), digest: DigestSet { sha256 } }
    }
}

impl Statement {
    /// A statement of a typed predicate.
    pub fn new(subject: Vec<Subject>, predicate_type: &str, predicate: &impl Serialize) -> Self {
        Self {
            kind: STATEMENT_TYPE.to_owned(),
            subject,
            predicate_type: predicate_type.to_owned(),
            // Predicates are plain structs; they always have a JSON form.
            predicate: serde_json::to_value(predicate).unwrap_or_default(),
        }
    }

    /// The predicate, if it is of the expected type and shape.
    pub fn predicate_as<T: serde::de::DeserializeOwned>(&self, predicate_type: &str) -> Option<T> {
        if self.kind != STATEMENT_TYPE || self.predicate_type != predicate_type {
            return None;
        }
        T::deserialize(&self.predicate).ok()
    }
}
