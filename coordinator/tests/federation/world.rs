//! A coordinator that can be killed, its operator, and sites whose training is scripted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chancery_coordinator::{Coordinator, CoordinatorConfig};
use chancery_proto::secagg::ChunkRoot;
use chancery_proto::wire::blob_client::BlobClient;
use chancery_proto::wire::enrolment_client::EnrolmentClient;
use chancery_proto::wire::participant_client::ParticipantClient;
use chancery_proto::wire::run_client::RunClient;
use chancery_proto::wire::{
    Assignment, CreateRunRequest, CreateTokenRequest, EnrolRequest, Evaluate, Evaluation,
    GetChunkRequest, NextTaskRequest, PutChunkRequest, Receipt, RunRequest, RunView, Score, Update,
    task::Work,
};
use chancery_proto::{
    BaseShape, Caller, JoinToken, Plan, PrivacyMode, Recipe, SAMPLE, Signed, Target,
};
use chancery_provenance::{
    Algorithm, Bundle, Digest, Environment, PublicKey, SigningKey, Statement, Subject,
    TRAINING_TYPE, TrainingStatement, pem,
};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// How long a site in these stories waits for work before it does something else.
const PATIENCE: Duration = Duration::from_millis(250);

/// One life of the coordinator.
struct Server {
    runtime: Runtime,
    stop: tokio::sync::oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<Result<(), chancery_coordinator::Error>>,
}

pub struct World {
    dir: TempDir,
    server: Option<Server>,
    url: String,
    client: Runtime,
    /// Kill the coordinator before every call.
    pub restless: bool,
    pub restarts: usize,
}

impl World {
    pub fn new() -> Self {
        let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut world =
            Self { dir, server: None, url: String::new(), client, restless: false, restarts: 0 };
        world.start();
        world
    }

