//! A site at work: asks for tasks, trains, evaluates, hands in, until the run is over.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chancery_proto::Malformed;
use chancery_proto::secagg::ChunkRoot;
use chancery_proto::wire::{self, task::Work};
use chancery_provenance::{Bundle, Digest, base_manifest};
use tokio::sync::watch;

use crate::assignment::Assignment;
use crate::client::{Client, persist};
use crate::clock::Stopwatch;
use crate::data::Dataset;
use crate::error::{Error, at};
use crate::held::Held;
use crate::home::{Home, key_error};
use crate::masked::MaskedRound;
use crate::model::BaseModel;
use crate::progress::{Note, Observer};
use crate::receipts;
use crate::round::{Facts, RoundStore, forget};
use crate::statement;
use crate::trainer::{BurnTrainer, Evaluation, Flow, Progress, TrainError, Trained, Trainer};

/// How often a working site says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// What a site brings to a run.
pub struct Site {
    home: Home,
    client: Client,
    trainer: Option<Box<dyn Trainer>>,
    base_digest: Digest,
    base_shape: chancery_proto::BaseShape,
    commitment: Digest,
    train: Arc<Dataset>,
    held_out: Arc<Dataset>,
    task: String,
    held: Held,
}

/// Where a site's examples are.
#[derive(Debug)]
pub struct SiteData<'a> {
    /// Training examples, JSONL.
    pub train: &'a Path,
    /// Held-out examples; without them a tenth of the training examples is kept back.
    pub held_out: Option<&'a Path>,
    /// What the site calls its task in the table of results.
    pub task: &'a str,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The run.
    pub run: String,
    /// succeeded, failed or stopped.
    pub outcome: String,
    /// Its digest, or why it failed.
    pub detail: String,
}

impl Site {
    /// Loads the base model and the examples. Call it inside of an async runtime.
    pub fn open(home: Home, base: &Path, data: &SiteData<'_>) -> Result<Self, Error> {
        let manifest = base_manifest(base).map_err(key_error)?;
        let model = BaseModel::open(base)?;
        let base_shape = model.shape();
        let all = Dataset::from_jsonl(data.train)?;
        let (train, held_out) = match data.held_out {
            Some(path) => (all, Dataset::from_jsonl(path)?),
            None => all.split_held_out(),
        };
        let file = std::fs::File::open(data.train).map_err(at(data.train))?;
        let (digest, _) = Digest::of_reader(file).map_err(at(data.train))?;
        Ok(Self {
            commitment: home.commitment(&digest)?,
            client: Client::new(&home)?,
            home,
            trainer: Some(Box::new(BurnTrainer::new(model))),
            base_digest: manifest.root,
            base_shape,
            train: Arc::new(train),
            held_out: Arc::new(held_out),
            task: data.task.to_owned(),
            held: Held::default(),
        })
    }

    /// Works until a run is over.
    pub async fn run(mut self, observer: &mut dyn Observer) -> Result<Outcome, Error> {
        observer.note(Note::Ready { site: &self.home.site().site, samples: self.train.len() });
        loop {
            let request = wire::NextTaskRequest {
                base_digest: self.base_digest.to_string(),
                samples: self.train.len() as u64,
                task: self.task.clone(),
                max_rank: self.home.policy()?.max_rank().unwrap_or(0),
                adapter_digest: self.held.digest(),
            };
            let client = self.client.clone();
            let task = persist(|| client.next_task(request.clone())).await?;
            match task.work {
                Some(Work::Finished(done)) => {
                    forget(self.home.dir(), &done.run)?;
                    let receipts = receipts::fetch(&self.home, &self.client, &done.run).await?;
                    observer.note(Note::Receipts { rounds: receipts.rounds, own: receipts.own });
                    observer.note(Note::Finished { outcome: &done.outcome, detail: &done.detail });
                    return Ok(Outcome {
                        run: done.run,
                        outcome: done.outcome,
                        detail: done.detail,
                    });
                }
                Some(Work::Wait(wait)) => observer.note(Note::Waiting { reason: &wait.reason }),
                Some(work) => match self.work(work, observer).await {
                    Err(Error::Stopped) => {}
                    done => skip_refusal(done, observer)?,
                },
                None => {}
            }
        }
    }

