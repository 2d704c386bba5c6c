//! What all parties of a round agree on: the cohort, its keys, and who is left at the end.

use std::collections::BTreeSet;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::chunk::ChunkRoot;
use super::error::SecaggError;
use super::graph::Graph;
use super::key::{Identity, verify_signature};
use super::params::{MIN_SITES, default_threshold};

/// One site of the cohort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name in this run.
    pub pseudonym: String,
    /// Its registered Ed25519 public key.
    #[serde(with = "hex::serde")]
    pub identity: [u8; 32],
}

/// What is fixed before anybody makes keys; it comes out of the signed plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// SHA-256 of the plan's JSON.
    pub plan: [u8; 32],
    /// The run.
    pub run: String,
    /// From 1.
    pub round: u32,
    /// The cohort, sorted by pseudonym. A site's number is its place here.
    pub roster: Vec<Member>,
    /// Sites that must answer.
    pub threshold: usize,
}

impl Setting {
    /// Refuses a cohort that is too small or ambiguous and a threshold that protects nobody.
    pub fn check(&self) -> Result<(), SecaggError> {
        let sites = self.roster.len();
        if sites < MIN_SITES {
            return Err(SecaggError::TooFew { found: sites, needed: MIN_SITES });
        }
        let least = (sites / 2 + 1).max(MIN_SITES);
        if !(least..=sites).contains(&self.threshold) {
            return Err(SecaggError::Threshold { threshold: self.threshold, sites, least });
        }
        let mut keys = BTreeSet::new();
        let mut last: Option<&str> = None;
        for member in &self.roster {
            let sorted = last.is_none_or(|last| last < member.pseudonym.as_str());
            if !sorted || !keys.insert(member.identity) {
                return Err(SecaggError::Roster { pseudonym: member.pseudonym.clone() });
            }
            last = Some(&member.pseudonym);
        }
        Ok(())
    }

    /// Whether the threshold holds against a coordinator that deviates from the protocol.
    pub fn withstands_malice(&self) -> bool {
        self.threshold >= default_threshold(self.roster.len())
    }

    /// A site's number.
    pub fn site(&self, pseudonym: &str) -> Option<usize> {
        self.roster.iter().position(|member| member.pseudonym == pseudonym)
    }

    /// A site's pseudonym, also of one that does not exist.
    pub(crate) fn name(&self, site: usize) -> String {
        self.roster.get(site).map_or_else(|| format!("site {site}"), |m| m.pseudonym.clone())
    }

    /// Length-prefixed, so that no two settings have the same bytes.
    fn context(&self, label: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, label.as_bytes());
        put(&mut bytes, self.run.as_bytes());
        bytes.extend_from_slice(&self.round.to_le_bytes());
        bytes.extend_from_slice(&self.roster_hash());
        bytes.extend_from_slice(&self.plan);
        bytes
    }

    fn roster_hash(&self) -> [u8; 32] {
        let mut bytes = Vec::new();
        for member in &self.roster {
            put(&mut bytes, member.pseudonym.as_bytes());
            bytes.extend_from_slice(&member.identity);
        }
        sha256(&bytes)
    }

    fn signed_by(&self, site: usize, message: &[u8], signature: &[u8]) -> bool {
        self.roster
            .get(site)
            .is_some_and(|member| verify_signature(&member.identity, message, signature))
    }
}

/// A site's public keys for one round, signed by its identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advert {
    /// The site's number.
    pub site: usize,
    /// X25519: shares are sealed to it.
    #[serde(with = "hex::serde")]
    pub encryption: [u8; 32],
    /// X25519: pairwise masks are agreed with it.
    #[serde(with = "hex::serde")]
    pub masking: [u8; 32],
    /// Commits to the seed of the site's own mask.
    #[serde(with = "hex::serde")]
    pub commitment: [u8; 32],
    /// Over the setting and all of the above.
    #[serde(with = "hex::serde")]
    pub signature: Vec<u8>,
}

impl Advert {
    pub(crate) fn message(&self, setting: &Setting) -> Vec<u8> {
        let mut bytes = setting.context("chancery-secagg-v1 keys");
        bytes.extend_from_slice(&(self.site as u32).to_le_bytes());
        bytes.extend_from_slice(&self.encryption);
        bytes.extend_from_slice(&self.masking);
        bytes.extend_from_slice(&self.commitment);
        bytes
    }

    /// Whether it shares a key with another site's, as no two honest ones do.
    pub fn repeats(&self, other: &Self) -> bool {
        let theirs = [other.encryption, other.masking, other.commitment];
        [self.encryption, self.masking, self.commitment].iter().any(|key| theirs.contains(key))
    }

