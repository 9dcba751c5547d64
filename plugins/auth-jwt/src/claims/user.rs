//! The claims of a user (JWT-016), which a scoped signing key's template has too.

use super::Common;
use natsd_plugin_api::serde_json::Value;
use serde::{Deserialize, Deserializer};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct User {
    #[serde(flatten)]
    pub common: Common,
    pub nats: UserData,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct UserData {
    #[serde(flatten)]
    pub limits: UserLimits,
    pub issuer_account: String,
    pub tags: Vec<String>,
}

/// All that a scoped signing key decides in the user's place (JWT-033).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct UserLimits {
    #[serde(rename = "pub")]
    pub publish: SubjectLists,
    #[serde(rename = "sub")]
    pub subscribe: SubjectLists,
    pub resp: Option<Responses>,
    pub src: Networks,
    pub times: Vec<TimeRange>,
    pub times_location: String,
    pub subs: i64,
    pub data: i64,
    pub payload: i64,
    pub bearer_token: bool,
    pub proxy_required: bool,
    pub allowed_connection_types: Vec<String>,
}

/// `pub`, `sub` and `resp`, as an account's defaults have them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Permissions {
    #[serde(rename = "pub")]
    pub publish: SubjectLists,
    #[serde(rename = "sub")]
    pub subscribe: SubjectLists,
    pub resp: Option<Responses>,
}

/// An empty list says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SubjectLists {
    pub allow: Vec<String>,
    pub deny: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Responses {
    pub max: i64,
    /// Nanoseconds.
    pub ttl: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TimeRange {
    pub start: String,
    pub end: String,
}

/// A list, or a text with commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<String>);

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match Value::deserialize(from)? {
            Value::String(list) => {
                let list = list.to_lowercase();
                let networks = list.split(',').map(str::trim).filter(|network| !network.is_empty());
                Ok(Self(networks.map(str::to_owned).collect()))
            }
            list => serde_json::from_value(list).map(Self).map_err(D::Error::custom),
        }
    }
}

impl UserLimits {
    pub fn permissions(&self) -> Permissions {
        let Self { publish, subscribe, resp, .. } = self.clone();
        Permissions { publish, subscribe, resp }
    }

    /// What is wrong with them, as nats-server words it.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.permissions().problems();
        for network in &self.src.0 {
            if crate::network::Network::parse(network).is_none() {
                problems.push(format!("invalid cidr {network:?} in user src limits"));
            }
        }
        for range in &self.times {
            for (name, text) in [("start", &range.start), ("end", &range.end)] {
                if text.is_empty() {
                    problems.push(format!("time ranges {name} must contain {} {name}", article(name)));
                } else if crate::times::parse(text).is_none() {
                    problems.push(format!("{name} in time range is invalid {text:?}"));
                }
            }
        }
        let zone = &self.times_location;
        if !zone.is_empty() && jiff::tz::TimeZone::get(zone).is_err() {
            problems.push(format!("could not parse iana time zone by name: unknown time zone {zone}"));
        }
        problems
    }
}

fn article(name: &str) -> &'static str {
    if name == "end" { "an" } else { "a" }
}

impl Permissions {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn problems(&self) -> Vec<String> {
        let publish = self.publish.allow.iter().chain(&self.publish.deny).map(|subject| (subject, false));
        let subscribe =
            self.subscribe.allow.iter().chain(&self.subscribe.deny).map(|subject| (subject, true));
        let mut problems = Vec::new();
        for (entry, with_queue) in publish.chain(subscribe) {
            let words: Vec<&str> = entry.split(' ').collect();
            match words[..] {
                [subject] => problems.extend(crate::subjects::problem(subject)),
                [subject, queue] if with_queue => {
                    problems.extend(crate::subjects::problem(subject));
                    problems.extend(crate::subjects::problem(queue));
                }
                [_, _] => {
                    problems.push(format!("Permission Subject {entry:?} is not allowed to contain queue"))
                }
                _ => problems.push(format!("Permission Subject {entry:?} contains too many spaces")),
            }
        }
        problems
    }
}
