//! The frozen root of a plugin, and the symbol that carries it.
//!
//! Frozen at 1.0: nothing here changes again. What a plugin can do beyond it is found by `query`.

use super::error::FfiError;
use super::export::AbiHeaderRef;
use super::interface::{API_VERSION, HostRef, Mismatch, Offer, Shape, Version};
use super::prelude::*;
use crate::plugin::Manifest;
use std::fmt;

/// What every plugin file has, behind the symbol `natsd_plugin__<name>`.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRootRef)))]
#[sabi(missing_field(option))]
pub struct PluginRoot {
    /// JSON of `crate::Manifest`.
    pub manifest: unsafe extern "C" fn() -> RString,
    /// False when built with `panic = "abort"`: a panic would take the server down, so the host refuses it.
    pub panic_unwind: bool,
    /// Makes the one instance. The text is JSON of `crate::Section`.
    pub create: unsafe extern "C" fn(HostRef, RStr<'_>) -> RResult<FfiInstance, FfiError>,
    /// The plugin's interfaces by name; `natsd.plugin/1` runs the instance.
    pub query: unsafe extern "C" fn(RStr<'_>) -> Offer,
    /// 0 is off, 1 error … 5 trace; called at load and whenever the host's level changes.
    #[sabi(last_prefix_field)]
    pub set_log_level: unsafe extern "C" fn(u8),
}

/// The state of an instance; only the plugin's own tables look inside.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy)]
pub struct FfiInstance(pub(super) *mut ());

// SAFETY: `Plugin` is Send and Sync, and the tables use it only through a shared reference.
unsafe impl Send for FfiInstance {}
// SAFETY: as above.
unsafe impl Sync for FfiInstance {}

impl RootModule for PluginRootRef {
    declare_root_module_statics! {PluginRootRef}
    const BASE_NAME: &'static str = "natsd_plugin";
    const NAME: &'static str = "natsd-plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// A plugin that is linked into this binary; `export_plugin!` submits one for each.
pub struct Linked {
    pub name: &'static str,
    pub header: &'static LibHeader,
}

inventory::collect!(Linked);

/// The plugins linked into this binary, by name.
pub fn linked() -> impl Iterator<Item = &'static Linked> {
    inventory::iter::<Linked>.into_iter()
}

/// The name of the symbol of a plugin, with the closing zero that `dlsym` wants.
pub fn symbol(name: &str) -> String {
    format!("natsd_plugin__{name}\0")
}

/// A plugin's root, checked: its functions may be called.
#[derive(Clone, Copy)]
pub struct CheckedRoot {
    root: PluginRootRef,
    pub api_version: Version,
}

/// Why a plugin is refused before any of its code ran, beyond its constructors.
#[derive(Clone, Debug)]
pub enum RootRefusal {
    /// Not made with this crate, or with one whose abi_stable differs.
    Foreign(String),
    /// Made for another major version.
    Version(Version),
    /// The frozen root is not what it should be.
    Layout(Version, Mismatch),
    PanicAbort,
    Manifest(String),
}

impl fmt::Display for RootRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(why) => write!(f, "it is not a plugin made with natsd-plugin-api ({why}); rebuild it"),
            Self::Version(theirs) if *theirs < API_VERSION => {
                write!(f, "it is too old: made for plugin API {theirs}, this host has {API_VERSION}; rebuild it")
            }
            Self::Version(theirs) => {
                write!(f, "it is too new: made for plugin API {theirs}, this host has {API_VERSION}; update natsd")
            }
            Self::Layout(theirs, mismatch) => write!(
                f,
                "its root (plugin API {theirs}) does not fit this host's (plugin API {API_VERSION}): {}; rebuild it \
                 with an unchanged natsd-plugin-api",
                mismatch.summary
            ),
            Self::PanicAbort => {
                f.write_str("it is built with panic = \"abort\", a panic in it would end the server; rebuild it with panic = \"unwind\"")
            }
            Self::Manifest(why) => write!(f, "its manifest cannot be read ({why}); rebuild it"),
        }
    }
}

impl std::error::Error for RootRefusal {}

/// Reads the header behind a plugin's symbol.
///
/// # Safety
/// `address` is that of the symbol `natsd_plugin__<name>` of a module that is never unloaded: a static that
/// begins with a header of abi_stable, or at least with that many readable bytes.
pub unsafe fn header_at(address: *const ()) -> Result<&'static LibHeader, RootRefusal> {
    // SAFETY: by the caller. `AbiHeaderRef` is a transparent, non-null reference to the header's first bytes.
    let header = unsafe { std::mem::transmute::<*const (), AbiHeaderRef>(address) };
    header.upgrade().map_err(|error| RootRefusal::Foreign(one_line(&error.to_string())))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl CheckedRoot {
    /// Compares versions and layouts, then makes the root. The older side is asked first (`Shape::check`), so that
    /// a newer host takes an older plugin.
    pub fn open(header: &'static LibHeader) -> Result<Self, RootRefusal> {
        let text = header.version_strings().version;
        let Some(api_version) = Version::parse(text.as_str()) else {
            return Err(RootRefusal::Foreign(format!("its API version reads {text:?}")));
        };
        if api_version.major != API_VERSION.major {
            return Err(RootRefusal::Version(api_version));
        }
        let Some(layout) = header.layout() else {
            return Err(RootRefusal::Foreign("it carries no layout".into()));
        };
        let own = Shape::of_layout(API_VERSION, <PluginRootRef as StableAbi>::LAYOUT);
        let theirs = Shape::of_layout(api_version, layout);
        theirs.check(&own).map_err(|mismatch| RootRefusal::Layout(api_version, mismatch))?;
        // SAFETY: the layouts were compared just now.
        let root = unsafe { header.init_root_module_with_unchecked_layout::<PluginRootRef>() };
        let root = root.map_err(|error| RootRefusal::Foreign(one_line(&error.to_string())))?;
        if !root.panic_unwind() {
            return Err(RootRefusal::PanicAbort);
        }
        Ok(Self { root, api_version })
    }

    pub fn manifest(&self) -> Result<Manifest, RootRefusal> {
        // SAFETY: a function of a checked root.
        let text = unsafe { (self.root.manifest())() };
        serde_json::from_str(text.as_str()).map_err(|error| RootRefusal::Manifest(error.to_string()))
    }

    /// 0 is off, 1 error … 5 trace.
    pub fn set_log_level(&self, level: u8) {
        // SAFETY: as above.
        unsafe { (self.root.set_log_level())(level) }
    }

    pub(super) fn functions(&self) -> PluginRootRef {
        self.root
    }
}
