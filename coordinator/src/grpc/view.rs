//! Runs and rounds as the operator sees them.

use chancery_proto::wire::{RoundView, RunView, Score, SiteScore};

use crate::round::{Phase, Round, Scores, Stage, Work};
use crate::run::{Member, Run, RunState};

/// A run with all its rounds.
pub(crate) fn run_view(run: &Run, revision: u64) -> RunView {
    let mut history: Vec<RoundView> = run.history.iter().map(|r| round_view(run, r)).collect();
    if let RunState::Running(round) = &run.state {
        history.push(round_view(run, round));
    }
    let mut view = RunView {
        run: run.id.clone(),
        name: run.recipe.name.clone(),
        state: run.state().to_owned(),
        revision,
        round: history.last().map_or(0, |round| round.round),
        rounds: run.recipe.federation.rounds,
        history,
        sites_ready: run.members.len() as u32,
        sites_wanted: run.recipe.federation.sites,
        adapter_digest: run.adapter.clone(),
        ..RunView::default()
    };
    match &run.state {
        RunState::Failed { why } => view.detail.clone_from(why),
        RunState::Succeeded { published: Some(published) } => {
            view.published_name.clone_from(&published.name);
            view.published_version = published.version;
            view.published_digest.clone_from(&published.digest);
        }
        _ => {}
    }
    view
}

fn round_view(run: &Run, round: &Round) -> RoundView {
    let mut view = RoundView {
        round: round.plan.round,
        state: round.phase.name().to_owned(),
        factors: round.plan.factors.to_string(),
        refused: round.refusals.len() as u32,
        bytes_up: round.traffic.up,
        bytes_down: round.traffic.down,
        adapter_digest: round.plan.adapter_digest.clone(),
        ..RoundView::default()
    };
    match &round.phase {
        Phase::Training { stage } => at_work(&mut view, run, stage),
        Phase::Advertising { stage } => at_work(&mut view, run, stage),
        Phase::Sharing { .. } => {}
        Phase::Masking { stage, .. } => view.updates = stage.done().count() as u32,
        Phase::Confirming { updates, .. }
        | Phase::Unmasking { updates, .. }
        | Phase::Aggregating { updates, .. }
        | Phase::Evaluating { updates, .. } => view.updates = updates.len() as u32,
        Phase::Succeeded { updates, sum, scores, finished_at } => {
            view.updates = updates.len() as u32;
            view.lost = (round.plan.roster.len() - updates.len()) as u32;
            view.adapter_digest.clone_from(&sum.adapter);
            if let Some(missed) = &sum.deviation {
                view.missed = Some(missed.relative);
                (view.missed_low, view.missed_high) = (missed.low, missed.high);
            }
            view.seconds = finished_at.saturating_sub(round.started_at) as f64 / 1000.0;
            let examples: u64 = scores.values().map(|s| s.adapter.examples).sum();
            let mean = |of: fn(&Scores) -> f64| {
                let sum: f64 = scores.values().map(|s| of(s) * s.adapter.examples as f64).sum();
                sum / (examples.max(1)) as f64
            };
            (view.loss, view.accuracy) = (mean(|s| s.adapter.loss), mean(|s| s.adapter.accuracy));
            view.scores = scores.iter().map(|(p, s)| site_score(run, p, Some(s))).collect();
        }
        Phase::Failed { finished_at, .. } => {
            view.seconds = finished_at.saturating_sub(round.started_at) as f64 / 1000.0;
        }
    }
    view
}

/// Sites that train, with their latest reports.
fn at_work<T>(view: &mut RoundView, run: &Run, stage: &Stage<T>) {
    for (pseudonym, work) in stage.works() {
        let mut score = site_score(run, pseudonym, None);
        match work {
            Work::Done(_) => view.updates += 1,
            Work::Lost => view.lost += 1,
            Work::Leased { report, .. } => {
                score.step = report.step;
                score.steps = report.steps;
                score.tokens_per_second = report.tokens_per_second;
            }
            Work::Open { .. } => {}
        }
        view.scores.push(score);
    }
}

fn site_score(run: &Run, pseudonym: &str, scores: Option<&Scores>) -> SiteScore {
    let found = run.members.iter().find(|(_, member)| member.pseudonym == pseudonym);
    let wire = |score: &chancery_provenance::Score| Score {
        loss: score.loss,
        accuracy: score.accuracy,
        examples: score.examples,
    };
    let of_member = |(name, member): (&String, &Member)| SiteScore {
        site: name.clone(),
        task: member.task.clone(),
        samples: member.samples,
        base: scores.and_then(|s| s.base.as_ref()).map(wire),
        adapter: scores.map(|s| wire(&s.adapter)),
        ..SiteScore::default()
    };
    found.map(of_member).unwrap_or_default()
}
