//! `inspect`
use super::Failure;
use crate::cli::InspectArguments;
pub(super) fn inspect(_: &InspectArguments) -> Result<(), Failure> { Err(Failure::new(1, "to come")) }
