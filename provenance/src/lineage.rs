//! Where a model comes from, as one graph of content identifiers.
//!
//! Every node is a dag-cbor block; a link is the CID of another block, so the root's CID commits to
//! the whole graph. It travels as a CAR v1 file and needs no IPFS node to be checked. Data sets
//! appear as salted commitments and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use cid::Cid;
use multihash::Multihash;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bundle::Bundle;
use crate::digest::Digest;
use crate::predicate::{Receipt, TrainingStatement};

/// dag-cbor.
const CODEC: u64 = 0x71;
/// sha2-256.
const SHA_256: u64 = 0x12;
/// The largest CAR file, and the largest block, that are read.
const CAR_LIMIT: usize = 64 << 20;
const BLOCK_LIMIT: u64 = 1 << 20;

/// One thing in a model's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// base, dataset, training, round or release.
    pub kind: String,
    /// For people.
    pub name: String,
    /// Digests and other facts, by name.
    pub facts: BTreeMap<String, String>,
    /// What it came from.
    pub links: Vec<Link>,
}

/// An edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// What the other node was to this one.
    pub role: String,
    /// The other node.
    pub to: Cid,
}

/// A graph with one root, the release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    root: Cid,
    /// In an order in which every node comes after those it links to.
    nodes: Vec<(Cid, Node, Vec<u8>)>,
}

#[derive(Serialize, Deserialize)]
struct CarHeader {
    roots: Vec<Cid>,
    version: u64,
}

impl Lineage {
    /// The lineage of an adapter, out of verified receipts and training statements.
    pub fn of_run(
        base_name: &str,
        release_name: &str,
        receipts: &[(Bundle, Receipt)],
        trainings: &[(Bundle, TrainingStatement)],
    ) -> Result<Self, LineageError> {
        let mut builder = Builder::default();
        let last = receipts.last().ok_or(LineageError::Empty)?;
        let base = builder.add(
            "base",
            base_name,
            &[("digest", last.1.base_digest.to_string())],
            vec![],
        )?;
        let mut previous: Option<Cid> = None;
        for (bundle, receipt) in receipts {
            let mut links = vec![Link { role: "base".to_owned(), to: base }];
            links.extend(previous.map(|to| Link { role: "previous".to_owned(), to }));
            for participation in &receipt.participants {
                let Some((_, training)) = trainings
                    .iter()
                    .find(|(bundle, _)| bundle.digest() == participation.statement_digest)
                else {
                    return Err(LineageError::Missing);
                };
                let name = &participation.pseudonym;
                let facts = [("commitment", training.dataset_commitment.to_string())];
                let dataset = builder.add("dataset", name, &facts, vec![])?;
                let facts = [
                    ("statement", participation.statement_digest.to_string()),
                    ("update", participation.update_digest.to_string()),
                ];
                let links_to = vec![Link { role: "dataset".to_owned(), to: dataset }];
                let name = format!("{name} in round {}", receipt.round);
                let to = builder.add("training", &name, &facts, links_to)?;
                links.push(Link { role: "update".to_owned(), to });
            }
            let facts = [
                ("receipt", bundle.digest().to_string()),
                ("adapter", receipt.adapter_after.to_string()),
            ];
            let name = format!("round {}", receipt.round);
            previous = Some(builder.add("round", &name, &facts, links)?);
        }
        let links = previous.map(|to| Link { role: "round".to_owned(), to }).into_iter().collect();
        let facts = [("adapter", last.1.adapter_after.to_string())];
        let root = builder.add("release", release_name, &facts, links)?;
        Ok(Self { root, nodes: builder.nodes })
    }

    /// The release's CID, which commits to everything.
    pub fn root(&self) -> &Cid {
        &self.root
    }

    /// The nodes, each after those it links to.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (&Cid, &Node)> {
        self.nodes.iter().map(|(cid, node, _)| (cid, node))
    }

    /// A CAR v1 file.
    pub fn to_car(&self) -> Result<Vec<u8>, LineageError> {
        let header = CarHeader { roots: vec![self.root], version: 1 };
        let header = serde_ipld_dagcbor::to_vec(&header).map_err(|_| LineageError::Malformed)?;
        let mut car = Vec::new();
        put_varint(header.len() as u64, &mut car);
        car.extend(header);
        for (cid, _, block) in &self.nodes {
            let cid = cid.to_bytes();
            put_varint((cid.len() + block.len()) as u64, &mut car);
            car.extend(cid);
            car.extend(block);
        }
        Ok(car)
    }

    /// Reads a CAR v1 file: every block is hashed again, every link must lead to a block that came
    /// before, and every block must be reachable from the one root.
    pub fn from_car(bytes: &[u8]) -> Result<Self, LineageError> {
        if bytes.len() > CAR_LIMIT {
            return Err(LineageError::TooLarge);
        }
        let mut rest = bytes;
        let header: CarHeader = serde_ipld_dagcbor::from_slice(take_section(&mut rest)?)
            .map_err(|_| LineageError::Malformed)?;
        let ([root], 1) = (header.roots.as_slice(), header.version) else {
            return Err(LineageError::Malformed);
        };
        let mut nodes: Vec<(Cid, Node, Vec<u8>)> = Vec::new();
        let mut known = BTreeSet::new();
        while !rest.is_empty() {
            let mut section = take_section(&mut rest)?;
            let cid = Cid::read_bytes(&mut section).map_err(|_| LineageError::Malformed)?;
            if cid != cid_of(section)? {
                return Err(LineageError::Digest { cid: cid.to_string() });
            }
            let node: Node =
                serde_ipld_dagcbor::from_slice(section).map_err(|_| LineageError::Malformed)?;
            if node.links.iter().any(|link| !known.contains(&link.to)) {
                return Err(LineageError::Missing);
            }
            if !known.insert(cid) {
                return Err(LineageError::Malformed);
            }
            nodes.push((cid, node, section.to_vec()));
        }
        let mut needed = BTreeSet::from([*root]);
        for (cid, node, _) in nodes.iter().rev() {
            if !needed.contains(cid) {
                return Err(LineageError::Unreachable { cid: cid.to_string() });
            }
            needed.extend(node.links.iter().map(|link| link.to));
        }
        if !known.contains(root) {
            return Err(LineageError::Missing);
        }
        Ok(Self { root: *root, nodes })
    }
}

