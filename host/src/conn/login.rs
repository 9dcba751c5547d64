//! CONNECT: who the client is, which account it gets, what it may do. And changes of these later.

use super::session::{Failure, Flags, Session, SessionLimits};
use crate::account::Account;
use crate::auth::{ConnectFacts, Decision, Identity};
use crate::proto::connect::ConnectOptions;
use crate::proto::error::{ClosedReason, ProtoError};
use crate::proto::info::ClientInfo;
use crate::routing::subscriptions;
use crate::runtime::now_ns;
use std::sync::Arc;

impl Session {
    /// Answers a CONNECT, or with `None` lets a client in that speaks without one (CORE-068).
    pub(super) async fn login(&mut self, json: Option<&[u8]>) -> Result<(), Failure> {
        let mut options = self.options_so_far();
        if let Some(json) = json {
            options.merge(json).map_err(|e| {
                Failure::silent(ClosedReason::ProtocolViolation, format!("CONNECT: {e}"))
            })?;
        }
        self.check(&options)?;
        if self.flags.connected {
            let account = self.connection.account.read().clone();
            subscriptions::remove_all(&self.connection.receiver, &account);
        }
        let identity = self.authenticate(&options).await?;
        self.become_client(&options, json.is_some());
        self.bind(identity)?;
        if json.is_some() {
            self.ok(&self.connection.receiver);
        }
        if let Some(hooks) = self.context.hooks.get() {
            hooks.connected(&self.connection);
        }
        Ok(())
    }

    fn options_so_far(&self) -> ConnectOptions {
        if let Some(options) = &self.credentials {
            return (**options).clone();
        }
        let flags = self.flags;
        if !flags.connected {
            return ConnectOptions::default();
        }
        let facts = self.connection.facts.lock();
        ConnectOptions {
            verbose: flags.verbose,
            pedantic: flags.pedantic,
            echo: flags.echo,
            headers: flags.headers,
            no_responders: flags.no_responders,
            protocol: flags.async_info as i64,
            name: facts.name.clone(),
            lang: facts.lang.clone(),
            version: facts.version.clone(),
            ..ConnectOptions::default()
        }
    }

    fn check(&self, options: &ConnectOptions) -> Result<(), Failure> {
        if !(0..=1).contains(&options.protocol) {
            return Err(Failure::told(
                ProtoError::InvalidClientProtocol,
                ClosedReason::BadClientProtocolVersion,
            ));
        }
        if options.no_responders && !(options.headers && self.context.info.load().server.headers) {
            return Err(Failure::told(
                ProtoError::NoRespondersRequiresHeaders,
                ClosedReason::NoRespondersRequiresHeaders,
            ));
        }
        if options.wants_account {
            return Err(denied(ClosedReason::AuthenticationFailure, None));
        }
        Ok(())
    }

    async fn authenticate(&self, options: &ConnectOptions) -> Result<Identity, Failure> {
        let authenticator = self.context.authenticator();
        let hooks = self.context.hooks.get().filter(|h| h.has_authenticators());
        if !authenticator.auth_required() && hooks.is_none() {
            return Ok(Identity::anonymous());
        }
        let facts = self.connect_facts(options);
        if let Some(hooks) = hooks {
            match hooks.authenticate(&facts).await {
                Some(Decision::Allow(identity)) => return Ok(identity),
                Some(Decision::Deny(denial)) => return Err(denied(denial.reason, Some(denial.log))),
                None if !authenticator.auth_required() => {
                    return Err(denied(ClosedReason::AuthenticationFailure, None));
                }
                None => {}
            }
        }
        let decision = if authenticator.is_slow(&facts) {
            // bcrypt takes milliseconds on purpose.
            let authenticator = authenticator.clone();
            crate::runtime::tasks::blocking(move || authenticator.decide(&facts)).await
        } else {
            Some(authenticator.decide(&facts))
        };
        match decision {
            Some(Decision::Allow(identity)) => Ok(identity),
            Some(Decision::Deny(denial)) => Err(denied(denial.reason, Some(denial.log))),
            None => Err(denied(ClosedReason::AuthenticationFailure, None)),
        }
    }

