//! What crosses the line, and how: `repr(C)` values, tables of `extern "C"` functions, and the adapters between
//! them and the plain Rust that both sides write.
//!
//! This is the only part, with the export macro, that names abi_stable or is `unsafe`. Authors of plugins need
//! nothing of it; the host uses `serve` (its own side as a trait) and `import` (a plugin's objects as safe
//! values).
//!
//! - [`root`]: the frozen root of a plugin; [`interface`]: everything else is asked for by name, with a check
//! - [`error`], [`bytes`], [`future`], [`stream`], [`message`]: the values
//! - [`tables`]: the host's services; [`serve`]: the trait a host implements, and the functions in the tables
//! - [`lifecycle`]: a plugin's own table; [`points`]: the objects a plugin registers (transport, authenticator, …);
//!   [`stream_store`]: streams that a third party keeps; [`trace`]: traces of messages

#![allow(unsafe_code)]
#![allow(missing_docs)]

/// Names a table's reference type as an interface of this crate.
macro_rules! interface {
    ($table:ty, $id:literal) => {
        // SAFETY: a reference type of a prefix table; the names in this crate are distinct (tested in `tables`).
        unsafe impl $crate::abi::interface::Interface for $table {
            const ID: &'static str = $id;
            const VERSION: $crate::abi::interface::Version = $crate::abi::interface::API_VERSION;
        }
    };
}

pub mod bytes;
pub mod error;
pub mod future;
pub mod import;
pub mod interface;
pub mod lifecycle;
pub mod message;
pub mod points;
pub mod root;
pub mod serve;
pub mod stream;
pub mod stream_store;
pub mod tables;
pub mod trace;

/// For the export macro and the loader, so that nobody else needs to depend on abi_stable.
pub mod export {
    pub use abi_stable::library::{
        __call_root_module_loader, AbiHeader, AbiHeaderRef, CheckTypeLayout, LibHeader, RootModule,
        RootModuleResult,
    };
    pub use abi_stable::prefix_type::PrefixTypeTrait;
}

/// The parts of abi_stable that the files here use.
mod prelude {
    pub use abi_stable::StableAbi;
    pub use abi_stable::abi_stability::abi_checking::{AbiInstabilityErrors, check_layout_compatibility};
    pub use abi_stable::library::{LibHeader, RootModule};
    pub use abi_stable::prefix_type::{PrefixRef, PrefixRefTrait, WithMetadata, WithMetadata_};
    pub use abi_stable::sabi_types::VersionStrings;
    pub use abi_stable::std_types::{
        RErr, RNone, ROk, ROption, RResult, RSlice, RSome, RStr, RString, RVec, Tuple2,
    };
    pub use abi_stable::type_layout::TypeLayout;
    pub use abi_stable::{declare_root_module_statics, package_version_strings};
}
