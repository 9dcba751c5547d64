//! The objects that a plugin registers, as state and table: transports, authenticators, observers, services.
//!
//! Each has `new` (from the author's trait), and safe methods for the host.

use super::bytes::FfiBytes;
use super::error::{FfiError, guarded, guarded_or};
use super::future::{FfiFuture, drop_boxed};
use super::interface::{FfiTable, Interface, Shape, Wanted, table_from_raw};
use super::prelude::*;
use crate::auth::{AuthRequest, Authenticator, Verdict};
use crate::error::{Error, Result};
use crate::services::Service;
use crate::transport::{
    Attributes, Close, CloseReason, Peer, Transport, TransportFactory, TransportOut, TransportSink,
};
use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;

/// Declares an object: a pointer, a table, and the drop that belongs to them.
macro_rules! object {
    ($(#[$doc:meta])* $name:ident, $table:ident) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(StableAbi)]
        pub struct $name {
            state: *mut (),
            table: $table,
        }

        // SAFETY: made from `Send + Sync` values (a transport: used exclusively), and dropped once.
        unsafe impl Send for $name {}
        // SAFETY: as above; methods that need it exclusively take `&mut self`.
        unsafe impl Sync for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: `state` and `table` belong together; called once.
                unsafe { (self.table.drop())(self.state) }
            }
        }
    };
}

mod observer;

pub use observer::FfiObserver;

// --- Transports ---

/// Where a transport's output goes, for the time of a call.
#[repr(C)]
#[derive(StableAbi)]
pub struct FfiTransportSink {
    out: *mut (),
    plain: unsafe extern "C" fn(*mut (), *const u8, usize),
    wire: unsafe extern "C" fn(*mut (), *const u8, usize),
    ready: unsafe extern "C" fn(*mut (), RStr<'_>),
    reserved: [usize; 2],
}

#[repr(C)]
#[derive(StableAbi)]
pub struct FfiClose {
    code: u32,
    text: RString,
}

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = TransportFactoryTableRef)))]
#[sabi(missing_field(option))]
pub struct TransportFactoryTable {
    /// The text is JSON of `Peer`.
    pub open: unsafe extern "C" fn(*const (), RStr<'_>) -> RResult<FfiTransport, FfiError>,
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(*mut ()),
}

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = TransportTableRef)))]
#[sabi(missing_field(option))]
pub struct TransportTable {
    pub on_open: unsafe extern "C" fn(*mut (), *mut FfiTransportSink) -> RResult<(), FfiClose>,
    pub on_read:
        unsafe extern "C" fn(*mut (), *const u8, usize, *mut FfiTransportSink) -> RResult<(), FfiClose>,
    pub on_write:
        unsafe extern "C" fn(*mut (), *const u8, usize, *mut FfiTransportSink) -> RResult<(), FfiClose>,
    pub on_close:
        unsafe extern "C" fn(*mut (), u32, RStr<'_>, *mut FfiTransportSink) -> RResult<(), FfiClose>,
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(*mut ()),
}

object! {
    /// A plugin's transport factory.
    FfiTransportFactory, TransportFactoryTableRef
}
object! {
    /// One connection's transport.
    FfiTransport, TransportTableRef
}

/// What ends a transport's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportEnd {
    /// The transport decided so.
    Close(Close),
    Panicked,
}

/// The code of a close that stands for a panic; no reason has it.
const CLOSE_PANICKED: u32 = u32::MAX;

type BoxedFactory = Box<dyn TransportFactory>;
type BoxedTransport = Box<dyn Transport>;

impl FfiTransportFactory {
    pub fn new(factory: BoxedFactory) -> Self {
        static TABLE: &WithMetadata<TransportFactoryTable> = &WithMetadata::new(TransportFactoryTable {
            open: transport_open,
            drop: drop_boxed::<BoxedFactory>,
        });
        Self {
            state: Box::into_raw(Box::new(factory)).cast(),
            table: TransportFactoryTableRef(TABLE.static_as_prefix()),
        }
    }

    /// A transport for a connection that was accepted.
    pub fn open(&self, peer: &Peer) -> Result<FfiTransport> {
        let peer = serde_json::to_string(peer)?;
        // SAFETY: `state` and `table` belong together.
        let answer = unsafe { (self.table.open())(self.state, RStr::from_str(&peer)) };
        answer.into_result().map_err(Error::from)
    }
}

