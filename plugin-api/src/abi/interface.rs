//! Named interfaces: how each side asks the other for a table of functions, and how the host decides whether
//! both mean the same by it.
//!
//! An interface has a name with a number (`natsd.publisher/1`), the version of the crate that defines it, and
//! the layout of its table. Within a number, functions are only appended and the crate's minor version rises.
//! The layout check of abi_stable is one-directional, so the older side is always handed to it first; then a
//! function that the older side lacks reads as `None`, and any other change is refused.

use super::error::FfiError;
use super::prelude::*;
use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// Major and minor of the crate that defines an interface. Equal majors can talk if the layouts agree.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

/// The version of this crate.
pub const API_VERSION: Version = Version::of_package(env!("CARGO_PKG_VERSION"));

impl Version {
    /// Reads `major.minor` of a package version at compile time, where a wrong one cannot come from outside.
    pub const fn of_package(text: &str) -> Self {
        let bytes = text.as_bytes();
        let (mut numbers, mut which, mut at) = ([0u32; 2], 0, 0);
        while at < bytes.len() && which < 2 {
            match bytes[at] {
                b'.' => which += 1,
                digit @ b'0'..=b'9' => numbers[which] = numbers[which] * 10 + (digit - b'0') as u32,
                _ => panic!("a package version is digits and dots"),
            }
            at += 1;
        }
        Self { major: numbers[0], minor: numbers[1] }
    }

    /// Reads the version text that a plugin file carries.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.');
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A table that can be asked for by name. Implemented by the `interface!` macro on the reference types of
/// prefix tables.
///
/// # Safety
/// `Self` is the reference type of a prefix table, and `ID` names no other table.
pub unsafe trait Interface: Copy + StableAbi + PrefixRefTrait + 'static {
    const ID: &'static str;
    const VERSION: Version;
}

/// What one side has compiled in for an interface.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Shape {
    pub version: Version,
    /// A `&'static TypeLayout`. Opaque, as the check need not walk its own description.
    layout: *const (),
}

// SAFETY: a pointer to a static description.
unsafe impl Send for Shape {}
// SAFETY: as above.
unsafe impl Sync for Shape {}

impl Shape {
    pub fn of<I: Interface>() -> Self {
        Self { version: I::VERSION, layout: std::ptr::from_ref(<I as StableAbi>::LAYOUT).cast() }
    }

    pub(super) fn of_layout(version: Version, layout: &'static TypeLayout) -> Self {
        Self { version, layout: std::ptr::from_ref(layout).cast() }
    }

    fn layout(&self) -> &'static TypeLayout {
        // SAFETY: made by `of` or `of_layout`, in this module or in one whose abi_stable has the same ABI (the
        // header check of the loader), and modules are never unloaded.
        unsafe { &*self.layout.cast::<TypeLayout>() }
    }

    /// Whether `wanted` of one side can be served by `self` of the other.
    pub fn check(&self, wanted: &Shape) -> Result<(), Mismatch> {
        if self.version.major != wanted.version.major {
            return Err(Mismatch { summary: "the major versions differ".into(), detail: String::new() });
        }
        if std::ptr::eq(self.layout, wanted.layout) {
            return Ok(());
        }
        let (older, newer) = if wanted.version < self.version { (wanted, self) } else { (self, wanted) };
        check_layout_compatibility(older.layout(), newer.layout()).map_err(Mismatch::from_report)
    }
}

/// Why two sides of an interface cannot talk.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// Fits into one line.
    pub summary: String,
    /// The whole report, tens of kilobytes; for the debug log.
    pub detail: String,
}

impl Mismatch {
    fn from_report(report: AbiInstabilityErrors) -> Self {
        let places: Vec<String> = report
            .errors
            .iter()
            .filter(|error| !error.errs.is_empty())
            .map(|error| {
                let path: Vec<String> = error
                    .stack_trace
                    .iter()
                    .filter_map(|step| name_of(&format!("{:?}", step.expected)))
                    .collect();
                path.join(".")
            })
            .collect();
        let mut named: Vec<&str> =
            places.iter().map(String::as_str).filter(|place| !place.is_empty()).collect();
        named.dedup();
        let summary = match named.first() {
            Some(first) if named.len() == 1 => format!("`{first}` differs"),
            Some(first) => format!("`{first}` and {} more differ", named.len() - 1),
            None => "the tables differ".to_owned(),
        };
        Self { summary, detail: report.to_string() }
    }
}

