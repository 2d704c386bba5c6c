//! The root over an update's chunks: what a site signs, and what proves a chunk to be part of it.
//!
//! A Merkle tree as in RFC 6962, section 2.1 (leaves and nodes are hashed under different prefixes),
//! over chunks of [`CHUNK`] bytes.

use ring::digest::{Context, SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::request::CHUNK;

/// The root over the chunks of one update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChunkRoot(#[serde(with = "hex::serde")] pub [u8; 32]);

impl ChunkRoot {
    /// The root over bytes that are read as a stream.
    pub fn of_reader(mut reader: impl std::io::Read) -> std::io::Result<Self> {
        let mut chunks = Chunks::default();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = reader.read(&mut buffer)?;
            if read == 0 {
                return Ok(chunks.finish());
            }
            chunks.update(buffer.get(..read).unwrap_or_default());
        }
    }

    /// The root over bytes at hand.
    pub fn of(bytes: &[u8]) -> Self {
        let mut chunks = Chunks::default();
        chunks.update(bytes);
        chunks.finish()
    }
}

/// Builds the root while bytes pass by.
#[derive(Default)]
pub struct Chunks {
    leaves: Vec<[u8; 32]>,
    open: Option<(Context, usize)>,
}

impl Chunks {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (mut context, filled) = self.open.take().unwrap_or_else(|| {
                let mut context = Context::new(&SHA256);
                context.update(&[0]);
                (context, 0)
            });
            let (part, rest) = bytes.split_at(bytes.len().min(CHUNK - filled));
            context.update(part);
            bytes = rest;
            if filled + part.len() == CHUNK {
                self.leaves.push(hash(context));
            } else {
                self.open = Some((context, filled + part.len()));
            }
        }
    }

    /// The root over all that passed.
    pub fn finish(mut self) -> ChunkRoot {
        if let Some((context, _)) = self.open.take() {
            self.leaves.push(hash(context));
        }
        ChunkRoot(root(&self.leaves))
    }
}

fn hash(context: Context) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => {
            let mut out = [0; 32];
            out.copy_from_slice(digest(&SHA256, &[]).as_ref());
            out
        }
        [leaf] => *leaf,
        _ => {
            // The left part is the largest power of two below the number of leaves.
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            let mut context = Context::new(&SHA256);
            context.update(&[1]);
            context.update(&root(left));
            context.update(&root(right));
            hash(context)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_of_nothing_is_the_standards() {
        assert_eq!(
            hex::encode(ChunkRoot::of(&[]).0),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        // RFC 6962's test tree begins with the leaf over the empty string; ours over one byte 0.
        assert_eq!(
            hex::encode(ChunkRoot::of(&[0]).0),
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
        );
    }

    #[test]
    fn root_does_not_depend_on_how_bytes_arrive() {
        let bytes: Vec<u8> = (0..CHUNK * 2 + 77).map(|i| (i % 251) as u8).collect();
        let whole = ChunkRoot::of(&bytes);
        let mut chunks = Chunks::default();
        bytes.chunks(100_003).for_each(|part| chunks.update(part));
        assert_eq!(chunks.finish(), whole);
        let mut changed = bytes;
        changed[CHUNK + 5] ^= 1;
        assert_ne!(ChunkRoot::of(&changed), whole);
    }
}
