//! What the API answers, as the handlers make it.

use crate::api::reply;
use crate::wire::ApiError;
use serde::Serialize;

/// The text of a reply, or why there is none.
pub type Body = Result<Vec<u8>, ApiError>;

pub use crate::api::reply::success;

/// The text of a reply of a type, whatever it came to.
pub fn text(kind: &str, body: Body) -> Vec<u8> {
    body.unwrap_or_else(|why| reply::failure(kind, &why))
}

/// That it was done.
pub fn done(kind: &str) -> Body {
    Ok(success(kind, &reply::Done::YES))
}

/// Anything that JSON can hold.
pub fn ok(kind: &str, body: &impl Serialize) -> Body {
    Ok(success(kind, body))
}
