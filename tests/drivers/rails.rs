//! What a program on ActiveRecord sends: at the start of a process, and for requests. The statements are of the kinds that its adapter for PostgreSQL
//! makes: named ones are prepared once a connection, what has no parameters is a simple query, and only writes stand in transactions.

use crate::support::Raw;
use primacy::postgres::wire;
use std::collections::HashMap;

pub const SCHEMA: &str = r#"
CREATE TABLE "schema_migrations" ("version" character varying NOT NULL PRIMARY KEY);
CREATE TABLE "ar_internal_metadata" ("key" character varying NOT NULL PRIMARY KEY, "value" character varying, "created_at" timestamp(6) NOT NULL, "updated_at" timestamp(6) NOT NULL);
CREATE TYPE "standing" AS ENUM ('draft', 'published', 'archived');
CREATE TABLE "users" ("id" bigserial PRIMARY KEY, "email" character varying NOT NULL, "name" character varying, "settings" jsonb DEFAULT '{}' NOT NULL, "admin" boolean DEFAULT FALSE, "created_at" timestamp(6) NOT NULL, "updated_at" timestamp(6) NOT NULL);
CREATE UNIQUE INDEX "index_users_on_email" ON "users" (lower("email"));
CREATE TABLE "posts" ("id" bigserial PRIMARY KEY, "user_id" bigint NOT NULL, "title" character varying, "body" text, "standing" "standing" DEFAULT 'draft', "tags" character varying[] DEFAULT '{}', "token" uuid DEFAULT gen_random_uuid() NOT NULL, "score" numeric(10, 2), "created_at" timestamp(6) NOT NULL, "updated_at" timestamp(6) NOT NULL, CONSTRAINT "fk_posts_users" FOREIGN KEY ("user_id") REFERENCES "users" ("id"));
CREATE INDEX "index_posts_on_user_id" ON "posts" ("user_id") WHERE "standing" = 'published';
CREATE TABLE "comments" ("id" bigserial PRIMARY KEY, "post_id" bigint NOT NULL REFERENCES "posts" ("id") ON DELETE CASCADE, "author_type" character varying, "author_id" bigint, "body" text, "created_at" timestamp(6) NOT NULL);
INSERT INTO "schema_migrations" VALUES ('20240101000000'), ('20240201000000');
INSERT INTO "ar_internal_metadata" VALUES ('environment', 'test', now(), now());
INSERT INTO "users" ("email", "name", "created_at", "updated_at") SELECT 'u' || g || '@example.com', 'User ' || g, now(), now() FROM generate_series(1, 50) g;
INSERT INTO "posts" ("user_id", "title", "body", "standing", "tags", "score", "created_at", "updated_at") SELECT 1 + g % 50, 'Post ' || g, 'words and words', 'published', '{red,blue}', g, now() - g * interval '1 hour', now() FROM generate_series(1, 500) g;
INSERT INTO "comments" ("post_id", "author_type", "author_id", "body", "created_at") SELECT 1 + g % 500, 'User', 1 + g % 50, 'yes', now() FROM generate_series(1, 2000) g;
"#;

const TABLES: [&str; 3] = ["users", "posts", "comments"];

/// What each connection begins with.
const CONNECT: [&str; 12] = [
    "SET client_min_messages TO 'warning'",
    "SET standard_conforming_strings = on",
    "SET intervalstyle = iso_8601",
    "SET SESSION timezone TO 'UTC'",
    "SHOW max_identifier_length",
    "SELECT t.oid, t.typname FROM pg_type AS t WHERE t.typname IN ('int2', 'int4', 'int8', 'oid', 'float4', 'float8', 'numeric', 'bool', 'timestamp', 'timestamptz')",
    "SELECT t.oid, t.typname, t.typelem, t.typdelim, t.typinput, r.rngsubtype, t.typtype, t.typbasetype FROM pg_type AS t LEFT JOIN pg_range AS r ON t.oid = r.rngtypid WHERE t.typname IN ('int2', 'bool', 'uuid', 'jsonb', 'daterange')",
    "SELECT t.oid, t.typname, t.typelem, t.typdelim, t.typinput, r.rngsubtype, t.typtype, t.typbasetype FROM pg_type AS t LEFT JOIN pg_range AS r ON t.oid = r.rngtypid WHERE t.typtype IN ('r', 'e', 'd')",
    "SELECT t.oid, t.typname, t.typelem, t.typdelim, t.typinput, r.rngsubtype, t.typtype, t.typbasetype FROM pg_type AS t LEFT JOIN pg_range AS r ON t.oid = r.rngtypid WHERE t.typelem IN (16, 17, 20, 21, 23, 25, 1043, 2950)",
    "SELECT type.typname AS name, type.OID AS oid, n.nspname AS schema, array_agg(enum.enumlabel ORDER BY enum.enumsortorder) AS value FROM pg_enum AS enum JOIN pg_type AS type ON type.oid = enum.enumtypid JOIN pg_namespace n ON type.typnamespace = n.oid WHERE n.nspname = ANY (current_schemas(false)) GROUP BY type.OID, n.nspname, type.typname",
    "SELECT extname FROM pg_extension",
    "SELECT current_database()",
];

