//! The options a client sends in CONNECT (CORE-050 to CORE-069).
//!
//! Not here: whether the client may connect (`auth`).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use thiserror::Error;

use super::error::ErrText;
use super::go_json;

/// What the client asked for; defaults are those of a client that never sends CONNECT (CORE-065).
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    pub verbose: bool,
    pub pedantic: bool,
    pub echo: bool,
    pub headers: bool,
    pub no_responders: bool,
    /// Sandbox accounts are long gone from NATS: asking for one is refused (CORE-058).
    pub new_account: bool,
    pub protocol: i64,
    pub account: Box<str>,
    pub name: Box<str>,
    pub lang: Box<str>,
    pub version: Box<str>,
    pub user: Box<str>,
    pub pass: Box<str>,
    pub auth_token: Box<str>,
    pub nkey: Box<str>,
    pub sig: Box<str>,
    pub jwt: Box<str>,
    pub proxy_sig: Box<str>,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            new_account: false,
            protocol: 0,
            account: Box::default(),
            name: Box::default(),
            lang: Box::default(),
            version: Box::default(),
            user: Box::default(),
            pass: Box::default(),
            auth_token: Box::default(),
            nkey: Box::default(),
            sig: Box::default(),
            jwt: Box::default(),
            proxy_sig: Box::default(),
        }
    }
}

/// The client gets no `-ERR` for this: the connection just closes (CORE-063).
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ConnectError(String);

impl Connect {
    /// Takes over what `args` holds; what it does not name keeps its value (CORE-066).
    ///
    /// As in the reference, letters of either case name a field, the last of two equal names counts, and
    /// `null` leaves a field alone. After an error the options may be half merged.
    pub fn merge(&mut self, args: &[u8]) -> Result<(), ConnectError> {
        // Bytes that are no UTF-8 become the replacement character.
        let text = String::from_utf8_lossy(args);
        let mut json = serde_json::Deserializer::from_str(&text);
        let mut field = "";
        let merged = Merge(self, &mut field).deserialize(&mut json).and_then(|()| json.end());
        merged.map_err(|error| ConnectError(go_json::explained(&text, &error, &place(field))))
    }

    /// What is wrong with the options of a client that was let in (CORE-115, CORE-116).
    pub fn check(&self, server_has_headers: bool) -> Result<(), ErrText<'static>> {
        if !matches!(self.protocol, 0 | 1) {
            return Err(ErrText::InvalidClientProtocol);
        }
        if self.no_responders && !(self.headers && server_has_headers) {
            return Err(ErrText::NoRespondersRequiresHeaders);
        }
        Ok(())
    }

    /// True: refuse with an authorization violation (CORE-058).
    pub fn asks_for_sandbox_account(&self) -> bool {
        self.new_account || !self.account.is_empty()
    }

    /// Whether it understands an INFO at any time (CORE-041).
    pub fn wants_async_info(&self) -> bool {
        self.protocol >= 1
    }
}

/// Secrets never reach a log by way of `{:?}`.
impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("name", &self.name)
            .field("lang", &self.lang)
            .field("version", &self.version)
            .field("protocol", &self.protocol)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// What Go calls a field with its type; empty: all of CONNECT.
fn place(field: &str) -> String {
    let kind = match field {
        "" => return "value of type server.ClientOpts".to_owned(),
        "verbose" | "pedantic" | "echo" | "headers" | "no_responders" | "new_account" | "tls_required" => {
            "bool"
        }
        "protocol" => "int",
        _ => "string",
    };
    format!("struct field ClientOpts.{field} of type {kind}")
}

/// Also notes the field that it is about to read.
struct Merge<'c>(&'c mut Connect, &'c mut &'static str);

impl<'de> DeserializeSeed<'de> for Merge<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Merge<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the options of CONNECT")
    }

    /// `CONNECT null` is an object without fields.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let connect = self.0;
        while let Some(Field(name)) = map.next_key()? {
            *self.1 = name;
            match name {
                "verbose" => map.next_value_seed(Keep(&mut connect.verbose))?,
                "pedantic" => map.next_value_seed(Keep(&mut connect.pedantic))?,
                "echo" => map.next_value_seed(Keep(&mut connect.echo))?,
                "headers" => map.next_value_seed(Keep(&mut connect.headers))?,
                "no_responders" => map.next_value_seed(Keep(&mut connect.no_responders))?,
                "new_account" => map.next_value_seed(Keep(&mut connect.new_account))?,
                // Ignored (CORE-053), but it has to be a flag.
                "tls_required" => map.next_value_seed(Keep(&mut false))?,
                "protocol" => map.next_value_seed(Keep(&mut connect.protocol))?,
                "account" => map.next_value_seed(Keep(&mut connect.account))?,
                "name" => map.next_value_seed(Keep(&mut connect.name))?,
                "lang" => map.next_value_seed(Keep(&mut connect.lang))?,
                "version" => map.next_value_seed(Keep(&mut connect.version))?,
                "user" => map.next_value_seed(Keep(&mut connect.user))?,
                "pass" => map.next_value_seed(Keep(&mut connect.pass))?,
                "auth_token" => map.next_value_seed(Keep(&mut connect.auth_token))?,
                "nkey" => map.next_value_seed(Keep(&mut connect.nkey))?,
                "sig" => map.next_value_seed(Keep(&mut connect.sig))?,
                "jwt" => map.next_value_seed(Keep(&mut connect.jwt))?,
                "proxy_sig" => map.next_value_seed(Keep(&mut connect.proxy_sig))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// A value that stays as it is when the JSON says `null`.
struct Keep<'v, T>(&'v mut T);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Keep<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        if let Some(value) = Option::<T>::deserialize(json)? {
            *self.0 = value;
        }
        Ok(())
    }
}

