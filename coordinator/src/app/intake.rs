//! What sites hand in: checked in full before it counts, and recorded when it does not.

use std::io::BufReader;

use chancery_proto::secagg::{
    Advert, ChunkRoot, Confirmation, Sealed as SealedShare, SecaggError, Session, Survivor,
    Survivors,
};
use chancery_proto::{Plan, PrivacyMode, wire};
use chancery_provenance::{Bundle, Digest, PublicKey, TRAINING_TYPE, TrainingStatement};
use prost::Message as _;

use super::{App, Call, member};
use crate::clock;
use crate::error::{Error, Reject};
use crate::round::{Answer, BySite, Event, Handed, Keyed, Phase, Round, Scores, Sealed, Update};
use crate::run::{Member, Run};

/// A site's message about its task.
pub(crate) enum Message {
    /// Its keys for the round.
    Keys(Advert),
    /// Its sealed shares.
    Shares(wire::Shares),
    /// Its update, and the training statement over it.
    Update(Update, String),
    /// Its signature over the survivors.
    Confirmation(Vec<u8>),
    /// The shares it releases.
    Release(wire::Release),
    /// Its figures.
    Scores(Scores),
}

impl App {
    /// A site hands in something.
    pub(crate) async fn hand_in(&self, call: &Call<'_>, message: Message) -> Result<Answer, Error> {
        let stored = self.store.run(call.run).await?;
        let run = stored.ok_or_else(|| Reject::NotFound { what: format!("run {}", call.run) })?.run;
        let (handed, blob) = recorded(&message, &run, call);
        // What would not count anyhow is not read; its fate is recorded by the step below.
        if counts(&run, call, &handed) {
            let checked = self.check(&run, call, &message).await;
            if let Err(Error::Reject(reject)) = &checked {
                self.record_refusal(call, reject).await?;
            }
            checked?;
            if let Some(bytes) = blob {
                self.blobs.put(bytes).await?;
            }
            if let Message::Update(update, statement) = &message {
                self.store.put_training(call.run, &update.statement, statement).await?;
            }
        }
        self.step(call, |site, lease| Event::Handed { site, lease, handed }).await
    }

    async fn record_refusal(&self, call: &Call<'_>, reject: &Reject) -> Result<(), Error> {
        self.change(call.run, |run| {
            let pseudonym = member(run, call.site)?.pseudonym.clone();
            if let Ok(round) = run.round(call.round) {
                let mut round = round.clone();
                round.refuse(&pseudonym, reject);
                round.drop_lease(&pseudonym);
                run.set_round(round);
            }
            Ok(())
        })
        .await
    }

    async fn check(&self, run: &Run, call: &Call<'_>, message: &Message) -> Result<(), Error> {
        let member = member(run, call.site)?;
        let round = run.round(call.round)?;
        match message {
            Message::Keys(advert) => Ok(check_keys(round, member, advert)?),
            Message::Shares(shares) => {
                let Phase::Sharing { adverts, .. } = &round.phase else { return Ok(()) };
                let shares: Vec<SealedShare> =
                    shares.shares.iter().cloned().map(Into::into).collect();
                let session = session(&round.plan, adverts)?;
                Ok(session
                    .check_sealed(number(&round.plan, member)?, &shares)
                    .map_err(Reject::Secagg)?)
            }
            Message::Update(update, statement) => {
                self.check_update(round, member, update, statement).await
            }
            Message::Confirmation(signature) => {
                let Phase::Confirming { keyed, updates, .. } = &round.phase else { return Ok(()) };
                let (session, survivors) = survivors(&round.plan, keyed, updates)?;
                let site = number(&round.plan, member)?;
                let signed = Confirmation { site, signature: signature.clone() };
                Ok(session.check_confirmation(&survivors, &signed).map_err(Reject::Secagg)?)
            }
            Message::Release(release) => {
                let Phase::Unmasking { keyed, updates, .. } = &round.phase else { return Ok(()) };
                let (session, survivors) = survivors(&round.plan, keyed, updates)?;
                let release = chancery_proto::release(number(&round.plan, member)?, release)
                    .map_err(|e| Reject::Argument(e.to_string()))?;
                Ok(release.check(&session, &survivors).map_err(Reject::Secagg)?)
            }
            Message::Scores(_) => Ok(()),
        }
    }

