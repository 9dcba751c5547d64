//! Serving connections and the server as a whole.

use super::{json, side, started};
use crate::abi::error::{FfiError, guarded};
use crate::abi::future::FfiFuture;
use crate::abi::prelude::*;
use crate::abi::tables::*;
use crate::transport::CloseReason;

pub(super) static CONNECTIONS: &WithMetadata<ConnectionsTable> = &WithMetadata::new(ConnectionsTable {
    lookup: connection_lookup,
    close: connection_close,
    lame_duck: connection_lame_duck,
    set_permissions: connection_set_permissions,
});

unsafe extern "C" fn connection_lame_duck(host: *const (), id: u64) -> RResult<(), FfiError> {
    // SAFETY: `host` is that of a `HostRef`, here and below.
    guarded(|| unsafe { side(host) }.lame_duck_connection(id))
}

unsafe extern "C" fn connection_set_permissions(
    host: *const (),
    id: u64,
    permissions: RStr<'_>,
) -> RResult<(), FfiError> {
    guarded(|| {
        let permissions = serde_json::from_str(permissions.as_str())?;
        // SAFETY: see above.
        unsafe { side(host) }.set_permissions(id, permissions)
    })
}

unsafe extern "C" fn connection_lookup(host: *const (), id: u64) -> RResult<RString, FfiError> {
    // SAFETY: see above.
    json(|| unsafe { side(host) }.connection(id))
}

unsafe extern "C" fn connection_close(
    host: *const (),
    id: u64,
    reason: u32,
    text: RStr<'_>,
) -> RResult<(), FfiError> {
    // SAFETY: see above.
    guarded(|| unsafe { side(host) }.close_connection(id, CloseReason::from_number(reason), text.as_str()))
}

pub(super) static SERVER: &WithMetadata<ServerTable> =
    &WithMetadata::new(ServerTable { identity, snapshot, reload });

unsafe extern "C" fn reload(host: *const ()) -> FfiFuture<()> {
    started(|| {
        // SAFETY: see above.
        let reloading = unsafe { side(host) }.reload();
        Ok(Box::pin(reloading))
    })
}

unsafe extern "C" fn identity(host: *const ()) -> RResult<RString, FfiError> {
    // SAFETY: see above.
    json(|| unsafe { side(host) }.identity())
}

unsafe extern "C" fn snapshot(
    host: *const (),
    kind: RStr<'_>,
    params: RStr<'_>,
) -> RResult<RString, FfiError> {
    // SAFETY: see above.
    guarded(|| {
        Ok(unsafe { side(host) }.snapshot(kind.as_str(), serde_json::from_str(params.as_str())?)?.into())
    })
}
