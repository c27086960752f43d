//! From what a loader brought of a database's code to what each piece of it does: bodies are read, and whatever they may reach counts
//! against them. Names in bodies mean every candidate, whatever its schema and arguments.

use super::body::{self, Body};
use super::functions;
use crate::catalog::names::NewRoutine;
use crate::catalog::source::{Function, Hang, Hangs, Language, Listed, NOW, Overrule, Source};
use crate::catalog::{Does, Names, Relation};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Names that are asked for as relations; who uses one beyond them is not cleared.
const MENTIONS_MAX: usize = 100_000;

/// Operators that grammar means without writing them (`BETWEEN`, `IN`, `LIKE`, …).
const IMPLIED: [&str; 12] = ["=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*", "~", "!~"];

/// A database's code whose bodies have been read.
#[derive(Debug)]
pub struct Code {
    source: Source,
    /// One for each function.
    bodies: Vec<Body>,
    /// What may be a relation, and whether it is written anywhere.
    mentions: BTreeMap<Box<str>, bool>,
}

impl Code {
    /// Reads the bodies. Takes time: not for an I/O thread.
    #[must_use]
    pub fn read(source: Source) -> Self {
        let builtins: HashSet<&str> = source
            .builtins
            .iter()
            .map(|name| &**name)
            .filter(|name| functions::postgres(name, u16::MAX).is_none())
            .collect();
        let mut bodies: Vec<Body> =
            source.functions.iter().map(|function| read(function, &builtins)).collect();
        let mut mentions: BTreeMap<Box<str>, bool> = BTreeMap::new();
        for body in &mut bodies {
            for (name, written) in &body.names {
                if let Some(known) = mentions.get_mut(name) {
                    *known |= written;
                } else if mentions.len() < MENTIONS_MAX {
                    mentions.insert(name.clone(), *written);
                } else {
                    body.does = body.does.with(Does::UNKNOWN);
                }
            }
        }
        Self { source, bodies, mentions }
    }

    /// The names in bodies that may be relations', to be asked in all schemas.
    #[must_use]
    pub fn mentions(&self) -> Vec<Relation> {
        let relations = self.mentions.iter().map(|(name, written)| Relation {
            schema: "".into(),
            name: name.clone(),
            written: *written,
        });
        relations.collect()
    }

    /// What each piece of code does. `hangs`: what hangs on the mentions, in their order. Takes time: not for an I/O thread.
    #[must_use]
    pub fn judge(&self, hangs: &[Hangs], overrules: &[Overrule]) -> Names {
        let mut graph = Graph::new(self, overrules);
        let relations: HashMap<&str, &Hangs> = self
            .mentions
            .keys()
            .map(|name| &**name)
            .zip(hangs)
            .filter(|(_, hangs)| **hangs != Hangs::default())
            .collect();
        graph.link(self, &relations);
        graph.settle();
        names(self, &graph)
    }
}

fn read(function: &Function, builtins: &HashSet<&str>) -> Body {
    let mut body = match (function.listed, function.language, &function.body) {
        (Some(listed), ..) => {
            let does = match listed {
                Listed::Harmless => Does::NOTHING,
                Listed::Writes => Does::WRITES,
                Listed::Local => Does::LOCAL,
            };
            return Body { does, ..Body::default() };
        }
        (None, Language::None, _) => Body::default(),
        (None, Language::Outside, _) => Body { does: Does::PINS.with(Does::OUTSIDE), ..Body::default() },
        (None, Language::Sql | Language::Plpgsql, None) => Body { does: Does::UNKNOWN, ..Body::default() },
        (None, language, Some(text)) => body::read(text, language),
    };
    if let Some(text) = &function.defaults {
        body::add_defaults(&mut body, text);
    }
    let foreign = function.settings.iter().any(|setting| {
        let setting = setting.to_ascii_lowercase();
        // A custom one is remembered by the session even after it was put back; roles change who asks.
        !functions::session_setting(&setting)
            || setting.contains('.')
            || matches!(&*setting, "role" | "session_authorization")
    });
    if foreign || body.calls.iter().any(|name| builtins.contains(&**name)) {
        body.does = body.does.with(Does::PINS).with(Does::WRITES);
    }
    body
}

/// A piece of code.
#[derive(Debug, Default, Clone)]
struct Node {
    /// What it does, by itself and by what it reaches.
    does: Does,
    /// What the configuration says it does not do.
    never: Does,
    /// What its declaration adds, which those who call it do not take over: a replica refuses them if it is true.
    declared: Does,
    /// Who reaches it.
    callers: Vec<u32>,
}

struct Graph {
    /// Functions first, in their order; then virtual ones: names that stand for several.
    nodes: Vec<Node>,
    by_oid: HashMap<u32, u32>,
}