    async fn check_update(
        &self,
        round: &Round,
        member: &Member,
        update: &Update,
        statement: &str,
    ) -> Result<(), Error> {
        let plan = &round.plan;
        let wrong = |code, why: String| Reject::Update { code, why };
        let digest: Digest =
            update.digest.parse().map_err(|_| wrong("CH3121", "it names no digest".to_owned()))?;
        let elements = plan.elements_of(number(plan, member)?);
        let wanted = plan.ring.packed_len(elements);
        match self.blobs.size(&digest).await? {
            Some(size) if size == wanted as u64 => {}
            Some(size) => {
                let why = format!("it has {size} bytes, the plan asks for {wanted}");
                return Err(wrong("CH1202", why).into());
            }
            None => return Err(wrong("CH3122", "its bytes were not uploaded".to_owned()).into()),
        }
        let open = || Ok::<_, Error>(BufReader::new(self.blobs.file(&digest)?));
        let (file, again) = (open()?, open()?);
        let (checked, root) = tokio::task::block_in_place(|| {
            let checked = match plan.mode {
                PrivacyMode::Trusted => plan.ring.check(file, elements),
                PrivacyMode::Masked => plan.ring.check_masked(file, elements),
            };
            (checked, ChunkRoot::of_reader(again))
        });
        if let Err(error) = checked {
            return Err(wrong(error.code(), named(&error, plan, number(plan, member)?)).into());
        }
        let root = root.map_err(|e| Error::State(e.to_string()))?;
        if hex::encode(root.0) != update.chunk_root {
            let why = "the root over its chunks is another".to_owned();
            return Err(wrong("CH3124", why).into());
        }
        if let Phase::Masking { keyed, .. } = &round.phase {
            let survivor = survivor(plan, &member.pseudonym, update)?;
            let session = session(plan, &keyed.adverts)?;
            session.check_update(&survivor).map_err(Reject::Secagg)?;
        }
        if swears(plan, member, digest, statement)? {
            Ok(())
        } else {
            let why =
                "its training statement is not signed by this site or speaks of something else";
            Err(wrong("CH3123", why.to_owned()).into())
        }
    }
}

/// Whether the statement is the site's and speaks of this update, trained as the plan says.
fn swears(plan: &Plan, member: &Member, update: Digest, statement: &str) -> Result<bool, Error> {
    let key = PublicKey::from_pem(&member.key)?;
    // The receipt names the bundle by the digest of its canonical form, so no other is taken.
    let training: Option<TrainingStatement> = Bundle::parse(statement.as_bytes())
        .ok()
        .filter(|bundle| bundle.to_json() == statement)
        .and_then(|bundle| bundle.verify(&key).ok())
        .and_then(|statement| statement.predicate_as(TRAINING_TYPE));
    let plan_digest = Digest::of(&plan.to_json());
    Ok(training.is_some_and(|training| {
        training.run == plan.run
            && training.round == plan.round
            && training.plan_digest == plan_digest
            && training.factors == plan.factors.to_string()
            && training.base_digest.to_string() == plan.base_digest
            && training.adapter_digest.to_string() == plan.adapter_digest
            && training.update_digest == update
    }))
}

fn check_keys(round: &Round, member: &Member, advert: &Advert) -> Result<(), Reject> {
    let pseudonym = || member.pseudonym.clone();
    if advert.site != number(&round.plan, member)? {
        return Err(SecaggError::Foreign { pseudonym: pseudonym() }.into());
    }
    advert.check(&setting(&round.plan))?;
    if let Phase::Advertising { stage } = &round.phase
        && stage.done().any(|(site, other)| *site != member.pseudonym && advert.repeats(other))
    {
        return Err(SecaggError::Keys { pseudonym: pseudonym() }.into());
    }
    Ok(())
}

/// What secure aggregation goes by in this plan.
fn setting(plan: &Plan) -> chancery_proto::secagg::Setting {
    plan.setting(*Digest::of(&plan.to_json()).as_bytes())
}

/// A member's number in the plan's roster.
pub(crate) fn number(plan: &Plan, member: &Member) -> Result<usize, Reject> {
    site_number(plan, &member.pseudonym)
}

pub(crate) fn site_number(plan: &Plan, pseudonym: &str) -> Result<usize, Reject> {
    plan.roster.iter().position(|m| m.pseudonym == pseudonym).ok_or(Reject::Foreign)
}

