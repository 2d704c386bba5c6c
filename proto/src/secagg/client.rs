//! The site's side: each step is a function of the round's secret and of what the site is shown.

use serde::{Deserialize, Serialize};

use super::chunk::ChunkRoot;
use super::error::SecaggError;
use super::key::{Identity, RoundSecret, commitment, pair_seed};
use super::mask::{MaskSeed, Sign};
use super::seal::{Held, Sealed};
use super::server::Release;
use super::session::{
    Advert, Confirmation, Session, Setting, Survivor, Survivors, check_shared, sha256,
};
use super::share::split;

/// What a site has been shown and has answered in a round. It is stored before each answer leaves,
/// and outlives the round's secret, so that no round is taken part in twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// Digest of the plan.
    #[serde(with = "hex::serde")]
    plan: [u8; 32],
    session: Option<Pin>,
    shared: Option<Pin>,
    update: Option<Pin>,
    survivors: Option<Pin>,
    /// Whether the round is over for this site and its secret destroyed.
    closed: bool,
}

/// A digest that may be set once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pin(#[serde(with = "hex::serde")] [u8; 32]);

impl Journal {
    /// An empty journal for a plan.
    pub fn new(setting: &Setting) -> Self {
        Self { plan: setting.plan, ..Self::default() }
    }

    /// Refuses another plan for the same round, and a round that is over.
    pub fn check(&self, setting: &Setting) -> Result<(), SecaggError> {
        if self.plan != setting.plan {
            return Err(SecaggError::Replay { what: "its plan" });
        }
        if self.closed {
            return Err(SecaggError::Replay { what: "it is over for this site" });
        }
        Ok(())
    }

    /// The root over the masked update that this site signed.
    pub fn update(&self) -> Option<[u8; 32]> {
        self.update.map(|Pin(root)| root)
    }

    /// Whether this site has signed a set of survivors. It signs none that lacks it, and only one: if the
    /// round succeeds, its update is in the sum.
    pub fn confirmed(&self) -> bool {
        self.survivors.is_some()
    }

    /// The round is over; its secret can be destroyed.
    pub fn close(&mut self) {
        self.closed = true;
    }
}

fn pin(slot: &mut Option<Pin>, digest: [u8; 32], what: &'static str) -> Result<(), SecaggError> {
    match slot {
        Some(pinned) if *pinned != Pin(digest) => Err(SecaggError::Replay { what }),
        _ => {
            *slot = Some(Pin(digest));
            Ok(())
        }
    }
}

/// One site in one round.
pub struct Client<'a> {
    setting: &'a Setting,
    site: usize,
    secret: &'a RoundSecret,
    identity: &'a dyn Identity,
}

impl<'a> Client<'a> {
    /// The site called `pseudonym` in a round that its journal has no objection to.
    pub fn new(
        setting: &'a Setting,
        pseudonym: &str,
        secret: &'a RoundSecret,
        identity: &'a dyn Identity,
        journal: &Journal,
    ) -> Result<Self, SecaggError> {
        setting.check()?;
        journal.check(setting)?;
        let site = setting
            .site(pseudonym)
            .ok_or_else(|| SecaggError::Foreign { pseudonym: pseudonym.to_owned() })?;
        Ok(Self { setting, site, secret, identity })
    }

    /// This site's number.
    pub fn site(&self) -> usize {
        self.site
    }

    /// Step 1: this site's keys, signed.
    pub fn advertise(&self) -> Advert {
        let mut advert = Advert {
            site: self.site,
            encryption: self.secret.encryption().public(),
            masking: self.secret.masking().public(),
            commitment: commitment(&self.secret.own_mask()),
            signature: Vec::new(),
        };
        advert.signature = self.identity.sign(&advert.message(self.setting));
        advert
    }

    /// Checks everybody's keys, and that this site's own are among them unchanged.
    pub fn enter(
        &self,
        adverts: Vec<Advert>,
        journal: &mut Journal,
    ) -> Result<Session, SecaggError> {
        let session = Session::open(self.setting.clone(), adverts)?;
        if session.advert(self.site) != Some(&self.advertise()) {
            return Err(SecaggError::OwnKeys);
        }
        pin(&mut journal.session, *session.id(), "the keys of the cohort")?;
        Ok(session)
    }

