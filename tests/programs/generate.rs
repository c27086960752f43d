//! Random programs: what they consist of, how one is drawn from a seed, how it is written down and made smaller.

use super::words::{self, Kind};
use primacy::postgres::wire;
use std::fmt;

/// A sequence of numbers that its seed determines (SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// One of these by its weight.
    pub fn weighed<T: Copy>(&mut self, of: &[(usize, T)]) -> T {
        let mut left = self.below(of.iter().map(|(weight, _)| weight).sum());
        for (weight, what) in of {
            if left < *weight {
                return *what;
            }
            left -= weight;
        }
        of[0].1
    }
}

/// A message of the extended protocol.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Parse(&'static str, String),
    Bind(&'static str, Vec<Option<String>>),
    /// Of a statement.
    Describe(&'static str),
    /// Of the unnamed portal.
    DescribePortal,
    /// Of the unnamed portal, with a limit of rows.
    Execute(u32),
    Close(&'static str),
    Sync,
}

/// What is looked at to see the session's state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Look {
    /// The settings, by a simple query.
    Simple,
    /// The same by the extended protocol.
    Extended,
    /// What stands under the names of prepared statements.
    Names,
    /// Every setting that the server lists.
    All,
}

/// What is sent in one write, and answered before the next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// One simple query of these texts.
    Query(Vec<String>),
    /// Messages up to a Sync (not among them). With `wait`, a Flush goes after so many of them, and their answer is awaited there.
    Pipeline {
        parts: Vec<Part>,
        wait: Option<usize>,
    },
    Look(Look),
}

/// A step, with a number of its own that it keeps when others are left out.
#[derive(Debug, Clone)]
pub struct Numbered {
    pub id: u64,
    pub step: Step,
}

/// A client's session.
#[derive(Debug, Clone)]
pub struct Program {
    pub seed: u64,
    pub theme: &'static str,
    /// Logs in as a superuser.
    pub superuser: bool,
    /// Start-up parameters.
    pub start: Vec<(&'static str, &'static str)>,
    pub steps: Vec<Numbered>,
}

impl Program {
    /// The program of that seed.
    pub fn new(seed: u64) -> Self {
        let mut maker = Maker { random: Random::new(seed), open: false, depth: 0, names: Vec::new() };
        let (theme, kinds) = maker.random.weighed(words::THEMES);
        let superuser = maker.random.chance(15);
        let start = words::start(&mut maker.random, theme);
        let length = 6 + maker.random.below(12);
        let mut steps = Vec::new();
        for _ in 0..length {
            steps.push(maker.step(kinds, words::PINNING.contains(&theme)));
            if maker.random.chance(35) {
                let look = [Look::Simple, Look::Extended, Look::Names, Look::Simple][maker.random.below(4)];
                steps.push(Step::Look(look));
            }
        }
        let end = [Step::Look(Look::Simple), Step::Query(vec!["ROLLBACK".into()]), Step::Look(Look::Simple)];
        steps.extend(end.into_iter().chain([Step::Look(Look::Names), Step::Look(Look::All)]));
        let steps = steps.into_iter().zip(0..).map(|(step, id)| Numbered { id, step }).collect();
        Self { seed, theme, superuser, start, steps }
    }

    /// Whether it changes tables.
    pub fn has_ddl(&self) -> bool {
        matches!(self.theme, "prepared" | "everything")
    }

    /// Whether it uses custom settings from its start.
    pub fn has_custom(&self) -> bool {
        self.start.iter().any(|(name, _)| name.contains('.'))
    }

    /// Programs with something less each, the smallest first.
    pub fn smaller(&self) -> Vec<Self> {
        let mut found = Vec::new();
        let with = |steps: Vec<Numbered>| Self { steps, ..self.clone() };
        let mut length = self.steps.len() / 2;
        while length > 0 {
            for from in (0..self.steps.len()).step_by(length) {
                let mut steps = self.steps.clone();
                steps.drain(from..(from + length).min(self.steps.len()));
                found.push(with(steps));
            }
            length /= 2;
        }
        for (index, numbered) in self.steps.iter().enumerate() {
            for step in numbered.step.smaller() {
                let mut steps = self.steps.clone();
                steps[index].step = step;
                found.push(with(steps));
            }
        }
        for index in 0..self.start.len() {
            let mut start = self.start.clone();
            start.remove(index);
            found.push(Self { start, ..self.clone() });
        }
        found
    }

    /// Without what comes after its step number `index`.
    pub fn until(&self, index: usize) -> Self {
        Self { steps: self.steps.iter().take(index + 1).cloned().collect(), ..self.clone() }
    }
}

