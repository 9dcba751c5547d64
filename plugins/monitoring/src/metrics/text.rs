//! Metrics with their labels, and the text formats that Prometheus and OpenMetrics read.

use natsd_plugin_api::serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Gauges by name.
#[derive(Debug, Default)]
pub struct Metrics {
    gauges: BTreeMap<String, Vec<(Labels, String)>>,
}

/// As they stand between the braces.
#[derive(Clone, Debug, Default)]
pub struct Labels(String);

impl Metrics {
    /// What is no number is left out.
    pub fn gauge(&mut self, name: &str, labels: &Labels, value: &Value) {
        if let Value::Number(value) = value {
            self.gauges.entry(name.to_owned()).or_default().push((labels.clone(), value.to_string()));
        }
    }

    pub fn into_text(self, form: Form) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        for (name, samples) in self.gauges {
            let _ = writeln!(text, "# TYPE {name} gauge");
            for (Labels(labels), value) in samples {
                let _ = match labels.as_str() {
                    "" => writeln!(text, "{name} {value}"),
                    labels => writeln!(text, "{name}{{{labels}}} {value}"),
                };
            }
        }
        if form == Form::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }
}

/// The two differ in their names and in how they end: there are only gauges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    OpenMetrics,
}

impl Form {
    /// By the request's `Accept`: the form that is wanted more; the old one if there is nothing between them.
    pub fn wanted(accept: &str) -> Self {
        let weight = |wanted: &str| {
            let of_type = accept.split(',').filter_map(|part| {
                let mut fields = part.split(';').map(str::trim);
                fields.next().filter(|name| name.eq_ignore_ascii_case(wanted))?;
                let weight =
                    fields.find_map(|field| field.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
                weight.filter(|weight: &f32| (0.0..=1.0).contains(weight))
            });
            of_type.fold(0.0, f32::max)
        };
        if weight("application/openmetrics-text") > weight("text/plain") {
            Form::OpenMetrics
        } else {
            Form::Text
        }
    }
}

impl Labels {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        // Writing to a String does not fail.
        let _ = write!(self.0, "{name}=\"{value}\"");
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, Labels, Metrics};
    use natsd_plugin_api::serde_json::json;

    #[test]
    fn samples_stand_below_the_name_they_share() {
        let mut metrics = Metrics::default();
        let labels = Labels::new().with("a", "x\"\\\n");
        metrics.gauge("n", &labels, &json!(u64::MAX));
        metrics.gauge("m", &Labels::new(), &json!(0.5));
        metrics.gauge("n", &labels.with("b", "2"), &json!(1));
        metrics.gauge("o", &Labels::new(), &json!("text"));
        assert_eq!(
            metrics.into_text(Form::Text),
            "# TYPE m gauge\nm 0.5\n# TYPE n gauge\nn{a=\"x\\\"\\\\\\n\"} 18446744073709551615\n\
             n{a=\"x\\\"\\\\\\n\",b=\"2\"} 1\n"
        );
    }

    #[test]
    fn the_form_is_the_one_that_is_wanted_more() {
        let both =
            "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, form) in [
            (both, Form::OpenMetrics),
            ("application/openmetrics-text", Form::OpenMetrics),
            ("text/plain, application/openmetrics-text;q=0.9", Form::Text),
            ("application/openmetrics-text;q=2", Form::Text),
            ("*/*", Form::Text),
            ("", Form::Text),
        ] {
            assert_eq!(Form::wanted(accept), form, "{accept}");
        }
        assert_eq!(Metrics::default().into_text(Form::OpenMetrics), "# EOF\n");
    }
}