impl Graph {
    fn new(code: &Code, overrules: &[Overrule]) -> Self {
        let mut nodes = Vec::with_capacity(code.bodies.len());
        let mut by_oid = HashMap::with_capacity(code.bodies.len());
        let rules = Rules::new(overrules);
        for (number, (function, body)) in (0..).zip(code.source.functions.iter().zip(&code.bodies)) {
            by_oid.insert(function.oid, number);
            let harmless = function.listed == Some(Listed::Harmless);
            let mut node = Node { does: body.does, ..Node::default() };
            if function.volatile && !harmless {
                node.declared = Does::WRITES;
            }
            if let Some(rule) = rules.find(function) {
                rule.apply(&mut node);
            }
            nodes.push(node);
        }
        Self { nodes, by_oid }
    }

    fn add(&mut self, does: Does) -> u32 {
        let number = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.push(Node { does, ..Node::default() });
        number
    }

    fn node(&self, number: u32) -> Option<&Node> {
        self.nodes.get(usize::try_from(number).ok()?)
    }

    fn node_mut(&mut self, number: u32) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(number).ok()?)
    }

    /// `caller` reaches `callee`.
    fn edge(&mut self, caller: u32, callee: u32) {
        if let Some(node) = self.node_mut(callee) {
            node.callers.push(caller);
        }
    }

    /// `caller` runs the function with the server's number `oid`, if that is a user's.
    fn runs(&mut self, caller: u32, oid: u32) {
        if let Some(callee) = self.by_oid.get(&oid).copied() {
            self.edge(caller, callee);
        } else if oid == 0 || oid >= FIRST_OF_USERS {
            // Made since the list of functions was read, or not to be told.
            self.does_too(caller, Does::UNKNOWN);
        }
    }

    fn does_too(&mut self, number: u32, does: Does) {
        if let Some(node) = self.node_mut(number) {
            node.does = node.does.with(does);
        }
    }

    fn all(&mut self, oids: impl IntoIterator<Item = u32>) -> u32 {
        let group = self.add(Does::NOTHING);
        for oid in oids {
            self.runs(group, oid);
        }
        group
    }

    fn link(&mut self, code: &Code, relations: &HashMap<&str, &Hangs>) {
        let groups = Groups::new(self, &code.source);
        let mut uses: HashMap<(&str, bool), u32> = HashMap::new();
        for (name, hangs) in relations {
            for written in [false, true] {
                let node = self.relation(hangs.of(written));
                uses.insert((name, written), node);
            }
        }
        for (number, (function, body)) in (0..).zip(code.source.functions.iter().zip(&code.bodies)) {
            for oid in &function.uses {
                self.runs(number, *oid);
            }
            let mut reached: Vec<Option<&u32>> =
                function.types.iter().map(|oid| groups.types.get(oid)).collect();
            if matches!(function.language, Language::Sql | Language::Plpgsql) {
                reached.push(Some(&groups.unnamed));
            }
            reached.extend(body.calls.iter().map(|name| groups.calls.get(&**name)));
            reached.extend(body.attributes.iter().map(|name| groups.attributes.get(&**name)));
            reached.extend(body.operators.iter().map(|name| groups.operators.get(&**name)));
            reached.extend(body.names.keys().map(|name| groups.type_names.get(&**name)));
            reached.extend(body.names.iter().map(|(name, written)| uses.get(&(&**name, *written))));
            for callee in reached.into_iter().flatten() {
                self.edge(number, *callee);
            }
        }
    }

    /// A relation, used in one way.
    fn relation(&mut self, hangs: &[Hang]) -> u32 {
        let node = self.add(Does::NOTHING);
        for hang in hangs {
            match (hang.function, &hang.why) {
                (Some(NOW), _) => self.does_too(node, Does::BOUND),
                (Some(oid), _) => self.runs(node, oid),
                (None, Some(_)) => self.does_too(node, Does::UNKNOWN),
                (None, None) => self.does_too(node, Does::LOCAL),
            }
        }
        node
    }

    /// Carries what each does to those who reach it, until nothing changes.
    fn settle(&mut self) {
        let mut changed: Vec<u32> = (0..).take(self.nodes.len()).collect();
        while let Some(number) = changed.pop() {
            let Some(node) = self.node_mut(number) else { continue };
            let does = node.does.without(node.never);
            node.does = does;
            let callers = std::mem::take(&mut node.callers);
            for caller in &callers {
                if let Some(caller_node) = self.node_mut(*caller) {
                    let more = caller_node.does.with(does).without(caller_node.never);
                    if more != caller_node.does {
                        caller_node.does = more;
                        changed.push(*caller);
                    }
                }
            }
            if let Some(node) = self.node_mut(number) {
                node.callers = callers;
            }
        }
    }

    fn does(&self, number: u32) -> Does {
        self.node(number).map_or(Does::UNKNOWN, |node| node.does.with(node.declared))
    }

    fn of(&self, oid: u32) -> Does {
        match self.by_oid.get(&oid) {
            Some(number) => self.does(*number),
            None if oid != 0 && oid < FIRST_OF_USERS => Does::NOTHING,
            None => Does::UNKNOWN,
        }
    }
}

