//! TEMPORARY
pub enum Parsed { Incomplete, NotProxy, Header { source: Option<std::net::SocketAddr>, consumed: usize } }
pub fn parse(_: &[u8]) -> Result<Parsed, String> { Ok(Parsed::NotProxy) }
