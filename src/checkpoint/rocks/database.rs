//! RocksDB itself: its options, and the four things we ask of it.
//!
//! Every error of the library ends the handle's use. Iterators are asked for their status behind
//! their last entry, because one that met damage looks like one that is done.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DBRecoveryMode,
    DBWithThreadMode, FlushOptions, LogLevel, MultiThreaded, Options, ReadOptions, WriteBatch,
    WriteOptions,
};

use super::{database_path, directory, records};
use crate::{
    checkpoint::{
        CheckpointError,
        codec::Family,
        ledger::{Durability, Edit, Families, Visit, corrupt},
    },
    faults::{Mutant, is_planted},
};

type Db = DBWithThreadMode<MultiThreaded>;

/// What an edit takes in a write batch beside its bytes, at most: a kind, a family, two lengths.
const EDIT_BYTES: usize = 16;

/// How much memory a database may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseRoom {
    /// All families together hold at most this much that is only in the log, besides one being written.
    pub write_buffer_bytes: usize,
    /// What is kept of what was read.
    pub block_cache_bytes: usize,
}

impl Default for DatabaseRoom {
    fn default() -> DatabaseRoom {
        DatabaseRoom { write_buffer_bytes: 24 << 20, block_cache_bytes: 8 << 20 }
    }
}

/// From so many files at level 0 on writes are slowed down, at twice as many they wait for compaction.
const L0_FILES_SLOW: i32 = 200;
const WAL_BYTES: u64 = 64 << 20;

/// Each log names the one before it, so that a closed one that was cut is noticed. What recovery read out
/// of a log whose end was never synced is durable when it returns, because it may be shown next. And
/// files take the space they need: laid out ahead, a log and a MANIFEST of a few kilobytes would take
/// 20 MB, so that a small disk is full before the first batch.
const OPTIONS_AS_TEXT: &str =
    "track_and_verify_wals=true;avoid_flush_during_recovery=false;allow_fallocate=false";

/// How the write-ahead log may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogEnd {
    /// With a whole record, or with the beginning of one that was being written.
    Whole,
    /// With a record of full length and wrong content; everything from it on is dropped.
    TornRecord,
}

/// Whether there is anything to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// No database, or one that was never written to.
    Nothing,
    /// A database.
    Database,
}

/// Finds out whether a database was ever made here, from file names alone.
pub(super) fn presence(directory: &Path) -> Result<Presence, CheckpointError> {
    let path = database_path(directory);
    let listed = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Presence::Nothing),
        listed => listed.and_then(Iterator::collect::<Result<Vec<_>, _>>),
    };
    let entries =
        listed.map_err(|error| directory::storage(directory, "listing the database", &error))?;
    let holds = |wanted: &dyn Fn(&str) -> bool| {
        entries.iter().any(|entry| entry.file_name().to_str().is_some_and(wanted))
    };
    let data = holds(&|name| name.ends_with(".sst") || name.ends_with(".log"));
    match (data, holds(&|name| name == "CURRENT")) {
        (false, _) => Ok(Presence::Nothing),
        (true, true) => Ok(Presence::Database),
        (true, false) => Err(corrupt(directory, "the file db/CURRENT is missing")),
    }
}

/// Removes what a start that was killed while making a database left: no file with data is there.
pub(super) fn remove_leftovers(directory: &Path) -> Result<(), CheckpointError> {
    match fs::remove_dir_all(database_path(directory)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(directory::storage(directory, "removing an unfinished database", &error))
        }
        _ => Ok(()),
    }
}

