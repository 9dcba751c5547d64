//! The two names of an imported subject: what it is where it is exported, and what the importer calls it
//! (ACC-005, ACC-007).
//!
//! Every wildcard of the one stands once or more in the other, so that subjects and patterns go both ways.

use natsd_plugin_api::subject::transform::{Call, Function, TransformError, parse_token};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renaming {
    remote: Box<[u8]>,
    /// The importer's pattern.
    local: Box<[u8]>,
    /// Both are the same.
    is_identity: bool,
    /// What a subject's local tokens are made of.
    forth: Box<[Token]>,
    /// What its remote tokens are made of.
    back: Box<[Token]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(Box<[u8]>),
    /// The token of the other subject at this position.
    Of(usize),
    /// All tokens of the other subject from this position on.
    From(usize),
}

impl Renaming {
    /// The importer uses the exporter's names.
    pub fn identity(remote: &str) -> Self {
        let remote: Box<[u8]> = remote.as_bytes().into();
        Self { local: remote.clone(), remote, is_identity: true, forth: Box::default(), back: Box::default() }
    }

    /// One subject, seen under one name, whatever that is: nats-server does not look into it.
    pub fn fixed(remote: &str, local: &str) -> Self {
        let literals =
            |subject: &str| subject.split('.').map(|t| Token::Literal(t.as_bytes().into())).collect();
        Self {
            remote: remote.as_bytes().into(),
            local: local.as_bytes().into(),
            is_identity: remote == local,
            forth: literals(local),
            back: literals(remote),
        }
    }

    /// `local` may name wildcards of `remote` as `$1`, `{{wildcard(1)}}`, or `*` for the next one.
    pub fn new(remote: &str, local: &str) -> Result<Self, TransformError> {
        if remote == local {
            return Ok(Self::identity(remote));
        }
        let remote_tokens: Vec<&str> = remote.split('.').collect();
        let wildcards: Vec<usize> = (0..remote_tokens.len()).filter(|&at| remote_tokens[at] == "*").collect();
        let has_tail = remote_tokens.last() == Some(&">");
        let mut forth = Vec::new();
        let mut pattern: Vec<&str> = Vec::new();
        let mut stars = 0;
        for token in local.split('.') {
            let made = match token {
                ">" if has_tail => Token::From(remote_tokens.len() - 1),
                ">" => return Err(TransformError::Subject),
                "*" => {
                    stars += 1;
                    Token::Of(wildcard(&wildcards, stars, &format!("${stars}"))?)
                }
                _ => local_token(&wildcards, token)?,
            };
            pattern.push(match made {
                Token::Literal(_) => token,
                Token::Of(_) => "*",
                Token::From(_) => ">",
            });
            forth.push(made);
        }
        if has_tail != matches!(forth.last(), Some(Token::From(_))) {
            return Err(TransformError::Subject);
        }
        let mut back = Vec::with_capacity(remote_tokens.len());
        for (at, token) in remote_tokens.iter().enumerate() {
            let place = || forth.iter().position(|made| *made == Token::Of(at));
            back.push(match *token {
                "*" => Token::Of(place().ok_or_else(|| TransformError::UnusedWildcard(local.to_owned()))?),
                ">" => Token::From(forth.len() - 1),
                token => Token::Literal(token.as_bytes().into()),
            });
        }
        Ok(Self {
            remote: remote.as_bytes().into(),
            local: pattern.join(".").into_bytes().into(),
            is_identity: false,
            forth: forth.into(),
            back: back.into(),
        })
    }

    pub fn remote(&self) -> &[u8] {
        &self.remote
    }

    pub fn local(&self) -> &[u8] {
        &self.local
    }

    pub fn is_identity(&self) -> bool {
        self.is_identity
    }

    /// The local name of a subject that the remote pattern matches.
    pub fn to_local(&self, subject: &[u8]) -> Vec<u8> {
        self.rename(&self.forth, subject)
    }