    fn connect_facts(&self, options: &ConnectOptions) -> ConnectFacts {
        let facts = self.connection.facts.lock();
        let mut options = options.clone();
        if let Some(offered) = &self.offered {
            for (field, offered) in [
                (&mut options.user, &offered.user),
                (&mut options.pass, &offered.pass),
                (&mut options.auth_token, &offered.auth_token),
                (&mut options.jwt, &offered.jwt),
            ] {
                if field.is_empty() {
                    field.clone_from(offered);
                }
            }
        }
        let peer_certificates = self.peer_certificates.clone();
        ConnectFacts {
            options,
            nonce: self.nonce.as_deref().unwrap_or_default().to_owned(),
            connection_type: facts.connection_type.clone(),
            client_type: facts.client_type.clone(),
            ip: facts.ip.clone(),
            port: facts.port,
            cid: self.connection.receiver.cid,
            peer_certificates,
        }
    }

    /// Takes over what CONNECT says.
    fn become_client(&mut self, options: &ConnectOptions, explicit: bool) {
        let headers = options.headers && self.context.info.load().server.headers;
        self.flags = Flags {
            verbose: options.verbose,
            pedantic: options.pedantic,
            echo: options.echo,
            headers,
            no_responders: options.no_responders,
            expects_connect: false,
            connected: explicit || self.flags.connected,
            async_info: options.protocol >= 1,
            system_account: false,
        };
        self.connection.receiver.out.lock().headers = headers;
        let has_credentials = [&options.user, &options.auth_token, &options.nkey, &options.jwt]
            .iter()
            .any(|s| !s.is_empty());
        self.credentials = has_credentials.then(|| Box::new(options.clone()));
        let mut facts = self.connection.facts.lock();
        facts.name.clone_from(&options.name);
        facts.lang.clone_from(&options.lang);
        facts.version.clone_from(&options.version);
        if facts.rtt_ns == 0 {
            facts.rtt_ns = now_ns().saturating_sub(facts.start_ns).max(1);
        }
    }

    /// Puts the client into its account, with its permissions and limits.
    fn bind(&mut self, identity: Identity) -> Result<(), Failure> {
        let account = match &identity.account {
            None => self.context.accounts.global.clone(),
            Some(name) => self.context.accounts.get_or_create(name),
        };
        self.move_to(account)?;
        {
            let mut facts = self.connection.facts.lock();
            facts.account = self.connection.account.read().name.to_string();
            facts.user_label.clone_from(&identity.label);
            facts.user.clone_from(&identity.user);
            let label = facts.label(self.connection.receiver.cid);
            self.connection.receiver.label.store(Some(Arc::new(label)));
        }
        self.apply(identity);
        Ok(())
    }

    fn apply(&mut self, identity: Identity) {
        let responses = identity.permissions.as_ref().and_then(|p| p.response_tracker());
        self.connection.receiver.out.lock().responses = responses.map(Box::new);
        self.set_permissions(identity.permissions.clone());
        self.refresh_limits();
        self.identity = Some(Box::new(identity));
    }

    fn move_to(&mut self, account: Arc<Account>) -> Result<(), Failure> {
        let current = self.connection.account.read().clone();
        if current.id != account.id || !self.entered {
            if self.entered {
                current.leave();
                self.entered = false;
            }
            if !account.enter() {
                return Err(Failure::told(
                    ProtoError::MaximumAccountConnectionsExceeded,
                    ClosedReason::MaximumAccountConnectionsExceeded,
                ));
            }
            self.entered = true;
            *self.connection.account.write() = account.clone();
        }
        self.flags.system_account = self.context.accounts.is_system(&account);
        self.forget();
        Ok(())
    }

    /// The limits of server and account as they are now.
    pub(super) fn refresh_limits(&mut self) {
        let options = self.context.options.load();
        let account = self.connection.account.read().clone();
        let own = account.limits();
        let least = |server: Option<usize>, account: Option<u32>| match (server, account) {
            (Some(a), Some(b)) => Some(a.min(b as usize)),
            (a, b) => a.or(b.map(|b| b as usize)),
        };
        self.limits = SessionLimits {
            max_payload_bytes: least(Some(options.limits.max_payload_bytes), own.max_payload_bytes)
                .unwrap_or(options.limits.max_payload_bytes),
            max_control_line_bytes: options.limits.max_control_line_bytes,
            max_subscriptions: least(options.limits.max_subscriptions, own.max_subscriptions),
            max_sub_tokens: options.limits.max_sub_tokens,
        };
    }

