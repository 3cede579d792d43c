//! The verbs of the command line: each turns what was typed into values, runs a room of the library,
//! and turns what came of it into text and an exit code.
//!
//! Not here: what can be typed (`cli`); anything worth a unit test beyond merging options.

mod checkpoints;
mod clients;
mod demo;
mod inspect;
mod pipeline;
mod run;

use crate::{
    cli::{Arguments, Command, ConnectArguments, Signals},
    kafka::{ClientSettings, ErrorKind, Trust},
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
            ErrorKind::Other => 1,
        };
        Failure::new(code, message)
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
        Some(Command::Broker(what)) => clients::broker(&what, signals.stop()),
        Some(Command::Topics(what)) => clients::topics(what),
        Some(Command::Demo) => demonstrate(signals),
        Some(Command::Inspect(what)) => inspect::inspect(&what),
        Some(Command::Checkpoints(what)) => checkpoints::checkpoints(what),
        Some(Command::Pipeline(what)) => pipeline::pipeline(&what),
    }
}

fn demonstrate(signals: &Signals) -> Result<(), Failure> {
    let held = demo::run(&mut std::io::stdout(), signals.stop()).map_err(|error| {
        let code = if signals.code() == 0 { 1 } else { signals.code() };
        Failure::new(code, error)
    })?;
    if held { Ok(()) } else { Err(Failure::new(1, "the proof did not hold")) }
}

/// The client settings that were typed, with those of the spec behind them.
fn client_settings(
    connect: &ConnectArguments,
    spec_brokers: Option<&str>,
    spec_options: &[(String, String)],
) -> Result<ClientSettings, Failure> {
    let brokers = connect.brokers.as_deref().or(spec_brokers).unwrap_or("localhost:9092");
    let mut options = spec_options.to_vec();
    for text in &connect.kafka_option {
        let option = ClientSettings::parse_option(text).map_err(|error| Failure::new(2, error))?;
        options.retain(|(name, _)| *name != option.0);
        options.push(option);
    }
    let trust = if connect.allow_unsafe_kafka_options {
        Trust::AllowUnsafeOptions
    } else {
        Trust::SafeOptionsOnly
    };
    ClientSettings::new(brokers, options, trust).map_err(|error| Failure::new(2, error))
}
