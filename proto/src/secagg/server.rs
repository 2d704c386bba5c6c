//! The coordinator's side: it passes on what it cannot read, and opens what a threshold releases.

use super::error::SecaggError;
use super::key::{KeyPair, Seed, commitment, pair_seed};
use super::mask::{MaskSeed, Sign};
use super::seal::Sealed;
use super::session::{Session, Survivors};
use super::share::{Share, join};

/// One site's answer to the last step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The site's number.
    pub site: usize,
    /// Shares of the own masks' seeds of survivors, by owner.
    pub own_mask: Vec<(usize, Share)>,
    /// Shares of the masking keys of lost sites, by owner.
    pub masking: Vec<(usize, Share)>,
}

impl Release {
    /// Refuses an answer that is not exactly what this step allows: one share of one kind for each
    /// site that this one holds shares of.
    pub fn check(&self, session: &Session, survivors: &Survivors) -> Result<(), SecaggError> {
        let name = |site| session.setting().name(site);
        if !survivors.contains(self.site) {
            return Err(SecaggError::Foreign { pseudonym: name(self.site) });
        }
        let owners = session.holders(self.site);
        let owners = owners.iter().filter(|o| survivors.shared().binary_search(o).is_ok());
        let (kept, lost): (Vec<usize>, Vec<usize>) =
            owners.copied().partition(|o| survivors.contains(*o));
        for (expected, given) in [(kept, &self.own_mask), (lost, &self.masking)] {
            let same = expected.len() == given.len()
                && expected.iter().zip(given).all(|(owner, (given, _))| owner == given);
            if !same {
                return Err(SecaggError::Kind { pseudonym: name(self.site) });
            }
        }
        Ok(())
    }
}

/// Refuses sealed shares that are not one for each neighbour.
pub(crate) fn check_sealed(
    session: &Session,
    from: usize,
    sealed: &[Sealed],
) -> Result<(), SecaggError> {
    let neighbours = session.neighbours(from);
    let same = neighbours.len() == sealed.len()
        && neighbours
            .iter()
            .zip(sealed)
            .all(|(to, share)| share.from == from && share.to == *to && share.is_whole());
    if same && session.advert(from).is_some() {
        Ok(())
    } else {
        let to = "its neighbours".to_owned();
        Err(SecaggError::Sealed { from: session.setting().name(from), to })
    }
}

/// What a round releases: seeds of the survivors' own masks, and of the masks between survivors and
/// lost sites. Nothing of it tells one survivor's update from another's.
#[derive(Debug)]
pub struct Revealed {
    /// By survivor.
    pub own: Vec<(usize, Seed)>,
    /// By lost site and survivor.
    pub pairs: Vec<(usize, usize, Seed)>,
}

impl Revealed {
    /// Opens the secrets that `releases` hold shares of, and checks each against what its owner
    /// advertised. A lost site's masking key exists here only until its pairwise seeds are made.
    pub fn open(
        session: &Session,
        survivors: &Survivors,
        releases: &[Release],
    ) -> Result<Self, SecaggError> {
        let mut seen = Vec::with_capacity(releases.len());
        for release in releases {
            release.check(session, survivors)?;
            if seen.contains(&release.site) {
                let pseudonym = session.setting().name(release.site);
                return Err(SecaggError::Twice { pseudonym });
            }
            seen.push(release.site);
        }
        let mut own = Vec::new();
        for site in survivors.sites() {
            let shares = gather(session, site, releases, |release| &release.own_mask)?;
            let fits = |seed: &Seed| {
                session.advert(site).is_some_and(|advert| advert.commitment == commitment(seed))
            };
            own.push((site, open(session, site, &shares, fits)?));
        }
        let mut pairs = Vec::new();
        for lost in survivors.lost() {
            let shares = gather(session, lost, releases, |release| &release.masking)?;
            let fits = |seed: &Seed| {
                let public = KeyPair::new(seed).public();
                session.advert(lost).is_some_and(|advert| advert.masking == public)
            };
            let keys = KeyPair::new(&open(session, lost, &shares, fits)?);
            for peer in session.neighbours(lost) {
                let Some(advert) = session.advert(peer).filter(|_| survivors.contains(peer)) else {
                    continue;
                };
                let seed = pair_seed(&keys, lost, &advert.masking, peer, session.id());
                let name = || SecaggError::Keys { pseudonym: session.setting().name(peer) };
                pairs.push((lost, peer, seed.ok_or_else(name)?));
            }
        }
        Ok(Self { own, pairs })
    }

    /// What is still in the sum of the survivors' updates, to be undone.
    pub fn masks(self) -> Vec<MaskSeed> {
        let own = self.own.into_iter().map(|(_, seed)| MaskSeed { seed, sign: Sign::Minus });
        let pairs = self.pairs.into_iter().map(|(lost, survivor, seed)| MaskSeed {
            seed,
            sign: Sign::of(survivor, lost).undone(),
        });
        own.chain(pairs).collect()
    }
}

/// The shares of one owner's secret, with their places.
fn gather<'a>(
    session: &Session,
    owner: usize,
    releases: &'a [Release],
    kind: impl Fn(&'a Release) -> &'a Vec<(usize, Share)>,
) -> Result<Vec<(u8, &'a Share)>, SecaggError> {
    let mut shares = Vec::new();
    for release in releases {
        let share = kind(release).iter().find(|(of, _)| *of == owner);
        if let (Some((_, share)), Some(place)) = (share, session.place(owner, release.site)) {
            shares.push((place, share));
        }
    }
    shares.sort_by_key(|(place, _)| *place);
    let needed = session.threshold();
    if shares.len() < needed {
        return Err(SecaggError::TooFew { found: shares.len(), needed });
    }
    Ok(shares)
}

/// The secret that a threshold of the shares gives and that fits what was advertised. Up to as many
/// wrong shares as there are spare ones in a row are passed over.
fn open(
    session: &Session,
    owner: usize,
    shares: &[(u8, &Share)],
    fits: impl Fn(&Seed) -> bool,
) -> Result<Seed, SecaggError> {
    shares
        .windows(session.threshold())
        .map(join)
        .find(fits)
        .ok_or_else(|| SecaggError::Reveal { pseudonym: session.setting().name(owner) })
}

impl Session {
    /// Refuses sealed shares that are not one for each neighbour, in their order.
    pub fn check_sealed(&self, from: usize, sealed: &[Sealed]) -> Result<(), SecaggError> {
        check_sealed(self, from, sealed)
    }
}
