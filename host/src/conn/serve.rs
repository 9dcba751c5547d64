//! The task of a connection: reads, writes what the socket did not take, keeps the timers.
//!
//! Nothing is decided here about the protocol: bytes go to `Session::process`, what comes back is carried
//! out. A read goes into the thread's buffer, so that an idle connection holds none.

use super::context::Context;
use super::registry::{Connection, Signal};
use super::session::{End, Failure, Session};
use super::stall;
use crate::account::Account;
use crate::proto::error::{ClosedReason, ErrText};
use crate::routing::layer::Progress;
use crate::routing::publish::with_chunk;
use crate::routing::receiver::Receiver;
use crate::runtime::{Deadline, ReadHalf, clock, now_ns};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::*;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

/// Read into by every connection of a thread. Small ones split batches: against 128 KB this saves a tenth to a third
/// of the CPU where much is under way. Pages that no read reaches take no memory.
const READ_BYTES: usize = 512 << 10;
/// A message larger than this is gathered in a buffer of its own, so that its parts are not copied with each read.
const LARGE_BYTES: usize = 128 << 10;
/// How long a closing connection may take to write its last bytes (CORE-215).
const LAST_FLUSH_NS: u64 = 100_000_000;
/// How long it may take to read that it is closed.
const LINGER: Duration = Duration::from_millis(50);
/// Who writes more than that does not read: nobody may keep a thread busy.
const LINGER_READS_MAX: usize = 32;

/// What a thread's connections read into.
struct Buffers {
    read: Vec<u8>,
    plain: Vec<u8>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> =
        RefCell::new(Buffers { read: vec![0; READ_BYTES], plain: Vec::new() });
}

/// The socket as the task sees it.
pub struct Duplex {
    pub read: ReadHalf,
}

impl Duplex {
    /// Writes what is queued, as far as the socket takes it.
    pub fn poll_flush(&mut self, me: &Receiver, cx: &mut TaskContext<'_>) {
        if !me.wants_write.load(Acquire) {
            return;
        }
        let mut out = me.out.lock();
        loop {
            if out.closed().is_some() || out.flush() {
                me.wants_write.store(false, Release);
                return;
            }
            if !matches!(self.read.poll_write_ready(cx), Poll::Ready(Ok(()))) {
                return;
            }
        }
    }
}

/// Why the loop stops reading.
enum Next {
    Stall(Arc<Receiver>),
    Login { json: Option<Vec<u8>> },
    Vet,
    Signals(u32),
    Timer,
    Close(Failure),
}

/// Serves a connection whose first INFO is sent, until it ends. What this future holds inline is what an idle
/// connection costs, so the session is boxed, and so are the futures of what happens once.
pub async fn serve(mut session: Box<Session>, mut duplex: Duplex) {
    let me = session.connection.receiver.clone();
    let mut account = session.connection.account.read().clone();
    let mut timers = super::timers::Timers::new(&session);
    let failure = loop {
        match next(&mut session, &mut duplex, &account, &me, &mut timers).await {
            Next::Stall(receiver) => Box::pin(stall::wait(&me, &mut duplex, receiver)).await,
            Next::Login { json } => {
                let login = Box::pin(session.login(json.as_deref()));
                match within_auth_timeout(login, &timers).await {
                    Ok(()) => {
                        account = session.connection.account.read().clone();
                        timers.connected(&session);
                    }
                    Err(failure) => break failure,
                }
            }
            Next::Vet => {
                if let Err(failure) = Box::pin(session.vet(timers.handshake_deadline_ns())).await {
                    break failure;
                }
            }
            Next::Signals(signals) => {
                let result = Box::pin(session.on_signals(signals)).await;
                session.connection.done();
                if let Err(failure) = result {
                    break failure;
                }
                account = session.connection.account.read().clone();
            }
            Next::Timer => {
                if let Err(failure) = session.on_timer(&mut timers) {
                    break failure;
                }
            }
            Next::Close(failure) => break failure,
        }
    };
    Box::pin(finish(session, duplex, &account, failure)).await;
}

async fn within_auth_timeout(
    login: impl Future<Output = Result<(), Failure>>,
    timers: &super::timers::Timers,
) -> Result<(), Failure> {
    let Some(at_ns) = timers.auth_deadline_ns() else { return login.await };
    let left = std::time::Duration::from_nanos(at_ns.saturating_sub(now_ns()));
    crate::runtime::clock::timeout(left, login).await.unwrap_or_else(|| {
        Err(Failure::told(ErrText::AuthenticationTimeout, ClosedReason::AuthenticationTimeout))
    })
}

