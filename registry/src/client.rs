//! The registry's client: publishing, and pulling a version whole or not at all.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use chancery_provenance::Digest;
use serde::de::DeserializeOwned;
use ureq::Agent;
use zeroize::Zeroizing;

use crate::error::ClientError;
use crate::wire::{FileView, Publication, VersionView};

/// Calls one registry.
pub struct RegistryClient {
    url: String,
    token: Option<Zeroizing<String>>,
    agent: Agent,
}

/// What a pull brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Over the signed files, as the registry says; `chancery verify` checks it.
    pub digest: Digest,
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl RegistryClient {
    /// A client; publishing needs a token.
    pub fn new(url: &str, token: Option<Zeroizing<String>>) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).build();
        Self { url: url.trim_end_matches('/').to_owned(), token, agent: config.into() }
    }

    /// Uploads the adapter and publishes it with its evidence.
    pub fn publish(
        &self,
        name: &str,
        publication: &Publication,
        adapter: &[u8],
    ) -> Result<VersionView, ClientError> {
        let bearer = self.token.as_ref().map(|token| format!("Bearer {}", token.as_str()));
        let bearer = Zeroizing::new(bearer.unwrap_or_default());
        let url = format!("{}/api/v1/blobs/{}", self.url, publication.adapter);
        let sent = self.agent.put(&url).header("authorization", bearer.as_str()).send(adapter);
        self.succeed(sent)?;
        let url = format!("{}/api/v1/models/{name}/versions", self.url);
        let sent =
            self.agent.post(&url).header("authorization", bearer.as_str()).send_json(publication);
        read_json(self.succeed(sent)?)
    }

    /// Describes a version; `latest` is the newest one.
    pub fn version(&self, name: &str, version: &str) -> Result<VersionView, ClientError> {
        let url = format!("{}/api/v1/models/{name}/versions/{version}", self.url);
        read_json(self.succeed(self.agent.get(&url).call())?)
    }

    /// Fetches a version into `out`. Files arrive beside it, resume where they were cut, are checked
    /// against their digests, and become visible all at once.
    pub fn pull(&self, name: &str, version: u32, out: &Path) -> Result<Pulled, ClientError> {
        let view = self.version(name, &version.to_string())?;
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| ClientError::File { path, source }
        };
        let bytes = view.files.iter().map(|file| file.size).sum();
        let pulled = Pulled { digest: view.digest, files: view.files.len(), bytes };
        if out.exists() {
            return if holds(out, &view) {
                Ok(pulled)
            } else {
                Err(ClientError::Exists(out.to_owned()))
            };
        }
        let mut beside = out.as_os_str().to_owned();
        beside.push(format!(".{}.part", &view.digest.hex().get(..12).unwrap_or_default()));
        let beside = PathBuf::from(beside);
        fs::create_dir_all(&beside).map_err(at(&beside))?;
        for file in &view.files {
            let fits = !file.name.is_empty()
                && !file.name.starts_with('.')
                && file.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
            if !fits {
                return Err(ClientError::Answer(format!("a file called {:?}", file.name)));
            }
            self.fetch(&view, file, &beside.join(&file.name))?;
        }
        fs::rename(&beside, out).map_err(at(out))?;
        Ok(pulled)
    }

    fn fetch(&self, view: &VersionView, file: &FileView, path: &Path) -> Result<(), ClientError> {
        let at = |source| ClientError::File { path: path.to_owned(), source };
        let wrong = || ClientError::Digest { name: file.name.clone() };
        let have = fs::metadata(path).map(|metadata| metadata.len()).unwrap_or(0);
        let have = if have > file.size { 0 } else { have };
        if have < file.size || file.size == 0 {
            let (name, version) = (&view.name, view.version);
            let url =
                format!("{}/api/v1/models/{name}/versions/{version}/files/{}", self.url, file.name);
            let mut request = self.agent.get(&url);
            if have > 0 {
                request = request.header("range", format!("bytes={have}-"));
            }
            let response = self.succeed(request.call())?;
            let resumed = response.status() == 206;
            let mut target = File::options()
                .create(true)
                .write(true)
                .append(resumed)
                .truncate(!resumed)
                .open(path)
                .map_err(at)?;
            let rest = if resumed { file.size - have } else { file.size };
            let mut body = response.into_body().into_reader().take(rest + 1);
            std::io::copy(&mut body, &mut target).map_err(at)?;
            target.flush().and_then(|()| target.sync_all()).map_err(at)?;
        }
        let found = File::open(path).and_then(Digest::of_reader).map_err(at)?;
        if found != (file.digest, file.size) {
            // What does not fit must not be resumed.
            fs::remove_file(path).map_err(at)?;
            return Err(wrong());
        }
        Ok(())
    }

    fn succeed(
        &self,
        result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<ureq::http::Response<ureq::Body>, ClientError> {
        let mut response = result.map_err(|source| ClientError::Unreachable {
            url: self.url.clone(),
            source: Box::new(source),
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem: serde_json::Value = response.body_mut().read_json().unwrap_or_default();
        let part = |name: &str| problem.get(name).and_then(|v| v.as_str()).map(str::to_owned);
        Err(ClientError::Refused(match (part("code"), part("detail")) {
            (Some(code), Some(detail)) => format!("{code}: {detail}"),
            _ => status.to_string(),
        }))
    }
}

fn read_json<T: DeserializeOwned>(
    mut response: ureq::http::Response<ureq::Body>,
) -> Result<T, ClientError> {
    response.body_mut().read_json().map_err(|e| ClientError::Answer(e.to_string()))
}

/// Whether a folder already is this version.
fn holds(dir: &Path, view: &VersionView) -> bool {
    view.files.iter().all(|file| {
        File::open(dir.join(&file.name))
            .and_then(Digest::of_reader)
            .is_ok_and(|found| found == (file.digest, file.size))
    })
}
