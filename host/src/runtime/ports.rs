//! What the ports file says: the URLs at which this server can be reached (CFG-331).
//!
//! Pure. Writing and removing the file is `runtime::pid_ports`.

use core::net::{IpAddr, SocketAddr};

use serde::Serialize;

/// The URLs by service. Empty lists are left out of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ports {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nats: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub monitoring: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub websocket: Vec<String>,
}

impl Ports {
    /// The file's text, without a newline at its end.
    pub fn to_json(&self) -> String {
        // A struct of lists of strings always serializes.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The URLs of one listener: its own address, or one for each of `interfaces` when it listens on all.
pub fn urls(scheme: &str, listens_on: SocketAddr, interfaces: &[IpAddr]) -> Vec<String> {
    let url = |ip: IpAddr| format!("{scheme}://{}", SocketAddr::new(ip, listens_on.port()));
    if listens_on.ip().is_unspecified() {
        return interfaces.iter().map(|ip| url(*ip)).collect();
    }
    vec![url(listens_on.ip())]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_listed_with_each() {
        let interfaces = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        let of = |scheme, address: &str| urls(scheme, address.parse().unwrap(), &interfaces);
        assert_eq!(of("tls", "0.0.0.0:1"), ["tls://127.0.0.1:1", "tls://[::1]:1"]);
        assert_eq!(of("ws", "[::]:2"), ["ws://127.0.0.1:2", "ws://[::1]:2"]);
        assert_eq!(of("nats", "10.0.0.1:3"), ["nats://10.0.0.1:3"]);
    }

    #[test]
    fn the_file_leaves_empty_lists_out() {
        let ports = Ports {
            nats: vec!["nats://127.0.0.1:4222".to_owned()],
            cluster: vec!["nats://127.0.0.1:6222".to_owned()],
            ..Ports::default()
        };
        assert_eq!(
            ports.to_json(),
            r#"{"nats":["nats://127.0.0.1:4222"],"cluster":["nats://127.0.0.1:6222"]}"#
        );
        assert_eq!(Ports::default().to_json(), "{}");
    }
}