unsafe extern "C" fn transport_open(state: *const (), peer: RStr<'_>) -> RResult<FfiTransport, FfiError> {
    guarded(|| {
        let peer: Peer = serde_json::from_str(peer.as_str())?;
        // SAFETY: `state` is the box of `FfiTransportFactory::new`.
        let factory = unsafe { &*state.cast::<BoxedFactory>() };
        factory.open(&peer).map(FfiTransport::new)
    })
}

impl FfiTransport {
    pub fn new(transport: BoxedTransport) -> Self {
        static TABLE: &WithMetadata<TransportTable> = &WithMetadata::new(TransportTable {
            on_open: transport_opened,
            on_read: transport_read,
            on_write: transport_write,
            on_close: transport_close,
            drop: drop_boxed::<BoxedTransport>,
        });
        Self {
            state: Box::into_raw(Box::new(transport)).cast(),
            table: TransportTableRef(TABLE.static_as_prefix()),
        }
    }

    pub fn on_open(&mut self, out: &mut dyn TransportOut) -> Result<(), TransportEnd> {
        let mut out = out;
        let mut sink = FfiTransportSink::over(&mut out);
        // SAFETY: `state` and `table` belong together; the sink lives for the call.
        ended(unsafe { (self.table.on_open())(self.state, &mut sink) })
    }

    pub fn on_read(&mut self, wire: &[u8], out: &mut dyn TransportOut) -> Result<(), TransportEnd> {
        let mut out = out;
        let mut sink = FfiTransportSink::over(&mut out);
        // SAFETY: `state` and `table` belong together; bytes and sink live for the call.
        ended(unsafe { (self.table.on_read())(self.state, wire.as_ptr(), wire.len(), &mut sink) })
    }

    pub fn on_write(&mut self, plain: &[u8], out: &mut dyn TransportOut) -> Result<(), TransportEnd> {
        let mut out = out;
        let mut sink = FfiTransportSink::over(&mut out);
        // SAFETY: as in `on_read`.
        ended(unsafe { (self.table.on_write())(self.state, plain.as_ptr(), plain.len(), &mut sink) })
    }

    pub fn on_close(&mut self, close: &Close, out: &mut dyn TransportOut) -> Result<(), TransportEnd> {
        let mut out = out;
        let mut sink = FfiTransportSink::over(&mut out);
        let text = RStr::from_str(&close.text);
        // SAFETY: as in `on_read`.
        ended(unsafe { (self.table.on_close())(self.state, close.reason as u32, text, &mut sink) })
    }
}

fn ended(answer: RResult<(), FfiClose>) -> Result<(), TransportEnd> {
    match answer {
        ROk(()) => Ok(()),
        RErr(close) if close.code == CLOSE_PANICKED => Err(TransportEnd::Panicked),
        RErr(close) => {
            let reason = CloseReason::from_number(close.code);
            Err(TransportEnd::Close(Close::new(reason, close.text.into_string())))
        }
    }
}

impl FfiTransportSink {
    /// The sink is used only while `out` is borrowed: within the call it is made for.
    fn over(out: &mut &mut dyn TransportOut) -> Self {
        Self {
            out: std::ptr::from_mut(out).cast(),
            plain: sink_plain,
            wire: sink_wire,
            ready: sink_ready,
            reserved: [0; 2],
        }
    }
}

