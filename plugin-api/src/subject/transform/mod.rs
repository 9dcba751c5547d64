//! Subject transforms of mappings and streams: `orders.*.*` to `{{wildcard(2)}}.{{partition(3,1)}}`, compiled
//! once, applied to subjects (MAP-010 to MAP-020, JS-087).
//!
//! Not here: the renaming of imports, which goes both ways (the host's).

mod function;

use std::hash::Hasher;

use super::is_subset;
pub use function::{Call, Function, parse as parse_token};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    source: Box<[u8]>,
    /// Both ends are `>`: subjects stay as they are.
    is_identity: bool,
    steps: Vec<Step>,
    /// Where the tokens that the destination's `>` takes begin.
    tail: Option<usize>,
}

/// A token of the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Literal(Box<[u8]>),
    /// Of a token of the subject, by position.
    Of(usize, Function),
    /// Of some tokens joined, or of the whole subject.
    Partition {
        buckets: u32,
        tokens: Vec<usize>,
    },
    Random {
        below: i64,
    },
}

/// What is wrong with a transform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    #[error("invalid subject")]
    Subject,
    #[error("invalid mapping destination: invalid transform")]
    Destination,
    #[error("invalid mapping destination: invalid transform in {0}")]
    DestinationToken(String),
    #[error("invalid mapping destination: unknown function in {0}")]
    UnknownFunction(String),
    #[error("invalid mapping destination: wildcard index out of range in {0}")]
    IndexOutOfRange(String),
    #[error("invalid mapping destination: not enough arguments passed to the function in {0}")]
    TooFewArguments(String),
    #[error("invalid mapping destination: too many arguments passed to the function in {0}")]
    TooManyArguments(String),
    #[error("invalid mapping destination: function argument is invalid or in the wrong format in {0}")]
    Argument(String),
    #[error("invalid mapping destination: not using all of the token wildcard(s) in {0}")]
    UnusedWildcard(String),
    #[error(
        "invalid mapping destination: the only mapping function allowed for import transforms is \
         {{{{Wildcard()}}}} in {0}"
    )]
    NotForImports(String),
}

impl Transform {
    /// As the configuration of the server has it: what `new` finds, and what is wrong with the destination
    /// whatever its source.
    pub fn checked(source: &str, destination: &str) -> Result<Self, TransformError> {
        check(destination)?;
        Self::new(source, destination)
    }

    pub fn new(source: &str, destination: &str) -> Result<Self, TransformError> {
        let (from, to) = (Shape::of(source)?, Shape::of(destination)?);
        if !to.wildcards.is_empty() || from.has_tail != to.has_tail {
            return Err(TransformError::Subject);
        }
        let mut steps = Vec::with_capacity(to.tokens.len());
        for token in &to.tokens {
            if *token != ">" {
                steps.push(from.step(token)?);
            }
        }
        Ok(Self {
            source: source.as_bytes().into(),
            is_identity: source == ">" && destination == ">",
            steps,
            tail: to.has_tail.then(|| from.tokens.len() - 1),
        })
    }

    /// The same subject may get different ones.
    pub fn is_random(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Random { .. }))
    }

    /// Writes the other subject for one that the source matches; false if it does not.
    pub fn apply(&self, subject: &[u8], random: &mut dyn FnMut() -> u64, out: &mut Vec<u8>) -> bool {
        if !is_subset(&self.source, subject) {
            return false;
        }
        if self.is_identity {
            out.extend_from_slice(subject);
            return true;
        }
        let tokens: Vec<&[u8]> = subject.split(|&byte| byte == b'.').collect();
        let mut is_first = true;
        for step in &self.steps {
            if !std::mem::take(&mut is_first) {
                out.push(b'.');
            }
            step.write(subject, &tokens, random, out);
        }
        for token in self.tail.and_then(|tail| tokens.get(tail..)).unwrap_or_default() {
            if !std::mem::take(&mut is_first) {
                out.push(b'.');
            }
            out.extend_from_slice(token);
        }
        true
    }
}

