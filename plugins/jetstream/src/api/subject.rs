//! Which request a subject asks for (JS-020 to JS-047), and the type of its reply.

/// What comes before every request's name.
pub const PREFIX: &str = "$JS.API.";

/// A request with the names in its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    AccountInfo,
    StreamCreate {
        stream: &'a str,
    },
    StreamUpdate {
        stream: &'a str,
    },
    StreamNames,
    StreamList,
    StreamInfo {
        stream: &'a str,
    },
    StreamDelete {
        stream: &'a str,
    },
    StreamPurge {
        stream: &'a str,
    },
    StreamSnapshot {
        stream: &'a str,
    },
    StreamRestore {
        stream: &'a str,
    },
    MsgGet {
        stream: &'a str,
    },
    MsgDelete {
        stream: &'a str,
    },
    DirectGet {
        stream: &'a str,
    },
    DirectGetLast {
        stream: &'a str,
        subject: &'a str,
    },
    ConsumerCreate(ConsumerPath<'a>),
    ConsumerNames {
        stream: &'a str,
    },
    ConsumerList {
        stream: &'a str,
    },
    ConsumerInfo {
        stream: &'a str,
        consumer: &'a str,
    },
    ConsumerDelete {
        stream: &'a str,
        consumer: &'a str,
    },
    ConsumerPause {
        stream: &'a str,
        consumer: &'a str,
    },
    ConsumerUnpin {
        stream: &'a str,
        consumer: &'a str,
    },
    ConsumerReset {
        stream: &'a str,
        consumer: &'a str,
    },
    ConsumerNext {
        stream: &'a str,
        consumer: &'a str,
    },
    /// Of what only a cluster has; one server alone refuses it (JS-047).
    Cluster(ClusterRequest),
    /// Of the system account; elsewhere, and on one server alone, not answered (JS-039 to JS-045).
    System(SystemRequest<'a>),
}

/// How a consumer to create is named (JC-001, JC-004).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerPath<'a> {
    LegacyEphemeral {
        stream: &'a str,
    },
    LegacyDurable {
        stream: &'a str,
        consumer: &'a str,
    },
    /// `filter` is empty when the subject has none.
    Named {
        stream: &'a str,
        consumer: &'a str,
        filter: &'a str,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterRequest {
    StreamLeaderStepdown,
    StreamPeerRemove,
    StreamPeerEvacuate,
    StreamCancelMove,
    ConsumerLeaderStepdown,
    ConsumerPeerRemove,
    ConsumerPeerEvacuate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemRequest<'a> {
    MetaLeaderStepdown,
    MetaRescue,
    ServerRemove,
    ServerEvacuate,
    AccountPurge { account: &'a str },
    StreamMove { account: &'a str, stream: &'a str },
    StreamCancelMove { account: &'a str, stream: &'a str },
}

impl<'a> Request<'a> {
    /// None: no request, so nobody answers (JS-009).
    pub fn parse(subject: &'a [u8]) -> Option<Self> {
        let name = std::str::from_utf8(subject).ok()?.strip_prefix(PREFIX)?;
        let (family, rest) = name.split_once('.').unwrap_or((name, ""));
        match family {
            "INFO" if rest.is_empty() => Some(Self::AccountInfo),
            "STREAM" => Self::stream(rest),
            "CONSUMER" => Self::consumer(rest),
            // Nobody listens there.
            "DIRECT" if rest == "GET" => Some(Self::DirectGet { stream: "" }),
            "DIRECT" => {
                let target = rest.strip_prefix("GET.")?;
                Some(match target.split_once('.') {
                    None => Self::DirectGet { stream: token(target)? },
                    Some((stream, subject)) => Self::DirectGetLast { stream, subject },
                })
            }
            "META" | "SERVER" | "ACCOUNT" => SystemRequest::parse(family, rest).map(Self::System),
            _ => None,
        }
    }

    fn stream(rest: &'a str) -> Option<Self> {
        match rest {
            "NAMES" => return Some(Self::StreamNames),
            "LIST" => return Some(Self::StreamList),
            _ => {}
        }
        let (action, stream) = rest.rsplit_once('.')?;
        let stream = token(stream)?;
        Some(match action {
            "CREATE" => Self::StreamCreate { stream },
            "UPDATE" => Self::StreamUpdate { stream },
            "INFO" => Self::StreamInfo { stream },
            "DELETE" => Self::StreamDelete { stream },
            "PURGE" => Self::StreamPurge { stream },
            "SNAPSHOT" => Self::StreamSnapshot { stream },
            "RESTORE" => Self::StreamRestore { stream },
            "MSG.GET" => Self::MsgGet { stream },
            "MSG.DELETE" => Self::MsgDelete { stream },
            "LEADER.STEPDOWN" => Self::Cluster(ClusterRequest::StreamLeaderStepdown),
            "PEER.REMOVE" => Self::Cluster(ClusterRequest::StreamPeerRemove),
            "PEER.EVACUATE" => Self::Cluster(ClusterRequest::StreamPeerEvacuate),
            "CANCEL_MOVE" => Self::Cluster(ClusterRequest::StreamCancelMove),
            _ => return None,
        })
    }

    fn consumer(rest: &'a str) -> Option<Self> {
        if let Some(path) = rest.strip_prefix("CREATE.") {
            return ConsumerPath::named(path).map(Self::ConsumerCreate);
        }
        if let Some(stream) = rest.strip_prefix("NAMES.") {
            return Some(Self::ConsumerNames { stream: token(stream)? });
        }
        if let Some(stream) = rest.strip_prefix("LIST.") {
            return Some(Self::ConsumerList { stream: token(stream)? });
        }
        if let Some(path) = rest.strip_prefix("MSG.NEXT.") {
            // Whatever follows: where there is no such consumer nobody listens.
            let (stream, consumer) = path.split_once('.').unwrap_or((path, ""));
            return Some(Self::ConsumerNext { stream, consumer });
        }
        let (rest, consumer) = rest.rsplit_once('.')?;
        let (action, stream) = rest.rsplit_once('.')?;
        let (stream, consumer) = (token(stream)?, token(consumer)?);
        Some(match action {
            "DURABLE.CREATE" => Self::ConsumerCreate(ConsumerPath::LegacyDurable { stream, consumer }),
            "INFO" => Self::ConsumerInfo { stream, consumer },
            "DELETE" => Self::ConsumerDelete { stream, consumer },
            "PAUSE" => Self::ConsumerPause { stream, consumer },
            "UNPIN" => Self::ConsumerUnpin { stream, consumer },
            "RESET" => Self::ConsumerReset { stream, consumer },
            "LEADER.STEPDOWN" => Self::Cluster(ClusterRequest::ConsumerLeaderStepdown),
            "PEER.REMOVE" => Self::Cluster(ClusterRequest::ConsumerPeerRemove),
            "PEER.EVACUATE" => Self::Cluster(ClusterRequest::ConsumerPeerEvacuate),
            _ => return None,
        })
    }

    /// The type of the reply, also of one that is an error (JS-001). Empty for those that do not answer in JSON.
    pub fn reply_type(&self) -> &'static str {
        match self {
            Self::AccountInfo => "io.nats.jetstream.api.v1.account_info_response",
            Self::StreamCreate { .. } => "io.nats.jetstream.api.v1.stream_create_response",
            Self::StreamUpdate { .. } => "io.nats.jetstream.api.v1.stream_update_response",
            Self::StreamNames => "io.nats.jetstream.api.v1.stream_names_response",
            Self::StreamList => "io.nats.jetstream.api.v1.stream_list_response",
            Self::StreamInfo { .. } => "io.nats.jetstream.api.v1.stream_info_response",
            Self::StreamDelete { .. } => "io.nats.jetstream.api.v1.stream_delete_response",
            Self::StreamPurge { .. } => "io.nats.jetstream.api.v1.stream_purge_response",
            Self::StreamSnapshot { .. } => "io.nats.jetstream.api.v1.stream_snapshot_response",
            Self::StreamRestore { .. } => "io.nats.jetstream.api.v1.stream_restore_response",
            Self::MsgGet { .. } => "io.nats.jetstream.api.v1.stream_msg_get_response",
            Self::MsgDelete { .. } => "io.nats.jetstream.api.v1.stream_msg_delete_response",
            Self::ConsumerCreate(_) => "io.nats.jetstream.api.v1.consumer_create_response",
            Self::ConsumerNames { .. } => "io.nats.jetstream.api.v1.consumer_names_response",
            Self::ConsumerList { .. } => "io.nats.jetstream.api.v1.consumer_list_response",
            Self::ConsumerInfo { .. } => "io.nats.jetstream.api.v1.consumer_info_response",
            Self::ConsumerDelete { .. } => "io.nats.jetstream.api.v1.consumer_delete_response",
            Self::ConsumerPause { .. } => "io.nats.jetstream.api.v1.consumer_pause_response",
            Self::ConsumerUnpin { .. } => "io.nats.jetstream.api.v1.consumer_unpin_response",
            Self::ConsumerReset { .. } => "io.nats.jetstream.api.v1.consumer_reset_response",
            Self::Cluster(request) => request.reply_type(),
            Self::System(request) => request.reply_type(),
            Self::DirectGet { .. } | Self::DirectGetLast { .. } | Self::ConsumerNext { .. } => "",
        }
    }

    /// Whether it only looks: such requests wait in a queue of their own, behind the others (JS-010).
    pub fn is_info(&self) -> bool {
        matches!(
            self,
            Self::AccountInfo
                | Self::StreamNames
                | Self::StreamList
                | Self::StreamInfo { .. }
                | Self::ConsumerNames { .. }
                | Self::ConsumerList { .. }
                | Self::ConsumerInfo { .. }
        )
    }

    /// Whether an answer is counted and told in an audit advisory (JS-012).
    pub fn audited(&self) -> Audited {
        match self {
            Self::MsgGet { .. } => Audited::Errors,
            Self::DirectGet { .. }
            | Self::DirectGetLast { .. }
            | Self::ConsumerNext { .. }
            | Self::ConsumerReset { .. } => Audited::Never,
            _ => Audited::Always,
        }
    }
}

/// Which answers are counted and told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audited {
    Always,
    Errors,
    Never,
}

