//! Random programs of SQL give through Primacy, by a pool of one backend and one pin that a second client uses between any two statements
//! outside a transaction, what they give with the server itself: every answer, and every setting that can be seen.
//!
//! `PRIMACY_PROGRAMS=5000` runs so many, from a seed that chance gives, and notes them in `programs/RESULTS.md`;
//! `PRIMACY_PROGRAMS_SEED` gives that seed. `PRIMACY_PROGRAM` runs the one program of that seed.

mod generate;
mod lane;
mod words;

use crate::support::raw::Message;
use crate::support::{Servers, environment};
use generate::{Numbered, Part, Program, Random, Step};
use lane::{Gaps, Heard, Lane};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tokio::task::JoinSet;

/// How many run with all other tests.
const USUAL: u64 = 120;
/// Their seed.
const USUAL_SEED: u64 = 4;
/// So many differences, made small, are enough to look at.
const ENOUGH: usize = 5;

/// How the two sides compare.
enum Verdict {
    Same,
    /// An own value of a sequence was refused, as docs/compatibility.md has it; what came after is compared no further if it depends on that.
    Refused,
    /// What had become outdated was healed; what came after is compared no further.
    Healed,
    /// A custom setting that a function gave a value is unknown after DISCARD ALL, as docs/compatibility.md has it.
    Forgotten,
    /// The first step whose answers differ; None: what is left in the tables does.
    Different(Option<usize>),
}

fn compare(program: &Program, server: &Heard, ours: &Heard) -> Verdict {
    let mut refused = false;
    for (index, (theirs, mine)) in server.0.iter().zip(&ours.0).enumerate() {
        if theirs == mine {
            continue;
        }
        if is_healed(theirs, mine) {
            return Verdict::Healed;
        }
        if is_forgotten(&program.steps[..index.min(program.steps.len())], theirs, mine) {
            return Verdict::Forgotten;
        }
        if !is_refusal(mine) || is_refusal(theirs) {
            return Verdict::Different(Some(index));
        }
        let alone = program.steps.get(index).is_some_and(|Numbered { step, .. }| {
            matches!(step, Step::Query(texts) if texts.len() == 1 && texts[0].starts_with("SELECT"))
        });
        let outside = |answer: &[Message]| answer.last().is_some_and(|last| last.body == b"I");
        if !(alone && outside(theirs) && outside(mine)) {
            return Verdict::Refused;
        }
        refused = true;
    }
    match (server.0.len() == ours.0.len(), server.1 == ours.1) {
        (true, true) if refused => Verdict::Refused,
        (true, true) => Verdict::Same,
        (true, false) => Verdict::Different(None),
        (false, _) => Verdict::Different(Some(server.0.len().min(ours.0.len()))),
    }
}

// What was prepared is no more what it was: Primacy prepares it anew where nobody was told otherwise in between, or its client is told now.
fn is_healed(theirs: &[Message], mine: &[Message]) -> bool {
    let stale = |answer: &[Message]| {
        answer.iter().any(|m| {
            m.tag == b'E'
                && String::from_utf8_lossy(&m.body).contains("cached plan must not change result type")
        })
    };
    stale(theirs) && !stale(mine)
}

fn is_forgotten(before: &[Numbered], theirs: &[Message], mine: &[Message]) -> bool {
    let discards = |texts: &[String]| texts.iter().any(|text| text == "DISCARD ALL");
    let discarded = before.iter().any(|Numbered { step, .. }| match step {
        Step::Query(texts) => discards(texts),
        Step::Pipeline { parts, .. } => {
            parts.iter().any(|part| matches!(part, Part::Parse(_, text) if text == "DISCARD ALL"))
        }
        Step::Look(_) => false,
    });
    let emptied = |theirs: &Message, mine: &Message| {
        let (a, b) = (theirs.values(), mine.values());
        let same =
            |(a, b): (&Option<String>, &Option<String>)| a == b || (a.as_deref() == Some("") && b.is_none());
        a.len() == b.len() && a.iter().zip(&b).all(same)
    };
    let alike = |(theirs, mine): (&Message, &Message)| {
        theirs == mine || ((theirs.tag, mine.tag) == (b'D', b'D') && emptied(theirs, mine))
    };
    discarded && theirs.len() == mine.len() && theirs.iter().zip(mine).all(alike)
}

fn is_refusal(answer: &[Message]) -> bool {
    let fields =
        |message: &Message| String::from_utf8_lossy(&message.body).split('|').any(|field| field == "C55000");
    answer.iter().any(|message| message.tag == b'E' && fields(message))
}

