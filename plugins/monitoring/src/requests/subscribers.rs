//! `$SYS.DEBUG.SUBSCRIBERS`: how many subscriptions there are for a subject, as a number in decimal (SYS-017).

use super::Request;
use super::answer::{Answer, Answers};
use natsd_plugin_api::Result;
use natsd_plugin_api::serde_json::{self, Value, json};

/// The header that an import adds: who asks.
const ASKER: &str = "Nats-Request-Info:";

impl Answers {
    /// Of the account that asks.
    pub fn subscribers(&self, request: &Request) -> Result<Answer> {
        let account = if request.asker.is_empty() { &request.account } else { &request.asker };
        let body = String::from_utf8_lossy(&request.body);
        let mut words = body.trim().split(' ');
        let params = json!({ "account": account, "subject": words.next(), "queue": words.next() });
        Ok(Answer::Bare(self.events.snapshot("subscribers", &params)?["subscribers"].take()))
    }
}

/// The account that asks through an import: the one in between, if there is one.
pub fn asker(headers: &[u8]) -> String {
    let text = String::from_utf8_lossy(headers);
    let told = text.split("\r\n").find_map(|line| line.strip_prefix(ASKER));
    let told: Value = told.and_then(|told| serde_json::from_str(told.trim()).ok()).unwrap_or_default();
    let account = ["svc", "acc"].iter().find_map(|name| told[*name].as_str().filter(|name| !name.is_empty()));
    account.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::asker;

    #[test]
    fn who_asks_is_the_account_in_between_or_the_first() {
        let of = |info: &str| asker(format!("NATS/1.0\r\nNats-Request-Info: {info}\r\n\r\n").as_bytes());
        assert_eq!(of(r#"{"acc":"A","rtt":5}"#), "A");
        assert_eq!(of(r#"{"acc":"A","svc":"B"}"#), "B");
        assert_eq!((of("{"), asker(b"")), (String::new(), String::new()));
    }
}
