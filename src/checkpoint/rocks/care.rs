//! Care of a state directory: checking every byte that counts, copying it, putting a copy back.
//!
//! A backup is a database of its own, written anew from everything a consistent view holds, so that it
//! shares no block with the original and can be made beside a live process. `manifest.json`, written
//! last, names every file with its BLAKE3 hash.

mod files;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::{
    RocksView,
    database::{self, Database, DatabaseRoom, LogEnd, Presence},
    database_path,
    directory::{StateDirectory, check, storage, sync_directory},
    view,
};
use crate::{
    batch::{BatchRecord, VisibleFact},
    checkpoint::{
        Announcement, CheckpointError, VisibleFile,
        codec::{self, Family},
        ledger::{Contents, Durability, Edit, Families, corrupt, link_problem},
        visible,
    },
    faults::{Point, reach},
    spec::check_pipeline_name,
    types::BatchId,
};

const MANIFEST: &str = "manifest.json";
const MANIFEST_FORMAT: u32 = 1;
const STAGING: &str = ".restoring";
/// A backup is written in pieces of about this many bytes.
const COPY_BYTES: usize = 4 << 20;

/// What a check of a state directory found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The newest batch that can be read.
    pub batch: Option<BatchId>,
    /// How many values each family holds.
    pub values: BTreeMap<&'static str, u64>,
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// Everything that is not as it was written, with the file or key; empty when all is well.
    pub problems: Vec<String>,
    /// What is not a problem and worth a word: a crash may leave it.
    pub remarks: Vec<String>,
    /// Whether the damage is only in what nobody has seen, so that the next start drops it.
    pub next_start_drops_it: bool,
}

/// A backup that was made or put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The pipeline it is of.
    pub pipeline: String,
    /// The newest batch in it.
    pub batch: Option<BatchId>,
    /// How many files it has.
    pub files: usize,
    /// How many bytes they have together.
    pub bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    pipeline: String,
    lineage: String,
    batch: Option<u64>,
    digest: Option<String>,
    files: BTreeMap<String, ManifestFile>,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct ManifestFile {
    bytes: u64,
    blake3: String,
}

/// Reads every value of a state directory that no process holds, every checksum, the digest chain and
/// `visible`. Changes nothing.
///
/// # Errors
/// Only what keeps it from looking: `Locked`, `Misfit`, `Storage`. Damage is in the report.
pub fn verify(directory: &Path) -> Result<Report, CheckpointError> {
    if !directory.is_dir() {
        let error = io::Error::from(io::ErrorKind::NotFound);
        return Err(storage(directory, "looking into the state directory", &error));
    }
    let _locked = StateDirectory::lock_to_look(directory)?;
    let reading = VisibleFile::read(directory)
        .map_err(|error| storage(directory, "reading the announce file", &error))?;
    let newest = reading.newest().map(|(_, newest)| newest);
    let mut report = Report { problems: reading.problems(), ..Report::default() };
    let database = match database::presence(directory) {
        Ok(Presence::Database) => Database::read_only(directory, LogEnd::Whole),
        Ok(Presence::Nothing) => {
            report.problems.extend(view::visible_problem(&Contents::none(), None, newest)?);
            return Ok(report);
        }
        Err(error) => Err(error),
    };
    match database {
        Ok(database) => verify_database(&database, newest, &mut report)?,
        Err(CheckpointError::Corrupt { problem, .. }) => {
            report.problems.push(problem);
            look_before_damage(directory, newest, &mut report)?;
        }
        Err(error) => return Err(error),
    }
    // A torn announcement had not returned, and the next one is written over it.
    let is_torn = !report.problems.is_empty() && report.problems == reading.problems();
    report.next_start_drops_it |= is_torn && !matches!(reading.fact(), VisibleFact::Unreadable(_));
    name_files(directory, &mut report)?;
    Ok(report)
}