#[derive(Default)]
struct Found {
    programs: u64,
    steps: u64,
    gaps: Gaps,
    refused: u64,
    healed: u64,
    forgotten: u64,
    /// Reads that a replica served, and all.
    reads: (u64, u64),
    /// By theme: gaps, and those that were shared.
    themes: BTreeMap<&'static str, (u64, u64)>,
    different: Vec<String>,
}

async fn run(lane: &mut Lane, seed: u64, found: &Mutex<Found>) {
    let program = Program::new(seed);
    let mut gaps = Gaps::default();
    let (server, ours) = lane.both(&program, &mut gaps).await;
    let verdict = compare(&program, &server, &ours);
    {
        let mut found = found.lock();
        found.programs += 1;
        found.steps += server.0.len() as u64;
        found.gaps.all += gaps.all;
        found.gaps.free += gaps.free;
        found.gaps.shared += gaps.shared;
        found.refused += u64::from(matches!(verdict, Verdict::Refused));
        found.healed += u64::from(matches!(verdict, Verdict::Healed));
        found.forgotten += u64::from(matches!(verdict, Verdict::Forgotten));
        let theme = found.themes.entry(program.theme).or_default();
        *theme = (theme.0 + gaps.all, theme.1 + gaps.shared);
    }
    if let Verdict::Different(_) = verdict {
        let told = shrink(lane, program, (server, ours)).await;
        eprintln!("{told}");
        found.lock().different.push(told);
    }
}

// Leaves out what does not matter, as long as something differs.
async fn shrink(lane: &mut Lane, program: Program, heard: (Heard, Heard)) -> String {
    const ATTEMPTS: usize = 120;
    let (mut smallest, mut heard, mut attempts) = (program, heard, 0);
    'smaller: loop {
        // What comes after the difference does not matter.
        let end = match compare(&smallest, &heard.0, &heard.1) {
            Verdict::Different(Some(index)) => Some(smallest.until(index)),
            _ => None,
        };
        let candidates = end.filter(|end| end.steps.len() < smallest.steps.len()).into_iter();
        for candidate in candidates.chain(smallest.smaller()) {
            attempts += 1;
            if attempts > ATTEMPTS {
                break 'smaller;
            }
            let (server, ours) = lane.both(&candidate, &mut Gaps::default()).await;
            if let Verdict::Different(_) = compare(&candidate, &server, &ours) {
                smallest = candidate;
                heard = (server, ours);
                continue 'smaller;
            }
        }
        break;
    }
    told(&smallest, &heard)
}

fn told(program: &Program, (server, ours): &(Heard, Heard)) -> String {
    let mut text = program.to_string();
    match compare(program, server, ours) {
        Verdict::Different(Some(index)) => {
            let id = program.steps.get(index).map_or(0, |step| step.id);
            let nothing = Vec::new();
            let (theirs, mine) =
                (server.0.get(index).unwrap_or(&nothing), ours.0.get(index).unwrap_or(&nothing));
            let equal = theirs.iter().zip(mine).take_while(|(theirs, mine)| theirs == mine).count();
            let (theirs, mine) = unlike(&theirs[equal..], &mine[equal..]);
            writeln!(
                text,
                "at {id}, after {equal} equal messages,\n  the server: {theirs}\n  Primacy: {mine}"
            )
            .unwrap();
        }
        _ => writeln!(text, "the server leaves {:?}\n  and Primacy {:?}", server.1, ours.1).unwrap(),
    }
    text
}

// Two answers in words; of rows that are as long only what differs.
fn unlike(theirs: &[Message], mine: &[Message]) -> (String, String) {
    if let ([a, ..], [b, ..]) = (theirs, mine)
        && (a.tag, b.tag) == (b'D', b'D')
        && a.values().len() == b.values().len()
    {
        let columns: Vec<_> = words::LOOK.split('\'').skip(1).step_by(2).collect();
        let pairs: Vec<_> =
            a.values().into_iter().zip(b.values()).enumerate().filter(|(_, (a, b))| a != b).collect();
        let many = a.values().len() > 20;
        let cell = |index: usize, value: &Option<String>| {
            format!("{} {value:?}", columns.get(index).filter(|_| many).unwrap_or(&""))
        };
        let theirs: Vec<_> = pairs.iter().map(|(index, (theirs, _))| cell(*index, theirs)).collect();
        let mine: Vec<_> = pairs.iter().map(|(index, (_, mine))| cell(*index, mine)).collect();
        return (theirs.join(", "), mine.join(", "));
    }
    let words = |messages: &[Message]| messages.iter().map(word).collect::<Vec<_>>().join(", ");
    (words(theirs), words(mine))
}

