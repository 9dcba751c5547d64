//! A trace on its way: it goes with its message to all who have something to say of that, and the event is published
//! when the last of them lets go.

use super::event::{Encoding, Event, Request, Server, Step, Told, timestamp};
use crate::account::Account;
use crate::conn::Context;
use crate::routing::publish::{Message, publish};
use crate::runtime::{Mutex, unix_ns};
use natsd_plugin_api::abi::trace::HostTrace;
use natsd_plugin_api::subscribe::TRACES;
use natsd_plugin_api::{Error, ErrorKind, Result};
use serde_json::{Map, Value};
use std::sync::Arc;

/// A plugin that repeats itself must not make an event without an end.
const STEPS_MAX: usize = 1024;

pub struct Trace {
    pub(super) context: Arc<Context>,
    /// The publisher's.
    pub(super) account: Arc<Account>,
    /// `None`: only plugins are told.
    pub(super) destination: Option<Vec<u8>>,
    /// Plugins are told as well.
    pub(super) is_heard: bool,
    pub(super) only: bool,
    pub(super) encoding: Option<Encoding>,
    pub(super) request: Request,
    pub(super) steps: Mutex<Vec<Step>>,
}

impl Trace {
    /// The message is not even taken in.
    pub fn fail(&mut self, why: String) {
        if let Some(Step::In { error, .. }) = self.steps.get_mut().first_mut() {
            *error = Some(why);
        }
    }

    pub fn note(&mut self, step: Step) {
        self.steps.get_mut().push(step);
    }
}

impl HostTrace for Trace {
    fn is_only(&self) -> bool {
        self.only
    }

    fn asks_again(&self) -> bool {
        self.destination.is_some()
    }

    fn add(&self, kind: &str, fields: Map<String, Value>) -> Result<()> {
        let mut steps = self.steps.lock();
        if steps.len() >= STEPS_MAX {
            return Err(Error::new(ErrorKind::Full, "the trace has too many steps already"));
        }
        steps.push(Step::Told(Told { kind: kind.to_owned(), ts: timestamp(unix_ns()), fields }));
        Ok(())
    }
}

/// Publishes the event in the publisher's account, as the server itself (CORE-295), and tells plugins.
impl Drop for Trace {
    fn drop(&mut self) {
        // As with the reference, no events without a system account.
        let Some(system) = self.context.accounts.system() else { return };
        let options = self.context.options.load();
        let server = Server::new(&self.context, &options, unix_ns());
        let request = std::mem::take(&mut self.request);
        let event = Event { server, request, events: std::mem::take(self.steps.get_mut()) };
        let tell = |account: &Arc<Account>, destination: &[u8], encoding| match event.message(encoding) {
            Ok((headers, payload)) => {
                let message = Message { headers: &headers, ..Message::new(destination, &payload) };
                publish(account, [message], |_| {});
            }
            Err(e) => crate::log::error!("A trace event could not be written: {e}"),
        };
        if self.is_heard {
            tell(&system, TRACES.as_bytes(), None);
        }
        if let Some(destination) = &self.destination {
            tell(&self.account, destination, self.encoding);
        }
    }
}
