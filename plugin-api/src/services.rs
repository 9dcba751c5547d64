//! Services between plugins: named, found through the host, called with bytes.

use crate::BoxFuture;
use crate::abi::points::FfiCall;
use crate::error::Result;
use bytes::Bytes;

/// What a plugin provides to others under a name such as `acme.geo/1`. A change that old callers would not
/// understand gets the next number.
///
/// A panic in a call is an error to the caller.
pub trait Service: Send + Sync + 'static {
    fn call(&self, method: &str, payload: Bytes) -> BoxFuture<'static, Result<Bytes>>;
}

/// A service of another plugin.
#[derive(Clone)]
pub struct ServiceClient(pub(crate) FfiCall);

impl ServiceClient {
    pub async fn call(&self, method: &str, payload: impl Into<Bytes>) -> Result<Bytes> {
        self.0.call(method, payload.into()).await
    }
}