impl<'a> ConsumerPath<'a> {
    fn named(path: &'a str) -> Option<Self> {
        let Some((stream, rest)) = path.split_once('.') else {
            return Some(Self::LegacyEphemeral { stream: token(path)? });
        };
        let (consumer, filter) = rest.split_once('.').unwrap_or((rest, ""));
        Some(Self::Named { stream: token(stream)?, consumer: token(consumer)?, filter })
    }

    pub fn stream(&self) -> &'a str {
        match self {
            Self::LegacyEphemeral { stream }
            | Self::LegacyDurable { stream, .. }
            | Self::Named { stream, .. } => stream,
        }
    }
}

impl ClusterRequest {
    fn reply_type(self) -> &'static str {
        match self {
            Self::StreamLeaderStepdown => "io.nats.jetstream.api.v1.stream_leader_stepdown_response",
            Self::StreamPeerRemove => "io.nats.jetstream.api.v1.stream_remove_peer_response",
            Self::StreamPeerEvacuate => "io.nats.jetstream.api.v1.stream_evacuate_peer_response",
            Self::StreamCancelMove => "io.nats.jetstream.api.v1.stream_cancel_move_response",
            Self::ConsumerLeaderStepdown => "io.nats.jetstream.api.v1.consumer_leader_stepdown_response",
            Self::ConsumerPeerRemove => "io.nats.jetstream.api.v1.consumer_remove_peer_response",
            Self::ConsumerPeerEvacuate => "io.nats.jetstream.api.v1.consumer_evacuate_peer_response",
        }
    }
}