    fn start(&mut self) {
        let server = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let dir = self.dir();
        let (listener, coordinator) = server.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let config = CoordinatorConfig { dir, names: Vec::new(), registry: None };
            (listener, Coordinator::open(config).await.unwrap())
        });
        self.url = format!("https://{}", listener.local_addr().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let serving = server.spawn(coordinator.serve(listener, async {
            let _ = stopped.await;
        }));
        self.server = Some(Server { runtime: server, stop, serving });
    }

    /// Ends the coordinator wherever it is, and starts another one in the same folder.
    pub fn restart(&mut self) {
        if let Some(server) = self.server.take() {
            server.runtime.shutdown_timeout(Duration::from_secs(5));
        }
        self.restarts += 1;
        self.start();
    }

    /// Asks the coordinator to end, and waits until it has.
    pub fn stop(&mut self) {
        let server = self.server.take().unwrap();
        server.stop.send(()).unwrap();
        server.runtime.block_on(server.serving).unwrap().unwrap();
    }

    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.client.block_on(future)
    }

    /// Lets a call go on while the story does, and gives it a moment to arrive.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        let call = self.client.spawn(future);
        self.block_on(async { tokio::time::sleep(PATIENCE).await });
        call
    }

    fn channel(&mut self, identity: Option<Identity>) -> Channel {
        if self.restless {
            self.restart();
        }
        let authority = std::fs::read(self.dir.path().join("operator/ca.pem")).unwrap();
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority));
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        let endpoint = Endpoint::from_shared(self.url.clone()).unwrap().tls_config(tls).unwrap();
        self.client.block_on(async { endpoint.connect().await }).unwrap()
    }

    pub fn operator(&mut self) -> RunClient<Signed<Channel>> {
        let folder = self.dir().join("operator");
        let key = Arc::new(SigningKey::load(&folder.join("operator.key")).unwrap());
        let certificate = std::fs::read(folder.join("operator.crt")).unwrap();
        let identity = Identity::from_pem(certificate, key.to_pkcs8_pem().as_bytes());
        let caller = TestCaller { name: "operator".to_owned(), key, nonce: None };
        RunClient::new(Signed::new(self.channel(Some(identity)), Arc::new(caller)))
    }

    pub fn coordinator_key(&self) -> PublicKey {
        PublicKey::load(&self.dir().join("operator/coordinator.pub")).unwrap()
    }

    pub fn token(&mut self, site: &str) -> JoinToken {
        let mut operator = self.operator();
        let request = CreateTokenRequest { site: site.to_owned(), valid_seconds: 60 };
        let reply = self.block_on(operator.create_token(request)).unwrap();
        reply.into_inner().token.parse().unwrap()
    }

    pub fn enrol(&mut self, token: &JoinToken, key: SigningKey) -> Result<Site, Status> {
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(
            &PrivatePkcs8KeyDer::from(key.pkcs8_der()),
            &rcgen::PKCS_ED25519,
        )
        .unwrap();
        let request = EnrolRequest {
            token: token.secret_text().to_string(),
            certificate_request: CertificateParams::default()
                .serialize_request(&pair)
                .unwrap()
                .der()
                .to_vec(),
        };
        let mut client = EnrolmentClient::new(self.channel(None));
        let reply = self.block_on(client.enrol(request))?.into_inner();
        assert_eq!(reply.coordinator_key, self.coordinator_key().to_pem());
        Ok(Site {
            certificate: pem("CERTIFICATE", &reply.certificate),
            name: reply.site,
            key: Arc::new(key),
            samples: 100,
            max_rank: 0,
        })
    }

    pub fn joined(&mut self, name: &str) -> Site {
        let token = self.token(name);
        self.enrol(&token, SigningKey::generate(Algorithm::Ed25519).unwrap()).unwrap()
    }

    pub fn three_sites(&mut self) -> [Site; 3] {
        let mut sites = ["harbour", "hospital", "works"].map(|name| self.joined(name));
        for (site, samples) in sites.iter_mut().zip([100, 60, 25]) {
            site.samples = samples;
        }
        sites
    }

    /// A started trusted run of two rounds for three sites, two of which suffice.
    pub fn run(&mut self, lease_seconds: u32) -> String {
        self.run_of(3, 2, PrivacyMode::Trusted, lease_seconds)
    }

    /// A started run of two rounds.
    pub fn run_of(&mut self, sites: u32, quorum: u32, mode: PrivacyMode, lease: u32) -> String {
        self.run_with(sites, quorum, mode, lease, 60, |_| {})
    }

    pub fn run_with(
        &mut self,
        sites: u32,
        quorum: u32,
        mode: PrivacyMode,
        lease_seconds: u32,
        deadline_seconds: u32,
        change: impl FnOnce(&mut Recipe),
    ) -> String {
        let mut recipe = Recipe::from_toml(SAMPLE).unwrap();
        recipe.privacy.mode = mode;
        recipe.federation.sites = sites;
        recipe.federation.quorum = quorum;
        recipe.base.digest = Some(base_digest());
        recipe.adapter.rank = 2;
        recipe.adapter.targets = vec![Target::QProj, Target::DownProj];
        recipe.federation.rounds = 2;
        recipe.federation.lease_seconds = lease_seconds;
        recipe.federation.deadline_seconds = deadline_seconds;
        // A ring whose last element ends inside of a byte.
        recipe.codec.bits = if sites == 5 { 12 } else { 14 };
        change(&mut recipe);
        let shape = BaseShape {
            hidden_size: 16,
            intermediate_size: 32,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 4,
        };
        let request = CreateRunRequest {
            recipe: recipe.to_json(),
            base_shape: serde_json::to_string(&shape).unwrap(),
        };
        let mut operator = self.operator();
        let run = self.block_on(operator.create_run(request)).unwrap().into_inner().run;
        let mut operator = self.operator();
        self.block_on(operator.start_run(RunRequest { run: run.clone() })).unwrap();
        run
    }

    pub fn view(&mut self, run: &str) -> RunView {
        let mut operator = self.operator();
        self.block_on(operator.get_run(RunRequest { run: run.to_owned() })).unwrap().into_inner()
    }

    /// Lets the sites do whatever they are asked for until the run is over.
    pub fn work_through(&mut self, run: &str, sites: &[Site]) -> RunView {
        for _ in 0..80 {
            for site in sites {
                match site.poll(self) {
                    Some(Work::Train(task)) => {
                        assert!(site.train(self, &task).unwrap().recorded);
                    }
                    Some(Work::Evaluate(task)) => {
                        assert!(site.evaluate(self, &task).unwrap().recorded);
                    }
                    _ => {}
                }
            }
            let view = self.view(run);
            if matches!(view.state.as_str(), "succeeded" | "failed" | "stopped") {
                return view;
            }
        }
        panic!("the run does not end: {:?}", self.view(run));
    }

    /// The whole run with three sites, and nothing in its way.
    pub fn undisturbed() -> RunView {
        let mut world = Self::new();
        let sites = world.three_sites();
        let run = world.run(60);
        world.work_through(&run, &sites)
    }
}

