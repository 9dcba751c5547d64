//! What hyper needs of its surroundings, on what the host lends: byte streams and timers.

use crate::lenient::Lenient;
use hyper::rt::{Read, ReadBufCursor, Sleep, Timer, Write};
use natsd_plugin_api::{BoxFuture, ByteStream, Host};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// A peer that takes nothing for this long while an answer waits is given up.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// One read takes at most this much.
const READ_BYTES: usize = 8 << 10;

/// A lent stream as hyper reads and writes it.
pub struct HttpStream {
    stream: ByteStream,
    host: Host,
    /// Runs while a write waits.
    stall: Option<BoxFuture<'static, ()>>,
    lenient: Lenient,
    /// Read, and from `taken` on not handed over: encoding makes it longer.
    read: Vec<u8>,
    taken: usize,
}

impl HttpStream {
    pub fn new(host: Host, stream: ByteStream) -> Self {
        Self { stream, host, stall: None, lenient: Lenient::default(), read: Vec::new(), taken: 0 }
    }

    /// Hands on what a write came to, and fails when it has waited for too long.
    fn watched<T>(&mut self, context: &mut Context<'_>, write: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.stall = None;
            return write;
        }
        let host = &self.host;
        let stall = self.stall.get_or_insert_with(|| {
            let host = host.clone();
            Box::pin(async move { host.sleep(WRITE_STALL_MAX).await })
        });
        stall.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Read for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.taken == this.read.len() {
            // Through a buffer of its own: hyper's cursor gives uninitialised memory to unsafe code only.
            let mut bytes = [0; READ_BYTES];
            let room = buffer.remaining().min(READ_BYTES);
            let count = ready!(this.stream.poll_read(context, &mut bytes[..room]))?;
            this.lenient.pass(&bytes[..count], &mut this.read);
        }
        let rest = &this.read[this.taken..];
        let piece = &rest[..rest.len().min(buffer.remaining())];
        buffer.put_slice(piece);
        this.taken += piece.len();
        if this.taken == this.read.len() {
            (this.read, this.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.poll_write(context, bytes);
        self.watched(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream.poll_write_vectored(context, parts);
        self.watched(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.stream.poll_flush(context);
        self.watched(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = self.stream.poll_shutdown(context);
        self.watched(context, shut)
    }
}

/// The host's timers as hyper's.
pub struct HttpTimer(pub Host);

impl Timer for HttpTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        let host = self.0.clone();
        Box::pin(HttpSleep(Mutex::new(Box::pin(async move { host.sleep(duration).await }))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }
}

/// hyper wants a sleep that is `Sync`; the lock makes it so and is never taken.
struct HttpSleep(Mutex<BoxFuture<'static, ()>>);

impl Sleep for HttpSleep {}

impl Future for HttpSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.0.get_mut() {
            Ok(sleep) => sleep.as_mut().poll(context),
            Err(poisoned) => poisoned.into_inner().as_mut().poll(context),
        }
    }
}
