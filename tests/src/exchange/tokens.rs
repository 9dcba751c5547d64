//! Operators, accounts, users and activations of a case: the same keys for the same names, so that answers with keys
//! in them can be recorded.

use serde_json::{Value, json};

use super::script::Case;
use crate::jwt::{Key, Realm, merged, unix_s, user_token};
use crate::nkey::is_public;

const SYSTEM: &str = "SYS";

/// What a case says about accounts of an operator.
#[derive(Default)]
pub struct Claims {
    /// Claims that lie over those of the operator.
    pub operator: String,
    /// Names of accounts with what lies over their claims.
    pub accounts: Vec<(String, String)>,
    /// Names with exporter, importer, and claims.
    pub activations: Vec<Activation>,
}

pub struct Activation {
    pub name: String,
    pub exporter: String,
    pub importer: String,
    pub claims: String,
}

impl Claims {
    /// One line of a case.
    pub fn read(&mut self, word: &str, rest: &str) -> Result<(), String> {
        let (names, claims) = match rest.find('{').filter(|at| !rest[*at..].starts_with("{{")) {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, "{}"),
        };
        let names: Vec<&str> = names.split_whitespace().collect();
        match (word, names[..].len()) {
            ("operator", 0) => claims.clone_into(&mut self.operator),
            ("account", 1) => self.accounts.push((names[0].to_owned(), claims.to_owned())),
            ("activation", 3) => self.activations.push(Activation {
                name: names[0].to_owned(),
                exporter: names[1].to_owned(),
                importer: names[2].to_owned(),
                claims: claims.to_owned(),
            }),
            _ => return Err("wrong names".into()),
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// What stands before a case's own configuration.
    pub fn config(&self) -> Result<String, String> {
        let realm = Realm::default();
        let operator = if self.operator.is_empty() { "{}" } else { &self.operator };
        let operator = realm.operator_token(self.json(operator)?);
        let mut preload = String::new();
        let system = (SYSTEM.to_owned(), "{}".to_owned());
        let has_system = self.accounts.iter().any(|(name, _)| name == SYSTEM);
        for (name, claims) in self.accounts.iter().chain((!has_system).then_some(&system)) {
            preload += &format!("  {}: {}\n", Key::account(name).public(), self.account(name, claims)?);
        }
        Ok(format!("operator: {operator}\nresolver: MEMORY\nresolver_preload {{\n{preload}}}\n"))
    }

    pub fn account(&self, name: &str, claims: &str) -> Result<String, String> {
        Ok(Realm::default().account_token(&Key::account(name), self.json(claims)?))
    }

    /// `signer` is an account, or `KEY@ACCOUNT`.
    pub fn user(&self, signer: &str, user: &str, claims: &str) -> Result<String, String> {
        let (key, issuer) = signer.split_once('@').map_or((signer, None), |(key, of)| (key, Some(of)));
        let base = match issuer {
            Some(account) => json!({"nats": {"issuer_account": Key::account(account).public()}}),
            None => json!({}),
        };
        let claims = merged(base, self.json(claims)?);
        Ok(user_token(&Key::account(key), &Key::user(user), claims))
    }

    fn activation(&self, name: &str) -> Result<String, String> {
        let known = self.activations.iter().find(|activation| activation.name == name);
        let Activation { exporter, importer, claims, .. } = known.ok_or("no such activation")?;
        let (key, issuer) = exporter.split_once('@').map_or((&**exporter, None), |(key, of)| (key, Some(of)));
        let mut nats = json!({"type": "activation", "version": 2});
        if let Some(account) = issuer {
            nats["issuer_account"] = Key::account(account).public().into();
        }
        let by = Key::account(key);
        let base = json!({
            "iss": by.public(), "sub": Key::account(importer).public(), "iat": unix_s(), "name": "a", "nats": nats
        });
        Ok(by.token(merged(base, self.json(claims)?)))
    }

    /// JSON with fields filled in.
    pub fn json(&self, text: &str) -> Result<Value, String> {
        let filled = self.filled(text)?;
        serde_json::from_str(&filled).map_err(|error| format!("{error}: {filled}"))
    }

    fn filled(&self, text: &str) -> Result<String, String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (field, after) = after.split_once("}}").ok_or("`{{` without `}}`")?;
            filled += before;
            match self.field(field)? {
                Some(value) => filled += &value,
                // A field of the server, like {{name()}}.
                None => filled += &format!("{{{{{field}}}}}"),
            }
            rest = after;
        }
        Ok(filled + rest)
    }

    /// `A:NAME`, `U:NAME` (keys), `activation:NAME`, `now`, `now+5`.
    pub fn field(&self, field: &str) -> Result<Option<String>, String> {
        if let Some(offset) = field.strip_prefix("now") {
            let offset: i64 =
                if offset.is_empty() { 0 } else { offset.parse().map_err(|_| "a wrong time")? };
            return Ok(Some((unix_s() + offset).to_string()));
        }
        let Some((kind, name)) = field.split_once(':') else { return Ok(None) };
        Ok(match kind {
            "A" => Some(Key::account(name).public()),
            "U" => Some(Key::user(name).public()),
            "activation" => Some(self.activation(name)?),
            _ => None,
        })
    }
}

/// Writes the names of keys in place of the keys.
pub fn named(case: &Case, text: String) -> String {
    let mut named = text;
    for name in case.names() {
        for (letter, key) in [("A", Key::account(&name)), ("U", Key::user(&name))] {
            let key = key.public();
            if named.contains(&key) {
                named = named.replace(&key, &format!("<{letter}:{name}>"));
            }
        }
    }
    without_users(&named)
}

/// Keys of users that a server made up.
fn without_users(text: &str) -> String {
    let letters = |letter: char| letter.is_ascii_alphanumeric();
    let mut shown = text.to_owned();
    for word in text.split(|letter| !letters(letter)).filter(|word| is_public(word, 'U')) {
        shown = shown.replace(word, "<U>");
    }
    shown
}
