//! JSON of requests as clients of nats-server know it: its leniency (names in any case, `null` means unset) and
//! its exact error texts, which clients and their tests look at (JS-005).
//!
//! `read` makes a tree of the text, `shape` says what a request may look like and gives it to serde.

mod quote;
mod read;
mod shape;
mod time_text;

pub use quote::go_quote;
pub use read::{Node, SyntaxError, Value, Values, read_one};
pub use shape::{Field, Int, Refusal, Shape, Struct, Words, decode, decode_leniently};