#[derive(Default)]
struct Builder {
    nodes: Vec<(Cid, Node, Vec<u8>)>,
}

impl Builder {
    /// Adds a node, or finds the same one.
    fn add(
        &mut self,
        kind: &str,
        name: &str,
        facts: &[(&str, String)],
        links: Vec<Link>,
    ) -> Result<Cid, LineageError> {
        let facts = facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let node = Node { kind: kind.to_owned(), name: name.to_owned(), facts, links };
        let block = serde_ipld_dagcbor::to_vec(&node).map_err(|_| LineageError::Malformed)?;
        let cid = cid_of(&block)?;
        if !self.nodes.iter().any(|(known, _, _)| *known == cid) {
            self.nodes.push((cid, node, block));
        }
        Ok(cid)
    }
}

fn cid_of(block: &[u8]) -> Result<Cid, LineageError> {
    let hash = Multihash::<64>::wrap(SHA_256, Digest::of(block).as_bytes())
        .map_err(|_| LineageError::Malformed)?;
    Ok(Cid::new_v1(CODEC, hash))
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_section<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], LineageError> {
    let (mut length, mut shift) = (0u64, 0);
    loop {
        let (first, tail) = rest.split_first().ok_or(LineageError::Malformed)?;
        *rest = tail;
        length |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
        shift += 7;
        if shift > 28 {
            return Err(LineageError::TooLarge);
        }
    }
    if length > BLOCK_LIMIT {
        return Err(LineageError::TooLarge);
    }
    let (section, tail) = rest.split_at_checked(length as usize).ok_or(LineageError::Malformed)?;
    *rest = tail;
    Ok(section)
}

/// Why a lineage was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LineageError {
    /// Not a CAR v1 file of lineage nodes.
    #[error("not a CAR v1 file of lineage nodes")]
    Malformed,
    /// A block that is not what its CID says.
    #[error("block {cid} does not have the content that its CID names")]
    Digest {
        /// The CID.
        cid: String,
    },
    /// A link that leads nowhere.
    #[error("a node links to one that is not there")]
    Missing,
    /// A block that the root does not reach.
    #[error("block {cid} is not reachable from the root")]
    Unreachable {
        /// The CID.
        cid: String,
    },
    /// Larger than any lineage.
    #[error("larger than a lineage may be")]
    TooLarge,
    /// A run without rounds.
    #[error("there are no rounds")]
    Empty,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lineage() -> Lineage {
        let mut builder = Builder::default();
        let base = builder.add("base", "b", &[("digest", "x".to_owned())], vec![]).unwrap();
        let data = builder.add("dataset", "d", &[], vec![]).unwrap();
        let links = [base, data].map(|to| Link { role: "from".to_owned(), to }).to_vec();
        let root = builder.add("release", "r", &[], links).unwrap();
        Lineage { root, nodes: builder.nodes }
    }

    #[test]
    fn a_lineage_survives_its_car() {
        let car = lineage().to_car().unwrap();
        assert_eq!(Lineage::from_car(&car).unwrap(), lineage());
        assert!(lineage().root().to_string().starts_with("bafyrei"));
    }

    #[test]
    fn a_lost_or_added_block_is_refused() {
        let mut lost = lineage();
        lost.nodes.remove(0);
        assert_eq!(Lineage::from_car(&lost.to_car().unwrap()), Err(LineageError::Missing));
        let mut added = lineage();
        let mut builder = Builder::default();
        builder.add("dataset", "stray", &[], vec![]).unwrap();
        added.nodes.insert(0, builder.nodes.remove(0));
        let refused = Lineage::from_car(&added.to_car().unwrap()).unwrap_err();
        assert!(matches!(refused, LineageError::Unreachable { .. }));
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_refused(place: prop::sample::Index, bit in 0u8..8) {
            let mut car = lineage().to_car().unwrap();
            let place = place.index(car.len());
            car[place] ^= 1 << bit;
            prop_assert!(Lineage::from_car(&car).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = Lineage::from_car(&bytes);
        }
    }
}
