//! A server with a monitoring port, and HTTP without a library.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::server::{natsd, reference};
use crate::{Client, Launch, PATIENCE, Server};

/// Fields of `/varz` (MON-020 to MON-037) of a server with tags, metadata and users, in their order. `git_commit` is the reference's alone.
pub const VARZ: &str = "server_id server_name version proto go host port auth_required max_connections ping_interval \
    ping_max http_host http_port http_base_path https_port auth_timeout max_control_line max_payload max_pending \
    cluster gateway leaf mqtt websocket jetstream tls_timeout write_deadline start now uptime mem cores gomaxprocs \
    cpu connections total_connections routes remotes leafnodes in_msgs in_bytes in_client_msgs in_client_bytes \
    out_msgs out_bytes out_client_msgs out_client_bytes slow_consumers stale_connections stalled_clients \
    subscriptions http_req_stats config_load_time config_digest tags metadata feature_flags system_account \
    slow_consumer_stats stale_connection_stats disk_io_wait_stats";
pub const CONNZ: &str = "server_id now num_connections total offset limit connections";
pub const CONN_INFO: &str = "cid kind type ip port start last_activity rtt uptime idle pending_bytes in_msgs out_msgs \
    in_bytes out_bytes subscriptions name lang version authorized_user account subscriptions_list name_tag";
pub const SUBSZ: &str = "server_id now num_subscriptions num_cache num_inserts num_removes num_matches cache_hit_rate \
    max_fanout avg_fanout total offset limit subscriptions_list";

/// What servers are asked in the system account, by id or all (SYS-002).
pub const REQUESTS: [&str; 15] = [
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

pub struct Answer {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("an HTTP answer");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// The body, when all is well with the rest.
    pub fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        assert!(self.has("content-type: application/json"), "{}", self.head);
        assert!(self.has("access-control-allow-origin: *"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }
}

/// HTTP/1.0, so that the answer comes in one piece and ends with the connection.
pub fn exchange(mut wire: impl Read + Write, path: &str) -> Answer {
    wire.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    // A TLS peer that goes without a goodbye is as good as one that says it.
    let _ = wire.read_to_string(&mut answer);
    Answer::parse(&answer)
}

/// A server with its monitoring port.
pub struct Monitored {
    pub server: Server,
    pub http: SocketAddr,
    pub is_natsd: bool,
}

impl Monitored {
    pub fn start(program: PathBuf, config: &str) -> Self {
        Self::of(Launch::new(program).config(config).start())
    }

    /// One that was started otherwise.
    pub fn of(server: Server) -> Self {
        let is_natsd = server.program() == natsd();
        let http = server.log().wait(0, PATIENCE, |line| {
            let (_, address) = line.split_once(" monitor on ")?;
            address.trim().replace("localhost", "127.0.0.1").parse().ok()
        });
        Self { server, http: http.expect("the address of the monitor in the log"), is_natsd }
    }

    pub fn wire(&self) -> TcpStream {
        let wire = TcpStream::connect(self.http).unwrap();
        wire.set_read_timeout(Some(PATIENCE)).unwrap();
        wire
    }

    pub fn get(&self, path: &str) -> Answer {
        exchange(self.wire(), path)
    }

    pub fn json(&self, path: &str) -> Value {
        self.get(path).json()
    }

    /// A client of account A.
    pub fn client(&self, name: &str) -> Client {
        let options = format!(r#""user":"a","pass":"a","name":"{name}","lang":"test","version":"1""#);
        let mut client = Client::join(self.server.address(), &options).unwrap();
        client.sync();
        client
    }

    /// Asks until `wanted` is true of the answer.
    pub fn wait(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.json(path);
            if wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{path} stays {answer:#}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The names of an object's fields, in their order.
pub fn fields(value: &Value) -> String {
    value.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// The names of connections, in their order.
pub fn names(connz: &Value) -> Vec<&str> {
    connz["connections"].as_array().unwrap().iter().map(|info| info["name"].as_str().unwrap()).collect()
}

/// natsd, and the reference if there is one.
pub fn programs() -> impl Iterator<Item = PathBuf> {
    [Some(natsd()), reference()].into_iter().flatten()
}

/// Both servers, or natsd alone where there is no reference.
pub fn servers(config: &str) -> impl Iterator<Item = Monitored> {
    programs().map(move |program| Monitored::start(program, config))
}
