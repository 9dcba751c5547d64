//! INFO as one client is told it, at the start and whenever something changed. What all are told is in `proto/info`.

use super::session::Session;
use crate::proto::info::{ClientInfo, ConnectedInfo};
use std::sync::atomic::Ordering::Relaxed;

impl Session {
    /// INFO because something changed (CORE-042, CORE-043).
    pub(super) fn send_info(&self) {
        self.connection.receiver.send(&self.info_line(None));
    }

    /// The same INFO, with the flag that others get when the whole server goes.
    pub(super) fn send_lame_duck_info(&self) {
        let mut line = self.info_line(None);
        let is_told = self.context.lame_duck.load(Relaxed);
        if !is_told && let Some(end) = line.iter().rposition(|byte| *byte == b'}') {
            line.splice(end..end, *b",\"ldm\":true");
        }
        self.connection.receiver.send(&line);
    }

    pub(super) fn info_line(&self, connected: Option<(&str, bool)>) -> Vec<u8> {
        let template = match &self.listener {
            Some(listener) => listener.info.load_full(),
            None => self.context.info.load_full(),
        };
        let facts = self.connection.facts.lock();
        let before_login = self.identity.is_none();
        let hides_ip = before_login && self.context.options.load().proxy_protocol;
        let mut line = Vec::with_capacity(512);
        let client = ClientInfo {
            client_id: self.connection.receiver.cid,
            client_ip: (!hides_ip).then_some(facts.ip.as_str()),
            nonce: if before_login { self.nonce.as_deref() } else { None },
            max_payload_bytes: self.limits.max_payload_bytes as u64,
            // Only on the server's own port (CORE-018).
            hide_auth_required: before_login
                && self.listener.is_none()
                && self.context.authenticator().hides_auth_required(),
            connected: connected
                .map(|(account, is_system_account)| ConnectedInfo { account, is_system_account }),
        };
        template.write(&client, &mut line);
        line
    }
}
