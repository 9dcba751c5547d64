//! `natsd.plugin/1`: how the host runs a plugin's instance, and the adapter from the author's trait to it.

use super::error::{FfiError, guarded, guarded_or};
use super::future::FfiFuture;
use super::import::Tables;
use super::interface::{self, HostRef, Interface, Offer};
use super::prelude::*;
use super::root::{CheckedRoot, FfiInstance};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::plugin::{Apply, Health, Manifest, Plugin, Section};
use crate::points::Registrar;
use serde_json::Value;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginTableRef)))]
#[sabi(missing_field(option))]
pub struct PluginTable {
    pub start: unsafe extern "C" fn(FfiInstance) -> FfiFuture<()>,
    pub stop: unsafe extern "C" fn(FfiInstance) -> FfiFuture<()>,
    /// Checks the new configuration (JSON of `Section`) and keeps what would make it take effect.
    pub prepare: unsafe extern "C" fn(FfiInstance, RStr<'_>) -> FfiFuture<()>,
    /// True: makes the prepared configuration take effect; false: forgets it.
    pub finish: unsafe extern "C" fn(FfiInstance, bool) -> RResult<(), FfiError>,
    /// JSON of `Health`.
    pub health: unsafe extern "C" fn(FfiInstance) -> RResult<RString, FfiError>,
    /// JSON to JSON.
    #[sabi(last_prefix_field)]
    pub introspect: unsafe extern "C" fn(FfiInstance, RStr<'_>) -> RResult<RString, FfiError>,
}
interface!(PluginTableRef, "natsd.plugin/1");

/// What an instance pointer points to.
struct Adapter<P> {
    plugin: Arc<P>,
    host: Host,
    prepared: Mutex<Option<Apply>>,
}

/// For the export macro: the text type of the root.
pub type ManifestText = RString;

/// The text of the root's `manifest`.
pub fn manifest<P: Plugin>(name: &str, version: &str) -> RString {
    let text = guarded_or(None, || {
        let api_version = env!("CARGO_PKG_VERSION").to_owned();
        let manifest = Manifest { name: name.into(), version: version.into(), api_version, ..P::manifest() };
        serde_json::to_string(&manifest).ok()
    });
    // Empty text is not JSON: the host refuses the plugin for it.
    text.unwrap_or_default().into()
}

/// The root's `create`.
///
/// # Safety
/// Called by a host with its own reference.
pub unsafe extern "C" fn create<P: Plugin>(
    host: HostRef,
    config: RStr<'_>,
) -> RResult<FfiInstance, FfiError> {
    guarded(|| {
        let host = Host::new(Tables::connect(host)?);
        crate::log::install(&host);
        let plugin = P::create(host.clone(), &section(config)?)?;
        let adapter = Adapter { plugin: Arc::new(plugin), host, prepared: Mutex::new(None) };
        Ok(FfiInstance(Box::into_raw(Box::new(adapter)).cast()))
    })
}

/// The root's `query`.
///
/// # Safety
/// None needed; the type is that of the root.
pub unsafe extern "C" fn query<P: Plugin>(id: RStr<'_>) -> Offer {
    if id.as_str() == PluginTableRef::ID {
        Offer::of(PluginTableRef(Adapter::<P>::TABLE.static_as_prefix()))
    } else {
        Offer::none::<PluginTableRef>()
    }
}

fn section(text: RStr<'_>) -> Result<Section> {
    serde_json::from_str(text.as_str()).map_err(Error::from)
}

impl<P: Plugin> Adapter<P> {
    const TABLE: &'static WithMetadata<PluginTable> = &WithMetadata::new(PluginTable {
        start: Self::start,
        stop: Self::stop,
        prepare: Self::prepare,
        finish: Self::finish,
        health: Self::health,
        introspect: Self::introspect,
    });

