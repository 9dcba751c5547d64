//! `/dashboard`: a page with its styles and scripts, built in. It asks the endpoints for what it shows, so that there
//! is nothing to do here but hand it out.
//!
//! The files are in `assets`, as they are sent. Nothing outside of them is loaded: the page forbids it to itself.

use crate::answer::Answer;

/// What of the page is counted in `http_req_stats`, and linked.
pub const PATH: &str = "/dashboard";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Page,
    Style,
    Script,
}

const FILES: [(&str, Kind, &str); 6] = [
    (PATH, Kind::Page, include_str!("../assets/dashboard.html")),
    ("/dashboard/style.css", Kind::Style, include_str!("../assets/style.css")),
    ("/dashboard/app.js", Kind::Script, include_str!("../assets/app.js")),
    ("/dashboard/chart.js", Kind::Script, include_str!("../assets/chart.js")),
    ("/dashboard/events.js", Kind::Script, include_str!("../assets/events.js")),
    ("/dashboard/text.js", Kind::Script, include_str!("../assets/text.js")),
];

pub fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(path, ..)| *path)
}

/// The file at a path of the page.
pub fn file(path: &str) -> Option<Answer> {
    let (_, kind, text) = FILES.iter().find(|(known, ..)| *known == path)?;
    Some(Answer::asset(*kind, text))
}

#[cfg(test)]
mod tests {
    use super::FILES;

    #[test]
    fn everything_that_the_files_name_is_built_in() {
        for (_, _, text) in FILES {
            for quote in ['"', '\''] {
                let named = text.split(quote).filter(|name| name.ends_with(".js") || name.ends_with(".css"));
                for name in named {
                    let name = name.trim_start_matches("./").trim_start_matches("dashboard/");
                    let path = format!("/dashboard/{name}");
                    assert!(FILES.iter().any(|(known, ..)| *known == path), "{name}");
                }
            }
            assert!(!text.contains("//cdn") && !text.contains("@import"));
        }
    }
}
