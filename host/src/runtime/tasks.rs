//! Tasks and threads.

use std::future::Future;
use std::io;

/// Runs `main` on a runtime with a thread for each core, and one for timers.
pub fn block_on<F: Future>(main: F) -> io::Result<F::Output> {
    super::clock::start_timers()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().thread_name("natsd").build()?;
    let output = runtime.block_on(main);
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    Ok(output)
}

/// The runtime of this thread, to lend to plugins.
pub fn handle() -> tokio::runtime::Handle {
    tokio::runtime::Handle::current()
}

/// Starts a task of the host.
pub fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(future);
}

/// The system may take this thread off its core for others that wait for one.
pub fn let_other_threads_run() {
    std::thread::yield_now();
}

/// Runs what blocks (bcrypt, files) outside the threads that serve connections.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// A task that ends when this is dropped.
pub struct Task(tokio::task::JoinHandle<()>);

impl Task {
    pub fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Task(tokio::spawn(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
