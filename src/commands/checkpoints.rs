//! `checkpoints`
use super::Failure;
use crate::cli::CheckpointsCommand;
pub(super) fn checkpoints(_: CheckpointsCommand) -> Result<(), Failure> { Err(Failure::new(1, "to come")) }