pub fn base_digest() -> String {
    Digest::of(b"the base model").to_string()
}

/// The stable code of a refusal.
pub fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    let status = result.expect_err("it should have been refused");
    status.message().split(':').next().unwrap_or_default().to_owned()
}

pub struct Site {
    pub name: String,
    pub key: Arc<SigningKey>,
    pub certificate: String,
    pub samples: u64,
    /// 0 sets no limit.
    pub max_rank: u32,
}

impl Site {
    fn transport(&self, world: &mut World, caller: TestCaller) -> Signed<Channel> {
        let key = self.key.to_pkcs8_pem();
        let identity = Identity::from_pem(&self.certificate, key.as_bytes());
        Signed::new(world.channel(Some(identity)), Arc::new(caller))
    }

    pub fn caller(&self) -> TestCaller {
        TestCaller { name: self.name.clone(), key: Arc::clone(&self.key), nonce: None }
    }

    pub fn calls(&self, world: &mut World) -> ParticipantClient<Signed<Channel>> {
        self.calls_as(world, self.caller())
    }

    pub fn calls_as(
        &self,
        world: &mut World,
        caller: TestCaller,
    ) -> ParticipantClient<Signed<Channel>> {
        ParticipantClient::new(self.transport(world, caller))
    }

    pub fn blobs(&self, world: &mut World) -> BlobClient<Signed<Channel>> {
        BlobClient::new(self.transport(world, self.caller()))
    }

    /// Calls that only an operator may make.
    pub fn operator_calls(&self, world: &mut World) -> RunClient<Signed<Channel>> {
        RunClient::new(self.transport(world, self.caller()))
    }

    pub fn request(&self) -> NextTaskRequest {
        NextTaskRequest {
            base_digest: base_digest(),
            samples: self.samples,
            task: format!("task of {}", self.name),
            adapter_digest: String::new(),
            max_rank: self.max_rank,
        }
    }

    /// This site's place in a plan's roster.
    pub fn place(&self, plan: &Plan) -> usize {
        let identity = self.key.public().ed25519_bytes().unwrap();
        plan.roster.iter().position(|member| member.identity == identity).unwrap()
    }

    /// Asks for work, and gives up soon.
    pub fn poll(&self, world: &mut World) -> Option<Work> {
        let mut calls = self.calls(world);
        let request = self.request();
        world.block_on(async {
            match tokio::time::timeout(PATIENCE, calls.next_task(request)).await {
                Ok(task) => task.unwrap().into_inner().work,
                Err(_) => None,
            }
        })
    }

    /// Asks until it may train.
    pub fn training(&self, world: &mut World) -> Assignment {
        for _ in 0..40 {
            if let Some(Work::Train(task)) = self.poll(world) {
                return task;
            }
        }
        panic!("{} gets nothing to train", self.name);
    }

    /// The update that this site always makes of this task, and its bytes.
    pub fn update(&self, task: &Assignment) -> (Update, Vec<u8>) {
        let plan = Plan::from_json(&task.plan).unwrap();
        let elements = plan.elements_of(self.place(&plan));
        let start = f32::from(self.name.as_bytes()[1]) + plan.round as f32;
        let delta: Vec<f32> = (0..elements).map(|i| (i as f32 + start).sin() * 0.1).collect();
        let seed = *Digest::of(format!("{} {}", self.name, plan.round).as_bytes()).as_bytes();
        let encoded = plan.ring.encode(&delta, self.samples, seed).unwrap();
        let update = self.sworn(task, &encoded.bytes);
        (update, encoded.bytes)
    }

    /// An update of any bytes, with a statement that fits.
    pub fn sworn(&self, task: &Assignment, bytes: &[u8]) -> Update {
        self.sworn_as(task, bytes, &Plan::from_json(&task.plan).unwrap().factors.to_string())
    }