    /// The remote name of a subject, or of a pattern, that lies within the local pattern.
    pub fn to_remote(&self, subject: &[u8]) -> Vec<u8> {
        self.rename(&self.back, subject)
    }

    fn rename(&self, made_of: &[Token], subject: &[u8]) -> Vec<u8> {
        if self.is_identity {
            return subject.to_vec();
        }
        let tokens: Vec<&[u8]> = super::tokens(subject).collect();
        let mut out = Vec::with_capacity(subject.len() + 16);
        for (at, token) in made_of.iter().enumerate() {
            if at > 0 {
                out.push(b'.');
            }
            match token {
                Token::Literal(bytes) => out.extend_from_slice(bytes),
                Token::Of(position) => out.extend_from_slice(tokens.get(*position).unwrap_or(&&b""[..])),
                Token::From(position) => {
                    out.extend_from_slice(&tokens.get(*position..).unwrap_or_default().join(&b'.'));
                }
            }
        }
        out
    }
}

fn local_token(wildcards: &[usize], token: &str) -> Result<Token, TransformError> {
    match parse_token(token)? {
        Call::None => Ok(Token::Literal(token.as_bytes().into())),
        Call::Of(number, Function::Wildcard) => Ok(Token::Of(wildcard(wildcards, number, token)?)),
        _ => Err(TransformError::NotForImports(token.to_owned())),
    }
}

fn wildcard(wildcards: &[usize], number: i64, token: &str) -> Result<usize, TransformError> {
    let at = usize::try_from(number - 1).ok().and_then(|at| wildcards.get(at).copied());
    at.ok_or_else(|| {
        let place = if wildcards.is_empty() { token.to_owned() } else { format!("{token}: [{number}]") };
        TransformError::IndexOutOfRange(place)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        // ACC-005, ACC-007
        for (remote, local, pattern, there, here) in [
            ("a", "b", "b", "a", "b"),
            ("a.*.*", "x.$2.$1", "x.*.*", "a.1.2", "x.2.1"),
            ("a.*.*", "x.*.y.*", "x.*.y.*", "a.1.2", "x.1.y.2"),
            ("a.*", "{{wildcard(1)}}", "*", "a.1", "1"),
            ("a.>", "p.a.>", "p.a.>", "a.1.2", "p.a.1.2"),
            ("*.>", "$1.x.>", "*.x.>", "a.b.c", "a.x.b.c"),
            ("a.*", "x.$1.$1", "x.*.*", "a.1", "x.1.1"),
        ] {
            let renaming = Renaming::new(remote, local).unwrap();
            assert_eq!(renaming.local(), pattern.as_bytes(), "{local}");
            assert_eq!(renaming.to_local(there.as_bytes()), here.as_bytes(), "{remote} {local}");
            assert_eq!(renaming.to_remote(here.as_bytes()), there.as_bytes(), "{remote} {local}");
        }
        assert_eq!(Renaming::new("a.*.b", "x.*").unwrap().to_remote(b"x.*"), b"a.*.b");
        assert_eq!(Renaming::identity("a.>").to_local(b"a.b"), b"a.b");
    }

    #[test]
    fn errors_name_the_token() {
        // MAP-007, MAP-020
        let wrong = "invalid mapping destination: ";
        for (remote, local, expected) in [
            ("a.*", "x.y", format!("{wrong}not using all of the token wildcard(s) in x.y")),
            ("a.*", "x.$2", format!("{wrong}wildcard index out of range in $2: [2]")),
            ("a", "x.$1", format!("{wrong}wildcard index out of range in $1")),
            ("a.>", "x.y", "invalid subject".to_owned()),
            ("a", "x.>", "invalid subject".to_owned()),
            (
                "a.*",
                "x.{{partition(3,1)}}",
                format!(
                    "{wrong}the only mapping function allowed for import transforms is {{{{Wildcard()}}}} in \
                     {{{{partition(3,1)}}}}"
                ),
            ),
        ] {
            assert_eq!(Renaming::new(remote, local).unwrap_err().to_string(), expected);
        }
    }
}
