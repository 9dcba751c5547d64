//! The task of one stream: gives it its turns, and lets answers go once the store has committed what they promise.

use super::commits::Commits;
use super::inbox::Inbox;
use super::mail::Way;
use super::worker::{Turned, Worker};
use crate::outbox::Outbox;
use crate::store::StoreError;
use natsd_plugin_api::{Host, Outcome, tracing};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

/// An outbox whose commit is over, and how that ended.
type Done = (Outbox, Result<(), StoreError>);

struct StreamTask {
    host: Host,
    account: Arc<str>,
    inbox: Arc<Inbox<Worker>>,
    way: Arc<Way>,
    commits: Commits,
    outcomes: Vec<Outcome>,
    alarm: Alarm,
}

/// Runs until the worker is ended, and gives it back. `None`: a panic took it along.
pub async fn run(inbox: Arc<Inbox<Worker>>) -> Option<Box<Worker>> {
    // However the task ends: nobody waits for its turn, and nobody works any more.
    let _ending = Ending(inbox.clone());
    let (host, account, way) = inbox.work(|worker| worker.surroundings())?;
    let mut task = StreamTask {
        alarm: Alarm::new(host.clone()),
        host,
        account,
        inbox,
        way,
        commits: Commits::default(),
        outcomes: Vec::new(),
    };
    task.run().await?;
    task.inbox.leave()
}

impl StreamTask {
    async fn run(&mut self) -> Option<()> {
        loop {
            self.inbox.turn.is_next();
            let Turned { mut more, has_ended } = self.turn().await?;
            self.way.send();
            while let Some(done) = self.ready().await {
                more |= self.send(done)?;
            }
            self.inbox.turn.is_over();
            if has_ended {
                while !self.commits.is_empty() {
                    if let Some(done) = self.wait().await {
                        self.send(done)?;
                    }
                }
                return Some(());
            }
            if more && self.commits.has_room() {
                self.host.yield_now().await;
                continue;
            }
            let (rings_ns, commits) = (self.alarm.rings_ns(), &self.commits);
            let (now_ns, deadline_ns) = self.inbox.work(|worker| worker.rest(rings_ns, commits))?;
            self.alarm.set(now_ns, deadline_ns);
            if let Some(done) = self.wait().await {
                self.send(done)?;
            }
        }
    }

    /// Handles what waits, and if that is much, what comes meanwhile; then everything else.
    async fn turn(&mut self) -> Option<Turned> {
        let commits = &mut self.commits;
        let (under_way, mut interest_changed, mut handled_bytes) = (commits.len(), false, 0);
        loop {
            let turned = self.inbox.work(|worker| {
                interest_changed |= worker.work_off(commits);
                let gathers = commits.len() == under_way && worker.gathers(&mut handled_bytes);
                (!gathers).then(|| worker.turn(interest_changed, commits))
            })?;
            if turned.is_some() {
                return turned;
            }
            self.host.yield_now().await;
        }
    }

    /// Lets an outbox go, or, if what it promises failed, nothing any more. Whether there is more to do then.
    fn send(&mut self, (mut outbox, done): Done) -> Option<bool> {
        let (inbox, commits) = (&self.inbox, &mut self.commits);
        if !inbox.work(|worker| worker.settled(done, commits))? {
            return Some(false);
        }
        let mut is_undelivered = false;
        let sent = outbox.send(&self.host, &self.account, &mut self.outcomes, |delivery| {
            is_undelivered = true;
            inbox.work(|worker| worker.call(|stream, call| stream.undelivered(delivery, call)));
        });
        if let Err(error) = sent {
            tracing::debug!("JetStream could not publish for account {}: {error}", self.account);
        }
        commits.give_back(outbox);
        // What nobody got may have another taker.
        Some(is_undelivered && inbox.work(|worker| worker.stream.is_ready())?)
    }

    /// The first outbox if it may leave now.
    async fn ready(&mut self) -> Option<Done> {
        poll_fn(|context| match self.commits.poll_next(context, &self.way) {
            Poll::Ready(next) => Poll::Ready(Some(next)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    /// Until something came, a commit is done, or the alarm rings.
    async fn wait(&mut self) -> Option<Done> {
        let mut woken = pin!(self.inbox.woken());
        poll_fn(|context| {
            if let Poll::Ready(next) = self.commits.poll_next(context, &self.way) {
                return Poll::Ready(Some(next));
            }
            let takes = self.commits.has_room() || !self.way.is_free();
            if takes && woken.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            self.alarm.poll(context).map(|()| None)
        })
        .await
    }
}

/// Tells the inbox that the task is no more.
struct Ending(Arc<Inbox<Worker>>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.turn.end();
        drop(self.0.leave());
    }
}

/// A timer that is set anew only when it must ring earlier: most turns move the deadline a little.
struct Alarm {
    host: Host,
    /// On the monotonic clock.
    at_ns: u64,
    /// The same on the wall clock; never: `i64::MAX`.
    rings_ns: i64,
    sleep: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Alarm {
    fn new(host: Host) -> Self {
        Self { host, at_ns: u64::MAX, rings_ns: i64::MAX, sleep: None }
    }

    /// `deadline_ns` on the wall clock, as `now_ns`; never for `i64::MAX`.
    fn set(&mut self, now_ns: i64, deadline_ns: i64) {
        if deadline_ns == i64::MAX {
            return;
        }
        let wait_ns = u64::try_from(deadline_ns.saturating_sub(now_ns)).unwrap_or(0);
        let at_ns = self.host.monotonic_ns().saturating_add(wait_ns);
        if self.sleep.is_some() && self.at_ns <= at_ns {
            return;
        }
        let host = self.host.clone();
        (self.at_ns, self.rings_ns) = (at_ns, deadline_ns);
        self.sleep = Some(Box::pin(async move { host.sleep_until_ns(at_ns).await }));
    }

    fn rings_ns(&self) -> i64 {
        self.rings_ns
    }

    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.sleep else { return Poll::Pending };
        let rung = sleep.as_mut().poll(context);
        if rung.is_ready() {
            self.sleep = None;
            (self.at_ns, self.rings_ns) = (u64::MAX, i64::MAX);
        }
        rung
    }
}
