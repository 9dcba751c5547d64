//! `exports` of accounts (ACC-002, ACC-003, ACC-009, ACC-010, ACC-030).

use std::time::Duration;

use super::duration;
use super::fields::{DURATION_REMEDY, Field, fields};
use super::options::{ExportOptions, LatencyOptions, ResponseType, ServiceOptions};
use super::problem::Problem;
use super::reading::Reading;
use super::value::Value;

const FORM: &str = "write exports: [ { stream: SUBJECT }, { service: SUBJECT } ]";

pub(super) fn read(field: &Field<'_>, reading: &mut Reading<'_>) -> Result<Vec<ExportOptions>, Problem> {
    let Value::Array(items) = &field.node.value else {
        let found = field.node.value.go_type();
        return Err(field.problem(format!("Exports should be an array, got {found}")).remedy(FORM));
    };
    let mut exports = Vec::with_capacity(items.len());
    for item in items {
        let export = read_export(&field.element(item));
        exports.extend(reading.report.check(export).flatten());
    }
    Ok(exports)
}

/// An export as far as it is read.
#[derive(Default)]
struct Draft {
    stream: Option<String>,
    service: Option<String>,
    options: ServiceOptions,
    accounts: Option<Vec<String>>,
    account_token_position: u32,
    /// Something that only services have.
    response: bool,
    latency: bool,
    trace: bool,
}

/// `None`: it names neither a stream nor a service.
fn read_export(field: &Field<'_>) -> Result<Option<ExportOptions>, Problem> {
    let Value::Map(map) = &field.node.value else {
        let found = field.node.value.go_type();
        let text = format!("Export Items should be a map with type entry, got {found}");
        return Err(field.problem(text).remedy(FORM));
    };
    let mut draft = Draft::default();
    for entry in fields(map) {
        draft.read(&entry)?;
    }
    let Draft { stream, service, options, accounts, account_token_position, .. } = draft;
    let (subject, service) = match (stream, service) {
        (Some(subject), _) => (subject, None),
        (None, Some(subject)) => (subject, Some(options)),
        (None, None) => return Ok(None),
    };
    Ok(Some(ExportOptions { subject, accounts, account_token_position, service }))
}

impl Draft {
    fn read(&mut self, entry: &Field<'_>) -> Result<(), Problem> {
        match entry.name.as_str() {
            "stream" => {
                let name = name(entry, "stream")?;
                if self.service.is_some() {
                    let text = format!("Detected stream {name:?} but already saw a service");
                    return Err(entry.problem(text));
                }
                self.stream = Some(name);
            }
            "service" => {
                let name = name(entry, "service")?;
                if self.stream.is_some() {
                    let text = format!("Detected service {name:?} but already saw a stream");
                    return Err(entry.problem(text));
                }
                self.service = Some(name);
            }
            "response" | "response_type" => {
                self.response = true;
                self.options.response = response_type(entry)?;
            }
            "threshold" | "response_threshold" | "response_max_time" | "response_time" => {
                self.response = true;
                self.options.response_threshold = Some(threshold(entry)?);
            }
            "accounts" => {
                entry.array()?;
                self.accounts = Some(entry.strings()?);
            }
            "latency" => {
                self.latency = true;
                self.options.latency = Some(latency(entry)?);
            }
            "account_token_position" => self.account_token_position = entry.count()?,
            "allow_trace" => {
                self.trace = true;
                self.options.allow_trace = entry.boolean()?;
            }
            _ => return entry.unknown(),
        }
        self.check_service_only(entry)
    }

    fn check_service_only(&self, entry: &Field<'_>) -> Result<(), Problem> {
        let directive = match self {
            _ if self.stream.is_none() => return Ok(()),
            Draft { response: true, .. } => "response",
            Draft { latency: true, .. } => "latency",
            Draft { trace: true, .. } => "allow_trace",
            _ => return Ok(()),
        };
        let text = format!("Detected {directive} directive on non-service");
        Err(entry.problem(text).remedy("remove it, or export a service"))
    }
}

fn name(field: &Field<'_>, kind: &str) -> Result<String, Problem> {
    match &field.node.value {
        Value::String(name) => Ok(name.to_string()),
        other => {
            let found = other.go_type();
            Err(field.problem(format!("Expected {kind} name to be string, got {found}")))
        }
    }
}

fn response_type(field: &Field<'_>) -> Result<ResponseType, Problem> {
    let text = field.string()?;
    Ok(match text.to_ascii_lowercase().as_str() {
        "single" | "singleton" => ResponseType::Singleton,
        "stream" => ResponseType::Stream,
        "chunk" | "chunked" => ResponseType::Chunked,
        _ => {
            let problem = field.problem(format!("Unknown response type: {text:?}"));
            return Err(problem.remedy("use singleton, stream or chunked"));
        }
    })
}

fn threshold(field: &Field<'_>) -> Result<Duration, Problem> {
    let shown = match &field.node.value {
        Value::String(text) => match duration::parse(text) {
            Ok(parsed) if !parsed.negative => return Ok(parsed.size),
            _ => format!("{text:?}"),
        },
        other => other.go_type().to_owned(),
    };
    let text = format!("Expected response threshold to be a parseable time duration, got {shown}");
    Err(field.problem(text).remedy(DURATION_REMEDY))
}

/// A subject, or `{subject, sampling}`.
fn latency(field: &Field<'_>) -> Result<LatencyOptions, Problem> {
    let map = match &field.node.value {
        Value::String(subject) => {
            return Ok(LatencyOptions { subject: subject.to_string(), sampling_percent: Some(100) });
        }
        Value::Map(map) => map,
        other => {
            let found = other.go_type();
            let text = format!("Expected latency entry to be a map/struct or string, got {found}");
            return Err(field.problem(text));
        }
    };
    let (mut subject, mut sampling_percent) = (None, Some(100));
    for entry in fields(map) {
        match entry.name.as_str() {
            "sampling" => sampling_percent = sampling(&entry)?,
            "subject" => {
                let Value::String(name) = &entry.node.value else {
                    let found = entry.node.value.go_type();
                    let text = format!("Expected latency subject to be string, got {found}");
                    return Err(entry.problem(text));
                };
                subject = Some(name.clone());
            }
            // As with the reference, no other field is an error.
            _ => {}
        }
    }
    let subject = subject.ok_or_else(|| {
        field.problem("Latency subject required, but missing").remedy("add subject: SUBJECT")
    })?;
    Ok(LatencyOptions { subject: subject.to_string(), sampling_percent })
}

fn sampling(field: &Field<'_>) -> Result<Option<u8>, Problem> {
    let number = match &field.node.value {
        Value::Integer(number) => *number,
        Value::String(text) if text.trim().eq_ignore_ascii_case("headers") => return Ok(None),
        Value::String(text) => {
            let digits = text.trim().trim_end_matches('%');
            digits.parse().map_err(|_| {
                let problem = field.problem(format!("Failed to parse latency sample: {text:?}"));
                problem.remedy("write 1 to 100, or headers")
            })?
        }
        other => {
            let found = other.go_type();
            let text = format!("Expected latency sample to be a string or map/struct, got {found}");
            return Err(field.problem(text));
        }
    };
    let percent = u8::try_from(number).ok().filter(|percent| (1..=100).contains(percent));
    percent.map(Some).ok_or_else(|| field.problem("bad sampling percentage, should be 1-100"))
}
