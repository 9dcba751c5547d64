//! Requests for backups: what is wrong with them, or the beginning of what then goes on by itself.

use super::Call;
use super::reply::{Body, ok};
use crate::api::reply::{Restoring, Snapshot as Answer};
use crate::api::validate::request::restore;
use crate::server::backup::restore::Restore;
use crate::server::backup::snapshot::Snapshot;

impl Call<'_> {
    /// The answer is published here: chunks follow it.
    pub(super) async fn snapshot(&self, name: &str) -> Option<Body> {
        match self.begin_snapshot(name).await {
            Ok(snapshot) => {
                let Snapshot { beginning, .. } = &snapshot;
                self.answer(ok(self.kind, &Answer { config: &beginning.config, state: &beginning.state }));
                drop(self.server.host.spawn("snapshot", snapshot.send()));
                None
            }
            Err(why) => Some(Err(why)),
        }
    }

    async fn begin_snapshot(&self, name: &str) -> Result<Snapshot, crate::wire::ApiError> {
        self.input.snapshot_allowed()?;
        let stream = self.stream(name)?;
        let request = self.input.snapshot()?;
        Snapshot::begin(self.server, self.account, stream, self.request, request).await
    }

    pub(super) fn restore(&self, name: &str) -> Body {
        let request = self.input.restore()?;
        let config = self.judged(|rules| restore(name, request.config, rules))?;
        let restore = Restore::begin(self.server, self.account, self.request, config)?;
        let body = ok(self.kind, &Restoring { deliver_subject: restore.subject.clone() });
        drop(self.server.host.spawn("restore", restore.run()));
        body
    }
}
