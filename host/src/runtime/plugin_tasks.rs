//! What plugins are lent of the runtime: time, randomness and tasks, on tokio.

use super::plugin_files::DiskFiles;
use super::plugin_net::{self, TlsProvider};
use crate::plugins::services::{RuntimeServices, TaskHandle};
use natsd_plugin_api::files::RawFiles;
use natsd_plugin_api::net::{DialOptions, ListenOptions, RawListener, RawStream};
use natsd_plugin_api::{BoxFuture, Result, boxed};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// The real world, for plugins.
pub struct TokioServices {
    handle: Handle,
    tls: Arc<dyn TlsProvider>,
    files: Arc<DiskFiles>,
    zero: Instant,
}

impl TokioServices {
    pub fn new(handle: Handle, tls: Arc<dyn TlsProvider>) -> Self {
        Self { handle, tls, files: Arc::new(DiskFiles), zero: Instant::now() }
    }
}

impl RuntimeServices for TokioServices {
    fn monotonic_ns(&self) -> u64 {
        nanos(self.zero.elapsed())
    }

    fn unix_ns(&self) -> u64 {
        // A clock before 1970 reads as 1970.
        nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    fn sleep_until_ns(&self, deadline_ns: u64) -> BoxFuture<'static, ()> {
        // More than a year away is as good as for ever, and cannot overflow.
        let wait = Duration::from_nanos(deadline_ns.saturating_sub(self.monotonic_ns()));
        let wait = wait.min(Duration::from_secs(366 * 24 * 3600));
        let _entered = self.handle.enter();
        boxed(super::clock::sleep(wait))
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        if let Err(error) = getrandom::fill(buffer) {
            // Weak randomness would be worse: the caller's panic guard turns this into an error.
            panic!("the operating system gives no random bytes: {error}");
        }
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Box<dyn TaskHandle> {
        Box::new(Running(self.handle.spawn(task).abort_handle()))
    }

    fn spawn_blocking(&self, job: Box<dyn FnOnce() + Send>) {
        self.handle.spawn_blocking(job);
    }

    fn listen(&self, options: ListenOptions) -> BoxFuture<'static, Result<Box<dyn RawListener>>> {
        boxed(plugin_net::listen(self.handle.clone(), self.tls.clone(), options))
    }

    fn dial(&self, options: DialOptions) -> BoxFuture<'static, Result<Box<dyn RawStream>>> {
        boxed(plugin_net::dial(self.handle.clone(), self.tls.clone(), options))
    }

    fn files(&self) -> Arc<dyn RawFiles> {
        self.files.clone()
    }
}

struct Running(AbortHandle);

impl TaskHandle for Running {
    fn abort(&self) {
        self.0.abort();
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
