//! The site's one outbound connection: signed calls, and blobs that resume where they were cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chancery_proto::Signed;
use chancery_proto::request::{BODY_LIMIT, CHUNK};
use chancery_proto::wire::blob_client::BlobClient;
use chancery_proto::wire::participant_client::ParticipantClient;
use chancery_proto::wire::{
    Confirmation, Evaluation, GetChunkRequest, GetReceiptsReply, GetReceiptsRequest, Keys,
    NextTaskRequest, Progress, ProgressReply, PutChunkRequest, Receipt, Release, Shares,
    StatRequest, Task, Update,
};
use chancery_provenance::Digest;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use crate::error::Error;
use crate::home::Home;

/// The longest pause between two tries of a call that may succeed later.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One call, again and again until it is answered for good.
macro_rules! submit {
    ($client:ident, $call:ident, $message:ident, $what:literal) => {
        persist(|| async {
            let mut client = $client.participant.clone();
            client
                .$call($message.clone())
                .await
                .map(tonic::Response::into_inner)
                .map_err(|status| refused($what, status))
        })
        .await
    };
}

/// A site's calls to its coordinator. Clones share one connection.
#[derive(Clone)]
pub struct Client {
    participant: ParticipantClient<Signed<Channel>>,
    blob: BlobClient<Signed<Channel>>,
    traffic: Arc<Traffic>,
}

/// Bytes of blobs that crossed the connection.
#[derive(Debug, Default)]
pub struct Traffic {
    up: AtomicU64,
    down: AtomicU64,
}

impl Traffic {
    /// Bytes sent.
    pub fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    /// Bytes received.
    pub fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }
}

