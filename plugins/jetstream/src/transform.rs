//! Subject transforms of streams: for subjects that are stored, republished or sourced (JS-087, JS-088, JS-240).
//!
//! An empty source is every subject; without a destination nothing changes.

pub use natsd_plugin_api::subject::transform::{Transform, TransformError};

/// `None`: nothing changes.
pub fn compile(source: &str, destination: &str) -> Result<Option<Transform>, TransformError> {
    if destination.is_empty() {
        Ok(None)
    } else {
        Transform::new(all_if_empty(source), destination).map(Some)
    }
}

/// What `compile` finds, and what only configurations are refused for.
pub fn check(source: &str, destination: &str) -> Result<(), TransformError> {
    if destination.is_empty() {
        return Ok(());
    }
    Transform::checked(all_if_empty(source), destination).map(drop)
}

fn all_if_empty(source: &str) -> &str {
    if source.is_empty() { ">" } else { source }
}

#[cfg(test)]
mod tests {
    use super::{Transform, check, compile};

    #[test]
    fn what_is_left_out_means_everything_or_nothing() {
        assert_eq!(compile("a", ""), Ok(None));
        assert_eq!(compile("", "all.>"), Transform::new(">", "all.>").map(Some));
        assert_eq!(check("a", ""), Ok(()));
        assert!(check("a", "x y").is_err() && compile("a", "x y").is_ok());
    }
}
