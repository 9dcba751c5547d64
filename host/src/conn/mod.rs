//! Connections: the path between a socket and the NATS protocol.

pub mod layer;
