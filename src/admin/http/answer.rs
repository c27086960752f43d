//! How it is said that something was not done: a status, and JSON with the error and what to do.

use super::super::command::CommandError;
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Something that was not done.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: String,
    hint: Option<String>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, error: error.into(), hint: Some(hint.into()) }
    }

    pub(super) fn unavailable(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error, hint)
    }

    pub(super) fn broken(error: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error, "the log says more")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.error, "hint": self.hint }));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Self {
        let status = match error {
            CommandError::Unknown { .. } => StatusCode::NOT_FOUND,
            CommandError::Refused { .. } => StatusCode::CONFLICT,
            CommandError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, error: error.to_string(), hint: error.hint() }
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, rejection.body_text(), "check the part after the question mark")
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, rejection.body_text(), "check the path")
    }
}

pub(super) async fn no_such_path(uri: Uri) -> Refusal {
    let hint = "there is /healthz, /readyz, /metrics, /clusters/{c}/primary, /clusters/{c}/replica, /api/v1/status, \
                /api/v1/clusters/{c}/explain, and POST /api/v1/…";
    Refusal::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()), hint)
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    let hint = "what changes something is a POST with the token, everything else a GET";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()), hint)
}
