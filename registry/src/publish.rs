//! Publishing: evidence in, a new immutable version out.

use chancery_provenance::{Bundle, Digest, PublicKey, Release, ReleaseInput};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::App;
use crate::error::Error;
use crate::store::VersionRow;
use crate::wire::{FileView, Publication, VersionView};

/// Checks the publication's evidence, signs the release and stores it. The same evidence gives the
/// same version again.
pub(crate) async fn publish(
    app: &App,
    name: &str,
    publication: &Publication,
) -> Result<VersionView, Error> {
    let fits = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fits {
        let why = "a model's name is 1 to 64 lower-case letters, digits and '-'";
        return Err(Error::Bad(why.to_owned()));
    }
    let coordinator = PublicKey::from_pem(&publication.coordinator_key)?;
    if !app.coordinator_keys.contains(&coordinator) {
        return Err(Error::UnknownCoordinator(coordinator.fingerprint()));
    }
    let _one = app.publishing.lock().await;
    let evidence = Digest::of(publication.receipts.concat().as_bytes());
    if let Some(version) = app.store.by_evidence(name, &evidence).await? {
        let known = app.store.version(name, Some(version)).await?;
        return known
            .map(|row| row.view)
            .ok_or_else(|| Error::State(format!("{name}@{version} has no files")));
    }
    let version = app.store.version(name, None).await?.map_or(0, |row| row.view.version) + 1;
    let row = store_release(app, name, version, publication, &coordinator).await?;
    app.store.add(&row, &evidence).await?;
    tracing::info!(model.name = name, model.version = version, digest = %row.view.digest, "published");
    Ok(row.view)
}

async fn store_release(
    app: &App,
    name: &str,
    version: u32,
    publication: &Publication,
    coordinator: &PublicKey,
) -> Result<VersionRow, Error> {
    let bundles = |texts: &[String]| -> Result<Vec<Bundle>, Error> {
        texts
            .iter()
            .map(|text| Bundle::parse(text.as_bytes()).map_err(|e| Error::Bad(e.to_string())))
            .collect()
    };
    if app.blobs.size(&publication.adapter).await?.is_none() {
        return Err(Error::NotFound(format!("the adapter {}", publication.adapter)));
    }
    let (receipts, trainings) = (bundles(&publication.receipts)?, bundles(&publication.trainings)?);
    let adapter = app.blobs.read(&publication.adapter).await?;
    let issued_at = now()?;
    let release = Release::assemble(
        &ReleaseInput {
            name,
            version,
            issued_at: &issued_at,
            recipe_json: &publication.recipe,
            coordinator_key: coordinator,
            receipts: &receipts,
            trainings: &trainings,
            adapter: &adapter,
            adapter_config: publication.adapter_config.as_bytes(),
            started_at: &publication.started_at,
            finished_at: &publication.finished_at,
            coordinator_version: &publication.coordinator_version,
        },
        &app.key,
    )?;
    let mut files = Vec::with_capacity(release.files.len());
    for (name, bytes) in release.files {
        let size = bytes.len() as u64;
        let digest = app.blobs.put(bytes).await?;
        files.push(FileView { name, size, digest });
    }
    let view =
        VersionView { name: name.to_owned(), version, digest: release.root, issued_at, files };
    Ok(VersionRow { view, passport: release.passport })
}

/// The time of signing, to the second.
#[expect(clippy::disallowed_methods, reason = "the edge that reads the clock")]
fn now() -> Result<String, Error> {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_err(|e| Error::State(e.to_string()))?;
    OffsetDateTime::from_unix_timestamp(since.as_secs().cast_signed())
        .map_err(|e| Error::State(e.to_string()))?
        .format(&Rfc3339)
        .map_err(|e| Error::State(e.to_string()))
}
