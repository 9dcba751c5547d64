//! Plays a case on a server of its own.

use super::{Act, Case, Message, SILENCE, Seen, Step, mask};
use crate::jetstream::{JetStream, Lost, Received};
use crate::{Launch, schemas};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long no answer must come.
const QUIET: Duration = Duration::from_millis(400);
/// After the last that is expected, more would have come by then.
const GRACE: Duration = Duration::from_millis(30);
const PATIENCE: Duration = Duration::from_secs(5);
const INBOX: &str = "_INBOX.requests.";
const EVENTS: &str = "$JS.EVENT.";

struct Player {
    client: JetStream,
    is_recording: bool,
    seen: Seen,
}

impl Case {
    /// What a server does at each step.
    pub fn play(&self, program: &Path, is_recording: bool) -> Vec<Seen> {
        let block = "jetstream { store_dir: \"{{dir}}/store\", max_mem: 1G, max_file: 1G }\n";
        // That of an account does not stand for the server's.
        let has_own = self.config.lines().any(|line| line.starts_with("jetstream"));
        let block = if has_own { "" } else { block };
        let config = format!("server_name: SERVER\n{block}{}", self.config);
        let server = Launch::new(program).config(config).start();
        let client = JetStream::join(server.address(), "requests").expect("the server accepts connections");
        let mut player = Player { client, is_recording, seen: Seen::default() };
        let last = self.steps.len().saturating_sub(1);
        self.steps.iter().enumerate().map(|(at, step)| player.step(step, at == last)).collect()
    }
}

impl Player {
    fn step(&mut self, step: &Step, is_last: bool) -> Seen {
        let mut rest = Duration::ZERO;
        match &step.act {
            Act::Listen(subject) => {
                self.client.listen(subject).expect("the connection is open");
            }
            Act::Wait(ms) => rest = Duration::from_millis(*ms),
            Act::Tell(message) => self.send(message, ""),
            Act::Ask(message) => self.ask(message, step, false),
            Act::AskMany(message) => self.ask(message, step, true),
        }
        self.take_more(step, rest, is_last);
        let mut seen = std::mem::take(&mut self.seen);
        let (events, others): (Vec<_>, Vec<_>) =
            seen.more.into_iter().partition(|line| line.starts_with(EVENTS));
        seen.more = others;
        let mut events = events;
        events.sort();
        seen.more.extend(events);
        seen
    }

    fn ask(&mut self, message: &Message, step: &Step, takes_many: bool) {
        let reply = self.client.reply();
        self.send(message, &reply);
        let silent = step.expected.answers.iter().any(|answer| answer == SILENCE);
        let patience = if self.is_recording || silent { QUIET } else { PATIENCE };
        loop {
            let enough =
                takes_many && !self.is_recording && self.seen.answers.len() >= step.expected.answers.len();
            match self.next(if enough { GRACE } else { patience }) {
                Ok(received) if is_answer(&received, &reply, message) => {
                    let is_end = !takes_many || ends(&received);
                    self.note(&received, message);
                    if is_end {
                        return;
                    }
                }
                Ok(received) => self.note_more(&received),
                Err(Lost) => break,
            }
        }
        if self.seen.answers.is_empty() {
            self.seen.answers.push(SILENCE.to_owned());
        }
    }

    /// What else comes: as much as is expected, for at least as long as `rest`.
    fn take_more(&mut self, step: &Step, rest: Duration, is_last: bool) {
        let start = Instant::now();
        loop {
            let missing = step.expected.more.len().saturating_sub(self.seen.more.len());
            let passed = start.elapsed();
            let patience = match () {
                () if self.is_recording => (rest + QUIET).saturating_sub(passed),
                () if missing > 0 => (rest + PATIENCE).saturating_sub(passed),
                () if passed < rest => rest - passed,
                () if is_last || !step.expected.more.is_empty() => GRACE,
                () => return,
            };
            if patience.is_zero() {
                return;
            }
            match self.next(patience) {
                Ok(received) => self.note_more(&received),
                Err(Lost) if missing == 0 || start.elapsed() >= rest => return,
                Err(Lost) => {}
            }
        }
    }

    fn next(&mut self, patience: Duration) -> Result<Received, Lost> {
        self.client.set_patience(patience);
        self.client.next_message()
    }

    fn send(&mut self, message: &Message, reply: &str) {
        let Message { subject, body, headers } = message;
        let sent = if headers.is_empty() {
            self.client.publish(subject, reply, body.as_bytes())
        } else {
            let headers = format!("NATS/1.0\r\n{}\r\n\r\n", headers.join("\r\n"));
            let (header_len, total_len) = (headers.len(), headers.len() + body.len());
            let line = format!("HPUB {subject} {reply} {header_len} {total_len}\r\n{headers}{body}\r\n");
            self.client.send(line.as_bytes())
        };
        sent.expect("the connection is open");
    }

    fn note(&mut self, received: &Received, asked: &Message) {
        let is_ack = !asked.subject.starts_with("$JS.");
        self.seen.misfits.extend(schemas::misfits(&received.payload, is_ack));
        // A message to a pull is one of the stream's, and shows where to acknowledge it.
        let is_pulled = !received.subject.starts_with(INBOX);
        self.seen.answers.push(if is_pulled { mask::delivery(received) } else { mask::answer(received) });
    }

    fn note_more(&mut self, received: &Received) {
        self.seen.misfits.extend(schemas::misfits(&received.payload, false));
        self.seen.more.push(mask::delivery(received));
    }
}

/// What comes to the inbox of a pull has the stored subject.
fn is_answer(received: &Received, reply: &str, asked: &Message) -> bool {
    let pulls = asked.subject.contains(".MSG.NEXT.") || asked.body.starts_with("+NXT");
    received.subject == reply || (pulls && received.reply.starts_with("$JS.ACK."))
}

/// Whether no more answers follow: a heartbeat is none.
fn ends(received: &Received) -> bool {
    received.headers.starts_with("NATS/1.0 ") && !received.headers.starts_with("NATS/1.0 100 ")
}
