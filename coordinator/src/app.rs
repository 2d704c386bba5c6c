//! One coordinator: its state, and the only ways in which that state changes.

mod drive;
mod intake;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chancery_proto::request::{BODY_LIMIT, CHUNK};
use chancery_proto::{BaseShape, Recipe, Tensors};
use chancery_provenance::Digest;
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::authority::Authority;
use crate::blob::Blobs;
use crate::clock;
use crate::error::{Error, Reject};
use crate::publish::RegistryTarget;
use crate::round::{Answer, Event, Phase, Report};
use crate::run::{Caller, Member, Reply, Run, RunState};
use crate::store::{SqliteStore, Store};
use crate::traffic::Meters;
pub(crate) use drive::RETRY;
pub(crate) use intake::{Message, number, shared, survivors};

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
    /// What sites' connections moved since their rounds last took it over.
    pub(crate) meters: Meters,
}

/// A site's call about one task.
pub(crate) struct Call<'a> {
    pub(crate) site: &'a str,
    pub(crate) run: &'a str,
    pub(crate) round: u32,
    pub(crate) lease: &'a str,
}

/// A reply, and the run it is about as it is now.
pub(crate) struct Assigned {
    pub(crate) reply: Reply,
    pub(crate) run: Run,
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
            meters: Meters::default(),
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
            return Ok(Some(Assigned { reply, run: assigned }));
        }
        Ok(None)
    }

    /// Steps the running round with an event of a site; what does not count is recorded with it.
    async fn step(
        &self,
        call: &Call<'_>,
        event: impl FnOnce(String, String) -> Event,
    ) -> Result<Answer, Error> {
        let traffic = self.meters.take(call.site);
        let result = self
            .change(call.run, |run| {
                let member = member(run, call.site)?;
                let pseudonym = member.pseudonym.clone();
                let mut round = run.round(call.round)?.clone();
                round.traffic.up += traffic.up;
                round.traffic.down += traffic.down;
                let event = event(pseudonym.clone(), call.lease.to_owned());
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
    pub(crate) async fn progress(&self, call: &Call<'_>, report: Report) -> Result<(), Error> {
        let event = |site, lease| Event::Progress { site, lease, report };
        self.step(call, event).await.map(|_| ())
    }

    /// The largest blob that a site may have a reason to send: the update of a round that it has a
    /// lease in.
    pub(crate) async fn upload_limit(&self, site: &str) -> Result<u64, Error> {
        let runs = self.store.runs().await?;
        let largest = runs.iter().filter_map(|stored| {
            let pseudonym = &stored.run.members.get(site)?.pseudonym;
            let RunState::Running(round) = &stored.run.state else { return None };
            let takes = matches!(round.phase, Phase::Training { .. } | Phase::Masking { .. });
            round.leased_until(pseudonym).filter(|_| takes)?;
            let number = intake::site_number(&round.plan, pseudonym).ok()?;
            Some(round.plan.ring.packed_len(round.plan.elements_of(number)))
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
                    Phase::Evaluating { sum, .. } => {
                        sum.adapter == digest || sum.change.as_deref() == Some(digest)
                    }
                    _ => false,
                },
                _ => false,
            };
            run.members.contains_key(site) && (run.adapter == digest || evaluated)
        };
        Ok(self.store.runs().await?.iter().any(|stored| of_run(&stored.run)))
    }

    /// Receipts of a run that `site` takes part in, from a round on; as many as fit into one answer.
    pub(crate) async fn receipts(
        &self,
        site: &str,
        run: &str,
        from: u32,
    ) -> Result<Vec<String>, Error> {
        let stored = self.store.run(run).await?;
        let unknown = || Reject::NotFound { what: format!("run {run}") };
        member(&stored.ok_or_else(unknown)?.run, site)?;
        let mut room = BODY_LIMIT / 2;
        let receipts = self.store.receipts(run).await?;
        let rest = receipts.into_iter().skip(from.saturating_sub(1) as usize);
        Ok(rest
            .enumerate()
            .map_while(|(index, receipt)| {
                let fits = index == 0 || receipt.len() <= room;
                room = room.saturating_sub(receipt.len());
                fits.then_some(receipt)
            })
            .collect())
    }

    /// Reads tensors made here.
    pub(crate) async fn tensors(&self, digest: &Digest) -> Result<Tensors, Error> {
        Ok(Tensors::from_safetensors(&self.blob_bytes(digest).await?)?)
    }

    /// A whole blob made here: an adapter, or a message of shares.
    pub(crate) async fn blob_bytes(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        loop {
            let (part, size) = self.blobs.range(digest, bytes.len() as u64, CHUNK as u64).await?;
            bytes.extend_from_slice(&part);
            if bytes.len() as u64 >= size || part.is_empty() {
                return Ok(bytes);
            }
        }
    }
}

pub(crate) fn member<'a>(run: &'a Run, site: &str) -> Result<&'a Member, Reject> {
    run.members.get(site).ok_or(Reject::Foreign)
}