/// What a process asks of all tables, and of each (`?`) when its model is first used.
const SCHEMAS: [&str; 5] = [
    "SELECT c.relname FROM pg_class c LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY (current_schemas(false)) AND c.relkind IN ('r', 'v', 'm', 'p', 'f')",
    "SELECT c.relname FROM pg_class c LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY (current_schemas(false)) AND c.relname = 'schema_migrations' AND c.relkind IN ('r', 'p')",
    r#"SELECT "schema_migrations"."version" FROM "schema_migrations" ORDER BY "schema_migrations"."version" ASC"#,
    "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_.*' AND nspname NOT IN ('information_schema') ORDER BY nspname",
    "SELECT current_schema",
];

const SCHEMA_OF: [&str; 5] = [
    r#"SELECT a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid), a.attnotnull, a.atttypid, a.atttypmod, k.collname, col_description(a.attrelid, a.attnum) AS comment, a.attidentity AS identity, a.attgenerated AS generated FROM pg_attribute a LEFT JOIN pg_attrdef d ON a.attrelid = d.adrelid AND a.attnum = d.adnum LEFT JOIN pg_type t ON a.atttypid = t.oid LEFT JOIN pg_collation k ON a.attcollation = k.oid AND a.attcollation <> t.typcollation WHERE a.attrelid = '"?"'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"#,
    r#"SELECT a.attname FROM (SELECT indrelid, indkey, generate_subscripts(indkey, 1) AS idx FROM pg_index WHERE indrelid = '"?"'::regclass AND indisprimary) i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[i.idx] ORDER BY i.idx"#,
    "SELECT DISTINCT i.relname, d.indisunique, d.indkey, pg_get_indexdef(d.indexrelid), pg_catalog.obj_description(i.oid, 'pg_class') AS comment, d.indisvalid, ARRAY(SELECT pg_get_indexdef(d.indexrelid, k + 1, true) FROM generate_subscripts(d.indkey, 1) AS k ORDER BY k) AS columns FROM pg_class t INNER JOIN pg_index d ON t.oid = d.indrelid INNER JOIN pg_class i ON d.indexrelid = i.oid LEFT JOIN pg_namespace n ON n.oid = t.relnamespace WHERE i.relkind IN ('i', 'I') AND d.indisprimary = 'f' AND t.relname = '?' AND n.nspname = ANY (current_schemas(false)) ORDER BY i.relname",
    "SELECT t2.oid::regclass::text AS to_table, a1.attname AS column, a2.attname AS primary_key, c.conname AS name, c.confupdtype AS on_update, c.confdeltype AS on_delete, c.convalidated AS valid, c.conkey, c.confkey FROM pg_constraint c JOIN pg_class t1 ON c.conrelid = t1.oid JOIN pg_class t2 ON c.confrelid = t2.oid JOIN pg_attribute a1 ON a1.attnum = c.conkey[1] AND a1.attrelid = t1.oid JOIN pg_attribute a2 ON a2.attnum = c.confkey[1] AND a2.attrelid = t2.oid JOIN pg_namespace t3 ON c.connamespace = t3.oid WHERE c.contype = 'f' AND t1.relname = '?' AND t3.nspname = ANY (current_schemas(false)) ORDER BY c.conname",
    "SELECT conname, pg_get_constraintdef(c.oid, true) AS constraintdef, c.convalidated AS valid FROM pg_constraint c JOIN pg_class t ON c.conrelid = t.oid JOIN pg_namespace n ON n.oid = c.connamespace WHERE c.contype = 'c' AND t.relname = '?' AND n.nspname = ANY (current_schemas(false))",
];

