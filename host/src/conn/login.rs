//! CONNECT: who the client is, which account it gets, what it may do. And changes of these later.

use super::session::{Failure, Flags, Session, SessionLimits};
use crate::account::Account;
use crate::auth::permissions::Permissions;
use crate::auth::{
    ConnectFacts, Credentials, Decision, Identity, Recheck, ResponseTracker, UserLabel, Verdict,
};
use crate::conn::context::{LoginFacts, PluginVerdict};
use crate::proto::connect::Connect;
use crate::proto::error::{ClosedReason, ErrText};
use crate::proto::quote::Quoted;
use crate::routing::subscriptions;
use crate::runtime::now_ns;
use natsd_plugin_api::AuthStage;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A client that is about to be closed has so long to read why.
const SUBSCRIPTIONS_LIMIT_DELAY: Duration = Duration::from_millis(20);

impl Session {
    /// Answers a CONNECT, or with `None` lets a client in that speaks without one (CORE-068).
    pub(super) async fn login(&mut self, json: Option<&[u8]>) -> Result<(), Failure> {
        let mut options = self.options_so_far();
        if let Some(json) = json {
            options
                .merge(json)
                .map_err(|e| Failure::silent(ClosedReason::ProtocolViolation, e.to_string()))?;
        }
        // First: who is refused is told of as well.
        self.note_client(&options);
        self.check(&options)?;
        if self.flags.connected {
            let account = self.connection.account.read().clone();
            subscriptions::remove_all(&self.connection.receiver, &account);
        }
        let before = self.entered.then(|| self.connection.account.read().name.clone());
        let identity = self.authenticate(&options).await?;
        self.become_client(&options, json.is_some());
        self.bind(identity)?;
        if json.is_some() {
            self.ok(&self.connection.receiver);
        }
        if let Some(hooks) = self.context.hooks.get() {
            hooks.connected(&self.connection, before.as_deref());
        }
        Ok(())
    }

    fn options_so_far(&self) -> Connect {
        if let Some(options) = &self.credentials {
            return (**options).clone();
        }
        let flags = self.flags;
        if !flags.connected {
            return Connect::default();
        }
        let facts = self.connection.facts.lock();
        Connect {
            verbose: flags.verbose,
            pedantic: flags.pedantic,
            echo: flags.echo,
            headers: flags.headers,
            no_responders: flags.no_responders,
            protocol: flags.async_info as i64,
            name: facts.name.as_str().into(),
            lang: facts.lang.as_str().into(),
            version: facts.version.as_str().into(),
            ..Connect::default()
        }
    }

    fn check(&self, options: &Connect) -> Result<(), Failure> {
        if options.asks_for_sandbox_account() {
            return Err(denied(ClosedReason::AuthenticationFailure, None));
        }
        let server_has_headers = !self.context.options.load().no_header_support;
        options.check(server_has_headers).map_err(|error| {
            let reason = match error {
                ErrText::InvalidClientProtocol => ClosedReason::BadClientProtocolVersion,
                _ => ClosedReason::NoRespondersRequiresHeaders,
            };
            Failure::told(error, reason)
        })
    }

    async fn authenticate(&mut self, options: &Connect) -> Result<Identity, Failure> {
        let facts = self.login_facts(options);
        let context = self.context.clone();
        self.expires_unix_ns = None;
        let hooks = context.hooks.get();
        if let Some(hooks) = hooks.filter(|h| h.has_authenticators(AuthStage::First)) {
            match hooks.authenticate(&facts, None).await {
                PluginVerdict::Abstain | PluginVerdict::Keep { .. } => {}
                PluginVerdict::Allow(identity, expires_unix_ns) => {
                    self.expires_unix_ns = expires_unix_ns;
                    return Ok(identity);
                }
                PluginVerdict::Deny(log) => {
                    return Err(denied(ClosedReason::AuthenticationFailure, Some(log)));
                }
            }
            // Who asks plugins and gets no answer has to know the client itself.
            if !self.context.authenticator().auth_required() {
                return Err(denied(ClosedReason::AuthenticationFailure, None));
            }
        }
        let own = self.decide(&facts).await;
        match hooks.filter(|h| h.has_authenticators(AuthStage::Last)) {
            Some(hooks) => match hooks.authenticate(&facts, Some(own.as_ref().map_err(|f| f.reason))).await {
                PluginVerdict::Abstain => own,
                PluginVerdict::Allow(identity, expires_unix_ns) => {
                    self.expires_unix_ns = expires_unix_ns;
                    Ok(identity)
                }
                PluginVerdict::Deny(log) => {
                    let reason = own.err().map_or(ClosedReason::AuthenticationFailure, |f| f.reason);
                    Err(denied(reason, Some(log)))
                }
                PluginVerdict::Keep { deny_publish } => {
                    own.map(|identity| identity.denying_publish(deny_publish.into()))
                }
            },
            None => own,
        }
    }

