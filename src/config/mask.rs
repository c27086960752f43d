//! Which parts of the file's text must never be printed.
//!
//! Decided on the text alone, before and without parsing: a file that is not YAML, or whose `password` is misspelt,
//! must not give its secrets away either. In doubt too much is hidden.

use std::ops::Range;

/// What stands in place of a secret, whatever its length.
pub(crate) const HIDDEN: &str = "****";
/// Keys whose values are secrets.
const SECRET_KEYS: [&str; 3] = ["password", "scram_verifier", "token"];

/// The hidden parts of one text, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Mask {
    ranges: Vec<Range<usize>>,
}

/// What the lines after a secret key's line may still belong to.
enum Carry {
    Nothing,
    /// A value that goes on in every line that is indented deeper.
    Deeper(usize),
    /// A value that begins on the next line; deeper lines go on with it.
    Next(usize),
    /// A quoted string that is still open.
    Quoted(char),
}

impl Mask {
    /// Finds what looks like a secret's value in `text`.
    pub(crate) fn of(text: &str) -> Self {
        let mut mask = Self::default();
        let mut carry = Carry::Nothing;
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            carry = mask.read_line(line, start, carry);
            start += line.len();
        }
        mask
    }

    /// Hides one more part.
    pub(crate) fn hide(&mut self, range: Range<usize>) {
        self.ranges.push(range);
    }

    /// Whether any of `span` is hidden.
    pub(crate) fn hides(&self, span: &Range<usize>) -> bool {
        self.ranges.iter().any(|range| range.start < span.end && span.start < range.end)
    }

    /// The part `line` of `text` as it may be printed, and where `span` lies in it (characters: offset, length).
    pub(crate) fn show(&self, text: &str, line: Range<usize>, span: &Range<usize>) -> (String, usize, usize) {
        let mut shown = String::new();
        let (mut from, mut until) = (None, 0);
        let mut hidden = false;
        for (offset, c) in text.get(line.clone()).unwrap_or_default().char_indices() {
            let at = line.start + offset;
            let hide = self.hides(&(at..at + c.len_utf8()));
            let column = shown.chars().count();
            if at >= span.start && from.is_none() {
                // A place inside a hidden part is shown as the whole of it.
                from = Some(if hide && hidden { column.saturating_sub(HIDDEN.len()) } else { column });
            }
            match (hide, hidden) {
                (true, false) => shown.push_str(HIDDEN),
                (true, true) => {}
                (false, _) if c.is_control() => shown.push(' '),
                (false, _) => shown.push(c),
            }
            hidden = hide;
            if at < span.end {
                until = shown.chars().count();
            }
        }
        let from = from.unwrap_or_else(|| shown.chars().count());
        (shown, from, until.saturating_sub(from).max(1))
    }

    /// Hides all of one line but the words that `is_known` vouches for and a plain key at its beginning: in a text
    /// that is not YAML anything may be a secret.
    pub(crate) fn hide_unknown_words(
        &mut self,
        text: &str,
        line: Range<usize>,
        is_known: &dyn Fn(&str) -> bool,
    ) {
        let is_structure = |c: char| c.is_whitespace() || ":,{}[]\"'#&*|>".contains(c);
        let shown = text.get(line.clone()).unwrap_or_default();
        let mut first = true;
        for word in shown.split(is_structure).filter(|word| !word.is_empty() && *word != "-") {
            let start = word.as_ptr().addr() - shown.as_ptr().addr();
            let end = start + word.len();
            let plain =
                word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            let is_key = first && plain && shown.get(end..).is_some_and(|rest| rest.starts_with(':'));
            if !is_key && !is_known(word) {
                self.hide(line.start + start..line.start + end);
            }
            first = false;
        }
    }

    fn read_line(&mut self, line: &str, start: usize, carry: Carry) -> Carry {
        let content = line.trim_end();
        let indent = content.len() - content.trim_start().len();
        let whole = start + indent..start + content.len();
        match carry {
            Carry::Quoted(quote) => {
                self.hide(whole);
                if content.contains(quote) { Carry::Deeper(indent) } else { Carry::Quoted(quote) }
            }
            Carry::Deeper(than) if content.is_empty() || indent > than => {
                self.hide(whole);
                Carry::Deeper(than)
            }
            Carry::Next(than) if content.is_empty() => Carry::Next(than),
            Carry::Next(_) if is_reference(content.trim_start()) => Carry::Nothing,
            Carry::Next(than) => {
                self.hide(whole);
                Carry::Deeper(than)
            }
            Carry::Nothing | Carry::Deeper(_) => self.scan(content, start, indent),
        }
    }

    /// Hides the value after each secret key of one line.
    fn scan(&mut self, line: &str, start: usize, indent: usize) -> Carry {
        let mut at = 0;
        while let Some(word) = next_word(line, at) {
            at = word.end;
            let name = line.get(word.clone()).unwrap_or_default();
            if !is_secret_key(name) || line.get(..word.start).unwrap_or_default().ends_with("passthrough: ") {
                continue;
            }
            let rest = line.get(at..).unwrap_or_default();
            let closed = rest.trim_start_matches(['"', '\'']);
            let key_ends = if closed.trim_start().starts_with(':') { closed } else { rest };
            let value = key_ends.trim_start_matches([' ', '\t', ':']);
            let from = line.len() - value.len();
            if let Some(length) = reference_length(value) {
                at = from + length;
                continue;
            }
            let flow = line.get(..word.start).unwrap_or_default().contains(['{', '[']);
            let end = from + value_length(value, flow);
            self.hide(start + from..start + end);
            if end == line.len() {
                return carry_of(value, indent);
            }
            at = end;
        }
        Carry::Nothing
    }
}

