//! Who shares a mask with whom.
//!
//! Up to [`FULL_GRAPH_LIMIT`] sites everybody does with everybody. Above, the sites are laid on a ring
//! in an order drawn from the session, and each has the `degree / 2` next ones on either side as
//! neighbours (a Harary graph; Bell et al., CCS 2020, section 3.1).

use super::error::SecaggError;
use super::mask::Stream;
use super::params::{FULL_GRAPH_LIMIT, Rates, find_graph_params};

/// The pairs of one session. Sites are numbers from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    neighbours: Vec<Vec<usize>>,
    threshold: usize,
}

impl Graph {
    /// The graph of a session of `sites`; `threshold` counts in the complete graph, and the finder's
    /// own threshold does above.
    pub fn new(sites: usize, threshold: usize, session: &[u8; 32]) -> Result<Self, SecaggError> {
        if sites <= FULL_GRAPH_LIMIT {
            let neighbours =
                (0..sites).map(|site| (0..sites).filter(|peer| *peer != site).collect());
            return Ok(Self { neighbours: neighbours.collect(), threshold });
        }
        let params = find_graph_params(sites, &Rates::DEFAULT)?;
        let ring = permutation(sites, session);
        let mut neighbours = vec![Vec::with_capacity(params.degree); sites];
        for (place, site) in ring.iter().enumerate() {
            for step in 1..=params.degree / 2 {
                let peer = ring.get((place + step) % sites).copied().unwrap_or_default();
                for (one, other) in [(*site, peer), (peer, *site)] {
                    if let Some(list) = neighbours.get_mut(one) {
                        list.push(other);
                    }
                }
            }
        }
        neighbours.iter_mut().for_each(|list| list.sort_unstable());
        Ok(Self { neighbours, threshold: params.threshold })
    }

    /// The neighbours of a site, ascending.
    pub fn neighbours(&self, site: usize) -> &[usize] {
        self.neighbours.get(site).map_or(&[], Vec::as_slice)
    }

    /// A site and its neighbours, ascending: the holders of its shares.
    pub fn holders(&self, site: usize) -> Vec<usize> {
        let mut holders = self.neighbours(site).to_vec();
        holders.push(site);
        holders.sort_unstable();
        holders
    }

    /// Holders that must answer for a site.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// Where on the polynomial of `owner` the share of `holder` lies: 1 to 255.
    pub(crate) fn place(&self, owner: usize, holder: usize) -> Option<u8> {
        let place = self.holders(owner).iter().position(|site| *site == holder)?;
        u8::try_from(place + 1).ok()
    }
}

/// Fisher-Yates over a stream of 64-bit numbers; the bias of the remainder is below 2^-50.
fn permutation(sites: usize, session: &[u8; 32]) -> Vec<usize> {
    let mut stream = Stream::new(session);
    let mut ring: Vec<usize> = (0..sites).collect();
    for last in (1..sites).rev() {
        let mut word = [0u8; 8];
        stream.fill(&mut word);
        ring.swap(last, (u64::from_le_bytes(word) % (last as u64 + 1)) as usize);
    }
    ring
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_graphs_are_complete() {
        let graph = Graph::new(5, 4, &[0; 32]).unwrap();
        assert_eq!(graph.neighbours(2), [0, 1, 3, 4]);
        assert_eq!(graph.holders(2), [0, 1, 2, 3, 4]);
        assert_eq!(graph.place(2, 4), Some(5));
    }

    #[test]
    fn large_graphs_are_regular_symmetric_and_drawn_from_the_session() {
        let graph = Graph::new(100, 67, &[1; 32]).unwrap();
        let degree = find_graph_params(100, &Rates::DEFAULT).unwrap().degree;
        for site in 0..100 {
            assert_eq!(graph.neighbours(site).len(), degree);
            for peer in graph.neighbours(site) {
                assert_ne!(*peer, site);
                assert!(graph.neighbours(*peer).contains(&site));
            }
            let mut once = graph.neighbours(site).to_vec();
            once.dedup();
            assert_eq!(once.len(), degree);
        }
        assert_eq!(graph, Graph::new(100, 67, &[1; 32]).unwrap());
        assert_ne!(graph, Graph::new(100, 67, &[2; 32]).unwrap());
    }
}
