//! The federation's certificate authority, and the coordinator's and the operator's keys. All are
//! made at the first start and stay in `keys/` and `operator/`, readable by their owner alone.

use std::fs;
use std::path::Path;

use chancery_provenance::{Algorithm, Digest, PublicKey, SigningKey, pem, pem_body};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::{CertificateSigningRequestDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use crate::error::{Error, Reject};

/// How long a site's certificate is valid.
const SITE_DAYS: i64 = 90;
/// How long the authority's and the server's are.
const AUTHORITY_DAYS: i64 = 3650;

/// Keys and certificates of one coordinator.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Vec<u8>,
    /// Signs plans and receipts.
    pub(crate) key: SigningKey,
    /// The operator's public key.
    pub(crate) operator: PublicKey,
    /// PEM of the server's chain and of its key.
    pub(crate) server: (String, zeroize::Zeroizing<String>),
}

impl Authority {
    /// Opens or makes everything under `dir`.
    pub(crate) fn open(dir: &Path, names: &[String], now_ms: u64) -> Result<Self, Error> {
        let keys = dir.join("keys");
        let now = OffsetDateTime::from_unix_timestamp((now_ms / 1000).cast_signed())
            .map_err(|e| Error::State(e.to_string()))?;
        let key = SigningKey::load_or_create(&keys.join("coordinator.key"), Algorithm::Ed25519)?;
        let ca_key = pair(&SigningKey::load_or_create(&keys.join("ca.key"), Algorithm::P256)?)?;
        let ca_path = keys.join("ca.pem");
        if !ca_path.exists() {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "chancery federation");
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            (params.not_before, params.not_after) =
                (now - Duration::hours(1), now + Duration::days(AUTHORITY_DAYS));
            write(&ca_path, params.self_signed(&ca_key)?.pem().as_bytes())?;
        }
        let ca_pem = read(&ca_path)?;
        let certificate = pem_body(&ca_pem, "CERTIFICATE")
            .ok_or_else(|| Error::State(format!("{} holds no certificate", ca_path.display())))?;
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, ca_key)?;
        let server = server(&keys, &issuer, &ca_pem, names, now)?;
        let operator = operator(&dir.join("operator"), &issuer, &ca_pem, &key.public(), now)?;
        write(&keys.join("coordinator.pub"), key.public().to_pem().as_bytes())?;
        Ok(Self { issuer, certificate, key, operator, server })
    }

    /// SHA-256 of the authority's certificate.
    pub(crate) fn fingerprint(&self) -> Digest {
        Digest::of(&self.certificate)
    }

    /// PEM of the authority's certificate.
    pub(crate) fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// Issues a client certificate for a request that a site signed with its Ed25519 key.
    pub(crate) fn issue(
        &self,
        request: &[u8],
        name: &str,
        now_ms: u64,
    ) -> Result<(Vec<u8>, PublicKey), Error> {
        let bad = || Reject::Argument("not a certificate request by an Ed25519 key".to_owned());
        let der = CertificateSigningRequestDer::from(request.to_vec());
        // Parsing checks the request's own signature.
        let mut csr = CertificateSigningRequestParams::from_der(&der).map_err(|_| bad())?;
        let spki = {
            use x509_parser::prelude::FromDer as _;
            let (_, parsed) =
                x509_parser::certification_request::X509CertificationRequest::from_der(request)
                    .map_err(|_| bad())?;
            parsed.certification_request_info.subject_pki.raw.to_vec()
        };
        let key = PublicKey::from_spki_der(&spki).map_err(|_| bad())?;
        if key.algorithm() != Algorithm::Ed25519 {
            return Err(bad().into());
        }
        let now = OffsetDateTime::from_unix_timestamp((now_ms / 1000).cast_signed())
            .map_err(|e| Error::State(e.to_string()))?;
        // Nothing of what the request asks for is taken over but its key.
        csr.params = client(name, now, SITE_DAYS);
        Ok((csr.signed_by(&self.issuer)?.der().to_vec(), key))
    }
}

fn client(name: &str, now: OffsetDateTime, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (now - Duration::hours(1), now + Duration::days(days));
    params
}

/// The server's certificate is made anew at every start, for the names of that start.
fn server(
    keys: &Path,
    issuer: &Issuer<'_, KeyPair>,
    ca_pem: &str,
    names: &[String],
    now: OffsetDateTime,
) -> Result<(String, zeroize::Zeroizing<String>), Error> {
    let key = SigningKey::load_or_create(&keys.join("server.key"), Algorithm::P256)?;
    let mut all = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    all.extend(names.iter().cloned());
    let mut params = CertificateParams::new(all)?;
    params.distinguished_name.push(DnType::CommonName, "chancery coordinator");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) =
        (now - Duration::hours(1), now + Duration::days(AUTHORITY_DAYS));
    let certificate = params.signed_by(&pair(&key)?, issuer)?;
    // The authority goes along so that a joining site can recognise it by its fingerprint.
    Ok((format!("{}{ca_pem}", certificate.pem()), key.to_pkcs8_pem()))
}

fn operator(
    dir: &Path,
    issuer: &Issuer<'_, KeyPair>,
    ca_pem: &str,
    coordinator: &PublicKey,
    now: OffsetDateTime,
) -> Result<PublicKey, Error> {
    let key = SigningKey::load_or_create(&dir.join("operator.key"), Algorithm::Ed25519)?;
    let certificate = client("operator", now, AUTHORITY_DAYS).signed_by(&pair(&key)?, issuer)?;
    write(&dir.join("operator.crt"), certificate.pem().as_bytes())?;
    write(&dir.join("ca.pem"), ca_pem.as_bytes())?;
    write(&dir.join("coordinator.pub"), coordinator.to_pem().as_bytes())?;
    Ok(key.public())
}

fn pair(key: &SigningKey) -> Result<KeyPair, Error> {
    let algorithm = match key.public().algorithm() {
        Algorithm::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        Algorithm::Ed25519 => &rcgen::PKCS_ED25519,
    };
    let der = PrivatePkcs8KeyDer::from(key.pkcs8_der());
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der, algorithm)?)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|source| Error::File { path: path.to_owned(), source })
}