/// # Safety
/// `out` is that of `FfiTransportSink::over`, during the call it was made for.
unsafe fn sink_out<'a>(out: *mut ()) -> &'a mut dyn TransportOut {
    // SAFETY: by the caller.
    unsafe { *out.cast::<&'a mut dyn TransportOut>() }
}

unsafe extern "C" fn sink_plain(out: *mut (), ptr: *const u8, len: usize) {
    // SAFETY: the transport calls with the sink's own `out`, and bytes that live for the call.
    guarded_or((), || unsafe { sink_out(out).plain(std::slice::from_raw_parts(ptr, len)) })
}

unsafe extern "C" fn sink_wire(out: *mut (), ptr: *const u8, len: usize) {
    // SAFETY: as in `sink_plain`.
    guarded_or((), || unsafe { sink_out(out).wire(std::slice::from_raw_parts(ptr, len)) })
}

unsafe extern "C" fn sink_ready(out: *mut (), attributes: RStr<'_>) {
    // SAFETY: as in `sink_plain`.
    guarded_or((), || unsafe {
        sink_out(out).ready(serde_json::from_str(attributes.as_str()).unwrap_or_default())
    })
}

impl TransportOut for &mut FfiTransportSink {
    fn plain(&mut self, bytes: &[u8]) {
        // SAFETY: `out` and the function belong together.
        unsafe { (self.plain)(self.out, bytes.as_ptr(), bytes.len()) }
    }

    fn wire(&mut self, bytes: &[u8]) {
        // SAFETY: as above.
        unsafe { (self.wire)(self.out, bytes.as_ptr(), bytes.len()) }
    }

    fn ready(&mut self, attributes: Attributes) {
        let text = serde_json::to_string(&attributes).unwrap_or_default();
        // SAFETY: as above.
        unsafe { (self.ready)(self.out, RStr::from_str(&text)) }
    }
}

/// Runs a call of the transport behind `state`.
///
/// # Safety
/// `state` is the box of `FfiTransport::new`, used exclusively; `sink` is valid for the call.
unsafe fn transported(
    state: *mut (),
    sink: *mut FfiTransportSink,
    call: impl FnOnce(&mut dyn Transport, &mut TransportSink<'_>) -> Result<(), Close>,
) -> RResult<(), FfiClose> {
    let panicked = Err(Close::new(CloseReason::InternalClient, ""));
    let mut survived = false;
    let answer = guarded_or(panicked, || {
        // SAFETY: by the caller.
        let (transport, mut sink) = unsafe { ((*state.cast::<BoxedTransport>()).as_mut(), &mut *sink) };
        let answer = call(transport, &mut TransportSink::new(&mut sink));
        survived = true;
        answer
    });
    match answer {
        Ok(()) => ROk(()),
        Err(_) if !survived => RErr(FfiClose { code: CLOSE_PANICKED, text: RString::new() }),
        Err(close) => RErr(FfiClose { code: close.reason as u32, text: close.text.into() }),
    }
}

unsafe extern "C" fn transport_opened(state: *mut (), sink: *mut FfiTransportSink) -> RResult<(), FfiClose> {
    // SAFETY: the host follows the table's contract.
    unsafe { transported(state, sink, |transport, out| transport.on_open(out)) }
}

unsafe extern "C" fn transport_read(
    state: *mut (),
    ptr: *const u8,
    len: usize,
    sink: *mut FfiTransportSink,
) -> RResult<(), FfiClose> {
    // SAFETY: the host follows the table's contract; bytes live for the call.
    unsafe {
        transported(state, sink, |transport, out| {
            transport.on_read(std::slice::from_raw_parts(ptr, len), out)
        })
    }
}

unsafe extern "C" fn transport_write(
    state: *mut (),
    ptr: *const u8,
    len: usize,
    sink: *mut FfiTransportSink,
) -> RResult<(), FfiClose> {
    // SAFETY: as in `transport_read`.
    unsafe {
        transported(state, sink, |transport, out| {
            transport.on_write(std::slice::from_raw_parts(ptr, len), out)
        })
    }
}

unsafe extern "C" fn transport_close(
    state: *mut (),
    code: u32,
    text: RStr<'_>,
    sink: *mut FfiTransportSink,
) -> RResult<(), FfiClose> {
    let close = Close::new(CloseReason::from_number(code), text.as_str());
    // SAFETY: as in `transport_read`.
    unsafe {
        transported(state, sink, |transport, out| {
            transport.on_close(&close, out);
            Ok(())
        })
    }
}

// --- Authenticators ---

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = AuthenticatorTableRef)))]
#[sabi(missing_field(option))]
pub struct AuthenticatorTable {
    /// JSON of `AuthRequest` to JSON of `Verdict`.
    pub authenticate: unsafe extern "C" fn(*const (), RStr<'_>) -> FfiFuture<RString>,
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(*mut ()),
}

object! {
    /// A plugin's authenticator.
    FfiAuthenticator, AuthenticatorTableRef
}

type SharedAuthenticator = Arc<dyn Authenticator>;

impl FfiAuthenticator {
    pub fn new(authenticator: SharedAuthenticator) -> Self {
        static TABLE: &WithMetadata<AuthenticatorTable> =
            &WithMetadata::new(AuthenticatorTable { authenticate, drop: drop_boxed::<SharedAuthenticator> });
        Self {
            state: Box::into_raw(Box::new(authenticator)).cast(),
            table: AuthenticatorTableRef(TABLE.static_as_prefix()),
        }
    }

