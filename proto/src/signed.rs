//! A client's transport that signs every request.
//!
//! It wraps any HTTP service (a tonic channel, usually), reads the request's body, and adds the
//! headers of [`crate::request`]. The clock, the randomness and the key come from outside.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use tower::Service;

use crate::request;

/// What a caller signs with, and where its time and nonces come from.
pub trait Caller: Send + Sync + 'static {
    /// The name the coordinator knows the caller by.
    fn name(&self) -> &str;
    /// An Ed25519 signature.
    fn sign(&self, message: &[u8]) -> Vec<u8>;
    /// Milliseconds since 1970.
    fn time_ms(&self) -> u64;
    /// Sixteen random bytes.
    fn nonce(&self) -> [u8; 16];
}

/// Signs what passes through to `inner`.
#[derive(Clone)]
pub struct Signed<S> {
    inner: S,
    caller: Arc<dyn Caller>,
}

impl<S> Signed<S> {
    /// Wraps `inner`; requests are signed by `caller`.
    pub fn new(inner: S, caller: Arc<dyn Caller>) -> Self {
        Self { inner, caller }
    }
}

/// The error type of every tonic transport.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<S, R> Service<Request<tonic::body::Body>> for Signed<S>
where
    S: Service<Request<tonic::body::Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        // The clone takes the place of the service that was polled ready (tower's documented idiom).
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let caller = Arc::clone(&self.caller);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            for (name, value) in headers(caller.as_ref(), parts.uri.path(), &body)? {
                parts.headers.insert(name, value);
            }
            let body = tonic::body::Body::new(Full::new(body));
            inner.call(Request::from_parts(parts, body)).await.map_err(Into::into)
        })
    }
}

fn headers(
    caller: &dyn Caller,
    path: &str,
    body: &Bytes,
) -> Result<[(HeaderName, HeaderValue); 4], BoxError> {
    let time = caller.time_ms();
    let nonce = hex::encode(caller.nonce());
    let message = request::signed_bytes(path, caller.name(), time, &nonce, body);
    let signature = hex::encode(caller.sign(&message));
    Ok([
        (HeaderName::from_static(request::CALLER), HeaderValue::from_str(caller.name())?),
        (HeaderName::from_static(request::TIME), HeaderValue::from(time)),
        (HeaderName::from_static(request::NONCE), HeaderValue::from_str(&nonce)?),
        (HeaderName::from_static(request::SIGNATURE), HeaderValue::from_str(&signature)?),
    ])
}