/// The name of a field in lower case; empty when it is none of ours.
struct Field(&'static str);

const FIELDS: [&str; 19] = [
    "verbose",
    "pedantic",
    "tls_required",
    "name",
    "lang",
    "version",
    "protocol",
    "echo",
    "headers",
    "no_responders",
    "user",
    "pass",
    "auth_token",
    "nkey",
    "sig",
    "jwt",
    "proxy_sig",
    "account",
    "new_account",
];

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct FieldVisitor;

        impl Visitor<'_> for FieldVisitor {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an option")
            }

            fn visit_str<E>(self, name: &str) -> Result<Field, E> {
                let known = FIELDS.iter().find(|field| field.eq_ignore_ascii_case(name));
                Ok(Field(known.copied().unwrap_or_default()))
            }
        }

        json.deserialize_str(FieldVisitor)
    }
}

/// The arguments as a trace log may show them: values of secrets are replaced (CORE-069).
///
/// Works on text that need not be valid JSON, because a broken CONNECT is traced as well.
pub fn redact(args: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Vec::new();
    let mut copied_to = 0;
    let mut at = 0;
    while let Some((name, after_name)) = next_string(args, at) {
        at = after_name;
        let Some(value_at) = skip_colon(args, after_name) else { continue };
        if !is_secret(&args[name]) {
            continue;
        }
        let value = value_range(args, value_at);
        out.extend_from_slice(&args[copied_to..value.start]);
        out.extend_from_slice(b"[REDACTED]");
        copied_to = value.end;
        at = value.end + usize::from(args.get(value.end) == Some(&b'"'));
    }
    if copied_to == 0 {
        return Cow::Borrowed(args);
    }
    out.extend_from_slice(&args[copied_to..]);
    Cow::Owned(out)
}