    /// Step 2: shares of both secrets, sealed to each neighbour. The site's own share stays here.
    pub fn share(&self, session: &Session) -> Result<Vec<Sealed>, SecaggError> {
        let keys = self.secret.encryption();
        let holders = session.holders(self.site);
        let shares = self.split(session, holders.len());
        holders
            .iter()
            .zip(shares)
            .filter(|(holder, _)| **holder != self.site)
            .map(|(holder, held)| {
                Sealed::seal(session, &keys, self.site, *holder, &held)
                    .ok_or_else(|| SecaggError::Keys { pseudonym: self.setting.name(*holder) })
            })
            .collect()
    }

    fn split(&self, session: &Session, holders: usize) -> Vec<Held> {
        let (threshold, secret) = (session.threshold(), self.secret);
        let own = split(
            &secret.own_mask(),
            threshold,
            holders,
            &secret.coins(b"shares of own mask", session.id()),
        );
        let masking = split(
            &secret.masking_seed(),
            threshold,
            holders,
            &secret.coins(b"shares of masking key", session.id()),
        );
        own.into_iter().zip(masking).map(|(own_mask, masking)| Held { own_mask, masking }).collect()
    }

    /// Step 3: the masks over this site's update, given the shares that its neighbours made for it.
    /// Who sent shares is who takes part from here on.
    pub fn masks(
        &self,
        session: &Session,
        shared: &[usize],
        received: &[Sealed],
        journal: &mut Journal,
    ) -> Result<Vec<MaskSeed>, SecaggError> {
        let shared = self.check_received(session, shared, received)?;
        pin(&mut journal.shared, set_digest(&shared), "who shared secrets")?;
        let keys = self.secret.masking();
        let mut masks = vec![MaskSeed { seed: self.secret.own_mask(), sign: Sign::Plus }];
        for peer in session.neighbours(self.site) {
            if shared.binary_search(&peer).is_err() {
                continue;
            }
            let seed = session
                .advert(peer)
                .and_then(|a| pair_seed(&keys, self.site, &a.masking, peer, session.id()))
                .ok_or_else(|| SecaggError::Keys { pseudonym: self.setting.name(peer) })?;
            masks.push(MaskSeed { seed, sign: Sign::of(self.site, peer) });
        }
        Ok(masks)
    }

    /// Every share must open, or the round could not be unmasked later; enough must be there.
    fn check_received(
        &self,
        session: &Session,
        shared: &[usize],
        received: &[Sealed],
    ) -> Result<Vec<usize>, SecaggError> {
        let mut shared = shared.to_vec();
        shared.sort_unstable();
        check_shared(session, &shared)?;
        if shared.binary_search(&self.site).is_err() {
            return Err(SecaggError::Survivors { why: "this site shared secrets and is left out" });
        }
        let neighbours = session.neighbours(self.site);
        let expected = neighbours.iter().filter(|peer| shared.binary_search(peer).is_ok());
        let mut there = 1;
        for peer in expected {
            received
                .iter()
                .find(|sealed| sealed.from == *peer)
                .filter(|sealed| self.open(session, sealed).is_some())
                .ok_or_else(|| self.sealed_error(*peer))?;
            there += 1;
        }
        if there < session.threshold() {
            return Err(SecaggError::TooFew { found: there, needed: session.threshold() });
        }
        Ok(shared)
    }

    fn open(&self, session: &Session, sealed: &Sealed) -> Option<Held> {
        if sealed.to != self.site {
            return None;
        }
        sealed.open(session, &self.secret.encryption())
    }

    fn sealed_error(&self, from: usize) -> SecaggError {
        SecaggError::Sealed { from: self.setting.name(from), to: self.setting.name(self.site) }
    }