/// The session of the sites that advertised.
pub(crate) fn session(plan: &Plan, adverts: &BySite<Advert>) -> Result<Session, Reject> {
    Ok(Session::open(setting(plan), adverts.values().cloned().collect())?)
}

/// The numbers of sites that shared secrets.
pub(crate) fn shared(plan: &Plan, keyed: &Keyed) -> Result<Vec<usize>, Reject> {
    keyed.shares.keys().map(|site| site_number(plan, site)).collect()
}

/// The session, and the sites whose updates arrived.
pub(crate) fn survivors(
    plan: &Plan,
    keyed: &Keyed,
    updates: &BySite<Update>,
) -> Result<(Session, Survivors), Reject> {
    let session = session(plan, &keyed.adverts)?;
    let updates = updates
        .iter()
        .map(|(site, update)| survivor(plan, site, update))
        .collect::<Result<_, _>>()?;
    let survivors = Survivors::new(&session, shared(plan, keyed)?, updates)?;
    Ok((session, survivors))
}

fn survivor(plan: &Plan, site: &str, update: &Update) -> Result<Survivor, Reject> {
    let malformed = |_| Reject::Argument("a root or a signature is not hexadecimal".to_owned());
    let mut root = [0; 32];
    hex::decode_to_slice(&update.chunk_root, &mut root).map_err(malformed)?;
    Ok(Survivor {
        site: site_number(plan, site)?,
        update: ChunkRoot(root),
        signature: hex::decode(&update.chunk_signature).map_err(malformed)?,
    })
}

/// The message as the round keeps it, and the bytes that go into a blob.
fn recorded(message: &Message, run: &Run, call: &Call<'_>) -> (Handed, Option<Vec<u8>>) {
    let blob = |bytes: Vec<u8>| (Sealed { blob: Digest::of(&bytes).to_string() }, Some(bytes));
    match message {
        Message::Keys(advert) => (Handed::Keys(advert.clone()), None),
        Message::Shares(shares) => {
            let unbound = wire::Shares { shares: shares.shares.clone(), ..Default::default() };
            let (kept, bytes) = blob(unbound.encode_to_vec());
            (Handed::Shares(kept), bytes)
        }
        Message::Update(update, _) => (Handed::Update(update.clone()), None),
        Message::Confirmation(signature) => {
            let site = run.round(call.round).ok().zip(run.members.get(call.site));
            let site = site.and_then(|(round, member)| number(&round.plan, member).ok());
            let signature = signature.clone();
            let site = site.unwrap_or(usize::MAX);
            (Handed::Confirmation(Confirmation { site, signature }), None)
        }
        Message::Release(release) => {
            let unbound = wire::Release {
                own_mask: release.own_mask.clone(),
                masking: release.masking.clone(),
                ..Default::default()
            };
            let (kept, bytes) = blob(unbound.encode_to_vec());
            (Handed::Release(kept), bytes)
        }
        Message::Scores(scores) => (Handed::Scores(*scores), None),
    }
}

/// Whether it would change the round.
fn counts(run: &Run, call: &Call<'_>, handed: &Handed) -> bool {
    let (Ok(member), Ok(round)) = (member(run, call.site), run.round(call.round)) else {
        return false;
    };
    let event = Event::Handed {
        site: member.pseudonym.clone(),
        lease: call.lease.to_owned(),
        handed: handed.clone(),
    };
    let step = round.clone().apply(event, clock::now_ms());
    step.is_ok_and(|step| step.answer == Answer::Recorded)
}

/// Names the tensor that an element of a site's update belongs to.
fn named(error: &chancery_proto::CodecError, plan: &Plan, site: usize) -> String {
    let chancery_proto::CodecError::OutOfRange { element } = error else {
        return error.to_string();
    };
    let place = match plan.places() {
        Some(places) => places.iter().nth(*element),
        None => Some(*element),
    };
    let mut start = 0;
    for (name, [rows, columns]) in plan.layout_of(site) {
        start += rows * columns;
        if place.is_some_and(|place| place < start) {
            return format!("{error} (tensor {name})");
        }
    }
    match *element < plan.elements_of(site) {
        true => format!("{error} (an answer to a probe)"),
        false => format!("{error} (the sample weight)"),
    }
}
