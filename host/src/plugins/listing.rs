//! What `natsd plugins` shows.

use natsd_plugin_api::PluginFacts;

/// A line for each plugin: name, version, API version, linkage, state and path; a failure's reason on a line of
/// its own.
pub fn listing(plugins: &[PluginFacts]) -> String {
    if plugins.is_empty() {
        return "no plugins found\n".to_owned();
    }
    let heads = ["NAME", "VERSION", "API", "LINKAGE", "STATE", "PATH"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(heads).chain(plugins.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
        if let Some(plugin) =
            at.checked_sub(1).and_then(|at| plugins.get(at)).filter(|plugin| !plugin.why.is_empty())
        {
            text.push_str(&format!("  {}\n", plugin.why));
        }
    }
    text
}

fn row(plugin: &PluginFacts) -> [String; 6] {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let state = if plugin.faults > 0 {
        format!("{} ({})", plugin.state, plugin.faults)
    } else {
        plugin.state.clone()
    };
    [
        plugin.name.clone(),
        or_dash(&plugin.version),
        or_dash(&plugin.api_version),
        or_dash(&plugin.linkage),
        state,
        or_dash(plugin.path.as_deref().unwrap_or_default()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_a_failure_says_why() {
        let tap = PluginFacts {
            name: "tap".into(),
            version: "0.1.0".into(),
            api_version: "1.0.0".into(),
            linkage: "dynamic".into(),
            state: "started".into(),
            path: Some("/p/libnatsd_tap.so".into()),
            ..PluginFacts::default()
        };
        let bad = PluginFacts {
            name: "bad".into(),
            state: "failed".into(),
            why: "no such file".into(),
            ..Default::default()
        };
        let expected = "\
NAME  VERSION  API    LINKAGE  STATE    PATH
tap   0.1.0    1.0.0  dynamic  started  /p/libnatsd_tap.so
bad   -        -      -        failed   -
  no such file
";
        assert_eq!(listing(&[tap, bad]), expected);
    }
}