fn word(message: &Message) -> String {
    let tag = char::from(message.tag);
    match message.tag {
        b'T' => "T".into(),
        b'D' => format!("D {:?}", message.values()),
        _ => format!("{tag} {}", String::from_utf8_lossy(&message.body).replace('\0', " ")),
    }
}

fn number(name: &str) -> Option<u64> {
    environment(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn random_seed() -> u64 {
    let mut bytes = [0; 4];
    primacy::clock::random(&mut bytes).unwrap();
    u32::from_le_bytes(bytes).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_programs_give_what_the_server_gives() {
    let with_replica = environment("PRIMACY_PROGRAMS_REPLICA").is_some();
    let found = run_all(USUAL, with_replica).await;
    if with_replica {
        let (there, all) = found.reads;
        assert!(4 * there >= all, "a replica served {there} of {all} reads only");
    }
    let Gaps { all, shared, .. } = found.gaps;
    // So that it says something: on the very backend that the program had next.
    assert!(
        2 * shared >= all,
        "the second client was on the program's backend in {shared} of {all} gaps only"
    );
}

async fn run_all(usual: u64, with_replica: bool) -> Found {
    let servers = Servers::postgres().await;
    let found = Arc::new(Mutex::new(Found::default()));
    if let Some(seed) = number("PRIMACY_PROGRAM") {
        eprintln!("{}", Program::new(seed));
        run(&mut Lane::start(servers, with_replica).await, seed, &found).await;
        assert!(found.lock().different.is_empty(), "it differs");
        // Of one nothing else is asked.
        return Found { reads: (1, 1), ..Found::default() };
    }
    let wanted = number("PRIMACY_PROGRAMS");
    let seed = number("PRIMACY_PROGRAMS_SEED")
        .unwrap_or_else(|| if wanted.is_some() { random_seed() } else { USUAL_SEED });
    let seeds: Vec<u64> = {
        let mut random = Random::new(seed);
        (0..wanted.unwrap_or(usual)).map(|_| random.next()).collect()
    };
    let left = Arc::new(Mutex::new(seeds.into_iter()));
    let mut lanes = JoinSet::new();
    for _ in 0..2 {
        let (left, found) = (Arc::clone(&left), Arc::clone(&found));
        lanes.spawn(async move {
            let mut lane = Lane::start(servers, with_replica).await;
            while found.lock().different.len() < ENOUGH {
                let Some(seed) = left.lock().next() else { break };
                run(&mut lane, seed, &found).await;
            }
            let (there, all) = lane.reads().await;
            let mut found = found.lock();
            found.reads = (found.reads.0 + there, found.reads.1 + all);
        });
    }
    lanes.join_all().await;
    let found = std::mem::take(&mut *found.lock());
    report(&found, seed, with_replica, wanted.is_some());
    let Found { programs, different, .. } = &found;
    assert!(
        different.is_empty(),
        "{} of {programs} programs differ:\n{}",
        different.len(),
        different.join("\n")
    );
    found
}

// Says what was found, and adds it to the results of a long run.
fn report(found: &Found, seed: u64, with_replica: bool, long: bool) {
    let Found { programs, steps, gaps, refused, healed, forgotten, themes, reads: (there, all), different } =
        found;
    eprintln!("by theme, gaps and those shared: {themes:?}");
    let replica =
        if with_replica { format!("{} %", 100 * there / (*all).max(1)) } else { "no replica".to_owned() };
    let row = format!(
        "| {programs} | {seed} | {steps} | {} | {} | {} % | {replica} | {refused} | {healed} | {forgotten} | {} |",
        gaps.all,
        gaps.free,
        100 * gaps.shared / gaps.all.max(1),
        if different.is_empty() { "nothing".into() } else { format!("{} differences", different.len()) }
    );
    eprintln!(
        "| programs | seed | steps | gaps | free | shared | on the replica | 55000 | healed | forgotten | found |\n{row}"
    );
    if long {
        note(&row);
    }
}

// Adds a line to the results, with the commit that was run.
fn note(row: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let said = Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(root).output();
    let commit = said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default();
    let file = root.join("tests/programs/RESULTS.md");
    let mut file = std::fs::OpenOptions::new().append(true).open(file).unwrap();
    writeln!(file, "| {commit} {row}").unwrap();
}