/// What is left of a database whose log is damaged: up to which batch it can be read.
fn look_before_damage(
    directory: &Path,
    newest: Option<Announcement>,
    report: &mut Report,
) -> Result<(), CheckpointError> {
    let Ok(database) = Database::read_only(directory, LogEnd::TornRecord) else { return Ok(()) };
    let Ok(contents) = Contents::read(&database) else { return Ok(()) };
    report.batch = contents.last.as_ref().map(|last| last.batch);
    match view::visible_problem(&contents, Some(&database), newest)? {
        None => report.next_start_drops_it = newest.is_some(),
        problem => report.problems.extend(problem),
    }
    Ok(())
}

/// Puts the files that can be told to be damaged before what else was found. A log that only ends
/// within a record is a problem where something is missing, else the trace of a crash.
fn name_files(directory: &Path, report: &mut Report) -> Result<(), CheckpointError> {
    let failed = |error: io::Error| storage(directory, "reading the database's files", &error);
    let mut findings = files::findings(directory).map_err(failed)?;
    if findings.is_empty() && report.problems.iter().any(|problem| is_of_some_table(problem)) {
        let names = files::sorted_files(directory).map_err(failed)?;
        let problem = format!("CURRENT, the MANIFEST and the logs are right, so it is in {names}");
        report.problems.insert(0, problem);
    } else if findings.is_empty()
        && !report.problems.is_empty()
        && !report.problems.iter().any(|problem| names_its_place(problem))
    {
        let manifest = files::manifest(directory).map_err(failed)?;
        report.problems.push(format!(
            "every checksum is right, so db/{manifest} or a log was cut between two records, or a \
             file is older than the others"
        ));
    }
    if report.problems.is_empty() {
        let crash = findings.extract_if(.., |finding| finding.is_unfinished_write);
        report.remarks.extend(crash.map(|finding| finding.problem));
    }
    report.problems.splice(0..0, findings.into_iter().map(|finding| finding.problem));
    Ok(())
}

/// Whether a problem tells its file, or the batches that are missing.
fn names_its_place(problem: &str) -> bool {
    ["db/", "`visible`", "announced"].iter().any(|place| problem.contains(place))
}

/// Whether RocksDB met damage and did not say in which sorted file: it then suspects the MANIFEST.
fn is_of_some_table(problem: &str) -> bool {
    problem.contains("Corruption: ") && !problem.contains(".sst")
}

fn verify_database(
    database: &Database,
    newest: Option<Announcement>,
    report: &mut Report,
) -> Result<(), CheckpointError> {
    for family in Family::ALL {
        let mut values = 0;
        let mut last: Option<BatchRecord> = None;
        let scanned = database.scan(family, &mut |key, value| {
            values += 1;
            report.bytes += (key.len() + value.len()) as u64;
            match codec::check_value(family, key, value) {
                Err(error) => report.problems.push(format!(
                    "{} {}: {error}",
                    family.name(),
                    key.escape_ascii()
                )),
                Ok(Some(record)) => {
                    report.problems.extend(link_problem(last.as_ref(), &record));
                    last = Some(record);
                }
                Ok(None) => {}
            }
            Ok(())
        });
        report.values.insert(family.name(), values);
        note(report, scanned)?;
        if family == Family::History {
            report.batch = last.map(|last| last.batch);
        }
    }
    if !report.problems.is_empty() {
        return Ok(());
    }
    match Contents::read(database) {
        Ok(contents) => {
            let groups = contents.restore_groups(database, None, &mut |_, _, _| Ok(()));
            note(report, groups)?;
            let problem = view::visible_problem(&contents, Some(database), newest);
            report.problems.extend(problem?);
            Ok(())
        }
        Err(error) => note(report, Err(error)),
    }
}

/// Damage goes into the report; what keeps us from looking ends the check.
fn note(report: &mut Report, done: Result<(), CheckpointError>) -> Result<(), CheckpointError> {
    match done {
        Err(CheckpointError::Corrupt { problem, .. }) => report.problems.push(problem),
        other => return other,
    }
    Ok(())
}

