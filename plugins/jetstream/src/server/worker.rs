//! The task of one stream: takes what its inbox holds, lets the state machine work, and lets answers go once the
//! store has committed what they promise.

use super::account::Gauges;
use super::commits::Commits;
use super::inbox::{Batch, Inbox, Item, Kind, Letter};
use super::mail::{Mail, Way};
use super::usage::Share;
use crate::context::Interest;
use crate::outbox::Outbox;
use crate::store::{StoreError, StreamStore};
use crate::stream::{Call, Inbound, Stream};
use hashbrown::HashMap;
use natsd_plugin_api::{Host, InterestWatch, Outcome, SubscribeOptions, Subscription, tracing};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::task::Poll;

/// Commits under way before the task waits for the first of them.
const COMMITS_MAX: usize = 8;
/// Letters with so many bytes are committed before the rest of a batch is handled: the disk takes them meanwhile, and
/// buffers stay small.
const COMMIT_BYTES: usize = 512 * 1024;
/// With so much to commit it waits for what others are about to send: fewer commits take it, and each message is
/// handled soon after it was read.
const GATHER_BYTES_MIN: usize = 32 * 1024;
/// Deliveries in one go, before new messages get their turn.
const DELIVERIES_MAX: usize = 4096;
/// Changes that no answer promises are committed after this long at the latest.
const LAZY_COMMIT_NS: i64 = 50_000_000;
/// Fewer letters are not worth looking ahead.
const EXPECTED_MIN: usize = 4;

/// A stream with everything that its task needs.
pub struct Worker {
    pub stream: Stream,
    pub out: Outbox,
    /// Nanoseconds since 1970, of this turn.
    pub now_ns: i64,
    host: Host,
    account: Arc<str>,
    inbox: Arc<Inbox<Worker>>,
    /// Of answers that leave together with those of other streams.
    way: Arc<Way>,
    outcomes: Vec<Outcome>,
    watches: HashMap<Box<[u8]>, InterestWatch>,
    /// Where messages of origins arrive, by attempt and subject.
    origins: HashMap<(u32, Box<str>), Subscription>,
    /// Something changed that is not committed since.
    uncommitted_since_ns: Option<i64>,
    state: State,
    gauges: Arc<Gauges>,
    share: Share,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    /// The store refuses writes: nothing is answered any more (SD-035).
    Failed,
    /// The account has no JetStream for now.
    Suspended,
    Ended,
}

struct HostInterest<'a> {
    host: &'a Host,
    account: &'a str,
}

impl Interest for HostInterest<'_> {
    fn has(&self, subject: &[u8], queue: &[u8]) -> bool {
        self.host.interest(self.account, subject, queue).is_ok_and(|count| count > 0)
    }

    fn has_exact(&self, subject: &[u8], queue: &[u8]) -> bool {
        self.host.exact_interest(self.account, subject, queue).is_ok_and(|count| count > 0)
    }
}

impl Worker {
    pub fn new(
        host: Host,
        account: Arc<str>,
        inbox: Arc<Inbox<Self>>,
        stream: Stream,
        gauges: Arc<Gauges>,
        share: Share,
        mail: Arc<Mail>,
    ) -> Self {
        Self {
            way: Way::new(account.clone(), inbox.clone(), mail),
            stream,
            out: Outbox::default(),
            now_ns: host.unix_ns() as i64,
            host,
            account,
            inbox,
            outcomes: Vec::new(),
            watches: HashMap::new(),
            origins: HashMap::new(),
            uncommitted_since_ns: None,
            state: State::Running,
            gauges,
            share,
        }
    }

