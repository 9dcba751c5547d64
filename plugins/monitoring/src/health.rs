//! `/healthz`: the host's verdict, as HTTP says it (MON-110 to MON-120).

use crate::answer::Answer;
use hyper::StatusCode;
use natsd_plugin_api::serde_json::{self, Value};
use natsd_plugin_api::{Host, Result};

pub fn check(host: &Host, params: &Value) -> Answer {
    match verdict(host, params) {
        Ok((status, body)) => Answer::health(status, &body),
        Err(error) => Answer::bad_request(error),
    }
}

/// Requests over `$SYS` have the status in the body, HTTP has it in the head (MON-112).
fn verdict(host: &Host, params: &Value) -> Result<(StatusCode, Value)> {
    let mut body: Value = serde_json::from_str(&host.snapshot("healthz", params)?)?;
    let code = body.as_object_mut().and_then(|fields| fields.shift_remove("status_code"));
    let code = code.and_then(|code| code.as_u64()).and_then(|code| u16::try_from(code).ok());
    let status = code.and_then(|code| StatusCode::from_u16(code).ok());
    Ok((status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body))
}
