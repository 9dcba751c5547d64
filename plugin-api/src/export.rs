//! `export_plugin!`: what turns a type into a plugin, in both linkages.

/// Makes `$plugin` the plugin of this crate, under the name `$name`.
///
/// Emits the symbol `natsd_plugin__<name>`, by which the host finds the plugin in its file, and an entry by
/// which it finds the plugin when linked into the same binary. Nothing else differs between the two.
///
/// ```ignore
/// natsd_plugin_api::export_plugin!(Tap, "tap");
/// ```
///
/// With `keys` (a `&[&str]` that is constant, the same as in the manifest) the file also has a label
/// ([`crate::label`]): a host does not even open it while its configuration has none of these keys. Not for plugins
/// that start by themselves or that others require.
///
/// ```ignore
/// natsd_plugin_api::export_plugin!(Tap, "tap", keys: &["tap"]);
/// ```
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty, $name:literal, keys: $keys:expr) => {
        $crate::export_plugin!($plugin, $name);

        #[allow(unsafe_code)]
        const _: () = {
            const LINES: $crate::label::Lines<'static> =
                $crate::label::Lines { name: $name, version: env!("CARGO_PKG_VERSION"), keys: $keys };

            // SAFETY: the section is nobody else's and holds text only. Exported, so that the linker keeps it.
            #[unsafe(link_section = ".natsd.label")]
            #[unsafe(export_name = concat!("natsd_label__", $name))]
            pub static NATSD_LABEL: [u8; LINES.bytes()] = LINES.text();
        };
    };
    ($plugin:ty, $name:literal) => {
        #[allow(unsafe_code)]
        const _: () = {
            use $crate::abi::export::{CheckTypeLayout, LibHeader, PrefixTypeTrait, RootModuleResult};
            use $crate::abi::root::{Linked, PluginRoot, PluginRootRef};

            unsafe extern "C" fn manifest() -> $crate::abi::lifecycle::ManifestText {
                $crate::abi::lifecycle::manifest::<$plugin>($name, env!("CARGO_PKG_VERSION"))
            }

            fn root() -> PluginRootRef {
                PluginRoot {
                    manifest,
                    panic_unwind: cfg!(panic = "unwind"),
                    create: $crate::abi::lifecycle::create::<$plugin>,
                    query: $crate::abi::lifecycle::query::<$plugin>,
                    set_log_level: $crate::log::set_level,
                }
                .leak_into_prefix()
            }

            extern "C" fn erased_root() -> RootModuleResult {
                $crate::abi::export::__call_root_module_loader(root)
            }

            // SAFETY: the name belongs to this plugin alone; the header's constructor makes a `PluginRootRef`.
            #[unsafe(export_name = concat!("natsd_plugin__", $name))]
            pub static NATSD_PLUGIN: LibHeader =
                unsafe { LibHeader::from_constructor::<PluginRootRef>(erased_root, CheckTypeLayout::Yes) };

            $crate::inventory::submit! { Linked { name: $name, header: &NATSD_PLUGIN } }
        };
    };
}
