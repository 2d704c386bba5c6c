//! Joining a federation: the key is made here, and the coordinator must present the certificate
//! authority that the token names before anything is sent to it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use chancery_proto::JoinToken;
use chancery_proto::wire::EnrolRequest;
use chancery_proto::wire::enrolment_client::EnrolmentClient;
use chancery_provenance::{Algorithm, Digest, PublicKey, SigningKey, pem};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Certificate, ClientTlsConfig};

use crate::client::{endpoint, refused};
use crate::error::{Error, at};
use crate::home::{Home, Issued, SiteFile, key_error, write};
use crate::policy;

/// Enrols a new site: makes its key in `home`, checks the coordinator against the token, and stores
/// the certificate it issues.
pub async fn join(url: &str, token: &JoinToken, home: &Path) -> Result<Home, Error> {
    if let Ok(joined) = Home::open(home) {
        let url = joined.site().coordinator.clone();
        return Err(Error::Joined { home: home.to_owned(), url });
    }
    let authority = fetch_authority(url, token.authority()).await?;
    std::fs::create_dir_all(home).map_err(at(home))?;
    let key = SigningKey::load_or_create(&home.join("identity.key"), Algorithm::Ed25519)
        .map_err(key_error)?;
    let authority_pem = pem("CERTIFICATE", &authority);
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority_pem));
    let channel = endpoint(url)?
        .tls_config(tls)
        .map_err(|source| Error::Unreachable { url: url.to_owned(), source })?
        .connect()
        .await
        .map_err(|source| Error::Unreachable { url: url.to_owned(), source })?;
    let reply = EnrolmentClient::new(channel)
        .enrol(EnrolRequest {
            token: token.secret_text().to_string(),
            certificate_request: certificate_request(&key)?,
        })
        .await
        .map_err(|status| refused("to enrol this site", status))?
        .into_inner();
    let policy = home.join("policy.toml");
    if !policy.exists() {
        write(&policy, policy::SAMPLE.as_bytes(), 0o644)?;
    }
    Home::create(
        home,
        &Issued {
            site: SiteFile { site: reply.site, coordinator: url.to_owned() },
            certificate_pem: pem("CERTIFICATE", &reply.certificate),
            authority_pem,
            coordinator_key: PublicKey::from_pem(&reply.coordinator_key).map_err(key_error)?,
        },
    )
}

fn certificate_request(key: &SigningKey) -> Result<Vec<u8>, Error> {
    let bad = |e: rcgen::Error| Error::Certificate(e.to_string());
    let der = key.pkcs8_der();
    let pair =
        KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der), &rcgen::PKCS_ED25519)
            .map_err(bad)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "chancery participant");
    Ok(params.serialize_request(&pair).map_err(bad)?.der().to_vec())
}

/// Shakes hands once and keeps the certificate whose SHA-256 is `fingerprint`, provided that the
/// server's own certificate is issued by it for this host.
async fn fetch_authority(url: &str, fingerprint: &[u8; 32]) -> Result<Vec<u8>, Error> {
    let uri: tonic::transport::Uri = url.parse().map_err(|_| Error::Url { url: url.to_owned() })?;
    let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else {
        return Err(Error::Url { url: url.to_owned() });
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let pinned = Arc::new(PinnedAuthority { fingerprint: *fingerprint, found: Mutex::default() });
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Certificate(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&pinned) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name =
        ServerName::try_from(host.clone()).map_err(|_| Error::Url { url: url.to_owned() })?;
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(at(url))?;
    if TlsConnector::from(Arc::new(config)).connect(name, stream).await.is_err() {
        return Err(Error::Authority { url: url.to_owned() });
    }
    let found = pinned.found.lock().map(|found| found.clone()).unwrap_or_default();
    found.ok_or_else(|| Error::Authority { url: url.to_owned() })
}

/// Accepts a server only when its chain holds the authority with the known fingerprint and its
/// certificate is valid under that authority alone.
#[derive(Debug)]
struct PinnedAuthority {
    fingerprint: [u8; 32],
    found: Mutex<Option<Vec<u8>>>,
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates
            .iter()
            .find(|certificate| Digest::of(certificate).as_bytes() == &self.fingerprint)
            .ok_or_else(|| rustls::Error::General("another certificate authority".to_owned()))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verified = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        if let Ok(mut found) = self.found.lock() {
            *found = Some(authority.to_vec());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The fingerprint people compare: SHA-256 of the authority's certificate.
pub fn authority_fingerprint(token: &JoinToken) -> String {
    token.authority().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}
