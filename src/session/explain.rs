//! `EXPLAIN ROUTE`: why a statement would go where it would go, by the very code that sends it there.

use super::core::Core;
use super::plan::Plan;
use super::reading::Reading;
use super::shared::{Shared, pool_settings};
use super::unit::Attempt;
use super::{ask, deferred, judge, local};
use crate::catalog::{Catalog, Cleared};
use crate::clock::{self, Tick};
use crate::cluster::{ClusterView, Health};
use crate::config::settings::{Consistency, RouteSetting, Routing};
use crate::engine::Certainty;
use crate::engine::seam::{Answer, Engine, Exchange, Part};
use crate::error::ClientError;
use crate::routing::{self, Ask, Choice, Explained, LeftOut, Why};
use crate::sql::{Lexing, Reason, Transaction, Verdict, explained_route};

/// (step, what was found)
type Rows = Vec<(String, String)>;

/// The statement that the framed segment wants explained, if it begins with `EXPLAIN ROUTE`.
pub(super) fn wanted<X: Exchange>(exchange: &X, lexing: Lexing) -> Option<&[u8]> {
    let (Part::Text(text) | Part::Prepare { text, .. }) = (exchange.parts() > 0).then(|| exchange.part(0))?
    else {
        return None;
    };
    // Nearly every text is told by its first letter.
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace())?;
    if !matches!(first, b'e' | b'E' | b'/' | b'-' | b'#') {
        return None;
    }
    explained_route(text, lexing)
}

/// Answers the segment that wants a statement explained.
pub(super) async fn answer<E: Engine>(core: &mut Core<E>, exchange: &mut E::Exchange) {
    let statement = wanted(exchange, core.reading.lexing).map(<[u8]>::to_vec).unwrap_or_default();
    let texts = (0..exchange.parts())
        .filter(|index| matches!(exchange.part(*index), Part::Text(_) | Part::Prepare { .. }))
        .count();
    let runs = (0..exchange.parts())
        .any(|index| matches!(exchange.part(index), Part::Text(_) | Part::Use { runs: true, .. }));
    if texts != 1 || !runs || exchange.is_mid_unit() {
        let error =
            ClientError::new("0A000", 1235, "EXPLAIN ROUTE must be sent alone, and run as it is sent")
                .hint("send it as a simple query");
        return exchange.refuse(&error, core.client_tx());
    }
    let lines: Vec<String> =
        inside(core, &statement).await.into_iter().map(|(step, found)| format!("{step}: {found}")).collect();
    exchange
        .answer(&[(0, Answer::Rows { column: "ROUTE", values: &lines, tag: "EXPLAIN" })], core.client_tx());
}

async fn inside<E: Engine>(core: &Core<E>, statement: &[u8]) -> Rows {
    let mut plan = judge::text(core, statement).await;
    plan.apart = deferred::reads_apart(core, &plan);
    let settings = core.shared.settings.load_full();
    let now = clock::now();
    let ask = ask::ask(core, &settings, &plan, &mut Attempt::default(), now);
    let view = core.shared.state.view.load_full();
    let routing = core.routing(&settings);
    let explained = routing::explain(&ask, &view, routing, &core.shared.balancer);
    let mut rows =
        statement_rows(&plan, |verdict| core.lane.catalog.cleared(&core.reading.path, &verdict.relations));
    rows.extend(ask_rows(&ask, now));
    rows.extend(node_rows(&explained, &ask, &view));
    rows.push(match &core.held {
        None if deferred::begins(core, &plan).is_some() => row(
            "goes to",
            "nobody yet: the transaction's reads run as they would outside of it, until it does more (reads_in_transactions)",
        ),
        Some(held) => {
            let why = core.pin.map_or("a transaction is open", |pin| pin.reason.word());
            row(
                "goes to",
                format!("{}: the session keeps its connection there ({why})", core.node_name(held.node)),
            )
        }
        None => choice_row(&explained, &view),
    });
    rows
}