    /// Users, permissions or limits changed: is this client still allowed, and to what (CFG-147)?
    pub(super) fn recheck(&mut self) -> Result<(), Failure> {
        self.refresh_limits();
        let no_stall = self.context.options.load().no_fast_producer_stall;
        self.connection.receiver.out.lock().drop_when_stalled = no_stall;
        self.forget();
        let Some(identity) = self.identity.take() else { return Ok(()) };
        let authenticator = self.context.authenticator();
        match authenticator.recheck(&identity) {
            None => Err(denied(ClosedReason::AuthenticationFailure, None)),
            Some(new) if new.account != identity.account => {
                Err(Failure { error: None, reason: ClosedReason::ClientClosed, log: None })
            }
            Some(new) => {
                self.apply(new);
                self.remove_forbidden();
                Ok(())
            }
        }
    }

    /// Subscriptions that the new permissions do not allow (CORE-125).
    fn remove_forbidden(&mut self) {
        let Some(permissions) = self.permissions.clone() else { return };
        let account = self.connection.account.read().clone();
        let receiver = &self.connection.receiver;
        let removed = subscriptions::retain(receiver, &account, |subject, queue| {
            permissions.may_subscribe(subject, (!queue.is_empty()).then_some(queue))
        });

        account.changed();
        for s in removed {
            let queue = (!s.queue.is_empty()).then_some(&s.queue[..]);
            let error = ProtoError::subscription_removed(&s.subject, queue, &s.sid);
            receiver.send(error.line().as_bytes());
            let user = self.connection.facts.lock().user.clone();
            crate::log::notice!(
                "Removed sub {} (sid {}) for {user} - not authorized",
                crate::proto::quote::quoted(&s.subject),
                crate::proto::quote::quoted(&s.sid),
            );
        }
    }

    /// The INFO that follows the first PONG (CORE-041).
    pub(super) fn send_connect_info(&self, account: &Account, me: &crate::routing::Receiver) {
        let line = self.info_line(Some((&account.name, self.flags.system_account)));
        me.send(&line);
    }

    /// INFO because something changed (CORE-042, CORE-043).
    pub(super) fn send_info(&self) {
        self.connection.receiver.send(&self.info_line(None));
    }

    pub(super) fn info_line(&self, connect_info: Option<(&str, bool)>) -> Vec<u8> {
        let template = self.context.info.load();
        let server = &template.server;
        let facts = self.connection.facts.lock();
        let before_login = self.identity.is_none();
        let hides_ip = before_login && self.context.options.load().proxy_protocol;
        template.line(&ClientInfo {
            client_id: self.connection.receiver.cid,
            client_ip: (!hides_ip).then_some(facts.ip.as_str()),
            nonce: if before_login { self.nonce.as_deref() } else { None },
            auth_required: server.auth_required
                && !(before_login && self.context.authenticator().has_no_auth_user()),
            tls_required: self.shown_tls.0,
            tls_available: self.shown_tls.1,
            max_payload: self.limits.max_payload_bytes,
            lame_duck: self.context.lame_duck.load(std::sync::atomic::Ordering::Relaxed),
            connect_info,
        })
    }

    /// The handshake of TLS or a transport is over.
    pub(super) fn layer_opened(&mut self) {
        self.layer_open = true;
        self.note_layer();
        if std::mem::take(&mut self.info_after_handshake) {
            let line = self.info_line(None);
            self.connection.receiver.send(&line);
        }
    }

    /// The connection is gone: out of its account.
    pub(super) fn leave(&mut self, account: &Account, reason: ClosedReason) {
        if std::mem::take(&mut self.entered) {
            account.leave();
        }
        if matches!(
            reason,
            ClosedReason::SlowConsumerPendingBytes | ClosedReason::SlowConsumerWriteDeadline
        ) {
            account.slow_consumers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    pub(super) fn log_close(&self, failure: &Failure, reason: ClosedReason) {
        let receiver = &self.connection.receiver;
        if reason == ClosedReason::SlowConsumerPendingBytes {
            self.context.slow_consumers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let max = receiver.out.lock().max_pending_bytes;
            crate::log::notice!(
                "{} - Slow Consumer Detected: MaxPending of {max} Exceeded",
                receiver.label()
            );
        }
        if let Some(error) = &failure.error {
            crate::log::error!("{} - {error}", receiver.label());
        }
        crate::log::debug!("{} - Client connection closed: {reason}", receiver.label());
    }
}

/// All failures look the same to the client (AUTH-004).
fn denied(reason: ClosedReason, log: Option<String>) -> Failure {
    Failure { error: Some(ProtoError::AuthorizationViolation), reason, log }
}
