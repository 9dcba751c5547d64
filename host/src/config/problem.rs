//! What is wrong with a configuration: where, what, and what to do about it.
//!
//! Printed as `FILE:LINE:COL: text`, the offending line, what was expected and the remedy. The first line
//! keeps nats-server's text where there is a known one, because tools look for it.

use std::fmt;
use std::sync::Arc;

use super::value::Pos;

/// More problems are only counted: nobody reads them, and a hostile file could have a million.
const PROBLEMS_SHOWN_MAX: usize = 100;
/// A line that is longer is cut when shown.
const SHOWN_LINE_BYTES_MAX: usize = 160;

/// How a syntax error begins.
pub(super) const SYNTAX_ERROR: &str = "Parse error on line ";

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `None`: the matter has no place in a file (a flag, a missing file).
    pub at: Option<Pos>,
    pub text: String,
    /// What was looked for or found, shown with `|`.
    pub details: Vec<String>,
    /// What the operator can do, shown with `=`.
    pub remedy: Option<String>,
}

impl Problem {
    pub fn at(at: Pos, text: impl Into<String>) -> Self {
        Problem { at: Some(at), text: text.into(), details: Vec::new(), remedy: None }
    }

    pub fn nowhere(text: impl Into<String>) -> Self {
        Problem { at: None, text: text.into(), details: Vec::new(), remedy: None }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// Errors and warnings collected while a configuration is read.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub errors: Vec<Problem>,
    /// What a server does not start with, though `-t` takes the file (CFG-307).
    pub at_start: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl Report {
    pub fn error(&mut self, problem: Problem) {
        self.errors.push(problem);
    }

    pub fn error_at_start(&mut self, problem: Problem) {
        self.at_start.push(problem);
    }

    pub fn warn(&mut self, problem: Problem) {
        self.warnings.push(problem);
    }

    /// Keeps the value of a good result, collects the problem of a bad one.
    pub fn check<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.error(problem)).ok()
    }
}

/// The texts of the files that were read, in order; [`Pos::file`] is the index.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

#[derive(Clone, Debug)]
struct Source {
    name: String,
    text: Arc<str>,
}

impl Sources {
    pub(super) fn add(&mut self, name: String, text: Arc<str>) -> u16 {
        self.files.push(Source { name, text });
        u16::try_from(self.files.len() - 1).unwrap_or(u16::MAX)
    }

    pub fn name(&self, pos: Pos) -> &str {
        self.files.get(usize::from(pos.file)).map_or("", |source| source.name.as_str())
    }

    /// The line at `pos`, unless it may hold a secret: these texts end up in logs.
    fn shown_line(&self, pos: Pos) -> Option<&str> {
        let source = self.files.get(usize::from(pos.file))?;
        let line = source.text.lines().nth(usize::try_from(pos.line).ok()?.checked_sub(1)?)?.trim_end();
        (!may_hold_secret(line) && !line.is_empty()).then(|| cut_at_char(line, SHOWN_LINE_BYTES_MAX))
    }
}

/// All that is wrong, ready to print.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    pub errors: Vec<Problem>,
    pub warnings: Vec<Problem>,
    pub sources: Arc<Sources>,
}

impl ConfigErrors {
    pub(super) fn new(mut report: Report, sources: Arc<Sources>) -> Self {
        report.errors.append(&mut report.at_start);
        report.errors.sort_by_key(|problem| problem.at);
        report.warnings.sort_by_key(|problem| problem.at);
        ConfigErrors { errors: report.errors, warnings: report.warnings, sources }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&render(self.warnings.iter().chain(&self.errors), &self.sources))
    }
}

impl std::error::Error for ConfigErrors {}

/// The problems as text, one after the other, without a final newline.
pub fn render<'a>(problems: impl IntoIterator<Item = &'a Problem>, sources: &Sources) -> String {
    let mut text = String::new();
    let mut problems = problems.into_iter();
    for problem in problems.by_ref().take(PROBLEMS_SHOWN_MAX) {
        if !text.is_empty() {
            text.push('\n');
        }
        let place = problem.at.map(|at| format!("{}:{}:{}", sources.name(at), at.line, at.column));
        text += &match place {
            // nats-server names the line there, and no file.
            Some(place) if problem.text.starts_with(SYNTAX_ERROR) => {
                format!("{}\n   | {place}:", problem.text)
            }
            Some(place) => format!("{place}: {}", problem.text),
            None => problem.text.clone(),
        };
        if let Some(line) = problem.at.and_then(|at| sources.shown_line(at)) {
            text += &format!("\n   | {line}");
        }
        for detail in &problem.details {
            text += &format!("\n   | {detail}");
        }
        if let Some(remedy) = &problem.remedy {
            text += &format!("\n   = {remedy}");
        }
    }
    match problems.count() {
        0 => text,
        more => format!("{text}\nand {more} more"),
    }
}

fn may_hold_secret(line: &str) -> bool {
    const SECRETS: [&str; 9] = ["pass", "token", "secret", "seed", "jwt", "encryption", "ek", "key", "://"];
    let lower = line.to_ascii_lowercase().replace("key_file", "").replace("nkey", "");
    SECRETS.iter().any(|word| lower.contains(word))
}

fn cut_at_char(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