/// The same outside of any session: as a client would be served that has written and read nothing yet. What is not known yet of the
/// database is not asked for.
#[must_use]
pub fn outside<E: Engine>(shared: &Shared<E>, database: Option<&str>, statement: &str) -> Rows {
    let settings = shared.settings.load_full();
    let found = settings.databases.iter().find(|known| Some(&*known.alias) == database);
    let real = found.map(|known| &*known.name).or(database);
    let catalog = real.map(|name| shared.catalogs.of(&std::sync::Arc::from(name))).unwrap_or_default();
    let reading = Reading {
        path: "\"$user\", public".into(),
        path_key: 0,
        lexing: Lexing::new(E::DIALECT),
        server_major: shared.server_major(),
    };
    let (generation, names) = catalog.known();
    let known = (generation, names.as_deref());
    let mut plan = Plan::of_text(statement.as_bytes(), &judge::judge(shared, &catalog, known, &reading));
    for verdict in std::mem::take(&mut plan.unknown) {
        plan.add_doubt(&verdict);
    }
    let routing = found.and_then(|known| known.routing.as_ref()).unwrap_or(&settings.routing);
    let now = clock::now();
    let mut ask =
        fresh_ask(&plan, routing, pool_settings(&settings, "", database.unwrap_or_default()).mode, now);
    if let (Consistency::Causal, Some(name)) = (ask.consistency, real) {
        ask.floor = shared.writes(name).get();
    }
    let view = shared.state.view.load_full();
    let explained = routing::explain(&ask, &view, routing, &shared.balancer);
    let mut rows = statement_rows(&plan, |verdict| clears(&catalog, &reading, verdict));
    if names.is_none() {
        rows.push(row(
            "catalog",
            "not asked yet: no session has used this database since the start or its last change",
        ));
    }
    rows.extend(ask_rows(&ask, now));
    rows.extend(node_rows(&explained, &ask, &view));
    rows.push(choice_row(&explained, &view));
    rows
}

fn clears(catalog: &Catalog, reading: &Reading, verdict: &Verdict) -> Cleared {
    catalog.cleared(&reading.path, &verdict.relations)
}

fn fresh_ask(plan: &Plan, routing: &Routing, mode: crate::config::settings::PoolMode, now: Tick) -> Ask {
    let consistency = plan.level.unwrap_or(routing.consistency);
    ask::by_plan(plan, consistency, RouteSetting::Auto, mode, now)
}

fn row(step: impl Into<String>, found: impl Into<String>) -> (String, String) {
    (step.into(), found.into())
}

fn statement_rows(plan: &Plan, cleared: impl Fn(&Verdict) -> Cleared) -> Rows {
    let mut rows = vec![row("class", plan.class.to_string())];
    if let Some(verdict) = &plan.verdict {
        rows.push(row("why", because(verdict)));
        if !verdict.relations.is_empty() {
            rows.push(row("relations", relations(verdict, &cleared(verdict))));
        }
    }
    if plan.doubt {
        rows.push(row("doubt", "it may only seem to write: a hint or rule may send it to a replica"));
    }
    match plan.transaction {
        Transaction::None => {}
        Transaction::Begin { read_only: Some(true), .. } => {
            rows.push(row("transaction", "begins, read only"))
        }
        Transaction::Begin { .. } => rows.push(row("transaction", "begins: the primary's, unless READ ONLY")),
        _ => rows.push(row("transaction", "control: it stays where its transaction is")),
    }
    let none =
        if super::listen::concerns(plan) { "no: the proxy listens for it, where it can" } else { "no" };
    let pin = plan.pin.map_or_else(
        || none.to_owned(),
        |pin| match pin.certainty {
            Certainty::Known => format!("yes, {}", pin.reason.word()),
            Certainty::Possible => format!("perhaps, {}: it could not be cleared", pin.reason.word()),
        },
    );
    rows.push(row("keeps its connection", pin));
    rows
}

fn because(verdict: &Verdict) -> String {
    let word = verdict.reason.word();
    let about = match &verdict.reason {
        Reason::Function(name) | Reason::NodeLocal(name) | Reason::Operator(name) => format!("{word} {name}"),
        _ => word.to_owned(),
    };
    if verdict.command.is_empty() { about } else { format!("{about} ({})", verdict.command) }
}

