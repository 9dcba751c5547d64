//! Config text to a tree: maps, arrays, includes and variables (CFG-001 to CFG-023).
//!
//! The scalars are in `scalar`. Everything a hostile text could use to exhaust the stack or memory is bounded:
//! nesting, includes, and what variables multiply.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cursor::Cursor;
use super::problem::{Problem, SYNTAX_ERROR, Sources};
use super::scalar::{self, Scalar};
use super::value::{Map, Node, Pos, Text, Value};

/// Deeper nesting of maps and arrays is refused: the tree is walked recursively.
const DEPTH_MAX: usize = 100;
/// How deep includes and environment references may nest; a file that includes itself ends here.
const INCLUDE_DEPTH_MAX: usize = 16;
const INCLUDES_MAX: usize = 1_000;
/// What `$NAME` may copy in all, so that variables of variables do not explode.
const COPIED_BYTES_MAX: usize = 64 << 20;

/// Where the outside comes from; the core does no file access itself.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    pub read_file: &'a dyn Fn(&Path) -> io::Result<String>,
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// Parses a text that stands alone: no includes, no environment.
pub fn parse(text: &str) -> Result<Value, Problem> {
    let no_file = |_: &Path| Err(io::ErrorKind::NotFound.into());
    let inputs = Inputs { read_file: &no_file, env: &|_| None };
    let mut shared = Shared::new(&inputs);
    let file = shared.sources.add(String::new(), Arc::from(text));
    shared.parse_text(Cursor::new(text, file), Path::new("")).map(Value::Map)
}

/// Parses a file with its includes. The sources are returned in any case, to show what is wrong.
pub(super) fn parse_file(path: &Path, inputs: &Inputs<'_>) -> (Result<Map, Problem>, Sources) {
    let mut shared = Shared::new(inputs);
    let result = shared.parse_file(path);
    (result, shared.sources)
}

/// What a file, its includes and its variables have in common.
struct Shared<'i> {
    inputs: &'i Inputs<'i>,
    sources: Sources,
    /// Open maps and arrays, over all files.
    depth: usize,
    include_depth: usize,
    includes: usize,
    copied_bytes: usize,
    /// Environment variables being resolved, to find cycles.
    env_open: Vec<String>,
}

struct Parser<'s, 'i, 't> {
    shared: &'s mut Shared<'i>,
    cursor: Cursor<'t>,
    /// The folder that includes are relative to.
    folder: &'t Path,
    /// The maps being filled, outermost first: where variables are looked up (CFG-021).
    scopes: Vec<Map>,
}

/// What surrounds a pair; it decides what may follow and how errors are worded.
#[derive(Clone, Copy, PartialEq)]
enum Within {
    Top,
    Map,
}

impl<'i> Shared<'i> {
    fn new(inputs: &'i Inputs<'i>) -> Self {
        Shared {
            inputs,
            sources: Sources::default(),
            depth: 0,
            include_depth: 0,
            includes: 0,
            copied_bytes: 0,
            env_open: Vec::new(),
        }
    }

    fn parse_file(&mut self, path: &Path) -> Result<Map, Problem> {
        let name = path.display().to_string();
        let text: Arc<str> = (self.inputs.read_file)(path)
            .map_err(|error| {
                Problem::nowhere(format!("open {name}: {}", go_io_text(&error)))
                    .remedy("check the path and that it may be read by the user natsd runs as")
            })?
            .into();
        let file = self.sources.add(name, text.clone());
        let folder = path.parent().unwrap_or(Path::new(""));
        self.parse_text(Cursor::new(&text, file), folder)
    }

    fn parse_text(&mut self, cursor: Cursor<'_>, folder: &Path) -> Result<Map, Problem> {
        Parser { shared: self, cursor, folder, scopes: Vec::new() }.document()
    }
}

