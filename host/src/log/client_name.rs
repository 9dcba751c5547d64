//! How a connection is called in the log (CORE-251).

use std::fmt;

use crate::proto::quote::Quoted;

/// The kind of connection, as far as its name in the log goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientLabel {
    #[default]
    Client,
    Websocket,
    Mqtt,
    MqttWebsocket,
    Route,
    Gateway,
    Leafnode,
    LeafnodeWebsocket,
}

impl ClientLabel {
    fn id_label(self) -> &'static str {
        match self {
            ClientLabel::Client => "cid",
            ClientLabel::Websocket => "wid",
            ClientLabel::Mqtt => "mid",
            ClientLabel::MqttWebsocket => "mid_ws",
            ClientLabel::Route => "rid",
            ClientLabel::Gateway => "gid",
            ClientLabel::Leafnode => "lid",
            ClientLabel::LeafnodeWebsocket => "lid_ws",
        }
    }
}

/// Displays `ip:port - cid:N`, before it whom a proxy forwards for (`ip/`), and what CONNECT and authentication added since.
#[derive(Clone, Debug, Default)]
pub struct ClientName<'a> {
    /// The address that a proxy names; empty without one.
    pub forwarded_for: &'a str,
    pub host: &'a str,
    pub port: u16,
    pub label: ClientLabel,
    pub id: u64,
    /// Version, language and name of CONNECT; empty strings before it.
    pub version: &'a str,
    pub lang: &'a str,
    pub name: &'a str,
    /// The account and the user's label (`user:U`, `nkey:K`, `jwt:K`, `token`), once authenticated.
    pub account: &'a str,
    pub user_label: &'a str,
}

impl fmt::Display for ClientName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let brackets = |address: &str| if address.contains(':') { ("[", "]") } else { ("", "") };
        if !self.forwarded_for.is_empty() {
            let (open, close) = brackets(self.forwarded_for);
            write!(f, "{open}{}{close}/", self.forwarded_for)?;
        }
        let (open, close) = brackets(self.host);
        let label = self.label.id_label();
        write!(f, "{open}{}{close}:{} - {label}:{}", self.host, self.port, self.id)?;
        let version = if self.version.is_empty() { "" } else { "v" };
        let version = format!("{version}{}", self.version);
        let parts = [version.as_str(), self.lang, self.name];
        let who = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(":");
        if !who.is_empty() {
            write!(f, " - {}", Quoted(who.as_bytes()))?;
        }
        match (self.account, self.user_label) {
            ("", "") => Ok(()),
            (account, "") => write!(f, " - {}", Quoted(account.as_bytes())),
            (account, user) => write!(f, " - {}", Quoted(format!("{account}/{user}").as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_grows_with_what_is_known() {
        // CORE-251, checked against nats-server.
        let mut name = ClientName { host: "127.0.0.1", port: 37350, id: 6, ..ClientName::default() };
        assert_eq!(name.to_string(), "127.0.0.1:37350 - cid:6");
        name.version = "1";
        assert_eq!(name.to_string(), "127.0.0.1:37350 - cid:6 - \"v1\"");
        (name.version, name.lang, name.name) = ("1.2", "go", "na\"me");
        (name.account, name.user_label) = ("A", "user:u");
        assert_eq!(name.to_string(), r#"127.0.0.1:37350 - cid:6 - "v1.2:go:na\"me" - "A/user:u""#);
        let route =
            ClientName { host: "::1", port: 1, label: ClientLabel::Route, id: 2, ..Default::default() };
        assert_eq!(route.to_string(), "[::1]:1 - rid:2");
    }
}
