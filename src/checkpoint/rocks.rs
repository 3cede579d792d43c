//! The checkpoint on disk: a RocksDB directory held by one process.
//!
//! A state directory holds `.lock`, the announce file `visible` and RocksDB's own directory `db`.
//! Opening has two stages. `RocksCheckpoint::examine` takes the lock and reads everything from a
//! database opened read-only, so that a refusal changes nothing; [`Examined::into_open`] then opens it
//! for writing, and on return what was read is durable.
//!
//! Invariants: one process at a time (an advisory lock: it protects one host); a write is one
//! RocksDB write batch in the write-ahead log, synced where the ledger says so; a failed write or
//! sync is never retried; a log that ends in a record with a wrong checksum is only cut when `visible`
//! proves that nobody saw that record.
//!
//! Not here: keys and values (`codec`), what belongs together (`ledger`), what a start may do
//! (`batch::recover`).

mod care;
mod database;
mod directory;
mod records;
mod view;

pub use care::{Backup, Report, Rollback, backup, backup_pipeline, restore, verify};
pub use database::DatabaseRoom;
pub use view::RocksView;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    batch::VisibleFact,
    checkpoint::{
        Announcement, CheckpointError, Recovered, VisibleFile,
        codec::Family,
        ledger::{
            Contents, Durability, Edit, Families, Ledger, SharedFamilies, Store, Visit, corrupt,
        },
    },
    types::{BatchId, Incarnation},
};
use database::{Database, LogEnd, Presence};
use directory::StateDirectory;

/// A checkpoint in a state directory.
pub type RocksCheckpoint = Ledger<RocksStore>;

/// A state directory that was read, is locked and has not been changed.
#[derive(Debug)]
pub struct Examined {
    directory: StateDirectory,
    presence: Presence,
    log_end: LogEnd,
    contents: Contents,
    recovered: Recovered,
}

impl Ledger<RocksStore> {
    /// Locks a state directory, making it where there is none, and reads what it holds without
    /// changing it.
    ///
    /// # Errors
    /// `Locked` within a second when another process holds it; `Misfit` when it is a symbolic link,
    /// open to others, or of a newer format; `Corrupt`, `Stale` or `Storage`.
    pub fn examine(directory: &Path) -> Result<Examined, CheckpointError> {
        let directory = StateDirectory::lock(directory)?;
        let presence = database::presence(directory.path())?;
        let visible = read_visible(directory.path())?;
        let (contents, recovered, log_end) = match presence {
            Presence::Nothing => {
                let contents = Contents::none();
                let recovered = nothing_recovered(visible);
                (contents, recovered, LogEnd::Whole)
            }
            Presence::Database => read_database(directory.path(), visible)?,
        };
        if contents.is_empty()
            && let VisibleFact::Unreadable(why) = &recovered.visible
        {
            return Err(CheckpointError::Stale {
                directory: directory.path().to_owned(),
                problem: format!(
                    "the database is empty, and whether a batch was announced cannot be told, \
                     because `visible` cannot be read ({why})"
                ),
            });
        }
        Ok(Examined { directory, presence, log_end, contents, recovered })
    }

    /// [`RocksCheckpoint::examine`] and [`Examined::into_open`] in one.
    ///
    /// # Errors
    /// As these two.
    pub fn open(directory: &Path) -> Result<RocksCheckpoint, CheckpointError> {
        RocksCheckpoint::examine(directory)?.into_open()
    }
}

impl Examined {
    /// What the directory holds, without the groups.
    #[must_use]
    pub fn facts(&self) -> &Recovered {
        &self.recovered
    }

    /// Opens the directory for writing. On return everything that was read is durable.
    ///
    /// # Errors
    /// `Storage`, or `Corrupt` when it does not hold what was read before.
    pub fn into_open(self) -> Result<RocksCheckpoint, CheckpointError> {
        self.into_open_within(DatabaseRoom::default())
    }

    /// The same with as much memory as this.
    ///
    /// # Errors
    /// As [`Examined::into_open`].
    pub fn into_open_within(self, room: DatabaseRoom) -> Result<RocksCheckpoint, CheckpointError> {
        care::forget_unfinished_restore(self.directory.path())?;
        if self.presence == Presence::Nothing {
            database::remove_leftovers(self.directory.path())?;
        }
        if self.log_end == LogEnd::TornRecord {
            tracing::warn!(
                directory = %self.directory.path().display(),
                batch = self.recovered.last.as_ref().map(|last| last.batch.0),
                "the log ends in a torn record that nobody has seen; it is dropped"
            );
        }
        let database = Database::open(self.directory.path(), self.log_end, room)?;
        let visible = VisibleFile::open(self.directory.path())
            .map_err(|error| self.directory.storage("opening the announce file", &error))?;
        self.directory.sync()?;
        let (expected, path) = (self.contents.head, self.directory.path().to_owned());
        let held = Arc::new(HeldDatabase { database, state: self.directory });
        let ledger = Ledger::over(RocksStore { held, visible })?;
        if ledger.contents().head != expected {
            return Err(corrupt(&path, "opened for writing it is not what was read before"));
        }
        Ok(ledger)
    }
}

