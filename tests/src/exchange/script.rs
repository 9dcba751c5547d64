//! Reads the files of `tests/exchanges` into cases and steps.

use super::tokens::Claims;

/// The cases of one file, and its lines for writing it again.
pub struct Script {
    pub cases: Vec<Case>,
    lines: Vec<String>,
}

pub struct Case {
    pub name: String,
    /// IDs of the facts that the case shows, like CORE-077.
    pub facts: Vec<String>,
    pub config: Option<String>,
    pub args: Vec<String>,
    /// Files that lie beside the config, by name.
    pub files: Vec<(String, String)>,
    pub json: bool,
    /// Any member of a queue group may get a message: the sid in MSG is not recorded.
    pub any_sid: bool,
    /// What comes in one step may come in any order: it is recorded sorted.
    pub any_order: bool,
    pub claims: Claims,
    pub steps: Vec<Step>,
}

pub struct Step {
    /// Counted from 1.
    pub line: usize,
    /// The last line of the step, its block included.
    last_line: usize,
    pub text: String,
    pub action: Action,
    /// What the file says that the server answered.
    pub expected: Vec<String>,
}

pub enum Action {
    Client { name: String, action: ClientAction },
    Log(String),
    NoLog(String),
    Signal(String),
    Reload(String),
    Update { account: String, claims: String },
    Refused,
    Exit,
}

pub enum ClientAction {
    Open { how: Opening, cert: Option<String>, record_info: bool },
    Tls { cert: Option<String>, fails: bool },
    Info,
    Join { fields: String },
    Rejoin { fields: String },
    Login { signer: String, user: String, claims: String },
    Answers { description: String },
    Repeat { text: String },
    Send { text: String },
    Dribble { text: String },
    Sync,
    Read { count: usize },
    Closed,
    Close,
    HalfClose,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    Plain,
    Raw,
    Tls,
    TlsFirst,
}

impl Script {
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut cases: Vec<Case> = Vec::new();
        let mut at = 0;
        while at < lines.len() {
            let line = &lines[at];
            let number = at + 1;
            let problem = |what: &str| format!("line {number}: {what}: {line}");
            at += 1;
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(title) = line.strip_prefix("== ") {
                cases.push(Case::titled(title).ok_or_else(|| problem("expected `== name (FACTS)`"))?);
                continue;
            }
            let case = cases.last_mut().ok_or_else(|| problem("before the first `== case`"))?;
            if is_answer(line) {
                let step = case.steps.last_mut().ok_or_else(|| problem("an answer before any step"))?;
                step.expected.push(line.clone());
                continue;
            }
            let block_end = lines[at..].iter().position(|line| !line.starts_with("  ")).map(|n| at + n);
            let block_end = block_end.unwrap_or(lines.len());
            let block = unindented(&lines[at..block_end]);
            at = block_end;
            case.add(line, number, block).map_err(|what| problem(&what))?;
        }
        Ok(Self { cases, lines })
    }

    /// The file with the answers of some cases replaced by what was seen: one list a step.
    pub fn with_answers(&self, seen: &[Option<Vec<Vec<String>>>]) -> String {
        let mut lines: Vec<Option<String>> = self.lines.iter().cloned().map(Some).collect();
        let mut added: Vec<Vec<String>> = vec![Vec::new(); lines.len() + 1];
        for (case, seen) in self.cases.iter().zip(seen) {
            let Some(seen) = seen else { continue };
            for (step, answers) in case.steps.iter().zip(seen) {
                let first = step.last_line;
                for line in lines.iter_mut().skip(first).take(step.expected.len()) {
                    *line = None;
                }
                added[step.last_line].clone_from(answers);
            }
        }
        let mut text = String::new();
        for (number, line) in lines.into_iter().enumerate() {
            for line in added[number].iter().chain(&line) {
                text.push_str(line);
                text.push('\n');
            }
        }
        for line in &added[self.lines.len()] {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// `A< …`, `A<< …` or `server< …`.
fn is_answer(line: &str) -> bool {
    let name = line.trim_start_matches(|letter: char| letter.is_ascii_alphanumeric());
    name.len() < line.len() && name.starts_with('<')
}

fn unindented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{}\n", &line[2..])).collect()
}

impl Case {
    /// Names of keys that answers may show.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.claims.accounts.iter().map(|(name, _)| name.clone()).collect();
        names.extend(["SYS".to_owned(), "issuer".to_owned()]);
        for step in &self.steps {
            if let Action::Client { action: ClientAction::Login { signer, user, .. }, .. } = &step.action {
                names.extend(signer.split('@').map(str::to_owned));
                names.push(user.clone());
            }
        }
        names
    }

    fn titled(title: &str) -> Option<Self> {
        let (name, facts) = title.strip_suffix(')')?.split_once(" (")?;
        Some(Self {
            name: name.to_owned(),
            facts: facts.split_whitespace().map(str::to_owned).collect(),
            config: None,
            args: Vec::new(),
            files: Vec::new(),
            json: false,
            any_sid: false,
            any_order: false,
            claims: Claims::default(),
            steps: Vec::new(),
        })
    }

    fn add(&mut self, line: &str, number: usize, block: String) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "config" => self.config = Some(block),
            "args" => self.args = rest.split_whitespace().map(str::to_owned).collect(),
            "file" => self.files.push((rest.to_owned(), block)),
            "json" => self.json = true,
            "any-sid" => self.any_sid = true,
            "any-order" => self.any_order = true,
            "operator" | "account" | "activation" => {
                self.claims.read(word, rest)?;
            }
            _ => {
                let last_line = number + block.lines().count();
                let action = Action::parse(line, block)?;
                let text = line.to_owned();
                self.steps.push(Step { line: number, last_line, text, action, expected: Vec::new() });
            }
        }
        Ok(())
    }
}

