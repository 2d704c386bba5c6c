//! Errors as gRPC statuses; the only place that knows both.

use tonic::{Code, Status};

use crate::error::{Error, Reject};

impl From<Reject> for Status {
    fn from(reject: Reject) -> Self {
        let code = match &reject {
            Reject::Foreign => Code::PermissionDenied,
            Reject::Lease
            | Reject::TooLate { .. }
            | Reject::Round { .. }
            | Reject::State { .. } => Code::FailedPrecondition,
            Reject::Another => Code::AlreadyExists,
            Reject::Update { .. }
            | Reject::Secagg(_)
            | Reject::Rule { .. }
            | Reject::Argument(_) => Code::InvalidArgument,
            Reject::NotFound { .. } => Code::NotFound,
            Reject::Token | Reject::Unauthenticated(_) => Code::Unauthenticated,
        };
        Self::new(code, format!("{}: {reject}", reject.code()))
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::Reject(reject) => reject.into(),
            Error::Conflict => Self::aborted("CH3201: the run was changed meanwhile; try again"),
            error => {
                // Logged once, here, and not told to the caller.
                tracing::error!(error = %error, "a call failed");
                Self::internal("CH3200: the coordinator could not do it; its log says why")
            }
        }
    }
}