fn nothing_recovered(visible: VisibleFact) -> Recovered {
    Recovered {
        genesis: None,
        last: None,
        marks: Vec::new(),
        visible,
        rows_are_stored: false,
        incarnation: Incarnation(0),
        rollback_accepted: false,
    }
}

fn read_visible(directory: &Path) -> Result<VisibleFact, CheckpointError> {
    let reading = VisibleFile::read(directory).map_err(|error| CheckpointError::Storage {
        directory: directory.to_owned(),
        attempt: "reading the announce file",
        problem: error.to_string(),
    })?;
    Ok(reading.fact())
}

type Read = (Contents, Recovered, LogEnd);

fn read_database(directory: &Path, visible: VisibleFact) -> Result<Read, CheckpointError> {
    let strict = Database::read_only(directory, LogEnd::Whole);
    let refusal = match strict {
        Ok(database) => {
            let contents = Contents::read(&database)?;
            let recovered = contents.recovered(visible);
            return Ok((contents, recovered, LogEnd::Whole));
        }
        Err(refusal) => refusal,
    };
    read_up_to_torn_record(directory, visible, refusal)
}

/// A power cut can leave a whole-length record with a wrong checksum at the end of the log. Only
/// when `visible` is readable and not newer than what comes before it was that record never seen.
fn read_up_to_torn_record(
    directory: &Path,
    visible: VisibleFact,
    refusal: CheckpointError,
) -> Result<Read, CheckpointError> {
    let Ok(database) = Database::read_only(directory, LogEnd::TornRecord) else {
        return Err(refusal);
    };
    let contents = Contents::read(&database)?;
    let last = contents.last.as_ref().map(|last| last.batch);
    let stale =
        |problem: String| CheckpointError::Stale { directory: directory.to_owned(), problem };
    let ends =
        last.map_or_else(|| "before its first batch".to_owned(), |last| format!("at batch {last}"));
    match &visible {
        VisibleFact::At(_, seen, _) if Some(*seen) > last => Err(stale(format!(
            "its log is damaged ({refusal}); what can be read ends {ends}, but batch {seen} was \
             announced"
        ))),
        VisibleFact::Unreadable(why) => Err(stale(format!(
            "its log is damaged ({refusal}); what can be read ends {ends}, and whether a later batch \
             was announced cannot be told, because `visible` cannot be read ({why})"
        ))),
        VisibleFact::Absent if last > Some(BatchId(0)) => Err(stale(format!(
            "its log is damaged ({refusal}); what can be read ends {ends}, and `visible` is missing"
        ))),
        VisibleFact::At(..) | VisibleFact::Absent => {
            let recovered = contents.recovered(visible);
            Ok((contents, recovered, LogEnd::TornRecord))
        }
    }
}

/// The store of a [`RocksCheckpoint`].
#[derive(Debug)]
pub struct RocksStore {
    held: Arc<HeldDatabase>,
    visible: VisibleFile,
}

/// A database that no other process has, for as long as anyone here does.
#[derive(Debug)]
struct HeldDatabase {
    database: Database,
    /// Unlocked when this is dropped, after the database.
    state: StateDirectory,
}

impl Families for HeldDatabase {
    fn directory(&self) -> &Path {
        self.database.directory()
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, CheckpointError> {
        self.database.get(family, key)
    }

    fn scan(&self, family: Family, visit: &mut Visit<'_>) -> Result<(), CheckpointError> {
        self.database.scan(family, visit)
    }
}

impl SharedFamilies for HeldDatabase {
    fn write(&self, edits: Vec<Edit>, durability: Durability) -> Result<(), CheckpointError> {
        self.database.write(edits, durability)
    }
}

impl Store for RocksStore {
    fn families(&self) -> Arc<dyn SharedFamilies> {
        self.held.clone()
    }

    fn flush(&mut self) -> Result<(), CheckpointError> {
        self.held.database.flush()
    }

    fn announce(&mut self, announcement: &Announcement) -> Result<(), CheckpointError> {
        // Files that have lost their names still take every write.
        self.held.state.check_in_place()?;
        self.visible.announce(announcement).map_err(|error| CheckpointError::Storage {
            directory: self.held.directory().to_owned(),
            attempt: "announcing a batch",
            problem: error.to_string(),
        })
    }

    fn visible(&self) -> Result<VisibleFact, CheckpointError> {
        read_visible(self.held.directory())
    }

    fn clear_visible(&mut self) -> Result<(), CheckpointError> {
        self.held.state.check_in_place()?;
        self.visible.clear().map_err(|error| CheckpointError::Storage {
            directory: self.held.directory().to_owned(),
            attempt: "emptying the announce file",
            problem: error.to_string(),
        })
    }
}

/// Where RocksDB's own files are.
fn database_path(directory: &Path) -> PathBuf {
    directory.join("db")
}

#[cfg(test)]
mod damage;
#[cfg(test)]
mod tests;
