//! Pages for people: rendered here, without scripts and without anything from elsewhere.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use chancery_provenance::{Lineage, Passport, Support};

use super::api::number;
use crate::App;
use crate::drawing::draw;
use crate::error::Error;
use crate::store::VersionRow;

const STYLE: &str = include_str!("../../templates/style.css");
/// Nothing may be loaded but this registry's own style sheet.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "models.html")]
struct ModelsPage {
    models: Vec<VersionRow>,
}

#[derive(Template)]
#[template(path = "passport.html")]
struct PassportPage {
    row: VersionRow,
    lineage: String,
    key: String,
}

fn page(template: &impl Template) -> Result<Response, Error> {
    let html = template.render().map_err(|e| Error::State(e.to_string()))?;
    let headers =
        [(header::CONTENT_SECURITY_POLICY, POLICY), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((headers, Html(html)).into_response())
}

pub(super) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

pub(super) async fn models(State(app): State<Arc<App>>) -> Result<Response, Error> {
    page(&ModelsPage { models: app.store.models().await? })
}

pub(super) async fn newest(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    show(&app, &name, None).await
}

pub(super) async fn passport(
    State(app): State<Arc<App>>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Response, Error> {
    show(&app, &name, number(&version)?).await
}

async fn show(app: &App, name: &str, version: Option<u32>) -> Result<Response, Error> {
    let row = app
        .store
        .version(name, version)
        .await?
        .ok_or_else(|| Error::NotFound(format!("model {name}")))?;
    let car = row
        .view
        .files
        .iter()
        .find(|file| file.name == "lineage.car")
        .ok_or_else(|| Error::State(format!("{name} has no lineage")))?;
    let lineage = Lineage::from_car(&app.blobs.read(&car.digest).await?)
        .map_err(|e| Error::State(e.to_string()))?;
    page(&PassportPage { row, lineage: draw(&lineage), key: app.key.public().fingerprint() })
}

impl PassportPage {
    fn passport(&self) -> &Passport {
        &self.row.passport
    }

    /// The class and the words for what supports a field.
    fn mark(&self, support: &Support) -> (&'static str, String) {
        match support {
            Support::Proved { file } => ("proved", format!("proved by {file}")),
            Support::Declared { by } => ("declared", format!("declared by {by}")),
            Support::Missing => ("missing", "missing".to_owned()),
        }
    }

    fn percent(&self, share: &f64) -> String {
        format!("{:.1}", share * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use chancery_provenance::{Digest, Field, Score, Section, TaskResult};

    use super::*;
    use crate::wire::VersionView;

    /// A version with one field of each kind and a hostile name in it.
    fn sample() -> VersionRow {
        let field = |name: &str, evidence| Field {
            name: name.to_owned(),
            value: "<script>alert(1)</script>".to_owned(),
            evidence,
        };
        let score = |accuracy| Score { loss: 0.5, accuracy, examples: 240 };
        VersionRow {
            view: VersionView {
                name: "verticals".to_owned(),
                version: 3,
                digest: Digest::of(b"x"),
                issued_at: "2026-01-02T03:04:05Z".to_owned(),
                files: Vec::new(),
            },
            passport: Passport {
                name: "verticals".to_owned(),
                version: 3,
                issued_at: "2026-01-02T03:04:05Z".to_owned(),
                sections: vec![Section {
                    title: "What it is".to_owned(),
                    fields: vec![
                        field("One", Support::Proved { file: "model.sig".to_owned() }),
                        field("Two", Support::Declared { by: "the operator".to_owned() }),
                        field("Three", Support::Missing),
                    ],
                }],
                results: vec![TaskResult {
                    task: "triage".to_owned(),
                    pseudonym: "site-1".to_owned(),
                    base: Some(score(0.0)),
                    adapter: score(0.975),
                }],
                lineage: "bafyreib".to_owned(),
            },
        }
    }

    #[test]
    fn every_page_renders_and_escapes() {
        let models = ModelsPage { models: vec![sample()] }.render().unwrap();
        assert!(models.contains("/models/verticals/3"));
        let page = PassportPage {
            row: sample(),
            lineage: "<svg></svg>".to_owned(),
            key: "SHA256:1".to_owned(),
        };
        let html = page.render().unwrap();
        for text in ["97.5", "proved by model.sig", "declared by the operator", "missing", "<svg>"]
        {
            assert!(html.contains(text), "{text}");
        }
        assert!(!html.contains("<script>"));
    }
}
