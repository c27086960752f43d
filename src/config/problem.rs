//! What is wrong with a file, and how that is told: as a compiler would, with secrets hidden.

use super::mask::Mask;
use super::tree::Mark;
use std::fmt;

/// Everything that is wrong with one file; never empty. `Display` renders it for a terminal, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rendered}")]
pub struct ConfigErrors {
    rendered: String,
    count: usize,
}

impl ConfigErrors {
    /// How many errors there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// An error of the file as a whole: it cannot be read at all.
    pub(crate) fn unreadable(origin: &str, reason: &str) -> Self {
        Self { rendered: format!("error: {origin}: {reason}\n"), count: 1 }
    }

    /// Renders `problems` of `text` in the order of the file.
    pub(crate) fn render(origin: &str, text: &str, mask: &Mask, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.mark.span.start);
        let rendered: Vec<_> =
            problems.iter().map(|problem| problem.render(origin, text, mask).to_string()).collect();
        Self { rendered: rendered.join("\n"), count: problems.len() }
    }
}

/// One thing that is wrong. None of its texts may contain a secret.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    /// Where.
    pub(crate) mark: Mark,
    /// The key's path; empty when there is none.
    pub(crate) path: String,
    /// What was found.
    pub(crate) found: String,
    /// What is allowed there.
    pub(crate) allowed: String,
    /// What to do.
    pub(crate) help: Option<String>,
}

struct Rendered<'a> {
    problem: &'a Problem,
    origin: &'a str,
    line: String,
    offset: usize,
    length: usize,
}

impl Problem {
    fn render<'a>(&'a self, origin: &'a str, text: &str, mask: &Mask) -> Rendered<'a> {
        let (line, offset, length) = mask.show(text, self.mark.line_of(text), &self.mark.span);
        Rendered { problem: self, origin, line, offset, length }
    }
}

impl fmt::Display for Rendered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { mark, path, found, allowed, help } = self.problem;
        let colon = if path.is_empty() { "" } else { ": " };
        writeln!(f, "error: {path}{colon}{found}")?;
        let number = mark.line.to_string();
        let margin = " ".repeat(number.len());
        writeln!(f, "{margin}--> {}:{}:{}", self.origin, mark.line, mark.column)?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {}", self.line.trim_end())?;
        let caret = format!("{}{}", " ".repeat(self.offset), "^".repeat(self.length));
        writeln!(f, "{margin} | {}", format!("{caret} {allowed}").trim_end())?;
        if let Some(help) = help {
            writeln!(f, "{margin} = help: {help}")?;
        }
        Ok(())
    }
}
