//! Where programs run: a database, a Primacy with one backend and one pin, and a second client that sets everything it can between any two
//! statements outside a transaction.

use super::generate::{Part, Program, Random, Step};
use super::words;
use crate::support::raw::Message;
use crate::support::{Config, Database, Primacy, Raw, Servers, eventually};
use primacy::postgres::wire;
use std::time::Duration;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(30);

const FILL: &str = "DELETE FROM t; DELETE FROM n; DELETE FROM late; DELETE FROM watched; \
     INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three'); \
     SELECT setval('s1', 1, false), setval('s2', 1, false), setval('n_id_seq', 1, false)";

// A superuser's programs may have given it another owner.
const REMAKE: &str = "DROP TABLE c; CREATE TABLE c (a int, b text); ALTER TABLE c OWNER TO @owner; INSERT INTO c VALUES (1, 'b')";

const LEFT: &str = "SELECT string_agg(x, ' ' ORDER BY x) FROM (SELECT t::text AS x FROM t UNION ALL SELECT 'n' || n FROM n \
     UNION ALL SELECT 'late ' || id FROM late UNION ALL SELECT 'watched ' || v FROM watched) s";

/// One program at a time runs here.
pub struct Lane {
    direct: u16,
    primacy: Primacy,
    /// The user without and with a superuser's rights.
    users: [Database; 2],
    roles: [String; 2],
    /// A superuser, straight at the server.
    admin: tokio_postgres::Client,
    /// The same at a replica, if there is one.
    replica: Option<tokio_postgres::Client>,
    /// For each user one that never gives custom settings a value, and one that does: who never did gets no connection where somebody did.
    strangers: [[Stranger; 2]; 2],
}

/// What one side answered: the messages of each step, and what stands in the tables afterwards.
pub type Heard = (Vec<Vec<Message>>, Option<String>);

/// What happened between statements.
#[derive(Debug, Default, Clone, Copy)]
pub struct Gaps {
    /// Between two statements outside a transaction.
    pub all: u64,
    /// Where the program held nothing pinned.
    pub free: u64,
    /// Where the second client worked on the very backend that then served the program.
    pub shared: u64,
}

impl Lane {
    /// Before the primary alone, or with a replica beside it.
    pub async fn start(servers: &Servers, with_replica: bool) -> Self {
        let database = servers.fresh_database().await;
        let admin = servers.admin(0, &database.name).await;
        let roles = ["r1", "r2"].map(|role| format!("{}_{role}", database.name));
        let superuser = Database { user: format!("{}_s", database.name), ..database.clone() };
        let text = format!(
            "CREATE ROLE {0}; CREATE ROLE {1}; GRANT {0}, {1} TO {2}; CREATE ROLE {3} SUPERUSER LOGIN PASSWORD '{4}'; GRANT {0} TO {3}",
            roles[0], roles[1], database.user, superuser.user, superuser.password
        );
        admin.batch_execute(&text).await.unwrap();
        let fixture = include_str!("fixture.sql")
            .replace("@r1", &roles[0])
            .replace("@r2", &roles[1])
            .replace("@owner", &database.user);
        admin.batch_execute(&fixture).await.unwrap();
        let nodes = 1 + usize::from(with_replica);
        let some = Servers { endpoints: servers.endpoints[..nodes].to_vec(), ..servers.clone() };
        let replica = if with_replica { Some(servers.admin(1, "postgres").await) } else { None };
        let config = Config::new(&some.yaml())
            .cluster("pool: { size: 1, pinned: 1, queue_timeout: 3s }")
            .admin(&format!("users: [{}]", database.user));
        let primacy = Primacy::start(config).await;
        let users = [database, superuser];
        let stranger =
            |user: usize, custom| Stranger::connect(&users[user], &users[0], &roles, primacy.port, custom);
        let strangers = [
            [stranger(0, false).await, stranger(0, true).await],
            [stranger(1, false).await, stranger(1, true).await],
        ];
        Self { direct: servers.endpoints[0].port, primacy, users, roles, admin, replica, strangers }
    }

    /// Runs it straight, and through Primacy.
    pub async fn both(&mut self, program: &Program, gaps: &mut Gaps) -> (Heard, Heard) {
        let server = self.play(program, self.direct, None).await;
        let ours = self.play(program, self.primacy.port, Some(gaps)).await;
        (server, ours)
    }

