//! The gRPC services: decode, one call, encode. Who may call is decided in [`auth`].

mod auth;
mod blob;
mod enrolment;
mod participant;
mod run;
mod socket;
mod status;
mod task;
mod view;

use std::sync::Arc;

use chancery_proto::request::BODY_LIMIT;
use chancery_proto::wire::blob_server::BlobServer;
use chancery_proto::wire::enrolment_server::EnrolmentServer;
use chancery_proto::wire::participant_server::ParticipantServer;
use chancery_proto::wire::run_server::RunServer;
use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use crate::app::App;
use crate::error::Error;
pub(crate) use socket::SocketBytes;

/// Serves until `stop`.
pub(crate) async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let connections =
        TcpListenerStream::new(listener).map(|stream| stream.map(socket::Counted::new));
    let (chain, key) = &app.authority.server;
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(chain, key.as_bytes()))
        .client_ca_root(Certificate::from_pem(app.authority.certificate_pem()))
        // Enrolment comes before a certificate; every other call is refused without a signature.
        .client_auth_optional(true);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ParticipantServer<participant::Service>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(chancery_proto::wire::DESCRIPTORS)
        .build_v1()
        .map_err(|e| Error::State(e.to_string()))?;
    Server::builder()
        .tls_config(tls)?
        .layer(auth::AuthLayer::new(Arc::clone(&app)))
        .add_service(health_service)
        .add_service(reflection)
        .add_service(EnrolmentServer::new(enrolment::Service(Arc::clone(&app))))
        .add_service(
            ParticipantServer::new(participant::Service(Arc::clone(&app)))
                .max_decoding_message_size(BODY_LIMIT),
        )
        .add_service(
            BlobServer::new(blob::Service(Arc::clone(&app))).max_decoding_message_size(BODY_LIMIT),
        )
        .add_service(RunServer::new(run::Service(app)))
        .serve_with_incoming_shutdown(connections, stop)
        .await?;
    Ok(())
}
