//! Streams in files: acknowledged means durable.
//!
//! A stream has blocks (`block`: messages in order) and a state log (`state_log`: everything else). All files of a
//! server are written by one thread (`writer`), which syncs once for everything that came meanwhile. `stream` is
//! what a stream's task sees, `recovery` brings it back, `engine` finds streams.

mod asking;
mod block;
mod engine;
mod noting;
mod reading;
mod record;
mod recovery;
mod removing;
mod state_log;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

pub use engine::FileEngine;
