//! Join tokens: a one-time secret, and the fingerprint by which a site recognises its coordinator
//! before it trusts anything else it says.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;
use zeroize::Zeroizing;

const PREFIX: &str = "chj1";
/// Bytes of the secret part.
pub const TOKEN_SECRET: usize = 24;

/// A join token: `chj1.<secret, base64url>.<SHA-256 of the CA certificate, hexadecimal>`.
pub struct JoinToken {
    secret: Zeroizing<[u8; TOKEN_SECRET]>,
    authority: [u8; 32],
}

impl JoinToken {
    /// A token of these parts.
    pub fn new(secret: [u8; TOKEN_SECRET], authority: [u8; 32]) -> Self {
        Self { secret: Zeroizing::new(secret), authority }
    }

    /// SHA-256 of the DER form of the federation's CA certificate.
    pub fn authority(&self) -> &[u8; 32] {
        &self.authority
    }

    /// The secret in the form `EnrolRequest.token` carries.
    pub fn secret_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.secret))
    }

    /// The whole token, to be given to one site over a private channel.
    pub fn expose(&self) -> Zeroizing<String> {
        let secret = self.secret_text();
        Zeroizing::new(format!("{PREFIX}.{}.{}", secret.as_str(), hex::encode(self.authority)))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken")
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.trim().split('.');
        let (Some(PREFIX), Some(secret), Some(authority), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError);
        };
        let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(secret).map_err(|_| TokenError)?);
        let secret: [u8; TOKEN_SECRET] = decoded.as_slice().try_into().map_err(|_| TokenError)?;
        let mut fingerprint = [0; 32];
        hex::decode_to_slice(authority, &mut fingerprint).map_err(|_| TokenError)?;
        Ok(Self::new(secret, fingerprint))
    }
}

/// Not a join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "this is not a join token (chj1.<secret>.<fingerprint>)\n  fix:  ask the operator for a new one: chancery coordinator token NAME"
)]
pub struct TokenError;

impl TokenError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        "CH1301"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_survives_its_text() {
        let token = JoinToken::new([7; TOKEN_SECRET], [9; 32]);
        let read: JoinToken = token.expose().parse().unwrap();
        assert_eq!(read.expose().as_str(), token.expose().as_str());
        assert_eq!(format!("{token:?}"), "JoinToken");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "chj1", "chj1.AAAA.00", "chj2.x.y", "chj1.a.b.c.d"] {
            assert_eq!(text.parse::<JoinToken>().unwrap_err(), TokenError);
        }
    }
}