/// What is wrong with a destination, whatever its source.
fn check(destination: &str) -> Result<(), TransformError> {
    let mut is_over = false;
    for token in destination.split('.') {
        if token.is_empty() || is_over {
            return Err(match token {
                "" => TransformError::Destination,
                token => TransformError::DestinationToken(token.to_owned()),
            });
        }
        if function::is_function(token) {
            function::check_name(token)?;
        } else if token == ">" {
            is_over = true;
        } else if token.contains([' ', '\t', '\n', '\r', '\u{c}']) {
            return Err(TransformError::Destination);
        }
    }
    Ok(())
}

impl Step {
    fn write(&self, subject: &[u8], tokens: &[&[u8]], random: &mut dyn FnMut() -> u64, out: &mut Vec<u8>) {
        match self {
            Self::Literal(token) => out.extend_from_slice(token),
            Self::Of(position, function) => {
                function.write(tokens.get(*position).copied().unwrap_or_default(), out);
            }
            Self::Partition { buckets, tokens: positions } => {
                let mut hash = Fnv1a::default();
                match positions.is_empty() {
                    true => hash.write(subject),
                    false => {
                        positions.iter().filter_map(|&at| tokens.get(at)).for_each(|token| hash.write(token))
                    }
                }
                let bucket = hash.0.checked_rem(*buckets).unwrap_or(0);
                out.extend_from_slice(bucket.to_string().as_bytes());
            }
            Self::Random { below } => {
                let number = i64::from((random() >> 33) as u32).checked_rem(*below).unwrap_or(0);
                out.extend_from_slice(number.to_string().as_bytes());
            }
        }
    }
}

/// A subject taken apart.
struct Shape<'a> {
    tokens: Vec<&'a str>,
    /// Positions of `*`.
    wildcards: Vec<usize>,
    has_tail: bool,
}

impl<'a> Shape<'a> {
    fn of(subject: &'a str) -> Result<Self, TransformError> {
        let tokens: Vec<&str> = subject.split('.').collect();
        let tail = tokens.iter().position(|&token| token == ">");
        let is_wrong =
            tokens.iter().any(|token| token.is_empty()) || tail.is_some_and(|at| at + 1 < tokens.len());
        if is_wrong {
            return Err(TransformError::Subject);
        }
        let wildcards = (0..tokens.len()).filter(|&at| tokens[at] == "*").collect();
        Ok(Self { has_tail: tail.is_some(), tokens, wildcards })
    }

    /// The step that a token of the destination means for subjects of this shape.
    fn step(&self, token: &str) -> Result<Step, TransformError> {
        let has_wildcards = !self.wildcards.is_empty() || self.has_tail;
        match parse_token(token)? {
            Call::None => Ok(Step::Literal(token.as_bytes().into())),
            Call::Random { below } => Ok(Step::Random { below }),
            Call::Partition { buckets, tokens } => {
                let positions = match has_wildcards {
                    true => {
                        tokens.iter().map(|&index| self.position(token, index)).collect::<Result<_, _>>()?
                    }
                    false => Vec::new(),
                };
                Ok(Step::Partition { buckets, tokens: positions })
            }
            Call::Of(_, _) if !has_wildcards => Err(TransformError::IndexOutOfRange(token.to_owned())),
            Call::Of(index, function) => Ok(Step::Of(self.position(token, index)?, function)),
        }
    }

    /// Of the wildcard with this number; those below 1 mean the first token.
    fn position(&self, token: &str, index: i64) -> Result<usize, TransformError> {
        match usize::try_from(index).ok().filter(|&index| index > 0) {
            None => Ok(0),
            Some(number) => match self.wildcards.get(number - 1) {
                Some(&position) => Ok(position),
                None => Err(TransformError::IndexOutOfRange(format!("{token}: [{index}]"))),
            },
        }
    }
}

/// The hash that partitions are made by: 32 bits, FNV-1a.
struct Fnv1a(u32);

impl Default for Fnv1a {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl Hasher for Fnv1a {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }

    fn finish(&self) -> u64 {
        self.0.into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
