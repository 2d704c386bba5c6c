//! Enrolment: a token and a certificate request in, a certificate out.

use std::sync::Arc;

use chancery_proto::wire::enrolment_server::Enrolment;
use chancery_proto::wire::{EnrolRequest, EnrolResponse};
use chancery_provenance::Digest;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::clock;
use crate::error::Error;
use crate::store::SiteRow;

pub(crate) struct Service(pub(crate) Arc<App>);

#[tonic::async_trait]
impl Enrolment for Service {
    async fn enrol(
        &self,
        request: Request<EnrolRequest>,
    ) -> Result<Response<EnrolResponse>, Status> {
        let request = request.into_inner();
        let site = self.redeem(&request).await?;
        tracing::info!(site.name = site.name, "joined");
        Ok(Response::new(EnrolResponse {
            site: site.name,
            certificate: site.certificate,
            coordinator_key: self.0.authority.key.public().to_pem(),
        }))
    }
}

impl Service {
    async fn redeem(&self, request: &EnrolRequest) -> Result<SiteRow, Error> {
        let now = clock::now_ms();
        let (certificate, key) =
            self.0.authority.issue(&request.certificate_request, "chancery site", now)?;
        let row = SiteRow {
            name: String::new(),
            key: key.to_pem(),
            state: "enrolled".to_owned(),
            certificate,
            enrolled_at: clock::rfc3339(now),
        };
        let hash = Digest::of(request.token.as_bytes()).hex();
        self.0.store.redeem(&hash, now, row).await
    }
}
