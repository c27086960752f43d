//! Promise: what is called a read runs no user's code and writes nothing. The server itself is the judge: it runs generated texts,
//! read only, and tells which of them ran a user's function or tried to write; none of those may be called a read.

use crate::support::shared::Servers;
use primacy::catalog::names::NewRoutine;
use primacy::catalog::{Does, Names};
use primacy::engine::Class;
use primacy::sql::{Context, Dialect, judge_uncached};
use std::fmt::Write;

const TABLE: &str = include_str!("statements/postgres.txt");

/// A user's code in every disguise that facts are known of, and a way to run texts and learn which ran it.
const SET_UP: &str = r"
CREATE TABLE t (a int, b int);
INSERT INTO t SELECT g, g FROM generate_series(1, 3) g;
CREATE SEQUENCE sq;
CREATE FUNCTION touch(int) RETURNS int LANGUAGE plpgsql AS $f$ BEGIN RAISE 'touched' USING errcode = 'TT001'; END $f$;
CREATE FUNCTION total(t) RETURNS int LANGUAGE sql AS 'SELECT touch(1)';
CREATE FUNCTION op(int, int) RETURNS int LANGUAGE sql AS 'SELECT touch(1)';
CREATE OPERATOR ### (leftarg = int, rightarg = int, function = op);
CREATE FUNCTION positive(int) RETURNS bool LANGUAGE sql AS 'SELECT touch(1) > 0';
CREATE DOMAIN positive AS int CHECK (positive(value));
CREATE FUNCTION caught(texts text[]) RETURNS SETOF int LANGUAGE plpgsql AS $f$
BEGIN
  FOR i IN 1 .. cardinality(texts) LOOP
    BEGIN
      EXECUTE texts[i];
    EXCEPTION WHEN OTHERS THEN
      IF sqlstate IN ('TT001', '25006') THEN RETURN NEXT i - 1; END IF;
    END;
  END LOOP;
END $f$;
SET escape_string_warning = off;
SET backslash_quote = on;
SET client_min_messages = error;
SET default_transaction_read_only = on;
";

fn names() -> Names {
    let mut names = Names::default();
    let does = Does::UNKNOWN;
    let routines = ["touch", "total", "op", "positive", "caught"];
    names.add_routines(routines.map(|name| NewRoutine {
        schema: "public",
        name,
        arguments: (0, u16::MAX),
        does,
    }));
    names.add_attribute("total", does);
    names.add_operator("###", does);
    names.add_type("positive", does);
    names
}

/// Runs `texts` on the server; returns how many it caught. None of them may be a read.
async fn caught(client: &tokio_postgres::Client, texts: &[String], standard_strings: bool) -> usize {
    let on = if standard_strings { "on" } else { "off" };
    client.batch_execute(&format!("SET standard_conforming_strings = {on}")).await.unwrap();
    let rows = client.query("SELECT caught($1)", &[&texts]).await.unwrap();
    let names = names();
    let mut context = Context { names: Some(&names), ..Context::bare(Dialect::Postgres, 18) };
    context.lexing.standard_conforming_strings = standard_strings;
    for row in &rows {
        let text = &texts[usize::try_from(row.get::<_, i32>(0)).unwrap()];
        let verdict = judge_uncached(text.as_bytes(), &context);
        assert_ne!(verdict.class, Class::Read, "the server ran a user's code or refused a write: {text}");
    }
    rows.len()
}

async fn client() -> tokio_postgres::Client {
    let servers = Servers::postgres().await;
    let database = servers.fresh_database().await;
    // The owner, no superuser: some texts of the table would act on the server.
    let primary = &servers.endpoints[0];
    let client = database.connect(&primary.host, primary.port).await.unwrap();
    client.batch_execute(SET_UP).await.unwrap();
    client
}

/// A small generator: the texts are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

