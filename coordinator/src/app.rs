//! One coordinator: its state, and the only ways in which that state changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chancery_proto::request::CHUNK;
use chancery_proto::{BaseShape, Plan, Recipe, Tensors};
use chancery_provenance::{Bundle, Digest, PublicKey, TRAINING_TYPE, Traffic, TrainingStatement};
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::aggregate::aggregate;
use crate::authority::Authority;
use crate::blob::Blobs;
use crate::clock;
use crate::error::{Error, Reject};
use crate::publish::{RegistryTarget, publish};
use crate::receipt::receipt;
use crate::round::{Answer, Event, Phase, Report, Round, Scores, Update};
use crate::run::{Caller, Member, Reply, Run, RunState};
use crate::store::{SqliteStore, Store};

/// How long to wait after an effect failed before it is tried again.
pub(crate) const RETRY: Duration = Duration::from_secs(2);

/// What a coordinator is opened with.
#[derive(Debug)]
pub struct CoordinatorConfig {
    /// Where it keeps everything.
    pub dir: PathBuf,
    /// Further names in the server's certificate.
    pub names: Vec<String>,
    /// Where finished adapters are published.
    pub registry: Option<RegistryTarget>,
}

/// State shared by all calls and tasks.
pub(crate) struct App {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) blobs: Blobs,
    pub(crate) authority: Authority,
    registry: Option<RegistryTarget>,
    /// One change of a run at a time; the store's revision guards against other processes.
    changing: AsyncMutex<()>,
    /// Ticks with every change, for whoever waits.
    changed: watch::Sender<u64>,
    /// Payload bytes by pseudonym-bearing site since its round last took them over.
    traffic: Mutex<BTreeMap<String, Traffic>>,
}

/// A site's call about one task.
pub(crate) struct Handed<'a> {
    pub(crate) site: &'a str,
    pub(crate) run: &'a str,
    pub(crate) round: u32,
    pub(crate) lease: &'a str,
}

/// A task with everything the site needs.
pub(crate) struct Assigned {
    pub(crate) reply: Reply,
    pub(crate) run: String,
    pub(crate) plan: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) recipe: Vec<u8>,
    pub(crate) lease_seconds: u32,
    pub(crate) round: u32,
}

impl App {
    pub(crate) async fn open(config: CoordinatorConfig) -> Result<Self, Error> {
        let dir: &Path = &config.dir;
        std::fs::create_dir_all(dir)
            .map_err(|source| Error::File { path: dir.to_owned(), source })?;
        let authority = Authority::open(dir, &config.names, clock::now_ms())?;
        Ok(Self {
            store: Arc::new(SqliteStore::open(&dir.join("coordinator.db")).await?),
            blobs: Blobs::open(dir)?,
            authority,
            registry: config.registry,
            changing: AsyncMutex::new(()),
            changed: watch::Sender::new(0),
            traffic: Mutex::default(),
        })
    }

    /// For whoever waits for a change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Loads a run, changes it, saves it if nobody else did, and tells whoever waits.
    pub(crate) async fn change<T>(
        &self,
        id: &str,
        change: impl FnOnce(&mut Run) -> Result<T, Reject>,
    ) -> Result<T, Error> {
        let _one = self.changing.lock().await;
        let stored = self
            .store
            .run(id)
            .await?
            .ok_or_else(|| Reject::NotFound { what: format!("run {id}") })?;
        let mut run = stored.run.clone();
        let result = change(&mut run);
        if run != stored.run {
            self.store.save_run(&run, stored.revision).await?;
            self.changed.send_modify(|count| *count += 1);
        }
        Ok(result?)
    }

    /// Adds a run.
    pub(crate) async fn create_run(
        &self,
        recipe: Recipe,
        base_shape: BaseShape,
    ) -> Result<String, Error> {
        base_shape.check().map_err(|e| Reject::Argument(e.to_string()))?;
        if recipe.base.digest.is_none() {
            return Err(Reject::Argument("the recipe names no base model digest".to_owned()).into());
        }
        let initial = recipe.adapter.initial(&base_shape, recipe.training.seed)?;
        let adapter = self.blobs.put(initial.to_safetensors()?).await?;
        let id = hex::encode(clock::random::<6>()?);
        let run = Run::new(id.clone(), recipe, base_shape, adapter.to_string());
        self.store.create_run(&run, clock::now_ms()).await?;
        self.changed.send_modify(|count| *count += 1);
        Ok(id)
    }

