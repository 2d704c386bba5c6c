//! The operator's calls.

use std::sync::Arc;
use std::time::Duration;

use chancery_proto::wire::run_server::Run as RunService;
use chancery_proto::wire::{
    CreateRunRequest, CreateTokenReply, CreateTokenRequest, ListRunsReply, ListRunsRequest,
    ListSitesReply, ListSitesRequest, RevokeSiteRequest, RunRequest, RunView, SiteView,
    WatchRunRequest,
};
use chancery_proto::{JoinToken, Recipe, TOKEN_SECRET};
use chancery_provenance::{Digest, PublicKey};
use tonic::{Request, Response, Status};

use super::auth::Caller;
use super::view::run_view;
use crate::app::App;
use crate::clock;
use crate::error::{Error, Reject};
use crate::store::SiteRow;

const LONG_POLL: Duration = Duration::from_secs(20);

pub(crate) struct Service(pub(crate) Arc<App>);

impl Service {
    async fn view(&self, id: &str) -> Result<RunView, Error> {
        let stored = self
            .0
            .store
            .run(id)
            .await?
            .ok_or_else(|| Reject::NotFound { what: format!("run {id}") })?;
        Ok(run_view(&stored.run, stored.revision))
    }
}

#[tonic::async_trait]
impl RunService for Service {
    async fn create_run(
        &self,
        request: Request<CreateRunRequest>,
    ) -> Result<Response<RunView>, Status> {
        Caller::operator(&request)?;
        let request = request.into_inner();
        let recipe =
            Recipe::from_json(&request.recipe).map_err(|e| Reject::Argument(e.to_string()))?;
        let shape = serde_json::from_str(&request.base_shape)
            .map_err(|e| Reject::Argument(format!("the base model's shape: {e}")))?;
        let id = self.0.create_run(recipe, shape).await?;
        Ok(Response::new(self.view(&id).await?))
    }

    async fn start_run(&self, request: Request<RunRequest>) -> Result<Response<RunView>, Status> {
        Caller::operator(&request)?;
        let id = request.into_inner().run;
        self.0.change(&id, |run| run.start()).await?;
        Ok(Response::new(self.view(&id).await?))
    }

    async fn stop_run(&self, request: Request<RunRequest>) -> Result<Response<RunView>, Status> {
        Caller::operator(&request)?;
        let id = request.into_inner().run;
        self.0
            .change(&id, |run| {
                run.stop(clock::now_ms());
                Ok(())
            })
            .await?;
        Ok(Response::new(self.view(&id).await?))
    }

    async fn get_run(&self, request: Request<RunRequest>) -> Result<Response<RunView>, Status> {
        Caller::operator(&request)?;
        Ok(Response::new(self.view(&request.into_inner().run).await?))
    }

    async fn list_runs(
        &self,
        request: Request<ListRunsRequest>,
    ) -> Result<Response<ListRunsReply>, Status> {
        Caller::operator(&request)?;
        let runs = self.0.store.runs().await?;
        let runs = runs.iter().map(|stored| run_view(&stored.run, stored.revision)).collect();
        Ok(Response::new(ListRunsReply { runs }))
    }

    async fn watch_run(
        &self,
        request: Request<WatchRunRequest>,
    ) -> Result<Response<RunView>, Status> {
        Caller::operator(&request)?;
        let request = request.into_inner();
        let mut changes = self.0.changes();
        let end = tokio::time::sleep(LONG_POLL);
        tokio::pin!(end);
        loop {
            let view = self.view(&request.run).await?;
            if view.revision > request.after {
                return Ok(Response::new(view));
            }
            tokio::select! {
                () = &mut end => return Ok(Response::new(view)),
                _ = changes.changed() => {}
            }
        }
    }

    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenReply>, Status> {
        Caller::operator(&request)?;
        let request = request.into_inner();
        let name = &request.site;
        let fits = (1..=63).contains(&name.len())
            && name != "operator"
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits {
            let why = "a site's name is 1 to 63 lower-case letters, digits and '-'".to_owned();
            return Err(Reject::Argument(why).into());
        }
        let secret = clock::random::<TOKEN_SECRET>()?;
        let token = JoinToken::new(secret, *self.0.authority.fingerprint().as_bytes());
        let hash = Digest::of(token.secret_text().as_bytes()).hex();
        let expires = clock::now_ms() + u64::from(request.valid_seconds.max(1)) * 1000;
        self.0.store.put_token(&hash, name, expires).await?;
        Ok(Response::new(CreateTokenReply {
            token: token.expose().to_string(),
            not_after: clock::rfc3339(expires),
        }))
    }

    async fn list_sites(
        &self,
        request: Request<ListSitesRequest>,
    ) -> Result<Response<ListSitesReply>, Status> {
        Caller::operator(&request)?;
        let sites = self.0.store.sites().await?.into_iter().map(site_view).collect();
        Ok(Response::new(ListSitesReply { sites }))
    }

    async fn revoke_site(
        &self,
        request: Request<RevokeSiteRequest>,
    ) -> Result<Response<SiteView>, Status> {
        Caller::operator(&request)?;
        let site = self.0.store.revoke(&request.into_inner().site).await?;
        tracing::info!(site.name = site.name, "revoked");
        Ok(Response::new(site_view(site)))
    }
}

fn site_view(site: SiteRow) -> SiteView {
    SiteView {
        fingerprint: PublicKey::from_pem(&site.key)
            .map(|key| key.fingerprint())
            .unwrap_or_default(),
        site: site.name,
        state: site.state,
        enrolled_at: site.enrolled_at,
    }
}
