//! The command line: what can be typed, and the exit code that comes back.
//!
//! This room only records what was typed; `commands` turns it into values with their defaults, in the
//! order flag, environment, spec. Start at [`main`].

mod arguments;
mod logging;
mod signals;

use std::process::ExitCode;

use clap::Parser as _;

pub use arguments::{
    Arguments, BackupArguments, BrokerArguments, CheckpointsCommand, Command, ConnectArguments,
    ConsumeArguments, InspectArguments, PipelineCommand, ProduceCommand, ProduceSalesArguments,
    ProduceTransactionsArguments, RestoreArguments, RunArguments, StateArguments,
    TopicsCommand,
};

use crate::commands::{self, Failure};

/// Runs what was typed.
#[must_use]
pub fn main() -> ExitCode {
    abort_on_panic();
    let arguments = Arguments::parse();
    logging::start(&arguments.log_level, arguments.log_format);
    let signals = signals::Signals::start();
    match commands::execute(arguments, &signals) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            if !message.is_empty() {
                eprintln!("error: {message}");
            }
            ExitCode::from(code)
        }
    }
}

/// A panic in any thread ends the process (134), so that none goes on half alive.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        eprintln!(
            "this is a bug in sales-stream; the checkpoint is as it was, and the next start goes on \
             from it"
        );
        std::process::abort();
    }));
}

pub use signals::Signals;
