use super::super::fake::Fake;
use super::*;
use crate::engine::table::{Cell, Table};
use proptest::prelude::*;

fn ask_as(fake: &Fake, who: Rights, flavour: Flavour, text: &str) -> Answer {
    let console = Console::new("shop".into());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(console.execute(fake, who, flavour, text))
}

fn ask(text: &str) -> Answer {
    ask_as(&Fake::new(), Rights::Commands, Flavour::Primacy, text)
}

fn table(flavour: Flavour, text: &str) -> Table {
    match ask_as(&Fake::new(), Rights::Look, flavour, text) {
        Answer::Table(table) => table,
        other => panic!("{text}: {other:?}"),
    }
}

fn names(table: &Table) -> Vec<&str> {
    table.columns.iter().map(|column| &*column.name).collect()
}

fn refused(text: &str) -> ClientError {
    match ask(text) {
        Answer::Error(error) => error,
        other => panic!("{text}: {other:?}"),
    }
}

const POOLS: &str = "database,user,cl_active,cl_waiting,cl_active_cancel_req,cl_waiting_cancel_req,sv_active,sv_active_cancel,\
    sv_being_canceled,sv_idle,sv_used,sv_tested,sv_login,maxwait,maxwait_us,pool_mode,load_balance_hosts";
const SOCKETS: &str = "type,user,database,replication,state,addr,port,local_addr,local_port,connect_time,request_time,wait,\
    wait_us,close_needed,ptr,link,remote_pid,tls,application_name,prepared_statements,id";
const STATS: &str = "database,total_server_assignment_count,total_xact_count,total_query_count,total_received,total_sent,\
    total_xact_time,total_query_time,total_wait_time,total_client_parse_count,total_server_parse_count,total_bind_count,\
    avg_server_assignment_count,avg_xact_count,avg_query_count,avg_recv,avg_sent,avg_xact_time,avg_query_time,avg_wait_time,\
    avg_client_parse_count,avg_server_parse_count,avg_bind_count";
const ONE_KIND: &str = "database,server_assignment_count,xact_count,query_count,bytes_received,bytes_sent,xact_time,query_time,\
    wait_time,client_parse_count,server_parse_count,bind_count";
const DATABASES: &str = "name,host,port,database,force_user,pool_size,min_pool_size,reserve_pool_size,server_lifetime,pool_mode,\
    load_balance_hosts,max_connections,current_connections,max_client_connections,current_client_connections,paused,disabled";
const USERS: &str = "name,pool_size,reserve_pool_size,pool_mode,max_user_connections,current_connections,\
    max_user_client_connections,current_client_connections";

#[test]
fn the_columns_are_pgbouncers_in_its_order_and_ours_come_after() {
    for (text, columns) in [
        ("SHOW POOLS", POOLS),
        ("SHOW CLIENTS", SOCKETS),
        ("SHOW SERVERS", SOCKETS),
        ("SHOW STATS", STATS),
        ("SHOW STATS_TOTALS", ONE_KIND),
        ("SHOW STATS_AVERAGES", ONE_KIND),
        ("SHOW DATABASES", DATABASES),
        ("SHOW USERS", USERS),
        ("SHOW LISTS", "list,items"),
        ("SHOW CONFIG", "key,value,default,changeable"),
        ("SHOW MEM", "name,size,used,free,memtotal"),
        ("SHOW TOTALS", "name,value"),
        ("SHOW STATE", "key,value"),
        ("SHOW VERSION", "version"),
    ] {
        let theirs = table(Flavour::PgBouncer, text);
        assert_eq!(names(&theirs).join(","), columns, "{text}");
        let ours = table(Flavour::Primacy, text);
        assert!(names(&ours).join(",").starts_with(columns), "{text}");
        for table in [theirs, ours] {
            assert!(!table.rows.is_empty(), "{text}");
            assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{text}");
        }
    }
}

#[test]
fn every_cell_is_of_its_columns_kind() {
    for topic in show::TOPICS {
        for flavour in [Flavour::Primacy, Flavour::PgBouncer] {
            let table = table(flavour, &format!("SHOW {}", topic.word));
            for row in &table.rows {
                for (cell, column) in row.iter().zip(&table.columns) {
                    let fits = match cell {
                        Cell::Null => true,
                        Cell::Text(_) => column.kind == crate::engine::table::Kind::Text,
                        Cell::Int(_) => column.kind == crate::engine::table::Kind::Int,
                    };
                    assert!(fits, "SHOW {}: {column:?} {cell:?}", topic.word);
                }
            }
        }
    }
}

