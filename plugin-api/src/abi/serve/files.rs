//! The functions of `natsd.files/1` and of open files.

use super::side;
use crate::abi::bytes::FfiBytes;
use crate::abi::error::{FfiError, guarded};
use crate::abi::future::drop_boxed;
use crate::abi::prelude::*;
use crate::abi::tables::*;
use crate::error::Result;
use crate::files::{FileFacts, OpenOptions, RawFile, RawFiles};

// In all functions below: the plugin passes its own `HostRef`'s `host` or the file's own state, and arguments that
// live for the call.

pub(super) static FILES: &WithMetadata<FilesTable> = &WithMetadata::new(FilesTable {
    read,
    write_atomic,
    facts,
    list,
    create_dir_all,
    rename,
    remove_file,
    remove_dir_all,
    sync_dir,
    open,
    free_bytes,
});

/// A call of the host's files.
///
/// # Safety
/// As for all functions here.
unsafe fn on_files<T>(
    host: *const (),
    call: impl FnOnce(&dyn RawFiles) -> Result<T>,
) -> RResult<T, FfiError> {
    // SAFETY: by the caller.
    guarded(|| call(unsafe { side(host) }.files()?.as_ref()))
}

unsafe extern "C" fn read(host: *const (), path: RStr<'_>) -> RResult<FfiBytes, FfiError> {
    // SAFETY: see above.
    unsafe { on_files(host, |files| Ok(bytes::Bytes::from(files.read(path.as_str())?).into())) }
}

unsafe extern "C" fn write_atomic(
    host: *const (),
    path: RStr<'_>,
    content: RSlice<'_, u8>,
) -> RResult<(), FfiError> {
    // SAFETY: see above.
    unsafe { on_files(host, |files| files.write_atomic(path.as_str(), content.as_slice())) }
}

unsafe extern "C" fn facts(host: *const (), path: RStr<'_>) -> RResult<FfiFileFacts, FfiError> {
    // SAFETY: see above.
    unsafe { on_files(host, |files| Ok(FileFacts::pack(files.facts(path.as_str())?))) }
}

unsafe extern "C" fn list(host: *const (), path: RStr<'_>) -> RResult<RString, FfiError> {
    // SAFETY: see above.
    unsafe { on_files(host, |files| Ok(serde_json::to_string(&files.list(path.as_str())?)?.into())) }
}

unsafe extern "C" fn create_dir_all(host: *const (), path: RStr<'_>) -> RResult<(), FfiError> {
    // SAFETY: see above.
    unsafe { on_files(host, |files| files.create_dir_all(path.as_str())) }
}

unsafe extern "C" fn rename(host: *const (), from: RStr<'_>, to: RStr<'_>) -> RResult<(), FfiError> {
    // SAFETY: see above.
    unsafe { on_files(host, |files| files.rename(from.as_str(), to.as_str())) }
}

unsafe extern "C" fn remove_file(host: *const (), path: RStr<'_>) -> RResult<(), FfiError> {
    // SAFETY: see above.
    unsafe { on_files(host, |files| files.remove_file(path.as_str())) }
}

unsafe extern "C" fn remove_dir_all(host: *const (), path: RStr<'_>) -> RResult<(), FfiError> {
    // SAFETY: see above.
    unsafe { on_files(host, |files| files.remove_dir_all(path.as_str())) }
}

unsafe extern "C" fn sync_dir(host: *const (), path: RStr<'_>) -> RResult<(), FfiError> {
    // SAFETY: see above.
    unsafe { on_files(host, |files| files.sync_dir(path.as_str())) }
}

unsafe extern "C" fn free_bytes(host: *const (), path: RStr<'_>) -> RResult<u64, FfiError> {
    // SAFETY: see above.
    unsafe { on_files(host, |files| files.free_bytes(path.as_str())) }
}

type OpenFile = Box<dyn RawFile>;

unsafe extern "C" fn open(host: *const (), path: RStr<'_>, flags: u32) -> RResult<FfiFile, FfiError> {
    static TABLE: &WithMetadata<FileTable> = &WithMetadata::new(FileTable {
        read_at,
        write_all_at,
        size,
        set_size,
        sync,
        drop: drop_boxed::<OpenFile>,
    });
    // SAFETY: see above.
    unsafe {
        on_files(host, |files| {
            let file: OpenFile = files.open(path.as_str(), OpenOptions::from_flags(flags))?;
            let state = Box::into_raw(Box::new(file)).cast();
            Ok(FfiFile { state, table: FileTableRef(TABLE.static_as_prefix()) })
        })
    }
}

/// # Safety
/// `state` is the box of `open`.
unsafe fn on_file<T>(state: *const (), call: impl FnOnce(&dyn RawFile) -> Result<T>) -> RResult<T, FfiError> {
    // SAFETY: by the caller.
    guarded(|| call(unsafe { &*state.cast::<OpenFile>() }.as_ref()))
}

unsafe extern "C" fn read_at(
    state: *const (),
    at: u64,
    ptr: *mut u8,
    len: usize,
) -> RResult<usize, FfiError> {
    // SAFETY: see above; `ptr` is initialised memory of `len` bytes.
    unsafe { on_file(state, |file| file.read_at(at, std::slice::from_raw_parts_mut(ptr, len))) }
}

unsafe extern "C" fn write_all_at(
    state: *const (),
    at: u64,
    content: RSlice<'_, u8>,
) -> RResult<(), FfiError> {
    // SAFETY: see above.
    unsafe { on_file(state, |file| file.write_all_at(at, content.as_slice())) }
}

unsafe extern "C" fn size(state: *const ()) -> RResult<u64, FfiError> {
    // SAFETY: see above.
    unsafe { on_file(state, |file| file.size()) }
}

unsafe extern "C" fn set_size(state: *const (), size_bytes: u64) -> RResult<(), FfiError> {
    // SAFETY: see above.
    unsafe { on_file(state, |file| file.set_size(size_bytes)) }
}

unsafe extern "C" fn sync(state: *const (), metadata: bool) -> RResult<(), FfiError> {
    // SAFETY: see above.
    unsafe { on_file(state, |file| file.sync(metadata)) }
}
