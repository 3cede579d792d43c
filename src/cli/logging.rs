//! Logs go to stderr; results never do.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use super::arguments::LogFormat;

/// Starts logging at `level` unless `RUST_LOG` says more.
pub(super) fn start(level: &str, format: LogFormat) {
    let filter = match std::env::var("RUST_LOG") {
        Ok(said) if !said.is_empty() => EnvFilter::new(said),
        _ => EnvFilter::new(level),
    };
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
}