    /// Signs the masked update. A second update under the same masks would show their difference, so
    /// there is none.
    pub fn sign_update(
        &self,
        session: &Session,
        update: ChunkRoot,
        journal: &mut Journal,
    ) -> Result<Survivor, SecaggError> {
        pin(&mut journal.update, update.0, "this site's masked update")?;
        let signature = self.identity.sign(&session.update_message(self.site, &update));
        Ok(Survivor { site: self.site, update, signature })
    }

    /// Step 4: signs the set of survivors, if it can be right.
    pub fn confirm(
        &self,
        session: &Session,
        survivors: &Survivors,
        journal: &mut Journal,
    ) -> Result<Confirmation, SecaggError> {
        let own = survivors.updates().iter().find(|survivor| survivor.site == self.site);
        let own = own.ok_or(SecaggError::Survivors { why: "this site is left out" })?;
        if journal.update != Some(Pin(own.update.0)) {
            return Err(SecaggError::Survivors { why: "this site's update was exchanged" });
        }
        if journal.shared != Some(Pin(set_digest(survivors.shared()))) {
            return Err(SecaggError::Replay { what: "who shared secrets" });
        }
        pin(&mut journal.survivors, sha256(&survivors.message(session)), "the set of survivors")?;
        Ok(survivors.sign(session, self.site, self.identity))
    }

    /// Step 5: one share for each neighbour and itself: of the own mask's seed of those whose update
    /// arrived, of the masking key of those who got lost. Never both, and only when a threshold of
    /// holders signed the very set that this site signed.
    pub fn release(
        &self,
        session: &Session,
        survivors: &Survivors,
        confirmations: &[Confirmation],
        received: &[Sealed],
        journal: &mut Journal,
    ) -> Result<Release, SecaggError> {
        let digest = sha256(&survivors.message(session));
        match journal.survivors {
            Some(pinned) if pinned == Pin(digest) => {}
            Some(_) => return Err(SecaggError::Replay { what: "the set of survivors" }),
            None => {
                return Err(SecaggError::Survivors { why: "this site has not confirmed any set" });
            }
        }
        self.check_confirmations(session, survivors, confirmations)?;
        let mut release = Release { site: self.site, own_mask: Vec::new(), masking: Vec::new() };
        for owner in session.holders(self.site) {
            if survivors.shared().binary_search(&owner).is_err() {
                continue;
            }
            let held = self.held(session, owner, received)?;
            if survivors.contains(owner) {
                release.own_mask.push((owner, held.own_mask));
            } else {
                release.masking.push((owner, held.masking));
            }
        }
        Ok(release)
    }

    fn check_confirmations(
        &self,
        session: &Session,
        survivors: &Survivors,
        confirmations: &[Confirmation],
    ) -> Result<(), SecaggError> {
        let holders = session.holders(self.site);
        let mut signed = Vec::with_capacity(confirmations.len());
        for confirmation in confirmations {
            session.check_confirmation(survivors, confirmation)?;
            if holders.contains(&confirmation.site) && !signed.contains(&confirmation.site) {
                signed.push(confirmation.site);
            }
        }
        let needed = session.threshold();
        if signed.len() < needed {
            return Err(SecaggError::TooFew { found: signed.len(), needed });
        }
        Ok(())
    }

    /// The share that this site holds of `owner`'s secrets.
    fn held(
        &self,
        session: &Session,
        owner: usize,
        received: &[Sealed],
    ) -> Result<Held, SecaggError> {
        if owner == self.site {
            let holders = session.holders(owner);
            let place = holders.iter().position(|holder| *holder == owner);
            return place
                .and_then(|place| self.split(session, holders.len()).into_iter().nth(place))
                .ok_or_else(|| self.sealed_error(owner));
        }
        received
            .iter()
            .find(|sealed| sealed.from == owner)
            .and_then(|sealed| self.open(session, sealed))
            .ok_or_else(|| self.sealed_error(owner))
    }
}

fn set_digest(sites: &[usize]) -> [u8; 32] {
    let bytes: Vec<u8> = sites.iter().flat_map(|site| (*site as u32).to_le_bytes()).collect();
    sha256(&bytes)
}
