//! A registry over real HTTP: what it takes, what it refuses, and what a stranger pulls from it.

#[path = "../../provenance/tests/story/mod.rs"]
#[expect(dead_code, reason = "here the registry signs, not the story")]
mod story;

use std::path::Path;

use chancery_provenance::{Digest, Policy, verify_release};
use chancery_registry::{
    ClientError, Publication, Registry, RegistryClient, RegistryConfig, VersionView,
};
use story::Story;
use tokio::net::TcpListener;
use zeroize::Zeroizing;

/// A running registry that trusts the story's coordinator.
struct World {
    url: String,
    token: Zeroizing<String>,
    key: chancery_provenance::PublicKey,
}

async fn serve(dir: &Path, story: &Story) -> World {
    let config =
        RegistryConfig { dir: dir.to_owned(), coordinator_keys: vec![story.coordinator.public()] };
    let registry = Registry::open(config).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World {
        url: format!("http://{}", listener.local_addr().unwrap()),
        token: registry.publisher_token().clone(),
        key: registry.public_key(),
    };
    tokio::spawn(chancery_registry::serve(registry, listener, std::future::pending()));
    world
}

fn publication(story: &Story) -> Publication {
    let text = |bundles: &[chancery_provenance::Bundle]| {
        bundles.iter().map(chancery_provenance::Bundle::to_json).collect()
    };
    Publication {
        recipe: story.recipe.clone(),
        coordinator_key: story.coordinator.public().to_pem(),
        receipts: text(&story.receipts),
        trainings: text(&story.trainings),
        adapter_config: "{}".to_owned(),
        adapter: Digest::of(&story.adapter),
        started_at: "2026-01-01T00:00:00Z".to_owned(),
        finished_at: "2026-01-01T00:00:01Z".to_owned(),
        coordinator_version: "0.1.0".to_owned(),
    }
}

impl World {
    /// The client blocks, so it gets a thread of its own.
    async fn call<T: Send + 'static>(
        &self,
        token: Option<Zeroizing<String>>,
        call: impl FnOnce(RegistryClient) -> T + Send + 'static,
    ) -> T {
        let url = self.url.clone();
        let client = move || call(RegistryClient::new(&url, token));
        tokio::task::spawn_blocking(client).await.unwrap()
    }

    async fn publish(
        &self,
        story: &Story,
        token: Option<Zeroizing<String>>,
    ) -> Result<VersionView, ClientError> {
        let (publication, adapter) = (publication(story), story.adapter.clone());
        self.call(token, move |client| client.publish("story", &publication, &adapter)).await
    }
}

#[tokio::test]
async fn a_published_version_is_pulled_verified_and_survives_a_restart() {
    let (story, dir) = (Story::new(), tempfile::tempdir().unwrap());
    let world = serve(&dir.path().join("registry"), &story).await;
    let first = world.publish(&story, Some(world.token.clone())).await.unwrap();
    let again = world.publish(&story, Some(world.token.clone())).await.unwrap();
    assert_eq!((first.version, &again), (1, &first));

    let world = serve(&dir.path().join("registry"), &story).await;
    let out = dir.path().join("pulled");
    // What an earlier pull left behind is gone on with.
    let beside = dir.path().join(format!("pulled.{}.part", &first.digest.hex()[..12]));
    std::fs::create_dir(&beside).unwrap();
    std::fs::write(beside.join("adapter_model.safetensors"), &story.adapter[..5]).unwrap();
    let target = out.clone();
    let pulled = world.call(None, move |client| client.pull("story", 1, &target)).await.unwrap();
    assert_eq!(pulled.digest, first.digest);
    assert!(!beside.exists());
    let policy = Policy { registry_keys: vec![world.key.clone()], ..Policy::default() };
    let report = verify_release(&out, &policy);
    assert_eq!(report.verdict.code(), "CH6000", "{report}");
    assert_eq!(report.digest, Some(first.digest.to_string()));

    std::fs::write(out.join("README.md"), "mine").unwrap();
    let refused = world.call(None, move |client| client.pull("story", 1, &out)).await;
    assert!(matches!(refused, Err(ClientError::Exists(_))));
}

#[tokio::test]
async fn what_is_not_proved_is_not_published() {
    let (story, dir) = (Story::new(), tempfile::tempdir().unwrap());
    let world = serve(dir.path(), &story).await;
    let refused = |result: Result<VersionView, ClientError>| result.unwrap_err().to_string();
    let wrong = Zeroizing::new("0".repeat(64));
    assert!(refused(world.publish(&story, None).await).contains("CH4002"));
    assert!(refused(world.publish(&story, Some(wrong)).await).contains("CH4002"));
    let stranger = Story::new();
    let words = refused(world.publish(&stranger, Some(world.token.clone())).await);
    assert!(words.contains("CH4003"), "{words}");
    let mut cut = Story::new();
    std::mem::swap(&mut cut.receipts, &mut Story::new().receipts);
    cut.coordinator = story.coordinator;
    let words = refused(world.publish(&cut, Some(world.token.clone())).await);
    assert!(words.contains("CH5402"), "{words}");
    let missing = world.call(None, |client| client.version("story", "latest")).await;
    assert!(refused(missing).contains("CH4001"));
}

#[tokio::test]
async fn bytes_that_are_not_what_their_digest_says_are_refused() {
    let (story, dir) = (Story::new(), tempfile::tempdir().unwrap());
    let world = serve(dir.path(), &story).await;
    let (mut publication, token) = (publication(&story), world.token.clone());
    publication.adapter = Digest::of(b"something else");
    let adapter = story.adapter.clone();
    let result = world
        .call(Some(token), move |client| client.publish("story", &publication, &adapter))
        .await;
    let words = result.unwrap_err().to_string();
    assert!(words.contains("CH4004"), "{words}");
}