    /// # Safety
    /// `instance` was made by `create::<P>`; it lives for ever.
    unsafe fn of(instance: FfiInstance) -> &'static Self {
        // SAFETY: by the caller.
        unsafe { &*instance.0.cast::<Self>() }
    }

    unsafe extern "C" fn start(instance: FfiInstance) -> FfiFuture<()> {
        // SAFETY: the host passes what `create` gave it, here and below.
        let this = unsafe { Self::of(instance) };
        FfiFuture::new(async move { this.plugin.clone().start(Registrar(this.host.clone())).await })
    }

    unsafe extern "C" fn stop(instance: FfiInstance) -> FfiFuture<()> {
        // SAFETY: see `start`.
        let this = unsafe { Self::of(instance) };
        FfiFuture::new(async move { this.plugin.clone().stop().await })
    }

    unsafe extern "C" fn prepare(instance: FfiInstance, config: RStr<'_>) -> FfiFuture<()> {
        // SAFETY: see `start`.
        let this = unsafe { Self::of(instance) };
        let config = section(config);
        FfiFuture::new(async move {
            let apply = this.plugin.clone().reconfigure(config?).await?;
            *this.prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some(apply);
            Ok(())
        })
    }

    unsafe extern "C" fn finish(instance: FfiInstance, commit: bool) -> RResult<(), FfiError> {
        guarded(|| {
            // SAFETY: see `start`.
            let this = unsafe { Self::of(instance) };
            let apply = this.prepared.lock().unwrap_or_else(PoisonError::into_inner).take();
            match apply {
                Some(apply) if commit => apply(),
                None if commit => return Err(Error::new(ErrorKind::Invalid, "nothing was prepared")),
                _ => {}
            }
            Ok(())
        })
    }

    unsafe extern "C" fn health(instance: FfiInstance) -> RResult<RString, FfiError> {
        guarded(|| {
            // SAFETY: see `start`.
            let health = unsafe { Self::of(instance) }.plugin.health();
            Ok(serde_json::to_string(&health)?.into())
        })
    }

    unsafe extern "C" fn introspect(instance: FfiInstance, query: RStr<'_>) -> RResult<RString, FfiError> {
        guarded(|| {
            let query: Value = serde_json::from_str(query.as_str())?;
            // SAFETY: see `start`.
            Ok(unsafe { Self::of(instance) }.plugin.introspect(&query)?.to_string().into())
        })
    }
}

/// A plugin's instance as the host uses it. Lives for ever, as the plugin's code does.
#[derive(Clone, Copy)]
pub struct Instance {
    instance: FfiInstance,
    table: PluginTableRef,
    plugin: PhantomData<()>,
}

impl Instance {
    /// Makes the instance of a plugin whose root was checked.
    pub fn create(root: &CheckedRoot, host: HostRef, config: &Section) -> Result<Self> {
        let (id, root) = (PluginTableRef::ID, root.functions());
        // SAFETY: functions of a checked root, with the host's own reference and arguments that live for the call.
        let offer = unsafe { (root.query())(RStr::from_str(id)) };
        let table = offer.import::<PluginTableRef>().map_err(|mismatch| {
            interface::refusal(id, offer.shape.version, interface::API_VERSION, mismatch.as_ref())
        })?;
        let config = serde_json::to_string(config)?;
        // SAFETY: as above.
        let instance = unsafe { (root.create())(host, RStr::from_str(&config)) };
        Ok(Self { instance: instance.into_result().map_err(Error::from)?, table, plugin: PhantomData })
    }

    pub async fn start(self) -> Result<()> {
        // SAFETY: the instance belongs to the table, here and below.
        unsafe { (self.table.start())(self.instance) }.import().await
    }

    pub async fn stop(self) -> Result<()> {
        // SAFETY: see `start`.
        unsafe { (self.table.stop())(self.instance) }.import().await
    }

    pub async fn prepare(self, config: &Section) -> Result<()> {
        let config = serde_json::to_string(config)?;
        // SAFETY: see `start`.
        let prepared = unsafe { (self.table.prepare())(self.instance, RStr::from_str(&config)) };
        prepared.import().await
    }

    pub fn finish(self, commit: bool) -> Result<()> {
        // SAFETY: see `start`.
        unsafe { (self.table.finish())(self.instance, commit) }.into_result().map_err(Error::from)
    }

    pub fn health(self) -> Result<Health> {
        // SAFETY: see `start`.
        let health = unsafe { (self.table.health())(self.instance) }.into_result().map_err(Error::from)?;
        Ok(serde_json::from_str(health.as_str())?)
    }

    pub fn introspect(self, query: &Value) -> Result<Value> {
        let query = query.to_string();
        // SAFETY: see `start`.
        let answer = unsafe { (self.table.introspect())(self.instance, RStr::from_str(&query)) };
        Ok(serde_json::from_str(answer.into_result().map_err(Error::from)?.as_str())?)
    }
}
