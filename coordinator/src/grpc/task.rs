//! A round's phase as the task that a site is given.

use chancery_proto::secagg::{Advert, Confirmation, Survivor};
use chancery_proto::{Plan, wire};
use chancery_provenance::Digest;
use prost::Message as _;
use wire::task::Work;

use crate::app::{App, Assigned, number, shared, survivors};
use crate::error::{Error, Reject};
use crate::round::{BySite, Keyed, Phase, Round, Update};
use crate::run::{Reply, Run, RunState};

/// The task of the site called `site`.
pub(super) async fn task(app: &App, site: &str, assigned: Assigned) -> Result<Work, Error> {
    let Assigned { reply, run } = assigned;
    match reply {
        Reply::Work { lease } => {
            let RunState::Running(round) = &run.state else { return Ok(wait("the run is over")) };
            let plan = round.plan.to_json();
            let assignment = wire::Assignment {
                lease,
                lease_seconds: run.recipe.federation.lease_seconds,
                plan_signature: app.authority.key.sign(&Plan::signed_bytes(&plan)),
                plan,
                recipe: run.recipe.to_json().into_bytes(),
            };
            step(app, site, &run, round, assignment).await
        }
        Reply::Finished { outcome, detail } => {
            let outcome = outcome.to_owned();
            Ok(Work::Finished(wire::Finished { run: run.id, outcome, detail }))
        }
        Reply::Nothing(reason) => Ok(wait(reason)),
    }
}

pub(super) fn wait(reason: &str) -> Work {
    Work::Wait(wire::Wait { reason: reason.to_owned() })
}

async fn step(
    app: &App,
    site: &str,
    run: &Run,
    round: &Round,
    assignment: wire::Assignment,
) -> Result<Work, Error> {
    let plan = &round.plan;
    let member = run.members.get(site).ok_or(Reject::Foreign)?;
    let own = number(plan, member)?;
    let assignment = Some(assignment);
    Ok(match &round.phase {
        Phase::Sharing { adverts, .. } => {
            Work::Share(wire::Share { assignment, adverts: wire_all(adverts) })
        }
        Phase::Masking { keyed, .. } => Work::Mask(wire::Mask {
            assignment,
            adverts: wire_all(&keyed.adverts),
            shared: numbers(&shared(plan, keyed)?),
            received: received(app, keyed, own).await?,
        }),
        Phase::Confirming { keyed, updates, .. } => Work::Confirm(wire::Confirm {
            assignment,
            adverts: wire_all(&keyed.adverts),
            shared: numbers(&shared(plan, keyed)?),
            survivors: arrived(plan, keyed, updates)?,
        }),
        Phase::Unmasking { keyed, updates, confirmations, .. } => Work::Open(wire::Open {
            assignment,
            adverts: wire_all(&keyed.adverts),
            shared: numbers(&shared(plan, keyed)?),
            survivors: arrived(plan, keyed, updates)?,
            confirmations: confirmations.values().map(signed).collect(),
            received: received(app, keyed, own).await?,
        }),
        Phase::Evaluating { sum, .. } => Work::Evaluate(wire::Evaluate {
            assignment,
            adapter_digest: sum.adapter.clone(),
            with_base: plan.round == 1,
            change_digest: sum.change.clone().unwrap_or_default(),
        }),
        _ => assignment.map_or_else(|| wait("the round is over"), Work::Train),
    })
}

fn wire_all(adverts: &BySite<Advert>) -> Vec<wire::Advert> {
    adverts.values().map(Into::into).collect()
}

fn numbers(sites: &[usize]) -> Vec<u32> {
    sites.iter().map(|site| *site as u32).collect()
}

fn signed(confirmation: &Confirmation) -> wire::SignedSet {
    confirmation.into()
}

fn arrived(
    plan: &Plan,
    keyed: &Keyed,
    updates: &BySite<Update>,
) -> Result<Vec<wire::Survivor>, Error> {
    let (_, survivors) = survivors(plan, keyed, updates)?;
    let wire = |survivor: &Survivor| wire::Survivor::from(survivor);
    Ok(survivors.updates().iter().map(wire).collect())
}

/// The sealed shares made for the site numbered `own`.
async fn received(app: &App, keyed: &Keyed, own: usize) -> Result<Vec<wire::SealedShare>, Error> {
    let state = |e: &dyn std::fmt::Display| Error::State(e.to_string());
    let mut received = Vec::with_capacity(keyed.shares.len());
    for kept in keyed.shares.values() {
        let digest: Digest = kept.blob.parse().map_err(|e| state(&e))?;
        let bytes = app.blob_bytes(&digest).await?;
        let message = wire::Shares::decode(bytes.as_slice()).map_err(|e| state(&e))?;
        received.extend(message.shares.into_iter().filter(|share| share.to as usize == own));
    }
    Ok(received)
}