    /// The server's own authentication.
    async fn decide(&self, facts: &LoginFacts) -> Result<Identity, Failure> {
        let decision = {
            let maps_certificates = match &self.listener {
                Some(listener) => listener.maps_certificates.load(Relaxed),
                None => self.context.options.load().tls.as_ref().is_some_and(|t| t.verify_and_map),
            };
            if maps_certificates && !facts.connect.user.is_empty() {
                crate::log::warn!(
                    "User {} found in connect proto, but user required from cert",
                    Quoted(facts.connect.user.as_bytes())
                );
            }
            let certificate = facts.certificate();
            self.context.authenticator().decide(&ConnectFacts {
                credentials: Credentials::from(&facts.connect),
                nonce: self.nonce.as_deref().unwrap_or_default(),
                connection_type: facts.connection_type,
                maps_certificates,
                certificate: certificate.as_ref(),
                mapped_types: self.context.mapped_types(),
                listener: self.listener.as_ref().map(|l| &l.auth),
            })
        };
        let decision = match decision {
            // bcrypt takes milliseconds on purpose.
            Decision::NeedsBcrypt(check) => crate::runtime::tasks::blocking(|| check.run()).await,
            decision => Some(decision),
        };
        match decision {
            Some(Decision::Allow(identity)) => Ok(identity),
            Some(Decision::Deny(denial)) => Err(denied(denial.closed_reason(), Some(denial.to_string()))),
            Some(Decision::NeedsBcrypt(_)) | None => Err(denied(ClosedReason::AuthenticationFailure, None)),
        }
    }

    /// Who asks to be let in. What a transport found (cookies) stands in for what CONNECT leaves out
    /// (CORE-067).
    fn login_facts(&self, options: &Connect) -> LoginFacts {
        let mut connect = options.clone();
        if let Some(offered) = &self.offered {
            for (field, offered) in [
                (&mut connect.user, &offered.user),
                (&mut connect.pass, &offered.pass),
                (&mut connect.auth_token, &offered.auth_token),
                (&mut connect.jwt, &offered.jwt),
            ] {
                if field.is_empty() {
                    field.clone_from(offered);
                }
            }
        }
        let nonce = self.nonce.as_deref().unwrap_or_default();
        let proxy_key = self.context.authenticator().trusted_proxy(nonce, &connect.proxy_sig);
        let facts = self.connection.facts.lock();
        LoginFacts {
            connect,
            proxy_key,
            cid: self.connection.receiver.cid,
            nonce: self.nonce.clone(),
            connection_type: facts.connection_type,
            client_type: facts.client_type.clone(),
            remote: format!("{}:{}", facts.ip, facts.port),
            peer_certificates: self.peer_certificates.clone(),
        }
    }

    /// Takes over what CONNECT says.
    fn become_client(&mut self, options: &Connect, explicit: bool) {
        let headers = options.headers && !self.context.options.load().no_header_support;
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
        let has_credentials =
            [&options.user, &options.auth_token, &options.nkey, &options.jwt].iter().any(|s| !s.is_empty());
        self.credentials = has_credentials.then(|| Box::new(options.clone()));
    }

    /// What CONNECT says of the client, shown also when it is not let in.
    fn note_client(&self, options: &Connect) {
        let mut facts = self.connection.facts.lock();
        facts.name = options.name.to_string();
        facts.lang = options.lang.to_string();
        facts.version = options.version.to_string();
        facts.auth_user = match (&*options.nkey, &*options.user, &*options.auth_token) {
            ("", "", "") => String::new(),
            ("", "", _) => "[REDACTED]".to_owned(),
            ("", user, _) => user.to_owned(),
            (nkey, ..) => nkey.to_owned(),
        };
        if facts.rtt_ns == 0 {
            facts.rtt_ns = now_ns().saturating_sub(facts.start_ns).max(1);
        }
    }

