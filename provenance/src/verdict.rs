//! The closed set of verdicts, and the report they come in.

use std::fmt;

use serde::{Serialize, Serializer};

/// What a verification came to. Codes and exit codes are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Everything that was checked holds, under a key that was given.
    Verified,
    /// No trusted key was given; nothing can be verified without one.
    NoIdentity,
    /// Not a release folder or a bundle.
    NotARelease,
    /// A bundle that cannot be read.
    BundleMalformed,
    /// Signed by a key that was not given.
    KeyMismatch,
    /// A signature that does not fit.
    SignatureInvalid,
    /// The adapter is not the signed one.
    AdapterChanged,
    /// The receipts or training statements are not the signed ones.
    ReceiptChanged,
    /// The lineage is not the signed one.
    LineageChanged,
    /// Another file is not the signed one.
    FileChanged,
    /// A signed file is not there.
    FileMissing,
    /// A file that is not signed.
    FileAdded,
    /// Receipts or training statements that do not hold together.
    ReceiptInvalid,
    /// A lineage that does not hold together, or of another adapter.
    LineageInvalid,
    /// Provenance that is not of this adapter or of these receipts.
    ProvenanceInvalid,
    /// A passport that does not follow from the evidence.
    PassportInvalid,
    /// A file that cannot be read.
    Unreadable,
}

impl Verdict {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Verified => "CH6000",
            Self::NoIdentity => "CH6001",
            Self::NotARelease => "CH6002",
            Self::BundleMalformed => "CH6003",
            Self::KeyMismatch => "CH6004",
            Self::SignatureInvalid => "CH6005",
            Self::AdapterChanged => "CH6006",
            Self::ReceiptChanged => "CH6007",
            Self::LineageChanged => "CH6008",
            Self::FileChanged => "CH6009",
            Self::FileMissing => "CH6010",
            Self::FileAdded => "CH6011",
            Self::ReceiptInvalid => "CH6012",
            Self::LineageInvalid => "CH6013",
            Self::ProvenanceInvalid => "CH6014",
            Self::PassportInvalid => "CH6015",
            Self::Unreadable => "CH6016",
        }
    }

    /// 0 when verified, otherwise the last two digits of the code plus ten.
    pub fn exit_code(self) -> u8 {
        match self.code().get(4..).and_then(|digits| digits.parse::<u8>().ok()) {
            Some(0) => 0,
            Some(number) => number + 10,
            None => 1,
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::NoIdentity => "not verified: no trusted key was given",
            Self::NotARelease => "refused: not a release folder or a bundle",
            Self::BundleMalformed => "refused: a bundle cannot be read",
            Self::KeyMismatch => "refused: signed by a key that was not given",
            Self::SignatureInvalid => "refused: a signature does not fit",
            Self::AdapterChanged => "refused: the adapter is not the signed one",
            Self::ReceiptChanged => "refused: a receipt is not the signed one",
            Self::LineageChanged => "refused: the lineage is not the signed one",
            Self::FileChanged => "refused: a file is not the signed one",
            Self::FileMissing => "refused: a signed file is missing",
            Self::FileAdded => "refused: a file is not covered by the signature",
            Self::ReceiptInvalid => "refused: the receipts do not hold together",
            Self::LineageInvalid => "refused: the lineage does not hold together",
            Self::ProvenanceInvalid => "refused: the provenance is not of this adapter",
            Self::PassportInvalid => "refused: the passport does not follow from the evidence",
            Self::Unreadable => "refused: a file cannot be read",
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// Expected and actual, or what was found.
    pub detail: String,
}

/// A verdict with everything that led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// In words.
    pub words: &'static str,
    /// What was checked, in order; the first failure ends the list.
    pub checks: Vec<Check>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
    /// Over the signed files, when there is a signature.
    pub digest: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let mark = if check.ok { "ok  " } else { "FAIL" };
            writeln!(f, "{mark}  {:<22} {}", check.name, check.detail)?;
        }
        for text in &self.not_checked {
            writeln!(f, "--    {text}")?;
        }
        if let Some(digest) = &self.digest {
            writeln!(f, "{digest}")?;
        }
        writeln!(f, "{}  {}", self.verdict.code(), self.words)
    }
}
