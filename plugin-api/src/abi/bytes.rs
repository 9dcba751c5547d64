//! Refcounted bytes that cross the line without a copy.
//!
//! The maker's `bytes::Bytes` is moved as it is into `store`; only the maker's own table ever touches it.
//! Going back costs nothing to the maker, and one small allocation to anyone else.

use super::prelude::*;
use bytes::Bytes;
use std::mem::{ManuallyDrop, MaybeUninit, align_of, size_of};

#[repr(C)]
#[derive(StableAbi)]
pub struct FfiBytes {
    ptr: *const u8,
    len: usize,
    store: [usize; 4],
    table: *const BytesTable,
}

/// Frozen: two functions are all that shared bytes need.
#[repr(C)]
#[derive(StableAbi)]
pub struct BytesTable {
    clone: unsafe extern "C" fn(*const FfiBytes, *mut FfiBytes),
    drop: unsafe extern "C" fn(*mut FfiBytes),
}

const _: () = assert!(size_of::<Bytes>() <= size_of::<[usize; 4]>());
const _: () = assert!(align_of::<Bytes>() <= align_of::<usize>());

// SAFETY: the store holds a `Bytes`, which is Send and Sync, and the table's functions only use it as such.
unsafe impl Send for FfiBytes {}
// SAFETY: as above.
unsafe impl Sync for FfiBytes {}

/// A static, so that its address tells whether this very module made the bytes.
static OWN: BytesTable = BytesTable { clone: clone_own, drop: drop_own };

unsafe extern "C" fn clone_own(this: *const FfiBytes, out: *mut FfiBytes) {
    // SAFETY: called through `OWN` only, so `store` holds this module's `Bytes`; `out` is room for one value.
    unsafe { out.write(FfiBytes::from((*this).own().clone())) }
}

unsafe extern "C" fn drop_own(this: *mut FfiBytes) {
    // The owner of the memory may be a plugin's value with its own drop: no panic may cross.
    // SAFETY: as in `clone_own`; called once, by `Drop`.
    super::error::guarded_or((), || unsafe {
        std::ptr::drop_in_place((*this).store.as_mut_ptr().cast::<Bytes>())
    })
}

impl FfiBytes {
    /// # Safety
    /// `table` is `OWN`.
    unsafe fn own(&self) -> &Bytes {
        // SAFETY: by the caller; `store` was filled in `from`, with room and alignment asserted above.
        unsafe { &*self.store.as_ptr().cast::<Bytes>() }
    }
}

impl From<Bytes> for FfiBytes {
    fn from(bytes: Bytes) -> Self {
        let bytes = ManuallyDrop::new(bytes);
        let mut store = [0usize; 4];
        // SAFETY: size and alignment are asserted; ownership moves, as `bytes` is not dropped.
        unsafe { std::ptr::copy_nonoverlapping(&*bytes, store.as_mut_ptr().cast::<Bytes>(), 1) };
        FfiBytes { ptr: bytes.as_ptr(), len: bytes.len(), store, table: &OWN }
    }
}

impl From<FfiBytes> for Bytes {
    fn from(bytes: FfiBytes) -> Bytes {
        if std::ptr::eq(bytes.table, &OWN) {
            let bytes = ManuallyDrop::new(bytes);
            // SAFETY: made by this module; ownership moves, as `bytes` is not dropped.
            unsafe { std::ptr::read(bytes.store.as_ptr().cast::<Bytes>()) }
        } else {
            Bytes::from_owner(bytes)
        }
    }
}

impl AsRef<[u8]> for FfiBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the maker's bytes live as long as this value, and shared bytes never change.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

impl Clone for FfiBytes {
    fn clone(&self) -> Self {
        let mut out = MaybeUninit::uninit();
        // SAFETY: the maker's table is static and clones into `out`.
        unsafe {
            ((*self.table).clone)(self, out.as_mut_ptr());
            out.assume_init()
        }
    }
}

impl Drop for FfiBytes {
    fn drop(&mut self) {
        // SAFETY: the maker's table is static; called once.
        unsafe { ((*self.table).drop)(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_and_come_back_without_a_copy() {
        let bytes = Bytes::from(vec![1u8, 2, 3, 4]).slice(1..);
        let address = bytes.as_ptr();
        let crossed = FfiBytes::from(bytes);
        let second = crossed.clone();
        let back = Bytes::from(crossed);
        assert_eq!((back.as_ptr(), &back[..]), (address, &[2u8, 3, 4][..]));
        drop(back);
        assert_eq!(second.as_ref(), &[2, 3, 4]);
        // What a foreign module does with them.
        let foreign = Bytes::from_owner(second);
        assert_eq!((foreign.as_ptr(), &foreign.slice(1..)[..]), (address, &[3u8, 4][..]));
    }
}