/// Copies a checkpoint into a directory that is empty or not there yet; works beside a live process.
///
/// The copy says of each batch whether it was announced, as the original did. One that was durable and
/// not announced yet is copied as such: a start on the copy publishes it, as a start on the original
/// after a crash would, and where the original went another way meanwhile its commits or files name
/// another digest, which refuses the start.
///
/// # Errors
/// `Misfit` when there is nothing to copy or the destination is not empty, `Stale` when the
/// checkpoint is older than what was announced, `Corrupt`, `Storage`.
pub fn backup(directory: &Path, destination: &Path) -> Result<Backup, CheckpointError> {
    let view = RocksView::open(directory)?;
    let misfit = |problem: &str| CheckpointError::Misfit {
        directory: directory.to_owned(),
        problem: problem.to_owned(),
    };
    let (Some(source), Some(genesis)) = (&view.database, &view.contents.genesis) else {
        return Err(misfit("there is nothing to copy yet"));
    };
    if view.is_behind() {
        return Err(CheckpointError::Stale {
            directory: directory.to_owned(),
            problem: format!(
                "{}. A copy of it would be refused, so none was made",
                view.problem()?.unwrap_or_default()
            ),
        });
    }
    make_empty(destination)?;
    copy_database(source, &view.contents.orphans, destination)?;
    reach(Point::BackupCopied);
    if let Some(newest) = view.newest_announced_within() {
        VisibleFile::create_announced(destination, &newest)
            .map_err(|error| storage(destination, "writing the announce file", &error))?;
    }
    reach(Point::BackupAnnounced);
    let copied = Contents::read(&Database::read_only(destination, LogEnd::Whole)?)?;
    if copied.head != view.contents.head {
        return Err(corrupt(destination, "the copy is not what was copied"));
    }
    let files = describe_files(destination)
        .map_err(|error| storage(destination, "reading the copy back", &error))?;
    let last = view.contents.last.as_ref();
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        pipeline: genesis.pipeline.clone(),
        lineage: genesis.lineage.to_string(),
        batch: last.map(|last| last.batch.0),
        digest: last.map(|last| last.digest.to_string()),
        files,
    };
    write_manifest(destination, &manifest)
        .map_err(|error| storage(destination, "writing the manifest", &error))?;
    reach(Point::BackupWritten);
    Ok(summary(&manifest))
}

fn summary(manifest: &Manifest) -> Backup {
    Backup {
        pipeline: manifest.pipeline.clone(),
        batch: manifest.batch.map(BatchId),
        files: manifest.files.len(),
        bytes: manifest.files.values().map(|file| file.bytes).sum(),
    }
}

fn make_empty(destination: &Path) -> Result<(), CheckpointError> {
    let made = fs::create_dir_all(destination.parent().unwrap_or(Path::new("")))
        .and_then(|()| DirBuilder::new().mode(0o700).create(destination));
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            check(destination)?;
            let mut entries = fs::read_dir(destination)
                .map_err(|error| storage(destination, "looking at the destination", &error))?;
            if entries.next().is_some() {
                return Err(CheckpointError::Misfit {
                    directory: destination.to_owned(),
                    problem:
                        "a backup needs a directory of its own, and this one is not empty; name \
                              one that is empty or does not exist yet"
                            .to_owned(),
                });
            }
            Ok(())
        }
        Err(error) => Err(storage(destination, "making the destination", &error)),
        Ok(()) => Ok(()),
    }
}

