//! Bytes by digest.

use std::sync::Arc;

use chancery_proto::request::CHUNK;
use chancery_proto::wire::blob_server::Blob;
use chancery_proto::wire::{
    GetChunkReply, GetChunkRequest, PutChunkReply, PutChunkRequest, StatReply, StatRequest,
};
use chancery_provenance::Digest;
use tonic::{Request, Response, Status};

use super::auth::Caller;
use crate::app::App;
use crate::error::Reject;

pub(crate) struct Service(pub(crate) Arc<App>);

fn digest(text: &str) -> Result<Digest, Reject> {
    text.parse().map_err(|e: chancery_provenance::DigestError| Reject::Argument(e.to_string()))
}

#[tonic::async_trait]
impl Blob for Service {
    async fn stat(&self, request: Request<StatRequest>) -> Result<Response<StatReply>, Status> {
        let (site, _) = Caller::site(&request)?;
        let digest = digest(&request.into_inner().digest)?;
        let stat = self.0.blobs.stat(&site, &digest).await?;
        let size = if stat.complete { stat.stored } else { 0 };
        Ok(Response::new(StatReply { complete: stat.complete, stored: stat.stored, size }))
    }

    async fn put_chunk(
        &self,
        request: Request<PutChunkRequest>,
    ) -> Result<Response<PutChunkReply>, Status> {
        let (site, _) = Caller::site(&request)?;
        let chunk = request.into_inner();
        let digest = digest(&chunk.digest)?;
        let limit = self.0.upload_limit(&site).await?;
        if chunk.size > limit {
            let why =
                format!("{} bytes are more than the {limit} of this round's update", chunk.size);
            return Err(Reject::Argument(why).into());
        }
        self.0.alive(&site).await?;
        let stat =
            self.0.blobs.append(&site, &digest, chunk.size, chunk.offset, &chunk.data).await?;
        Ok(Response::new(PutChunkReply { stored: stat.stored, complete: stat.complete }))
    }

    async fn get_chunk(
        &self,
        request: Request<GetChunkRequest>,
    ) -> Result<Response<GetChunkReply>, Status> {
        let (site, _) = Caller::site(&request)?;
        let request = request.into_inner();
        let digest = digest(&request.digest)?;
        if !self.0.may_read(&site, &request.digest).await? {
            return Err(Reject::NotFound { what: format!("blob {digest}") }.into());
        }
        let (data, size) = self.0.blobs.range(&digest, request.offset, CHUNK as u64).await?;
        self.0.alive(&site).await?;
        Ok(Response::new(GetChunkReply { data: data.to_vec(), size }))
    }
}