/// Runs the connection until something else than reading and writing is due.
async fn next(
    session: &mut Session,
    duplex: &mut Duplex,
    account: &Account,
    me: &Arc<Receiver>,
    timers: &mut super::timers::Timers,
) -> Next {
    // What stands behind a CONNECT is there already.
    let mut have_left = session.left.len() >= session.need.max(1) && session.resume;
    if !have_left && let Some(failure) = session.layer_end.take() {
        return Next::Close(*failure);
    }
    let mut registered = false;
    // While it waited elsewhere it may have been told something that only flushing noticed.
    let mut is_first = true;
    poll_fn(|cx| {
        if !registered {
            me.out.lock().set_waker(cx.waker().clone());
            registered = true;
        }
        loop {
            if std::mem::take(&mut is_first) || me.wants_write.load(Acquire) {
                duplex.poll_flush(me, cx);
                if let Some(reason) = me.out.lock().closed() {
                    return Poll::Ready(Next::Close(Failure { error: None, reason, log: None }));
                }
                let signals = session.connection.take_signals();
                if signals != 0 {
                    return Poll::Ready(Next::Signals(signals));
                }
                timers.watch_writes(session);
            }
            if timers.poll(cx).is_ready() {
                return Poll::Ready(Next::Timer);
            }
            let end = if std::mem::take(&mut have_left) {
                go_on(session, account, me)
            } else if std::mem::take(&mut session.admitted) {
                BUFFERS.with_borrow_mut(|thread| decode(session, account, me, thread, 0))
            } else {
                let read = |buf: &mut [u8]| duplex.read.poll_read(cx, buf);
                match pump(session, account, me, read) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(end) => end,
                }
            };
            match end {
                End::Used(_) => {
                    if let Some(failure) = session.layer_end.take() {
                        return Poll::Ready(Next::Close(*failure));
                    }
                }
                End::Login { json, .. } => return Poll::Ready(Next::Login { json: Some(json) }),
                End::Anonymous { .. } => return Poll::Ready(Next::Login { json: None }),
                End::Vet => return Poll::Ready(Next::Vet),
                End::Fail(failure) => return Poll::Ready(Next::Close(failure)),
                End::Paused { .. } => have_left = true,
            }
            if let Some(receiver) = session.stall.take() {
                return Poll::Ready(Next::Stall(receiver));
            }
            if have_left {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    })
    .await
}

/// Processes what was left.
fn go_on(session: &mut Session, account: &Account, me: &Arc<Receiver>) -> End {
    session.resume = false;
    let left = std::mem::take(&mut session.left);
    let end = with_chunk(|chunk| session.process(chunk, account, me, &left));
    session.keep(&left, &end);
    end
}

/// One read into the thread's buffer (or, for a large message, into one of its own), then
/// everything that follows from it.
fn pump(
    session: &mut Session,
    account: &Account,
    me: &Arc<Receiver>,
    mut read: impl FnMut(&mut [u8]) -> Poll<io::Result<usize>>,
) -> Poll<End> {
    BUFFERS.with_borrow_mut(|thread| {
        if session.layered {
            return pump_layered(session, account, me, thread, read);
        }
        let kept = session.left.len();
        if session.need > LARGE_BYTES {
            return pump_large(session, account, me, thread, read);
        }
        let mut buf = std::mem::take(&mut thread.read);
        let end = match read(&mut buf[kept..]) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(n)) if n > 0 => {
                buf[..kept].copy_from_slice(&session.left);
                session.note_read();
                let filled = &buf[..kept + n];
                let end = with_chunk(|chunk| session.process(chunk, account, me, filled));
                session.keep(filled, &end);
                Poll::Ready(end)
            }
            Poll::Ready(result) => Poll::Ready(End::Fail(session.ended(result))),
        };
        thread.read = buf;
        end
    })
}

/// A large message is gathered in a buffer that has exactly its size.
fn pump_large(
    session: &mut Session,
    account: &Account,
    me: &Arc<Receiver>,
    thread: &mut Buffers,
    mut read: impl FnMut(&mut [u8]) -> Poll<io::Result<usize>>,
) -> Poll<End> {
    let kept = session.left.len();
    session.left.reserve_exact(session.need - kept);
    let room = (session.need - kept).min(READ_BYTES);
    let n = match read(&mut thread.read[..room]) {
        Poll::Pending => return Poll::Pending,
        Poll::Ready(Ok(n)) if n > 0 => n,
        Poll::Ready(result) => return Poll::Ready(End::Fail(session.ended(result))),
    };
    session.note_read();
    session.left.extend_from_slice(&thread.read[..n]);
    if session.left.len() < session.need {
        return Poll::Ready(End::Used(0));
    }
    let left = std::mem::take(&mut session.left);
    let end = with_chunk(|chunk| session.process(chunk, account, me, &left));
    session.keep(&left, &end);
    Poll::Ready(end)
}

/// A read through TLS or a transport.
fn pump_layered(
    session: &mut Session,
    account: &Account,
    me: &Arc<Receiver>,
    thread: &mut Buffers,
    mut read: impl FnMut(&mut [u8]) -> Poll<io::Result<usize>>,
) -> Poll<End> {
    let n = match read(&mut thread.read) {
        Poll::Pending => return Poll::Pending,
        Poll::Ready(Ok(n)) if n > 0 => n,
        Poll::Ready(result) => return Poll::Ready(End::Fail(session.ended(result))),
    };
    session.note_read();
    Poll::Ready(decode(session, account, me, thread, n))
}