/// Copies everything but the output of a batch that is still read.
fn copy_database(
    source: &Database,
    orphans: &BTreeSet<(Family, Vec<u8>)>,
    destination: &Path,
) -> Result<(), CheckpointError> {
    let copy = Database::open(destination, LogEnd::Whole, DatabaseRoom::default())?;
    for family in Family::ALL {
        let (mut edits, mut bytes) = (Vec::new(), 0);
        source.scan(family, &mut |key, value| {
            if !orphans.is_empty() && orphans.contains(&(family, key.to_vec())) {
                return Ok(());
            }
            bytes += key.len() + value.len();
            let (key, value) = (key.to_vec(), value.to_vec());
            edits.push(Edit::Put(codec::Entry { family, key, value }));
            if bytes >= COPY_BYTES {
                bytes = 0;
                copy.write(std::mem::take(&mut edits), Durability::Unsynced)?;
            }
            Ok(())
        })?;
        copy.write(edits, Durability::Synced)?;
    }
    copy.flush()
}

/// The files that make up a copy, synced: RocksDB's notes and our dotfiles are no part of it.
fn describe_files(root: &Path) -> io::Result<BTreeMap<String, ManifestFile>> {
    let mut names = vec![];
    for entry in fs::read_dir(database_path(root))? {
        let name = entry?.file_name();
        let name = name.to_str().ok_or(io::ErrorKind::InvalidData)?;
        if !name.starts_with("LOG") && name != "LOCK" {
            names.push(format!("db/{name}"));
        }
    }
    if VisibleFile::path(root).exists() {
        names.push(visible::FILE_NAME.to_owned());
    }
    let mut files = BTreeMap::new();
    for name in names {
        let path = root.join(&name);
        File::open(&path)?.sync_all()?;
        files.insert(name, describe_file(&path)?);
    }
    sync_directory(&database_path(root))?;
    sync_directory(root)?;
    Ok(files)
}

fn describe_file(path: &Path) -> io::Result<ManifestFile> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut file, &mut hasher)?;
    Ok(ManifestFile { bytes, blake3: hasher.finalize().to_hex().to_string() })
}

fn write_manifest(root: &Path, manifest: &Manifest) -> io::Result<()> {
    let new = root.join(".manifest.new");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec_pretty(manifest)?)?;
    file.sync_all()?;
    fs::rename(&new, root.join(MANIFEST))?;
    sync_directory(root)?;
    match root.canonicalize()?.parent() {
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

/// Puts a backup into a state directory that holds no checkpoint. With `accept_rollback` the next
/// start may go on from it although later batches were seen, once, as a new lineage.
///
/// # Errors
/// `Corrupt` when a file of the backup is not what was written, `Misfit` when the directory holds a
/// checkpoint, `Locked`, `Storage`.
pub fn restore(
    backup: &Path,
    directory: &Path,
    rollback: Rollback,
) -> Result<Backup, CheckpointError> {
    let manifest = read_manifest(backup)?;
    let locked = StateDirectory::lock(directory)?;
    let staging = directory.join(STAGING);
    clear_unfinished(directory, &staging)?;
    DirBuilder::new()
        .mode(0o700)
        .create(&staging)
        .and_then(|()| DirBuilder::new().mode(0o700).create(database_path(&staging)))
        .map_err(|error| storage(directory, "making room for the backup", &error))?;
    for (name, described) in &manifest.files {
        copy_file(backup, &staging, name, described)?;
    }
    reach(Point::RestoreStaged);
    if rollback == Rollback::AcceptOnce {
        let database = Database::open(&staging, LogEnd::Whole, DatabaseRoom::default())?;
        let permission = vec![Edit::Put(codec::encode_rollback_accepted())];
        database.write(permission, Durability::Synced)?;
        reach(Point::RestorePermitted);
    }
    Contents::read(&Database::read_only(&staging, LogEnd::Whole)?)?;
    let moved = sync_directory(&database_path(&staging)).and_then(|()| {
        if VisibleFile::path(&staging).exists() {
            fs::rename(VisibleFile::path(&staging), VisibleFile::path(directory))?;
        }
        reach(Point::RestoreVisibleMoved);
        fs::rename(database_path(&staging), database_path(directory))?;
        reach(Point::RestoreMoved);
        sync_directory(directory)?;
        fs::remove_dir_all(&staging)
    });
    moved.map_err(|error| storage(directory, "moving the backup into place", &error))?;
    locked.sync()?;
    Ok(summary(&manifest))
}

/// Whether a restored checkpoint may go on although later batches were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollback {
    /// No: the next start refuses when anyone has seen more.
    Refuse,
    /// The next start may, and no later one.
    AcceptOnce,
}

