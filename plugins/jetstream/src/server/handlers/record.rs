//! What is kept of a request until it is answered, to count the answer (JS-290) and to tell of it (JS-012).

use crate::api::advisory::Advisory;
use crate::api::subject::Audited;
use crate::server::Server;
use crate::server::account::Account;
use crate::server::queue::Request;
use crate::server::requestor::requestor;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub(super) struct Record {
    server: Arc<Server>,
    account: Arc<Account>,
    audited: Audited,
    subject: Bytes,
    headers: Bytes,
    body: Bytes,
    connection: u64,
}

impl Record {
    pub fn new(server: &Arc<Server>, request: &Request, audited: Audited) -> Self {
        Self {
            server: server.clone(),
            account: request.account.clone(),
            audited,
            subject: request.subject.clone(),
            headers: request.headers.clone(),
            body: request.body.clone(),
            connection: request.connection,
        }
    }

    /// Counts the answer. What is told of it, unless nobody listens.
    pub fn answered(&self, is_error: bool, text: &[u8]) -> Option<Advisory> {
        let is_noted = match self.audited {
            Audited::Always => true,
            Audited::Errors => is_error,
            Audited::Never => false,
        };
        if !is_noted {
            return None;
        }
        self.account.api_total.fetch_add(1, Relaxed);
        if is_error {
            self.account.api_errors.fetch_add(1, Relaxed);
        }
        if !self.server.has_listener(&self.account.name, Advisory::AUDIT_SUBJECT) {
            return None;
        }
        let server = &self.server.identity.name;
        let client = requestor(&self.server.host, server, self.connection, &self.headers);
        let subject = String::from_utf8_lossy(&self.subject);
        Some(Advisory::audit(server, &client, &subject, &self.body, text))
    }

    /// The text of an advisory.
    pub fn text_of(&self, advisory: &Advisory) -> Vec<u8> {
        self.server.text_of(advisory)
    }
}
