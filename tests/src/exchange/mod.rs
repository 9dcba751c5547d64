//! Scripts of protocol exchanges: what clients do and what the server must answer, as text.
//!
//! A file of `tests/exchanges` holds cases of one topic. The lines that say what the server
//! answered (`A< …`) were recorded from the reference server; a case passes on a server that
//! answers the same, save what must differ (see [`normalise`]).
//!
//! ```text
//! # A comment.
//! == a_name_that_states_the_claim (CORE-001 CORE-002)
//! config                         the config file: the indented lines that follow
//!   max_payload: 100
//! file NAME                      a file beside the config: the indented lines that follow
//! args -V                        more command-line arguments
//! json                           payloads are JSON: ids, times and sizes in them may differ
//! any-sid                        it does not matter which subscription got a message
//! any-order                      what comes within one step may come in any order
//! operator {"nats":{}}           claims that lie over those of the operator of all accounts
//! account NAME {"nats":{}}       an account of the operator, with claims over those of one without limits
//! activation NAME EXP IMP {…}    a token of the account EXP (or KEY@EXP) for the account IMP
//!
//! A open [info]                  connects client A, reads INFO; with `info` INFO is recorded
//! A open raw | tls | tls-first   TCP only | INFO, then TLS | TLS, then INFO
//! A tls [fails]                  starts TLS on the connection [and expects that to fail]
//! A login ACC USER {…}           `open`, then CONNECT with a JWT that the account ACC (or KEY@ACC) signed for the
//!                                key USER, with these claims over those of a user without limits; USER `-`: unsigned
//! A answers {…}                  the last message is a request of auth callout: answers it (see `service`)
//! update ACC {…}                 new claims for the account; records the answer
//! A info                         reads an INFO and records it
//! A join "user":"u"              `open`, then CONNECT, not verbose nor pedantic, with more fields
//! A rejoin "user":"u"            the same again and again until the server answers a PING
//! A repeat PUB a r 0\r\n         the line, CRLF and PING again and again until more than PONG comes
//! A> PUB a 2\r\nhi               sends the line and CRLF
//! A>> PUB a                      sends just these bytes
//! A dribble PING                 sends the line and CRLF byte by byte
//! A< PONG                        recorded: what came (`<<` when the last line had no CRLF)
//! A sync                         PING, then reads up to its PONG
//! A read 2                       reads two operations
//! A closed                       reads until the server closes
//! A close                        closes A
//! A half-close                   says that A will send no more
//! log TEXT | nolog TEXT          waits for a log line with TEXT | there is none
//! signal USR2                    HUP, USR1, USR2, TERM or INT
//! reload                         a new config: the indented lines; SIGHUP; records the outcome
//! refused                        new connections are refused
//! exit                           the process ends; records its exit code
//! ```
//!
//! `A tls` and `A open tls` take a client certificate as `cert=client`. Text that is sent may use
//! `\r \n \t \\ \xNN`, `{{x*4096}}` (repeat), `{{nonce}}`, `{{sign:NAME}}` and `{{sign64:NAME}}`
//! (the signature of that client's nonce by the key NAME), `{{port:A}}` (the port of client A), `{{reply:A}}`
//! (the reply of the last message to A that had one);
//! claims and sent text may use `{{A:NAME}}` and `{{U:NAME}}` (keys of accounts and users), claims also
//! `{{activation:NAME}}`, `{{now}}` and `{{now+5}}`;
//! config text may use `{{A:NAME}}`, `{{U:NAME}}`, `{{dir}}`, `{{certs}}`, `{{pin:CERT}}` and `{{nkey:NAME}}`.

mod message;
pub mod normalise;
pub mod run;
pub mod script;
mod service;
pub mod text;
mod tokens;
