//! The texts of `--help` and `--help_tls`.

use crate::config::{CIPHER_SUITES, CIPHER_SUITES_SUPPORTED, CURVES, CURVES_SUPPORTED};

/// The version of nats-server that natsd stands in for: clients switch features on by it.
pub const VERSION: &str = "2.15.1";

pub fn usage(exe: &str) -> String {
    format!(
        "
Usage: {exe} [options] [version | help | plugins]

Server Options:
    -a, --addr, --net <host>         Bind to host address (default: 0.0.0.0)
    -p, --port <port>                Port for clients (default: 4222; -1 takes a free one)
    -n, --name
        --server_name <server_name>  Name of the server (default: its id)
    -P, --pid <file>                 File to write the process id to
    -m, --http_port <port>           Port for HTTP monitoring
    -ms,--https_port <port>          Port for HTTPS monitoring
    -c, --config <file>              Configuration file
    -t                               Check the configuration and exit
    -sl,--signal <signal>[=<pid>]    Send a signal to a running server (ldm, stop, quit, term, reopen, reload)
                                     <pid> is a process id, the path of a pid file, or a prefix of ids with `*`
        --client_advertise <string>  Address that clients and other servers are told
        --ports_file_dir <dir>       Folder for a file with the ports in use (<executable_name>_<pid>.ports)
        --plugins-dir <dir>          Folder to look for plugins in; may be repeated (default: that of the executable)

Logging Options:
    -l, --log <file>                 File to log to
    -T, --logtime                    Timestamps in log lines (default: true)
        --logtime_utc                Timestamps in UTC (default: false)
    -s, --syslog                     Log to syslog
    -r, --remote_syslog <addr>       Address of a syslog server (udp://localhost:514)
    -D, --debug                      Log debug lines
    -V, --trace                      Log the protocol
    -VV                              Log the protocol, of the system account too
    -DV                              Debug and trace
    -DVV                             Debug and trace, of the system account too
        --log_size_limit <limit>     Size in bytes at which the log file is rotated (default: never)
        --max_traced_msg_len <len>   Length of traced messages shown (default: unlimited)

JetStream Options:
    -js, --jetstream                 Enable JetStream
    -sd, --store_dir <dir>           Storage folder

Authorization Options:
        --user <user>                User required of clients
        --pass <password>            Password required of clients
        --auth <token>               Token required of clients

TLS Options:
        --tls                        Enable TLS, do not verify clients (default: false)
        --tlscert <file>             Server certificate file
        --tlskey <file>              Private key of the server certificate
        --tlsverify                  Enable TLS, verify client certificates
        --tlscacert <file>           Certificates of the authorities to verify clients with

Cluster Options:
        --routes <rurl-1, rurl-2>    Routes to connect to
        --cluster, --cluster_listen <url>
                                     Address to take routes at
        --cluster_name <string>      Name of the cluster (default: made up)
        --no_advertise <bool>        Do not tell clients about the cluster
        --cluster_advertise <string> Address that other servers are told
        --connect_retries <number>   How often to try again to connect implicit routes

Common Options:
    -h, --help                       Show this message
    -v, --version                    Show the version
        --help_tls                   Show what a tls block may hold
"
    )
}

pub fn help_tls() -> String {
    let list = |names: &[&str]| names.iter().map(|name| format!("    {name}\n")).collect::<String>();
    format!(
        "
TLS is configured in the tls block of the configuration file:

    tls {{
        cert_file:      \"./certs/server-cert.pem\"
        key_file:       \"./certs/server-key.pem\"
        ca_file:        \"./certs/ca.pem\"
        verify:         true
        verify_and_map: true
        min_version:    \"1.3\"
        cipher_suites: [
            \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\",
            \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"
        ]
        curve_preferences: [\"X25519\", \"CurveP256\"]
    }}

Available cipher suites include:
{}
Available curve preferences include:
{}
Known to nats-server but not used by natsd:
{}",
        list(&CIPHER_SUITES[..CIPHER_SUITES_SUPPORTED]),
        list(&CURVES[..CURVES_SUPPORTED]),
        list(&[&CIPHER_SUITES[CIPHER_SUITES_SUPPORTED..], &CURVES[CURVES_SUPPORTED..]].concat()),
    )
}