    /// Puts the client into its account, with its permissions and limits.
    fn bind(&mut self, identity: Identity) -> Result<(), Failure> {
        let account = self.context.accounts.get_or_create(&identity.account);
        self.move_to(account)?;
        {
            let mut facts = self.connection.facts.lock();
            facts.account = identity.account.to_string();
            facts.user_label = identity.label.to_string();
            facts.user = identity.label.name().unwrap_or_default().to_owned();
            let has_jwt = identity.token.as_ref().is_some_and(|token| !token.jwt.is_empty());
            match &identity.label {
                // By its certificate, or as the `no_auth_user`.
                UserLabel::User(assumed) | UserLabel::Nkey(assumed) if facts.auth_user.is_empty() => {
                    facts.auth_user = assumed.to_string();
                }
                // Whoever decided about it calls it so, whatever it called itself.
                UserLabel::User(given) if identity.is_by_plugin() && !has_jwt => {
                    facts.auth_user = given.to_string();
                }
                _ => {}
            }
            facts.proxy_key.clone_from(&identity.proxy_key);
            facts.tags = identity.tags.clone();
            facts.token.clone_from(&identity.token);
            let label = facts.label(self.connection.receiver.cid);
            self.connection.receiver.label.store(Some(Arc::new(label)));
        }
        self.apply(identity);
        self.leave_at_subscriptions_limit();
        Ok(())
    }

    fn apply(&mut self, identity: Identity) {
        let responses = identity.permissions.as_ref().and_then(|p| p.responses());
        let tracker = responses.map(|r| Box::new(ResponseTracker::new(r)));
        self.connection.receiver.out.lock().responses = tracker;
        let permissions = match (&identity.permissions, &*identity.publish_denied) {
            (permissions, []) => permissions.clone(),
            (permissions, denied) => match Permissions::denying_publish(permissions.as_deref(), denied) {
                Ok(permissions) => Some(Arc::new(permissions)),
                Err(error) => {
                    crate::log::error!("A plugin denies what is no subject: {error}");
                    permissions.clone()
                }
            },
        };
        {
            let mut facts = self.connection.facts.lock();
            facts.permissions.clone_from(&permissions);
            facts.expires_unix_ns = self.expires_unix_ns;
        }
        self.set_permissions(permissions);
        self.user_limits = identity.limits;
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
                return Err(too_many_of_account());
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
        let user = self.user_limits;
        let least = |server: Option<usize>, account: Option<u32>, user: Option<u32>| {
            [server, account.map(|a| a as usize), user.map(|u| u as usize)].into_iter().flatten().min()
        };
        self.limits = SessionLimits {
            max_payload_bytes: least(
                Some(options.limits.max_payload_bytes),
                own.max_payload_bytes,
                user.max_payload_bytes,
            )
            .unwrap_or(options.limits.max_payload_bytes),
            max_control_line_bytes: options.limits.max_control_line_bytes,
            max_subscriptions: least(
                options.limits.max_subscriptions,
                own.max_subscriptions,
                user.max_subscriptions,
            ),
            max_sub_tokens: options.limits.max_sub_tokens,
            msg_trace: own.msg_trace.is_some(),
        };
    }

    /// Users, permissions or limits changed: is this client still allowed, and to what (CFG-147)?
    pub(super) async fn recheck(&mut self) -> Result<(), Failure> {
        self.refresh_limits();
        let no_stall = self.context.options.load().no_fast_producer_stall;
        self.connection.receiver.out.lock().drop_when_stalled = no_stall;
        self.forget();
        if self.is_unpinned() {
            let reason = ClosedReason::TlsHandshakeFailure;
            return Err(Failure { error: None, reason, log: None });
        }
        let Some(mut identity) = self.identity.take() else { return Ok(()) };
        if let Some(permissions) = self.connection.new_permissions.lock().take() {
            identity.permissions = permissions;
        }
        let publish_denied = identity.publish_denied.clone();
        let listener = self.listener.clone();
        let recheck = self.context.authenticator().re_check(&identity, listener.as_ref().map(|l| &l.auth));
        let kept = match recheck {
            Recheck::Keep(identity) => Ok(identity),
            Recheck::AccountChanged | Recheck::Gone => {
                return Err(Failure { error: None, reason: ClosedReason::ClientClosed, log: None });
            }
            Recheck::Refuse(denial) => Err(denial),
            Recheck::NeedsBcrypt(check) => match crate::runtime::tasks::blocking(|| check.run()).await {
                Some(Decision::Allow(identity)) => Ok(identity),
                Some(Decision::Deny(denial)) => Err(denial),
                _ => return Err(denied(ClosedReason::AuthenticationFailure, None)),
            },
        };
        let identity = kept.map_err(|denial| denied(denial.closed_reason(), Some(denial.to_string())))?;
        let by_plugin = identity.is_by_plugin();
        self.apply(identity.denying_publish(publish_denied));
        // Whoever defines the account by claims says who has to go.
        if !by_plugin && self.entered && !self.connection.account.read().stay() {
            self.entered = false;
            return Err(too_many_of_account());
        }
        self.remove_forbidden();
        self.leave_at_subscriptions_limit();
        Ok(())
    }