impl Parser<'_, '_, '_> {
    /// The whole text: pairs without braces, or one pair of braces around them (CFG-002).
    fn document(&mut self) -> Result<Map, Problem> {
        self.skip_space_and_comments();
        // More braces than one mean nothing more.
        let mut braces = 0;
        while self.cursor.take('{') {
            braces += 1;
            self.skip_space_and_comments();
        }
        let map = self.pairs(if braces > 0 { Within::Map } else { Within::Top })?;
        self.skip_space_and_comments();
        while braces > 1 && self.cursor.take('}') {
            braces -= 1;
            self.skip_space_and_comments();
        }
        match self.cursor.peek() {
            None => Ok(map),
            Some(other) => Err(self.parse_error(format!(
                "Expected a top-level value to end with a new line, comment or EOF, but got '{other}' instead."
            ))
            .remedy("remove what follows the closing `}`")),
        }
    }

    /// Pairs up to the closing brace, which is consumed, or the end of the text.
    fn pairs(&mut self, within: Within) -> Result<Map, Problem> {
        self.enter()?;
        self.scopes.push(Map::default());
        while !self.at_end_of_pairs(within)? {
            self.pair(within)?;
        }
        self.shared.depth -= 1;
        let mut map = self.scopes.pop().unwrap_or_default();
        map.finish();
        Ok(map)
    }

    fn at_end_of_pairs(&mut self, within: Within) -> Result<bool, Problem> {
        self.skip_space_and_comments();
        match (self.cursor.peek(), within) {
            (None, Within::Top) => Ok(true),
            (None, Within::Map) => {
                Err(self.parse_error("Unexpected EOF processing map.").remedy("close the map with `}`"))
            }
            (Some('}'), Within::Map) => {
                self.cursor.next();
                Ok(true)
            }
            (Some('}'), Within::Top) => {
                // One stray brace at the very end is tolerated (CFG-002).
                let brace = self.cursor;
                self.cursor.next();
                self.skip_space_and_comments();
                match self.cursor.peek() {
                    None => Ok(true),
                    Some(_) => {
                        self.cursor = brace;
                        Err(self
                            .parse_error("Unexpected map end '}'.")
                            .remedy("remove it, or open the map with `{`"))
                    }
                }
            }
            (Some(']'), Within::Map) => Err(self.parse_error("Unexpected array end ']' processing map.")),
            (Some(separator @ ('=' | ':')), _) => Err(self
                .parse_error(format!("Unexpected key separator '{separator}'"))
                .remedy("put a key before it")),
            (Some(stray @ (',' | ';')), _) => Err(self
                .parse_error(format!("Unexpected terminator '{stray}'."))
                .remedy("remove it: a pair is ended once")),
            (Some(_), _) => Ok(false),
        }
    }

    fn pair(&mut self, within: Within) -> Result<(), Problem> {
        let at = self.pos_in_quotes();
        let (key, quoted) = self.key(within)?;
        if !quoted
            && key.eq_ignore_ascii_case("include")
            && self.cursor.peek().is_some_and(char::is_whitespace)
        {
            self.include(at)?;
            return self.end_of_pair(within);
        }
        self.separator(within, &key, at)?;
        let value = self.value()?;
        self.insert(key, Node::new(value, at));
        self.end_of_pair(within)
    }

    /// Where what comes stands; of a text in quotes its first letter, as in nats-server.
    fn pos_in_quotes(&self) -> Pos {
        let mut at = self.cursor.pos();
        at.column += u32::from(matches!(self.cursor.peek(), Some('"' | '\'')));
        at
    }

    fn key(&mut self, within: Within) -> Result<(Text, bool), Problem> {
        if let Some(quote @ ('"' | '\'')) = self.cursor.peek() {
            self.cursor.next();
            let key = Text::from(self.cursor.take_while(|c| c != quote));
            if !self.cursor.take(quote) {
                return Err(self
                    .parse_error("Unexpected EOF.")
                    .remedy(format!("close the key with {quote}")));
            }
            return Ok((key, true));
        }
        let start = self.cursor.pos();
        let key = Text::from(self.cursor.take_while(|c| !c.is_whitespace() && c != '=' && c != ':'));
        if self.cursor.peek().is_none() {
            return Err(match within {
                Within::Top => {
                    Problem::at(start, "config is invalid").detail(format!("the key {key:?} has no value"))
                }
                Within::Map => self.parse_error("Unexpected EOF processing map key."),
            }
            .remedy("give the key a value, or remove it"));
        }
        Ok((key, false))
    }

    /// Steps from a key to its value. At the top level the value must start on the separator's line (CFG-007).
    fn separator(&mut self, within: Within, key: &str, at: Pos) -> Result<(), Problem> {
        self.cursor.take_while(char::is_whitespace);
        if matches!(self.cursor.peek(), Some('=' | ':')) {
            self.cursor.next();
        }
        match within {
            Within::Top => self.cursor.take_while(is_blank),
            Within::Map => self.cursor.take_while(char::is_whitespace),
        };
        let text = match (self.cursor.peek(), within) {
            (Some('\n' | '\r'), _) => "Expected value but found new line".to_owned(),
            (Some(','), Within::Map) => "Unexpected map value terminator \",\".".to_owned(),
            (Some('}'), Within::Map) => return Err(Problem::at(at, format!("the key {key:?} has no value"))),
            (None, Within::Map) => "Unexpected EOF processing map.".to_owned(),
            _ => return Ok(()),
        };
        Err(self.parse_error(text).detail(format!("the key {key:?} has no value")))
    }

    fn end_of_pair(&mut self, within: Within) -> Result<(), Problem> {
        self.skip_blanks_and_comment();
        let (level, closes) = match within {
            Within::Top => ("top-level value to end with a new line, comment or EOF", "EOF"),
            Within::Map => ("map value terminator \",\" or a map terminator \"}\"", "`}`"),
        };
        match self.cursor.peek() {
            None => Ok(()),
            Some('\n' | '\r') => Ok(()),
            Some(',' | ';') => {
                self.cursor.next();
                Ok(())
            }
            Some('}') => {
                // At the top level the reference takes a stray brace as a terminator (CFG-002).
                if within == Within::Top {
                    self.cursor.next();
                }
                Ok(())
            }
            Some(other) => Err(self
                .parse_error(format!("Expected a {level}, but got '{other}' instead."))
                .remedy(format!(
                    "end the value with a new line, `,`, `;` or {closes}; quote it if this belongs to it"
                ))),
        }
    }

    fn value(&mut self) -> Result<Value, Problem> {
        match self.cursor.peek() {
            Some('{') => {
                self.cursor.next();
                self.pairs(Within::Map).map(Value::Map)
            }
            Some('[') => {
                self.cursor.next();
                self.array().map(Value::Array)
            }
            _ => match scalar::read(&mut self.cursor)? {
                Scalar::Value(value) => Ok(value),
                Scalar::Variable(name) => self.variable(&name),
            },
        }
    }

    fn array(&mut self) -> Result<Vec<Node>, Problem> {
        self.enter()?;
        let mut items = Vec::new();
        loop {
            self.skip_space_and_comments();
            match self.cursor.peek() {
                Some(']') => break,
                Some(',') => {
                    return Err(self
                        .parse_error("Unexpected array value terminator ','.")
                        .remedy("put a value before it, or remove it"));
                }
                None => return Err(self.array_end_error()),
                Some(_) => {}
            }
            let at = self.pos_in_quotes();
            let value = self.value()?;
            items.push(Node::new(value, at));
            self.skip_blanks_and_comment();
            match self.cursor.peek() {
                Some(',' | '\n' | '\r') => {
                    self.cursor.next();
                }
                Some(']') => {}
                _ => return Err(self.array_end_error()),
            }
        }
        self.cursor.next();
        self.shared.depth -= 1;
        items.shrink_to_fit();
        Ok(items)
    }

    fn array_end_error(&self) -> Problem {
        let found = self.cursor.peek().unwrap_or(' ');
        self.parse_error(format!(
            "Expected an array value terminator \",\" or an array terminator \"]\", but got '{found}' instead."
        ))
        .remedy("separate values with `,` or new lines and close the array with `]`")
    }

    /// `include 'file'`: the pairs of the file join the map it stands in (CFG-020).
    fn include(&mut self, at: Pos) -> Result<(), Problem> {
        self.cursor.take_while(is_blank);
        let name = scalar::include_name(&mut self.cursor)?;
        // Joined even when absolute, as nats-server does.
        let path = join(self.folder, &name);
        let refuse = |text: String| Problem::at(at, format!("error parsing include file '{name}', {text}"));
        let shared = &mut *self.shared;
        shared.includes += 1;
        if shared.include_depth == INCLUDE_DEPTH_MAX {
            return Err(refuse(format!("includes nest deeper than {INCLUDE_DEPTH_MAX} files"))
                .remedy("a file may not include itself, not even through others"));
        }
        if shared.includes > INCLUDES_MAX {
            return Err(refuse(format!("more than {INCLUDES_MAX} includes")));
        }
        shared.include_depth += 1;
        let result = shared.parse_file(&path);
        shared.include_depth -= 1;
        let pairs = result.map_err(|problem| match problem.at {
            // The deepest place is the one to mend.
            Some(_) if problem.text.starts_with("error parsing include file") => problem,
            Some(inner) => Problem { text: refuse(problem.text).text, at: Some(inner), ..problem },
            None => Problem { at: Some(at), text: refuse(problem.text).text, ..problem },
        })?;
        for (key, node) in pairs.into_entries() {
            self.insert(key, node);
        }
        Ok(())
    }

    /// `$NAME`: a key seen above in an enclosing map, else the environment (CFG-021).
    fn variable(&mut self, name: &str) -> Result<Value, Problem> {
        let at = self.cursor.pos();
        let found = self.scopes.iter_mut().rev().find_map(|scope| scope.get_mut(name));
        if let Some(node) = found {
            node.used_as_variable = true;
            let left = COPIED_BYTES_MAX.saturating_sub(self.shared.copied_bytes);
            let cost = node.value.copy_cost(left);
            if cost > left {
                return Err(Problem::at(
                    at,
                    format!("variables expand to more than {COPIED_BYTES_MAX} bytes"),
                )
                .remedy(format!("do not nest references through '${name}'")));
            }
            let value = node.value.clone();
            self.shared.copied_bytes += cost;
            self.check_depth(self.shared.depth + value.depth())?;
            return Ok(value);
        }
        self.environment(name, at)
    }

    fn environment(&mut self, name: &str, at: Pos) -> Result<Value, Problem> {
        let reference = |tail: &str| {
            Problem::at(at, format!("variable reference for '{name}' on line {} {tail}", at.line))
        };
        if self.shared.env_open.iter().any(|open| open == name)
            || self.shared.env_open.len() == INCLUDE_DEPTH_MAX
        {
            return Err(Problem::at(at, format!("variable reference cycle for '{name}'"))
                .remedy("an environment variable may not refer to itself"));
        }
        let Some(text) = (self.shared.inputs.env)(name) else {
            return Err(reference("can not be found").remedy(format!(
                "define `{name}` above this line or in the environment, or quote the text"
            )));
        };
        self.shared.env_open.push(name.to_owned());
        // The text is read as a config value would be.
        let document = format!("value={text}");
        let mut parser = Parser {
            shared: &mut *self.shared,
            cursor: Cursor::standing_at(&document, at),
            folder: self.folder,
            scopes: Vec::new(),
        };
        let parsed = parser.document();
        self.shared.env_open.pop();
        parsed
            .map_err(|cause| reference(&format!("could not be parsed: {}", cause.text)))?
            .get("value")
            .map(|node| node.value.clone())
            .ok_or_else(|| reference("could not be parsed: it is empty"))
    }

    fn insert(&mut self, key: Text, node: Node) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(key, node);
        }
    }

    fn enter(&mut self) -> Result<(), Problem> {
        self.shared.depth += 1;
        self.check_depth(self.shared.depth)
    }

    fn check_depth(&self, depth: usize) -> Result<(), Problem> {
        if depth > DEPTH_MAX {
            return Err(self.parse_error(format!("Maps and arrays nest deeper than {DEPTH_MAX} levels.")));
        }
        Ok(())
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            self.cursor.take_while(char::is_whitespace);
            if !self.skip_comment() {
                return;
            }
        }
    }

    fn skip_blanks_and_comment(&mut self) {
        self.cursor.take_while(is_blank);
        self.skip_comment();
    }

    fn skip_comment(&mut self) -> bool {
        let rest = self.cursor.rest();
        let comment = rest.starts_with('#') || rest.starts_with("//");
        if comment {
            self.cursor.take_while(|c| c != '\n');
        }
        comment
    }

    fn parse_error(&self, text: impl AsRef<str>) -> Problem {
        parse_error_at(self.cursor.pos(), text)
    }
}

/// A syntax error in nats-server's words (CFG-025).
pub(super) fn parse_error_at(at: Pos, text: impl AsRef<str>) -> Problem {
    Problem::at(at, format!("{SYNTAX_ERROR}{}: '{}'", at.line, text.as_ref()))
}

/// An I/O error as Go words it: "no such file or directory".
pub fn go_io_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn join(folder: &Path, name: &str) -> PathBuf {
    folder.join(name.trim_start_matches('/'))
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}
