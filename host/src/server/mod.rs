//! The server: puts the parts together and runs them until it is told to stop.

pub mod ports;

use crate::auth::Authenticator;
use crate::config::options::*;
use crate::conn::{Context, open};
use crate::proto::info::{InfoTemplate, ServerInfo};
use crate::runtime::{Listener, spawn};
use std::sync::Arc;
use std::time::Duration;

pub async fn run(options: Options) -> std::io::Result<()> {
    let listener = Listener::bind(&options.host, options.port.max(0) as u16).await?;
    let port = listener.local_addr()?.port();
    let info = ServerInfo { server_id: "N".into(), server_name: "N".into(), host: options.host.clone(), port, headers: true, max_payload: options.limits.max_payload_bytes, ..Default::default() };
    let context = Arc::new(Context::new(options, InfoTemplate::new(info), Authenticator, None));
    let accepting = context.clone();
    spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => open::client(&accepting, stream, peer),
                Err(e) => {
                    crate::log::error!("accept: {e}");
                    crate::runtime::clock::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    });
    crate::runtime::clock::sleep(Duration::from_secs(3600)).await;
    Ok(())
}