impl Action {
    fn parse(line: &str, block: String) -> Result<Self, String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Ok(match word {
            "log" => Self::Log(rest.to_owned()),
            "nolog" => Self::NoLog(rest.to_owned()),
            "signal" => Self::Signal(rest.to_owned()),
            "reload" => Self::Reload(block),
            "update" => {
                let (account, claims) = rest.split_once(' ').unwrap_or((rest, "{}"));
                Self::Update { account: account.to_owned(), claims: claims.to_owned() }
            }
            "refused" => Self::Refused,
            "exit" => Self::Exit,
            _ => {
                let letters = |letter: char| letter.is_ascii_alphanumeric();
                let name = word.trim_end_matches(|letter| !letters(letter)).to_owned();
                if !name.starts_with(|letter: char| letter.is_ascii_uppercase()) {
                    return Err("unknown step".into());
                }
                let action = ClientAction::parse(&word[name.len()..], rest)?;
                Self::Client { name, action }
            }
        })
    }
}

impl ClientAction {
    fn parse(arrow: &str, rest: &str) -> Result<Self, String> {
        match arrow {
            ">" => return Ok(Self::Send { text: format!("{rest}\\r\\n") }),
            ">>" => return Ok(Self::Send { text: rest.to_owned() }),
            "" => {}
            _ => return Err("unknown arrow".into()),
        }
        let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        let cert = words.iter().find_map(|word| word.strip_prefix("cert=")).map(str::to_owned);
        Ok(match verb {
            "open" => {
                let has = |word: &str| words.contains(&word);
                let how = match () {
                    () if has("raw") => Opening::Raw,
                    () if has("tls") => Opening::Tls,
                    () if has("tls-first") => Opening::TlsFirst,
                    () => Opening::Plain,
                };
                Self::Open { how, cert, record_info: has("info") }
            }
            "tls" => Self::Tls { cert, fails: words.contains(&"fails") },
            "info" => Self::Info,
            "join" => Self::Join { fields: rest.to_owned() },
            "rejoin" => Self::Rejoin { fields: rest.to_owned() },
            "login" => {
                let mut parts = rest.splitn(3, ' ');
                let signer = parts.next().unwrap_or_default().to_owned();
                let user = parts.next().ok_or("expected `login ACCOUNT USER`")?.to_owned();
                Self::Login { signer, user, claims: parts.next().unwrap_or("{}").to_owned() }
            }
            "answers" => Self::Answers { description: rest.to_owned() },
            "repeat" => Self::Repeat { text: format!("{rest}\\r\\n") },
            "dribble" => Self::Dribble { text: format!("{rest}\\r\\n") },
            "sync" => Self::Sync,
            "read" => Self::Read { count: rest.parse().map_err(|_| "expected `read COUNT`")? },
            "closed" => Self::Closed,
            "close" => Self::Close,
            "half-close" => Self::HalfClose,
            _ => return Err("unknown client step".into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# topic\n\n== one (CORE-001)\nconfig\n  a: 1\n\nA open\nA> PING\nA read 1\nA< PONG\nreload\n  a: 2\nserver< ok\n";

    #[test]
    fn a_file_written_with_its_own_answers_is_the_same() {
        let script = Script::parse(TEXT).unwrap();
        let seen = script.cases[0].steps.iter().map(|step| step.expected.clone()).collect();
        assert_eq!(script.with_answers(&[Some(seen)]), TEXT);
    }

    #[test]
    fn steps_know_their_blocks_and_answers() {
        let script = Script::parse(TEXT).unwrap();
        let case = &script.cases[0];
        assert_eq!(case.config.as_deref(), Some("a: 1\n"));
        assert_eq!(case.steps[2].expected, ["A< PONG"]);
        assert_eq!(case.steps[3].expected, ["server< ok"]);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let error = Script::parse("== one (X)\nA jump\n").err().unwrap();
        assert_eq!(error, "line 2: unknown client step: A jump");
    }
}
