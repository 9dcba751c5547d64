//! Mapping functions in a destination: `$1`, `{{wildcard(1)}}`, `{{split(1,-)}}` and the like.

use super::TransformError;

/// What a token of a destination says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// It stands for itself.
    None,
    /// Of the wildcard with this number.
    Of(i64, Function),
    Partition {
        buckets: u32,
        tokens: Vec<i64>,
    },
    Random {
        below: i64,
    },
}

/// Of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Function {
    Wildcard,
    SplitFromLeft(usize),
    SplitFromRight(usize),
    SliceFromLeft(usize),
    SliceFromRight(usize),
    Left(usize),
    Right(usize),
    Split(Box<[u8]>),
}

/// Names may begin their words in either case. In the order in which they are tried.
const NAMES: [&[&str]; 10] = [
    &["wildcard"],
    &["partition"],
    &["split", "from", "left"],
    &["split", "from", "right"],
    &["slice", "from", "left"],
    &["slice", "from", "right"],
    &["right"],
    &["left"],
    &["split"],
    &["random"],
];

pub(super) fn is_function(token: &str) -> bool {
    token.len() > 4 && token.starts_with("{{") && token.ends_with("}}")
}

/// Whether there is such a function, whatever its arguments.
pub(super) fn check_name(token: &str) -> Result<(), TransformError> {
    named(token).map(|_| ()).ok_or_else(|| TransformError::UnknownFunction(token.to_owned()))
}

pub fn parse(token: &str) -> Result<Call, TransformError> {
    if let Some(number) = token.strip_prefix('$').filter(|number| !number.is_empty()) {
        return Ok(number.parse().map_or(Call::None, |index| Call::Of(index, Function::Wildcard)));
    }
    if !is_function(token) {
        return Ok(Call::None);
    }
    let Some((name, arguments)) = named(token) else {
        return Err(TransformError::UnknownFunction(token.to_owned()));
    };
    let arguments = Arguments { token, list: split_arguments(arguments) };
    match name {
        ["wildcard"] => arguments.wildcard(),
        ["partition"] => arguments.partition(),
        ["random"] => arguments.random(),
        ["split"] => arguments.split(),
        ["split", _, "left"] => arguments.sized(Function::SplitFromLeft),
        ["split", ..] => arguments.sized(Function::SplitFromRight),
        ["slice", _, "left"] => arguments.sized(Function::SliceFromLeft),
        ["slice", ..] => arguments.sized(Function::SliceFromRight),
        ["left"] => arguments.sized(Function::Left),
        _ => arguments.sized(Function::Right),
    }
}

/// The words of the name, and what stands between the parentheses.
fn named(token: &str) -> Option<(&'static [&'static str], &str)> {
    let inner = token.strip_prefix("{{")?.strip_suffix("}}")?.trim_ascii();
    let (name, rest) = inner.split_once('(')?;
    let arguments = rest.strip_suffix(')')?;
    let name = name.trim_ascii_end();
    NAMES.iter().find(|words| is_named(name, words)).map(|words| (*words, arguments))
}

/// Of each word the case of the first letter is free.
fn is_named(name: &str, words: &[&str]) -> bool {
    // By bytes: a name may be anything, and words are ASCII.
    let mut rest = name.as_bytes();
    for word in words {
        let (first, others) = word.as_bytes().split_at(1);
        let Some((head, tail)) = rest.split_at_checked(word.len()) else { return false };
        if !head[..1].eq_ignore_ascii_case(first) || head[1..] != *others {
            return false;
        }
        rest = tail;
    }
    rest.is_empty()
}

/// Space after a comma belongs to it.
fn split_arguments(text: &str) -> Vec<&str> {
    let mut list: Vec<&str> = text.split(',').collect();
    for argument in list.iter_mut().skip(1) {
        *argument = argument.trim_ascii_start();
    }
    list
}

struct Arguments<'a> {
    token: &'a str,
    list: Vec<&'a str>,
}