/// Takes the name of a field or function out of a step of the report.
fn name_of(step: &str) -> Option<String> {
    let at = step.find("name: \"").map(|at| at + 7)?;
    let name = &step[at..at + step[at..].find('"')?];
    (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
        .then(|| name.to_owned())
}

/// A question for an interface of the other side.
#[repr(C)]
#[derive(StableAbi)]
pub struct Wanted<'a> {
    pub id: RStr<'a>,
    pub shape: Shape,
}

/// An answer: a table with its shape. A null table means that there is no such interface.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Offer {
    table: *const (),
    pub shape: Shape,
}

// SAFETY: points to a static table of functions.
unsafe impl Send for Offer {}
// SAFETY: as above.
unsafe impl Sync for Offer {}

impl Offer {
    pub fn of<I: Interface>(table: I) -> Self {
        Self { table: table.to_prefix_ref().to_raw_ptr().cast(), shape: Shape::of::<I>() }
    }

    /// The answer to an unknown name.
    pub fn none<I: Interface>() -> Self {
        Self { table: std::ptr::null(), shape: Shape::of::<I>() }
    }

    /// The table for someone who asks with `wanted`, or why not.
    pub fn serve(&self, wanted: &Shape) -> Result<*const (), Option<Mismatch>> {
        if self.table.is_null() {
            return Err(None);
        }
        self.shape.check(wanted).map_err(Some)?;
        Ok(self.table)
    }

    /// The table itself, once the shapes were compared here.
    pub fn import<I: Interface>(&self) -> Result<I, Option<Mismatch>> {
        let table = self.serve(&Shape::of::<I>())?;
        // SAFETY: the layouts were compared just now.
        Ok(unsafe { table_from_raw(table) })
    }
}

/// # Safety
/// `table` came from an `Offer` whose shape was compared with that of `I`.
pub(super) unsafe fn table_from_raw<I: Interface>(table: *const ()) -> I {
    // SAFETY: by the caller. The raw pointer of a prefix reference is that of its table with metadata.
    unsafe {
        I::from_prefix_ref(PrefixRef::from_raw(
            table.cast::<WithMetadata_<I::PrefixFields, I::PrefixFields>>(),
        ))
    }
}

/// The host, as a plugin first sees it: one question. Frozen at 1.0; everything else is asked for by name.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct HostRef {
    pub(super) host: *const (),
    pub(super) query: unsafe extern "C" fn(*const (), *const Wanted<'_>) -> RResult<FfiTable, FfiError>,
}

/// A table whose shape the other side has compared.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy)]
pub struct FfiTable(pub(super) *const ());

// SAFETY: the host side behind the pointer is Send, Sync and lives for ever (`serve`).
unsafe impl Send for HostRef {}
// SAFETY: as above.
unsafe impl Sync for HostRef {}

impl HostRef {
    /// Asks the host for a table; the host compares the shapes.
    pub fn query<I: Interface>(&self) -> Result<I> {
        let wanted = Wanted { id: RStr::from_str(I::ID), shape: Shape::of::<I>() };
        // SAFETY: `host` and `query` belong together; `wanted` lives for the call.
        match unsafe { (self.query)(self.host, &wanted) } {
            // SAFETY: the host has compared the shapes.
            ROk(table) => Ok(unsafe { table_from_raw(table.0) }),
            RErr(error) => Err(error.into()),
        }
    }
}

/// One line for an interface that cannot be used.
pub fn refusal(id: &str, provider: Version, wanted: Version, mismatch: Option<&Mismatch>) -> Error {
    match mismatch {
        None => Error::new(ErrorKind::NotFound, format!("there is no interface {id}")),
        Some(mismatch) => Error::new(
            ErrorKind::Incompatible,
            format!(
                "the interface {id} of API {wanted} does not fit that of API {provider}: {}",
                mismatch.summary
            ),
        ),
    }
}