    /// The first run that has something for this site.
    pub(crate) async fn poll(&self, caller: &Caller) -> Result<Option<Assigned>, Error> {
        for stored in self.store.runs().await? {
            let told = stored.run.members.get(&caller.site).is_none_or(|member| member.told);
            if stored.run.is_over() && told {
                continue;
            }
            let lease = hex::encode(clock::random::<12>()?);
            let (reply, assigned) = self
                .change(&stored.run.id, |run| {
                    let reply = run.poll(caller, lease, clock::now_ms())?;
                    Ok((reply, run.clone()))
                })
                .await?;
            if let Reply::Nothing(_) = reply {
                continue;
            }
            return Ok(Some(self.assigned(reply, &assigned)));
        }
        Ok(None)
    }

    fn assigned(&self, reply: Reply, run: &Run) -> Assigned {
        let (plan, round) = match &run.state {
            RunState::Running(round) => (round.plan.to_json(), round.plan.round),
            _ => (Vec::new(), 0),
        };
        Assigned {
            reply,
            run: run.id.clone(),
            signature: self.authority.key.sign(&Plan::signed_bytes(&plan)),
            plan,
            recipe: run.recipe.to_json().into_bytes(),
            lease_seconds: run.recipe.federation.lease_seconds,
            round,
        }
    }

    /// Steps the running round with an event of a site; what does not count is recorded with it.
    async fn step(
        &self,
        handed: &Handed<'_>,
        event: impl FnOnce(String, String) -> Event,
    ) -> Result<Answer, Error> {
        let traffic = self.take_traffic(handed.site);
        let result = self
            .change(handed.run, |run| {
                let member = member(run, handed.site)?;
                let pseudonym = member.pseudonym.clone();
                let mut round = run.round(handed.round)?.clone();
                round.traffic.up += traffic.up;
                round.traffic.down += traffic.down;
                let event = event(pseudonym.clone(), handed.lease.to_owned());
                match round.clone().apply(event, clock::now_ms()) {
                    Ok(step) => {
                        run.set_round(step.round);
                        Ok(Ok(step.answer))
                    }
                    Err(reject) => {
                        round.refuse(&pseudonym, &reject);
                        run.set_round(round);
                        Ok(Err(reject))
                    }
                }
            })
            .await?;
        Ok(result?)
    }

    /// A site is alive.
    pub(crate) async fn progress(&self, handed: &Handed<'_>, report: Report) -> Result<(), Error> {
        let event = |site, lease| Event::Progress { site, lease, report };
        self.step(handed, event).await.map(|_| ())
    }

    /// A site hands in its figures.
    pub(crate) async fn evaluation(
        &self,
        handed: &Handed<'_>,
        scores: Scores,
    ) -> Result<Answer, Error> {
        let event = |site, lease| Event::EvaluationSubmitted { site, lease, scores };
        self.step(handed, event).await
    }

    /// A site hands in an update: checked in full before it counts.
    pub(crate) async fn update(
        &self,
        handed: &Handed<'_>,
        update: Update,
        statement: &str,
    ) -> Result<Answer, Error> {
        let stored = self.store.run(handed.run).await?;
        let run =
            stored.ok_or_else(|| Reject::NotFound { what: format!("run {}", handed.run) })?.run;
        // What would not count anyhow is not read; its fate is recorded below.
        let checked = if counts(&run, handed, &update) {
            self.check(&run, handed, &update, statement).await
        } else {
            Ok(())
        };
        if let Err(Error::Reject(reject)) = &checked {
            let reject = reject.clone();
            self.change(handed.run, |run| {
                let pseudonym = member(run, handed.site)?.pseudonym.clone();
                if let Ok(round) = run.round(handed.round) {
                    let mut round = round.clone();
                    round.refuse(&pseudonym, &reject);
                    round.drop_lease(&pseudonym);
                    run.set_round(round);
                }
                Ok(())
            })
            .await?;
        }
        checked?;
        if counts(&run, handed, &update) {
            let digest = Digest::of(statement.as_bytes()).to_string();
            self.store.put_training(handed.run, &digest, statement).await?;
        }
        let event = |site, lease| Event::UpdateSubmitted { site, lease, update };
        self.step(handed, event).await
    }