#[test]
fn pgbouncer_has_one_pool_per_database_and_user_of_its_cluster() {
    assert_eq!(table(Flavour::Primacy, "SHOW POOLS").rows.len(), 4);
    let pools = table(Flavour::PgBouncer, "SHOW POOLS");
    let expected: Vec<Cell> = vec![
        "orders".into(),
        "ann".into(),
        6_u64.into(),
        2_u64.into(),
        0_u64.into(),
        0_u64.into(),
        4_u64.into(),
        0_u64.into(),
        0_u64.into(),
        8_u64.into(),
        0_u64.into(),
        0_u64.into(),
        0_u64.into(),
        1_u64.into(),
        500_000_u64.into(),
        "transaction".into(),
        Cell::Null,
    ];
    assert_eq!(pools.rows, [expected]);
}

#[test]
fn statistics_are_added_up_by_database_and_averaged_as_pgbouncer_does() {
    let stats = table(Flavour::PgBouncer, "SHOW STATS");
    assert_eq!(stats.rows.len(), 1);
    let of =
        |name: &str| stats.rows[0][names(&stats).iter().position(|column| *column == name).unwrap()].clone();
    assert_eq!(
        [of("total_query_count"), of("total_received"), of("total_query_time")],
        [4_u64, 240, 4000].map(Cell::from)
    );
    assert_eq!(
        [of("avg_query_count"), of("avg_recv"), of("avg_query_time")],
        [4_u64, 240, 1000].map(Cell::from)
    );
    assert_eq!([of("avg_xact_count"), of("avg_xact_time")], [0_u64, 0].map(Cell::from));
    let totals = table(Flavour::Primacy, "SHOW TOTALS");
    assert!(totals.rows.contains(&vec!["total_query_count".into(), 6_u64.into()]));
}

#[test]
fn text_is_read_as_people_and_drivers_write_it() {
    for text in [
        "show nodes",
        " SHOW   NODES ; ",
        "SHOW\tNODES;;",
        "/* app */ show -- all\n nodes;",
        "SHOW \"nodes\"",
        "SHOW NODES;\0",
    ] {
        assert_eq!(table(Flavour::Primacy, text).rows.len(), 4, "{text}");
    }
    for text in ["", "  ", ";", "; ;", "-- nothing"] {
        assert_eq!(ask(text), Answer::Empty, "{text}");
    }
    assert_eq!(ask("SET extra_float_digits = 3;"), Answer::Done("SET"));
    assert_eq!(ask("SET client_encoding TO 'UTF8'"), Answer::Done("SET"));
    assert_eq!(table(Flavour::PgBouncer, "SELECT 1").rows, [[Cell::Int(1)]]);
    assert_eq!(table(Flavour::PgBouncer, "show DateStyle").rows, [["ISO".into()]]);
    let version = table(Flavour::PgBouncer, "SHOW VERSION");
    assert_eq!(version.rows, [["PgBouncer 1.24.0 (Primacy 0.1.0)".into()]]);
}

#[test]
fn commands_reach_the_process_with_this_cluster_as_their_scope() {
    let shop = |database: Option<&str>| Scope {
        cluster: Some("shop".to_owned()),
        database: database.map(str::to_owned),
    };
    let (cluster, node) = ("shop".to_owned(), "pg2".to_owned());
    for (text, tag, command) in [
        ("pause", "PAUSE", Command::Pause(shop(None))),
        ("PAUSE \"my \"\"db\"\"\";", "PAUSE", Command::Pause(shop(Some("my \"db\"")))),
        ("kill orders", "KILL", Command::Kill(shop(Some("orders")))),
        ("RECONNECT", "RECONNECT", Command::Reconnect(shop(None))),
        ("kill_client 17", "KILL_CLIENT", Command::KillClient { id: 17 }),
        ("DRAIN pg2", "DRAIN", Command::Drain { cluster: cluster.clone(), node: node.clone() }),
        ("UNDRAIN pg2", "UNDRAIN", Command::Undrain { cluster, node }),
        ("SHUTDOWN", "SHUTDOWN", Command::Shutdown { drain: true }),
        ("SHUTDOWN WAIT_FOR_CLIENTS", "SHUTDOWN", Command::Shutdown { drain: true }),
        ("SHUTDOWN immediate", "SHUTDOWN", Command::Shutdown { drain: false }),
    ] {
        let fake = Fake::new();
        assert_eq!(ask_as(&fake, Rights::Commands, Flavour::PgBouncer, text), Answer::Done(tag), "{text}");
        assert_eq!(*fake.commands.lock(), [command], "{text}");
    }
}

