//! One stream at work: lets the state machine handle what comes, and commits what its answers promise. Its task
//! (`task.rs`) and those who bring messages take turns with it.

mod committing;

use super::account::Gauges;
use super::commits::Commits;
use super::inbox::{Batch, Handled, Inbox, Item, Kind, Letter, Owner, Then};
use super::mail::{Mail, Way};
use super::usage::Share;
use crate::context::Interest;
use crate::outbox::Outbox;
use crate::store::{Commit, StoreError, StreamStore};
use crate::stream::{Call, Inbound, Stream};
use hashbrown::HashMap;
use natsd_plugin_api::{Host, InterestWatch, MessageRef, SubscribeOptions, Subscription, Trace, tracing};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;

/// Letters with so many bytes are committed before the rest of a batch is handled: the disk takes them meanwhile, and
/// buffers stay small.
const COMMIT_BYTES: usize = 512 * 1024;
/// With so much to commit it waits for what others are about to send: fewer commits take it, and each message is
/// handled soon after it was read.
const GATHER_BYTES_MIN: usize = 32 * 1024;
/// Deliveries in one go, before new messages get their turn.
const DELIVERIES_MAX: usize = 4096;
/// What a command counts: who goes on until much has come must come to an end.
const COMMAND_BYTES: usize = 64;
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
    /// What was taken of it; empty between two turns.
    batch: Batch<Worker>,
    /// Of answers that leave together with those of other streams.
    way: Arc<Way>,
    watches: HashMap<Box<[u8]>, InterestWatch>,
    /// Where messages of origins arrive, by attempt and subject.
    origins: HashMap<(u32, Box<str>), Subscription>,
    /// Something changed that is not committed since.
    uncommitted_since_ns: Option<i64>,
    /// Handled since the last commit.
    gathered_bytes: usize,
    /// Something was handled since the last turn.
    is_stirred: bool,
    /// Commits that were begun without the task, which takes them over, with what leaves after them.
    begun: Vec<(Commit, Outbox)>,
    /// So many more may be under way before what comes has to wait.
    room: usize,
    /// The task sleeps until then, with nothing under way.
    rests_until_ns: Option<i64>,
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

/// What a turn came to.
pub(super) struct Turned {
    pub more: bool,
    pub has_ended: bool,
}

