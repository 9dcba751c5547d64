//! Why a client is not let in, before it is known who it is.

use super::identity::DenyReason;

/// The text is for the debug log.
pub(super) type Refusal = (DenyReason, &'static str);

pub(super) const UNKNOWN: Refusal = (DenyReason::Authentication, "Credentials not known");
pub(super) const WRONG_SECRET: Refusal = (DenyReason::Authentication, "Password or token does not match");
pub(super) const WRONG_CONNECTION_TYPE: Refusal = (DenyReason::Authentication, "Connection type not allowed");
pub(super) const NEEDS_CERTIFICATE: Refusal =
    (DenyReason::Authentication, "User requires a client certificate");
pub(super) const NO_CERTIFICATE: Refusal =
    (DenyReason::Authentication, "User required in cert, no peer certificates found");
pub(super) const UNKNOWN_CERTIFICATE: Refusal = (DenyReason::Authentication, "User in cert not found");
pub(super) const PROXY_REQUIRED: Refusal = (DenyReason::ProxyRequired, "Proxy is required");
pub(super) const PROXY_NOT_TRUSTED: Refusal = (DenyReason::ProxyNotTrusted, "Proxy is not trusted");
pub(super) const PROXY_SIGNATURE: Refusal = (DenyReason::ProxyNotTrusted, "Proxy signature not valid base64");
