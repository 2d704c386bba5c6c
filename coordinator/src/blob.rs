//! Bytes by digest: whole ones in an object store, unfinished uploads in a folder beside it.

use std::collections::HashSet;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use chancery_provenance::Digest;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{MultipartUpload as _, ObjectStoreExt as _};

use crate::error::{Error, Reject};

/// Blobs of one coordinator.
pub(crate) struct Blobs {
    store: LocalFileSystem,
    uploads: PathBuf,
    /// Uploads that a call is writing to; a second call for the same one is told to come back.
    busy: Mutex<HashSet<PathBuf>>,
}

/// Bytes that are moved at once.
const PART: usize = 1 << 20;

/// An upload that nobody has gone on with for this long is given up; its round is over by then.
const ABANDONED: Duration = Duration::from_secs(7 * 24 * 3600);

/// Removes uploads that were given up.
fn sweep(uploads: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(uploads)? {
        let entry = entry?;
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age > ABANDONED {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Frees an upload again, also when its call is dropped half-way.
struct Turn<'a>(&'a Blobs, PathBuf);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Ok(mut busy) = self.0.busy.lock() {
            busy.remove(&self.1);
        }
    }
}

/// How much of a blob is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) complete: bool,
    pub(crate) stored: u64,
}

impl Blobs {
    /// Opens the folders under `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let (blobs, uploads) = (dir.join("blobs"), dir.join("uploads"));
        for folder in [&blobs, &uploads] {
            fs::create_dir_all(folder)
                .map_err(|source| Error::File { path: folder.clone(), source })?;
        }
        sweep(&uploads).map_err(|source| Error::File { path: uploads.clone(), source })?;
        let store = LocalFileSystem::new_with_prefix(blobs)?.with_fsync(true);
        Ok(Self { store, uploads, busy: Mutex::default() })
    }

    fn key(digest: &Digest) -> Key {
        Key::from(digest.hex())
    }

    /// Stores bytes made here.
    pub(crate) async fn put(&self, bytes: Vec<u8>) -> Result<Digest, Error> {
        let digest = Digest::of(&bytes);
        self.store.put(&Self::key(&digest), bytes.into()).await?;
        Ok(digest)
    }

    /// Removes a blob, if it is there.
    pub(crate) async fn remove(&self, digest: &Digest) -> Result<(), Error> {
        match self.store.delete(&Self::key(digest)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The size of a whole blob.
    pub(crate) async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        match self.store.head(&Self::key(digest)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A part of a whole blob.
    pub(crate) async fn range(
        &self,
        digest: &Digest,
        offset: u64,
        most: u64,
    ) -> Result<(Bytes, u64), Error> {
        let size = self
            .size(digest)
            .await?
            .ok_or_else(|| Reject::NotFound { what: format!("blob {digest}") })?;
        let start = offset.min(size);
        let end = start.saturating_add(most).min(size);
        if start == end {
            return Ok((Bytes::new(), size));
        }
        Ok((self.store.get_range(&Self::key(digest), start..end).await?, size))
    }

    /// A whole blob as a local file, to be read as a stream.
    pub(crate) fn file(&self, digest: &Digest) -> Result<fs::File, Error> {
        let path = self.store.path_to_filesystem(&Self::key(digest))?;
        fs::File::open(&path).map_err(|source| Error::File { path, source })
    }

    /// Takes a checked upload over, part by part.
    async fn adopt(&self, digest: &Digest, from: fs::File, path: &Path) -> Result<(), Error> {
        let mut upload = self.store.put_multipart(&Self::key(digest)).await?;
        loop {
            let mut bytes = Vec::with_capacity(PART);
            (&from)
                .take(PART as u64)
                .read_to_end(&mut bytes)
                .map_err(|source| Error::File { path: path.to_owned(), source })?;
            if bytes.is_empty() {
                upload.complete().await?;
                return Ok(());
            }
            upload.put_part(bytes.into()).await?;
        }
    }

    fn turn(&self, path: &Path) -> Option<Turn<'_>> {
        let free = self.busy.lock().ok()?.insert(path.to_owned());
        free.then(|| Turn(self, path.to_owned()))
    }

    fn part(&self, site: &str, digest: &Digest) -> PathBuf {
        self.uploads.join(format!("{site}-{}.part", digest.hex()))
    }

    /// How much of `site`'s upload is there.
    pub(crate) async fn stat(&self, site: &str, digest: &Digest) -> Result<Stat, Error> {
        if let Some(size) = self.size(digest).await? {
            return Ok(Stat { complete: true, stored: size });
        }
        let stored = fs::metadata(self.part(site, digest)).map(|m| m.len()).unwrap_or(0);
        Ok(Stat { complete: false, stored })
    }

    /// Appends a chunk. A chunk that is there already changes nothing; one that leaves a gap is
    /// answered with where to go on. Acknowledged bytes are on the disk.
    pub(crate) async fn append(
        &self,
        site: &str,
        digest: &Digest,
        size: u64,
        offset: u64,
        data: &[u8],
    ) -> Result<Stat, Error> {
        let path = self.part(site, digest);
        let turn = self.turn(&path);
        let before = self.stat(site, digest).await?;
        if before.complete || turn.is_none() {
            return Ok(before);
        }
        if offset.saturating_add(data.len() as u64) > size {
            return Err(Reject::Argument("the chunk reaches beyond the blob".to_owned()).into());
        }
        let file = |source| Error::File { path: path.clone(), source };
        let mut part = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(file)?;
        if offset > before.stored {
            return Ok(before);
        }
        part.seek(SeekFrom::Start(offset)).map_err(file)?;
        part.write_all(data).map_err(file)?;
        part.sync_data().map_err(file)?;
        let stored = before.stored.max(offset + data.len() as u64);
        if stored < size {
            return Ok(Stat { complete: false, stored });
        }
        part.seek(SeekFrom::Start(0)).map_err(file)?;
        let (found, _) =
            tokio::task::block_in_place(|| Digest::of_reader(&mut part)).map_err(file)?;
        if found == *digest {
            part.seek(SeekFrom::Start(0)).map_err(file)?;
            self.adopt(digest, part, &path).await?;
        }
        fs::remove_file(&path).map_err(file)?;
        if found != *digest {
            let why = format!("the bytes have digest {found}, not {digest}; send them again");
            return Err(Reject::Argument(why).into());
        }
        Ok(Stat { complete: true, stored: size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_upload_resumes_where_it_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..100u8).collect();
        let digest = Digest::of(&bytes);
        let blobs = Blobs::open(dir.path()).unwrap();
        blobs.append("s", &digest, 100, 0, &bytes[..40]).await.unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        assert_eq!(blobs.stat("s", &digest).await.unwrap().stored, 40);
        let gap = blobs.append("s", &digest, 100, 60, &bytes[60..]).await.unwrap();
        assert_eq!(gap, Stat { complete: false, stored: 40 });
        let done = blobs.append("s", &digest, 100, 20, &bytes[20..]).await.unwrap();
        assert!(done.complete);
        let again = blobs.append("s", &digest, 100, 0, &bytes[..40]).await.unwrap();
        assert!(again.complete);
        let (range, size) = blobs.range(&digest, 10, 5).await.unwrap();
        assert_eq!((range.as_ref(), size), (&bytes[10..15], 100));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn uploads_that_were_given_up_are_removed_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        for digest in [&old, &new] {
            blobs.append("s", digest, 3, 0, b"x").await.unwrap();
        }
        let path = blobs.part("s", &old);
        let long_ago = fs::metadata(&path).unwrap().modified().unwrap() - 2 * ABANDONED;
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        assert_eq!(blobs.stat("s", &old).await.unwrap().stored, 0);
        assert_eq!(blobs.stat("s", &new).await.unwrap().stored, 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn other_bytes_than_the_digest_names_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let digest = Digest::of(b"right");
        assert!(blobs.append("s", &digest, 5, 0, b"wrong").await.is_err());
        assert_eq!(blobs.stat("s", &digest).await.unwrap().stored, 0);
        assert!(blobs.append("s", &digest, 5, 0, b"right").await.unwrap().complete);
    }
}
