//! Splits a command line by the rules of Go's `flag` package (CFG-303).
//!
//! One or two dashes are the same, `-flag=value` or `-flag value`, booleans take a value with `=` only, and the
//! first word that is no flag ends the flags. Errors are Go's texts, which tools look for.

/// What follows a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int,
    Text,
}

/// A flag with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given<Id> {
    pub id: Id,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlagError {
    /// `-h` or `-help` where no such flag is defined.
    Help,
    Bad(String),
}

/// Reads flags from `args` until the first word that is none; returns them and what is left.
pub fn split<Id>(
    args: &[String],
    find: impl Fn(&str) -> Option<(Id, Kind)>,
) -> Result<(Vec<Given<Id>>, &[String]), FlagError> {
    let mut given = Vec::new();
    let mut rest = args;
    while let Some((arg, after)) = rest.split_first() {
        let Some(dashed) = arg.strip_prefix('-').filter(|dashed| !dashed.is_empty()) else { break };
        rest = after;
        if dashed == "-" {
            break;
        }
        let flag = dashed.strip_prefix('-').unwrap_or(dashed);
        if flag.is_empty() || flag.starts_with(['-', '=']) {
            return Err(FlagError::Bad(format!("bad flag syntax: {arg}")));
        }
        let (name, inline) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        let Some((id, kind)) = find(name) else {
            return Err(match name {
                "h" | "help" => FlagError::Help,
                _ => FlagError::Bad(format!("flag provided but not defined: -{name}")),
            });
        };
        let text = match (inline, kind) {
            (Some(value), _) => value,
            (None, Kind::Bool) => "true",
            (None, _) => {
                let (value, after) = rest
                    .split_first()
                    .ok_or_else(|| FlagError::Bad(format!("flag needs an argument: -{name}")))?;
                rest = after;
                value
            }
        };
        given.push(Given { id, value: parse(name, text, kind)? });
    }
    Ok((given, rest))
}

fn parse(name: &str, text: &str, kind: Kind) -> Result<Value, FlagError> {
    match kind {
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Bool => go_bool(text).map(Value::Bool).ok_or_else(|| {
            FlagError::Bad(format!("invalid boolean value {text:?} for -{name}: parse error"))
        }),
        Kind::Int => go_int(text)
            .map(Value::Int)
            .map_err(|cause| FlagError::Bad(format!("invalid value {text:?} for flag -{name}: {cause}"))),
    }
}

/// `strconv.ParseBool`
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// `strconv.ParseInt` with base 0: `0x`, `0o`, `0b`, a leading `0` for octal, and `_` after a prefix or between digits.
fn go_int(text: &str) -> Result<i64, &'static str> {
    const WRONG: &str = "parse error";
    let (negative, size) = match text.strip_prefix(['-', '+']) {
        Some(size) => (text.starts_with('-'), size),
        None => (false, text),
    };
    let lower = size.to_ascii_lowercase();
    let (radix, digits) = match lower.as_str() {
        prefixed if prefixed.starts_with("0x") => (16, &prefixed[2..]),
        prefixed if prefixed.starts_with("0o") => (8, &prefixed[2..]),
        prefixed if prefixed.starts_with("0b") => (2, &prefixed[2..]),
        octal if octal.len() > 1 && octal.starts_with('0') => (8, &octal[1..]),
        decimal => (10, decimal),
    };
    let prefixed = radix != 10;
    let underscores_fit =
        !digits.ends_with('_') && !digits.contains("__") && (prefixed || !digits.starts_with('_'));
    let digits = digits.replace('_', "");
    if digits.is_empty() || !underscores_fit || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(WRONG);
    }
    let size = i128::from_str_radix(&digits, radix).map_err(|_| "value out of range")?;
    i64::try_from(if negative { -size } else { size }).map_err(|_| "value out of range")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{FlagError, Kind, Value, go_int, split};

    fn find(name: &str) -> Option<(&'static str, Kind)> {
        match name {
            "D" | "debug" => Some(("debug", Kind::Bool)),
            "p" => Some(("port", Kind::Int)),
            "c" => Some(("config", Kind::Text)),
            _ => None,
        }
    }

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn one_or_two_dashes_and_values_with_or_without_equals() {
        // CFG-303
        let args = words("-D --p=5 -c a.conf -debug=false rest -p 6");
        let (given, rest) = split(&args, find).unwrap();
        let seen: Vec<_> = given.into_iter().map(|given| (given.id, given.value)).collect();
        assert_eq!(
            seen,
            vec![
                ("debug", Value::Bool(true)),
                ("port", Value::Int(5)),
                ("config", Value::Text("a.conf".to_owned())),
                ("debug", Value::Bool(false)),
            ]
        );
        assert_eq!(rest, words("rest -p 6"));
    }

    #[test]
    fn a_boolean_takes_no_following_word() {
        let args = words("-D false");
        let (given, rest) = split(&args, find).unwrap();
        assert_eq!(given[0].value, Value::Bool(true));
        assert_eq!(rest, words("false"));
    }

    #[test]
    fn negative_numbers_follow_their_flag() {
        let args = words("-p -1");
        assert_eq!(split(&args, find).unwrap().0[0].value, Value::Int(-1));
    }

    #[test]
    fn errors_are_the_texts_of_go() {
        for (line, text) in [
            ("-zzz", "flag provided but not defined: -zzz"),
            ("--zzz=1", "flag provided but not defined: -zzz"),
            ("-p", "flag needs an argument: -p"),
            ("-p abc", "invalid value \"abc\" for flag -p: parse error"),
            (
                "-p 99999999999999999999",
                "invalid value \"99999999999999999999\" for flag -p: value out of range",
            ),
            ("-D=maybe", "invalid boolean value \"maybe\" for -D: parse error"),
            ("---p", "bad flag syntax: ---p"),
            ("-=x", "bad flag syntax: -=x"),
        ] {
            assert_eq!(split(&words(line), find), Err(FlagError::Bad(text.to_owned())), "{line}");
        }
        assert_eq!(split(&words("--help"), find), Err(FlagError::Help));
    }

    #[test]
    fn integers_may_have_a_base() {
        for (text, value) in [("0x10", 16), ("-0b11", -3), ("010", 8), ("0o7", 7), ("1_000", 1000), ("0", 0)]
        {
            assert_eq!(go_int(text), Ok(value), "{text}");
        }
        assert!(go_int("").is_err());
        assert!(go_int("_1").is_err());
    }
}
