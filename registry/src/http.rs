//! Routes: a JSON interface under `/api/v1`, pages for people everywhere else.

mod api;
mod pages;
mod problem;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post, put};

use crate::App;

/// Largest JSON body: receipts and statements of a long run.
const JSON_LIMIT: usize = 64 << 20;

pub(crate) fn router(app: Arc<App>) -> Router {
    let uploads = Router::new()
        .route("/api/v1/blobs/{digest}", put(api::put_blob).head(api::head_blob))
        .layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/", get(pages::models))
        .route("/models/{name}", get(pages::newest))
        .route("/models/{name}/{version}", get(pages::passport))
        .route("/style.css", get(pages::style))
        .route("/healthz", get(api::health))
        .route("/api/v1/keys/registry.pub", get(api::key))
        .route("/api/v1/models", get(api::models))
        .route("/api/v1/models/{name}/versions", post(api::publish))
        .route("/api/v1/models/{name}/versions/{version}", get(api::version))
        .route("/api/v1/models/{name}/versions/{version}/files/{file}", get(api::file))
        .layer(DefaultBodyLimit::max(JSON_LIMIT))
        .merge(uploads)
        .with_state(app)
}