impl Step {
    fn smaller(&self) -> Vec<Self> {
        match self {
            Self::Query(texts) if texts.len() > 1 => (0..texts.len())
                .map(|index| {
                    let mut texts = texts.clone();
                    texts.remove(index);
                    Self::Query(texts)
                })
                .collect(),
            Self::Pipeline { parts, wait } => {
                let without = |index: usize| {
                    let mut parts = parts.clone();
                    parts.remove(index);
                    Self::Pipeline { parts, wait: None }
                };
                let plain = wait.map(|_| Self::Pipeline { parts: parts.clone(), wait: None });
                plain
                    .into_iter()
                    .chain((0..parts.len()).map(without))
                    .filter(Self::runs_what_it_binds)
                    .collect()
            }
            Self::Query(_) | Self::Look(_) => Vec::new(),
        }
    }

    // A smaller step is of the kind that is written: what is bound is run.
    fn runs_what_it_binds(&self) -> bool {
        let Self::Pipeline { parts, .. } = self else { return true };
        let count = |is: fn(&Part) -> bool| parts.iter().filter(|part| is(part)).count();
        count(|part| matches!(part, Part::Bind(..))) == count(|part| matches!(part, Part::Execute(_)))
    }

    /// What is sent, and how the answer to each write ends: `Z` for as many ReadyForQuery, `T` for the description after a Flush.
    pub fn writes(&self, name: impl Fn(&str) -> String) -> Vec<(Vec<u8>, String)> {
        let mut out = Vec::new();
        match self {
            Self::Query(texts) => wire::query(&mut out, &name(&texts.join("; "))),
            Self::Look(Look::Simple) => wire::query(&mut out, words::LOOK),
            Self::Look(Look::All) => wire::query(&mut out, words::LOOK_AT_ALL),
            Self::Look(Look::Extended) => {
                return Self::pipeline(
                    &[
                        Part::Parse("look", words::LOOK.into()),
                        Part::Bind("look", Vec::new()),
                        Part::Execute(0),
                        Part::Close("look"),
                    ],
                    None,
                    name,
                );
            }
            Self::Look(Look::Names) => {
                let parts = words::NAMES.iter().flat_map(|name| [Part::Describe(name), Part::Sync]);
                let parts: Vec<_> = parts.collect();
                return Self::pipeline(&parts[..parts.len() - 1], None, name);
            }
            Self::Pipeline { parts, wait } => return Self::pipeline(parts, *wait, name),
        }
        vec![(out, "Z".into())]
    }

    fn pipeline(
        parts: &[Part],
        wait: Option<usize>,
        text: impl Fn(&str) -> String,
    ) -> Vec<(Vec<u8>, String)> {
        let (mut out, mut until, mut writes) = (Vec::new(), String::new(), Vec::new());
        for (index, part) in parts.iter().chain([&Part::Sync]).enumerate() {
            if wait == Some(index) {
                wire::flush(&mut out);
                writes.push((std::mem::take(&mut out), "T".into()));
            }
            match part {
                Part::Parse(name, body) => {
                    wire::parse(&mut out, name.as_bytes(), text(body).as_bytes(), &[]);
                }
                Part::Bind(name, values) => {
                    let values: Vec<_> = values.iter().map(|value| value.as_deref().map(&text)).collect();
                    wire::bind(
                        &mut out,
                        "",
                        name,
                        values.iter().map(|value| value.as_deref().map(str::as_bytes)),
                    );
                }
                Part::Describe(name) => wire::describe(&mut out, b'S', name.as_bytes()),
                Part::DescribePortal => wire::describe(&mut out, b'P', b""),
                Part::Execute(rows) => wire::execute(&mut out, "", *rows),
                Part::Close(name) => wire::close(&mut out, b'S', name.as_bytes()),
                Part::Sync => {
                    wire::sync(&mut out);
                    until.push('Z');
                }
            }
        }
        writes.push((out, until));
        writes
    }
}

/// What a program's author knows while writing it: guesses, so that most of what is written makes sense.
pub struct Maker {
    pub random: Random,
    /// A transaction is open.
    pub open: bool,
    /// Savepoints in it.
    pub depth: usize,
    /// Prepared statements: name, text, and the parameters' values.
    pub names: Vec<(&'static str, &'static str, &'static [&'static str])>,
}