    async fn check(
        &self,
        run: &Run,
        handed: &Handed<'_>,
        update: &Update,
        statement: &str,
    ) -> Result<(), Error> {
        let member = member(run, handed.site)?;
        let round = run.round(handed.round)?;
        let plan = &round.plan;
        let wrong = |code, why: String| Reject::Update { code, why };
        let digest: Digest =
            update.digest.parse().map_err(|_| wrong("CH3121", "it names no digest".to_owned()))?;
        let elements: usize = plan.layout().iter().map(|(_, [r, c])| r * c).sum();
        match self.blobs.size(&digest).await? {
            Some(size) if size == plan.ring.packed_len(elements) as u64 => {}
            Some(size) => {
                let wanted = plan.ring.packed_len(elements);
                return Err(wrong(
                    "CH1202",
                    format!("it has {size} bytes, the plan asks for {wanted}"),
                )
                .into());
            }
            None => return Err(wrong("CH3122", "its bytes were not uploaded".to_owned()).into()),
        }
        let file = std::io::BufReader::new(self.blobs.file(&digest)?);
        if let Err(error) = tokio::task::block_in_place(|| plan.ring.check(file, elements)) {
            return Err(wrong(error.code(), named(&error, plan)).into());
        }
        let key = PublicKey::from_pem(&member.key)?;
        // The receipt names the bundle by the digest of its canonical form, so no other is taken.
        let training: Option<TrainingStatement> = Bundle::parse(statement.as_bytes())
            .ok()
            .filter(|bundle| bundle.to_json() == statement)
            .and_then(|bundle| bundle.verify(&key).ok())
            .and_then(|statement| statement.predicate_as(TRAINING_TYPE));
        let plan_digest = Digest::of(&plan.to_json());
        let agrees = training.is_some_and(|training| {
            training.run == plan.run
                && training.round == plan.round
                && training.plan_digest == plan_digest
                && training.base_digest.to_string() == plan.base_digest
                && training.adapter_digest.to_string() == plan.adapter_digest
                && training.update_digest == digest
        });
        if agrees {
            Ok(())
        } else {
            let why =
                "its training statement is not signed by this site or speaks of something else";
            Err(wrong("CH3123", why.to_owned()).into())
        }
    }

    /// Counts payload bytes of a site.
    pub(crate) fn count(&self, site: &str, up: u64, down: u64) {
        if let Ok(mut traffic) = self.traffic.lock() {
            let entry = traffic.entry(site.to_owned()).or_default();
            entry.up += up;
            entry.down += down;
        }
    }

    fn take_traffic(&self, site: &str) -> Traffic {
        self.traffic.lock().ok().and_then(|mut all| all.remove(site)).unwrap_or_default()
    }

    /// The largest blob that a site may have a reason to send: the update of a round that it trains
    /// in under a lease.
    pub(crate) async fn upload_limit(&self, site: &str) -> Result<u64, Error> {
        let runs = self.store.runs().await?;
        let largest = runs.iter().filter_map(|stored| {
            let pseudonym = &stored.run.members.get(site)?.pseudonym;
            match &stored.run.state {
                RunState::Running(round) if matches!(round.phase, Phase::Training { .. }) => {
                    round.leased_until(pseudonym)?;
                    let elements = round.plan.layout().iter().map(|(_, [r, c])| r * c).sum();
                    Some(round.plan.ring.packed_len(elements))
                }
                _ => None,
            }
        });
        Ok(largest.max().ok_or(Reject::Lease)? as u64)
    }

