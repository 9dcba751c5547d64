//! A plugin's observer of events.

use crate::abi::error::{FfiError, guarded, guarded_or};
use crate::abi::future::drop_boxed;
use crate::abi::prelude::*;
use crate::error::{Error, Result};
use crate::events::{ConnectionEvent, Event, EventObserver};

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ObserverTableRef)))]
#[sabi(missing_field(option))]
pub struct ObserverTable {
    /// JSON of `Event`.
    pub on_event: unsafe extern "C" fn(*const (), RStr<'_>) -> RResult<(), FfiError>,
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(*mut ()),
    /// The number of a `ConnectionEvent` and an account. Since 1.5.
    pub wants: unsafe extern "C" fn(*const (), u8, RStr<'_>) -> bool,
}

object! {
    /// A plugin's observer of events.
    FfiObserver, ObserverTableRef
}

type BoxedObserver = Box<dyn EventObserver>;

impl FfiObserver {
    pub fn new(observer: BoxedObserver) -> Self {
        static TABLE: &WithMetadata<ObserverTable> =
            &WithMetadata::new(ObserverTable { on_event, drop: drop_boxed::<BoxedObserver>, wants });
        Self {
            state: Box::into_raw(Box::new(observer)).cast(),
            table: ObserverTableRef(TABLE.static_as_prefix()),
        }
    }

    /// Whether it is worth making an event of a connection; a plugin from before 1.5 wants them all.
    pub fn wants(&self, what: ConnectionEvent, account: &str) -> bool {
        // SAFETY: `state` and `table` belong together.
        self.table
            .wants()
            .is_none_or(|wants| unsafe { wants(self.state, what.number(), RStr::from_str(account)) })
    }

    /// `event` is JSON of `Event`, made once for all observers.
    pub fn on_event(&self, event: &str) -> Result<()> {
        // SAFETY: `state` and `table` belong together.
        unsafe { (self.table.on_event())(self.state, RStr::from_str(event)) }
            .into_result()
            .map_err(Error::from)
    }
}

unsafe extern "C" fn wants(state: *const (), what: u8, account: RStr<'_>) -> bool {
    // A new kind of event is not missed because of its number, and a fault shows when the event comes.
    guarded_or(true, || {
        // SAFETY: `state` is the box of `FfiObserver::new`.
        let observer = unsafe { &*state.cast::<BoxedObserver>() };
        ConnectionEvent::of_number(what).is_none_or(|what| observer.wants(what, account.as_str()))
    })
}

unsafe extern "C" fn on_event(state: *const (), event: RStr<'_>) -> RResult<(), FfiError> {
    guarded(|| {
        let event: Event = serde_json::from_str(event.as_str())?;
        // SAFETY: `state` is the box of `FfiObserver::new`.
        unsafe { &*state.cast::<BoxedObserver>() }.on_event(&event);
        Ok(())
    })
}