    /// Refuses keys that the site's identity did not sign for this very round.
    pub fn check(&self, setting: &Setting) -> Result<(), SecaggError> {
        let signed = setting.signed_by(self.site, &self.message(setting), &self.signature);
        if signed {
            Ok(())
        } else {
            Err(SecaggError::Signature { what: "the keys", pseudonym: setting.name(self.site) })
        }
    }
}

/// The sites that advertised keys, and everything that follows from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    setting: Setting,
    adverts: Vec<Advert>,
    graph: Graph,
    id: [u8; 32],
}

impl Session {
    /// Opens a session over these keys, after checking every signature and that no key is used twice.
    pub fn open(setting: Setting, mut adverts: Vec<Advert>) -> Result<Self, SecaggError> {
        setting.check()?;
        adverts.sort_by_key(|advert| advert.site);
        let mut keys = BTreeSet::new();
        let mut last = None;
        for advert in &adverts {
            let pseudonym = setting.name(advert.site);
            if last.replace(advert.site) == Some(advert.site) {
                return Err(SecaggError::Twice { pseudonym });
            }
            advert.check(&setting)?;
            let fresh = [advert.encryption, advert.masking, advert.commitment];
            if !fresh.into_iter().all(|key| key != [0; 32] && keys.insert(key)) {
                return Err(SecaggError::Keys { pseudonym });
            }
        }
        if adverts.len() < setting.threshold {
            return Err(SecaggError::TooFew { found: adverts.len(), needed: setting.threshold });
        }
        let mut bytes = setting.context("chancery-secagg-v1 session");
        for advert in &adverts {
            bytes.extend_from_slice(&sha256(&advert.message(&setting)));
        }
        let id = sha256(&bytes);
        let graph = Graph::new(adverts.len(), setting.threshold, &id)?;
        Ok(Self { setting, adverts, graph, id })
    }

    /// What was fixed before.
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// Names this session: a digest over the setting and all keys.
    pub fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// Sites that advertised, ascending.
    pub fn sites(&self) -> impl Iterator<Item = usize> {
        self.adverts.iter().map(|advert| advert.site)
    }

    /// A site's keys.
    pub fn advert(&self, site: usize) -> Option<&Advert> {
        self.adverts.get(self.seat(site)?)
    }

    /// Sites that share a mask with this one.
    pub fn neighbours(&self, site: usize) -> Vec<usize> {
        self.seats_to_sites(self.seat(site).map_or(&[], |seat| self.graph.neighbours(seat)))
    }

    /// Sites that hold shares of this one's secrets, itself among them.
    pub fn holders(&self, site: usize) -> Vec<usize> {
        self.seat(site)
            .map(|seat| self.seats_to_sites(&self.graph.holders(seat)))
            .unwrap_or_default()
    }

    /// Holders that must answer for each site.
    pub fn threshold(&self) -> usize {
        self.graph.threshold()
    }

    /// The place on the polynomial of `owner` that `holder` has.
    pub(crate) fn place(&self, owner: usize, holder: usize) -> Option<u8> {
        self.graph.place(self.seat(owner)?, self.seat(holder)?)
    }

    /// What a sealed share is bound to besides its key.
    pub(crate) fn share_context(&self, from: usize, to: usize) -> Vec<u8> {
        let mut bytes = self.setting.context("chancery-secagg-v1 share");
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&(from as u32).to_le_bytes());
        bytes.extend_from_slice(&(to as u32).to_le_bytes());
        bytes
    }

    /// What a site signs over its masked update.
    pub fn update_message(&self, site: usize, update: &ChunkRoot) -> Vec<u8> {
        let mut bytes = self.setting.context("chancery-secagg-v1 update");
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&(site as u32).to_le_bytes());
        bytes.extend_from_slice(&update.0);
        bytes
    }

    /// Refuses an update that its site did not sign for this session.
    pub fn check_update(&self, survivor: &Survivor) -> Result<(), SecaggError> {
        let message = self.update_message(survivor.site, &survivor.update);
        if self.setting.signed_by(survivor.site, &message, &survivor.signature) {
            Ok(())
        } else {
            let pseudonym = self.setting.name(survivor.site);
            Err(SecaggError::Signature { what: "the masked update", pseudonym })
        }
    }

    /// Refuses a confirmation that its site did not sign over these survivors.
    pub fn check_confirmation(
        &self,
        survivors: &Survivors,
        confirmation: &Confirmation,
    ) -> Result<(), SecaggError> {
        let pseudonym = self.setting.name(confirmation.site);
        if !survivors.contains(confirmation.site) {
            return Err(SecaggError::Foreign { pseudonym });
        }
        let message = survivors.message(self);
        if self.setting.signed_by(confirmation.site, &message, &confirmation.signature) {
            Ok(())
        } else {
            Err(SecaggError::Signature { what: "the confirmation", pseudonym })
        }
    }

    /// The place among those who advertised; the graph counts by it.
    fn seat(&self, site: usize) -> Option<usize> {
        self.adverts.binary_search_by_key(&site, |advert| advert.site).ok()
    }

    fn seats_to_sites(&self, seats: &[usize]) -> Vec<usize> {
        seats.iter().filter_map(|seat| self.adverts.get(*seat)).map(|advert| advert.site).collect()
    }
}