/// The pipeline that a backup is of.
///
/// # Errors
/// `Misfit` when it is no backup, `Corrupt` when its manifest cannot be read, `Storage`.
pub fn backup_pipeline(backup: &Path) -> Result<String, CheckpointError> {
    Ok(read_manifest(backup)?.pipeline)
}

fn read_manifest(backup: &Path) -> Result<Manifest, CheckpointError> {
    let path = backup.join(MANIFEST);
    let bytes = fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => CheckpointError::Misfit {
            directory: backup.to_owned(),
            problem: format!("it is no backup, or an unfinished one: there is no {MANIFEST}"),
        },
        _ => storage(backup, "reading the manifest", &error),
    })?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| corrupt(backup, format!("{MANIFEST} cannot be read: {error}")))?;
    if manifest.format != MANIFEST_FORMAT {
        return Err(CheckpointError::Misfit {
            directory: backup.to_owned(),
            problem: format!("the backup is of format {}; use the newer version", manifest.format),
        });
    }
    // It becomes the name of a directory.
    check_pipeline_name(&manifest.pipeline)
        .map_err(|error| corrupt(backup, format!("{MANIFEST}: {error}")))?;
    Ok(manifest)
}

/// Removes what an interrupted restore left, so that restoring again cannot take a history that was
/// begun or gone on with since for a part of it.
pub(super) fn forget_unfinished_restore(directory: &Path) -> Result<(), CheckpointError> {
    remove(&directory.join(STAGING))
        .map_err(|error| storage(directory, "removing an unfinished restore", &error))
}

/// Makes sure nothing is overwritten but what an interrupted restore left.
fn clear_unfinished(directory: &Path, staging: &Path) -> Result<(), CheckpointError> {
    let (database, visible) = (database_path(directory), VisibleFile::path(directory));
    let cleared = if staging.exists() {
        [&database, &visible]
            .into_iter()
            .try_for_each(|path| remove(path))
            .and_then(|()| remove(staging))
    } else if database.exists() || visible.exists() {
        return Err(CheckpointError::Misfit {
            directory: directory.to_owned(),
            problem: "it holds a checkpoint; move it away before putting a backup there".to_owned(),
        });
    } else {
        Ok(())
    };
    cleared.map_err(|error| storage(directory, "removing an unfinished restore", &error))
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn copy_file(
    backup: &Path,
    staging: &Path,
    name: &str,
    described: &ManifestFile,
) -> Result<(), CheckpointError> {
    let target = safe_target(staging, name)
        .ok_or_else(|| corrupt(backup, format!("{MANIFEST} names a strange file {name:?}")))?;
    let copied = copy_regular(&backup.join(name), &target).and_then(|()| describe_file(&target));
    match copied {
        Ok(copy) if copy == *described => Ok(()),
        Ok(_) => Err(corrupt(backup, format!("{name} is not what was written"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(corrupt(backup, format!("{name} is missing")))
        }
        Err(error) => Err(storage(staging, "copying the backup", &error)),
    }
}

/// Copies a file's bytes, synced, for the owner alone. A link in a backup could lead anywhere.
fn copy_regular(from: &Path, to: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut source = File::from(rustix::fs::open(from, flags, Mode::empty())?);
    if !source.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
    }
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut target)?;
    target.sync_all()
}

/// Names in a manifest come from outside: only `visible` and plain names under `db/` are ours.
fn safe_target(staging: &Path, name: &str) -> Option<PathBuf> {
    let plain = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    };
    let ours = name == visible::FILE_NAME || name.strip_prefix("db/").is_some_and(plain);
    ours.then(|| staging.join(name))
}

#[cfg(test)]
#[path = "care_tests.rs"]
mod tests;