    /// A site whose bytes move is alive. Written down only when its lease is half over.
    pub(crate) async fn alive(&self, site: &str) -> Result<(), Error> {
        let now = clock::now_ms();
        for stored in self.store.runs().await? {
            let (Some(member), RunState::Running(round)) =
                (stored.run.members.get(site), &stored.run.state)
            else {
                continue;
            };
            let pseudonym = member.pseudonym.clone();
            if !round.wants_news(&pseudonym, now) {
                continue;
            }
            let event = Event::BytesMoved { site: pseudonym };
            self.change(&stored.run.id, |run| {
                if let RunState::Running(round) = &run.state
                    && let Ok(step) = round.as_ref().clone().apply(event, now)
                {
                    run.set_round(step.round);
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Whether a site may read a blob: adapters of its runs, and nothing else.
    pub(crate) async fn may_read(&self, site: &str, digest: &str) -> Result<bool, Error> {
        let of_run = |run: &Run| {
            let evaluated = match &run.state {
                RunState::Running(round) => match &round.phase {
                    Phase::Evaluating { adapter, .. } => adapter == digest,
                    _ => false,
                },
                _ => false,
            };
            run.members.contains_key(site) && (run.adapter == digest || evaluated)
        };
        Ok(self.store.runs().await?.iter().any(|stored| of_run(&stored.run)))
    }

    /// Does whatever the state of the runs asks for, until there is nothing left, and says when to
    /// look again. All of it can be done twice. What one run cannot do now holds up no other.
    pub(crate) async fn drive(&self) -> Result<Duration, Error> {
        let mut wait = Duration::from_secs(60);
        for stored in self.store.runs().await? {
            wait = wait.min(self.drive_run(&stored.run).await.unwrap_or_else(|error| {
                tracing::error!(run.id = stored.run.id, error = %error, "an effect failed and is tried again");
                RETRY
            }));
        }
        Ok(wait)
    }

    async fn drive_run(&self, run: &Run) -> Result<Duration, Error> {
        match &run.state {
            RunState::Running(round) => match &round.phase {
                Phase::Training { .. } | Phase::Evaluating { .. } => {
                    self.tick(&run.id).await?;
                    let left = round
                        .deadline()
                        .map_or(60_000, |at| at.saturating_sub(clock::now_ms()).max(20));
                    return Ok(Duration::from_millis(left));
                }
                Phase::Aggregating { updates } => self.aggregate(run, round, updates).await?,
                Phase::Succeeded { .. } => {
                    self.write_receipt(run, round).await?;
                    self.advance(&run.id).await?;
                }
                Phase::Failed { .. } => self.advance(&run.id).await?,
            },
            RunState::Publishing => {
                let published = match &self.registry {
                    Some(target) => Some(publish(self, target, run).await?),
                    None => None,
                };
                self.change(&run.id, |run| {
                    if run.state == RunState::Publishing {
                        run.state = RunState::Succeeded { published };
                    }
                    Ok(())
                })
                .await?;
            }
            _ => return Ok(Duration::from_secs(60)),
        }
        Ok(Duration::ZERO)
    }

    /// Lets time pass in the running round.
    async fn tick(&self, id: &str) -> Result<(), Error> {
        self.change(id, |run| {
            if let RunState::Running(round) = &run.state {
                let step = round.as_ref().clone().apply(Event::Tick, clock::now_ms())?;
                run.set_round(step.round);
            }
            Ok(())
        })
        .await
    }

    async fn advance(&self, id: &str) -> Result<(), Error> {
        self.change(id, |run| {
            run.advance(clock::now_ms());
            Ok(())
        })
        .await
    }

    async fn aggregate(
        &self,
        run: &Run,
        round: &Round,
        updates: &BTreeMap<String, Update>,
    ) -> Result<(), Error> {
        let parse = |text: &str| text.parse::<Digest>().map_err(|e| Error::State(e.to_string()));
        let before = self.adapter(&parse(&round.plan.adapter_digest)?).await?;
        let digests =
            updates.values().map(|update| parse(&update.digest)).collect::<Result<Vec<_>, _>>()?;
        let after =
            tokio::task::block_in_place(|| aggregate(&self.blobs, &round.plan, before, &digests))?;
        let adapter = self.blobs.put(after.to_safetensors()?).await?.to_string();
        tracing::info!(run.id = run.id, round.number = round.plan.round, adapter, "summed");
        self.change(&run.id, |run| {
            if let RunState::Running(round) = &run.state {
                let event = Event::Aggregated { adapter };
                let step = round.as_ref().clone().apply(event, clock::now_ms())?;
                run.set_round(step.round);
            }
            Ok(())
        })
        .await
    }

    /// Reads an adapter in chunks.
    pub(crate) async fn adapter(&self, digest: &Digest) -> Result<Tensors, Error> {
        Ok(Tensors::from_safetensors(&self.adapter_bytes(digest).await?)?)
    }

    /// The bytes of an adapter.
    pub(crate) async fn adapter_bytes(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        loop {
            let (part, size) = self.blobs.range(digest, bytes.len() as u64, CHUNK as u64).await?;
            bytes.extend_from_slice(&part);
            if bytes.len() as u64 >= size || part.is_empty() {
                return Ok(bytes);
            }
        }
    }

    async fn write_receipt(&self, run: &Run, round: &Round) -> Result<(), Error> {
        let receipts = self.store.receipts(&run.id).await?;
        if receipts.len() as u32 >= round.plan.round {
            return Ok(());
        }
        let previous = receipts.last().map(|text| Digest::of(text.as_bytes()));
        if let Some(statement) = receipt(run, round, previous)? {
            let bundle = Bundle::sign(&statement, &self.authority.key)?;
            self.store.put_receipt(&run.id, round.plan.round, &bundle.to_json()).await?;
        }
        Ok(())
    }
}

fn member<'a>(run: &'a Run, site: &str) -> Result<&'a Member, Reject> {
    run.members.get(site).ok_or(Reject::Foreign)
}

/// Whether the update would change the round.
fn counts(run: &Run, handed: &Handed<'_>, update: &Update) -> bool {
    let (Ok(member), Ok(round)) = (member(run, handed.site), run.round(handed.round)) else {
        return false;
    };
    let event = Event::UpdateSubmitted {
        site: member.pseudonym.clone(),
        lease: handed.lease.to_owned(),
        update: update.clone(),
    };
    let step = round.clone().apply(event, clock::now_ms());
    step.is_ok_and(|step| step.answer == Answer::Recorded)
}

/// Names the tensor that an element belongs to.
fn named(error: &chancery_proto::CodecError, plan: &Plan) -> String {
    if let chancery_proto::CodecError::OutOfRange { element } = error {
        let mut start = 0;
        for (name, [rows, columns]) in plan.layout() {
            start += rows * columns;
            if *element < start {
                return format!("{error} (tensor {name})");
            }
        }
        return format!("{error} (the sample weight)");
    }
    error.to_string()
}
