//! The command line: what can be typed, and the parts of the process around a command (log, signals,
//! panics, the way out).
//!
//! Invariants: results go to stdout and everything else to stderr; no help, error or log shows the
//! value of a Kafka option; a usage error ends with 2 before anything is touched; a closed stderr
//! never ends the process.
//!
//! Every option is also an environment variable. Where a spec may hold a value too, its field here is
//! an `Option` without a default, so that the verbs can tell what was said: flag, then
//! environment, then spec, then default.
//!
//! Start at [`parse`], then [`Arguments`]. Not here: the verbs and the order of things in a process
//! (`commands`).

mod connect;
mod input_arguments;
pub(crate) mod logging;
pub(crate) mod panics;
mod run_arguments;
mod signals;
mod simulate_arguments;
mod state_arguments;
mod values;

use std::{ffi::OsString, fmt, io::Write as _};

use clap::{
    ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    builder::Styles, error::ErrorKind, parser::ValueSource,
};

pub use connect::ConnectArguments;
pub use input_arguments::{
    BrokerArguments, ConsumeArguments, CreateTopicArguments, ListTopicsArguments, PipelineCommand,
    ProduceCommand, ProduceSalesArguments, ProduceTransactionsArguments, TopicsCommand,
};
pub use logging::{LogFormat, LogLevel};
pub use run_arguments::RunArguments;
pub use signals::Signals;
pub use simulate_arguments::SimulateArguments;
pub use state_arguments::{
    BackupArguments, CheckpointsCommand, InspectArguments, RestoreArguments, StateArguments,
};
pub use values::{Events, parse_kafka_options, parse_start_time};

const LONG_ABOUT: &str = "\
A fault-tolerant stream processor with durable checkpointing.

Reads JSON events from Kafka, sums them exactly in event-time windows and prints tables as a Spark \
Structured Streaming job does. Every trigger it persists state, watermark and offsets atomically before \
anyone may see a result: kill it anywhere, start it again, and no result is lost, doubled or changed.

Without a command (or with the word `run`) it runs a pipeline; the commands make input and look at \
things.";

const EXAMPLES: &str = "\
Examples:
  sales-stream demo                                  see it all at work, with nothing installed
  sales-stream                                       run `sales` against localhost:9092
  sales-stream produce sales                         …and make input for it, one sale a second
  sales-stream --brokers kafka-1:9092 --checkpoint-dir /var/lib/sales-stream
  sales-stream --pipeline mine.toml --trigger available-now --sink files:out
  sales-stream --output-mode update --trigger 1s     running totals, every second
  sales-stream --kafka-option security.protocol=SASL_SSL --kafka-option sasl.mechanism=PLAIN …

An option wins over its environment variable, that over the spec's [run], that over the default.
Where an option may be given several times, its variable takes one value a line.

Exit codes: 0 clean, 2 usage or spec, 10 state in use, 11 state damaged, 12 state of another pipeline,
13 state older than what was seen, 14 storage failed, 20 data lost, 21 refused by Kafka, 22 no broker in
time, 30 refused by a sink, 40 bad record in fail-fast mode, 41 a value that does not fit with ANSI on,
50 too few threads or open files, 130 or 143 ended by a signal, 134 a bug.";

const BROKER_EXAMPLES: &str = "\
Examples:
  sales-stream broker                         with the topics of the built-in pipelines
  sales-stream broker --topic sales:1         with one topic of one partition
  sales-stream --brokers 127.0.0.1:PORT       …and a run against the address it prints";

/// What was typed.
#[derive(Debug, Parser)]
#[command(
    name = "sales-stream",
    version,
    about = "A fault-tolerant stream processor: Kafka in, event-time windows, exactly-once results",
    long_about = LONG_ABOUT,
    after_help = "Try `sales-stream demo`, or `--help` for examples and every option in full.",
    after_long_help = EXAMPLES,
    styles = Styles::plain(),
    args_override_self = true,
    max_term_width = 100
)]
pub struct Arguments {
    /// What to do; without a command, run a pipeline.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of a run.
    #[command(flatten)]
    pub run: Box<RunArguments>,
    /// The log.
    #[command(flatten)]
    pub log: LogArguments,
}

/// The log, whatever the command.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct LogArguments {
    /// What is logged on stderr: off, error, warn, info, debug, trace [default: info, or RUST_LOG]
    #[arg(
        long,
        value_enum,
        value_name = "LEVEL",
        hide_possible_values = true,
        global = true,
        env = "SALES_STREAM_LOG_LEVEL"
    )]
    pub log_level: Option<LogLevel>,
    /// How log lines are written: text or json [default: text]
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        hide_possible_values = true,
        global = true,
        env = "SALES_STREAM_LOG_FORMAT"
    )]
    pub log_format: Option<LogFormat>,
}

