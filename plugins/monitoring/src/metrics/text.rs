//! Metrics with their labels, and the text format that Prometheus reads.

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

    pub fn into_text(self) -> String {
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
        text
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
    use super::{Labels, Metrics};
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
            metrics.into_text(),
            "# TYPE m gauge\nm 0.5\n# TYPE n gauge\nn{a=\"x\\\"\\\\\\n\"} 18446744073709551615\n\
             n{a=\"x\\\"\\\\\\n\",b=\"2\"} 1\n"
        );
    }
}
