//! The line between host and plugins.