/// The verbs beside running a pipeline.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// See it all on this machine: broker, sales, windows, kill -9, restart, proof
    ///
    /// Starts an embedded broker, a producer and the processor as processes of their own, kills the
    /// processor with SIGKILL in the middle, starts it again, and proves in one line that no result is
    /// missing, doubled or wrong. Takes about half a minute and needs nothing but this binary.
    Demo,
    /// Try the engine against random faults, each trial repeatable by its seed
    ///
    /// Runs the real engine over a broker, a disk and sinks in memory, with virtual time: processes are
    /// killed, power is cut, writes fail, transactions abort, sinks lose answers. After every step it
    /// looks at what must hold, and at the end everything must have been caught up with. Ends with 1 at
    /// the first seed that does not hold and says how to see it again. Needs nothing but this binary.
    Simulate(SimulateArguments),
    /// Make input: send seeded, reproducible events to a topic
    #[command(subcommand, arg_required_else_help = true)]
    Produce(ProduceCommand),
    /// Print a topic's records as they are, one JSON line each
    Consume(ConsumeArguments),
    /// Run an embedded Kafka-protocol broker for trying things out
    ///
    /// Needs no Java. Listens on a port of the loopback interface that the system chooses, and prints
    /// its address as the first line on stdout. Keeps its data in memory, about 5 MB a partition (older
    /// records are forgotten), and loses it at the end. Not for real data.
    #[command(after_long_help = BROKER_EXAMPLES)]
    Broker(BrokerArguments),
    /// Create or list topics on a Kafka cluster
    #[command(subcommand, arg_required_else_help = true)]
    Topics(TopicsCommand),
    /// Print a built-in pipeline, or check a spec
    #[command(subcommand, arg_required_else_help = true)]
    Pipeline(PipelineCommand),
    /// Show what is in a checkpoint, also beside a live process
    ///
    /// Pipeline, batch, watermarks, partitions with offset and lag, open windows, pending output, and
    /// the last batches. Reads only: it does not disturb a live process, and it shows nothing that is
    /// not yet visible. Lag is shown when a broker answers.
    Inspect(InspectArguments),
    /// List, verify, back up or restore checkpoints
    #[command(subcommand, arg_required_else_help = true)]
    Checkpoints(CheckpointsCommand),
}

/// Ends the process without running the C++ libraries' destructors: their threads may still be at
/// work, and what has to be durable is durable already. Nothing is flushed here, because a sink may
/// hold stdout while nobody reads it; whoever writes, flushes.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Writes a line to stderr. Unlike `eprintln!` it does not panic when nobody is there to read it.
pub fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Reads a command line, the program's name first, and the environment.
///
/// # Errors
/// A usage error, or the text of `--help` and `--version`; [`clap::Error::print`] shows either.
pub fn parse<T: Into<OsString>>(
    arguments: impl IntoIterator<Item = T>,
) -> Result<Arguments, clap::Error> {
    let mut command = prepared(Arguments::command());
    let arguments = arguments.into_iter().map(Into::into).collect();
    let matches = command.try_get_matches_from_mut(with_words_for_nothing(arguments))?;
    if let (Some(option), Some((verb, _))) =
        (misplaced_option(&command, &matches), matches.subcommand())
    {
        let message = format!(
            "{option} is in front of `{verb}`, where it would count for nothing; write the options of \
             `{verb}` behind it"
        );
        return Err(command.error(ErrorKind::ArgumentConflict, message));
    }
    Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Prints what [`parse`] refused, or help, without the values of Kafka options that stand among what was
/// typed: one in the wrong place would be quoted.
pub fn print_error(error: &clap::Error, arguments: impl IntoIterator<Item = OsString>) {
    if !error.use_stderr() {
        // Nobody may be reading; the exit code tells as well.
        let _ = error.print();
        return;
    }
    let mut message = error.render().to_string();
    let mut may_be_option = false;
    for argument in arguments {
        let argument = argument.to_string_lossy();
        let text = argument.split_once("kafka-option=").map_or(&*argument, |(_, text)| text);
        let value = match text.split_once('=') {
            Some((name, value)) if name.contains('.') => Some(value),
            _ if may_be_option && !text.starts_with("--") => Some(text),
            _ => None,
        };
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            message = message.replace(value, "***");
        }
        // `--kafka-option sasl.password secret` has one word too many.
        may_be_option = argument.contains("kafka-option") || (may_be_option && value.is_some());
    }
    let _ = std::io::stderr().lock().write_all(message.as_bytes());
}

/// `run` and `version` as first words mean what people mean by them: the run that needs no word, and
/// `--version`.
fn with_words_for_nothing(mut arguments: Vec<OsString>) -> Vec<OsString> {
    match arguments.get(1).and_then(|first| first.to_str()) {
        Some("run") => drop(arguments.remove(1)),
        Some("version") => arguments[1] = "--version".into(),
        _ => {}
    }
    arguments
}

/// An environment variable that is set to nothing is as good as none (`docker-compose` passes such);
/// values of variables are not shown in help, because one may be a password. A negative number is a
/// value, so that the option itself says what is wrong with it.
fn prepared(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| {
            let set_to_nothing =
                arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
            let takes_value = arg.get_action().takes_values() && arg.get_long().is_some();
            let arg = arg.hide_env_values(true).allow_negative_numbers(takes_value);
            if set_to_nothing { arg.env(None::<&str>) } else { arg }
        })
        .mut_subcommands(prepared)
}

/// An option of the run in front of another command, where it would be ignored.
fn misplaced_option(command: &clap::Command, matches: &ArgMatches) -> Option<String> {
    matches.subcommand()?;
    command
        .get_arguments()
        .filter(|arg| !arg.is_global_set())
        .find(|arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine))
        .and_then(|arg| arg.get_long())
        .map(|long| format!("--{long}"))
}

#[cfg(test)]
mod tests;
