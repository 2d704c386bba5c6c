//! Bytes by digest in an object store.

use bytes::Bytes;
use chancery_provenance::{Digest, Hasher};
use futures_util::{Stream, StreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _, WriteMultipart};

use crate::error::Error;

/// The largest blob that is taken.
const LIMIT: u64 = 16 << 30;

/// Blobs of one registry.
pub(crate) struct Blobs(LocalFileSystem);

impl Blobs {
    pub(crate) fn open(dir: &std::path::Path) -> Result<Self, Error> {
        std::fs::create_dir_all(dir)
            .map_err(|source| Error::File { path: dir.to_owned(), source })?;
        Ok(Self(LocalFileSystem::new_with_prefix(dir)?.with_fsync(true)))
    }

    fn key(digest: &Digest) -> Key {
        Key::from(format!("sha256/{}", digest.hex()))
    }

    /// Stores bytes made here.
    pub(crate) async fn put(&self, bytes: Vec<u8>) -> Result<Digest, Error> {
        let digest = Digest::of(&bytes);
        if self.size(&digest).await?.is_none() {
            self.0.put(&Self::key(&digest), bytes.into()).await?;
        }
        Ok(digest)
    }

    /// Stores a stream that should have this digest; it becomes visible only when it has.
    pub(crate) async fn receive<E: std::fmt::Display>(
        &self,
        digest: &Digest,
        stream: impl Stream<Item = Result<Bytes, E>>,
        nonce: u64,
    ) -> Result<u64, Error> {
        let part = Key::from(format!("uploads/{}-{nonce}", digest.hex()));
        let mut writer = WriteMultipart::new(self.0.put_multipart(&part).await?);
        let (mut hasher, mut size) = (Hasher::new(), 0u64);
        let mut stream = std::pin::pin!(stream);
        while let Some(chunk) = stream.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    writer.abort().await?;
                    return Err(Error::Bad(format!("the upload was cut off: {error}")));
                }
            };
            size += chunk.len() as u64;
            if size > LIMIT {
                writer.abort().await?;
                return Err(Error::Bad(format!("a blob has at most {LIMIT} bytes")));
            }
            hasher.update(&chunk);
            writer.wait_for_capacity(4).await?;
            writer.put(chunk);
        }
        let found = hasher.finish();
        if found != *digest {
            writer.abort().await?;
            return Err(Error::Bad(format!("the bytes have digest {found}, not {digest}")));
        }
        writer.finish().await?;
        self.0.rename(&part, &Self::key(digest)).await?;
        Ok(size)
    }

    /// The size of a blob.
    pub(crate) async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        match self.0.head(&Self::key(digest)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A whole blob in memory; for adapters and the small files of a release.
    pub(crate) async fn read(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        Ok(self.0.get(&Self::key(digest)).await?.bytes().await?.to_vec())
    }

    /// A part of a blob as a stream.
    pub(crate) async fn stream(
        &self,
        digest: &Digest,
        range: std::ops::Range<u64>,
    ) -> Result<impl Stream<Item = object_store::Result<Bytes>> + use<>, Error> {
        let options = object_store::GetOptions {
            range: Some(object_store::GetRange::Bounded(range)),
            ..Default::default()
        };
        Ok(self.0.get_opts(&Self::key(digest), options).await?.into_stream())
    }
}
