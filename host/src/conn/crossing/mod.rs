//! Services that an account imports from another: requests go there, responses come back (ACC-007 to ACC-011).
//!
//! `request` is the gate at the importer's subject, `response` what is kept until a request is answered,
//! `client_info` what the responder is told of the requestor, and `latency` what the exporter is told of the time
//! that it took. Not here: how messages pass a gate (`routing::gate`).

mod client_info;
mod headers;
mod latency;
mod request;
mod response;

use super::context::Context;
use crate::account::{Account, ServiceImports};
use crate::config::borders;
use crate::config::options::{
    AccountsOptions, ImportKind, ImportOptions, LatencyOptions, ResponseType, ServiceOptions,
};
use crate::routing::Receiver;
use crate::routing::gate::Gate;
use crate::routing::subscriptions;
use crate::runtime::{Mutex, clock, now_ns, tasks};
use natsd_plugin_api::AccountDefinition;
use request::RequestGate;
use response::Responses;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;

const RESPONSE_THRESHOLD_DEFAULT: Duration = Duration::from_secs(120);
/// How often it is looked whether requestors are still there.
const SWEEP_INTERVAL_NS: u64 = 1_000_000_000;
const SWEEP_INTERVAL_MIN_NS: u64 = 5_000_000;

/// The imported services of all accounts.
pub struct Crossing {
    /// By account id.
    responses: Mutex<HashMap<u32, Arc<Responses>>>,
    /// By account id.
    gates: Mutex<HashMap<u32, Gates>>,
    /// A request waits for its response.
    pub(super) opened: Arc<Notify>,
    started: std::sync::Once,
}

/// The gates of one importer.
#[derive(Default)]
struct Gates {
    made_of: Vec<(ImportOptions, ServiceOptions)>,
    receivers: Vec<Arc<Receiver>>,
}

/// A service as it is exported.
pub(super) struct Service {
    /// The same for all imports by one export.
    pub number: u64,
    pub response: ResponseType,
    pub threshold_ns: u64,
    pub latency: Option<LatencyOptions>,
    pub allow_trace: bool,
}

impl Default for Crossing {
    fn default() -> Self {
        Crossing {
            responses: Mutex::default(),
            gates: Mutex::default(),
            opened: Arc::default(),
            started: std::sync::Once::new(),
        }
    }
}

/// Whether it is a reply that an import made.
pub fn is_response(subject: &[u8]) -> bool {
    subject.starts_with(response::PREFIX)
}

impl Context {
    /// Makes the accounts of a configuration, with what they import, at start and on reload.
    pub fn configure_accounts(self: &Arc<Self>, options: &AccountsOptions) {
        let mut gates = self.crossing.gates.lock();
        let services = self.accounts.configure(options);
        self.configure_services(&mut gates, services);
    }

    /// Makes an account as a plugin defines it, with what it imports, and what others import of it.
    pub fn define_account(self: &Arc<Self>, name: &str, definition: AccountDefinition) -> Arc<Account> {
        let mut gates = self.crossing.gates.lock();
        let (account, services) = self.accounts.define(name, definition);
        self.configure_services(&mut gates, services);
        account
    }

    fn configure_services(self: &Arc<Self>, gates: &mut HashMap<u32, Gates>, all: Vec<ServiceImports>) {
        for ServiceImports { account, services } in all {
            if !services.is_empty() || gates.contains_key(&account.id) {
                self.import_services(gates.entry(account.id).or_default(), &account, services);
            }
        }
    }

    fn import_services(
        self: &Arc<Self>,
        gates: &mut Gates,
        account: &Arc<Account>,
        made_of: Vec<(ImportOptions, ServiceOptions)>,
    ) {
        if gates.made_of == made_of {
            return;
        }
        for receiver in gates.receivers.drain(..) {
            subscriptions::remove_all(&receiver, account);
            self.registry.free_id(receiver.id);
        }
        for (import, service) in &made_of {
            let Some(gate) = self.request_gate(account, import, service) else { continue };
            let local = gate.local().to_vec();
            gates.receivers.push(self.subscribe_gate(Arc::new(gate), account, &local));
        }
        gates.made_of = made_of;
        self.start_sweeping();
    }