/// Whatever opens, closes or escapes something, and a call between.
const PIECES: [&str; 56] = [
    "'",
    "''",
    "\\",
    "\\'",
    "$$",
    "$a$",
    "$a",
    "E'",
    "e'",
    "U&'",
    "u&\"",
    "b'",
    "x'",
    "n'",
    "/*",
    "*/",
    "--",
    "\n",
    " \n ",
    "\r",
    "touch(1)",
    ",",
    "1",
    "\"",
    "\"\"",
    " ",
    "a",
    "$1",
    "1e",
    "1.",
    "::text",
    ";",
    "select touch(1)",
    "+",
    "-",
    "/",
    "*",
    "@",
    "é",
    "_",
    "e",
    "'1'",
    "'\n'",
    "'--\n'",
    "' -- x\n'",
    "/*/",
    "/**/",
    "//*",
    "\t",
    "1$a$",
    "a$a$",
    "$é$",
    " from t r",
    "E'\\''",
    "E'a'",
    "$$1$$",
];

#[tokio::test(flavor = "multi_thread")]
async fn quotes_and_comments_are_read_like_the_server_reads_them() {
    let client = client().await;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for standard_strings in [true, false] {
        let mut texts = Vec::new();
        for _ in 0..20_000 {
            let mut text =
                format!("select {}", dice.pick(&["", "1,", "'a'", "touch(1)", "'", "E'", "$$", "/*"]));
            for _ in 0..dice.roll(10) {
                text.push_str(dice.pick(&PIECES));
            }
            text.push_str(dice.pick(&["", "'", "$$", "*/", "\n", "touch(1)", ", touch(1)"]));
            texts.push(text);
        }
        let caught = caught(&client, &texts, standard_strings).await;
        assert!(caught > 100, "only {caught} texts ran the user's code: the test proves nothing");
    }
}

/// Builds queries with at most one piece of a user's code somewhere in them.
pub struct Builder {
    dice: Dice,
    armed: bool,
    aliases: usize,
    hot: &'static [&'static str],
    hot_relations: &'static [&'static str],
}

const HOT: [&str; 13] = [
    "touch(1)",
    "public.touch(2)",
    "\"touch\"(1)",
    "touch/**/(1)",
    "(r.total)",
    "1 ### 2",
    "1 operator(public.###) 2",
    "'5'::positive",
    "cast('5' as positive)",
    "positive '5'",
    "(select touch(1))",
    "nextval('sq')::int",
    "setval('sq', 1)::int",
];

const HOT_RELATIONS: [&str; 7] = [
    "touch(1) as #",
    "touch(1) # (a)",
    "lateral touch(1) #",
    "rows from (touch(1), generate_series(1, 2)) as # (a, b)",
    "rows from (generate_series(1, 2), touch(1)) # (a, b)",
    "t # tablesample bernoulli (touch(1))",
    "t # tablesample system (50) repeatable (touch(1))",
];