#[test]
fn who_may_only_look_changes_nothing() {
    for text in [
        "RELOAD",
        "PAUSE",
        "RESUME",
        "KILL orders",
        "KILL_CLIENT 1",
        "RECONNECT",
        "DRAIN pg2",
        "UNDRAIN pg2",
        "SHUTDOWN",
    ] {
        let fake = Fake::new();
        let Answer::Error(error) = ask_as(&fake, Rights::Look, Flavour::Primacy, text) else {
            panic!("{text}")
        };
        assert_eq!((error.sqlstate.as_str(), error.errno), ("42501", 1227), "{text}");
        assert!(fake.commands.lock().is_empty(), "{text}");
    }
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    for (text, sqlstate, says, hint) in [
        ("SHOW POLS", "42601", "SHOW POLS", "did you mean SHOW POOLS?"),
        ("SHOW", "42601", "SHOW needs", "SHOW HELP"),
        ("RELAOD", "42601", "RELAOD", "did you mean RELOAD?"),
        ("VACUUM", "42601", "VACUUM", "SHOW HELP"),
        ("SELECT * FROM t", "42601", "at most one word", "SHOW HELP"),
        ("SHOW POOLS; SHOW STATS", "42601", "one command at a time", "SHOW HELP"),
        ("PAUSE \"db", "42601", "has no end", "SHOW HELP"),
        ("/* PAUSE", "42601", "comment has no end", "SHOW HELP"),
        ("KILL_CLIENT x", "42601", "\"x\" is not a client's id", "SHOW HELP"),
        ("DRAIN", "42601", "DRAIN needs a node", "SHOW HELP"),
        ("RELOAD now", "42601", "no argument", "SHOW HELP"),
        ("SHUTDOWN soon", "42601", "\"SOON\"", "SHOW HELP"),
        ("SET", "42601", "a name and a value", "SHOW HELP"),
        ("SUSPEND", "0A000", "SUSPEND is not supported", "PAUSE"),
        ("BEGIN", "0A000", "BEGIN is not supported", "autocommit"),
        ("SHOW FDS", "0A000", "SHOW FDS is not supported", "hand over"),
        ("PAUSE order", "3D000", "no database \"order\"", "did you mean \"orders\"?"),
        ("RESUME", "55000", "nothing is paused", "SHOW STATE"),
        ("RELOAD", "58000", "the file is gone", "the log"),
    ] {
        let error = refused(text);
        assert_eq!(error.sqlstate, sqlstate, "{text}");
        assert!(error.message.contains(says), "{text}: {}", error.message);
        assert!(error.hint.as_deref().unwrap().contains(hint), "{text}: {:?}", error.hint);
        assert!(!error.fatal);
    }
    assert!(refused(&"x".repeat(100_000)).message.len() < 200);
}

#[test]
fn help_lists_every_command() {
    let help = table(Flavour::PgBouncer, "SHOW HELP");
    assert_eq!(help.rows.len(), show::TOPICS.len() + parse::VERBS.len());
}

proptest! {
    #[test]
    fn no_text_breaks_the_parser(text in "[a-zA-Z0-9_ ;\"'/*\\-\n\u{e9}\0]{0,60}") {
        prop_assert!(parse::parse(&text).map_or_else(|error| error.hint.is_some(), |_| true));
    }

    #[test]
    fn a_quoted_name_arrives_as_it_is(name in "[^\0]{0,30}") {
        let fake = Fake::new();
        let text = format!("KILL \"{}\"", name.replace('"', "\"\""));
        ask_as(&fake, Rights::Commands, Flavour::Primacy, &text);
        let scope = Scope { cluster: Some("shop".to_owned()), database: Some(name) };
        prop_assert_eq!(&*fake.commands.lock(), &[Command::Kill(scope)]);
    }
}
