//! `checkpoints list|verify|backup|restore`, and finding a pipeline's state directory.

use std::{fs, io::Write as _, path::PathBuf};

use super::Failure;
use crate::{
    checkpoint::{CheckpointError, rocks},
    cli::{BackupArguments, CheckpointsCommand, RestoreArguments, StateArguments},
    engine::EngineError,
    types::{Timestamp, timestamp_text},
};

pub(super) fn checkpoints(command: CheckpointsCommand) -> Result<(), Failure> {
    match command {
        CheckpointsCommand::List(state) => list(&state),
        CheckpointsCommand::Verify(state) => verify(&state),
        CheckpointsCommand::Backup(arguments) => backup(&arguments),
        CheckpointsCommand::Restore(arguments) => restore(&arguments),
    }
}

/// The state directory of the pipeline that was named, or of the only one there is.
pub(super) fn state_directory(state: &StateArguments) -> Result<PathBuf, Failure> {
    let root = &state.checkpoint_dir;
    if let Some(name) = &state.pipeline {
        let directory = root.join(name);
        if directory.is_dir() {
            return Ok(directory);
        }
        return Err(Failure::new(1, format!("there is no checkpoint in {}", directory.display())));
    }
    let entries = fs::read_dir(root)
        .map_err(|error| Failure::new(1, format!("{} cannot be read: {error}", root.display())))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("db").is_dir() || path.join("visible").is_file())
        .collect();
    found.sort();
    match found.len() {
        0 => Err(Failure::new(1, format!("there is no checkpoint in {} yet", root.display()))),
        1 => Ok(found.remove(0)),
        _ => {
            let names: Vec<_> = found
                .iter()
                .filter_map(|path| path.file_name())
                .map(|name| name.to_string_lossy().into_owned())
                .collect();
            Err(Failure::new(
                2,
                format!(
                    "{} holds several pipelines; name one with --pipeline: {}",
                    root.display(),
                    names.join(", ")
                ),
            ))
        }
    }
}

fn failure(error: CheckpointError) -> Failure {
    let error = EngineError::Checkpoint(error);
    Failure::new(error.exit_code(), error)
}

fn list(state: &StateArguments) -> Result<(), Failure> {
    let records = rocks::list(&state_directory(state)?).map_err(failure)?;
    let mut out = std::io::stdout().lock();
    let heading =
        "    batch  time                        rows in      late  malformed  rows out  digest";
    // A reader that has seen enough is no failure.
    let _ = writeln!(out, "{heading}");
    for record in records {
        let time = timestamp_text(Timestamp(record.clock_ms.saturating_mul(1000)));
        let line = format!(
            "{:>9}  {time:<23}  {:>10} {:>9}  {:>9} {:>9}  {}",
            record.batch.0,
            record.counts.rows_in,
            record.counts.late,
            record.counts.malformed(),
            record.counts.rows_out,
            record.digest
        );
        if writeln!(out, "{line}").is_err() {
            break;
        }
    }
    Ok(())
}

fn verify(state: &StateArguments) -> Result<(), Failure> {
    let directory = state_directory(state)?;
    let report = rocks::verify(&directory).map_err(failure)?;
    if !report.problems.is_empty() {
        for problem in &report.problems {
            super::print(&format!("damaged: {problem}\n"))?;
        }
        return Err(Failure::new(
            11,
            format!(
                "{} has {} problem(s); restore the newest backup (`sales-stream checkpoints restore`)",
                directory.display(),
                report.problems.len()
            ),
        ));
    }
    let values: u64 = report.values.values().sum();
    let batch =
        report.batch.map_or_else(|| "no batch yet".to_owned(), |batch| format!("batch {batch}"));
    super::print(&format!(
        "ok: {batch}, {values} values, {} bytes, every checksum and digest right\n",
        report.bytes
    ))
}

fn backup(arguments: &BackupArguments) -> Result<(), Failure> {
    let directory = state_directory(&arguments.state)?;
    let backup = rocks::backup(&directory, &arguments.to).map_err(failure)?;
    super::print(&told("backed up", &backup, &arguments.to))
}

fn restore(arguments: &RestoreArguments) -> Result<(), Failure> {
    let rollback = if arguments.accept_rollback {
        rocks::Rollback::AcceptOnce
    } else {
        rocks::Rollback::Refuse
    };
    let root = &arguments.state.checkpoint_dir;
    let name = match &arguments.state.pipeline {
        Some(name) => name.clone(),
        None => rocks::backup_pipeline(&arguments.from).map_err(failure)?,
    };
    let directory = root.join(name);
    let backup = rocks::restore(&arguments.from, &directory, rollback).map_err(failure)?;
    super::print(&told("restored", &backup, &directory))
}

fn told(verb: &str, backup: &rocks::Backup, place: &std::path::Path) -> String {
    let batch =
        backup.batch.map_or_else(|| "no batch yet".to_owned(), |batch| format!("batch {batch}"));
    format!(
        "{verb} pipeline {} ({batch}, {} files, {} bytes) to {}\n",
        backup.pipeline,
        backup.files,
        backup.bytes,
        place.display()
    )
}