/// The server's own objects have smaller numbers.
const FIRST_OF_USERS: u32 = 16_384;

/// Names that stand for several functions.
struct Groups<'a> {
    calls: HashMap<&'a str, u32>,
    attributes: HashMap<&'a str, u32>,
    operators: HashMap<&'a str, u32>,
    types: HashMap<u32, u32>,
    type_names: HashMap<&'a str, u32>,
    /// What any query may run.
    unnamed: u32,
}

impl<'a> Groups<'a> {
    fn new(graph: &mut Graph, source: &'a Source) -> Self {
        let mut calls: HashMap<&str, Vec<u32>> = HashMap::new();
        let mut attributes: HashMap<&str, Vec<u32>> = HashMap::new();
        for function in &source.functions {
            calls.entry(&function.name).or_default().push(function.oid);
            if function.attribute {
                attributes.entry(&function.name).or_default().push(function.oid);
            }
        }
        let mut operators: HashMap<&str, Vec<u32>> = HashMap::new();
        let implied = source.operators.iter().filter(|(name, _)| IMPLIED.contains(&&**name));
        let unnamed =
            source.everywhere.iter().copied().chain(implied.map(|(_, oid)| *oid)).collect::<Vec<_>>();
        for (name, oid) in &source.operators {
            operators.entry(name).or_default().push(*oid);
        }
        let mut types: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut type_names: HashMap<&str, Vec<u32>> = HashMap::new();
        for one in &source.types {
            types.entry(one.oid).or_default().push(one.function);
            type_names.entry(&one.name).or_default().push(one.function);
        }
        Self {
            unnamed: graph.all(unnamed),
            calls: group(graph, calls),
            attributes: group(graph, attributes),
            operators: group(graph, operators),
            types: group(graph, types),
            type_names: group(graph, type_names),
        }
    }
}

fn group<K: std::hash::Hash + Eq>(graph: &mut Graph, members: HashMap<K, Vec<u32>>) -> HashMap<K, u32> {
    members.into_iter().map(|(key, oids)| (key, graph.all(oids))).collect()
}

/// What the configuration says of functions, by name.
struct Rules<'a>(HashMap<&'a str, Vec<&'a Overrule>>);

impl<'a> Rules<'a> {
    fn new(overrules: &'a [Overrule]) -> Self {
        let mut rules: HashMap<&str, Vec<&Overrule>> = HashMap::new();
        for rule in overrules {
            rules.entry(&rule.name).or_default().push(rule);
        }
        Self(rules)
    }

    /// One that names the schema wins.
    fn find(&self, function: &Function) -> Option<&'a Overrule> {
        let rules = self.0.get(&*function.name)?;
        let exact = rules.iter().find(|rule| rule.schema.as_deref() == Some(&*function.schema));
        exact.or_else(|| rules.iter().find(|rule| rule.schema.is_none())).copied()
    }
}

impl Overrule {
    fn apply(&self, node: &mut Node) {
        match self.writes {
            Some(true) => node.declared = Does::WRITES,
            Some(false) => {
                node.declared = node.declared.without(Does::WRITES);
                node.never = node.never.with(Does::WRITES).with(Does::LOCAL);
            }
            None => {}
        }
        match self.pins {
            Some(true) => node.does = node.does.with(Does::PINS),
            Some(false) => node.never = node.never.with(Does::PINS),
            None => {}
        }
    }
}

fn names(code: &Code, graph: &Graph) -> Names {
    let Code { source, .. } = code;
    let mut names = Names::default();
    let does = |function: &Function| {
        let own = graph.of(function.oid);
        // An aggregate is as volatile as what it calls for each row.
        let parts = function.uses.iter().filter(|_| function.language == Language::None);
        parts.fold(own, |does, oid| does.with(graph.of(*oid)))
    };
    let judged: Vec<(&Function, Does)> =
        source.functions.iter().map(|function| (function, does(function))).collect();
    names.add_routines(judged.iter().map(|(function, does)| NewRoutine {
        schema: &function.schema,
        name: &function.name,
        arguments: function.arguments,
        does: *does,
    }));
    for schema in &source.roles {
        names.set_role(schema);
    }
    for (function, does) in judged.iter().filter(|(function, _)| function.attribute) {
        names.add_attribute(&function.name, *does);
    }
    for (name, oid) in &source.operators {
        names.add_operator(name, graph.of(*oid));
    }
    for one in &source.types {
        names.add_type(&one.name, graph.of(one.function));
    }
    for oid in &source.everywhere {
        names.add_everywhere(graph.of(*oid));
    }
    for oid in &source.events {
        names.add_events(graph.of(*oid));
    }
    names.set_functions(judged.iter().map(|(function, does)| (function.oid, *does)).collect());
    names
}

#[cfg(test)]
#[path = "closure_tests.rs"]
mod tests;
