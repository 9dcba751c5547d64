//! Signals of the operating system, and limits of the process.

use std::io;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a person or a supervisor asks of the running server (CFG-320).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Hangup,
    User1,
    User2,
    Interrupt,
    Terminate,
}

impl Signal {
    /// As Go names it in the log.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Hangup => "hangup",
            Signal::User1 => "user defined signal 1",
            Signal::User2 => "user defined signal 2",
            Signal::Interrupt => "interrupt",
            Signal::Terminate => "terminated",
        }
    }
}

pub struct Signals {
    streams: [(Signal, Stream); 5],
}

impl Signals {
    pub fn new() -> io::Result<Signals> {
        let on = |name, kind| signal(kind).map(|stream| (name, stream));
        Ok(Signals {
            streams: [
                on(Signal::Hangup, SignalKind::hangup())?,
                on(Signal::User1, SignalKind::user_defined1())?,
                on(Signal::User2, SignalKind::user_defined2())?,
                on(Signal::Interrupt, SignalKind::interrupt())?,
                on(Signal::Terminate, SignalKind::terminate())?,
            ],
        })
    }

    pub async fn next(&mut self) -> Signal {
        std::future::poll_fn(|cx| {
            for (name, stream) in &mut self.streams {
                if stream.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// As many open files as the system allows: each connection is one.
pub fn raise_open_files_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it is refused the server runs with what it has; accept says so when they run out.
    let _ = setrlimit(Resource::Nofile, limit);
}
