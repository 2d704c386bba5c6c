//! A site's calls about its tasks.

use std::sync::Arc;
use std::time::Duration;

use chancery_proto::wire::participant_server::Participant;
use chancery_proto::wire::{
    Evaluate, Evaluation, Finished, NextTaskRequest, Progress, ProgressReply, Receipt, Task, Train,
    Update, Wait, task::Work,
};
use chancery_provenance::{Digest, Score};
use tonic::{Request, Response, Status};

use super::auth::Caller;
use crate::app::{App, Assigned, Handed};
use crate::error::{Error, Reject};
use crate::round::{Answer, Report, Scores};
use crate::run::{Caller as SiteCaller, Reply};

/// How long a call for work may stay unanswered; proxies tolerate this much.
const LONG_POLL: Duration = Duration::from_secs(20);

pub(crate) struct Service(pub(crate) Arc<App>);

#[tonic::async_trait]
impl Participant for Service {
    async fn next_task(&self, request: Request<NextTaskRequest>) -> Result<Response<Task>, Status> {
        let (site, key) = Caller::site(&request)?;
        let request = request.into_inner();
        let caller = SiteCaller {
            site,
            key,
            samples: request.samples,
            task: request.task,
            base_digest: request.base_digest,
        };
        let mut changes = self.0.changes();
        let end = tokio::time::sleep(LONG_POLL);
        tokio::pin!(end);
        loop {
            if let Some(assigned) = self.0.poll(&caller).await? {
                return Ok(Response::new(Task { work: Some(work(assigned)) }));
            }
            tokio::select! {
                () = &mut end => {
                    let reason = "no run has work for this site".to_owned();
                    return Ok(Response::new(Task { work: Some(Work::Wait(Wait { reason })) }));
                }
                _ = changes.changed() => {}
            }
        }
    }

    async fn report_progress(
        &self,
        request: Request<Progress>,
    ) -> Result<Response<ProgressReply>, Status> {
        let (site, _) = Caller::site(&request)?;
        let progress = request.into_inner();
        let report = Report {
            step: progress.step,
            steps: progress.steps,
            tokens_per_second: finite(progress.tokens_per_second)?,
        };
        let handed = Handed {
            site: &site,
            run: &progress.run,
            round: progress.round,
            lease: &progress.lease,
        };
        let reply = match self.0.progress(&handed, report).await {
            Ok(()) => ProgressReply { cancelled: false, reason: String::new() },
            Err(Error::Reject(
                reject @ (Reject::Lease | Reject::TooLate { .. } | Reject::Round { .. }),
            )) => ProgressReply { cancelled: true, reason: reject.to_string() },
            Err(error) => return Err(error.into()),
        };
        Ok(Response::new(reply))
    }

    async fn submit_update(&self, request: Request<Update>) -> Result<Response<Receipt>, Status> {
        let (site, _) = Caller::site(&request)?;
        let update = request.into_inner();
        let counted = crate::round::Update {
            digest: update.update_digest,
            statement: Digest::of(update.training_statement.as_bytes()).to_string(),
            loss: finite(update.loss_last)?,
            quantisation_error: finite(update.quantisation_error)?,
        };
        let handed =
            Handed { site: &site, run: &update.run, round: update.round, lease: &update.lease };
        let answer = self.0.update(&handed, counted, &update.training_statement).await?;
        Ok(Response::new(Receipt { recorded: answer == Answer::Recorded }))
    }

    async fn submit_evaluation(
        &self,
        request: Request<Evaluation>,
    ) -> Result<Response<Receipt>, Status> {
        let (site, _) = Caller::site(&request)?;
        let evaluation = request.into_inner();
        let Some(adapter) = evaluation.adapter else {
            return Err(Reject::Argument("the evaluation has no figures".to_owned()).into());
        };
        let scores = Scores {
            adapter: score(&adapter)?,
            base: evaluation.base.as_ref().map(score).transpose()?,
        };
        let handed = Handed {
            site: &site,
            run: &evaluation.run,
            round: evaluation.round,
            lease: &evaluation.lease,
        };
        let answer = self.0.evaluation(&handed, scores).await?;
        Ok(Response::new(Receipt { recorded: answer == Answer::Recorded }))
    }
}

fn finite(x: f64) -> Result<f64, Reject> {
    if x.is_finite() { Ok(x) } else { Err(Reject::Argument("a figure is not a number".to_owned())) }
}

fn score(score: &chancery_proto::wire::Score) -> Result<Score, Reject> {
    if !(0.0..=1.0).contains(&score.accuracy) {
        return Err(Reject::Argument("an accuracy is not between 0 and 1".to_owned()));
    }
    Ok(Score { loss: finite(score.loss)?, accuracy: score.accuracy, examples: score.examples })
}

fn work(assigned: Assigned) -> Work {
    match assigned.reply {
        Reply::Train { lease } => Work::Train(Train {
            lease,
            lease_seconds: assigned.lease_seconds,
            plan: assigned.plan,
            plan_signature: assigned.signature,
            recipe: assigned.recipe,
        }),
        Reply::Evaluate { lease, adapter } => Work::Evaluate(Evaluate {
            lease,
            lease_seconds: assigned.lease_seconds,
            plan: assigned.plan,
            plan_signature: assigned.signature,
            recipe: assigned.recipe,
            adapter_digest: adapter,
            with_base: assigned.round == 1,
        }),
        Reply::Finished { outcome, detail } => {
            Work::Finished(Finished { run: assigned.run, outcome: outcome.to_owned(), detail })
        }
        Reply::Nothing(reason) => Work::Wait(Wait { reason: reason.to_owned() }),
    }
}