impl Client {
    /// A client for the coordinator that `home` has joined. Connects at the first call.
    pub fn new(home: &Home) -> Result<Self, Error> {
        let url = &home.site().coordinator;
        let (certificate, authority) = home.certificates()?;
        let key = home.key().to_pkcs8_pem();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(authority))
            .identity(Identity::from_pem(certificate, key.as_bytes()));
        let channel = endpoint(url)?
            .tls_config(tls)
            .map_err(|source| Error::Unreachable { url: url.clone(), source })?
            .connect_lazy();
        let signed = Signed::new(channel, home.caller());
        Ok(Self {
            participant: ParticipantClient::new(signed.clone())
                .max_decoding_message_size(BODY_LIMIT),
            blob: BlobClient::new(signed).max_decoding_message_size(BODY_LIMIT),
            traffic: Arc::default(),
        })
    }

    /// Bytes of blobs so far.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Asks for work.
    pub async fn next_task(&self, request: NextTaskRequest) -> Result<Task, Error> {
        let mut client = self.participant.clone();
        client
            .next_task(request)
            .await
            .map(tonic::Response::into_inner)
            .map_err(|status| refused("to give work", status))
    }

    /// Says that a task is alive.
    pub async fn report_progress(&self, progress: Progress) -> Result<ProgressReply, Error> {
        let mut client = self.participant.clone();
        client
            .report_progress(progress)
            .await
            .map(tonic::Response::into_inner)
            .map_err(|status| refused("a progress report", status))
    }

    /// Hands in the round's keys, as often as it takes.
    pub async fn submit_keys(&self, keys: &Keys) -> Result<Receipt, Error> {
        submit!(self, submit_keys, keys, "the round's keys")
    }

    /// Hands in sealed shares, as often as it takes.
    pub async fn submit_shares(&self, shares: &Shares) -> Result<Receipt, Error> {
        submit!(self, submit_shares, shares, "the sealed shares")
    }

    /// Hands in an update, as often as it takes.
    pub async fn submit_update(&self, update: &Update) -> Result<Receipt, Error> {
        submit!(self, submit_update, update, "the update")
    }

    /// Hands in a signature over the survivors, as often as it takes.
    pub async fn submit_confirmation(&self, signed: &Confirmation) -> Result<Receipt, Error> {
        submit!(self, submit_confirmation, signed, "the confirmation")
    }

    /// Hands in released shares, as often as it takes.
    pub async fn submit_release(&self, release: &Release) -> Result<Receipt, Error> {
        submit!(self, submit_release, release, "the released shares")
    }

    /// Hands in an evaluation, as often as it takes.
    pub async fn submit_evaluation(&self, evaluation: &Evaluation) -> Result<Receipt, Error> {
        submit!(self, submit_evaluation, evaluation, "the evaluation")
    }

    /// Receipts of a run from a round on; none when there are no more.
    pub async fn receipts(&self, run: &str, from: u32) -> Result<Vec<String>, Error> {
        let request = GetReceiptsRequest { run: run.to_owned(), from };
        let request = &request;
        let reply: Result<GetReceiptsReply, Error> =
            submit!(self, get_receipts, request, "the run's receipts");
        reply.map(|reply| reply.receipts)
    }

    /// Stores `bytes` under their digest; goes on from the last acknowledged chunk.
    pub async fn upload(&self, bytes: &Bytes) -> Result<Digest, Error> {
        let digest = Digest::of(bytes);
        persist(|| self.upload_rest(&digest, bytes)).await?;
        Ok(digest)
    }

    async fn upload_rest(&self, digest: &Digest, bytes: &Bytes) -> Result<(), Error> {
        let mut blob = self.blob.clone();
        let stat = blob
            .stat(StatRequest { digest: digest.to_string() })
            .await
            .map_err(|status| refused("to say what it holds", status))?
            .into_inner();
        let mut complete = stat.complete;
        let mut stored = usize::try_from(stat.stored).unwrap_or(0).min(bytes.len());
        while !complete {
            let end = bytes.len().min(stored + CHUNK);
            let reply = blob
                .put_chunk(PutChunkRequest {
                    digest: digest.to_string(),
                    size: bytes.len() as u64,
                    offset: stored as u64,
                    data: bytes.slice(stored..end).to_vec(),
                })
                .await
                .map_err(|status| refused("a chunk", status))?
                .into_inner();
            self.traffic.up.fetch_add((end - stored) as u64, Ordering::Relaxed);
            let now = usize::try_from(reply.stored).unwrap_or(0).min(bytes.len());
            complete = reply.complete;
            if now <= stored && !complete {
                return Err(Error::Refused {
                    call: "a chunk",
                    message: "it acknowledged nothing".to_owned(),
                    status: Code::Aborted,
                });
            }
            stored = now;
        }
        Ok(())
    }

    /// Fetches the blob `digest` of at most `cap` bytes and checks it.
    pub async fn download(&self, digest: &Digest, cap: usize) -> Result<Bytes, Error> {
        let mut bytes = Vec::new();
        loop {
            let offset = bytes.len() as u64;
            let reply = persist(|| async {
                let mut blob = self.blob.clone();
                blob.get_chunk(GetChunkRequest { digest: digest.to_string(), offset })
                    .await
                    .map(tonic::Response::into_inner)
                    .map_err(|status| refused("to give the adapter", status))
            })
            .await?;
            self.traffic.down.fetch_add(reply.data.len() as u64, Ordering::Relaxed);
            let size = usize::try_from(reply.size).unwrap_or(usize::MAX);
            if size > cap || (reply.data.is_empty() && bytes.len() < size) {
                return Err(Error::Digest { digest: digest.to_string() });
            }
            bytes.extend_from_slice(&reply.data);
            if bytes.len() >= size {
                break;
            }
        }
        if Digest::of(&bytes) != *digest {
            return Err(Error::Digest { digest: digest.to_string() });
        }
        Ok(bytes.into())
    }
}

/// Tries a call again while it may succeed later; slow is not dead, and neither is restarting.
pub(crate) async fn persist<T, F>(mut call: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut pause = Duration::from_millis(200);
    loop {
        match call().await {
            Err(error) if error.is_passing() => {
                tracing::debug!(error = %error, "the call is tried again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            done => return done,
        }
    }
}

/// The address with the connection's settings.
pub(crate) fn endpoint(url: &str) -> Result<Endpoint, Error> {
    let bad = || Error::Url { url: url.to_owned() };
    if !url.starts_with("https://") {
        return Err(bad());
    }
    Ok(Endpoint::from_shared(url.to_owned())
        .map_err(|_| bad())?
        .connect_timeout(Duration::from_secs(10))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_while_idle(true))
}

/// A gRPC status as this crate's error.
pub(crate) fn refused(call: &'static str, status: Status) -> Error {
    Error::Refused { call, message: status.message().to_owned(), status: status.code() }
}
