//! Who calls: an Ed25519 signature over method, time, nonce and body, by a key that is known and not
//! revoked. A TLS client certificate, when there is one, must hold the same key.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use chancery_proto::request;
use chancery_provenance::PublicKey;
use http_body_util::{BodyExt as _, Full, Limited};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::TlsConnectInfo;
use tower::{Layer, Service};

use super::SocketBytes;
use crate::app::App;
use crate::clock;
use crate::error::{Error, Reject};

/// A caller whose signature was checked.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// A site.
    Site {
        /// Its name.
        name: String,
        /// SPKI, PEM.
        key: String,
    },
    /// The operator.
    Operator,
}

impl Caller {
    /// The site that calls, or a refusal.
    pub(crate) fn site<T>(request: &tonic::Request<T>) -> Result<(String, String), Status> {
        match request.extensions().get::<Self>() {
            Some(Self::Site { name, key }) => Ok((name.clone(), key.clone())),
            _ => Err(Status::permission_denied("CH3112: only a site may call this")),
        }
    }

    /// Refuses everybody but the operator.
    pub(crate) fn operator<T>(request: &tonic::Request<T>) -> Result<(), Status> {
        match request.extensions().get::<Self>() {
            Some(Self::Operator) => Ok(()),
            _ => Err(Status::permission_denied("CH3113: only the operator may call this")),
        }
    }
}

/// Nonces seen within the clock's tolerance.
#[derive(Default)]
struct Nonces(HashMap<String, u64>);

impl Nonces {
    fn use_once(&mut self, caller: &str, nonce: &str, at: u64) -> bool {
        if self.0.len() > 100_000 {
            self.0.retain(|_, seen| seen.saturating_add(2 * request::CLOCK_TOLERANCE_MS) > at);
        }
        self.0.insert(format!("{caller} {nonce}"), at).is_none()
    }
}

/// Checks every request before the services see it.
#[derive(Clone)]
pub(crate) struct AuthLayer {
    app: Arc<App>,
    nonces: Arc<Mutex<Nonces>>,
}

impl AuthLayer {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self { app, nonces: Arc::default() }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
pub(crate) struct Auth<S> {
    inner: S,
    layer: AuthLayer,
}

impl<S> Service<http::Request<Body>> for Auth<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        Box::pin(async move {
            if is_open(request.uri().path()) {
                return inner.call(request).await;
            }
            match layer.check(request).await {
                Ok(request) => inner.call(request).await,
                Err(error) => Ok(Status::from(error).into_http()),
            }
        })
    }
}

/// Calls that need no identity.
fn is_open(path: &str) -> bool {
    path == "/chancery.v1.Enrolment/Enrol"
        || path.starts_with("/grpc.health.v1.Health/")
        || path.starts_with("/grpc.reflection.v1.ServerReflection/")
}

impl AuthLayer {
    async fn check(&self, request: http::Request<Body>) -> Result<http::Request<Body>, Error> {
        let refuse = |why| Error::from(Reject::Unauthenticated(why));
        let (mut parts, body) = request.into_parts();
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(name), Some(time), Some(nonce), Some(signature)) = (
            header(request::CALLER),
            header(request::TIME).and_then(|text| text.parse::<u64>().ok()),
            header(request::NONCE),
            header(request::SIGNATURE).and_then(|text| hex::decode(text).ok()),
        ) else {
            return Err(refuse("the request is not signed"));
        };
        let (caller, key) = self.identify(name).await?;
        let now = clock::now_ms();
        if now.abs_diff(time) > request::CLOCK_TOLERANCE_MS {
            return Err(refuse(
                "the caller's clock differs by more than five minutes\n  fix:  set the clock",
            ));
        }
        if nonce.len() != 32 || nonce.bytes().all(|digit| digit == b'0') {
            return Err(refuse("the request's nonce is not 16 random bytes"));
        }
        let connection = parts.extensions.get::<TlsConnectInfo<Arc<SocketBytes>>>();
        let connection = connection.ok_or_else(|| refuse("the call did not come through TLS"))?;
        if let Some(certificates) = connection.peer_certs()
            && let Some(certificate) = certificates.first()
            && certificate_key(certificate).as_ref() != Some(&key)
        {
            return Err(refuse("the TLS certificate is another caller's"));
        }
        let body = Limited::new(body, request::BODY_LIMIT)
            .collect()
            .await
            .map_err(|_| refuse("the request is cut off or too large"))?
            .to_bytes();
        let message = request::signed_bytes(parts.uri.path(), name, time, nonce, &body);
        key.verify(&message, &signature)
            .map_err(|_| refuse("the request's signature does not fit"))?;
        // Only now, or else anybody could use up somebody's nonces.
        let fresh = self.nonces.lock().is_ok_and(|mut nonces| nonces.use_once(name, nonce, now));
        if !fresh {
            return Err(refuse("the request was sent before"));
        }
        if let Caller::Site { name, .. } = &caller {
            self.app.meters.attach(name, connection.get_ref());
        }
        parts.extensions.insert(caller);
        Ok(http::Request::from_parts(parts, Body::new(Full::new(body))))
    }

    async fn identify(&self, name: &str) -> Result<(Caller, PublicKey), Error> {
        if name == "operator" {
            return Ok((Caller::Operator, self.app.authority.operator.clone()));
        }
        let refuse = |why| Error::from(Reject::Unauthenticated(why));
        let sites = self.app.store.sites().await?;
        let Some(site) = sites.into_iter().find(|site| site.name == name) else {
            return Err(refuse("the caller is not known here"));
        };
        if site.state != "enrolled" {
            return Err(refuse("the site was revoked by the operator"));
        }
        let key = PublicKey::from_pem(&site.key)?;
        Ok((Caller::Site { name: site.name, key: site.key }, key))
    }
}

fn certificate_key(der: &[u8]) -> Option<PublicKey> {
    use x509_parser::prelude::FromDer as _;
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
    PublicKey::from_spki_der(certificate.tbs_certificate.subject_pki.raw).ok()
}