    /// Reads that a replica served, and all.
    pub async fn reads(&self) -> (u64, u64) {
        let (_, text) = crate::support::http::get(self.primacy.admin_port, "/metrics").await.unwrap();
        let lines = text
            .lines()
            .filter(|line| line.starts_with("primacy_routed_total") && line.contains("class=\"read\""));
        let count =
            |line: &str| line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).map_or(0, |n| n as u64);
        lines.fold((0, 0), |(there, all), line| {
            let n = count(line);
            (there + if line.contains("role=\"replica\"") { n } else { 0 }, all + n)
        })
    }

    // What was done past Primacy is seen everywhere.
    async fn replayed(&self) {
        let Some(replica) = &self.replica else { return };
        let row = self.admin.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap();
        let seen = format!("SELECT pg_last_wal_replay_lsn() >= '{}'", row.get::<_, &str>(0));
        eventually("the replica has what was filled in", async || {
            replica.query_one(&seen, &[]).await.unwrap().get::<_, bool>(0).then_some(())
        })
        .await;
    }

    async fn play(&mut self, program: &Program, port: u16, mut gaps: Option<&mut Gaps>) -> Heard {
        self.admin.batch_execute(FILL).await.unwrap();
        if program.has_ddl() {
            let text = REMAKE.replace("@owner", &self.users[0].user);
            self.admin.batch_execute(&text).await.unwrap();
        }
        if gaps.is_some() {
            self.replayed().await;
        }
        let user = &self.users[usize::from(program.superuser)];
        let custom = program.has_custom();
        let stranger = &mut self.strangers[usize::from(program.superuser)][usize::from(custom)];
        let (mut heard, mut lost) = (Vec::new(), false);
        let mut client = match Raw::try_connect(user, port, &program.start).await {
            Ok(client) => client,
            Err(error) => return (vec![vec![normal(error, 0)]], None),
        };
        let named = |text: &str| text.replace("@r1", &self.roles[0]).replace("@r2", &self.roles[1]);
        for numbered in &program.steps {
            let mut marked = None;
            if let Some(gaps) = gaps.as_deref_mut().filter(|_| client.status == b'I') {
                let mut random = Random::new(program.seed ^ numbered.id.wrapping_mul(0x5851_F42D_4C95_7F2D));
                gaps.all += 1;
                match stranger.interfere(&mut random, &self.admin, gaps).await {
                    Ok(mark) => marked = mark,
                    Err(what) => {
                        heard.push(vec![Message { tag: b'!', body: what.into_bytes() }]);
                        lost = true;
                        break;
                    }
                }
            }
            let mut answer = Vec::new();
            for (bytes, until) in numbered.step.writes(named) {
                client.send(&bytes).await;
                answer.extend(read(&mut client, &until).await);
            }
            let ended = answer.iter().any(|message| message.tag == b'!');
            let mut answer: Vec<_> = answer.into_iter().map(|message| normal(message, client.pid)).collect();
            sort_reports(&mut answer);
            heard.push(answer);
            if let (Some(marked), Some(gaps)) = (marked, gaps.as_deref_mut()) {
                gaps.shared += u64::from(marked.is_covered(&self.admin).await);
            }
            if ended {
                break;
            }
        }
        drop(client);
        if lost {
            *stranger = Stranger::connect(user, &self.users[0], &self.roles, port, custom).await;
        }
        // Waits for what the client's end undoes.
        self.admin.batch_execute("BEGIN; LOCK TABLE t, n, late, watched; COMMIT").await.unwrap();
        let left = self.admin.query_one(LEFT, &[]).await.unwrap().get(0);
        (heard, left)
    }
}

/// Everything up to so many ReadyForQuery (`Z` each), or up to a description or its failure (`T`).
async fn read(client: &mut Raw, until: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    for until in until.bytes() {
        loop {
            let message = match tokio::time::timeout(ANSWER, client.read()).await {
                Ok(Some(message)) => message,
                Ok(None) => Message { tag: b'!', body: b"the connection ended".to_vec() },
                Err(_) => Message { tag: b'!', body: b"nothing came".to_vec() },
            };
            let tag = message.tag;
            messages.push(message);
            match tag {
                b'!' => return messages,
                b'T' | b'n' | b'E' if until == b'T' => break,
                tag if tag == until => break,
                _ => {}
            }
        }
    }
    messages
}

/// What differs between any two connections to the same server, made equal.
fn normal(mut message: Message, pid: u32) -> Message {
    match message.tag {
        b'E' | b'N' => {
            let fields = message.body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
            // File, line and routine of the server's source: an error that Primacy words itself has none.
            let kept = fields.filter(|field| !matches!(field[0], b'F' | b'L' | b'R'));
            let text: Vec<u8> = kept.flat_map(|field| [field, b"|"].concat()).collect();
            message.body = without_temporary_schemas(&String::from_utf8_lossy(&text)).into_bytes();
        }
        b'A' if message.body.starts_with(&pid.to_be_bytes()) => message.body[..4].fill(0),
        b'T' => without_oids(&mut message.body),
        _ => {}
    }
    message
}

