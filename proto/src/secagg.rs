//! Secure aggregation: a sum of updates that shows none of them.
//!
//! The protocol is that of Bonawitz et al. (CCS 2017) with its consistency round, over the complete
//! graph up to 64 sites and over the k-regular graph of Bell et al. (CCS 2020) above. Both roles are
//! here, side by side and pure: no clock, no sockets, no files, and randomness is an argument.
//!
//! ```text
//! site                                     coordinator
//! Client::advertise    -- Advert -->       Session::open: who takes part in this session
//! Client::share        -- Sealed -->       passes each share on to the one who can open it
//! Client::mask         -- packed -->       Accumulator::add: sums what it cannot read
//! Client::confirm      -- Confirmation --> gathers signatures over one set of survivors
//! Client::release      -- Release -->      Revealed::open, Accumulator::unmask: the sum, and only it
//! ```
//!
//! Everything a site sends follows from one [`RoundSecret`] and from what it was shown, so a site
//! that is killed and comes back says the same again. The [`Journal`] pins what was shown; a second,
//! different view of the same round is refused.
//!
//! # What is protected, against whom
//!
//! A site's update, its quantised form and its sample weight stay hidden from
//! - the coordinator, also when it deviates from the protocol: it cannot swap keys (each is signed by
//!   the site's identity over run, round, roster and plan), cannot show different survivors to
//!   different sites (nobody releases a share without a threshold of signatures over one set), cannot
//!   ask for both secrets of a site (each site answers for exactly one of them, on record), cannot
//!   use a late update of a site declared lost (its self-mask stays shared among the others), and
//!   cannot reuse a round (keys are fresh in each one and a site takes part in a round once);
//! - up to `threshold - 1` colluding sites, with or without the coordinator's help, where the
//!   threshold is by default `floor(2n/3) + 1`: with fewer honest answers than that a malicious
//!   coordinator could otherwise run two disjoint unmaskings;
//! - anyone on the network: everything passes through TLS besides.
//!
//! # What is not
//!
//! - **The sum.** Every party to the round may learn the weighted mean, and what follows from it. With
//!   three sites, two that collude subtract their own updates and hold the third's. Only differential
//!   privacy would help there.
//! - **Made-up sites.** The coordinator enrols sites. If it enrols `n - 1` of its own, the sum of the
//!   others is one site's update. A site's policy can name the keys of the peers it expects, and a
//!   site refuses a roster that changes within a run; nothing else stands against this.
//! - **Poisoning.** A masked update cannot be looked at. Clipping bounds what an honest program sends;
//!   a dishonest one can send any ring element. Robust rules need `trusted` mode.
//! - **Availability.** Anyone can make a round fail by not answering; the round then ends cleanly.
//! - **Above 64 sites** the graph is drawn from the session, which the coordinator influences by
//!   choosing who takes part (the semi-malicious setting of Bell et al.), and the guarantee is
//!   statistical (2^-40) for the stated rates of corrupt and lost sites.
//! - **Figures.** Loss, accuracy and times that a site reports travel in the clear.

mod chunk;
mod client;
mod error;
mod graph;
mod key;
mod mask;
mod params;
mod seal;
mod server;
mod session;
mod share;
mod transcript;

pub use chunk::{ChunkRoot, Chunks};
pub use client::{Client, Journal};
pub use error::SecaggError;
pub use graph::Graph;
pub use key::{Identity, RoundSecret, Seed, fresh_secret, verify_signature};
pub use mask::{MaskSeed, Sign, mask_packed};
pub(crate) use mask::{Masks, PairBlocks, Stream};
pub use params::{
    FULL_GRAPH_LIMIT, GraphParams, MIN_SITES, Rates, default_threshold, find_graph_params,
};
pub use seal::Sealed;
pub use server::{Release, Revealed};
pub use session::{Advert, Confirmation, Member, Session, Setting, Survivor, Survivors};
pub use share::{SHARE_LEN, Share};
pub use transcript::Transcript;

#[cfg(test)]
mod tests;
