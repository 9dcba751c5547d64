//! Everything that touches the world outside: sockets, files, clocks, randomness, threads.
//!
//! The only place in the host with tokio runtime calls, `std::net`, `std::fs` and clocks; the seam for
//! simulation. The rest of the host takes what it needs from here.

pub mod clock;
pub mod files;
pub mod http;
pub mod log_files;
pub mod memory;
pub mod net;
pub mod pid_ports;
pub mod plugin_files;
pub mod plugin_net;
pub mod plugin_tasks;
pub mod plugin_tls;
pub mod ports;
pub mod process;
pub mod random;
pub mod signals;
pub mod tasks;
pub mod threads;
pub mod usage;

pub use clock::{Deadline, now_ns, unix_ns};
pub use net::{Bound, Listener, ReadHalf, Stream, Wire};
pub use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use random::{random_bytes, random_u64};
pub use tasks::spawn;