fn relations(verdict: &Verdict, cleared: &Cleared) -> String {
    let name = |relation: &crate::sql::Relation| {
        let dot = if relation.schema.is_empty() { "" } else { "." };
        format!("{}{dot}{}", relation.schema, relation.name)
    };
    let names: Vec<_> = verdict.relations.iter().map(name).collect();
    let found = match cleared {
        Cleared::Yes { primary_only: false, .. } => "run nothing of unknown effect".to_owned(),
        Cleared::Yes { primary_only: true, .. } => "can be read on the primary only".to_owned(),
        Cleared::Writes(why) => format!("{why}: it may write"),
        Cleared::No(why) => format!("not cleared, {why}: in doubt it writes"),
        Cleared::Unknown => "not known: in doubt it writes".to_owned(),
    };
    format!("{}: {found}", names.join(", "))
}

fn ask_rows(ask: &Ask, now: Tick) -> Rows {
    let mut rows = Rows::new();
    let wish = |route| match route {
        RouteSetting::Auto => "auto",
        RouteSetting::Primary => "primary",
        RouteSetting::Replica => "replica",
    };
    if let Some(hint) = ask.hint {
        rows.push(row("hint", wish(hint)));
    }
    if ask.route != RouteSetting::Auto {
        rows.push(row("setting", format!("primacy.route is {}", wish(ask.route))));
    }
    rows.push(row(
        "consistency",
        match ask.consistency {
            Consistency::Eventual => "eventual".to_owned(),
            Consistency::Strong => "strong: the primary answers".to_owned(),
            level if ask.floor == Tick::ZERO => {
                format!("{}, nothing written or read yet", local::word(level))
            }
            level => {
                let ago = now.since(ask.floor).as_secs_f64();
                format!("{}: a replica must have seen the writes of {ago:.3}s ago", local::word(level))
            }
        },
    ));
    rows
}

fn node_rows(explained: &Explained, ask: &Ask, view: &ClusterView) -> Rows {
    let found = |candidate: &routing::Candidate| {
        let Some(left_out) = candidate.left_out else { return "can serve a read".to_owned() };
        let node = view.node(candidate.node);
        let more = node.and_then(|node| match left_out {
            LeftOut::Down | LeftOut::Quarantined => match &node.health {
                Health::Down(why) | Health::Quarantined(why) => Some(why.to_string()),
                _ => None,
            },
            LeftOut::Unfit => node.unfit.as_ref().map(ToString::to_string),
            LeftOut::Lag => Some(format!("{:.3}s behind", node.live.lag().as_secs_f64())),
            LeftOut::NotFresh if node.live.fresh_as_of() == Tick::ZERO => {
                Some("nothing is known of it yet".to_owned())
            }
            LeftOut::NotFresh => Some(format!(
                "has seen the writes of {:.3}s ago",
                ask.now.since(node.live.fresh_as_of()).as_secs_f64()
            )),
            _ => None,
        });
        match more {
            Some(more) => format!("left out, {}: {more}", left_out.word()),
            None => format!("left out, {}", left_out.word()),
        }
    };
    explained.candidates.iter().map(|one| row(format!("node {}", one.name), found(one))).collect()
}

fn choice_row(explained: &Explained, view: &ClusterView) -> (String, String) {
    let name = |id| view.node(id).map_or("?", |node| &*node.name);
    let why = about(explained.why);
    let found = match (explained.choice, view.primary) {
        (Choice::Node(id), _) => format!("{}: {why}", name(id)),
        (Choice::Primary, Some(id)) => format!("{}, the primary: {why}", name(id)),
        (Choice::Primary, None) => {
            format!(
                "the primary: {why}; there is none now ({}): it waits",
                view.no_primary.as_deref().unwrap_or("?")
            )
        }
        (Choice::Wait, _) => format!("a replica as soon as one is fresh enough, else the primary: {why}"),
        (Choice::Nobody, _) => format!("nobody: {why}, and routing.reads_on_primary is never"),
    };
    row("goes to", found)
}

fn about(why: Why) -> &'static str {
    match why {
        Why::Class => "it writes, or may",
        Why::NodeLocal => "it is about the server itself",
        Why::Hint => "its hint says so",
        Why::Setting => "the session's setting says so",
        Why::Strong => "it must see what anybody wrote",
        Why::Sticky => "the session read there last",
        Why::Drawn => "drawn among the nodes that can serve it",
        Why::NoReplica => "no replica serves reads",
        Why::ReplicasOut => "no replica can be used",
        Why::Lag => "every replica is too far behind",
        Why::NotFresh => "no replica is fresh enough",
    }
}
