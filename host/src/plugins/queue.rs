//! The bounded queue of a queued subscription: filled on publishers' threads, emptied by a task of the plugin.

use super::faults::Faults;
use bytes::{Bytes, BytesMut};
use natsd_plugin_api::MessageRef;
use natsd_plugin_api::abi::message::FfiSink;
use natsd_plugin_api::abi::trace::HostTrace;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// Messages handed over in one call of the plugin; then other tasks get their turn.
const BATCH_MAX: usize = 256;

/// Messages on their way to a queued subscriber.
pub struct Queue {
    state: Mutex<State>,
    messages_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Owned>,
    bytes: usize,
    dropped: u64,
    waker: Option<Waker>,
    closed: bool,
}

/// A message copied out of its publisher's buffer, in one allocation.
struct Owned {
    bytes: Bytes,
    /// Where subject, reply and headers end.
    ends: [usize; 3],
    origin: u64,
    trace: Option<Arc<dyn HostTrace>>,
}

impl Queue {
    pub fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self { state: Mutex::default(), messages_max, bytes_max }
    }

    /// Copies what there is room for; the rest is dropped and counted.
    pub fn push(&self, batch: &[MessageRef<'_>]) {
        self.push_copies(batch.iter().map(Owned::copy).collect());
    }

    /// The same with a trace.
    pub fn push_traced(&self, message: &MessageRef<'_>, trace: Arc<dyn HostTrace>) {
        self.push_copies(vec![Owned { trace: Some(trace), ..Owned::copy(message) }]);
    }

    fn push_copies(&self, copies: Vec<Owned>) {
        // Their traces may be published when they are dropped: not before the lock is.
        let mut refused = Vec::new();
        let mut state = self.state.lock();
        for message in copies {
            let bytes = state.bytes + message.bytes.len();
            if state.closed || state.messages.len() >= self.messages_max || bytes > self.bytes_max {
                state.dropped += 1;
                refused.extend(message.trace);
                continue;
            }
            state.bytes = bytes;
            state.messages.push_back(message);
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the task once the queue is empty; what is pushed afterwards is dropped.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// The task that empties the queue.
    pub async fn run(self: Arc<Self>, sink: FfiSink, faults: Arc<Faults>) {
        let mut reported = 0;
        while let Some((batch, dropped)) = self.next().await {
            // Doubling keeps a subscriber that is always too slow from filling the log.
            if dropped > reported * 2 {
                reported = dropped;
                let plugin = faults.plugin();
                tracing::warn!(
                    "plugin `{plugin}` is too slow for a subscription: {dropped} messages dropped so far"
                );
            }
            let messages: Vec<MessageRef<'_>> = batch.iter().map(Owned::borrow).collect();
            if sink.deliver(&messages).is_err() {
                faults.record("queued subscriber", "its messages were dropped");
            }
            yield_now().await;
        }
    }

    async fn next(&self) -> Option<(Vec<Owned>, u64)> {
        poll_fn(|context| {
            let mut state = self.state.lock();
            if state.messages.is_empty() {
                if state.closed {
                    return Poll::Ready(None);
                }
                state.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            let count = state.messages.len().min(BATCH_MAX);
            let batch: Vec<Owned> = state.messages.drain(..count).collect();
            state.bytes -= batch.iter().map(|message| message.bytes.len()).sum::<usize>();
            if state.messages.is_empty() {
                // A burst must not hold its memory for ever.
                state.messages = VecDeque::new();
            }
            Poll::Ready(Some((batch, state.dropped)))
        })
        .await
    }
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Owned {
    fn copy(message: &MessageRef<'_>) -> Self {
        let parts = [message.subject(), message.reply(), message.headers(), message.payload()];
        let mut bytes = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
        let mut ends = [0; 3];
        for (index, part) in parts.iter().enumerate() {
            bytes.extend_from_slice(part);
            if let Some(end) = ends.get_mut(index) {
                *end = bytes.len();
            }
        }
        Self { bytes: bytes.freeze(), ends, origin: message.origin(), trace: None }
    }

    fn borrow(&self) -> MessageRef<'_> {
        let [subject, reply, headers] = self.ends;
        let bytes = &self.bytes;
        let (headers, payload) = (&bytes[reply..headers], &bytes[headers..]);
        let message = MessageRef::new(&bytes[..subject], &bytes[subject..reply], headers, payload)
            .with_origin(self.origin)
            .with_owner(bytes);
        match &self.trace {
            Some(trace) => message.with_trace(trace),
            None => message,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Context;

    fn message(payload: &'static [u8]) -> MessageRef<'static> {
        MessageRef::new(b"a.b", b"r", b"", payload).with_origin(7)
    }

    #[test]
    fn what_exceeds_a_limit_is_dropped_and_the_rest_arrives_in_order() {
        let queue = Arc::new(Queue::new(3, 20));
        queue.push(&[message(b"one"), message(b"two"), message(b"too long"), message(b"2"), message(b"x")]);
        queue.close();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let seen = seen.clone();
            FfiSink::new(move |batch| {
                for message in batch {
                    assert_eq!(
                        (message.subject(), message.reply(), message.origin()),
                        (&b"a.b"[..], &b"r"[..], 7)
                    );
                    seen.lock().push(message.payload_bytes());
                }
            })
        };
        let faults = Arc::new(Faults::new("test"));
        let mut task = pin!(queue.clone().run(sink, faults));
        let mut context = Context::from_waker(Waker::noop());
        while task.as_mut().poll(&mut context).is_pending() {}
        // "a.b" and "r" are 4 bytes: 7 + 7 + 5 fit into 20.
        assert_eq!(*seen.lock(), vec!["one", "two", "2"]);
        assert_eq!(queue.state.lock().dropped, 2);
    }

    struct Counted(Arc<Mutex<u32>>);

    impl HostTrace for Counted {
        fn is_only(&self) -> bool {
            false
        }

        fn asks_again(&self) -> bool {
            false
        }

        fn add(
            &self,
            _: &str,
            _: serde_json::Map<String, serde_json::Value>,
        ) -> natsd_plugin_api::Result<()> {
            Ok(())
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            *self.0.lock() += 1;
        }
    }

    #[test]
    fn a_trace_waits_as_long_as_its_message() {
        let (queue, sent) = (Arc::new(Queue::new(1, 20)), Arc::new(Mutex::new(0)));
        queue.push_traced(&message(b"one"), Arc::new(Counted(sent.clone())));
        assert_eq!(*sent.lock(), 0);
        queue.push_traced(&message(b"too many"), Arc::new(Counted(sent.clone())));
        assert_eq!(*sent.lock(), 1);
        queue.close();
        let sink = FfiSink::new(|batch| assert!(batch[0].is_traced()));
        let mut task = pin!(queue.run(sink, Arc::new(Faults::new("test"))));
        while task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
        assert_eq!(*sent.lock(), 2);
    }
}
