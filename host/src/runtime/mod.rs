//! Everything that touches the world: the only place with tokio, sockets, files, clocks, randomness and threads.

pub mod plugin_files;
pub mod plugin_net;
pub mod plugin_tasks;