    /// Who has as many subscriptions as claims allow, or more, has to go (JWT-057). The client reads why first.
    fn leave_at_subscriptions_limit(&self) {
        let by_plugin = self.identity.as_ref().is_some_and(|identity| identity.is_by_plugin());
        let count = self.connection.receiver.subs.lock().len();
        let is_at_limit = self.limits.max_subscriptions.is_some_and(|max| count >= max);
        if !by_plugin || !is_at_limit {
            return;
        }
        self.connection.receiver.send(&ErrText::MaximumSubscriptions.line());
        let connection = self.connection.clone();
        crate::runtime::tasks::spawn(async move {
            crate::runtime::clock::sleep(SUBSCRIPTIONS_LIMIT_DELAY).await;
            connection.close(ClosedReason::MaximumSubscriptions);
        });
    }

    /// Its certificate is not among the pinned ones any more (CFG-069).
    fn is_unpinned(&self) -> bool {
        let Some(tls) = self.context.tls.load_full() else { return false };
        let pins = tls.pins();
        let chain: Vec<_> = self.peer_certificates.iter().map(|c| c.as_slice().into()).collect();
        self.layered && self.listener.is_none() && !pins.is_empty() && !pins.allow(&chain)
    }

    /// Subscriptions that the new permissions do not allow (CORE-125).
    fn remove_forbidden(&mut self) {
        let Some(permissions) = self.permissions.clone() else { return };
        let account = self.connection.account.read().clone();
        let receiver = &self.connection.receiver;
        let removed = subscriptions::review(receiver, &account, |subject, queue| {
            match permissions.may_subscribe(subject, (!queue.is_empty()).then_some(queue)) {
                Verdict::Refused => None,
                verdict => Some(verdict == Verdict::Filtered),
            }
        });

        for s in removed {
            let queue = (!s.queue.is_empty()).then_some(&s.queue[..]);
            let error = ErrText::SubscriptionRemoved { subject: &s.subject, queue, sid: &s.sid };
            receiver.send(&error.line());
            let user = self.connection.facts.lock().user.clone();
            crate::log::notice!(
                "Removed sub {} (sid {}) for {user} - not authorized",
                crate::proto::quote::Quoted(&s.subject),
                crate::proto::quote::Quoted(&s.sid),
            );
        }
    }

    /// The connection is gone: out of its account.
    pub(super) fn leave(&mut self, account: &Account, reason: ClosedReason) {
        if std::mem::take(&mut self.entered) {
            account.leave();
        }
        if matches!(reason, ClosedReason::SlowConsumerPendingBytes | ClosedReason::SlowConsumerWriteDeadline)
        {
            account.slow_consumers.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn log_close(&self, failure: &Failure, reason: ClosedReason) {
        let receiver = &self.connection.receiver;
        if reason == ClosedReason::SlowConsumerPendingBytes {
            self.context.slow_consumers.fetch_add(1, Relaxed);
            let max = receiver.out.lock().max_pending_bytes;
            let label = receiver.label();
            crate::log::notice!("{label} - Slow Consumer Detected: MaxPending of {max} Exceeded");
        }
        // One line is enough: what is meant for the log says more.
        if let (Some(error), None) = (&failure.error, &failure.log) {
            crate::log::error!("{} - {error}", receiver.label());
        }
        // Who did not get through a transport's handshake was no client.
        if self.listener.is_none() || self.layer_open {
            crate::log::debug!("{} - Client connection closed: {reason}", receiver.label());
        }
    }
}

fn too_many_of_account() -> Failure {
    Failure::told(ErrText::MaximumAccountConnections, ClosedReason::MaximumAccountConnections)
}

/// All failures look the same to the client (AUTH-004).
fn denied(reason: ClosedReason, log: Option<String>) -> Failure {
    let log = log.unwrap_or_else(|| "authentication error".to_owned());
    Failure { error: Some(ErrText::AuthorizationViolation), reason, log: Some(log) }
}
