//! A site's calls about its tasks.

use std::sync::Arc;
use std::time::Duration;

use chancery_proto::wire::participant_server::Participant;
use chancery_proto::wire::{
    Confirmation, Evaluation, GetReceiptsReply, GetReceiptsRequest, Keys, NextTaskRequest,
    Progress, ProgressReply, Receipt, Release, Shares, Task, Update,
};
use chancery_provenance::{Digest, Score};
use tonic::{Request, Response, Status};

use super::auth::Caller;
use super::task::{task, wait};
use crate::app::{App, Call, Message};
use crate::error::{Error, Reject};
use crate::round::{Answer, Report, Scores};
use crate::run::Caller as SiteCaller;

/// How long a call for work may stay unanswered; proxies tolerate this much.
const LONG_POLL: Duration = Duration::from_secs(20);

pub(crate) struct Service(pub(crate) Arc<App>);

/// Where in a run a message belongs: `call!(site, message)` for any message that says so.
macro_rules! call {
    ($site:expr, $message:expr) => {
        Call { site: $site, run: &$message.run, round: $message.round, lease: &$message.lease }
    };
}

impl Service {
    async fn hand_in(&self, call: Call<'_>, message: Message) -> Result<Response<Receipt>, Status> {
        let answer = self.0.hand_in(&call, message).await?;
        Ok(Response::new(Receipt { recorded: answer == Answer::Recorded }))
    }
}

#[tonic::async_trait]
impl Participant for Service {
    async fn next_task(&self, request: Request<NextTaskRequest>) -> Result<Response<Task>, Status> {
        let (site, key) = Caller::site(&request)?;
        let request = request.into_inner();
        let caller = SiteCaller {
            site,
            key,
            samples: request.samples,
            max_rank: (request.max_rank > 0).then_some(request.max_rank),
            task: request.task,
            base_digest: request.base_digest,
        };
        let mut changes = self.0.changes();
        let end = tokio::time::sleep(LONG_POLL);
        tokio::pin!(end);
        loop {
            if let Some(assigned) = self.0.poll(&caller).await? {
                let work = task(&self.0, &caller.site, assigned).await?;
                return Ok(Response::new(Task { work: Some(work) }));
            }
            tokio::select! {
                () = &mut end => {
                    let work = wait("no run has work for this site");
                    return Ok(Response::new(Task { work: Some(work) }));
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
        let reply = match self.0.progress(&call!(&site, progress), report).await {
            Ok(()) => ProgressReply { cancelled: false, reason: String::new() },
            Err(Error::Reject(
                reject @ (Reject::Lease | Reject::TooLate { .. } | Reject::Round { .. }),
            )) => ProgressReply { cancelled: true, reason: reject.to_string() },
            Err(error) => return Err(error.into()),
        };
        Ok(Response::new(reply))
    }

    async fn submit_keys(&self, request: Request<Keys>) -> Result<Response<Receipt>, Status> {
        let (site, _) = Caller::site(&request)?;
        let keys = request.into_inner();
        let advert = keys.advert.clone().ok_or_else(|| missing("it holds no keys"))?;
        let advert = advert.try_into().map_err(malformed)?;
        self.hand_in(call!(&site, keys), Message::Keys(advert)).await
    }

    async fn submit_shares(&self, request: Request<Shares>) -> Result<Response<Receipt>, Status> {
        let (site, _) = Caller::site(&request)?;
        let shares = request.into_inner();
        self.hand_in(call!(&site, shares), Message::Shares(shares.clone())).await
    }

    async fn submit_update(&self, request: Request<Update>) -> Result<Response<Receipt>, Status> {
        let (site, _) = Caller::site(&request)?;
        let update = request.into_inner();
        let counted = crate::round::Update {
            digest: update.update_digest.clone(),
            chunk_root: hex::encode(&update.chunk_root),
            chunk_signature: hex::encode(&update.chunk_signature),
            statement: Digest::of(update.training_statement.as_bytes()).to_string(),
            loss: finite(update.loss_last)?,
            quantisation_error: finite(update.quantisation_error)?,
        };
        let message = Message::Update(counted, update.training_statement.clone());
        self.hand_in(call!(&site, update), message).await
    }

    async fn submit_confirmation(
        &self,
        request: Request<Confirmation>,
    ) -> Result<Response<Receipt>, Status> {
        let (site, _) = Caller::site(&request)?;
        let signed = request.into_inner();
        let message = Message::Confirmation(signed.signature.clone());
        self.hand_in(call!(&site, signed), message).await
    }

    async fn submit_release(&self, request: Request<Release>) -> Result<Response<Receipt>, Status> {
        let (site, _) = Caller::site(&request)?;
        let release = request.into_inner();
        self.hand_in(call!(&site, release), Message::Release(release.clone())).await
    }

    async fn get_receipts(
        &self,
        request: Request<GetReceiptsRequest>,
    ) -> Result<Response<GetReceiptsReply>, Status> {
        let (site, _) = Caller::site(&request)?;
        let request = request.into_inner();
        let receipts = self.0.receipts(&site, &request.run, request.from).await?;
        Ok(Response::new(GetReceiptsReply { receipts }))
    }

    async fn submit_evaluation(
        &self,
        request: Request<Evaluation>,
    ) -> Result<Response<Receipt>, Status> {
        let (site, _) = Caller::site(&request)?;
        let evaluation = request.into_inner();
        let adapter = evaluation.adapter.ok_or_else(|| missing("the evaluation has no figures"))?;
        let base = evaluation.base.as_ref().map(score).transpose()?;
        let scores = Scores { adapter: score(&adapter)?, base };
        self.hand_in(call!(&site, evaluation), Message::Scores(scores)).await
    }
}

fn missing(what: &str) -> Reject {
    Reject::Argument(what.to_owned())
}

fn malformed(error: chancery_proto::Malformed) -> Reject {
    Reject::Argument(error.to_string())
}

fn finite(x: f64) -> Result<f64, Reject> {
    if x.is_finite() { Ok(x) } else { Err(missing("a figure is not a number")) }
}

fn score(score: &chancery_proto::wire::Score) -> Result<Score, Reject> {
    if !(0.0..=1.0).contains(&score.accuracy) {
        return Err(missing("an accuracy is not between 0 and 1"));
    }
    Ok(Score { loss: finite(score.loss)?, accuracy: score.accuracy, examples: score.examples })
}