// `pg_temp_3` is another one on another connection.
fn without_temporary_schemas(text: &str) -> String {
    let mut parts = text.split("pg_temp_");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |so_far, part| {
        so_far + "pg_temp_N" + part.trim_start_matches(|c: char| c.is_ascii_digit())
    })
}

// The tables' oids in a RowDescription: temporary ones differ.
fn without_oids(body: &mut [u8]) {
    let mut at = 2;
    while let Some(end) = body[at..].iter().position(|byte| *byte == 0) {
        at += end + 1;
        body[at..at + 4].fill(0);
        at += 18;
    }
}

// Reports of several settings at one moment come in no order that means anything.
fn sort_reports(messages: &mut [Message]) {
    for run in messages.chunk_by_mut(|a, b| a.tag == b'S' && b.tag == b'S') {
        run.sort_by(|a, b| a.body.cmp(&b.body));
    }
}

/// The second client.
struct Stranger {
    raw: Raw,
    console: Raw,
    roles: [String; 2],
    /// Whether it gives custom settings values.
    custom: bool,
    turn: u64,
    /// What it saw of its own settings last.
    seen: Option<Vec<Option<String>>>,
}

/// What went wrong with the second client, in words.
type Told<T> = Result<T, String>;

/// A mark that the stranger left on a backend: the text that it ran last there.
struct Marked {
    pid: i32,
    text: String,
}

impl Marked {
    /// Whether something else has run there since.
    async fn is_covered(&self, admin: &tokio_postgres::Client) -> bool {
        let last = "SELECT query FROM pg_stat_activity WHERE pid = $1";
        let row = admin.query_opt(last, &[&self.pid]).await.unwrap();
        row.is_some_and(|row| !row.get::<_, &str>(0).starts_with(&self.text))
    }
}

// Alone, what changes how the texts behind it are read; all else in one text.
const SETTINGS: [&[&str]; 2] = [
    &[
        "SET search_path = one, two",
        "SET client_encoding = 'LATIN1'",
        "SET standard_conforming_strings = off",
        "SET work_mem = '91MB'; SET application_name = 'stranger'; SET timezone = 'Pacific/Apia'; SET datestyle = 'SQL, DMY'; \
         SET intervalstyle = 'sql_standard'; SET statement_timeout = '91s'; SET lock_timeout = '92s'; \
         SET default_transaction_isolation = 'serializable'; SET default_transaction_read_only = on; \
         SET default_transaction_deferrable = on; SET extra_float_digits = 2; SET client_min_messages = 'error'; \
         SET bytea_output = 'escape'; SET row_security = off; SET enable_seqscan = off; SET random_page_cost = 91; \
         SET synchronous_commit = local; SET array_nulls = off; SET xmloption = 'document'; SET check_function_bodies = off; \
         SET plan_cache_mode = force_custom_plan",
    ],
    &[
        "SET search_path = two",
        "RESET client_encoding",
        "SET standard_conforming_strings = on",
        "SET work_mem = '93MB'; SET application_name = 'stranger''s'; RESET timezone; SET default_transaction_read_only = off; \
         SET default_transaction_isolation = 'repeatable read'; RESET row_security; SET client_min_messages = 'warning'; \
         RESET bytea_output; SET idle_in_transaction_session_timeout = '95s'; SET transform_null_equals = on",
    ],
];

impl Stranger {
    async fn connect(
        user: &Database,
        operator: &Database,
        roles: &[String; 2],
        port: u16,
        custom: bool,
    ) -> Self {
        let raw = Raw::connect(user, port).await;
        let console = Database { name: "primacy".into(), ..operator.clone() };
        let console = Raw::connect(&console, port).await;
        Self { raw, console, roles: roles.clone(), custom, turn: 0, seen: None }
    }

    // Runs it, whatever the server says of it.
    async fn attempt(&mut self, text: &str) -> Told<()> {
        let text = text.replace("@r1", &self.roles[0]).replace("@r2", &self.roles[1]);
        self.heard(&text, b"!").await.map(drop)
    }

    async fn heard(&mut self, text: &str, bad: &[u8]) -> Told<Vec<Message>> {
        let mut out = Vec::new();
        wire::query(&mut out, text);
        self.raw.send(&out).await;
        let said = read(&mut self.raw, "Z").await;
        let wrong = said.iter().any(|message| bad.contains(&message.tag));
        if wrong { Err(format!("the second client's {text}: {said:?}")) } else { Ok(said) }
    }

