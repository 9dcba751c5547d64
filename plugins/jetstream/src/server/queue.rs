//! Requests to the API that wait for their turn, in two bounded lanes: what only looks comes after the rest. A full
//! lane is emptied as a whole, and those that waited in it are told (JS-010).

use super::account::Account;
use crate::api::subject::Request as Asked;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
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

/// What is next.
pub enum Next {
    Handle(Request),
    /// Thrown away: how many, and those of them that are still told so.
    Refuse {
        dropped: u64,
        requests: Vec<Request>,
    },
}

/// The requests that wait.
pub struct Queue {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

struct Waiting {
    changes: Lane,
    looks: Lane,
    dropped: u64,
    /// Not more than one lane holds: a flood that goes on is not answered one by one.
    refused: Vec<Request>,
}

struct Lane {
    requests: VecDeque<Request>,
    max: usize,
}

impl Queue {
    pub fn new(changes_max: usize, looks_max: usize) -> Self {
        let lane = |max| Lane { requests: VecDeque::new(), max };
        let (changes, looks) = (lane(changes_max), lane(looks_max));
        let waiting = Waiting { changes, looks, dropped: 0, refused: Vec::new() };
        Self { waiting: Mutex::new(waiting), wake: Notify::new() }
    }

    pub fn push(&self, request: Request) {
        let is_look = Asked::parse(&request.subject).is_some_and(|asked| asked.is_info());
        self.waiting.lock().push(request, is_look);
        self.wake.notify_one();
    }

    pub async fn next(&self) -> Next {
        loop {
            if let Some(next) = self.waiting.lock().next() {
                return next;
            }
            self.wake.notified().await;
        }
    }
}

impl Waiting {
    fn push(&mut self, request: Request, is_look: bool) {
        let lane = if is_look { &mut self.looks } else { &mut self.changes };
        lane.requests.push_back(request);
        if lane.requests.len() <= lane.max {
            return;
        }
        self.dropped += lane.requests.len() as u64;
        let room = (lane.max + 1).saturating_sub(self.refused.len());
        self.refused.extend(lane.requests.drain(..).take(room));
    }

    fn next(&mut self) -> Option<Next> {
        if self.dropped > 0 {
            let requests = std::mem::take(&mut self.refused);
            return Some(Next::Refuse { dropped: std::mem::take(&mut self.dropped), requests });
        }
        let request = self.changes.requests.pop_front().or_else(|| self.looks.requests.pop_front());
        request.map(Next::Handle)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Account, Bytes, Next, Queue, Request};

    fn push(queue: &Queue, subject: &'static str) {
        queue.push(Request {
            account: Account::new("A", None, false),
            subject: Bytes::from_static(subject.as_bytes()),
            reply: Bytes::new(),
            headers: Bytes::new(),
            body: Bytes::new(),
            connection: 0,
        });
    }

    fn next(queue: &Queue) -> String {
        match queue.waiting.lock().next() {
            None => "nothing".to_owned(),
            Some(Next::Handle(request)) => String::from_utf8(request.subject.to_vec()).unwrap(),
            Some(Next::Refuse { dropped, requests }) => format!("{dropped} dropped, {} told", requests.len()),
        }
    }

    #[test]
    fn what_only_looks_waits_for_what_changes() {
        let queue = Queue::new(10, 10);
        push(&queue, "$JS.API.INFO");
        push(&queue, "$JS.API.STREAM.DELETE.S");
        assert_eq!(next(&queue), "$JS.API.STREAM.DELETE.S");
        assert_eq!(next(&queue), "$JS.API.INFO");
        assert_eq!(next(&queue), "nothing");
    }

    #[test]
    fn a_full_lane_is_emptied_and_the_other_stays() {
        let queue = Queue::new(10, 2);
        push(&queue, "$JS.API.STREAM.DELETE.S");
        (0..3).for_each(|_| push(&queue, "$JS.API.INFO"));
        assert_eq!(next(&queue), "3 dropped, 3 told");
        assert_eq!(next(&queue), "$JS.API.STREAM.DELETE.S");
        assert_eq!(next(&queue), "nothing");
    }

    #[test]
    fn a_flood_is_counted_and_not_kept() {
        let queue = Queue::new(10, 2);
        (0..300).for_each(|_| push(&queue, "$JS.API.INFO"));
        assert_eq!(next(&queue), "300 dropped, 3 told");
    }
}
