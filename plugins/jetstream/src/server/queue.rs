//! Requests to the API that wait for their turn: bounded, and thrown away as a whole when full (JS-010).

use super::account::Account;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use tokio::sync::Notify;

/// One request.
pub struct Request {
    pub account: Arc<Account>,
    /// Under `$JS.API.`, whatever the domain it came by.
    pub subject: Bytes,
    pub reply: Bytes,
    pub headers: Bytes,
    pub body: Bytes,
    /// Who asked; 0: the server itself.
    pub connection: u64,
}

/// The requests that wait.
pub struct Queue {
    waiting: Mutex<VecDeque<Request>>,
    limit: AtomicUsize,
    dropped: AtomicU64,
    wake: Notify,
}

impl Queue {
    pub fn new(limit: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            limit: AtomicUsize::new(limit),
            dropped: AtomicU64::new(0),
            wake: Notify::new(),
        }
    }

    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
    }

    pub fn push(&self, request: Request) {
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= self.limit.load(Relaxed) {
                self.dropped.fetch_add(waiting.len() as u64 + 1, Relaxed);
                waiting.clear();
            } else {
                waiting.push_back(request);
            }
        }
        self.wake.notify_one();
    }

    /// The next request, and how many were thrown away since the last one.
    pub async fn next(&self) -> (Option<Request>, u64) {
        loop {
            let request = self.waiting.lock().pop_front();
            let dropped = self.dropped.swap(0, Relaxed);
            if request.is_some() || dropped > 0 {
                return (request, dropped);
            }
            self.wake.notified().await;
        }
    }
}
