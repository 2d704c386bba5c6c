//! What a caller signs: every request carries an Ed25519 signature over its method, time, nonce and
//! body, so that authentication survives a proxy that terminates TLS.

/// Header: the caller's name.
pub const CALLER: &str = "chancery-caller";
/// Header: milliseconds since 1970.
pub const TIME: &str = "chancery-time";
/// Header: 32 hexadecimal digits, never used twice.
pub const NONCE: &str = "chancery-nonce";
/// Header: the signature in hexadecimal.
pub const SIGNATURE: &str = "chancery-signature";

/// How far a caller's clock may be off, in milliseconds.
pub const CLOCK_TOLERANCE_MS: u64 = 300_000;
/// Largest request body; a chunk and its envelope fit.
pub const BODY_LIMIT: usize = 4 << 20;
/// Bytes in one chunk of a blob.
pub const CHUNK: usize = 1 << 20;

/// The bytes a caller signs.
pub fn signed_bytes(path: &str, caller: &str, time_ms: u64, nonce: &str, body: &[u8]) -> Vec<u8> {
    let digest = ring::digest::digest(&ring::digest::SHA256, body);
    let digest = hex::encode(digest.as_ref());
    format!("chancery-request-v1\n{path}\n{caller}\n{time_ms}\n{nonce}\n{digest}").into_bytes()
}