fn carry_of(value: &str, indent: usize) -> Carry {
    let open = |quote: char| value.matches(quote).count() % 2 == 1;
    if value.is_empty() || value.starts_with(['|', '>', '&', '!', '#']) {
        Carry::Next(indent)
    } else if open('"') {
        Carry::Quoted('"')
    } else if open('\'') {
        Carry::Quoted('\'')
    } else {
        Carry::Deeper(indent)
    }
}

/// How much of `value` is the secret: up to where something follows that is surely no part of it.
fn value_length(value: &str, flow: bool) -> usize {
    if !flow {
        return value.len();
    }
    let ends = value.char_indices().find(|(at, c)| {
        matches!(c, ',' | '}' | ']') && follows_a_value(value.get(*at..).unwrap_or_default())
    });
    ends.map_or(value.len(), |(at, _)| value.get(..at).unwrap_or_default().trim_end().len())
}

/// `, key: …`, or nothing but closing brackets.
fn follows_a_value(rest: &str) -> bool {
    let rest = rest.trim_start_matches(['}', ']', ' ']);
    let Some(next) = rest.strip_prefix(',') else { return rest.is_empty() };
    let next = next.trim_start().trim_start_matches("{ ");
    let word = next.trim_start_matches(|c: char| c.is_ascii_lowercase() || c == '_');
    word.len() < next.len() && word.starts_with(": ") && !next.contains(['"', '\''])
}

/// `env: NAME` or `file: PATH`.
fn is_reference(text: &str) -> bool {
    text.starts_with("env: ") || text.starts_with("file: ")
}

/// The length of `{ env: NAME }` or `{ file: PATH }` at the beginning of `value`.
fn reference_length(value: &str) -> Option<usize> {
    let inside = value.strip_prefix('{')?;
    is_reference(inside.trim_start()).then_some(())?;
    value.find('}').map(|end| end + 1)
}

fn next_word(line: &str, from: usize) -> Option<Range<usize>> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let start = from + line.get(from..)?.find(is_word)?;
    let rest = line.get(start..)?;
    Some(start..start + rest.find(|c| !is_word(c)).unwrap_or(rest.len()))
}

/// Whether a key's value is a secret: also when the key is misspelt, or another program's.
pub(crate) fn is_secret_key(key: &str) -> bool {
    let key = key.to_lowercase();
    if key == "passthrough" {
        return false;
    }
    let contains =
        ["passw", "passp", "pwd", "secret", "token", "verifier"].iter().any(|part| key.contains(part));
    let near = SECRET_KEYS.iter().any(|name| strsim::osa_distance(name, &key) <= name.len() / 4);
    contains || near || key == "pass" || key == "pw"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mask = Mask::of(text);
        let mut start = 0;
        let mut lines = Vec::new();
        for line in text.lines() {
            lines.push(mask.show(text, start..start + line.len(), &(0..0)).0);
            start += line.len() + 1;
        }
        lines.join("\n")
    }

    #[test]
    fn a_secret_is_hidden_and_its_neighbours_are_not() {
        for (text, expected) in [
            ("password: hunter2 # note", "password: ****"),
            ("pasword hunter2", "pasword ****"),
            ("{ user: a, password: hunter2, interval: 5s }", "{ user: a, password: ****, interval: 5s }"),
            ("{ user: a, password: \"hun, ter}2\" }", "{ user: a, password: **** }"),
            ("{ password: { env: PASSWORD }, token: x }", "{ password: { env: PASSWORD }, token: **** }"),
            ("password: |\n  one\n\n  two\nuser: x", "password: ****\n****\n\n****\nuser: x"),
            ("password:\n  hunter2\nuser: x", "password:\n****\nuser: x"),
            ("password:\n  env: NAME\nuser: x", "password:\n  env: NAME\nuser: x"),
            ("password: \"one\ntwo\"\nuser: x", "password: ****\n****\nuser: x"),
            ("passthrough: password\nuser: x", "passthrough: password\nuser: x"),
            ("\"password\": \"hunter2\"\nuser: x", "\"password\": ****\nuser: x"),
        ] {
            let unindented: Vec<_> = shown(text)
                .lines()
                .map(|line| match line.trim_start() {
                    HIDDEN => HIDDEN.to_owned(),
                    _ => line.to_owned(),
                })
                .collect();
            assert_eq!(unindented.join("\n"), expected, "{text}");
        }
    }

    #[test]
    fn the_place_is_found_in_what_is_shown() {
        let text = "{ password: hunter2, size: 5 }";
        let mask = Mask::of(text);
        let (shown, from, length) = mask.show(text, 0..text.len(), &(27..28));
        assert_eq!((shown.as_str(), from, length), ("{ password: ****, size: 5 }", 24, 1));
        let (_, from, length) = mask.show(text, 0..text.len(), &(12..19));
        assert_eq!((from, length), (12, 4));
    }
}