    /// An error here denies.
    pub fn authenticate(
        &self,
        request: &AuthRequest,
    ) -> impl Future<Output = Result<Verdict>> + Send + use<> {
        let asked = serde_json::to_string(request).map(|request| {
            // SAFETY: `state` and `table` belong together.
            unsafe { (self.table.authenticate())(self.state, RStr::from_str(&request)) }.import()
        });
        async move { Ok(serde_json::from_str(asked?.await?.as_str())?) }
    }
}

unsafe extern "C" fn authenticate(state: *const (), request: RStr<'_>) -> FfiFuture<RString> {
    let started = guarded(|| {
        // SAFETY: `state` is the box of `FfiAuthenticator::new`.
        let authenticator = unsafe { &*state.cast::<SharedAuthenticator>() };
        Ok(authenticator.clone().authenticate(serde_json::from_str(request.as_str())?))
    });
    FfiFuture::new(async move {
        let verdict = started.into_result().map_err(Error::from)?.await;
        Ok(serde_json::to_string(&verdict)?.into())
    })
}

// --- Services ---

/// A service that is called by method name with bytes: what third parties use without tables of their own.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = CallTableRef)))]
#[sabi(missing_field(option))]
pub struct CallTable {
    pub call: unsafe extern "C" fn(*const (), RStr<'_>, FfiBytes) -> FfiFuture<FfiBytes>,
    pub retain: unsafe extern "C" fn(*const ()) -> *mut (),
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(*mut ()),
    /// A table of functions that take this service's state, for services that are more than a method and bytes.
    /// Since 1.5.
    pub interface: unsafe extern "C" fn(*const (), *const Wanted<'_>) -> RResult<FfiTable, FfiError>,
}
interface!(CallTableRef, "natsd.call/1");

object! {
    /// A service of another plugin.
    FfiCall, CallTableRef
}

type SharedService = Arc<dyn Service>;

impl FfiCall {
    pub fn new(service: SharedService) -> Self {
        static TABLE: &WithMetadata<CallTable> = &WithMetadata::new(CallTable {
            call: service_call,
            retain: service_retain,
            drop: drop_boxed::<SharedService>,
            interface: service_interface,
        });
        Self { state: Box::into_raw(Box::new(service)).cast(), table: CallTableRef(TABLE.static_as_prefix()) }
    }

    /// # Safety
    /// `state` is `Send + Sync`, and what the functions of `table` take.
    pub(super) unsafe fn from_parts(state: *mut (), table: CallTableRef) -> Self {
        Self { state, table }
    }

    /// What the functions of `interface` take, as long as this value lives.
    pub(super) fn state(&self) -> *const () {
        self.state
    }

    /// The service's own table. The provider compares the shapes.
    pub(super) fn interface<I: Interface>(&self) -> Result<I> {
        let interface = self.table.interface();
        let interface = interface.ok_or_else(|| {
            Error::unsupported(format!(
                "the service has no interface {}: its plugin is older than that",
                I::ID
            ))
        })?;
        let wanted = Wanted { id: RStr::from_str(I::ID), shape: Shape::of::<I>() };
        // SAFETY: `state` and `table` belong together; `wanted` lives for the call.
        match unsafe { interface(self.state, &wanted) } {
            // SAFETY: the provider has compared the shapes.
            ROk(table) => Ok(unsafe { table_from_raw(table.0) }),
            RErr(error) => Err(error.into()),
        }
    }

    pub fn call(&self, method: &str, payload: Bytes) -> impl Future<Output = Result<Bytes>> + Send + use<> {
        // SAFETY: `state` and `table` belong together.
        let answer =
            unsafe { (self.table.call())(self.state, RStr::from_str(method), payload.into()) }.import();
        async move { answer.await.map(Bytes::from) }
    }
}

/// One more reference to the same service.
impl Clone for FfiCall {
    fn clone(&self) -> Self {
        // SAFETY: `state` and `table` belong together.
        Self { state: unsafe { (self.table.retain())(self.state) }, table: self.table }
    }
}

unsafe extern "C" fn service_call(
    state: *const (),
    method: RStr<'_>,
    payload: FfiBytes,
) -> FfiFuture<FfiBytes> {
    let started = guarded(|| {
        // SAFETY: `state` is the box of `FfiCall::new` or `service_retain`.
        let service = unsafe { &*state.cast::<SharedService>() };
        Ok(service.clone().call(method.as_str(), payload.into()))
    });
    FfiFuture::new(async move { Ok(started.into_result().map_err(Error::from)?.await?.into()) })
}

unsafe extern "C" fn service_interface(
    _state: *const (),
    wanted: *const Wanted<'_>,
) -> RResult<FfiTable, FfiError> {
    guarded(|| {
        // SAFETY: the caller passes a value that lives for the call.
        let id = unsafe { &*wanted }.id.as_str();
        Err(Error::not_found(format!("the service has no interface {id}: it is called with methods")))
    })
}

unsafe extern "C" fn service_retain(state: *const ()) -> *mut () {
    // SAFETY: as in `service_call`.
    Box::into_raw(Box::new(unsafe { &*state.cast::<SharedService>() }.clone())).cast()
}