    fn request_gate(
        self: &Arc<Self>,
        importer: &Arc<Account>,
        import: &ImportOptions,
        options: &ServiceOptions,
    ) -> Option<RequestGate> {
        let exporter = self.accounts.get_or_create(&import.account);
        let threshold = options.response_threshold.filter(|threshold| !threshold.is_zero());
        let threshold = threshold.unwrap_or(RESPONSE_THRESHOLD_DEFAULT);
        let service = Service {
            number: u64::from(exporter.id) << 32 | u64::from(crc(import.subject.as_bytes())),
            response: options.response,
            threshold_ns: u64::try_from(threshold.as_nanos()).unwrap_or(u64::MAX),
            latency: options.latency.clone(),
            allow_trace: options.allow_trace,
        };
        Some(RequestGate {
            renaming: borders::renaming(import).ok()?,
            share: matches!(import.kind, ImportKind::Service { share: true }),
            service: Arc::new(service),
            here: self.responses_of(importer),
            there: self.responses_of(&exporter),
            to_system: self.accounts.is_system(&exporter),
            context: Arc::downgrade(self),
        })
    }

    /// The open requests into an account, made with the gate that its responses go to.
    fn responses_of(self: &Arc<Self>, account: &Arc<Account>) -> Arc<Responses> {
        if let Some(known) = self.crossing.responses.lock().get(&account.id) {
            return known.clone();
        }
        let responses = Arc::new(Responses::new(account.clone(), Arc::downgrade(self)));
        let pattern = [responses.prefix(), b">"].concat();
        self.subscribe_gate(Arc::new(response::ResponseGate(responses.clone())), account, &pattern);
        self.crossing.responses.lock().insert(account.id, responses.clone());
        responses
    }

    /// Whether the account that a request came from still waits for its response; `None`: the request came from the
    /// account itself.
    pub fn is_awaited(&self, account: &Account, reply: &[u8]) -> Option<bool> {
        let responses = self.crossing.responses.lock().get(&account.id).cloned();
        responses?.is_awaited(reply)
    }

    fn subscribe_gate(&self, gate: Arc<dyn Gate>, account: &Account, subject: &[u8]) -> Arc<Receiver> {
        let (id, cid) = self.registry.new_internal_ids();
        let receiver = Arc::new(Receiver::gate(id, cid, gate));
        subscriptions::subscribe(&receiver, account, subject, b"", b"1", false, None);
        receiver
    }

    /// Requests that are not answered in time are forgotten, and those whose requestors are gone.
    fn start_sweeping(self: &Arc<Self>) {
        let context: Weak<Context> = Arc::downgrade(self);
        let opened = self.crossing.opened.clone();
        self.crossing.started.call_once(|| {
            tasks::spawn(async move {
                let mut wait_ns = None;
                loop {
                    match wait_ns {
                        None => opened.notified().await,
                        Some(ns) => {
                            let ns = Duration::from_nanos(ns);
                            clock::timeout(ns, opened.notified()).await.unwrap_or_default();
                        }
                    }
                    let Some(context) = context.upgrade() else { return };
                    wait_ns = context.sweep();
                }
            });
        });
    }

    /// Gives after how long it is time again.
    fn sweep(&self) -> Option<u64> {
        let all: Vec<_> = self.crossing.responses.lock().values().cloned().collect();
        let now_ns = now_ns();
        let next_ns = all.iter().filter_map(|responses| responses.sweep(now_ns)).min()?;
        let wait_ns = next_ns.saturating_sub(now_ns).min(SWEEP_INTERVAL_NS);
        Some(wait_ns.max(SWEEP_INTERVAL_MIN_NS))
    }
}

/// Enough to tell the subjects of one exporter apart.
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
