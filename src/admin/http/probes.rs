//! What load balancers and supervisors ask every few seconds: 200 or 503.

use super::super::status::NodeStatus;
use super::Door;
use super::answer::Refusal;
use crate::config::units::parse_duration;
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(door): State<Arc<Door>>) -> Response {
    let reasons = door.inspect.status().not_ready();
    if reasons.is_empty() {
        return Json(json!({ "ready": true })).into_response();
    }
    let hint = "primacy status shows the nodes";
    let body = json!({ "error": "not ready", "hint": hint, "reasons": reasons });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

pub(super) async fn primary(
    State(door): State<Arc<Door>>,
    cluster: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Refusal> {
    let Path(cluster) = cluster?;
    let status = door.inspect.status();
    let cluster = status.cluster(&cluster)?;
    match cluster.live_primary() {
        Some(node) => Ok(Json(json!({ "node": node.name, "address": node.address, "epoch": cluster.epoch }))),
        None => {
            let error = format!("cluster \"{}\" has no primary that answers", cluster.name);
            Err(Refusal::unavailable(error, "writes wait; primacy status shows the nodes"))
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplicaQuery {
    max_lag: Option<String>,
}

pub(super) async fn replica(
    State(door): State<Arc<Door>>,
    cluster: Result<Path<String>, PathRejection>,
    query: Result<Query<ReplicaQuery>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Path(cluster) = cluster?;
    let Query(query) = query?;
    let max_lag = query.max_lag.as_deref().map(seconds).transpose()?;
    let status = door.inspect.status();
    let cluster = status.cluster(&cluster)?;
    let nodes: Vec<&NodeStatus> = cluster.nodes.iter().filter(|node| node.reads_within(max_lag)).collect();
    if nodes.is_empty() {
        let error = format!("cluster \"{}\" has no replica that may serve reads", cluster.name);
        return Err(Refusal::unavailable(
            error,
            "primacy status shows the nodes and how far behind they are",
        ));
    }
    let rows = nodes
        .iter()
        .map(|node| json!({ "node": node.name, "address": node.address, "lag_seconds": node.lag_seconds }));
    Ok(Json(json!({ "replicas": rows.collect::<Vec<_>>() })))
}

fn seconds(text: &str) -> Result<f64, Refusal> {
    parse_duration(text).map(|lag| lag.as_secs_f64()).ok_or_else(|| {
        let error = format!("max_lag=\"{text}\" is not a duration");
        Refusal::new(StatusCode::BAD_REQUEST, error, "write 250ms, 5s or 2m")
    })
}
