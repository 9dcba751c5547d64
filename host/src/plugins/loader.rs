//! Opens a plugin's file, or takes a plugin that is linked into this binary, and checks it.
//!
//! A file is opened once and never closed: its code lives as long as the process. Opening runs its constructors
//! before any check, so plugin files are trusted code.

use super::{elf, search};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use natsd_plugin_api::Manifest;
use natsd_plugin_api::abi::export::LibHeader;
use natsd_plugin_api::abi::root::{self, CheckedRoot, RootRefusal};
use natsd_plugin_api::files::{OpenOptions, RawFiles};
use natsd_plugin_api::label::{self, Label};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A plugin whose root fits.
#[derive(Clone)]
pub struct Loaded {
    pub root: CheckedRoot,
    pub manifest: Manifest,
    pub linkage: Linkage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Linkage {
    Static,
    Dynamic(PathBuf),
}

/// Why a plugin is not there; one line each.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error(
        "plugin `{name}` was not found: no {file} in {folders}; put it there, name its folder with --plugins-dir, or remove it from the configuration"
    )]
    Missing { name: String, file: String, folders: String },
    #[error("plugin `{name}` cannot be loaded: {path}: {why}")]
    Open { name: String, path: String, why: String },
    #[error(
        "plugin `{name}` cannot be loaded: {path}: it has no symbol natsd_plugin__{name}: it is not a natsd plugin, or its name is not `{name}`"
    )]
    NoSymbol { name: String, path: String },
    #[error("plugin `{name}` cannot be loaded: {place}: {refusal}")]
    Refused { name: String, place: String, refusal: RootRefusal },
    #[error("plugin `{name}` cannot be loaded: {place}: it calls itself `{own}`; load it under that name")]
    Name { name: String, place: String, own: String },
}

impl LoadError {
    /// What was not found; the remedy is in the text.
    pub fn missing(name: &str, folders: &[PathBuf]) -> Self {
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        let folders =
            if folders.is_empty() { "any folder (none is given)".into() } else { folders.join(", ") };
        Self::Missing { name: name.into(), file: search::file_name(name), folders }
    }

    /// The long report behind a refusal, for the debug log.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Refused { refusal: RootRefusal::Layout(_, mismatch), .. } => Some(&mismatch.detail),
            _ => None,
        }
    }
}

/// The plugin of this name that is linked into the binary.
pub fn linked(name: &str) -> Option<Result<Loaded, LoadError>> {
    let linked = root::linked().find(|linked| linked.name == name)?;
    Some(check(name, linked.header, Linkage::Static))
}

/// The names of all plugins that are linked into the binary.
pub fn linked_names() -> Vec<&'static str> {
    let mut names: Vec<&str> = root::linked().map(|linked| linked.name).collect();
    names.sort_unstable();
    names
}

/// What a plugin's file says of itself without being opened; most say nothing.
pub fn label(files: &dyn RawFiles, path: &Path) -> Option<Label> {
    let file = files.open(&path.to_string_lossy(), OpenOptions::default()).ok()?;
    let mut head = [0; elf::HEAD_BYTES];
    let len = file.read_at(0, &mut head).ok()?;
    // What the dynamic linker would refuse is refused with its reason.
    elf::check(&head[..len], file.size().ok()?).ok()?;
    let read = |at: u64, buffer: &mut [u8]| {
        let mut got = 0;
        while got < buffer.len() {
            match file.read_at(at + got as u64, &mut buffer[got..]).ok()? {
                0 => break,
                more => got += more,
            }
        }
        Some(got)
    };
    Label::parse(&elf::section(&head[..len], label::SECTION, label::BYTES_MAX, read)?)
}

/// Opens the file of a plugin.
#[allow(unsafe_code)]
pub fn open(files: &dyn RawFiles, name: &str, path: &Path) -> Result<Loaded, LoadError> {
    let place = || path.display().to_string();
    let unusable = |why: String| LoadError::Open { name: name.into(), path: place(), why };
    look_at(files, path).map_err(unusable)?;
    // RTLD_NOW: a symbol that is missing fails here, not at its first use.
    // SAFETY: runs the file's constructors; plugins are trusted code, and the path is the operator's choice.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|error| unusable(reason(&error.to_string(), path)))?;
    // SAFETY: the symbol, if there, is a static; only its address is taken.
    let symbol = unsafe { library.get::<*const ()>(root::symbol(name).as_bytes()) };
    let address = symbol.map(|symbol| symbol.into_raw().cast_const().cast::<()>());
    let address = address.map_err(|_| LoadError::NoSymbol { name: name.into(), path: place() });
    // Never closed, also when refused: its constructors may have left pointers to its code.
    std::mem::forget(library);
    // SAFETY: the address of the plugin's header; the module stays.
    let header = unsafe { root::header_at(address?) }.map_err(|refusal| LoadError::Refused {
        name: name.into(),
        place: place(),
        refusal,
    })?;
    check(name, header, Linkage::Dynamic(path.to_owned()))
}

fn check(name: &str, header: &'static LibHeader, linkage: Linkage) -> Result<Loaded, LoadError> {
    let place = || match &linkage {
        Linkage::Static => "linked into natsd".to_owned(),
        Linkage::Dynamic(path) => path.display().to_string(),
    };
    let refused = |refusal| LoadError::Refused { name: name.into(), place: place(), refusal };
    let root = CheckedRoot::open(header).map_err(refused)?;
    let manifest = root.manifest().map_err(refused)?;
    if manifest.name != name {
        return Err(LoadError::Name { name: name.into(), place: place(), own: manifest.name });
    }
    Ok(Loaded { root, manifest, linkage })
}

/// The file's front, as the dynamic linker would trust it blindly.
fn look_at(files: &dyn RawFiles, path: &Path) -> Result<(), String> {
    let text = path.to_string_lossy();
    let mut head = [0; elf::HEAD_BYTES];
    let mut read = || {
        let file = files.open(&text, OpenOptions::default())?;
        Ok((file.read_at(0, &mut head)?, file.size()?))
    };
    let (len, file_bytes) = read().map_err(|error: natsd_plugin_api::Error| reason(error.message(), path))?;
    elf::check(&head[..len], file_bytes).map_err(|why| why.to_string())
}

/// The words of the system without the path, which is named anyway.
fn reason(text: &str, path: &Path) -> String {
    text.replace(&format!("{}: ", path.display()), "")
}