    /// Does one task of a round, after everything about it was checked.
    async fn work(&mut self, work: Work, observer: &mut dyn Observer) -> Result<(), Error> {
        let (assignment, work) = take_assignment(work)?;
        let assignment =
            Assignment::check(&self.home, &self.base_digest, &self.base_shape, assignment)?;
        let store = RoundStore::open(self.home.dir(), &assignment)?;
        let masked = || MaskedRound::open(&self.home, &assignment, &store);
        match work {
            Work::Train(_) => {
                if assignment.is_masked() {
                    masked()?;
                }
                let (bytes, facts) = self.trained(&assignment, &store, observer).await?;
                if assignment.is_masked() {
                    let keys = MaskedRound::open(&self.home, &assignment, &store)?.keys()?;
                    return self.client.submit_keys(&keys).await.map(|_| ());
                }
                self.hand_in(&assignment, bytes, &facts, Vec::new(), observer).await?;
                store.close()
            }
            Work::Share(task) => {
                let shares = masked()?.shares(task.adverts)?;
                self.client.submit_shares(&shares).await.map(|_| ())
            }
            Work::Mask(task) => {
                let round = assignment.plan.round;
                let (clear, facts) = store.trained()?.ok_or_else(|| Error::Plan {
                    round,
                    why: "it asks for an update that was never trained here".to_owned(),
                })?;
                let update = masked()?.mask(task, &clear)?;
                let signature = update.signed.signature;
                self.hand_in(&assignment, update.bytes, &facts, signature, observer).await
            }
            Work::Confirm(task) => {
                let signed = masked()?.confirm(task)?;
                self.client.submit_confirmation(&signed).await.map(|_| ())
            }
            Work::Open(task) => {
                let release = masked()?.release(task)?;
                self.client.submit_release(&release).await?;
                store.close()
            }
            Work::Evaluate(task) => {
                store.close()?;
                self.evaluate(&assignment, &task, observer).await
            }
            Work::Wait(_) | Work::Finished(_) => Ok(()),
        }
    }

    /// The encoded update of this round, trained now unless it was before.
    async fn trained(
        &mut self,
        assignment: &Assignment,
        store: &RoundStore,
        observer: &mut dyn Observer,
    ) -> Result<(Bytes, Facts), Error> {
        if let Some(trained) = store.trained()? {
            return Ok(trained);
        }
        let plan = &assignment.plan;
        observer.note(Note::Round {
            round: plan.round,
            rounds: plan.rounds,
            factors: plan.factors,
        });
        let adapter = self.held.get(&self.client, assignment, &plan.adapter_digest).await?;
        let start = Arc::new(assignment.start(&adapter));
        let job = assignment.job(&self.home.site().site);
        let (data, tensors) = (Arc::clone(&self.train), Arc::clone(&start));
        let trained: Trained = self
            .at_work(assignment, observer, move |trainer, progress| {
                trainer.train(&job, &tensors, &data, progress)
            })
            .await?;
        let mut residual = store.residual()?;
        let encoded = assignment.encode(
            &start,
            &trained.adapter,
            &mut residual,
            self.train.len() as u64,
            &self.home.site().site,
        )?;
        let facts = Facts::new(&trained, &encoded);
        store.keep_trained(&encoded.bytes, &residual, &facts)?;
        Ok((encoded.bytes.into(), facts))
    }

    /// Uploads an update and hands it in with its statement.
    async fn hand_in(
        &self,
        assignment: &Assignment,
        bytes: Bytes,
        facts: &Facts,
        chunk_signature: Vec<u8>,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        let digest = self.client.upload(&bytes).await?;
        let signed = statement::training(assignment, &self.commitment, &digest, facts.steps)?;
        let bundle = Bundle::sign(&signed, self.home.key()).map_err(key_error)?;
        let plan = &assignment.plan;
        let update = wire::Update {
            run: plan.run.clone(),
            round: plan.round,
            lease: assignment.lease.clone(),
            update_digest: digest.to_string(),
            training_statement: serde_json::to_string(&bundle).map_err(key_error)?,
            loss_first: facts.loss_first,
            loss_last: facts.loss_last,
            quantisation_error: facts.quantisation_error,
            clipped_share: facts.clipped_share,
            chunk_root: ChunkRoot::of(&bytes).0.to_vec(),
            chunk_signature,
        };
        self.client.submit_update(&update).await?;
        observer.note(Note::Sent { round: plan.round, bytes: bytes.len(), loss: facts.loss_last });
        Ok(())
    }

