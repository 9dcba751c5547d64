//! CONNECT (section 3 of core-protocol.md).

use serde::Deserialize;
use serde::de::IgnoredAny;

/// What a client says of itself. Absent fields keep their value when a client says it again (CORE-066).
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectOptions {
    pub verbose: bool,
    pub pedantic: bool,
    pub echo: bool,
    pub headers: bool,
    pub no_responders: bool,
    pub protocol: i64,
    pub name: String,
    pub lang: String,
    pub version: String,
    pub user: String,
    pub pass: String,
    pub auth_token: String,
    pub nkey: String,
    pub sig: String,
    pub jwt: String,
    pub proxy_sig: String,
    /// `account` or `new_account` was given: always refused (CORE-058).
    pub wants_account: bool,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        ConnectOptions {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            protocol: 0,
            name: String::new(),
            lang: String::new(),
            version: String::new(),
            user: String::new(),
            pass: String::new(),
            auth_token: String::new(),
            nkey: String::new(),
            sig: String::new(),
            jwt: String::new(),
            proxy_sig: String::new(),
            wants_account: false,
        }
    }
}

/// The fields as they come; `null` is as good as absent.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Wire {
    verbose: Option<bool>,
    pedantic: Option<bool>,
    echo: Option<bool>,
    headers: Option<bool>,
    no_responders: Option<bool>,
    tls_required: Option<bool>,
    protocol: Option<i64>,
    name: Option<String>,
    lang: Option<String>,
    version: Option<String>,
    user: Option<String>,
    pass: Option<String>,
    auth_token: Option<String>,
    nkey: Option<String>,
    sig: Option<String>,
    jwt: Option<String>,
    proxy_sig: Option<String>,
    account: Option<String>,
    new_account: Option<bool>,
    #[serde(flatten)]
    _unknown: std::collections::HashMap<String, IgnoredAny>,
}

impl ConnectOptions {
    /// Takes over what `json` says; wrong JSON or a wrong type is an error (CORE-063).
    pub fn merge(&mut self, json: &[u8]) -> Result<(), serde_json::Error> {
        let wire: Wire = serde_json::from_slice(json)?;
        let set = |field: &mut bool, value: Option<bool>| *field = value.unwrap_or(*field);
        set(&mut self.verbose, wire.verbose);
        set(&mut self.pedantic, wire.pedantic);
        set(&mut self.echo, wire.echo);
        set(&mut self.headers, wire.headers);
        set(&mut self.no_responders, wire.no_responders);
        self.protocol = wire.protocol.unwrap_or(self.protocol);
        for (field, value) in [
            (&mut self.name, wire.name),
            (&mut self.lang, wire.lang),
            (&mut self.version, wire.version),
            (&mut self.user, wire.user),
            (&mut self.pass, wire.pass),
            (&mut self.auth_token, wire.auth_token),
            (&mut self.nkey, wire.nkey),
            (&mut self.sig, wire.sig),
            (&mut self.jwt, wire.jwt),
            (&mut self.proxy_sig, wire.proxy_sig),
        ] {
            if let Some(value) = value {
                *field = value;
            }
        }
        let _ = wire.tls_required;
        self.wants_account =
            wire.account.is_some_and(|a| !a.is_empty()) || wire.new_account.unwrap_or(false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_keep_their_value() {
        let mut options = ConnectOptions::default();
        options.merge(br#"{"verbose":false,"name":"a","x":{"y":[1]}}"#).unwrap();
        options.merge(br#"{"echo":false}"#).unwrap();
        assert!(!options.verbose && !options.echo && options.pedantic);
        assert_eq!(options.name, "a");
    }

    #[test]
    fn wrong_types_are_refused() {
        for bad in [&br#"{"verbose":"no"}"#[..], b"{", b"", br#"{"protocol":"1"}"#, b"[]"] {
            assert!(ConnectOptions::default().merge(bad).is_err(), "{bad:?}");
        }
    }
}
