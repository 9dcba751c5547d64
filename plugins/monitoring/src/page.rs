//! The page at the root: the endpoints as links (MON-011).

/// What is linked: path and what is found there.
pub type Link = (&'static str, &'static str);

/// `base` is the path that all endpoints stand under; links start at the folder of the page, so that a proxy in
/// front may add a path of its own.
pub fn html(version: &str, base: &str, links: &[Link]) -> String {
    let (version, base) = (escaped(version), escaped(base));
    let items: String = links
        .iter()
        .map(|(path, title)| format!("<li><a href=\".{base}{path}\">{title}</a> <code>{path}</code></li>\n"))
        .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>NATS server v{version}</title>\n\
         <style>body {{ font: 16px/1.7 sans-serif; margin: 2em }} code {{ color: #777 }}</style>\n</head>\n<body>\n\
         <h1>NATS server <small>v{version}</small></h1>\n<ul>\n{items}</ul>\n</body>\n</html>\n"
    )
}

pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::html;

    #[test]
    fn links_are_relative_to_the_folder_of_the_page() {
        let page = html("2.15.1", "/nats", &[("/varz", "General")]);
        assert!(page.contains("<a href=\"./nats/varz\">General</a>") && page.contains("v2.15.1"));
    }
}
