//! The verbs of the command line: each turns what was typed into values, runs a room of the library,
//! and turns what came of it into text and an exit code.
//!
//! Start at [`main`]. Not here: what can be typed (`cli`); anything worth a unit test beyond merging options.

mod checkpoints;
mod clients;
mod demo;
mod inspect;
mod limits;
mod memory;
mod pipeline;
mod run;
mod simulate;

pub use run::{Around, Surroundings, run_within};

use std::io::{self, Write as _};

use demo::DemoError;

use crate::{
    cli::{self, Arguments, Command, ConnectArguments, Signals, parse_kafka_options, say},
    kafka::{ClientSettings, DEFAULT_BROKERS, ErrorKind, Trust},
    umask,
};

/// A command that did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// One or more whole sentences for stderr; empty when all was said.
    pub message: String,
}

impl Failure {
    fn new(code: u8, message: impl ToString) -> Failure {
        Failure { code, message: message.to_string() }
    }

    /// A failure of a Kafka client.
    fn kafka(kind: ErrorKind, message: impl ToString) -> Failure {
        let code = match kind {
            ErrorKind::Unreachable => 22,
            ErrorKind::Refused => 21,
            ErrorKind::Usage => 2,
            ErrorKind::Other => 1,
        };
        Failure::new(code, message)
    }
}

/// The whole process: reads the command line, runs the command, says how it ended.
#[must_use]
pub fn main() -> u8 {
    cli::panics::stop_the_process();
    umask::keep_private();
    let arguments = match cli::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            cli::print_error(&error, std::env::args_os());
            return if error.use_stderr() { 2 } else { 0 };
        }
    };
    cli::logging::start(arguments.log);
    if arguments.command.is_none()
        && let Err(Failure { code, message }) = limits::check()
    {
        say(format_args!("error: {message}"));
        return code;
    }
    let signals = match Signals::start() {
        Ok(signals) => signals,
        Err(problem) => {
            say(format_args!("error: watching for signals failed: {problem}"));
            return 1;
        }
    };
    match execute(arguments, &signals) {
        Ok(()) => 0,
        Err(Failure { code, message }) => {
            if !message.is_empty() {
                say(format_args!("error: {message}"));
            }
            code
        }
    }
}

/// Does what was typed.
///
/// # Errors
/// The exit code and what to say.
pub fn execute(arguments: Arguments, signals: &Signals) -> Result<(), Failure> {
    match arguments.command {
        None => run::run(*arguments.run, signals),
        Some(Command::Produce(what)) => clients::produce(what, signals.stop()),
        Some(Command::Consume(what)) => clients::consume(&what, signals.stop()),
        Some(Command::Broker(what)) => clients::broker(what, signals.stop()),
        Some(Command::Topics(what)) => clients::topics(what, signals),
        Some(Command::Demo) => demonstrate(signals),
        Some(Command::Simulate(what)) => simulate::simulate(what, arguments.log, signals),
        Some(Command::Inspect(what)) => inspect::inspect(&what),
        Some(Command::Checkpoints(what)) => checkpoints::checkpoints(what),
        Some(Command::Pipeline(what)) => pipeline::pipeline(&what),
    }
}

fn demonstrate(signals: &Signals) -> Result<(), Failure> {
    match demo::run(&mut std::io::stdout(), signals.stop()) {
        Ok(true) | Err(DemoError::Closed) => Ok(()),
        Ok(false) => Err(Failure::new(1, "the proof did not hold")),
        Err(error) => {
            let code = if signals.code() == 0 { 1 } else { signals.code() };
            Err(Failure::new(code, error))
        }
    }
}

/// The client settings that were typed, with those of the spec behind them.
fn client_settings(
    connect: &ConnectArguments,
    spec_brokers: Option<&str>,
    spec_options: &[(String, String)],
) -> Result<ClientSettings, Failure> {
    let brokers = connect.brokers.as_deref().or(spec_brokers).unwrap_or(DEFAULT_BROKERS);
    let mut options = spec_options.to_vec();
    for text in &connect.kafka_option {
        // Of an option given twice the last counts.
        options.extend(parse_kafka_options(text).map_err(|error| Failure::new(2, error))?);
    }
    let trust = if connect.allow_unsafe_kafka_options {
        Trust::AllowUnsafeOptions
    } else {
        Trust::SafeOptionsOnly
    };
    let settings =
        ClientSettings::new(brokers, options, trust).map_err(|error| Failure::new(2, error))?;
    for weakness in settings.weaknesses() {
        tracing::warn!(weakness, "the connection to Kafka is not safe");
    }
    Ok(settings)
}

/// Writes a result to stdout. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(1, format!("writing to stdout failed: {error}")))
        }
        _ => Ok(()),
    }
}
