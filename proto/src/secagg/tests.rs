//! The protocol played through by both roles: stories, attacks, properties.

mod attacks;
mod stories;
mod vectors;

use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;
use crate::codec::{Accumulator, Mean, Ring};

/// A site with its identity, and what it keeps between steps.
pub(super) struct Site {
    pub(super) pseudonym: String,
    pub(super) key: Ed25519KeyPair,
    pub(super) secret: RoundSecret,
    pub(super) journal: Journal,
    pub(super) received: Vec<Sealed>,
    pub(super) clear: Vec<u8>,
}

impl Identity for Ed25519KeyPair {
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        Ed25519KeyPair::sign(self, message).as_ref().to_vec()
    }
}

/// A cohort that holds one number each, and a coordinator that passes messages on.
pub(super) struct World {
    pub(super) setting: Setting,
    pub(super) ring: Ring,
    pub(super) sites: Vec<Site>,
    pub(super) elements: usize,
}

impl World {
    pub(super) fn new(sites: usize, elements: usize) -> Self {
        let mut all: Vec<Site> = (0..sites)
            .map(|number| {
                let mut seed = [0u8; 32];
                seed[..8].copy_from_slice(&(number as u64 + 1).to_le_bytes());
                Site {
                    pseudonym: format!("site-{number:04}"),
                    key: Ed25519KeyPair::from_seed_unchecked(&seed).unwrap(),
                    secret: RoundSecret::from_bytes(seed.map(|byte| byte ^ 0x5a)),
                    journal: Journal::default(),
                    received: Vec::new(),
                    clear: Vec::new(),
                }
            })
            .collect();
        let roster = all
            .iter()
            .map(|site| Member {
                pseudonym: site.pseudonym.clone(),
                identity: site.key.public_key().as_ref().try_into().unwrap(),
            })
            .collect();
        let setting = Setting {
            plan: [3; 32],
            run: "run".to_owned(),
            round: 1,
            roster,
            threshold: default_threshold(sites),
        };
        let ring = Ring::for_cohort(12, 0.5, 100, sites as u32);
        for (number, site) in all.iter_mut().enumerate() {
            site.journal = Journal::new(&setting);
            let delta: Vec<f32> =
                (0..elements).map(|i| ((i + number * 7) as f32 * 0.37).sin() * 0.4).collect();
            site.clear = ring.encode(&delta, 40 + number as u64, [number as u8; 32]).unwrap().bytes;
        }
        Self { setting, ring, sites: all, elements }
    }

    pub(super) fn client<'a>(setting: &'a Setting, site: &'a Site) -> Client<'a> {
        Client::new(setting, &site.pseudonym, &site.secret, &site.key, &site.journal).unwrap()
    }

    /// Advertises for `present`.
    pub(super) fn adverts(&self, present: &[usize]) -> Vec<Advert> {
        present.iter().map(|n| Self::client(&self.setting, &self.sites[*n]).advertise()).collect()
    }

    /// Runs `step` at site `n` with its journal writable, as if it had just been loaded.
    pub(super) fn at<T>(
        &mut self,
        n: usize,
        step: impl FnOnce(&Client<'_>, &mut Journal, &[Sealed]) -> Result<T, SecaggError>,
    ) -> Result<T, SecaggError> {
        let setting = self.setting.clone();
        let site = &mut self.sites[n];
        let mut journal = site.journal.clone();
        let client =
            Client::new(&setting, &site.pseudonym, &site.secret, &site.key, &site.journal)?;
        let result = step(&client, &mut journal, &site.received);
        if result.is_ok() {
            site.journal = journal;
        }
        result
    }

    /// Advertise and share: `advertised` enter the session, `shared` of them send shares.
    pub(super) fn set_up(&mut self, advertised: &[usize], shared: &[usize]) -> Session {
        let adverts = self.adverts(advertised);
        let session = Session::open(self.setting.clone(), adverts.clone()).unwrap();
        let mut mail = Vec::new();
        for n in shared {
            let (adverts, session) = (adverts.clone(), &session);
            let sealed = self
                .at(*n, |client, journal, _| {
                    assert_eq!(&client.enter(adverts, journal)?, session);
                    client.share(session)
                })
                .unwrap();
            session.check_sealed(*n, &sealed).unwrap();
            mail.extend(sealed);
        }
        for n in shared {
            self.sites[*n].received = mail.iter().filter(|s| s.to == *n).cloned().collect();
        }
        session
    }

    /// The masked update of site `n`, signed.
    pub(super) fn masked(
        &mut self,
        session: &Session,
        n: usize,
        shared: &[usize],
    ) -> Result<(Survivor, Vec<u8>), SecaggError> {
        let (ring, elements) = (self.ring, self.elements);
        let mut packed = self.sites[n].clear.clone();
        self.at(n, |client, journal, received| {
            let masks = client.masks(session, shared, received, journal)?;
            mask_packed(&ring, &mut packed, elements, &masks)?;
            let survivor = client.sign_update(session, ChunkRoot::of(&packed), journal)?;
            Ok((survivor, packed))
        })
    }

    /// A whole round in which `advertised`, `shared`, `masked`, `answered` are still there at each step.
    pub(super) fn round(
        &mut self,
        advertised: &[usize],
        shared: &[usize],
        masked: &[usize],
        answered: &[usize],
    ) -> Result<Mean, SecaggError> {
        let session = self.set_up(advertised, shared);
        let mut sum = Accumulator::new(&self.ring, self.elements).unwrap();
        let mut updates = Vec::new();
        for n in masked {
            let (survivor, packed) = self.masked(&session, *n, shared)?;
            session.check_update(&survivor)?;
            self.ring.check_masked(packed.as_slice(), self.elements).unwrap();
            sum.add(packed.as_slice()).unwrap();
            updates.push(survivor);
        }
        let survivors = Survivors::new(&session, shared.to_vec(), updates)?;
        let mut confirmations = Vec::new();
        for n in masked {
            let confirmation =
                self.at(*n, |client, journal, _| client.confirm(&session, &survivors, journal))?;
            session.check_confirmation(&survivors, &confirmation)?;
            confirmations.push(confirmation);
        }
        let mut releases = Vec::new();
        for n in answered {
            releases.push(self.at(*n, |client, journal, received| {
                client.release(&session, &survivors, &confirmations, received, journal)
            })?);
        }
        let revealed = Revealed::open(&session, &survivors, &releases)?;
        sum.unmask(&revealed.masks(), 2.try_into().unwrap());
        Ok(sum.finish().unwrap())
    }

    /// What the sum over `members` is without any masks.
    pub(super) fn clear_sum(&self, members: &[usize]) -> Mean {
        let mut sum = Accumulator::new(&self.ring, self.elements).unwrap();
        for n in members {
            sum.add(self.sites[*n].clear.as_slice()).unwrap();
        }
        sum.finish().unwrap()
    }
}

pub(super) fn range(sites: usize) -> Vec<usize> {
    (0..sites).collect()
}
