//! Which subjects are answered, in the system account and in all others (SYS-002, SYS-003, SYS-012, SYS-013).

use natsd_plugin_api::serde_json::{Value, json};

/// Asked of one server by its id, or of all.
const OF_SERVERS: [&str; 15] = [
    "IDZ",
    "STATSZ",
    "VARZ",
    "SUBSZ",
    "CONNZ",
    "ROUTEZ",
    "GATEWAYZ",
    "LEAFZ",
    "ACCOUNTZ",
    "JSZ",
    "HEALTHZ",
    "PROFILEZ",
    "EXPVARZ",
    "IPQUEUESZ",
    "RAFTZ",
];
/// Asked of one server only: they change something.
const OF_ONE_SERVER: [&str; 3] = ["RELOAD", "KICK", "LDM"];
const OF_ACCOUNTS: [&str; 7] = ["CONNZ", "SUBSZ", "INFO", "STATZ", "CONNS", "JSZ", "LEAFZ"];

/// What other accounts may ask, each of itself.
const OF_OWN_ACCOUNT: [&str; 4] = [
    "$SYS.REQ.ACCOUNT.PING.CONNZ",
    "$SYS.REQ.SERVER.PING.CONNZ",
    "$SYS.REQ.ACCOUNT.PING.STATZ",
    "$SYS.REQ.USER.INFO",
];

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    /// With the kind in capitals.
    Server(String),
    /// An account and the kind.
    Account(String, String),
    /// Who asks.
    User,
    /// How many subscriptions there are for a subject (SYS-017).
    Subscribers,
}

const SUBSCRIBERS: &str = "$SYS.DEBUG.SUBSCRIBERS";

/// What is listened to in the system account.
pub fn in_system_account(server_id: &str) -> Vec<String> {
    let alone = ["$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO", SUBSCRIBERS];
    let mut subjects: Vec<String> = alone.map(str::to_owned).into();
    for kind in OF_SERVERS {
        subjects.push(format!("$SYS.REQ.SERVER.PING.{kind}"));
        subjects.push(format!("$SYS.REQ.SERVER.{server_id}.{kind}"));
    }
    subjects.extend(OF_ONE_SERVER.map(|kind| format!("$SYS.REQ.SERVER.{server_id}.{kind}")));
    subjects.extend(OF_ACCOUNTS.map(|kind| format!("$SYS.REQ.ACCOUNT.*.{kind}")));
    subjects
}

/// What is listened to in each other account.
pub fn in_other_accounts() -> impl Iterator<Item = &'static str> {
    OF_OWN_ACCOUNT.into_iter()
}

/// These subjects as an account's imports and the system account's exports, which nats-server makes for them
/// (SYS-013): what `/accountz` shows of the account.
pub fn borders(account: &str, system: &str) -> Value {
    let import = |subject: String, to: &str, share: bool| {
        json!({
            "subject": subject, "account": system, "to": to, "local_subject": to, "type": "service",
            "invalid": false, "share": share, "tracking": false,
        })
    };
    let user = import(format!("$SYS.REQ.USER.{account}.INFO"), "$SYS.REQ.USER.INFO", true);
    if account == system {
        let export = |(subject, response): (&str, &str)| json!({ "subject": subject, "type": "service", "response_type": response });
        let exports = [
            ("$SYS.REQ.ACCOUNT.*.CONNZ", "Streamed"),
            ("$SYS.REQ.ACCOUNT.*.STATZ", "Streamed"),
            (SUBSCRIBERS, "Singleton"),
            ("$SYS.REQ.USER.*.INFO", "Singleton"),
        ];
        return json!({ "exports": exports.map(export), "imports": [user] });
    }
    let own = OF_OWN_ACCOUNT.iter().filter_map(|to| {
        let kind = to.rsplit_once('.').map(|(_, kind)| kind).filter(|kind| *kind != "INFO")?;
        Some(import(format!("$SYS.REQ.ACCOUNT.{account}.{kind}"), to, false))
    });
    json!({ "imports": own.chain([user]).collect::<Vec<_>>() })
}

/// What a subject asks for. `own`: the account that asks, unless it is the system account; it asks of itself,
/// whatever the subject says.
pub fn topic(subject: &str, own: Option<&str>) -> Option<Topic> {
    if subject == SUBSCRIBERS {
        return Some(Topic::Subscribers);
    }
    let rest = subject.strip_prefix("$SYS.REQ.")?;
    if rest == "USER.INFO" {
        return Some(Topic::User);
    }
    if rest == "SERVER.PING" {
        return Some(Topic::Server("STATSZ".to_owned()));
    }
    let (about, kind) = rest.rsplit_once('.')?;
    match (about.split_once('.')?, own) {
        ((_, _), Some(own)) => Some(Topic::Account(own.to_owned(), kind.to_owned())),
        (("SERVER", _), None) => Some(Topic::Server(kind.to_owned())),
        (("ACCOUNT", account), None) => Some(Topic::Account(account.to_owned(), kind.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Topic, topic};

    #[test]
    fn subjects_say_what_is_asked() {
        let of = |subject: &str| topic(subject, None);
        assert_eq!(of("$SYS.REQ.SERVER.PING"), Some(Topic::Server("STATSZ".into())));
        assert_eq!(of("$SYS.REQ.SERVER.PING.VARZ"), Some(Topic::Server("VARZ".into())));
        assert_eq!(of("$SYS.REQ.SERVER.NABC.KICK"), Some(Topic::Server("KICK".into())));
        assert_eq!(of("$SYS.REQ.ACCOUNT.A.INFO"), Some(Topic::Account("A".into(), "INFO".into())));
        assert_eq!(of("$SYS.REQ.USER.INFO"), Some(Topic::User));
    }

    #[test]
    fn other_accounts_ask_of_themselves() {
        for subject in ["$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.ACCOUNT.PING.CONNZ"] {
            assert_eq!(topic(subject, Some("A")), Some(Topic::Account("A".into(), "CONNZ".into())));
        }
        assert_eq!(topic("$SYS.REQ.USER.INFO", Some("A")), Some(Topic::User));
    }
}
