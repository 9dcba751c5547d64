//! What an endpoint answers, and how that looks as an HTTP response.

use crate::dashboard;
use crate::json::{self, Layout};
use crate::metrics::Form;
use crate::page::escaped;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{HeaderName, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use natsd_plugin_api::serde_json::Value;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    kind: Kind,
    body: String,
    /// The body is to be laid out.
    layout: Option<Layout>,
    /// Where it is instead.
    location: Option<HeaderValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// For any origin, so that pages of other servers can read it.
    Json,
    /// What Go's own handler says.
    Vars,
    Html,
    Bare,
    Text,
    Metrics(Form),
    Asset(dashboard::Kind),
    NotFound,
}

type Header = (&'static str, &'static str);

const NO_SNIFF: Header = ("x-content-type-options", "nosniff");
/// A server of another version has other files.
const NO_CACHE: Header = ("cache-control", "no-cache");
const NO_REFERRER: Header = ("referrer-policy", "no-referrer");
/// Nothing from elsewhere runs in the dashboard, and nobody else shows it.
const ONLY_ITSELF: Header = (
    "content-security-policy",
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

impl Kind {
    fn headers(self) -> &'static [Header] {
        match self {
            Kind::Json => &[("access-control-allow-origin", "*"), ("content-type", "application/json")],
            Kind::Vars => &[("content-type", "application/json; charset=utf-8")],
            Kind::Html => &[("content-type", "text/html; charset=utf-8")],
            Kind::Bare => &[],
            Kind::Text => &[("content-type", "text/plain; charset=utf-8")],
            Kind::Metrics(Form::Text) => &[("content-type", "text/plain; version=0.0.4; charset=utf-8")],
            Kind::Metrics(Form::OpenMetrics) => {
                &[("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")]
            }
            Kind::Asset(dashboard::Kind::Page) => {
                &[("content-type", "text/html; charset=utf-8"), NO_SNIFF, NO_CACHE, ONLY_ITSELF, NO_REFERRER]
            }
            Kind::Asset(dashboard::Kind::Style) => {
                &[("content-type", "text/css; charset=utf-8"), NO_SNIFF, NO_CACHE]
            }
            Kind::Asset(dashboard::Kind::Script) => {
                &[("content-type", "text/javascript; charset=utf-8"), NO_SNIFF, NO_CACHE]
            }
            Kind::NotFound => &[("content-type", "text/plain; charset=utf-8"), NO_SNIFF],
        }
    }
}

impl Answer {
    fn new(status: StatusCode, kind: Kind, body: String) -> Self {
        Self { status, kind, body, layout: None, location: None }
    }

    /// MON-004
    pub fn json(value: &Value) -> Self {
        Self::new(StatusCode::OK, Kind::Json, json::indented(value))
    }

    /// No JSON, but that is what nats-server calls it (MON-013).
    pub fn stacks(text: String) -> Self {
        Self::new(StatusCode::OK, Kind::Json, text)
    }

    /// The same of JSON as text.
    pub fn json_text(text: String) -> Self {
        let layout = Some(Layout::default());
        Self { layout, ..Self::new(StatusCode::OK, Kind::Json, text) }
    }

    /// Health is told on one line, also when it is bad (MON-111).
    pub fn health(status: StatusCode, value: &Value) -> Self {
        Self::new(status, Kind::Json, json::compact(value))
    }

    /// MON-014
    pub fn vars(value: &Value) -> Self {
        Self::new(StatusCode::OK, Kind::Vars, json::indented(value))
    }

    pub fn page(html: String) -> Self {
        Self::new(StatusCode::OK, Kind::Html, html)
    }

    /// As Go's router sends on. `has_page`: for those who cannot follow.
    pub fn moved(location: &str, has_page: bool) -> Self {
        let shown = escaped(location).replace('\'', "&#39;");
        let body = format!("<a href=\"{shown}\">Temporary Redirect</a>.\n\n");
        let (kind, body) = if has_page { (Kind::Html, body) } else { (Kind::Bare, String::new()) };
        let location = HeaderValue::from_str(location).ok();
        Self { location, ..Self::new(StatusCode::TEMPORARY_REDIRECT, kind, body) }
    }

    /// MON-005
    pub fn bad_request(text: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Kind::Text, text.to_string())
    }

    /// The endpoint is there, what it would show is not.
    pub fn missing(text: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, Kind::Text, text.to_owned())
    }

    pub fn asset(kind: dashboard::Kind, text: &str) -> Self {
        Self::new(StatusCode::OK, Kind::Asset(kind), text.to_owned())
    }

    pub fn metrics(form: Form, text: String) -> Self {
        Self::new(StatusCode::OK, Kind::Metrics(form), text)
    }

    /// MON-010
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, Kind::NotFound, "404 page not found\n".to_owned())
    }

    /// As it was given: JSON is not laid out.
    pub fn body(&self) -> &str {
        &self.body
    }

    pub fn response(self) -> Response<Page> {
        let page = match self.layout {
            // Short ones have a length.
            Some(_) if self.body.len() < PIECE_BYTES => Page::whole(json::indented_text(&self.body)),
            Some(layout) => Page { text: self.body, layout: Some(layout) },
            None => Page::whole(self.body),
        };
        let mut response = Response::new(page);
        *response.status_mut() = self.status;
        for &(name, value) in self.kind.headers() {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        if let Some(location) = self.location {
            response.headers_mut().insert(LOCATION, location);
        }
        response
    }
}

/// What goes to the socket at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// The body of an answer. A large one is laid out while it is sent, so that its memory is needed once.
pub struct Page {
    text: String,
    layout: Option<Layout>,
}

impl Page {
    pub fn whole(text: String) -> Self {
        Self { text, layout: None }
    }
}

impl Body for Page {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Page { text, layout } = &mut *self;
        let piece = match layout {
            None => std::mem::take(text).into_bytes(),
            Some(layout) => {
                let mut piece = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 8);
                layout.go_on(text, &mut piece, PIECE_BYTES);
                piece
            }
        };
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(Bytes::from(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.text.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.layout {
            None => SizeHint::with_exact(self.text.len() as u64),
            Some(_) => SizeHint::default(),
        }
    }
}
