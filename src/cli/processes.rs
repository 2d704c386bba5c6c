//! Child processes of this very program, each with a log of its own. They end when this is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);
/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(50);

/// Running children.
pub(crate) struct Processes {
    logs: PathBuf,
    children: Vec<(String, Child)>,
}

impl Processes {
    /// No children yet; logs go to `logs`.
    pub(crate) fn new(logs: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&logs)?;
        Ok(Self { logs, children: Vec::new() })
    }

    fn command(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Command> {
        let log = File::create(self.log(name))?;
        let mut command = Command::new(std::env::current_exe()?);
        // Sites that share a machine must not all want every core.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        command
            .args(arguments)
            .env("RAYON_NUM_THREADS", (cores / 3).max(1).to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Starts a child.
    pub(crate) fn spawn(&mut self, name: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let child = self.command(name, arguments)?.spawn()?;
        self.children.push((name.to_owned(), child));
        Ok(())
    }

    /// Runs a child to its end.
    pub(crate) fn finish(&self, name: &str, arguments: &[&str]) -> anyhow::Result<()> {
        if self.command(name, arguments)?.status()?.success() {
            return Ok(());
        }
        bail!("{name} failed\n{}", tail(&self.log(name)))
    }

    /// Waits until a child has written `path`, and gives its content.
    pub(crate) async fn await_file(&mut self, path: &Path) -> anyhow::Result<String> {
        let mut left = START;
        while left > Duration::ZERO {
            if let Ok(text) = fs::read_to_string(path)
                && !text.is_empty()
            {
                return Ok(text);
            }
            self.check()?;
            tokio::time::sleep(TICK).await;
            left = left.saturating_sub(TICK);
        }
        bail!(
            "{} did not appear within {} s\n{}",
            path.display(),
            START.as_secs(),
            self.last_words()
        )
    }

    /// An error if a child has failed.
    fn check(&mut self) -> anyhow::Result<()> {
        for (name, child) in &mut self.children {
            if let Some(status) = child.try_wait()?
                && !status.success()
            {
                let log = self.logs.join(format!("{name}.log"));
                return Err(anyhow!("{name} ended with {status}\n{}", tail(&log)));
            }
        }
        Ok(())
    }

    /// Resolves when a child fails.
    pub(crate) async fn failure(&mut self) -> anyhow::Error {
        loop {
            if let Err(error) = self.check() {
                return error;
            }
            tokio::time::sleep(4 * TICK).await;
        }
    }

    /// The end of every log.
    pub(crate) fn last_words(&self) -> String {
        let words =
            self.children.iter().map(|(name, _)| format!("--- {name}\n{}", tail(&self.log(name))));
        words.collect::<Vec<_>>().join("\n")
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log)
        .with_context(|| log.display().to_string())
        .unwrap_or_else(|error| error.to_string());
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(8)..).unwrap_or_default().join("\n")
}

impl Drop for Processes {
    /// Asks every child to end, and ends those that do not.
    fn drop(&mut self) {
        for (_, child) in &self.children {
            if let Ok(pid) = i32::try_from(child.id()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
        let mut left = GRACE;
        while left > Duration::ZERO
            && self.children.iter_mut().any(|(_, child)| matches!(child.try_wait(), Ok(None)))
        {
            std::thread::sleep(TICK);
            left = left.saturating_sub(TICK);
        }
        for (_, child) in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