impl Arguments<'_> {
    fn wildcard(&self) -> Result<Call, TransformError> {
        match *self.list {
            [""] => Err(self.too_few()),
            [index] => Ok(Call::Of(self.number(index)?, Function::Wildcard)),
            _ => Err(self.too_many()),
        }
    }

    fn partition(&self) -> Result<Call, TransformError> {
        let (buckets, tokens) = self.list.split_first().ok_or_else(|| self.too_few())?;
        let buckets = self.small_number(buckets)?;
        let tokens = tokens.iter().map(|index| self.number(index)).collect::<Result<_, _>>()?;
        // Negative numbers wrap around, as in nats-server.
        Ok(Call::Partition { buckets: buckets as u32, tokens })
    }

    fn random(&self) -> Result<Call, TransformError> {
        match *self.list {
            [below] => Ok(Call::Random { below: self.small_number(below)? }),
            _ => Err(self.too_few()),
        }
    }

    fn split(&self) -> Result<Call, TransformError> {
        let [index, separator] = self.two()?;
        let index = self.number(index)?;
        if separator.contains([' ', '.']) {
            return Err(self.wrong());
        }
        Ok(Call::Of(index, Function::Split(separator.as_bytes().into())))
    }

    fn sized(&self, function: fn(usize) -> Function) -> Result<Call, TransformError> {
        let [index, size] = self.two()?;
        let index = self.number(index)?;
        let size = i32::try_from(self.number(size)?).map_err(|_| self.wrong())?;
        // A size that makes no sense does nothing, as one that is too large.
        Ok(Call::Of(index, function(usize::try_from(size).unwrap_or(0))))
    }

    fn two(&self) -> Result<[&str; 2], TransformError> {
        match *self.list {
            [one, two] => Ok([one, two]),
            [] | [_] => Err(self.too_few()),
            _ => Err(self.too_many()),
        }
    }

    fn number(&self, text: &str) -> Result<i64, TransformError> {
        text.trim_matches(' ').parse().map_err(|_| self.wrong())
    }

    fn small_number(&self, text: &str) -> Result<i64, TransformError> {
        self.number(text).ok().filter(|&number| number <= i64::from(i32::MAX)).ok_or_else(|| self.wrong())
    }

    fn too_few(&self) -> TransformError {
        TransformError::TooFewArguments(self.token.to_owned())
    }

    fn too_many(&self) -> TransformError {
        TransformError::TooManyArguments(self.token.to_owned())
    }

    fn wrong(&self) -> TransformError {
        TransformError::Argument(self.token.to_owned())
    }
}

impl Function {
    pub(super) fn write(&self, token: &[u8], out: &mut Vec<u8>) {
        let fits = |size: usize| size > 0 && size < token.len();
        match *self {
            Self::SplitFromLeft(at) if fits(at) => join([&token[..at], &token[at..]], out),
            Self::SplitFromRight(at) if fits(at) => {
                let at = token.len() - at;
                join([&token[..at], &token[at..]], out);
            }
            Self::SliceFromLeft(size) if fits(size) => join(token.chunks(size), out),
            Self::SliceFromRight(size) if fits(size) => {
                let (head, rest) = token.split_at(token.len() % size);
                join((!head.is_empty()).then_some(head).into_iter().chain(rest.chunks(size)), out);
            }
            Self::Left(size) if fits(size) => out.extend_from_slice(&token[..size]),
            Self::Right(size) if fits(size) => out.extend_from_slice(&token[token.len() - size..]),
            Self::Split(ref separator) => split(token, separator, out),
            _ => out.extend_from_slice(token),
        }
    }
}

/// Empty pieces are left out.
fn split(token: &[u8], separator: &[u8], out: &mut Vec<u8>) {
    if separator.is_empty() {
        return join(String::from_utf8_lossy(token).chars().map(String::from), out);
    }
    let mut rest = token;
    let pieces = std::iter::from_fn(|| {
        (!rest.is_empty()).then(|| {
            let at = rest.windows(separator.len()).position(|window| window == separator);
            let piece = &rest[..at.unwrap_or(rest.len())];
            rest = at.map_or(&[], |at| &rest[at + separator.len()..]);
            piece
        })
    });
    join(pieces.filter(|piece| !piece.is_empty()), out);
}

fn join<P: AsRef<[u8]>>(pieces: impl IntoIterator<Item = P>, out: &mut Vec<u8>) {
    for (at, piece) in pieces.into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(piece.as_ref());
    }
}