/// A site whose masked update arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survivor {
    /// The site's number.
    pub site: usize,
    /// The root over its chunks.
    pub update: ChunkRoot,
    /// The site's, over the session and the root.
    #[serde(with = "hex::serde")]
    pub signature: Vec<u8>,
}

/// Who shared secrets, and whose update arrived: what the sum will be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivors {
    shared: Vec<usize>,
    survivors: Vec<Survivor>,
}

impl Survivors {
    /// The set of survivors among those who shared secrets; each of their signatures is checked.
    pub fn new(
        session: &Session,
        mut shared: Vec<usize>,
        mut survivors: Vec<Survivor>,
    ) -> Result<Self, SecaggError> {
        shared.sort_unstable();
        survivors.sort_by_key(|survivor| survivor.site);
        check_shared(session, &shared)?;
        let mut last = None;
        let mut roots = BTreeSet::new();
        for survivor in &survivors {
            let pseudonym = session.setting.name(survivor.site);
            let twice = last.replace(survivor.site) == Some(survivor.site);
            if twice || !roots.insert(survivor.update.0) {
                return Err(SecaggError::Twice { pseudonym });
            }
            if shared.binary_search(&survivor.site).is_err() {
                return Err(SecaggError::Survivors { why: "one of them never shared secrets" });
            }
            session.check_update(survivor)?;
        }
        let needed = session.setting.threshold;
        if survivors.len() < needed {
            return Err(SecaggError::TooFew { found: survivors.len(), needed });
        }
        Ok(Self { shared, survivors })
    }

    /// Whether this site's update arrived.
    pub fn contains(&self, site: usize) -> bool {
        self.survivors.binary_search_by_key(&site, |survivor| survivor.site).is_ok()
    }

    /// Those whose updates arrived, ascending.
    pub fn sites(&self) -> impl Iterator<Item = usize> {
        self.survivors.iter().map(|survivor| survivor.site)
    }

    /// Those who shared secrets but whose update did not arrive.
    pub fn lost(&self) -> impl Iterator<Item = usize> {
        self.shared.iter().copied().filter(|site| !self.contains(*site))
    }

    /// Those who shared secrets.
    pub fn shared(&self) -> &[usize] {
        &self.shared
    }

    /// The updates.
    pub fn updates(&self) -> &[Survivor] {
        &self.survivors
    }

    /// What each survivor signs.
    pub(crate) fn message(&self, session: &Session) -> Vec<u8> {
        let mut bytes = session.setting.context("chancery-secagg-v1 survivors");
        bytes.extend_from_slice(session.id());
        bytes.extend_from_slice(&(self.shared.len() as u32).to_le_bytes());
        for site in &self.shared {
            bytes.extend_from_slice(&(*site as u32).to_le_bytes());
        }
        for survivor in &self.survivors {
            bytes.extend_from_slice(&(survivor.site as u32).to_le_bytes());
            bytes.extend_from_slice(&survivor.update.0);
        }
        bytes
    }

    /// A site's signature over the set.
    pub(crate) fn sign(&self, session: &Session, site: usize, key: &dyn Identity) -> Confirmation {
        Confirmation { site, signature: key.sign(&self.message(session)) }
    }
}

/// Refuses a set of sharers that is too small, or names somebody twice or from outside.
pub(crate) fn check_shared(session: &Session, shared: &[usize]) -> Result<(), SecaggError> {
    let mut last = None;
    for site in shared {
        let pseudonym = session.setting.name(*site);
        if last.replace(*site) == Some(*site) {
            return Err(SecaggError::Twice { pseudonym });
        }
        if session.advert(*site).is_none() {
            return Err(SecaggError::Foreign { pseudonym });
        }
    }
    let needed = session.setting.threshold;
    if shared.len() < needed {
        return Err(SecaggError::TooFew { found: shared.len(), needed });
    }
    Ok(())
}

/// A survivor's word that it was shown this set of survivors, and no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// The site's number.
    pub site: usize,
    /// Over the session and the set.
    #[serde(with = "hex::serde")]
    pub signature: Vec<u8>,
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
    bytes.extend_from_slice(part);
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