    async fn evaluate(
        &mut self,
        assignment: &Assignment,
        task: &wire::Evaluate,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        let plan = &assignment.plan;
        let with_base = task.with_base;
        self.held.follow(&self.client, assignment, task).await?;
        let adapter = self.held.get(&self.client, assignment, &task.adapter_digest).await?;
        let max_length = assignment.recipe.training.max_length;
        let config = plan.adapter.clone();
        let data = Arc::clone(&self.held_out);
        let (scored, base) = self
            .at_work(assignment, observer, move |trainer, progress| {
                let mut batches = 0;
                let mut alive = || {
                    batches += 1;
                    progress(Progress { step: batches, steps: 0, loss: 0.0, tokens: 0 })
                };
                let max_length = max_length as usize;
                let scored =
                    trainer.evaluate(Some((&config, &adapter)), &data, max_length, &mut alive)?;
                let base = if with_base {
                    Some(trainer.evaluate(None, &data, max_length, &mut alive)?)
                } else {
                    None
                };
                Ok((scored, base))
            })
            .await?;
        let evaluation = wire::Evaluation {
            run: plan.run.clone(),
            round: plan.round,
            lease: assignment.lease.clone(),
            adapter: Some(score(&scored)),
            base: base.as_ref().map(score),
        };
        let handed_in = self.client.submit_evaluation(&evaluation).await;
        observer.note(Note::Evaluated {
            round: plan.round,
            loss: scored.loss,
            accuracy: scored.accuracy,
        });
        handed_in.map(|_| ())
    }

    /// Runs `work` on a thread of its own while this one says that the site is alive.
    async fn at_work<T: Send + 'static>(
        &mut self,
        assignment: &Assignment,
        observer: &mut dyn Observer,
        work: impl FnOnce(&mut dyn Trainer, &mut dyn FnMut(Progress) -> Flow) -> Result<T, TrainError>
        + Send
        + 'static,
    ) -> Result<T, Error> {
        let Some(mut trainer) = self.trainer.take() else {
            return Err(Error::Stopped);
        };
        let cancelled = Arc::new(AtomicBool::new(false));
        let (sender, mut steps) =
            watch::channel(Progress { step: 0, steps: 0, loss: 0.0, tokens: 0 });
        let flag = Arc::clone(&cancelled);
        let mut job = tokio::task::spawn_blocking(move || {
            let result = work(trainer.as_mut(), &mut |progress| {
                sender.send_replace(progress);
                if flag.load(Ordering::Relaxed) { Flow::Stop } else { Flow::Continue }
            });
            (trainer, result)
        });
        let watch = Stopwatch::start();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        let mut trained_tokens = 0;
        let mut counted_step = 0;
        let (trainer, result) = loop {
            tokio::select! {
                done = &mut job => match done {
                    Ok(done) => break done,
                    Err(_) => return Err(Error::Stopped),
                },
                Ok(()) = steps.changed() => {
                    let now = *steps.borrow_and_update();
                    if now.step != counted_step {
                        counted_step = now.step;
                        trained_tokens = now.tokens;
                    }
                    observer.note(Note::Step { progress: now, seconds: watch.seconds() });
                }
                _ = heartbeat.tick() => {
                    let now = *steps.borrow();
                    let progress = wire::Progress {
                        run: assignment.plan.run.clone(),
                        round: assignment.plan.round,
                        lease: assignment.lease.clone(),
                        step: now.step,
                        steps: now.steps,
                        loss: now.loss,
                        tokens_per_second: trained_tokens as f64 / watch.seconds().max(1e-9),
                    };
                    match self.client.report_progress(progress).await {
                        Ok(reply) if reply.cancelled => cancelled.store(true, Ordering::Relaxed),
                        Err(error) if !error.is_passing() => {
                            observer.note(Note::Refused { why: &error.to_string() });
                            cancelled.store(true, Ordering::Relaxed);
                        }
                        _ => {}
                    }
                }
            }
        };
        self.trainer = Some(trainer);
        match result {
            Err(TrainError::Stopped) => Err(Error::Stopped),
            other => Ok(other?),
        }
    }
}

/// A refusal ends a task, not the site: the next task says what to do.
fn skip_refusal(result: Result<(), Error>, observer: &mut dyn Observer) -> Result<(), Error> {
    match result {
        Err(error @ Error::Refused { .. }) if error.ends_the_task_only() => {
            observer.note(Note::Refused { why: &error.to_string() });
            Ok(())
        }
        other => other,
    }
}

fn score(evaluation: &Evaluation) -> wire::Score {
    wire::Score {
        loss: evaluation.loss,
        accuracy: evaluation.accuracy,
        examples: evaluation.examples as u64,
    }
}

/// A task's assignment, taken out of it.
fn take_assignment(mut work: Work) -> Result<(wire::Assignment, Work), Error> {
    let assignment = match &mut work {
        Work::Train(assignment) => Some(std::mem::take(assignment)),
        Work::Share(task) => task.assignment.take(),
        Work::Mask(task) => task.assignment.take(),
        Work::Confirm(task) => task.assignment.take(),
        Work::Open(task) => task.assignment.take(),
        Work::Evaluate(task) => task.assignment.take(),
        Work::Wait(_) | Work::Finished(_) => None,
    };
    Ok((assignment.ok_or(Malformed("the task's assignment"))?, work))
}
