//! What a masked round leaves behind: enough for anyone to open the sum again, and nothing more.

use serde::{Deserialize, Serialize};

use super::error::SecaggError;
use super::key::{Seed, commitment};
use super::mask::MaskSeed;
use super::server::Revealed;
use super::session::{Advert, Confirmation, Session, Setting, Survivor, Survivors};

/// The public record of a masked round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transcript {
    adverts: Vec<Advert>,
    shared: Vec<usize>,
    survivors: Vec<Survivor>,
    confirmations: Vec<Confirmation>,
    /// Seeds of the survivors' own masks.
    own: Vec<Released>,
    /// Seeds of the masks between lost sites and survivors.
    pairs: Vec<ReleasedPair>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Released {
    site: usize,
    #[serde(with = "hex::serde")]
    seed: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleasedPair {
    lost: usize,
    survivor: usize,
    #[serde(with = "hex::serde")]
    seed: [u8; 32],
}

impl Transcript {
    /// The record of a round that was opened.
    pub fn new(
        session: &Session,
        survivors: &Survivors,
        confirmations: Vec<Confirmation>,
        revealed: &Revealed,
    ) -> Self {
        let own = revealed.own.iter();
        let pairs = revealed.pairs.iter();
        Self {
            adverts: session.sites().filter_map(|site| session.advert(site)).cloned().collect(),
            shared: survivors.shared().to_vec(),
            survivors: survivors.updates().to_vec(),
            confirmations,
            own: own.map(|(site, seed)| Released { site: *site, seed: *seed.as_bytes() }).collect(),
            pairs: pairs
                .map(|(lost, survivor, seed)| ReleasedPair {
                    lost: *lost,
                    survivor: *survivor,
                    seed: *seed.as_bytes(),
                })
                .collect(),
        }
    }

    /// Checks every signature and commitment again and gives the survivors and the masks over their
    /// sum. A pair's seed cannot be checked by itself: a wrong one leaves noise in the sum, which then
    /// does not have the digest that the receipt names.
    pub fn open(&self, setting: Setting) -> Result<(Survivors, Vec<MaskSeed>), SecaggError> {
        let session = Session::open(setting, self.adverts.clone())?;
        let survivors = Survivors::new(&session, self.shared.clone(), self.survivors.clone())?;
        for confirmation in &self.confirmations {
            session.check_confirmation(&survivors, confirmation)?;
        }
        let needed = session.threshold();
        let mut confirmed: Vec<usize> = self.confirmations.iter().map(|c| c.site).collect();
        confirmed.sort_unstable();
        confirmed.dedup();
        if confirmed.len() < needed {
            return Err(SecaggError::TooFew { found: confirmed.len(), needed });
        }
        let kind = |site| SecaggError::Kind { pseudonym: session.setting().name(site) };
        if !survivors.sites().eq(self.own.iter().map(|released| released.site)) {
            return Err(kind(self.own.first().map_or(0, |released| released.site)));
        }
        let mut own = Vec::with_capacity(self.own.len());
        for released in &self.own {
            let seed = Seed::from_bytes(released.seed);
            let advert = session.advert(released.site).ok_or_else(|| kind(released.site))?;
            if advert.commitment != commitment(&seed) {
                return Err(SecaggError::Reveal { pseudonym: session.setting().name(advert.site) });
            }
            own.push((released.site, seed));
        }
        let pairs: Vec<(usize, usize)> = self.pairs.iter().map(|p| (p.lost, p.survivor)).collect();
        let wanted: Vec<(usize, usize)> = survivors
            .lost()
            .flat_map(|lost| session.neighbours(lost).into_iter().map(move |peer| (lost, peer)))
            .filter(|(_, peer)| survivors.contains(*peer))
            .collect();
        if pairs != wanted {
            return Err(kind(pairs.first().or(wanted.first()).map_or(0, |(lost, _)| *lost)));
        }
        let pairs = self.pairs.iter().map(|p| (p.lost, p.survivor, Seed::from_bytes(p.seed)));
        let revealed = Revealed { own, pairs: pairs.collect() };
        Ok((survivors, revealed.masks()))
    }
}
