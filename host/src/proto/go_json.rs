//! What is wrong with a client's JSON, in the words that nats-server's log has for it.

use serde_json::error::{Category, Error};

/// What serde says, and what Go says of the character at that place.
const SYNTAX: [(&str, &str); 9] = [
    ("expected value", "looking for beginning of value"),
    ("key must be a string", "looking for beginning of object key string"),
    ("trailing comma", "looking for beginning of object key string"),
    ("expected `:`", "after object key"),
    ("expected `,` or `}`", "after object key:value pair"),
    ("expected `,` or `]`", "after array element"),
    ("trailing characters", "after top-level value"),
    ("control character", "in string literal"),
    ("invalid escape", "in string escape code"),
];
const LITERALS: [&str; 3] = ["true", "false", "null"];
/// What serde and Go call a kind of value.
const KINDS: [(&str, &str); 6] = [
    ("string", "string"),
    ("integer", "number"),
    ("floating point", "number"),
    ("boolean", "bool"),
    ("map", "object"),
    ("sequence", "array"),
];

/// `text` is one line. `target` is what Go calls the place that a value is for, with its type.
pub fn explained(text: &str, error: &Error, target: &str) -> String {
    let said = error.to_string();
    let known = match error.classify() {
        Category::Eof => Some("unexpected end of JSON input".to_owned()),
        Category::Syntax => syntax(text.as_bytes(), &said, error.column()),
        Category::Data => said.strip_prefix("invalid type: ").and_then(|rest| {
            let (_, kind) = KINDS.iter().find(|(kind, _)| rest.starts_with(kind))?;
            Some(format!("json: cannot unmarshal {kind} into Go {target}"))
        }),
        Category::Io => None,
    };
    known.unwrap_or(said)
}

fn syntax(text: &[u8], said: &str, column: usize) -> Option<String> {
    let at = column.checked_sub(1)?;
    let character = match char::from(*text.get(at)?) {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        other => format!("'{}'", other.escape_default()),
    };
    let context = match SYNTAX.iter().find(|(start, _)| said.starts_with(start)) {
        Some((_, context)) => (*context).to_owned(),
        None => literal(&text[..at])?,
    };
    Some(format!("invalid character {character} {context}"))
}

/// Where a word ends that began as one that JSON has.
fn literal(before: &[u8]) -> Option<String> {
    let begun = |word: &&str| (1..word.len()).rev().find(|n| before.ends_with(&word.as_bytes()[..*n]));
    let (word, n) = LITERALS.iter().filter_map(|word| Some((word, begun(word)?))).max_by_key(|(_, n)| *n)?;
    Some(format!("in literal {word} (expecting '{}')", &word[n..=n]))
}
