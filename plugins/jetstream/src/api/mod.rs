//! The pure parts of the `$JS.API.`: which request a subject means, what its body says, whether it may be, and
//! what is answered. Whoever calls has the streams; nothing here waits, sends or stores.

pub mod advisory;
pub mod assets;
pub mod decode;
pub mod info;
pub mod json;
pub mod level;
pub mod limits;
pub mod reply;
pub(crate) mod shapes;
pub mod subject;
pub mod validate;