    // Who is pinned: this client, others.
    async fn pinned(&mut self) -> (bool, bool) {
        let rows = self.console.rows("SHOW PINS").await;
        let own = self.raw.pid.to_string();
        let (mine, others): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row[0].as_ref() == Some(&own));
        (!mine.is_empty(), !others.is_empty())
    }

    // The one pin is the program's.
    async fn unpin(&mut self) -> Told<()> {
        if self.pinned().await.0 { self.attempt("DISCARD ALL").await } else { Ok(()) }
    }

    /// Sets what it can, having looked whether all is as it left it.
    async fn interfere(
        &mut self,
        random: &mut Random,
        admin: &tokio_postgres::Client,
        gaps: &mut Gaps,
    ) -> Told<Option<Marked>> {
        self.turn += 1;
        let (before, row) = self.look().await?;
        if let Some(seen) = self.seen.as_ref().filter(|seen| **seen != row) {
            return Err(format!("the second client's settings were {seen:?} and are {row:?}"));
        }
        if !self.pinned().await.1 {
            gaps.free += 1;
            self.leave_what_may_pin(random, admin).await?;
            self.unpin().await?;
        }
        self.prepare().await?;
        let role = random.pick(&["SET ROLE @r2", "RESET ROLE", "SET ROLE @r1"]);
        for text in random.pick(&SETTINGS) {
            self.attempt(text).await?;
        }
        self.attempt(role).await?;
        let (pid, row) = self.look().await?;
        self.seen = Some(row);
        if self.pinned().await.0 {
            // In doubt (its catalog was not known yet) even a look pins.
            self.attempt("DISCARD ALL").await?;
            self.seen = None;
            return Ok(None);
        }
        Ok((before == pid).then(|| Marked { pid, text: self.mark() }))
    }

    fn mark(&self) -> String {
        format!("/* stranger {} */", self.turn)
    }

    // The backend that it is on, and its settings.
    async fn look(&mut self) -> Told<(i32, Vec<Option<String>>)> {
        let text = format!("{} {}, pg_backend_pid() + 0", self.mark(), words::LOOK);
        let said = self.heard(&text, b"!E").await?;
        let mut row = said.iter().find(|message| message.tag == b'D').map(Message::values).unwrap();
        Ok((row.pop().flatten().unwrap().parse().unwrap(), row))
    }

    // The same names by the protocol.
    async fn prepare(&mut self) -> Told<()> {
        let parts = words::NAMES
            .iter()
            .flat_map(|name| [Part::Close(name), Part::Parse(name, "SELECT 'a stranger''s' AS s".into())]);
        let step = Step::Pipeline { parts: parts.collect(), wait: None };
        for (bytes, until) in step.writes(str::to_owned) {
            self.raw.send(&bytes).await;
            let said = read(&mut self.raw, &until).await;
            if said.iter().any(|message| matches!(message.tag, b'E' | b'!')) {
                return Err(format!("the second client prepares: {said:?}"));
            }
        }
        Ok(())
    }

    async fn leave_what_may_pin(&mut self, random: &mut Random, admin: &tokio_postgres::Client) -> Told<()> {
        if self.custom {
            self.attempt(
                "SET my.a = 'stranger'; SET my.b = 'stranger'; SELECT set_config('my.c', '', false)",
            )
            .await?;
        }
        if random.chance(40) {
            let names =
                ["p1", "p2", "\"Q\""].map(|name| format!("PREPARE {name} AS SELECT 'a stranger''s' AS s"));
            self.attempt(&format!("DEALLOCATE ALL; {}", names.join("; "))).await?;
        }
        if random.chance(40) {
            self.draw(admin).await?;
        }
        if random.chance(12) {
            let texts = "CREATE TEMP TABLE tt1 AS SELECT 'a stranger''s'::text AS v; \
                 CREATE TEMP TABLE t AS SELECT 66 AS id, 'a stranger''s'::text AS v; \
                 DECLARE c CURSOR WITH HOLD FOR SELECT 'a stranger''s' AS s";
            self.attempt(texts).await?;
        }
        Ok(())
    }

    // Draws from the sequences of the program, which finds them as they were.
    async fn draw(&mut self, admin: &tokio_postgres::Client) -> Told<()> {
        const STATE: &str = "SELECT a.last_value, a.is_called, b.last_value, b.is_called, c.last_value, c.is_called FROM s1 a, s2 b, n_id_seq c";
        const DRAW: &str = "SET default_transaction_read_only = off; SET transaction_read_only = off; \
             SELECT nextval('public.s1'), nextval('public.s2'), nextval('public.n_id_seq') FROM generate_series(1, 7)";
        let row = admin.query_one(STATE, &[]).await.unwrap();
        self.attempt(DRAW).await?;
        let back = ["s1", "s2", "n_id_seq"].into_iter().zip([0, 2, 4]);
        let back = back.map(|(name, at)| {
            format!("setval('{name}', {}, {})", row.get::<_, i64>(at), row.get::<_, bool>(at + 1))
        });
        admin.batch_execute(&format!("SELECT {}", back.collect::<Vec<_>>().join(", "))).await.unwrap();
        Ok(())
    }
}
