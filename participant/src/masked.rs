//! The site's steps of secure aggregation: what was shown is checked, the journal is kept, and only
//! then something leaves.

use bytes::Bytes;
use chancery_proto::secagg::{
    Advert, ChunkRoot, Client, Confirmation, Identity, Journal, RoundSecret, Sealed, SecaggError,
    Session, Setting, Survivor, Survivors, mask_packed,
};
use chancery_proto::{Malformed, released_shares, wire};
use chancery_provenance::SigningKey;

use crate::assignment::Assignment;
use crate::error::Error;
use crate::home::Home;
use crate::round::RoundStore;

/// This site in one masked round.
pub(crate) struct MaskedRound<'a> {
    assignment: &'a Assignment,
    setting: Setting,
    store: &'a RoundStore,
    identity: SiteIdentity<'a>,
    secret: RoundSecret,
    journal: Journal,
}

struct SiteIdentity<'a>(&'a SigningKey);

impl Identity for SiteIdentity<'_> {
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message)
    }
}

/// A masked update, ready to be handed in.
pub(crate) struct MaskedUpdate {
    pub(crate) bytes: Bytes,
    pub(crate) signed: Survivor,
}

impl<'a> MaskedRound<'a> {
    /// Opens the round, unless it was taken part in before or is another one under the same number.
    pub(crate) fn open(
        home: &'a Home,
        assignment: &'a Assignment,
        store: &'a RoundStore,
    ) -> Result<Self, Error> {
        let setting = assignment.setting();
        let journal = store.journal(&setting)?;
        journal.check(&setting)?;
        Ok(Self {
            assignment,
            setting,
            store,
            identity: SiteIdentity(home.key()),
            secret: store.secret()?,
            journal,
        })
    }

    /// Runs one step with the journal as it is, and keeps the journal as the step left it.
    fn step<T>(
        &mut self,
        step: impl FnOnce(&Client<'_>, &mut Journal) -> Result<T, SecaggError>,
    ) -> Result<T, Error> {
        let mut journal = self.journal.clone();
        let client = Client::new(
            &self.setting,
            &self.assignment.pseudonym,
            &self.secret,
            &self.identity,
            &self.journal,
        )?;
        let result = step(&client, &mut journal)?;
        self.store.keep_journal(&journal)?;
        self.journal = journal;
        Ok(result)
    }

    /// The round's public keys.
    pub(crate) fn keys(&mut self) -> Result<wire::Keys, Error> {
        let advert = self.step(|client, _| Ok(client.advertise()))?;
        let plan = &self.assignment.plan;
        Ok(wire::Keys {
            run: plan.run.clone(),
            round: plan.round,
            lease: self.assignment.lease.clone(),
            advert: Some((&advert).into()),
        })
    }

    /// Sealed shares for every neighbour.
    pub(crate) fn shares(&mut self, adverts: Vec<wire::Advert>) -> Result<wire::Shares, Error> {
        let adverts = all(adverts)?;
        let shares = self.step(|client, journal| {
            let session = client.enter(adverts, journal)?;
            client.share(&session)
        })?;
        let plan = &self.assignment.plan;
        Ok(wire::Shares {
            run: plan.run.clone(),
            round: plan.round,
            lease: self.assignment.lease.clone(),
            shares: shares.iter().map(Into::into).collect(),
        })
    }

    /// The update under its masks.
    pub(crate) fn mask(&mut self, task: wire::Mask, update: &[u8]) -> Result<MaskedUpdate, Error> {
        let adverts = all(task.adverts)?;
        let (shared, received) = (sites(&task.shared), sealed(task.received));
        let plan = &self.assignment.plan;
        let mut packed = update.to_vec();
        let signed = self.step(|client, journal| {
            let session = client.enter(adverts, journal)?;
            let masks = client.masks(&session, &shared, &received, journal)?;
            mask_packed(&plan.ring, &mut packed, plan.elements(), &masks)?;
            client.sign_update(&session, ChunkRoot::of(&packed), journal)
        })?;
        Ok(MaskedUpdate { bytes: packed.into(), signed })
    }

    /// This site's signature over the survivors.
    pub(crate) fn confirm(&mut self, task: wire::Confirm) -> Result<wire::Confirmation, Error> {
        let (adverts, arrived) = (all(task.adverts)?, all(task.survivors)?);
        let shared = sites(&task.shared);
        let confirmation = self.step(|client, journal| {
            let (session, survivors) = enter(client, adverts, shared, arrived, journal)?;
            client.confirm(&session, &survivors, journal)
        })?;
        let plan = &self.assignment.plan;
        Ok(wire::Confirmation {
            run: plan.run.clone(),
            round: plan.round,
            lease: self.assignment.lease.clone(),
            signature: confirmation.signature,
        })
    }

    /// One share for each site that this one holds shares of.
    pub(crate) fn release(&mut self, task: wire::Open) -> Result<wire::Release, Error> {
        let (adverts, arrived) = (all(task.adverts)?, all(task.survivors)?);
        let (shared, received) = (sites(&task.shared), sealed(task.received));
        let confirmations: Vec<Confirmation> =
            task.confirmations.into_iter().map(Into::into).collect();
        let release = self.step(|client, journal| {
            let (session, survivors) = enter(client, adverts, shared, arrived, journal)?;
            client.release(&session, &survivors, &confirmations, &received, journal)
        })?;
        let (own_mask, masking) = released_shares(&release);
        let plan = &self.assignment.plan;
        Ok(wire::Release {
            run: plan.run.clone(),
            round: plan.round,
            lease: self.assignment.lease.clone(),
            own_mask,
            masking,
        })
    }
}

fn enter(
    client: &Client<'_>,
    adverts: Vec<Advert>,
    shared: Vec<usize>,
    arrived: Vec<Survivor>,
    journal: &mut Journal,
) -> Result<(Session, Survivors), SecaggError> {
    let session = client.enter(adverts, journal)?;
    let survivors = Survivors::new(&session, shared, arrived)?;
    Ok((session, survivors))
}

fn all<W, T: TryFrom<W, Error = Malformed>>(wire: Vec<W>) -> Result<Vec<T>, Error> {
    Ok(wire.into_iter().map(T::try_from).collect::<Result<_, _>>()?)
}

fn sites(numbers: &[u32]) -> Vec<usize> {
    numbers.iter().map(|number| *number as usize).collect()
}

fn sealed(received: Vec<wire::SealedShare>) -> Vec<Sealed> {
    received.into_iter().map(Into::into).collect()
}
