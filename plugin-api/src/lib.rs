//! The line between the natsd host and its plugins.
//!
//! A plugin is a type with the [`Plugin`] trait, exported with [`export_plugin!`], in a crate of the types
//! `rlib` and `cdylib`. The host creates it with its [`Section`] of the configuration, starts it with a
//! [`Registrar`], and lends it everything it needs as [`Host`]. `GUIDE.md` beside this crate tells the rules.
//!
//! Where to look:
//! - [`plugin`]: the trait, manifest, configuration, health
//! - [`host`]: clock, timers, random, tasks, network, files, messages, accounts, connections, snapshots
//! - [`points`]: what can be registered: [`transport`], [`auth`], [`events`], INFO fields, [`services`],
//!   [`stream_store`]
//! - [`message`] and [`subscribe`]: messages in and out; [`trace`]: what became of them; [`net`]: byte streams; [`files`]: files
//! - [`account`]: what passes between accounts
//! - [`subject`]: which pattern covers which subject, and transforms
//! - [`abi`]: how it all crosses, for those who work on the line itself
//!
//! The version of this crate is the version of the line. Its major number changes when old plugins no longer
//! load; its minor number rises when functions or interfaces are added.

pub mod abi;
pub mod account;
pub mod auth;
pub mod error;
pub mod events;
mod export;
pub mod files;
pub mod host;
pub mod label;
#[doc(hidden)]
pub mod log;
pub mod net;
pub mod plugin;
pub mod points;
pub mod services;
pub mod stream_store;
pub mod subject;
pub mod subscribe;
pub mod task;
pub mod trace;
pub mod transport;

/// Messages as they are handed to subscribers and to [`Host::publish`].
pub mod message {
    pub use crate::abi::message::{MessageRef, Outcome, PublishRef};
}

pub use abi::interface::{API_VERSION, Version};
pub use account::{
    AccountDestination, AccountExport, AccountImport, AccountLatency, AccountMapping, AccountResponse,
    AccountService,
};
pub use auth::{AuthRequest, AuthStage, Authenticator, AuthenticatorOptions, Decided, Identity, Verdict};
pub use error::{Error, ErrorKind, PutOff, Result};
pub use events::{ConnectionEvent, ConnectionFacts, Event, EventObserver, PeerCertificate};
pub use host::{AccountDefinition, AccountFacts, AccountTrace, Host, PluginFacts, ServerIdentity, boxed};
pub use message::{MessageRef, Outcome, PublishRef};
pub use net::{ByteStream, DialOptions, ListenOptions, Listener};
pub use plugin::{Apply, Health, Manifest, Plugin, Section};
pub use points::{ListenerChange, Registrar, Registration};
pub use services::{Service, ServiceClient};
pub use subscribe::{Delivery, InterestWatch, SubscribeOptions, Subscription};
pub use task::Task;
pub use trace::Trace;
pub use transport::{
    Attributes, Close, CloseReason, ListenerFacts, ListenerSpec, Peer, Transport, TransportFactory,
    TransportOut, TransportSink,
};

/// The future type of traits that are used through pointers.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub use bytes;
#[doc(hidden)]
pub use inventory;
pub use serde;
pub use serde_json;
pub use tracing;

/// Compiles the guide's example.
#[cfg(doctest)]
#[doc = include_str!("../GUIDE.md")]
struct Guide;
