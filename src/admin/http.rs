//! The operator's door over HTTP: probes, metrics, status, commands. One listener, on a runtime of its own.

mod answer;
mod api;
mod guard;
mod probes;
mod serve;

pub use serve::serve;

use super::status::Inspect;
use super::token::Token;
use arc_swap::ArcSwap;
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::sync::Arc;
use std::time::Duration;

/// So long a connection may take for a request's head, and be idle between two requests.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the door opens to, and to whom.
pub struct Door {
    inspect: Arc<dyn Inspect>,
    token: ArcSwap<Token>,
    hosts: Vec<String>,
    patience: Duration,
}

impl Door {
    /// `hosts` are names under which the door may be asked for beside IP addresses, `localhost` and names without a dot.
    #[must_use]
    pub fn new(inspect: Arc<dyn Inspect>, token: Token, hosts: Vec<String>) -> Arc<Self> {
        let token = ArcSwap::from_pointee(token);
        Arc::new(Self { inspect, token, hosts, patience: PATIENCE })
    }

    /// From now on this is the token.
    pub fn set_token(&self, token: Token) {
        self.token.store(Arc::new(token));
    }
}

/// All paths.
pub fn router(door: Arc<Door>) -> Router {
    // A load balancer's check may be OPTIONS (HAProxy's default) as well as GET or HEAD.
    Router::new()
        .route("/healthz", get(probes::healthz).options(probes::healthz))
        .route("/readyz", get(probes::readyz).options(probes::readyz))
        .route("/clusters/{cluster}/primary", get(probes::primary).options(probes::primary))
        .route("/clusters/{cluster}/replica", get(probes::replica).options(probes::replica))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/clusters/{cluster}/explain", get(api::explain))
        .route("/api/v1/clusters/{cluster}/{verb}", post(api::cluster_command))
        .route("/api/v1/clients/{id}/kill", post(api::kill_client))
        .route("/api/v1/{verb}", post(api::command))
        .fallback(answer::no_such_path)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(from_fn_with_state(Arc::clone(&door), guard::check))
        .with_state(door)
}

async fn metrics(axum::extract::State(door): axum::extract::State<Arc<Door>>) -> Response {
    match super::metrics::text(&*door.inspect) {
        Ok(text) => {
            let kind = HeaderValue::from_static(crate::telemetry::metrics::CONTENT_TYPE);
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => answer::Refusal::broken("the metrics cannot be written down").into_response(),
    }
}

#[cfg(test)]
mod tests;