impl Owner for Worker {
    fn handle_now(&mut self, kind: Kind, messages: &[MessageRef<'_>]) -> Handled {
        let takes_more = |me: &Self| me.room > 0 && me.state == State::Running;
        if !takes_more(self) || !self.catch_up() {
            return Handled::default();
        }
        self.now_ns = self.host.unix_ns() as i64;
        self.begin(messages.len(), messages.iter().map(|message| (kind, message.subject())));
        let mut count = 0;
        while count < messages.len() && takes_more(self) {
            self.letter_now(Letter::new(kind, &messages[count]));
            count += 1;
        }
        if std::mem::replace(&mut self.is_stirred, true) {
            return Handled { count, then: Then::Wait };
        }
        let is_done = count == messages.len() && self.commit_at_once();
        Handled { count, then: if is_done { Then::Rest } else { Then::Tell } }
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
            batch: Batch::default(),
            watches: HashMap::new(),
            origins: HashMap::new(),
            uncommitted_since_ns: None,
            gathered_bytes: 0,
            is_stirred: false,
            begun: Vec::new(),
            room: Commits::default().room(),
            rests_until_ns: None,
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

    /// What its task needs, too.
    pub(super) fn surroundings(&self) -> (Host, Arc<str>, Arc<Way>) {
        (self.host.clone(), self.account.clone(), self.way.clone())
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
        let room = self.share.set(self.stream.counts().bytes);
        self.stream.set_room(room);
    }

    /// Lets others see how much there is.
    pub(super) fn show(&mut self) {
        self.measure_room();
        let state = self.stream.counts();
        self.gauges.stored_bytes.store(state.bytes, Relaxed);
        self.gauges.caught_up.store(self.stream.is_caught_up(), Relaxed);
        self.gauges.messages.store(state.messages, Relaxed);
        self.gauges.consumers.store(self.stream.consumers().visible() as u64, Relaxed);
        self.gauges.all_consumers.store(self.stream.consumers().all() as u64, Relaxed);
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
        self.stream.origin_inboxes_seen();
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

    /// Handles what waits in the inbox, much of it commit by commit. Whether interest changed.
    pub(super) fn work_off(&mut self, commits: &mut Commits) -> bool {
        self.now_ns = self.host.unix_ns() as i64;
        self.rests_until_ns = None;
        commits.take_over(&mut self.begun);
        // With many commits under way more work would only make the queue longer.
        if !commits.has_room() {
            return false;
        }
        let mut batch = std::mem::take(&mut self.batch);
        self.inbox.take(&mut batch);
        let interest_changed = batch.interest_changed();
        if !batch.is_empty() {
            self.work_off_batch(&mut batch, commits);
        }
        self.batch = batch;
        interest_changed
    }

    fn work_off_batch(&mut self, batch: &mut Batch<Self>, commits: &mut Commits) {
        self.begin(batch.letters_len(), batch.letters());
        self.is_stirred = true;
        batch.drain(|item| match item {
            Item::Command(command) => {
                self.gathered_bytes += COMMAND_BYTES;
                self.note_change();
                command(self);
            }
            Item::Traced(letter, trace) => self.traced(&letter, trace),
            Item::Letter(letter) => {
                self.letter(letter);
                if self.gathered_bytes >= COMMIT_BYTES {
                    self.queue(commits);
                }
            }
        });
    }

    /// Handles what waits, on the thread of somebody who brings more. Not if there is something that he cannot: the
    /// answer says that.
    fn catch_up(&mut self) -> bool {
        let mut batch = std::mem::take(&mut self.batch);
        let is_all = self.inbox.take_letters(&mut batch);
        if !batch.is_empty() {
            self.now_ns = self.host.unix_ns() as i64;
            self.begin(batch.letters_len(), batch.letters());
            self.is_stirred = true;
            batch.drain(|item| {
                if let Item::Letter(letter) = item {
                    self.letter_now(letter);
                }
            });
        }
        self.batch = batch;
        is_all
    }

    /// A letter without the task; much is committed at once.
    fn letter_now(&mut self, letter: Letter<'_>) {
        self.letter(letter);
        if self.gathered_bytes >= COMMIT_BYTES {
            self.begin_commit();
        }
    }

    /// Before the first of several letters is handled.
    fn begin<'a>(&mut self, count: usize, letters: impl Iterator<Item = (Kind, &'a [u8])>) {
        self.measure_room();
        if count >= EXPECTED_MIN {
            self.stream.expect(letters.filter_map(|(kind, subject)| match kind {
                Kind::Publish => Some(subject),
                Kind::DirectGet => Stream::asked_directly(subject),
                _ => None,
            }));
        }
    }

    /// Whether so much is to be committed that what others are about to send is worth waiting for: `handled_bytes` of
    /// it were there the last time.
    pub(super) fn gathers(&mut self, handled_bytes: &mut usize) -> bool {
        let before = std::mem::replace(handled_bytes, self.gathered_bytes);
        self.gathered_bytes >= GATHER_BYTES_MIN.max(before + 1)
            && self.state == State::Running
            && self.stream.shares_commits()
    }

    /// What there is to do after what came was handled: deliveries, what is due, the commit.
    pub(super) fn turn(&mut self, interest_changed: bool, commits: &mut Commits) -> Turned {
        let (mut more, mut is_stirred) = (false, std::mem::take(&mut self.is_stirred));
        if self.state == State::Running {
            if interest_changed {
                self.call(Stream::interest_changed);
            }
            if self.now_ns >= self.stream.deadline_ns() {
                self.call(Stream::tick);
                self.note_change();
                is_stirred = true;
            }
            more = self.call(|stream, call| stream.run(DELIVERIES_MAX, call));
            self.listen_to_origins();
        }
        is_stirred |= !self.out.is_empty();
        self.queue(commits);
        if is_stirred {
            self.show();
        }
        self.room = commits.room().saturating_sub(self.begun.len());
        Turned { more, has_ended: self.state == State::Ended }
    }

    /// After a commit: whether the answers that waited for it may leave. If it failed, nothing does any more.
    pub(super) fn settled(&mut self, done: Result<(), StoreError>, commits: &Commits) -> bool {
        self.now_ns = self.host.unix_ns() as i64;
        self.room = commits.room().saturating_sub(self.begun.len());
        if let Err(error) = done {
            self.fail(&error);
        }
        self.state != State::Failed
    }

    /// Something is to be committed, in time at the latest.
    fn note_change(&mut self) {
        self.uncommitted_since_ns.get_or_insert(self.now_ns);
    }

    fn letter(&mut self, letter: Letter<'_>) {
        self.gathered_bytes += letter.size_bytes();
        if self.state != State::Running {
            return;
        }
        self.note_change();
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

    /// A message whose publisher wants to know what becomes of it: he is told when that is durable.
    fn traced(&mut self, letter: &Letter<'_>, trace: Trace) {
        self.gathered_bytes += letter.size_bytes();
        self.note_change();
        let &Letter { subject, reply, headers, payload, .. } = letter;
        let message = Inbound { subject, reply, headers, payload };
        let told = match self.state {
            State::Running if trace.is_only() => {
                self.call(|stream, call| stream.check_traced(&message, call))
            }
            State::Running => {
                let asks_again = trace.asks_again();
                self.call(|stream, call| stream.publish_traced(&message, asks_again, call))
            }
            _ => self.stream.tell_closed(),
        };
        if let Err(error) = trace.add("js", &told) {
            tracing::debug!("a message's trace could not be completed: {error}");
        }
        self.out.hold(trace);
    }

    /// The task goes to sleep, until `rings_ns` at the latest: what it has to be woken for otherwise, from now on.
    pub(super) fn rest(&mut self, rings_ns: i64, commits: &Commits) -> (i64, i64) {
        let deadline_ns = self.deadline_ns();
        self.rests_until_ns = commits.is_empty().then(|| deadline_ns.min(rings_ns));
        (self.now_ns, deadline_ns)
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
    pub(super) fn deadline_ns(&self) -> i64 {
        let lazy = self.uncommitted_since_ns.map_or(i64::MAX, |since| since + committing::LAZY_NS);
        self.stream.deadline_ns().min(lazy)
    }
}