/// An open database.
pub(super) struct Database {
    db: Db,
    directory: PathBuf,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Database {
    /// Opens for writing, making the database where there is none.
    pub fn open(
        directory: &Path,
        log_end: LogEnd,
        room: DatabaseRoom,
    ) -> Result<Database, CheckpointError> {
        records::refuse_endless(directory)?;
        directory::keep_database_private(directory).map_err(|error| {
            directory::storage(directory, "making the database private", &error)
        })?;
        let mut options = options(directory, log_end, room)?;
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let families = Family::ALL.map(|family| descriptor(family.name(), room));
        let db = Db::open_cf_descriptors(&options, database_path(directory), families)
            .map_err(|error| failed(directory, "opening the database", &error))?;
        Ok(Database { db, directory: directory.to_owned() })
    }

    /// Opens for reading; changes nothing on disk.
    pub fn read_only(directory: &Path, log_end: LogEnd) -> Result<Database, CheckpointError> {
        records::refuse_endless(directory)?;
        let room = DatabaseRoom::default();
        let options = options(directory, log_end, room)?;
        let families = known_families(directory, &options)?;
        let db = Db::open_cf_descriptors_read_only(
            &options,
            database_path(directory),
            families.iter().map(|name| descriptor(name, room)),
            false,
        )
        .map_err(|error| failed(directory, "reading the database", &error))?;
        Ok(Database { db, directory: directory.to_owned() })
    }

    /// Opens beside a live writer, with RocksDB's notes in `scratch`; changes nothing in `directory`.
    pub fn secondary(directory: &Path, scratch: &Path) -> Result<Database, CheckpointError> {
        records::refuse_endless(directory)?;
        let room = DatabaseRoom::default();
        let options = options(directory, LogEnd::Whole, room)?;
        let families = known_families(directory, &options)?;
        let db = Db::open_cf_descriptors_as_secondary(
            &options,
            database_path(directory).as_path(),
            scratch,
            families.iter().map(|name| descriptor(name, room)),
        )
        .map_err(|error| failed(directory, "reading the database", &error))?;
        Ok(Database { db, directory: directory.to_owned() })
    }

    pub fn write(&self, edits: Vec<Edit>, durability: Durability) -> Result<(), CheckpointError> {
        // A batch that grows by doubling is copied as often, and leaves holes as large.
        let bytes = |edit: &Edit| match edit {
            Edit::Put(entry) => entry.key.len() + entry.value.len() + EDIT_BYTES,
            Edit::Delete(_, key) => key.len() + EDIT_BYTES,
            Edit::DeleteRange(_, from, to) => from.len() + to.len() + EDIT_BYTES,
        };
        let mut batch = WriteBatch::with_capacity_bytes(edits.iter().map(bytes).sum());
        for edit in edits {
            match edit {
                Edit::Put(entry) => {
                    batch.put_cf(&self.family(entry.family)?, entry.key, entry.value);
                }
                Edit::Delete(family, key) => batch.delete_cf(&self.family(family)?, key),
                Edit::DeleteRange(family, from, to) => {
                    batch.delete_range_cf(&self.family(family)?, from, to);
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        if is_planted(Mutant::SkipSync) {
            options.set_sync(false);
            options.disable_wal(true);
        }
        self.db
            .write_opt(batch, &options)
            .map_err(|error| self.storage("writing the checkpoint", &error))
    }

    pub fn flush(&self) -> Result<(), CheckpointError> {
        let families =
            Family::ALL.iter().map(|family| self.family(*family)).collect::<Result<Vec<_>, _>>()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db
            .flush_cfs_opt(&families.iter().collect::<Vec<_>>(), &options)
            .map_err(|error| self.storage("flushing the checkpoint", &error))
    }

    fn family(
        &self,
        family: Family,
    ) -> Result<std::sync::Arc<BoundColumnFamily<'_>>, CheckpointError> {
        self.db.cf_handle(family.name()).ok_or_else(|| {
            corrupt(&self.directory, format!("its family {} is missing", family.name()))
        })
    }

    fn storage(&self, attempt: &'static str, error: &rocksdb::Error) -> CheckpointError {
        CheckpointError::Storage {
            directory: self.directory.clone(),
            attempt,
            problem: error.to_string(),
        }
    }
}

impl Families for Database {
    fn directory(&self) -> &Path {
        &self.directory
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, CheckpointError> {
        // A database killed while it was being made lacks families, and holds nothing.
        let Some(handle) = self.db.cf_handle(family.name()) else { return Ok(None) };
        let found = self.db.get_pinned_cf_opt(&handle, key, &read_options());
        let found =
            found.map_err(|error| failed(&self.directory, "reading the checkpoint", &error))?;
        Ok(found.map(|value| value.to_vec()))
    }

    fn scan(&self, family: Family, visit: &mut Visit<'_>) -> Result<(), CheckpointError> {
        let Some(handle) = self.db.cf_handle(family.name()) else { return Ok(()) };
        let mut entries = self.db.raw_iterator_cf_opt(&handle, read_options());
        entries.seek_to_first();
        while let Some((key, value)) = entries.item() {
            visit(key, value)?;
            entries.next();
        }
        entries.status().map_err(|error| failed(&self.directory, "reading the checkpoint", &error))
    }
}

/// What an error while reading means: damage, unless the system itself failed.
fn failed(directory: &Path, attempt: &'static str, error: &rocksdb::Error) -> CheckpointError {
    match error.kind() {
        rocksdb::ErrorKind::Corruption | rocksdb::ErrorKind::InvalidArgument => {
            corrupt(directory, format!("{attempt} failed: {error}"))
        }
        rocksdb::ErrorKind::IOError if is_missing_file(error) => {
            corrupt(directory, format!("{attempt} failed: {error}"))
        }
        _ => CheckpointError::Storage {
            directory: directory.to_owned(),
            attempt,
            problem: error.to_string(),
        },
    }
}

/// RocksDB reports a file that its own list names and that is gone as an I/O error.
fn is_missing_file(error: &rocksdb::Error) -> bool {
    error.to_string().contains("No such file or directory")
}

fn known_families(directory: &Path, options: &Options) -> Result<Vec<String>, CheckpointError> {
    let found = Db::list_cf(options, database_path(directory))
        .map_err(|error| failed(directory, "listing the families", &error))?;
    for name in &found {
        let known = name == rocksdb::DEFAULT_COLUMN_FAMILY_NAME
            || Family::ALL.iter().any(|family| family.name() == name);
        if !known {
            return Err(CheckpointError::Misfit {
                directory: directory.to_owned(),
                problem: format!(
                    "it has a family {name:?} that this version does not know; use the version that \
                     wrote it"
                ),
            });
        }
    }
    Ok(found)
}

fn read_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options.fill_cache(false);
    options
}

fn options(
    directory: &Path,
    log_end: LogEnd,
    room: DatabaseRoom,
) -> Result<Options, CheckpointError> {
    // Only reached through text.
    let mut options = Options::default()
        .get_options_from_string(OPTIONS_AS_TEXT)
        .map_err(|error| failed(directory, "setting up the database", &error))?;
    // The default mode opens at the first damaged record and drops the rest without a word.
    options.set_wal_recovery_mode(match log_end {
        LogEnd::Whole => DBRecoveryMode::TolerateCorruptedTailRecords,
        LogEnd::TornRecord => DBRecoveryMode::PointInTime,
    });
    options.set_paranoid_checks(true);
    // Every file is opened, and so looked at, at the start.
    options.set_max_open_files(-1);
    // There are few of them; the default makes sixteen threads for each family.
    options.set_max_file_opening_threads(1);
    options.set_recycle_log_file_num(0);
    options.set_max_total_wal_size(WAL_BYTES);
    options.set_db_write_buffer_size(room.write_buffer_bytes);
    options.set_max_manifest_file_size(4 << 20);
    options.set_max_background_jobs(2);
    options.set_skip_stats_update_on_db_open(true);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    Ok(options)
}

fn descriptor(name: &str, room: DatabaseRoom) -> ColumnFamilyDescriptor {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(room.block_cache_bytes / Family::ALL.len()));
    table.set_block_size(64 << 10);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(rocksdb::DBCompressionType::None);
    // What goes ahead comes in order and by the gigabyte, so that files at level 0 do not overlap and cost a
    // reader nothing: slowed down at twenty of them, as is the default, it takes ten times as long.
    options.set_level_zero_slowdown_writes_trigger(L0_FILES_SLOW);
    options.set_level_zero_stop_writes_trigger(2 * L0_FILES_SLOW);
    options.set_write_buffer_size(match name {
        _ if name == Family::Windows.name() => room.write_buffer_bytes / 2,
        // Output goes ahead a mebibyte at a time.
        _ if name == Family::Outbox.name() => room.write_buffer_bytes / 2,
        _ => room.write_buffer_bytes / 16,
    });
    ColumnFamilyDescriptor::new(name, options)
}