impl<'a> SystemRequest<'a> {
    fn parse(family: &str, rest: &'a str) -> Option<Self> {
        match (family, rest) {
            ("META", "LEADER.STEPDOWN") => return Some(Self::MetaLeaderStepdown),
            ("META", "RESCUE") => return Some(Self::MetaRescue),
            ("SERVER", "REMOVE") => return Some(Self::ServerRemove),
            ("SERVER", "EVACUATE") => return Some(Self::ServerEvacuate),
            ("ACCOUNT", _) => {}
            _ => return None,
        }
        if let Some(account) = rest.strip_prefix("PURGE.") {
            return Some(Self::AccountPurge { account: token(account)? });
        }
        let (rest, stream) = rest.rsplit_once('.')?;
        let (action, account) = rest.rsplit_once('.')?;
        let (account, stream) = (token(account)?, token(stream)?);
        match action {
            "STREAM.MOVE" => Some(Self::StreamMove { account, stream }),
            "STREAM.CANCEL_MOVE" => Some(Self::StreamCancelMove { account, stream }),
            _ => None,
        }
    }

    fn reply_type(self) -> &'static str {
        match self {
            Self::MetaLeaderStepdown => "io.nats.jetstream.api.v1.meta_leader_stepdown_response",
            Self::MetaRescue => "io.nats.jetstream.api.v1.meta_rescue_response",
            Self::ServerRemove | Self::ServerEvacuate => {
                "io.nats.jetstream.api.v1.meta_server_remove_response"
            }
            Self::AccountPurge { .. } => "io.nats.jetstream.api.v1.account_purge_response",
            Self::StreamMove { .. } | Self::StreamCancelMove { .. } => {
                "io.nats.jetstream.api.v1.stream_update_response"
            }
        }
    }
}

