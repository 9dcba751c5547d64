//! Bytes stored, of an account and of the server, against what they may store (JS-104, JS-146).

use crate::stream::Room;
use crate::wire::{ApiError, Storage, error};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// Bytes in memory and in files, and how many there may be; negative: no limit.
#[derive(Debug)]
pub struct Usage {
    stored: [AtomicI64; 2],
    limits: [AtomicI64; 2],
    why: ApiError,
}

impl Usage {
    pub fn of_account() -> Arc<Self> {
        Arc::new(Self::new(error::ACCOUNT_RESOURCES_EXCEEDED))
    }

    pub fn of_server() -> Arc<Self> {
        Arc::new(Self::new(error::INSUFFICIENT_RESOURCES))
    }

    fn new(why: ApiError) -> Self {
        let limits = [AtomicI64::new(-1), AtomicI64::new(-1)];
        Self { stored: Default::default(), limits, why }
    }

    pub fn limit(&self, memory_bytes_max: i64, storage_bytes_max: i64) {
        self.limits[place(Storage::Memory)].store(memory_bytes_max, Relaxed);
        self.limits[place(Storage::File)].store(storage_bytes_max, Relaxed);
    }

    /// Bytes that may still be stored; `None`: as many as there is disk.
    fn left(&self, storage: Storage) -> Option<i64> {
        let limit = self.limits[place(storage)].load(Relaxed);
        (limit >= 0).then(|| limit - self.stored[place(storage)].load(Relaxed))
    }
}

fn place(storage: Storage) -> usize {
    usize::from(storage == Storage::File)
}

/// What one stream takes of the usages that it counts for. Gives it back when dropped.
#[derive(Debug)]
pub struct Share {
    usages: [Arc<Usage>; 2],
    storage: Storage,
    bytes: i64,
}

impl Share {
    pub fn new(account: Arc<Usage>, server: Arc<Usage>, storage: Storage) -> Self {
        Self { usages: [account, server], storage, bytes: 0 }
    }

    /// The stream has so many bytes now: how far it may grow.
    pub fn set(&mut self, bytes: u64) -> Option<Room> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let change = bytes - self.bytes;
        self.bytes = bytes;
        let mut room: Option<Room> = None;
        for usage in &self.usages {
            if change != 0 {
                usage.stored[place(self.storage)].fetch_add(change, Relaxed);
            }
            let Some(left) = usage.left(self.storage) else { continue };
            let bytes_max = u64::try_from(bytes.saturating_add(left)).unwrap_or(0);
            if room.as_ref().is_none_or(|room| bytes_max < room.bytes_max) {
                room = Some(Room { bytes_max, why: usage.why.clone() });
            }
        }
        room
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        for usage in &self.usages {
            usage.stored[place(self.storage)].fetch_sub(self.bytes, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Share, Usage};
    use crate::wire::Storage;

    #[test]
    fn streams_share_what_an_account_may_store() {
        let (account, server) = (Usage::of_account(), Usage::of_server());
        account.limit(-1, 100);
        let mut one = Share::new(account.clone(), server.clone(), Storage::File);
        let mut other = Share::new(account.clone(), server.clone(), Storage::File);
        assert_eq!(one.set(40).unwrap().bytes_max, 100);
        assert_eq!(other.set(30).unwrap().bytes_max, 60);
        drop(one);
        assert_eq!(other.set(30).unwrap().bytes_max, 100);
        server.limit(10, 50);
        let room = other.set(30).unwrap();
        assert_eq!((room.bytes_max, room.why.err_code), (50, 10023));
        let mut memory = Share::new(account, server, Storage::Memory);
        assert_eq!(memory.set(4).unwrap().bytes_max, 10);
    }
}
