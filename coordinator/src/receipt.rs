//! The receipt of a round, out of its recorded state alone: made twice, it is the same.

use chancery_provenance::{
    AggregationError, Digest, Discarded, Evaluated, Participation, RECEIPT_TYPE, Receipt,
    Statement, Subject,
};

use crate::clock::rfc3339;
use crate::error::Error;
use crate::round::{Phase, Round};
use crate::run::Run;

/// The statement over a round that succeeded.
pub(crate) fn receipt(
    run: &Run,
    round: &Round,
    previous: Option<Digest>,
) -> Result<Option<Statement>, Error> {
    let Phase::Succeeded { updates, sum, scores, finished_at } = &round.phase else {
        return Ok(None);
    };
    let plan = &round.plan;
    let digest = |text: &str| text.parse::<Digest>().map_err(|e| Error::State(e.to_string()));
    let member = |pseudonym: &str| {
        run.members
            .values()
            .find(|member| member.pseudonym == pseudonym)
            .ok_or_else(|| Error::State(format!("{pseudonym} is not a member")))
    };
    let mut participants = Vec::with_capacity(updates.len());
    for (pseudonym, update) in updates {
        participants.push(Participation {
            pseudonym: pseudonym.clone(),
            key: member(pseudonym)?.key.clone(),
            update_digest: digest(&update.digest)?,
            chunk_root: update.chunk_root.clone(),
            statement_digest: digest(&update.statement)?,
        });
    }
    let mut evaluation = Vec::with_capacity(scores.len());
    for (pseudonym, scores) in scores {
        evaluation.push(Evaluated {
            pseudonym: pseudonym.clone(),
            task: member(pseudonym)?.task.clone(),
            adapter: scores.adapter,
            base: scores.base,
        });
    }
    let adapter_after = digest(&sum.adapter)?;
    let plan_json = plan.to_json();
    let receipt = Receipt {
        run: plan.run.clone(),
        round: plan.round,
        rounds: plan.rounds,
        plan_digest: Digest::of(&plan_json),
        plan: String::from_utf8(plan_json).map_err(|e| Error::State(e.to_string()))?,
        recipe_digest: digest(&plan.recipe_digest)?,
        base_digest: digest(&plan.base_digest)?,
        adapter_before: digest(&plan.adapter_digest)?,
        adapter_after,
        factors: plan.factors.to_string(),
        mode: plan.mode.name().to_owned(),
        method: plan.method.name().to_owned(),
        exact: plan.method.is_exact(),
        quantisation_bits: run.recipe.codec.bits,
        ring_bits: plan.ring.ring_bits,
        clip: plan.ring.clip,
        quorum: plan.quorum,
        threshold: plan.threshold,
        lost: plan.pseudonyms().into_iter().filter(|site| !updates.contains_key(site)).collect(),
        transcript: sum.transcript.as_deref().map(digest).transpose()?,
        roster: plan.pseudonyms(),
        participants,
        refused: round.refusals.clone(),
        quantisation_error: updates.values().map(|u| u.quantisation_error).fold(0.0, f64::max),
        aggregation_error: sum.deviation.map(|missed| AggregationError {
            relative: missed.relative,
            low: missed.low,
            high: missed.high,
        }),
        discarded: sum
            .discarded
            .iter()
            .map(|cut| Discarded { tensor: cut.tensor.clone(), share: cut.share })
            .collect(),
        traffic: round.traffic,
        evaluation,
        previous,
        finished_at: rfc3339(*finished_at),
    };
    let subject = Subject::new(format!("adapter after round {}", plan.round), adapter_after);
    Ok(Some(Statement::new(vec![subject], RECEIPT_TYPE, &receipt)))
}