/// What came, or with nothing what was held back, and everything that follows from it.
fn decode(
    session: &mut Session,
    account: &Account,
    me: &Arc<Receiver>,
    thread: &mut Buffers,
    n: usize,
) -> End {
    let mut plain = std::mem::take(&mut thread.plain);
    plain.clear();
    plain.append(&mut session.left);
    let was_open = session.layer_open;
    let result = {
        let mut out = me.out.lock();
        let result = out.decode(&mut thread.read[..n], &mut plain);
        if out.needs_writer() {
            me.wake(&out);
        }
        result
    };
    let end = match result {
        Err(e) if plain.is_empty() || !was_open => End::Fail(session.layer_failed(e)),
        Err(e) => {
            session.layer_end = Some(Box::new(session.layer_failed(e)));
            with_chunk(|chunk| session.process(chunk, account, me, &plain))
        }
        Ok(Progress::Handshaking) => End::Used(0),
        Ok(Progress::Vetting) => End::Vet,
        Ok(progress) => {
            if !was_open {
                session.layer_opened();
            }
            match with_chunk(|chunk| session.process(chunk, account, me, &plain)) {
                End::Used(_) if progress == Progress::PeerClosed => End::Fail(session.ended(Ok(0))),
                End::Paused { used } if progress == Progress::PeerClosed => {
                    session.layer_end = Some(Box::new(session.ended(Ok(0))));
                    End::Paused { used }
                }
                end => end,
            }
        }
    };
    session.keep(&plain, &end);
    thread.plain = if plain.capacity() > 2 * READ_BYTES { Vec::new() } else { plain };
    end
}

impl Session {
    /// Bytes came: for monitoring.
    fn note_read(&self) {
        self.connection.receiver.last_active_ns.store(now_ns(), Relaxed);
    }

    /// Keeps what `process` did not use.
    fn keep(&mut self, buf: &[u8], end: &End) {
        let used = match end {
            End::Used(used) | End::Anonymous { used } | End::Login { used, .. } | End::Paused { used } => {
                *used
            }
            End::Vet | End::Fail(_) => buf.len(),
        };
        self.resume = matches!(end, End::Login { .. } | End::Anonymous { .. } | End::Paused { .. });
        let rest = &buf[used..];
        if rest.is_empty() {
            self.left = Vec::new();
        } else {
            self.left.clear();
            self.left.extend_from_slice(rest);
        }
    }
}

/// Says goodbye, flushes what the socket takes within a moment, and forgets the connection.
async fn finish(mut session: Box<Session>, duplex: Duplex, account: &Account, failure: Failure) {
    let me = session.connection.receiver.clone();
    let reason = me.out.lock().closed().unwrap_or(failure.reason);
    me.closed.store(true, Release);
    if let Some(log) = &failure.log {
        crate::log::error!("{} - {log}", me.label());
    }
    session.log_close(&failure, reason);
    let last_subs = crate::routing::subscriptions::last_of(&me, account);
    crate::routing::subscriptions::remove_all(&me, account);
    if let Some(error) = &failure.error {
        me.out.lock().send(&error.line());
    }
    if !reason.is_abrupt() {
        let mut deadline = Deadline::default();
        deadline.set(Some(now_ns() + LAST_FLUSH_NS));
        poll_fn(|cx| {
            let mut out = me.out.lock();
            out.end_places();
            loop {
                if out.is_idle() || out.flush() || deadline.poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                match duplex.read.poll_write_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }
    me.out.lock().finish(reason);
    session.leave(account, reason);
    let context: &Context = &session.context;
    let connection: &Connection = &session.connection;
    if let Some(hooks) = context.hooks.get() {
        if matches!(failure.error, Some(ErrText::AuthorizationViolation)) {
            hooks.refused(connection, reason);
        }
        hooks.disconnected(connection, reason);
    }
    context.registry.remove(connection, reason, last_subs);
    if failure.error.is_some() && session.layered {
        Box::pin(linger(duplex)).await;
    }
}

/// A client that was told why it has to go may be writing still. What comes is read: answered by a reset it would take
/// away what the client was told, which libraries for WebSocket do not read once a write has failed.
async fn linger(mut duplex: Duplex) {
    let (mut unread, mut reads_left) = ([0; 512], LINGER_READS_MAX);
    let gone = poll_fn(|cx| {
        while reads_left > 0 {
            match duplex.read.poll_read(cx, &mut unread) {
                Poll::Ready(Ok(n)) if n > 0 => reads_left -= 1,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    });
    clock::timeout(LINGER, gone).await;
}

impl Session {
    async fn on_signals(&mut self, signals: u32) -> Result<(), Failure> {
        if signals & Signal::Recheck as u32 != 0 {
            Box::pin(self.recheck()).await?;
        }
        if signals & Signal::SendInfo as u32 != 0 && self.first_pong_sent && self.flags.async_info {
            self.send_info();
        }
        if signals & Signal::LameDuck as u32 != 0 {
            self.send_lame_duck_info();
        }
        if signals & Signal::Ping as u32 != 0 {
            self.send_ping();
        }
        Ok(())
    }
}