    /// The same with a statement about other factors.
    pub fn sworn_as(&self, task: &Assignment, bytes: &[u8], factors: &str) -> Update {
        let plan = Plan::from_json(&task.plan).unwrap();
        let digest = Digest::of(bytes);
        let statement = TrainingStatement {
            run: plan.run.clone(),
            round: plan.round,
            plan_digest: Digest::of(&task.plan),
            base_digest: plan.base_digest.parse().unwrap(),
            adapter_digest: plan.adapter_digest.parse().unwrap(),
            dataset_commitment: Digest::of(self.name.as_bytes()),
            factors: factors.to_owned(),
            update_digest: digest,
            steps: 1,
            environment: Environment {
                chancery: "test".to_owned(),
                os: "test".to_owned(),
                architecture: "test".to_owned(),
                backend: "scripted".to_owned(),
            },
        };
        let subject = Subject::new("update", digest);
        let statement = Statement::new(vec![subject], TRAINING_TYPE, &statement);
        Update {
            run: plan.run,
            round: plan.round,
            lease: task.lease.clone(),
            update_digest: digest.to_string(),
            training_statement: Bundle::sign(&statement, &self.key).unwrap().to_json(),
            loss_first: 2.0,
            loss_last: 1.0,
            quantisation_error: 0.01,
            clipped_share: 0.0,
            chunk_root: ChunkRoot::of(bytes).0.to_vec(),
            chunk_signature: Vec::new(),
        }
    }

    /// Uploads in three chunks.
    pub fn upload(&self, world: &mut World, bytes: &[u8]) -> Result<(), Status> {
        let digest = Digest::of(bytes).to_string();
        let third = bytes.len().div_ceil(3);
        for (index, chunk) in bytes.chunks(third).enumerate() {
            let mut blobs = self.blobs(world);
            let request = PutChunkRequest {
                digest: digest.clone(),
                size: bytes.len() as u64,
                offset: (index * third) as u64,
                data: chunk.to_vec(),
            };
            let reply = world.block_on(blobs.put_chunk(request))?.into_inner();
            assert!(reply.stored >= (index * third + chunk.len()) as u64);
        }
        Ok(())
    }

    /// The bytes of a blob that fits into one chunk.
    pub fn download(&self, world: &mut World, digest: &str) -> Vec<u8> {
        let mut blobs = self.blobs(world);
        let request = GetChunkRequest { digest: digest.to_owned(), offset: 0 };
        world.block_on(blobs.get_chunk(request)).unwrap().into_inner().data
    }

    pub fn submit(&self, world: &mut World, update: &Update) -> Result<Receipt, Status> {
        let mut calls = self.calls(world);
        world.block_on(calls.submit_update(update.clone())).map(tonic::Response::into_inner)
    }

    pub fn train(&self, world: &mut World, task: &Assignment) -> Result<Receipt, Status> {
        let (update, bytes) = self.update(task);
        self.upload(world, &bytes)?;
        self.submit(world, &update)
    }

    pub fn evaluate(&self, world: &mut World, task: &Evaluate) -> Result<Receipt, Status> {
        let order = task.assignment.as_ref().unwrap();
        let plan = Plan::from_json(&order.plan).unwrap();
        assert_eq!(task.with_base, plan.round == 1);
        let score = |accuracy| Some(Score { loss: 1.0, accuracy, examples: 10 });
        let evaluation = Evaluation {
            run: plan.run,
            round: plan.round,
            lease: order.lease.clone(),
            adapter: score(0.75),
            base: if task.with_base { score(0.25) } else { None },
        };
        let mut calls = self.calls(world);
        world.block_on(calls.submit_evaluation(evaluation)).map(tonic::Response::into_inner)
    }
}

pub struct TestCaller {
    pub name: String,
    pub key: Arc<SigningKey>,
    pub nonce: Option<[u8; 16]>,
}

impl Caller for TestCaller {
    fn name(&self) -> &str {
        &self.name
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message)
    }

    #[expect(clippy::disallowed_methods, reason = "a real coordinator checks real time")]
    fn time_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        u64::try_from(since.unwrap().as_millis()).unwrap()
    }

    fn nonce(&self) -> [u8; 16] {
        use ring::rand::SecureRandom as _;
        let mut nonce = [0; 16];
        ring::rand::SystemRandom::new().fill(&mut nonce).unwrap();
        self.nonce.unwrap_or(nonce)
    }
}
