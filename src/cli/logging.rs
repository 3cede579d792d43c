//! The log on stderr: text or JSON lines, `info` unless told otherwise.
//!
//! Not here: what is logged; the line that says how a run ended (`commands::run`), which is shown
//! whatever the level.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use super::LogArguments;

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What needs an operator.
    Error,
    /// Surprises that were mended, too.
    Warn,
    /// Starts, ends and batches, too.
    Info,
    /// The Kafka client's own words, too.
    Debug,
    /// Everything.
    Trace,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogLevel {
    fn directive(self) -> &'static str {
        match self {
            LogLevel::Off => "off",
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// Starts the log for the rest of the process. `--log-level` wins over `RUST_LOG`.
pub(crate) fn start(args: LogArguments) {
    let filter = match args.log_level {
        Some(level) => EnvFilter::new(level.directive()),
        None => EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| EnvFilter::new(LogLevel::Info.directive())),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        // Complaints about a log that cannot be written would go to the same closed stderr, and panic.
        .log_internal_errors(false);
    match args.log_format.unwrap_or(LogFormat::Text) {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