impl Maker {
    fn step(&mut self, kinds: &[(usize, Kind)], keeps: bool) -> Step {
        // What keeps its connection lets go of it now and then.
        if keeps && !self.open && self.random.chance(25) {
            return Step::Query(vec!["DISCARD ALL".into()]);
        }
        match self.random.below(100) {
            0..58 => Step::Query(vec![self.text(kinds)]),
            58..70 => {
                let count = 2 + self.random.below(3);
                let mut texts: Vec<_> = (0..count).map(|_| self.text(kinds)).collect();
                if texts.iter().any(|text| text.starts_with("PREPARE")) {
                    // What is prepared by the last statement of a text that fails as it commits stays, without a word of it.
                    texts.retain(|text| !text.contains("INTO late"));
                }
                Step::Query(texts)
            }
            70..85 => {
                let mut parts = Vec::new();
                for _ in 0..=self.random.below(3) {
                    let text = self.text(kinds);
                    parts.extend([Part::Parse("", text), Part::Bind("", Vec::new())]);
                    if self.random.chance(30) {
                        parts.push(Part::DescribePortal);
                    }
                    parts.push(Part::Execute(0));
                    if self.random.chance(10) {
                        parts.push(Part::Sync);
                    }
                }
                Step::Pipeline { parts, wait: None }
            }
            _ => self.prepared(kinds),
        }
    }

    fn text(&mut self, kinds: &[(usize, Kind)]) -> String {
        let kind = self.random.weighed(kinds);
        kind(self)
    }

    // The protocol's prepared statements, named and not.
    fn prepared(&mut self, kinds: &[(usize, Kind)]) -> Step {
        let mut parts = Vec::new();
        let mut wait = None;
        for first in [true, false, false].into_iter().take(1 + self.random.below(3)) {
            let name = self.random.pick(words::NAMES);
            let known = self.names.iter().find(|(known, _, _)| *known == name).copied();
            match (self.random.below(10), known) {
                (0, _) => parts.push(Part::Close(name)),
                (1..3, Some(_)) => {
                    parts.extend([Part::Parse(name, self.text(kinds)), Part::Bind(name, Vec::new())]);
                    parts.push(Part::Execute(0));
                }
                (3..9, Some((_, _, values))) => {
                    if self.random.chance(25) {
                        parts.push(Part::Describe(name));
                    }
                    parts.extend([Part::Bind(name, owned(values)), Part::Execute(0)]);
                }
                _ => {
                    let (mut text, mut values) = self.random.pick(words::PREPARED);
                    if text.contains("set_config($1") && self.random.chance(75) {
                        // It pins: not too often.
                        (text, values) = words::PREPARED[0];
                    }
                    if known.is_some() || self.random.chance(30) {
                        parts.push(Part::Close(name));
                    }
                    parts.extend([Part::Parse(name, text.into()), Part::Describe(name)]);
                    if first && self.random.chance(30) {
                        wait = Some(parts.len());
                    }
                    if self.random.chance(70) {
                        parts.extend([Part::Bind(name, owned(values)), Part::Execute(0)]);
                    }
                    self.names.retain(|(known, _, _)| *known != name);
                    self.names.push((name, text, values));
                }
            }
            if self.random.chance(15) {
                parts.push(Part::Sync);
            }
        }
        Step::Pipeline { parts, wait }
    }
}

fn owned(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|value| Some((*value).to_owned())).collect()
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = if self.superuser { "a superuser" } else { "a user" };
        writeln!(f, "program {} ({}) of {user}, started with {:?}", self.seed, self.theme, self.start)?;
        self.steps.iter().try_for_each(|numbered| writeln!(f, "  {:>2}  {}", numbered.id, numbered.step))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(texts) => write!(f, "Query {}", texts.join("; ")),
            Self::Look(look) => write!(f, "look at {look:?}"),
            Self::Pipeline { parts, wait } => {
                for (index, part) in parts.iter().enumerate() {
                    if *wait == Some(index) {
                        f.write_str("Flush… ")?;
                    }
                    match part {
                        Part::Parse(name, text) => write!(f, "Parse({name:?}, {text}) ")?,
                        Part::Bind(name, values) => {
                            let values = values.iter().map(|v| v.as_deref().unwrap_or("NULL"));
                            write!(f, "Bind({name:?}, {:?}) ", values.collect::<Vec<_>>())?;
                        }
                        Part::Describe(name) => write!(f, "Describe({name:?}) ")?,
                        Part::DescribePortal => f.write_str("Describe(portal) ")?,
                        Part::Execute(0) => f.write_str("Execute ")?,
                        Part::Execute(rows) => write!(f, "Execute({rows} rows) ")?,
                        Part::Close(name) => write!(f, "Close({name:?}) ")?,
                        Part::Sync => f.write_str("Sync ")?,
                    }
                }
                f.write_str("Sync")
            }
        }
    }
}