    /// Calls into the stream.
    pub fn call<R>(&mut self, work: impl FnOnce(&mut Stream, &mut Call<'_>) -> R) -> R {
        let interest = HostInterest { host: &self.host, account: &self.account };
        let host = &self.host;
        let mut random = || host.random_u64();
        let mut call =
            Call { now_ns: self.now_ns, out: &mut self.out, interest: &interest, random: &mut random };
        work(&mut self.stream, &mut call)
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The task ends after this turn; what is in the outbox leaves first.
    pub fn end(&mut self) {
        self.state = State::Ended;
        self.inbox.close();
    }

    /// Tells clients that wait for messages that none come; `sent` is told when they were.
    pub fn end_pulls(&mut self, sent: Sender<()>) {
        self.call(|stream, call| stream.end_pulls("Server Shutdown", call));
        // What this turn has to say goes out at its end.
        self.inbox.command(move |_| {
            let _ = sent.send(());
        });
    }

    /// Nothing is taken or delivered until it is resumed.
    pub fn suspend(&mut self) {
        if self.state == State::Running {
            self.state = State::Suspended;
        }
    }

    pub fn resume(&mut self) {
        if self.state == State::Suspended {
            self.state = State::Running;
        }
    }

    pub fn into_store(self) -> Box<dyn StreamStore> {
        self.stream.into_store()
    }

    /// Finds out how far the stream may grow: others take of the same limits.
    fn measure_room(&mut self) {
        let room = self.share.set(self.stream.state().bytes);
        self.stream.set_room(room);
    }

    /// Lets others see how much there is.
    fn show(&mut self) {
        self.measure_room();
        let state = self.stream.state();
        self.gauges.stored_bytes.store(state.bytes, Relaxed);
        self.gauges.caught_up.store(self.stream.is_caught_up(), Relaxed);
        self.gauges.messages.store(state.messages, Relaxed);
        self.gauges.consumers.store(self.stream.consumers().visible() as u64, Relaxed);
    }

    /// Tells the host whose interest the stream's consumers want to know of. After consumers changed.
    pub fn refresh_watches(&mut self) {
        let wanted: Vec<Box<[u8]>> = self.stream.watched_subjects().map(Into::into).collect();
        self.watches.retain(|subject, _| wanted.contains(subject));
        for subject in wanted {
            if self.watches.contains_key(&subject) {
                continue;
            }
            let inbox = self.inbox.clone();
            let watch = self.host.watch_interest(&self.account, &subject, move || inbox.interest_changed());
            match watch {
                Ok(watch) => drop(self.watches.insert(subject, watch)),
                Err(error) => tracing::warn!(
                    "interest in {} cannot be watched: {error}",
                    String::from_utf8_lossy(&subject)
                ),
            }
        }
    }

    /// Listens to what origins send. Before the outbox leaves, which asks them to.
    fn listen_to_origins(&mut self) {
        if !self.stream.origin_inboxes_changed() {
            return;
        }
        let wanted: Vec<(u32, Box<str>)> =
            self.stream.origin_inboxes().map(|(attempt, subject)| (attempt, subject.into())).collect();
        self.origins.retain(|inbox, _| wanted.contains(inbox));
        for (attempt, subject) in wanted {
            if self.origins.contains_key(&(attempt, subject.clone())) {
                continue;
            }
            let account = self.account.to_string();
            let options = SubscribeOptions { account, ..SubscribeOptions::to(subject.to_string()) };
            let inbox = self.inbox.clone();
            let listening =
                self.host.subscribe(&options, move |messages| inbox.letters(Kind::Origin(attempt), messages));
            match listening {
                Ok(subscription) => drop(self.origins.insert((attempt, subject), subscription)),
                // The attempt fails for want of an answer, and the next one follows.
                Err(error) => tracing::warn!("messages of an origin cannot be had on {subject}: {error}"),
            }
        }
    }

    /// Handles a batch, and if it is large what came meanwhile. Whether interest changed.
    async fn work_through(&mut self, batch: &mut Batch<Self>, commits: &mut Commits) -> bool {
        let inbox = self.inbox.clone();
        let (mut interest_changed, under_way) = (batch.interest_changed(), commits.len());
        let mut taken_bytes = self.work_off(batch, commits, 0);
        while taken_bytes >= GATHER_BYTES_MIN && commits.len() == under_way && self.gathers() {
            self.host.yield_now().await;
            inbox.take(batch);
            if batch.is_empty() {
                break;
            }
            interest_changed |= batch.interest_changed();
            taken_bytes = self.work_off(batch, commits, taken_bytes);
        }
        interest_changed
    }

    /// Whether a commit costs so much that others are worth waiting for.
    fn gathers(&mut self) -> bool {
        self.state == State::Running && self.stream.shares_commits()
    }

    /// Handles a batch, a large one commit by commit. What is not committed is the answer.
    fn work_off(&mut self, batch: &mut Batch<Self>, commits: &mut Commits, mut taken_bytes: usize) -> usize {
        self.now_ns = self.host.unix_ns() as i64;
        if batch.is_empty() {
            return taken_bytes;
        }
        self.uncommitted_since_ns.get_or_insert(self.now_ns);
        self.measure_room();
        if batch.letters_len() >= EXPECTED_MIN {
            self.stream.expect(batch.letters().filter_map(|(kind, subject)| match kind {
                Kind::Publish => Some(subject),
                Kind::DirectGet => Stream::asked_directly(subject),
                _ => None,
            }));
        }
        batch.drain(|item| {
            taken_bytes += item.size_bytes();
            self.handle(item);
            if taken_bytes >= COMMIT_BYTES {
                taken_bytes = 0;
                self.queue(commits);
            }
        });
        taken_bytes
    }

    fn handle(&mut self, item: Item<'_, Self>) {
        match item {
            Item::Command(command) => command(self),
            Item::Letter(_) if self.state != State::Running => {}
            Item::Letter(letter) => self.letter(letter),
        }
    }

    fn letter(&mut self, letter: Letter<'_>) {
        let Letter { kind, subject, reply, headers, payload } = letter;
        self.call(|stream, call| match kind {
            Kind::Publish => stream.publish(&Inbound { subject, reply, headers, payload }, call),
            Kind::Ack => stream.ack(subject, payload, reply, call),
            Kind::Pull => stream.pull(subject, headers, payload, reply, call),
            Kind::Flow => stream.flow(subject, headers, call),
            Kind::Origin(attempt) => {
                stream.from_origin(attempt, &Inbound { subject, reply, headers, payload }, call);
            }
            Kind::DirectGet => stream.direct_get(subject, headers, payload, reply, call),
            Kind::Overrun => stream.overrun(reply, call),
        });
    }

    /// Commits if an answer promises it or it is time, and queues what is to leave.
    fn queue(&mut self, commits: &mut Commits) {
        let promises = self.out.promises();
        let late = self.uncommitted_since_ns.is_some_and(|since| self.now_ns >= since + LAZY_COMMIT_NS);
        if promises && commits.is_empty() && self.is_shared() {
            self.uncommitted_since_ns = None;
            let answers = self.way.take(std::mem::replace(&mut self.out, self.way.fresh()));
            if self.stream.commit_with(answers) {
                self.way.send();
            }
        } else if promises || late {
            self.uncommitted_since_ns = None;
            let commit = self.stream.commit();
            let fresh = commits.fresh();
            commits.push(commit, std::mem::replace(&mut self.out, fresh));
        } else if !self.out.is_empty() {
            let fresh = commits.fresh();
            commits.push(crate::store::Commit::Done, std::mem::replace(&mut self.out, fresh));
        }
    }

    /// Whether it is worth while to commit together with streams that are about to work.
    fn is_shared(&mut self) -> bool {
        let may_be = self.state == State::Running && self.inbox.turn.has_company() && self.way.is_free();
        may_be && self.out.is_short() && self.stream.shares_commits()
    }

    /// Lets an outbox go, or, if what it promises failed, nothing any more.
    fn send(&mut self, mut outbox: Outbox, done: Result<(), StoreError>, commits: &mut Commits) {
        if let Err(error) = done {
            self.fail(&error);
        }
        if self.state == State::Failed {
            return;
        }
        let mut outcomes = std::mem::take(&mut self.outcomes);
        let (host, account) = (self.host.clone(), self.account.clone());
        let sent = outbox.send(&host, &account, &mut outcomes, |delivery| {
            self.call(|stream, call| stream.undelivered(delivery, call));
        });
        if let Err(error) = sent {
            tracing::debug!("JetStream could not publish for account {account}: {error}");
        }
        self.outcomes = outcomes;
        commits.give_back(outbox);
    }

    pub fn fail(&mut self, error: &StoreError) {
        if self.state == State::Running {
            self.state = State::Failed;
            self.gauges.failed.store(true, Relaxed);
            tracing::error!(
                "JetStream stream '{} > {}' stopped, its store failed: {error}",
                self.account,
                self.stream.name()
            );
        }
    }

    /// When to look again, in nanoseconds since 1970.
    fn deadline_ns(&self) -> i64 {
        let lazy = self.uncommitted_since_ns.map_or(i64::MAX, |since| since + LAZY_COMMIT_NS);
        self.stream.deadline_ns().min(lazy)
    }
}

/// Runs until the worker is ended; gives it back then. Boxed, as a task has room for what it takes and what it gives.
pub async fn run(mut worker: Box<Worker>) -> Box<Worker> {
    let (inbox, way) = (worker.inbox.clone(), worker.way.clone());
    // However the task ends: nobody waits for its turn.
    let _ending = Ending(inbox.clone());
    let (mut batch, mut commits) = (Batch::default(), Commits::default());
    let mut alarm = Alarm::new(worker.host.clone());
    loop {
        inbox.turn.is_next();
        // With many commits under way more work would only make the queue longer.
        if commits.len() < COMMITS_MAX {
            inbox.take(&mut batch);
        }
        let mut stirred = !batch.is_empty();
        let interest_changed = worker.work_through(&mut batch, &mut commits).await;
        let mut more = false;
        if worker.state == State::Running {
            if interest_changed {
                worker.call(Stream::interest_changed);
            }
            if worker.now_ns >= worker.stream.deadline_ns() {
                worker.call(Stream::tick);
                worker.uncommitted_since_ns.get_or_insert(worker.now_ns);
                stirred = true;
            }
            more = worker.call(|stream, call| stream.run(DELIVERIES_MAX, call));
            worker.listen_to_origins();
        }
        stirred |= !worker.out.is_empty();
        worker.queue(&mut commits);
        if stirred {
            worker.show();
        }
        while let Some((outbox, done)) = ready(&mut commits, &way).await {
            worker.send(outbox, done, &mut commits);
            // What nobody got may have another taker.
            more |= worker.stream.is_ready();
        }
        inbox.turn.is_over();
        if worker.state == State::Ended {
            while !commits.is_empty() {
                if let Some((outbox, done)) = wait(&inbox, &mut commits, &way, &mut alarm).await {
                    worker.send(outbox, done, &mut commits);
                }
            }
            return worker;
        }
        if more && commits.len() < COMMITS_MAX {
            worker.host.yield_now().await;
            continue;
        }
        alarm.set(worker.now_ns, worker.deadline_ns());
        if let Some((outbox, done)) = wait(&inbox, &mut commits, &way, &mut alarm).await {
            worker.now_ns = worker.host.unix_ns() as i64;
            worker.send(outbox, done, &mut commits);
        }
    }
}

/// Tells the inbox that the task is no more.
struct Ending(Arc<Inbox<Worker>>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.turn.end();
    }
}

/// The first outbox if it may leave now.
async fn ready(commits: &mut Commits, way: &Way) -> Option<(Outbox, Result<(), StoreError>)> {
    poll_fn(|context| match commits.poll_next(context, way) {
        Poll::Ready(next) => Poll::Ready(Some(next)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Until something came, a commit is done, or the alarm rings.
async fn wait(
    inbox: &Inbox<Worker>,
    commits: &mut Commits,
    way: &Way,
    alarm: &mut Alarm,
) -> Option<(Outbox, Result<(), StoreError>)> {
    let mut woken = pin!(inbox.woken());
    poll_fn(|context| {
        if let Poll::Ready(next) = commits.poll_next(context, way) {
            return Poll::Ready(Some(next));
        }
        if (commits.len() < COMMITS_MAX || !way.is_free()) && woken.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        alarm.poll(context).map(|()| None)
    })
    .await
}

/// A timer that is set anew only when it must ring earlier: most turns move the deadline a little.
struct Alarm {
    host: Host,
    /// On the monotonic clock.
    at_ns: u64,
    sleep: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Alarm {
    fn new(host: Host) -> Self {
        Self { host, at_ns: u64::MAX, sleep: None }
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
        self.at_ns = at_ns;
        self.sleep = Some(Box::pin(async move { host.sleep_until_ns(at_ns).await }));
    }

    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.sleep else { return Poll::Pending };
        let rung = sleep.as_mut().poll(context);
        if rung.is_ready() {
            self.sleep = None;
            self.at_ns = u64::MAX;
        }
        rung
    }
}