impl Builder {
    /// `hot`: what it may put in for an expression; `hot_relations`: for a relation, `#` being its alias.
    pub fn new(seed: u64, hot: &'static [&'static str], hot_relations: &'static [&'static str]) -> Self {
        Self { dice: Dice(seed), armed: true, aliases: 0, hot, hot_relations }
    }

    fn hot(&mut self) -> bool {
        let now = self.armed && self.dice.roll(8) == 0;
        self.armed &= !now;
        now
    }

    /// Replaces `E` by expressions, `R` by relations, `C` by conditions, `#` by a new alias.
    fn fill(&mut self, pattern: &str, depth: usize) -> String {
        let mut text = String::new();
        for c in pattern.chars() {
            match c {
                'E' => text.push_str(&self.expression(depth + 1)),
                'R' => text.push_str(&self.relation(depth + 1)),
                'C' => text.push_str(&self.condition(depth + 1)),
                '#' => {
                    self.aliases += 1;
                    write!(text, "x{}", self.aliases).unwrap();
                }
                c => text.push(c),
            }
        }
        text
    }

    fn expression(&mut self, depth: usize) -> String {
        if self.hot() {
            return self.dice.pick(self.hot).to_owned();
        }
        if depth > 4 {
            return self.dice.pick(&["1", "r.a", "2", "(3)", "$$4$$::int", "'7'::int", "-1"]).to_owned();
        }
        let pattern = self.dice.pick(&[
            "1",
            "r.a",
            "E + E",
            "(E)",
            "abs(E)",
            "case when E > E then E else E end",
            "coalesce(E, E)",
            "(array[E, E])[E]",
            "cast(E as int)",
            "E::int",
            "(select E from R limit 1)",
            "greatest(E, E)",
            "(E in (E, E))::int",
            "nullif(E, E)",
            "extract(day from date '2020-01-01' + E)::int",
            "length(substring('abc' from E for E))",
        ]);
        self.fill(pattern, depth)
    }

    fn condition(&mut self, depth: usize) -> String {
        let pattern = self.dice.pick(&[
            "E = E",
            "E between E and E",
            "E = any(array[E, E])",
            "true",
            "exists (select E from R)",
            "(E, E) = (E, E)",
            "not (E > 1)",
            "E is distinct from E",
            "array[E, r.b] = array[E, r.b] and E > 0",
        ]);
        self.fill(pattern, depth)
    }

    fn relation(&mut self, depth: usize) -> String {
        let pattern = if self.hot() {
            self.dice.pick(self.hot_relations)
        } else if depth > 3 {
            "t #"
        } else {
            self.dice.pick(&[
                "t #",
                "t as # (a, b)",
                "only t #",
                "(values (E, E)) as # (a, b)",
                "(values (E, 2)) # (a, b)",
                "(select E as a, 1 as b from R) #",
                "generate_series(E, 2) as # (a)",
                "generate_series(1, E) #",
                "unnest(array[E, 2]) with ordinality as # (a, b)",
                "R join R on C",
                "(R cross join R)",
                "R left join lateral (select E as q) # on C",
                "json_to_record('{}') as # (a int, b int)",
                "R, R",
            ])
        };
        self.fill(pattern, depth)
    }

    fn select(&mut self) -> String {
        let head = self.dice.pick(&["select ", "select distinct ", "select all ", "select distinct on (E) "]);
        let list = self.dice.pick(&[
            "E",
            "E, E as x",
            "r.*, E",
            "sum(E) over (partition by E order by E)",
            "count(*) filter (where C)",
            "r.*, E y",
        ]);
        let from =
            self.dice.pick(&[" from t r", " from t r, R", " from t r cross join R", " from t r join R on C"]);
        let tail = self.dice.pick(&[
            "",
            " where C",
            " order by E desc nulls last",
            " group by r.a, r.b, E having C",
            " limit E",
            " offset E rows fetch first 1 rows only",
            " group by grouping sets ((E), (r.a), ())",
        ]);
        self.fill(&format!("{head}{list}{from}{tail}"), 1)
    }

    /// One query.
    pub fn statement(&mut self) -> String {
        (self.armed, self.aliases) = (true, 0);
        match self.dice.roll(6) {
            0 => format!("with c as ({}) select * from c", self.select()),
            1 => {
                self.fill("with c (x) as materialized (select E from t r), d as (select 1 as a) select 1 from t r, c, d", 1)
            }
            2 => self.fill("select E from t r union all select E from t r", 1),
            3 => format!("explain analyze {}", self.select()),
            _ => self.select(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_code_is_found_wherever_a_query_can_call_it() {
    let client = client().await;
    let mut builder = Builder::new(0x2545_f491_4f6c_dd1d, &HOT, &HOT_RELATIONS);
    let texts: Vec<String> = (0..6_000).map(|_| builder.statement()).collect();
    let caught = caught(&client, &texts, true).await;
    assert!(caught > 300, "only {caught} queries ran the user's code: the test proves nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_of_the_table_is_refused_as_a_write() {
    let client = client().await;
    let reads: Vec<String> = TABLE
        .lines()
        .filter_map(|line| line.strip_prefix("read | none | "))
        .map(|text| text.replace("\\n", "\n"))
        .collect();
    assert_eq!(caught(&client, &reads, true).await, 0);
    let all: Vec<String> = TABLE
        .lines()
        .filter_map(|line| line.splitn(3, " | ").nth(2))
        .map(|text| text.replace("\\n", "\n"))
        .collect();
    // Here the server may refuse; whatever it refuses is no read.
    assert!(caught(&client, &all, true).await > 20);
}
