//! What a verdict costs on the warm path: one literal over and over, changing literals, and for comparison a miss.
//!
//! `cargo bench --bench verdict`

#![expect(clippy::unwrap_used, reason = "a program for the terminal")]

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use primacy::catalog::Names;
use primacy::sql::{Context, Dialect, Verdicts, judge_uncached};

fn main() {
    divan::main();
}

/// Everyday statements; `{}` is where a literal changes.
const STATEMENTS: [(&str, &str); 6] = [
    ("begin", "BEGIN"),
    ("point select", "SELECT abalance FROM pgbench_accounts WHERE aid = {}"),
    (
        "update",
        "UPDATE pgbench_accounts SET abalance = abalance + {}, note = 'changed by the batch of tonight', touched = now() \
         WHERE aid = 4711 AND bid = 7 RETURNING aid, abalance",
    ),
    (
        "insert",
        "INSERT INTO orders (id, customer_id, product_id, quantity, price, currency, status, created_at, updated_at, note) VALUES \
         ({}, 2, 3, 4, 5.5, 'EUR', 'open', '2026-01-01 10:00:00', '2026-01-01 10:00:00', 'first of many'), \
         (2, 2, 3, 4, 5.5, 'EUR', 'open', '2026-01-01 10:00:00', '2026-01-01 10:00:00', 'second of many'), \
         (3, 2, 3, 4, 5.5, 'EUR', 'open', '2026-01-01 10:00:00', '2026-01-01 10:00:00', 'third of many')",
    ),
    (
        "orm join",
        "SELECT \"orders\".\"id\", \"orders\".\"customer_id\", \"orders\".\"status\", \"customers\".\"name\", \"customers\".\"email\" \
         FROM \"orders\" INNER JOIN \"customers\" ON \"customers\".\"id\" = \"orders\".\"customer_id\" LEFT OUTER JOIN \"items\" ON \
         \"items\".\"order_id\" = \"orders\".\"id\" WHERE \"orders\".\"status\" = 'open' AND \"customers\".\"id\" = {} \
         ORDER BY \"orders\".\"id\" DESC LIMIT 20 OFFSET 40",
    ),
    (
        "cte",
        "WITH recent AS (SELECT customer_id, count(*) AS n, sum(price * quantity) AS total FROM orders WHERE created_at > now() - \
         interval '30 days' AND status IN ('open', 'paid', 'sent') GROUP BY customer_id), ranked AS (SELECT customer_id, n, total, \
         row_number() OVER (ORDER BY total DESC) AS rank FROM recent), best AS (SELECT * FROM ranked WHERE rank <= {}) SELECT \
         c.id, c.name, c.email, b.n, b.total, b.rank, coalesce(c.country, 'unknown') AS country FROM best b JOIN customers c ON \
         c.id = b.customer_id WHERE c.deleted_at IS NULL AND c.kind <> 'test' ORDER BY b.rank",
    ),
];

fn names() -> impl Iterator<Item = &'static str> {
    STATEMENTS.iter().map(|(name, _)| *name)
}

fn statement(name: &str) -> &'static str {
    STATEMENTS.iter().find(|(known, _)| *known == name).unwrap().1
}

fn with_literal(statement: &str, literal: usize) -> String {
    statement.replace("{}", &literal.to_string())
}

fn context(names: &Names) -> Context<'_> {
    Context { names: Some(names), ..Context::bare(Dialect::Postgres, 18) }
}

#[divan::bench(args = names())]
fn one_literal(bencher: Bencher<'_, '_>, name: &str) {
    let names = Names::default();
    let context = context(&names);
    let verdicts = Verdicts::new(10_000);
    let text = with_literal(statement(name), 4711);
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| verdicts.judge(black_box(text.as_bytes()), black_box(&context)));
}

#[divan::bench(args = names())]
fn changing_literals(bencher: Bencher<'_, '_>, name: &str) {
    let names = Names::default();
    let context = context(&names);
    let verdicts = Verdicts::new(10_000);
    let texts: Vec<String> = (0..1024).map(|literal| with_literal(statement(name), literal * 7919)).collect();
    let mut at = 0;
    bencher.bench_local(|| {
        at = (at + 1) % texts.len();
        verdicts.judge(black_box(texts[at].as_bytes()), black_box(&context))
    });
}

#[divan::bench(args = names())]
fn shape_alone(bencher: Bencher<'_, '_>, name: &str) {
    let names = Names::default();
    let context = context(&names);
    let verdicts = Verdicts::new(1);
    let text = with_literal(statement(name), 4711);
    bencher.bench_local(|| verdicts.shape(black_box(text.as_bytes()), black_box(&context)));
}

#[divan::bench(args = names())]
fn a_miss(bencher: Bencher<'_, '_>, name: &str) {
    let names = Names::default();
    let context = context(&names);
    let text = with_literal(statement(name), 4711);
    bencher.bench_local(|| judge_uncached(black_box(text.as_bytes()), black_box(&context)));
}
