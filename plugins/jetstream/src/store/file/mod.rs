//! Streams in files: acknowledged means durable.
//!
//! A stream has blocks (`block`: messages in order) and a state log (`state_log`: everything else). What changes is
//! written to one log for all streams (`log`, `entry`) and synced there, once for all that came meanwhile; the files
//! of streams follow later, without a sync. `writer` decides who writes and when, `io` does it, `keeper` syncs files
//! and deletes beside that, so that segments of the log can be used again. `replay` does what the log says after a
//! start, `recovery` and `rebuild` then read a stream's files, `mend` repairs records, `seal` encrypts
//! them, `pack` compresses blocks that are full. `stream` is what a stream's task sees, `engine` finds streams.
//!
//! Damage to one file costs the records that it hit, and nothing of one flipped bit in a record of usual size (`mend`):
//! the state log lies there twice, and the shared log says how far each stream was (`floors`), so no block decides
//! alone where sequences go on. A segment of the shared log is the only place of what was committed in the last
//! half second, until it comes to its files: if its end is cut off, those commits are gone, as in a crash before them.

mod appending;
mod asking;
mod block;
mod buffers;
mod engine;
mod entry;
mod files;
mod floors;
mod io;
mod keeper;
mod keeping;
mod log;
mod marks;
mod mend;
mod noting;
mod out;
mod pack;
mod place;
mod reading;
mod rebuild;
mod record;
mod recovery;
mod removing;
mod replay;
mod seal;
mod state_log;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

pub use engine::{FileEngine, Options, Threads};
pub use seal::Keys;
