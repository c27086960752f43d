//! `/api/v1`: the status as JSON, why a statement goes where it goes, and commands.

use super::super::command::{Command, Scope, nearest};
use super::super::status::{Explanation, Status};
use super::answer::Refusal;
use super::{Door, guard};
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

// What follows the promise of the interface but is not built: said so instead of "unknown".
const LATER: [&str; 4] = ["switchover", "failover", "maintenance", "adopt"];
const GLOBAL: [&str; 6] = ["reload", "pause", "resume", "kill", "reconnect", "shutdown"];
const OF_CLUSTER: [&str; 6] = ["pause", "resume", "kill", "reconnect", "drain", "undrain"];

pub(super) async fn status(State(door): State<Arc<Door>>) -> Json<Status> {
    Json(door.inspect.status())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainQuery {
    sql: String,
    database: Option<String>,
}

// Nothing changes, but a statement's text may be secret and the answer tells of the schema.
pub(super) async fn explain(
    State(door): State<Arc<Door>>,
    cluster: Result<Path<String>, PathRejection>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Explanation>, Refusal> {
    guard::proved(&door, &headers)?;
    let (Path(cluster), Query(query)) = (cluster?, query?);
    Ok(Json(door.inspect.explain(&cluster, query.database.as_deref(), &query.sql)?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandQuery {
    database: Option<String>,
    node: Option<String>,
    #[serde(default)]
    now: bool,
}

pub(super) async fn command(
    State(door): State<Arc<Door>>,
    verb: Result<Path<String>, PathRejection>,
    query: Result<Query<CommandQuery>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let (Path(verb), Query(query)) = (verb?, query?);
    if query.node.is_some()
        || (query.now && verb != "shutdown")
        || (query.database.is_some() && !scoped(&verb))
    {
        return Err(misplaced(&verb));
    }
    let command = match verb.as_str() {
        "reload" => Command::Reload,
        "shutdown" => Command::Shutdown { drain: !query.now },
        _ => match on_scope(&verb, Scope { cluster: None, database: query.database }) {
            Some(command) => command,
            None => return Err(unknown(&verb, &GLOBAL)),
        },
    };
    run(&door, command).await
}

pub(super) async fn cluster_command(
    State(door): State<Arc<Door>>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<CommandQuery>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let (Path((cluster, verb)), Query(query)) = (path?, query?);
    door.inspect.status().cluster(&cluster)?;
    let about_node = verb == "drain" || verb == "undrain";
    if query.now || (query.node.is_some() && !about_node) || (query.database.is_some() && !scoped(&verb)) {
        return Err(misplaced(&verb));
    }
    let command = match (verb.as_str(), query.node) {
        ("drain", Some(node)) => Command::Drain { cluster, node },
        ("undrain", Some(node)) => Command::Undrain { cluster, node },
        ("drain" | "undrain", None) => {
            let error = format!("{verb} needs to know which node");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, error, "add ?node=NAME"));
        }
        _ => match on_scope(&verb, Scope { cluster: Some(cluster), database: query.database }) {
            Some(command) => command,
            None => return Err(unknown(&verb, &OF_CLUSTER)),
        },
    };
    run(&door, command).await
}

pub(super) async fn kill_client(
    State(door): State<Arc<Door>>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<Value>, Refusal> {
    let Path(id) = id?;
    run(&door, Command::KillClient { id }).await
}

fn scoped(verb: &str) -> bool {
    on_scope(verb, Scope::default()).is_some()
}

fn on_scope(verb: &str, scope: Scope) -> Option<Command> {
    match verb {
        "pause" => Some(Command::Pause(scope)),
        "resume" => Some(Command::Resume(scope)),
        "kill" => Some(Command::Kill(scope)),
        "reconnect" => Some(Command::Reconnect(scope)),
        _ => None,
    }
}

fn unknown(verb: &str, known: &[&'static str]) -> Refusal {
    if LATER.contains(&verb) {
        let hint = "this version follows a change of primary, it does not make one";
        return Refusal::new(StatusCode::NOT_IMPLEMENTED, format!("{verb} is not built yet"), hint);
    }
    let hint = match nearest(verb, known.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("there is: {}", known.join(", ")),
    };
    Refusal::new(StatusCode::NOT_FOUND, format!("there is no command \"{verb}\""), hint)
}

fn misplaced(verb: &str) -> Refusal {
    let hint = "database goes with pause, resume, kill and reconnect; node with a cluster's drain and undrain; now with shutdown";
    Refusal::new(StatusCode::BAD_REQUEST, format!("{verb} does not take these parameters"), hint)
}

async fn run(door: &Door, command: Command) -> Result<Json<Value>, Refusal> {
    tracing::info!(?command, "command over HTTP");
    let done = door.inspect.command(command).await?;
    Ok(Json(json!({ "done": done })))
}
