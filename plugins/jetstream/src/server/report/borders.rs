//! The API as nats-server has it: every account imports it from the system account, and knows it under the domain
//! too. Here it is answered in each account; `/accountz` shows what that comes to (MON-081 to MON-083).

use serde_json::{Map, Value, json};

const API: &str = "$JS.API.>";
/// What an account calls under the domain, and what that is without.
const UNDER_DOMAIN: [(&str, &str); 9] = [
    ("INFO", "$JS.API.INFO"),
    ("STREAM.>", "$JS.API.STREAM.>"),
    ("CONSUMER.>", "$JS.API.CONSUMER.>"),
    ("DIRECT.>", "$JS.API.DIRECT.>"),
    ("META.>", "$JS.API.META.>"),
    ("SERVER.>", "$JS.API.SERVER.>"),
    ("ACCOUNT.>", "$JS.API.ACCOUNT.>"),
    ("$KV.>", "$KV.>"),
    ("$OBJ.>", "$OBJ.>"),
];

pub fn borders(account: &str, system: &str, domain: &str) -> Value {
    let mut shown = json!({});
    let is_system = account == system;
    if is_system {
        shown["exports"] = json!([{ "subject": API, "type": "service", "response_type": "Singleton" }]);
    } else {
        shown["imports"] = json!([{
            "subject": API, "account": system, "to": API, "local_subject": API, "type": "service",
            "invalid": false, "share": true, "tracking": false,
        }]);
    }
    let to = |subject: &str| json!([{ "subject": subject, "weight": 100 }]);
    let mappings: Map<String, Value> = match domain {
        "" => return shown,
        domain if is_system => Map::from_iter([(format!("$JS.{domain}.API.>"), to(API))]),
        domain => {
            UNDER_DOMAIN.iter().map(|(name, api)| (format!("$JS.{domain}.API.{name}"), to(api))).collect()
        }
    };
    shown["mappings"] = mappings.into();
    shown
}
