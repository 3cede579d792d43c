//! The options of the commands that look after checkpoints: inspect and checkpoints.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{connect::ConnectArguments, values};
use crate::types::Timestamp;

/// Which checkpoint.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Checkpoint")]
pub struct StateArguments {
    /// Where state lives: the folder of a run's --checkpoint-dir
    #[arg(
        long,
        value_name = "DIR",
        default_value = "./checkpoints",
        env = "SALES_STREAM_CHECKPOINT_DIR"
    )]
    pub checkpoint_dir: PathBuf,
    /// Whose state; needed where the folder holds several pipelines'
    #[arg(long, value_name = "PIPELINE")]
    pub pipeline: Option<String>,
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  sales-stream inspect
  sales-stream inspect --checkpoint-dir D --json | jq .windows
  sales-stream inspect --json --history all | jq .batches[].ranges
  sales-stream inspect --window 2025-09-02T10:30:00Z --key store-1";

/// `inspect`.
#[derive(Debug, Args)]
#[command(after_long_help = INSPECT_EXAMPLES)]
pub struct InspectArguments {
    /// Show the groups of the window that starts at this time
    #[arg(long, value_name = "TIME", value_parser = values::window_start)]
    pub window: Option<Timestamp>,
    /// Show the groups with this value in a key column
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Print one JSON object instead of tables
    #[arg(long)]
    pub json: bool,
    /// How many of the newest batches to list, or all: a checkpoint remembers 10,000
    #[arg(long, value_name = "BATCHES", default_value = "10", value_parser = values::history)]
    pub history: usize,
    /// Which checkpoint.
    #[command(flatten)]
    pub state: StateArguments,
    /// Where Kafka is, for the lag.
    #[command(flatten)]
    pub connect: ConnectArguments,
}

/// What to do about checkpoints.
#[derive(Debug, Subcommand)]
pub enum CheckpointsCommand {
    /// List the checkpointed batches that can be seen, oldest first
    List(StateArguments),
    /// Read every value, every checksum and the digest chain
    ///
    /// Changes nothing. Names whatever is damaged and ends with 11 then. The processor must not be
    /// running.
    Verify(StateArguments),
    /// Copy a checkpoint into a new directory, also beside a live process
    Backup(BackupArguments),
    /// Put a backup into a checkpoint directory that holds none of this pipeline
    ///
    /// The checkpoint is then older than what Kafka and the sinks have seen, so that the next run asks
    /// for --accept-rollback; giving it here grants it to that one run. A backup that was gone on from
    /// before needs the run's --accept-rollback=LINEAGE, which its refusal prints.
    Restore(RestoreArguments),
}

/// `checkpoints backup`
#[derive(Debug, Args)]
pub struct BackupArguments {
    /// Where to; must be empty or not there yet
    #[arg(value_name = "DEST")]
    pub to: PathBuf,
    /// Which checkpoint.
    #[command(flatten)]
    pub state: StateArguments,
}

/// `checkpoints restore`
#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// The backup
    #[arg(value_name = "BACKUP")]
    pub from: PathBuf,
    /// Let the next run go on although later batches of the backup's own history were seen
    #[arg(long)]
    pub accept_rollback: bool,
    /// Which checkpoint.
    #[command(flatten)]
    pub state: StateArguments,
}
