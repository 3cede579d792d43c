//! `checkpoints list|verify|backup|restore`, and finding a pipeline's state directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Failure;
use crate::{
    checkpoint::{CheckpointError, rocks},
    cli::{BackupArguments, CheckpointsCommand, RestoreArguments, StateArguments},
    engine::EngineError,
    inspect::clock_text,
    spec::check_pipeline_name,
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
        check_pipeline_name(name).map_err(|error| Failure::new(2, error))?;
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

/// So many digits of a digest tell batches apart; `inspect --json` has whole ones.
const DIGEST_SHOWN: usize = 10;

fn list(state: &StateArguments) -> Result<(), Failure> {
    let directory = state_directory(state)?;
    let view = rocks::RocksView::open(&directory).map_err(failure)?;
    let records = view.history().map_err(failure)?;
    let mut text =
        "    batch time                       rows in    late malform rows out digest\n".to_owned();
    for record in records {
        let time = clock_text(record.clock_ms);
        let digest = record.digest.to_string();
        text += &format!(
            "{:>9} {time:<24} {:>9} {:>7} {:>7} {:>8} {}\n",
            record.batch.0,
            record.counts.rows_in,
            record.counts.late,
            record.counts.malformed(),
            record.counts.rows_out,
            digest.get(..DIGEST_SHOWN).unwrap_or(&digest)
        );
    }
    super::print(&text)?;
    behind(&directory, &view)
}

/// Nothing, or exit 13 when what was shown is older than what was announced.
pub(super) fn behind(directory: &Path, view: &rocks::RocksView) -> Result<(), Failure> {
    match view.problem().map_err(failure)? {
        None => Ok(()),
        Some(problem) => Err(failure(CheckpointError::Stale {
            directory: directory.to_owned(),
            problem: format!(
                "{problem}. A start will refuse it; restore the newest backup (`sales-stream \
                 checkpoints restore`)"
            ),
        })),
    }
}

fn verify(state: &StateArguments) -> Result<(), Failure> {
    let directory = state_directory(state)?;
    let report = rocks::verify(&directory).map_err(failure)?;
    for problem in &report.problems {
        super::print(&format!("damaged: {problem}\n"))?;
    }
    for remark in &report.remarks {
        super::print(&format!("note: {remark}, as after a crash; no batch is missing\n"))?;
    }
    if !report.problems.is_empty() {
        let remedy = if report.next_start_drops_it {
            "only what nobody has seen is lost, and the next start drops it"
        } else {
            "a start refuses what it cannot trust; restore the newest backup then (`sales-stream \
             checkpoints restore`)"
        };
        return Err(Failure::new(11, format!("{} is damaged: {remedy}", directory.display())));
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
    if fs::read_dir(&arguments.to).is_ok_and(|mut entries| entries.next().is_some()) {
        let place = arguments.to.display();
        return Err(Failure::new(
            2,
            format!("{place} is not empty: name a directory that is empty or does not exist yet"),
        ));
    }
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
    check_pipeline_name(&name).map_err(|error| Failure::new(2, error))?;
    let directory = root.join(name);
    let backup = rocks::restore(&arguments.from, &directory, rollback).map_err(failure)?;
    super::print(&told("restored", &backup, &directory))
}

fn told(verb: &str, backup: &rocks::Backup, place: &Path) -> String {
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
