//! Serving what a plugin needs to say who is who: accounts, authenticators with options, the server's keys.

use super::{json, side};
use crate::abi::bytes::FfiBytes;
use crate::abi::error::{FfiError, guarded, guarded_or};
use crate::abi::points::FfiAuthenticator;
use crate::abi::prelude::*;
use crate::abi::tables::*;
use crate::error::{Error, ErrorKind};
use bytes::Bytes;

pub(super) static ACCOUNTS: &WithMetadata<AccountsTable> =
    &WithMetadata::new(AccountsTable { list: account_list, lookup: account_lookup, define: account_define });

unsafe extern "C" fn account_list(host: *const ()) -> RResult<RString, FfiError> {
    // SAFETY: see above.
    json(|| unsafe { side(host) }.accounts())
}

unsafe extern "C" fn account_lookup(host: *const (), name: RStr<'_>) -> RResult<RString, FfiError> {
    // SAFETY: see above.
    json(|| unsafe { side(host) }.account(name.as_str()))
}

unsafe extern "C" fn account_define(
    host: *const (),
    name: RStr<'_>,
    definition: RStr<'_>,
) -> RResult<(), FfiError> {
    guarded(|| {
        let definition = serde_json::from_str(definition.as_str())?;
        // SAFETY: `host` is that of a `HostRef`, here and below.
        unsafe { side(host) }.define_account(name.as_str(), definition)
    })
}

pub(super) static AUTHENTICATORS: &WithMetadata<AuthenticatorsTable> =
    &WithMetadata::new(AuthenticatorsTable {
        add: authenticator_add,
        remove: authenticator_remove,
        add_with: authenticator_add_with,
    });

unsafe extern "C" fn authenticator_add(
    host: *const (),
    authenticator: FfiAuthenticator,
) -> RResult<u64, FfiError> {
    // SAFETY: see above.
    guarded(|| unsafe { side(host) }.add_authenticator(authenticator))
}

unsafe extern "C" fn authenticator_remove(host: *const (), id: u64) {
    // SAFETY: see above.
    guarded_or((), || unsafe { side(host) }.remove_authenticator(id))
}

unsafe extern "C" fn authenticator_add_with(
    host: *const (),
    authenticator: FfiAuthenticator,
    options: RStr<'_>,
) -> RResult<u64, FfiError> {
    guarded(|| {
        let options = serde_json::from_str(options.as_str())?;
        // SAFETY: see above.
        unsafe { side(host) }.add_authenticator_with(authenticator, options)
    })
}

pub(super) static KEYS: &WithMetadata<KeysTable> = &WithMetadata::new(KeysTable { sign, agree });

unsafe extern "C" fn sign(host: *const (), message: RSlice<'_, u8>) -> RResult<FfiBytes, FfiError> {
    guarded(|| {
        // SAFETY: see above.
        let signature = unsafe { side(host) }.sign(message.as_slice())?;
        Ok(Bytes::copy_from_slice(&signature).into())
    })
}

unsafe extern "C" fn agree(host: *const (), public: RSlice<'_, u8>) -> RResult<FfiBytes, FfiError> {
    guarded(|| {
        let wrong = |_| Error::new(ErrorKind::Invalid, "a public key has 32 bytes");
        let public = public.as_slice().try_into().map_err(wrong)?;
        // SAFETY: see above.
        let shared = unsafe { side(host) }.agree(public)?;
        Ok(Bytes::copy_from_slice(&shared).into())
    })
}
