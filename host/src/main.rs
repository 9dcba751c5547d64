//! The `natsd` binary.
use natsd::config::options::*;
use std::time::Duration;
fn main() {
    let path = std::env::args().nth(2).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let port = text.lines().find_map(|l| l.strip_prefix("port: ")).unwrap().trim().parse().unwrap();
    let options = Options { host: "127.0.0.1".into(), port, server_name: String::new(), client_advertise: None, server_tags: vec![], server_metadata: Default::default(), feature_flags: Default::default(),
      limits: Limits { max_control_line_bytes: 4096, max_payload_bytes: 1<<20, max_pending_bytes: 64<<20, max_connections: Some(65536), max_subscriptions: None, max_sub_tokens: None, max_closed_clients: 10000, max_traced_msg_len: 0 },
      timing: Timing { ping_interval: Duration::from_secs(120), ping_max: 2, write_deadline: Duration::from_secs(10), write_timeout: WriteTimeout::Default, lame_duck_duration: Duration::from_secs(120), lame_duck_grace_period: Duration::from_secs(10) },
      log: Default::default(), files: Default::default(), auth: Default::default(), accounts: Default::default(), tls: None, allow_non_tls: false, proxy_protocol: false, no_header_support: false, no_fast_producer_stall: false, disable_sublist_cache: false, connect_error_reports: 1, reconnect_error_reports: 1, plugins: Default::default() };
    let lim = libc::rlimit { rlim_cur: 20000, rlim_max: 20000 };
    #[allow(unsafe_code)]
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &lim) };
    natsd::runtime::tasks::block_on(natsd::server::run(options)).unwrap().unwrap();
}
