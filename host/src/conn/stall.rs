//! A producer waits a moment for a receiver that is behind (CORE-212), and never long: a receiver that
//! took nothing meanwhile is hopeless, and nobody waits for it again until it does.

use super::serve::Duplex;
use crate::routing::Receiver;
use crate::runtime::clock;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// The longest wait, once a read.
const STALL_MAX: Duration = Duration::from_millis(5);
/// The longest wait for one that reads, but would be cut soon.
const STALL_NEAR_CUT_MAX: Duration = Duration::from_millis(250);

/// Waits for room at `receiver`; goes on writing the producer's own output meanwhile.
pub(super) async fn wait(me: &Receiver, duplex: &mut Duplex, receiver: Arc<Receiver>) {
    let (before, longest) = {
        let out = receiver.out.lock();
        let near_cut = out.pending_bytes() > out.max_pending_bytes / 4 * 3;
        (out.sent_bytes, if near_cut { STALL_NEAR_CUT_MAX } else { STALL_MAX })
    };
    let room = poll_fn(|cx| {
        duplex.poll_flush(me, cx);
        if me.closed.load(std::sync::atomic::Ordering::Relaxed) {
            return Poll::Ready(());
        }
        match receiver.out.lock().wait_for_room(cx.waker()) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    });
    if clock::timeout(longest, room).await.is_none() {
        let mut out = receiver.out.lock();
        if out.sent_bytes == before {
            out.hopeless = true;
        }
    }
}
