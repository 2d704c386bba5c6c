//! The JSON interface.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chancery_provenance::Digest;
use ring::digest::{SHA256, digest};

use crate::App;
use crate::error::Error;
use crate::publish::publish as publish_version;
use crate::wire::{Publication, VersionView};

type Shared = State<Arc<App>>;

pub(super) async fn health() -> &'static str {
    "ok\n"
}

pub(super) async fn key(State(app): Shared) -> Response {
    ([(header::CONTENT_TYPE, "application/x-pem-file")], app.key.public().to_pem()).into_response()
}

/// Refuses whoever does not hold the publisher's token. Digests are compared, so the time taken says
/// nothing about the token.
fn authorise(app: &App, headers: &HeaderMap) -> Result<(), Error> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or(Error::Unauthorised)?;
    let same = digest(&SHA256, given.as_bytes()).as_ref()
        == digest(&SHA256, app.token.as_bytes()).as_ref();
    if same { Ok(()) } else { Err(Error::Unauthorised) }
}

fn parse(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|e: chancery_provenance::DigestError| Error::Bad(e.to_string()))
}

pub(super) async fn head_blob(
    State(app): Shared,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    let digest = parse(&name)?;
    match app.blobs.size(&digest).await? {
        Some(size) => Ok([(header::CONTENT_LENGTH, size.to_string())].into_response()),
        None => Err(Error::NotFound(name)),
    }
}

pub(super) async fn put_blob(
    State(app): Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Error> {
    authorise(&app, &headers)?;
    let digest = parse(&name)?;
    if app.blobs.size(&digest).await?.is_some() {
        return Ok(StatusCode::OK);
    }
    let mut nonce = [0; 8];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut nonce)
        .map_err(|_| Error::Randomness)?;
    app.blobs.receive(&digest, body.into_data_stream(), u64::from_le_bytes(nonce)).await?;
    Ok(StatusCode::CREATED)
}

pub(super) async fn publish(
    State(app): Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(publication): Json<Publication>,
) -> Result<Json<VersionView>, Error> {
    authorise(&app, &headers)?;
    Ok(Json(publish_version(&app, &name, &publication).await?))
}

pub(super) async fn models(State(app): Shared) -> Result<Json<Vec<VersionView>>, Error> {
    let models = app.store.models().await?;
    Ok(Json(models.into_iter().map(|row| row.view).collect()))
}

/// "latest", or a number.
pub(super) fn number(version: &str) -> Result<Option<u32>, Error> {
    match version {
        "latest" => Ok(None),
        other => other
            .parse()
            .map(Some)
            .map_err(|_| Error::Bad(format!("{other:?} is not a version; use a number or latest"))),
    }
}

pub(super) async fn version(
    State(app): Shared,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<VersionView>, Error> {
    let found = app.store.version(&name, number(&version)?).await?;
    found.map(|row| Json(row.view)).ok_or_else(|| Error::NotFound(format!("{name}@{version}")))
}

pub(super) async fn file(
    State(app): Shared,
    Path((name, version, file)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let number = number(&version)?;
    let row = app
        .store
        .version(&name, number)
        .await?
        .ok_or_else(|| Error::NotFound(format!("{name}@{version}")))?;
    let found = row
        .view
        .files
        .iter()
        .find(|candidate| candidate.name == file)
        .ok_or_else(|| Error::NotFound(format!("{file} of {name}@{version}")))?;
    let etag = format!("\"{}\"", found.digest.hex());
    let start = range_start(&headers, found.size);
    let range = start.unwrap_or(0)..found.size;
    let mut response = if range.is_empty() {
        Response::new(Body::empty())
    } else {
        Response::new(Body::from_stream(app.blobs.stream(&found.digest, range.clone()).await?))
    };
    let cache = if number.is_some() { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut values = vec![
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, (range.end - range.start).to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CACHE_CONTROL, cache.to_owned()),
        (header::ETAG, etag),
    ];
    if start.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = found.size.saturating_sub(1);
        let content = format!("bytes {}-{last}/{}", range.start, found.size);
        values.push((header::CONTENT_RANGE, content));
    }
    for (name, value) in values {
        let value = value.parse().map_err(|_| Error::State("a header".to_owned()))?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// The start of `Range: bytes=N-`, the only form that resuming needs; others are answered in full.
fn range_start(headers: &HeaderMap, size: u64) -> Option<u64> {
    let text = headers.get(header::RANGE)?.to_str().ok()?;
    let start = text.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()?;
    (start < size).then_some(start)
}