/// Reads of requests, prepared, with their values.
const READS: [(&str, &[&str]); 30] = [
    (r#"SELECT "users".* FROM "users" WHERE "users"."id" = $1 LIMIT $2"#, &["7", "1"]),
    (r#"SELECT "users".* FROM "users" WHERE "users"."email" = $1 LIMIT $2"#, &["u3@example.com", "1"]),
    (r#"SELECT 1 AS one FROM "users" WHERE "users"."email" = $1 LIMIT $2"#, &["u4@example.com", "1"]),
    (
        r#"SELECT 1 AS one FROM "users" WHERE LOWER("users"."email") = LOWER($1) AND "users"."id" != $2 LIMIT $3"#,
        &["U4@example.com", "9", "1"],
    ),
    (
        r#"SELECT "posts".* FROM "posts" WHERE "posts"."user_id" = $1 ORDER BY "posts"."created_at" DESC LIMIT $2 OFFSET $3"#,
        &["7", "25", "0"],
    ),
    (r#"SELECT COUNT(*) FROM "posts" WHERE "posts"."user_id" = $1"#, &["7"]),
    (
        r#"SELECT COUNT(DISTINCT "posts"."user_id") FROM "posts" WHERE "posts"."standing" = $1"#,
        &["published"],
    ),
    (
        r#"SELECT COUNT(*) FROM (SELECT 1 AS one FROM "posts" WHERE "posts"."standing" = $1 LIMIT $2) subquery_for_count"#,
        &["published", "100"],
    ),
    (
        r#"SELECT COUNT(*) AS "count_all", "posts"."standing" AS "posts_standing" FROM "posts" GROUP BY "posts"."standing" HAVING COUNT(*) > $1"#,
        &["1"],
    ),
    (
        r#"SELECT "posts".* FROM "posts" INNER JOIN "users" ON "users"."id" = "posts"."user_id" WHERE "users"."admin" = $1 ORDER BY "posts"."id" ASC LIMIT $2"#,
        &["f", "10"],
    ),
    (
        r#"SELECT "posts"."id" AS t0_r0, "posts"."title" AS t0_r1, "comments"."id" AS t1_r0, "comments"."body" AS t1_r1 FROM "posts" LEFT OUTER JOIN "comments" ON "comments"."post_id" = "posts"."id" WHERE "posts"."id" = $1"#,
        &["5"],
    ),
    (
        r#"SELECT DISTINCT "posts"."id", "posts"."created_at" AS alias_0 FROM "posts" LEFT OUTER JOIN "comments" ON "comments"."post_id" = "posts"."id" ORDER BY "posts"."created_at" DESC LIMIT $1"#,
        &["10"],
    ),
    (
        r#"SELECT "comments".* FROM "comments" WHERE "comments"."post_id" IN ($1, $2, $3, $4)"#,
        &["1", "2", "3", "4"],
    ),
    (
        r#"SELECT "comments".* FROM "comments" WHERE "comments"."author_type" = $1 AND "comments"."author_id" = $2"#,
        &["User", "3"],
    ),
    (
        r#"SELECT "users".* FROM "users" WHERE EXISTS (SELECT 1 FROM "posts" WHERE "posts"."user_id" = "users"."id" AND "posts"."score" > $1)"#,
        &["10.5"],
    ),
    (
        r#"SELECT "users".* FROM "users" WHERE "users"."id" IN (SELECT "posts"."user_id" FROM "posts" WHERE "posts"."standing" = $1)"#,
        &["published"],
    ),
    (r#"SELECT "users"."id", "users"."email" FROM "users" WHERE "users"."settings" @> $1"#, &["{}"]),
    (
        r#"SELECT "users".* FROM "users" WHERE (settings ->> 'theme' = 'dark' OR settings -> 'a' #>> '{b}' IS NULL) LIMIT $1"#,
        &["5"],
    ),
    (
        r#"SELECT "posts".* FROM "posts" WHERE ("posts"."title" ILIKE $1 OR "posts"."body" ILIKE $2)"#,
        &["%post%", "%x%"],
    ),
    (
        r#"SELECT "posts".* FROM "posts" WHERE ('red' = ANY (tags)) AND "posts"."created_at" BETWEEN $1 AND $2"#,
        &["2020-01-01", "2100-01-01"],
    ),
    (r#"SELECT SUM("posts"."score") FROM "posts" WHERE "posts"."user_id" = $1"#, &["3"]),
    (
        r#"SELECT AVG("posts"."score"), MAX("posts"."created_at"), MIN("posts"."id") FROM "posts" WHERE "posts"."created_at" >= $1"#,
        &["2020-01-01"],
    ),
    (
        r#"SELECT DATE_TRUNC('day', created_at AT TIME ZONE 'UTC')::date AS day, COUNT(*) AS n FROM "posts" WHERE "posts"."user_id" = $1 GROUP BY 1 ORDER BY 1"#,
        &["3"],
    ),
    (
        r#"SELECT "posts".* FROM "posts" WHERE "posts"."id" > $1 ORDER BY "posts"."id" ASC LIMIT $2"#,
        &["100", "1000"],
    ),
    (
        r#"SELECT "posts".*, ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY score DESC) AS place FROM "posts" WHERE "posts"."user_id" = $1"#,
        &["3"],
    ),
    (
        r#"SELECT "posts".* FROM "posts" WHERE (to_tsvector('english', coalesce(title, '') || ' ' || coalesce(body, '')) @@ plainto_tsquery('english', $1)) LIMIT $2"#,
        &["words", "5"],
    ),
    (
        r#"WITH "recent" AS (SELECT * FROM "posts" WHERE created_at > now() - interval '1 day') SELECT "recent".* FROM "recent" WHERE "recent"."user_id" = $1"#,
        &["3"],
    ),
    (
        r#"SELECT "posts"."token" FROM "posts" WHERE "posts"."id" = $1 AND "posts"."updated_at" <= CURRENT_TIMESTAMP LIMIT $2"#,
        &["3", "1"],
    ),
    (r#"SELECT "users".* FROM "users" ORDER BY RANDOM() LIMIT $1"#, &["3"]),
    (
        r#"SELECT GREATEST(MAX(posts.updated_at), MAX(users.updated_at)) AS stamp, string_agg(DISTINCT users.name, ', ') FROM "posts" CROSS JOIN LATERAL (SELECT * FROM users WHERE users.id = posts.user_id) users WHERE "posts"."id" < $1"#,
        &["30"],
    ),
];

/// Reads of requests that its adapter does not prepare: relations that were loaded as text, `connection.select_value`, query comments.
const PLAIN: [&str; 4] = [
    r#"SELECT "posts"."id", "posts"."title" FROM "posts" WHERE (score > 3) ORDER BY id LIMIT 20 /*application:Shop,controller:posts,action:index*/"#,
    r#"SELECT CASE WHEN EXISTS (SELECT 1 FROM "users" WHERE "users"."admin" = TRUE) THEN 1 ELSE 0 END"#,
    r#"(SELECT "users"."id" FROM "users" WHERE id < 3) UNION ALL (SELECT "posts"."user_id" FROM "posts" WHERE id < 3)"#,
    "SELECT 1",
];

/// Writes of requests, each in its transaction.
const WRITES: [(&str, &[&str]); 4] = [
    (
        r#"INSERT INTO "posts" ("user_id", "title", "created_at", "updated_at") VALUES ($1, $2, $3, $4) RETURNING "id""#,
        &["3", "new", "2024-01-01", "2024-01-01"],
    ),
    (
        r#"UPDATE "posts" SET "title" = $1, "updated_at" = $2 WHERE "posts"."id" = $3"#,
        &["newer", "2024-01-02", "3"],
    ),
    (
        r#"INSERT INTO "comments" ("post_id", "body", "created_at") VALUES ($1, $2, $3) RETURNING "id""#,
        &["3", "so", "2024-01-01"],
    ),
    (r#"DELETE FROM "comments" WHERE "comments"."id" = $1"#, &["7"]),
];

/// One connection, used as the adapter does.
pub struct Adapter {
    client: Raw,
    named: HashMap<&'static str, String>,
}

impl Adapter {
    pub fn new(client: Raw) -> Self {
        Self { client, named: HashMap::new() }
    }

    pub async fn boot(&mut self) {
        for text in CONNECT.iter().chain(&SCHEMAS) {
            self.client.run(text).await;
        }
        for table in TABLES {
            for text in SCHEMA_OF {
                self.client.run(&text.replace('?', table)).await;
            }
        }
    }

    /// A page that reads; each fourth writes, too.
    pub async fn request(&mut self, number: usize) {
        for (text, values) in READS {
            self.prepared(text, values).await;
        }
        for text in PLAIN {
            self.client.run(text).await;
        }
        if number % 4 == 3 {
            self.client.run("BEGIN").await;
            let (text, values) = WRITES[number / 4 % WRITES.len()];
            self.prepared(text, values).await;
            self.client.run("COMMIT").await;
        }
    }

    async fn prepared(&mut self, text: &'static str, values: &[&str]) {
        let mut out = Vec::new();
        if !self.named.contains_key(text) {
            let name = format!("a{}", self.named.len() + 1);
            wire::parse(&mut out, name.as_bytes(), text.as_bytes(), &[]);
            wire::sync(&mut out);
            self.sent(text, &std::mem::take(&mut out)).await;
            self.named.insert(text, name);
        }
        wire::bind(&mut out, "", &self.named[text], values.iter().map(|value| Some(value.as_bytes())));
        wire::describe(&mut out, b'P', b"");
        wire::execute(&mut out, "", 0);
        wire::sync(&mut out);
        self.sent(text, &out).await;
    }

    async fn sent(&mut self, text: &str, bytes: &[u8]) {
        self.client.send(bytes).await;
        let answer = self.client.read_until("Z").await;
        assert!(!answer.iter().any(|message| matches!(message.tag, b'E' | b'!')), "{text}: {answer:?}");
    }
}
