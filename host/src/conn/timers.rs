//! The timers of a connection: handshake, authentication, pings, write deadline. One sleep for all.

use super::session::{Failure, Session};
use crate::proto::error::{ClosedReason, ErrText};
use crate::runtime::{Deadline, now_ns, random_u64, unix_ns};
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

/// The first PING comes this long after CONNECT, at most, plus up to a fifth (CORE-200).
const FIRST_PING: Duration = Duration::from_secs(2);
/// The round trip is measured again after this time (CORE-201).
const RTT_AGE: Duration = Duration::from_secs(3600);

pub struct Timers {
    deadline: Deadline,
    handshake_ns: Option<u64>,
    auth_ns: Option<u64>,
    /// The end of what its credentials allow (JWT-037).
    expires_ns: Option<u64>,
    ping_ns: u64,
    /// When the write deadline is over if the socket has taken nothing till then, and how much it had.
    write: Option<(u64, u64)>,
    rtt_measured_ns: u64,
}

impl Timers {
    pub fn new(session: &Session) -> Self {
        let now = now_ns();
        let mut timers = Timers {
            deadline: Deadline::default(),
            handshake_ns: None,
            auth_ns: None,
            expires_ns: None,
            ping_ns: now + ns(session.pings_every()),
            write: None,
            rtt_measured_ns: now,
        };
        if session.layered && !session.layer_open {
            timers.handshake_ns = session.handshake_timeout.map(|t| now + ns(t));
        }
        if session.flags.expects_connect {
            timers.auth_ns = Some(now + ns(session.auth_timeout));
        }
        timers.arm();
        timers
    }

    /// CONNECT was accepted.
    pub fn connected(&mut self, session: &Session) {
        let interval = session.pings_every().min(FIRST_PING);
        let jitter = random_u64() % (ns(interval) / 5 + 1);
        self.auth_ns = None;
        let left_ns = |at_unix_ns: u64| at_unix_ns.saturating_sub(unix_ns());
        self.expires_ns = session.expires_unix_ns.map(|at| now_ns().saturating_add(left_ns(at)));
        self.ping_ns = now_ns() + ns(interval) + jitter;
        self.arm();
    }

    pub fn auth_deadline_ns(&self) -> Option<u64> {
        self.auth_ns
    }

    pub fn handshake_deadline_ns(&self) -> Option<u64> {
        self.handshake_ns
    }

    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.deadline.poll(cx)
    }

    fn arm(&mut self) {
        let write = self.write.map(|w| w.0);
        let next = [self.handshake_ns, self.auth_ns, self.expires_ns, write].into_iter().flatten().min();
        self.deadline.set(Some(next.map_or(self.ping_ns, |n| n.min(self.ping_ns))));
    }

    /// Starts the write deadline when bytes wait, and ends it when none do.
    pub fn watch_writes(&mut self, session: &Session) {
        let (idle, sent) = {
            let out = session.connection.receiver.out.lock();
            (out.is_idle(), out.sent_bytes)
        };
        match self.write {
            _ if idle => {
                if self.write.take().is_some() {
                    self.arm();
                }
            }
            Some((_, before)) if before == sent => {}
            _ => {
                let limit = session.context.options.load().timing.write_deadline;
                self.write = Some((now_ns() + ns(limit), sent));
                self.arm();
            }
        }
    }
}

impl Session {
    pub(super) fn on_timer(&mut self, timers: &mut Timers) -> Result<(), Failure> {
        let now = now_ns();
        if timers.handshake_ns.is_some_and(|at| at <= now) {
            timers.handshake_ns = None;
            if !self.layer_open {
                return Err(self.handshake_timed_out());
            }
        }
        if timers.auth_ns.is_some_and(|at| at <= now) {
            timers.auth_ns = None;
            if self.flags.expects_connect {
                return Err(Failure::told(
                    ErrText::AuthenticationTimeout,
                    ClosedReason::AuthenticationTimeout,
                ));
            }
        }
        if timers.expires_ns.is_some_and(|at| at <= now) {
            let (error, reason) = (ErrText::UserAuthenticationExpired, ClosedReason::AuthenticationExpired);
            return Err(Failure::told(error, reason));
        }
        if timers.write.is_some_and(|(at, _)| at <= now) {
            self.on_write_deadline(timers, now)?;
        }
        if timers.ping_ns <= now {
            self.on_ping_timer(timers, now)?;
        }
        timers.arm();
        Ok(())
    }

    fn on_write_deadline(&mut self, timers: &mut Timers, now: u64) -> Result<(), Failure> {
        let Some((_, before)) = timers.write else { return Ok(()) };
        let limit = self.context.options.load().timing.write_deadline;
        let (idle, sent, pending) = {
            let out = self.connection.receiver.out.lock();
            (out.is_idle(), out.sent_bytes, out.pending_bytes())
        };
        if idle {
            timers.write = None;
        } else if sent != before {
            timers.write = Some((now + ns(limit), sent));
        } else {
            self.context.slow_consumers.fetch_add(1, Relaxed);
            let log = format!(
                "Slow Consumer Detected: WriteDeadline of {limit:?} exceeded with {pending} total bytes."
            );
            return Err(Failure::silent(ClosedReason::SlowConsumerWriteDeadline, log));
        }
        Ok(())
    }

    /// CORE-201, CORE-202.
    fn on_ping_timer(&mut self, timers: &mut Timers, now: u64) -> Result<(), Failure> {
        let timing = self.context.options.load().timing.clone();
        timers.ping_ns = now + ns(self.pings_every());
        let active = std::mem::take(&mut self.active);
        let rtt_known = self.connection.facts.lock().rtt_ns > 0;
        if active && rtt_known && now - timers.rtt_measured_ns < ns(RTT_AGE) {
            return Ok(());
        }
        if self.pings_out + 1 > timing.ping_max {
            self.context.stale_connections.fetch_add(1, Relaxed);
            let label = self.connection.receiver.label();
            crate::log::debug!(target: label, "Stale Client Connection - Closing");
            return Err(Failure::told(ErrText::StaleConnection, ClosedReason::StaleConnection));
        }
        timers.rtt_measured_ns = now;
        self.send_ping();
        Ok(())
    }

    /// The listener's interval, else the server's.
    fn pings_every(&self) -> Duration {
        self.ping_interval.unwrap_or_else(|| self.context.options.load().timing.ping_interval)
    }

    pub(super) fn send_ping(&mut self) {
        self.pings_out += 1;
        self.ping_sent_ns = now_ns();
        self.connection.receiver.send(b"PING\r\n");
    }
}

fn ns(d: Duration) -> u64 {
    d.as_nanos() as u64
}
