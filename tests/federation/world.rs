//! A federation of real processes in a temporary folder. Dropped, it ends them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use chancery_proto::{Method, PrivacyMode, Recipe};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const SITES: [&str; 3] = ["hospital", "legal", "industry"];

pub(crate) struct World {
    dir: tempfile::TempDir,
    coordinator: Option<Child>,
    sites: Vec<(String, Child)>,
    port: u16,
    base: PathBuf,
}

pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

pub(crate) fn chancery() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    command.env("RAYON_NUM_THREADS", "1");
    command
}

fn words(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

impl World {
    /// A coordinator and three sites that have joined it, each with a little data.
    pub(crate) fn new() -> Self {
        Self::on(examples().join("base"))
    }

    /// The same on another base model.
    pub(crate) fn on(base: PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self { dir, coordinator: None, sites: Vec::new(), port: 0, base };
        world.start_coordinator();
        for site in SITES {
            world.join(site);
        }
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the coordinator; again at the same port after it was killed.
    pub(crate) fn start_coordinator(&mut self) {
        let address = self.path("coordinator/operator/coordinator.url");
        let _ = fs::remove_file(&address);
        let child = chancery()
            .args([
                "coordinator",
                "serve",
                "--listen",
                &format!("127.0.0.1:{}", self.port),
                "--dir",
            ])
            .arg(self.path("coordinator"))
            .env("RUST_LOG", "trace")
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.path("coordinator.log")).unwrap())
            .spawn()
            .unwrap();
        self.coordinator = Some(child);
        let url = wait_for(|| fs::read_to_string(&address).ok().filter(|url| !url.is_empty()));
        self.port = url.rsplit(':').next().unwrap().parse().unwrap();
    }

    /// SIGKILL.
    pub(crate) fn kill_coordinator(&mut self) {
        let mut child = self.coordinator.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The coordinator's process.
    pub(crate) fn coordinator_id(&self) -> u32 {
        self.coordinator.as_ref().unwrap().id()
    }

    /// Sends a signal to a site's process: SIGSTOP, SIGCONT.
    pub(crate) fn signal(&self, site: &str, signal: &str) {
        let (_, child) = self.sites.iter().find(|(name, _)| name == site).unwrap();
        let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    pub(crate) fn operator(&self, arguments: &[&str]) -> String {
        let output = chancery()
            .args(arguments)
            .env("CHANCERY_OPERATOR", self.path("coordinator/operator"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn join(&self, site: &str) {
        let token = self.operator(&["coordinator", "token", site]);
        let url = format!("https://127.0.0.1:{}", self.port);
        let output = chancery()
            .args(["participant", "join", &url, "--token", token.trim(), "--home"])
            .arg(self.path(site))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", words(&output));
        let data = examples().join("data").join(site);
        for (split, rows) in [("train", 96), ("test", 24)] {
            let text = fs::read_to_string(data.join(format!("{split}.jsonl"))).unwrap();
            let few: Vec<&str> = text.lines().take(rows).collect();
            fs::write(self.path(site).join(format!("{split}.jsonl")), few.join("\n")).unwrap();
        }
    }

    /// Starts a site's process.
    pub(crate) fn start(&mut self, site: &str) {
        let home = self.path(site);
        let child = chancery()
            .args(["participant", "run", "--home"])
            .arg(&home)
            .arg("--data")
            .arg(home.join("train.jsonl"))
            .arg("--held-out")
            .arg(home.join("test.jsonl"))
            .arg("--base")
            .arg(&self.base)
            .stdout(Stdio::null())
            .stderr(fs::File::create(home.join("log")).unwrap())
            .spawn()
            .unwrap();
        self.sites.push((site.to_owned(), child));
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, site: &str) {
        let place = self.sites.iter().position(|(name, _)| name == site).unwrap();
        let (_, mut child) = self.sites.remove(place);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Submits and starts a masked run, in which all three sites are needed.
    pub(crate) fn run(&self, rounds: u32, steps: u32) -> String {
        self.run_with(rounds, steps, |_| {})
    }

    /// The same with a recipe that is changed before it is submitted.
    pub(crate) fn run_with(
        &self,
        rounds: u32,
        steps: u32,
        change: impl FnOnce(&mut Recipe),
    ) -> String {
        self.run_in(PrivacyMode::Masked, 3, rounds, steps, change)
    }

    /// Submits and starts a trusted run, in which two sites suffice and which all allow.
    pub(crate) fn trusted_run(&self, rounds: u32, steps: u32) -> String {
        SITES.iter().for_each(|site| self.allow(site, "privacy = [\"trusted\"]\n"));
        self.run_in(PrivacyMode::Trusted, 2, rounds, steps, |_| {})
    }

    /// Submits and starts a trusted run of stacked factors; one site trains fewer ranks.
    pub(crate) fn stacked_run(&self, rounds: u32, steps: u32) -> String {
        SITES.iter().for_each(|site| self.allow(site, "privacy = [\"trusted\"]\n"));
        self.allow(SITES[0], "privacy = [\"trusted\"]\nmax_rank = 3\n");
        self.run_in(PrivacyMode::Trusted, 3, rounds, steps, |recipe| {
            recipe.federation.method = Method::Stack;
        })
    }

    /// Writes a site's policy.
    fn allow(&self, site: &str, policy: &str) {
        fs::write(self.path(site).join("policy.toml"), policy).unwrap();
    }

    fn run_in(
        &self,
        mode: PrivacyMode,
        quorum: u32,
        rounds: u32,
        steps: u32,
        change: impl FnOnce(&mut Recipe),
    ) -> String {
        let text = fs::read_to_string(examples().join("verticals.toml")).unwrap();
        let mut recipe = Recipe::from_toml(&text).unwrap();
        recipe.privacy.mode = mode;
        recipe.federation.quorum = quorum;
        recipe.federation.rounds = rounds;
        recipe.federation.lease_seconds = 5;
        recipe.training.steps = steps;
        // Ring elements of 16 bits, which the search for leaks can tell apart.
        recipe.codec.bits = 14;
        recipe.training.batch = 8;
        change(&mut recipe);
        let path = self.path("recipe.toml");
        fs::write(&path, toml::to_string(&recipe).unwrap()).unwrap();
        let (path, base) = (path.to_str().unwrap(), self.base.to_str().unwrap());
        let created = self.operator(&["run", "create", path, "--base", base]);
        let run = created.split_whitespace().next().unwrap().to_owned();
        self.operator(&["run", "start", &run]);
        run
    }

    /// What `run show` prints.
    pub(crate) fn show(&self, run: &str) -> String {
        self.operator(&["run", "show", run])
    }

    /// Waits until `run show` prints something that `holds`.
    pub(crate) fn until(&self, run: &str, holds: impl Fn(&str) -> bool) -> String {
        wait_for(|| Some(self.show(run)).filter(|text| holds(text)))
    }

    /// Waits for the end of the run; the digest of its adapter.
    pub(crate) fn adapter(&self, run: &str) -> String {
        let text = self.until(run, |text| {
            assert!(!text.contains("  failed  "), "{text}");
            text.contains("  succeeded  ")
        });
        let digest = text.split_whitespace().find(|word| word.starts_with("sha256:"));
        digest.unwrap_or_else(|| panic!("{text}")).to_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let children = self.sites.iter_mut().map(|(_, child)| child).chain(&mut self.coordinator);
        for child in children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test that gives up after a while")]
pub(crate) fn wait_for<T>(mut what: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "nothing happened for {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