fn is_secret(name: &[u8]) -> bool {
    // Clients misspell: `password` and `auth_token_x` are secrets too, as in the reference.
    let starts_with =
        |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    starts_with(b"pass")
        || starts_with(b"auth_token")
        || [&b"sig"[..], b"proxy_sig", b"nkey"].iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

/// The inside of the next quoted string at or after `from`, and where it is over.
fn next_string(text: &[u8], from: usize) -> Option<(std::ops::Range<usize>, usize)> {
    let start = from + memchr::memchr(b'"', text.get(from..)?)? + 1;
    let end = string_end(text, start);
    Some((start..end, (end + 1).min(text.len())))
}

/// Where the string that begins at `start` has its closing quote, or the end of the text.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// Where the value begins, when a colon follows.
fn skip_colon(text: &[u8], from: usize) -> Option<usize> {
    let skip_blanks = |from: usize| {
        text[from..].iter().position(|byte| !byte.is_ascii_whitespace()).map(|blanks| from + blanks)
    };
    let colon = skip_blanks(from)?;
    if text[colon] != b':' {
        return None;
    }
    skip_blanks(colon + 1)
}

/// A string without its quotes, or all up to the next field.
fn value_range(text: &[u8], from: usize) -> std::ops::Range<usize> {
    if text[from] == b'"' {
        return from + 1..string_end(text, from + 1);
    }
    let len = memchr::memchr2(b',', b'}', &text[from..]).unwrap_or(text.len() - from);
    from..from + len
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parsed(args: &str) -> Connect {
        let mut connect = Connect::default();
        connect.merge(args.as_bytes()).unwrap();
        connect
    }

    #[test]
    fn absent_fields_have_the_reference_defaults() {
        // CORE-050 to CORE-061
        let connect = parsed("{}");
        assert!(connect.verbose && connect.pedantic && connect.echo);
        assert!(!connect.headers && !connect.no_responders);
        assert_eq!(connect.protocol, 0);
        assert_eq!(connect, Connect::default());
        assert_eq!(parsed("null"), Connect::default());
    }

    #[test]
    fn a_usual_connect_is_read() {
        let connect = parsed(concat!(
            r#"{"verbose":false,"pedantic":false,"user":"u","pass":"p\"q","tls_required":false,"#,
            r#""name":"n","lang":"go","version":"1.2","protocol":1,"echo":false,"headers":true,"#,
            r#""no_responders":true,"unknown":{"a":[1,null]}} "#,
        ));
        assert!(!connect.verbose && !connect.pedantic && !connect.echo);
        assert!(connect.headers && connect.no_responders && connect.wants_async_info());
        assert_eq!((&*connect.user, &*connect.pass), ("u", "p\"q"));
        assert_eq!((&*connect.name, &*connect.lang, &*connect.version), ("n", "go", "1.2"));
        assert_eq!(connect.check(true), Ok(()));
    }

    #[test]
    fn a_second_connect_keeps_what_it_does_not_name() {
        // CORE-066
        let mut connect = parsed(r#"{"verbose":false,"user":"u","pass":"p","protocol":1}"#);
        connect.merge(br#"{"user":"v","pass":null}"#).unwrap();
        assert!(!connect.verbose);
        assert_eq!((&*connect.user, &*connect.pass, connect.protocol), ("v", "p", 1));
    }

    #[test]
    fn names_of_any_case_count_and_the_last_of_two() {
        // Seen on nats-server.
        let connect = parsed(r#"{"User":"a","USER":"b","Auth_Token":"t"}"#);
        assert_eq!((&*connect.user, &*connect.auth_token), ("b", "t"));
    }

    #[test]
    fn wrong_types_and_broken_json_are_errors() {
        // CORE-063
        for args in [
            "",
            " ",
            "{",
            "[]",
            "1",
            "\"a\"",
            "{}x",
            "{} {}",
            r#"{"verbose":1}"#,
            r#"{"verbose":"true"}"#,
            r#"{"user":1}"#,
            r#"{"protocol":"1"}"#,
            r#"{"protocol":1.5}"#,
            r#"{"tls_required":"no"}"#,
            r#"{"new_account":"a"}"#,
        ] {
            assert!(Connect::default().merge(args.as_bytes()).is_err(), "{args}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_do_not_break_it() {
        let mut connect = Connect::default();
        connect.merge(b"{\"name\":\"a\xffb\"}").unwrap();
        assert_eq!(&*connect.name, "a\u{fffd}b");
    }

    #[test]
    fn options_the_server_cannot_grant_are_refused() {
        // CORE-055, CORE-058, CORE-060
        for protocol in ["-1", "2"] {
            let connect = parsed(&format!(r#"{{"protocol":{protocol}}}"#));
            assert_eq!(connect.check(true), Err(ErrText::InvalidClientProtocol));
        }
        let wants = parsed(r#"{"no_responders":true}"#);
        assert_eq!(wants.check(true), Err(ErrText::NoRespondersRequiresHeaders));
        let wants = parsed(r#"{"no_responders":true,"headers":true}"#);
        assert_eq!(wants.check(true), Ok(()));
        assert_eq!(wants.check(false), Err(ErrText::NoRespondersRequiresHeaders));
        assert!(parsed(r#"{"account":"a"}"#).asks_for_sandbox_account());
        assert!(parsed(r#"{"new_account":true}"#).asks_for_sandbox_account());
        assert!(!parsed(r#"{"account":"","new_account":false}"#).asks_for_sandbox_account());
    }

    #[test]
    fn secrets_are_redacted_and_the_rest_is_not() {
        // CORE-069
        let redacted = |args: &str| String::from_utf8_lossy(&redact(args.as_bytes())).into_owned();
        assert_eq!(
            redacted(r#"{"user":"u","pass":"p\"q","auth_token" : "t", "nkey":"N","jwt":"J","sig":"s"}"#),
            concat!(
                r#"{"user":"u","pass":"[REDACTED]","auth_token" : "[REDACTED]", "nkey":"[REDACTED]","#,
                r#""jwt":"J","sig":"[REDACTED]"}"#
            ),
        );
        assert_eq!(
            redacted(r#"{"proxy_sig":"x","Password":"y","pass":12,"pass":"z"}"#),
            r#"{"proxy_sig":"[REDACTED]","Password":"[REDACTED]","pass":[REDACTED],"pass":"[REDACTED]"}"#,
        );
        assert_eq!(redacted(r#"{"name":"pass","lang":"x:y"}"#), r#"{"name":"pass","lang":"x:y"}"#);
        assert_eq!(redacted(r#"{"pass":"half"#), r#"{"pass":"[REDACTED]"#);
        assert_eq!(redacted(r#"{"pass":"#), r#"{"pass":"#);
        assert_eq!(redacted(r#"{"pass":"ends\"#), r#"{"pass":"[REDACTED]"#);
    }
}