/// One token, not empty.
fn token(text: &str) -> Option<&str> {
    (!text.is_empty() && !text.contains('.')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::{ClusterRequest, ConsumerPath, Request, SystemRequest};

    fn parse(name: &str) -> Option<Request<'_>> {
        Request::parse(name.as_bytes())
    }

    #[test]
    fn subjects_of_requests() {
        // JS-020 to JS-047
        for (subject, request) in [
            ("$JS.API.INFO", Request::AccountInfo),
            ("$JS.API.STREAM.NAMES", Request::StreamNames),
            ("$JS.API.STREAM.CREATE.S", Request::StreamCreate { stream: "S" }),
            ("$JS.API.STREAM.MSG.GET.S", Request::MsgGet { stream: "S" }),
            ("$JS.API.DIRECT.GET.S", Request::DirectGet { stream: "S" }),
            ("$JS.API.DIRECT.GET.S.a.b", Request::DirectGetLast { stream: "S", subject: "a.b" }),
            ("$JS.API.CONSUMER.NAMES.S", Request::ConsumerNames { stream: "S" }),
            ("$JS.API.CONSUMER.MSG.NEXT.S.C", Request::ConsumerNext { stream: "S", consumer: "C" }),
            ("$JS.API.CONSUMER.INFO.S.C", Request::ConsumerInfo { stream: "S", consumer: "C" }),
            (
                "$JS.API.CONSUMER.CREATE.S",
                Request::ConsumerCreate(ConsumerPath::LegacyEphemeral { stream: "S" }),
            ),
            (
                "$JS.API.CONSUMER.DURABLE.CREATE.S.C",
                Request::ConsumerCreate(ConsumerPath::LegacyDurable { stream: "S", consumer: "C" }),
            ),
            (
                "$JS.API.CONSUMER.CREATE.S.C.a.>",
                Request::ConsumerCreate(ConsumerPath::Named { stream: "S", consumer: "C", filter: "a.>" }),
            ),
            ("$JS.API.STREAM.PEER.REMOVE.S", Request::Cluster(ClusterRequest::StreamPeerRemove)),
            (
                "$JS.API.ACCOUNT.STREAM.MOVE.A.S",
                Request::System(SystemRequest::StreamMove { account: "A", stream: "S" }),
            ),
        ] {
            assert_eq!(parse(subject), Some(request), "{subject}");
        }
    }

    #[test]
    fn everything_else_is_no_request() {
        // JS-009
        for subject in [
            "$JS.API.FOO",
            "$JS.API.STREAM",
            "$JS.API.STREAM.FOO.A",
            "$JS.API.STREAM.INFO",
            "$JS.API.STREAM.INFO.A.B",
            "$JS.API.STREAM.CREATE.A.B",
            "$JS.API.CONSUMER.CREATE",
            "$JS.API.CONSUMER.INFO.A",
            "$JS.API.CONSUMER.DURABLE.CREATE.A",
            "$JS.API.INFO.A",
            "$JS.API.DIRECT.GET.",
            "JS.API.INFO",
        ] {
            assert_eq!(parse(subject), None, "{subject}");
        }
        assert_eq!(Request::parse(b"$JS.API.STREAM.INFO.\xff"), None);
    }
}
