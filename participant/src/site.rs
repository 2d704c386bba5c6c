//! A site at work: asks for tasks, trains, evaluates, hands in, until the run is over.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chancery_proto::Tensors;
use chancery_proto::wire::{self, task::Work};
use chancery_provenance::{Bundle, Digest, base_manifest};
use tokio::sync::watch;

use crate::assignment::Assignment;
use crate::client::{Client, persist};
use crate::clock::Stopwatch;
use crate::data::Dataset;
use crate::error::{Error, at};
use crate::home::{Home, key_error};
use crate::model::BaseModel;
use crate::pending::Pending;
use crate::progress::{Note, Observer};
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
    adapter: Option<(Digest, Arc<Tensors>)>,
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
            adapter: None,
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
                adapter_digest: self
                    .adapter
                    .as_ref()
                    .map(|(d, _)| d.to_string())
                    .unwrap_or_default(),
            };
            let client = self.client.clone();
            let task = persist(|| client.next_task(request.clone())).await?;
            match task.work {
                Some(Work::Train(train)) => {
                    let assignment = Assignment::check(
                        &self.home,
                        &self.base_digest,
                        &self.base_shape,
                        wire_task(
                            train.lease,
                            train.lease_seconds,
                            train.plan,
                            train.plan_signature,
                            train.recipe,
                        ),
                    )?;
                    match self.train(&assignment, observer).await {
                        Err(Error::Stopped) => {}
                        done => done?,
                    }
                }
                Some(Work::Evaluate(evaluate)) => {
                    let (digest, with_base) = (evaluate.adapter_digest, evaluate.with_base);
                    let assignment = Assignment::check(
                        &self.home,
                        &self.base_digest,
                        &self.base_shape,
                        wire_task(
                            evaluate.lease,
                            evaluate.lease_seconds,
                            evaluate.plan,
                            evaluate.plan_signature,
                            evaluate.recipe,
                        ),
                    )?;
                    match self.evaluate(&assignment, &digest, with_base, observer).await {
                        Err(Error::Stopped) => {}
                        done => done?,
                    }
                }
                Some(Work::Finished(done)) => {
                    observer.note(Note::Finished { outcome: &done.outcome, detail: &done.detail });
                    return Ok(Outcome {
                        run: done.run,
                        outcome: done.outcome,
                        detail: done.detail,
                    });
                }
                Some(Work::Wait(wait)) => observer.note(Note::Waiting { reason: &wait.reason }),
                None => {}
            }
        }
    }

    async fn train(
        &mut self,
        assignment: &Assignment,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        let pending = Pending::of(self.home.dir(), assignment);
        if let Some((bytes, update)) = pending.load(&assignment.lease)? {
            return self.hand_in(&pending, bytes, update, observer).await;
        }
        let plan = &assignment.plan;
        observer.note(Note::Round {
            round: plan.round,
            rounds: plan.rounds,
            factors: plan.factors,
        });
        let start = self.adapter(assignment, &plan.adapter_digest).await?;
        let job = assignment.job(&self.home.site().site);
        let (data, tensors) = (Arc::clone(&self.train), Arc::clone(&start));
        let trained: Trained = self
            .at_work(assignment, observer, move |trainer, progress| {
                trainer.train(&job, &tensors, &data, progress)
            })
            .await?;
        let encoded = assignment.encode(
            &start,
            &trained.adapter,
            self.train.len() as u64,
            &self.home.site().site,
        )?;
        let bytes = bytes::Bytes::from(encoded.bytes);
        let signed =
            statement::training(assignment, &self.commitment, &Digest::of(&bytes), &trained)?;
        let bundle = Bundle::sign(&signed, self.home.key()).map_err(key_error)?;
        let update = wire::Update {
            run: plan.run.clone(),
            round: plan.round,
            lease: assignment.lease.clone(),
            update_digest: Digest::of(&bytes).to_string(),
            training_statement: serde_json::to_string(&bundle).map_err(key_error)?,
            loss_first: trained.loss_first,
            loss_last: trained.loss_last,
            quantisation_error: encoded.error,
            clipped_share: encoded.clipped,
        };
        pending.save(&bytes, &update)?;
        self.hand_in(&pending, bytes, update, observer).await
    }

    async fn hand_in(
        &mut self,
        pending: &Pending,
        bytes: bytes::Bytes,
        update: wire::Update,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        self.client.upload(&bytes).await?;
        let handed_in = self.client.submit_update(&update).await;
        if handed_in.is_ok() {
            pending.clear()?;
            observer.note(Note::Sent {
                round: update.round,
                bytes: bytes.len(),
                loss: update.loss_last,
            });
        }
        skip_refusal(handed_in.map(|_| ()), observer)
    }

    async fn evaluate(
        &mut self,
        assignment: &Assignment,
        digest: &str,
        with_base: bool,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        let plan = &assignment.plan;
        let adapter = self.adapter(assignment, digest).await?;
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
        skip_refusal(handed_in.map(|_| ()), observer)
    }

    /// The adapter with this digest: the one at hand, the seeded start, or a download.
    async fn adapter(
        &mut self,
        assignment: &Assignment,
        digest: &str,
    ) -> Result<Arc<Tensors>, Error> {
        let wanted: Digest = digest.parse().map_err(key_error)?;
        if let Some((held, tensors)) = &self.adapter
            && *held == wanted
        {
            return Ok(Arc::clone(tensors));
        }
        let start = assignment.initial_adapter()?;
        let tensors = if Digest::of(&start.to_safetensors()?) == wanted {
            start
        } else {
            let cap = start.elements() * 4 + (1 << 20);
            let bytes = self.client.download(&wanted, cap).await?;
            let tensors = Tensors::from_safetensors(&bytes)?;
            start.same_layout(&tensors)?;
            tensors
        };
        let tensors = Arc::new(tensors);
        self.adapter = Some((wanted, Arc::clone(&tensors)));
        Ok(tensors)
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

fn wire_task(
    lease: String,
    lease_seconds: u32,
    plan: Vec<u8>,
    plan_signature: Vec<u8>,
    recipe: Vec<u8>,
) -> wire::Train {
    wire::Train { lease, lease_seconds, plan, plan_signature, recipe }
}
