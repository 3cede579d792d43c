//! A look into a checkpoint, also beside the process that writes it.
//!
//! The view is a RocksDB secondary: it takes no lock, writes only into a directory of its own under
//! the system's temporary one, and sees the state of the moment it was opened. It shows nothing that
//! is not announced: where the newest batch is durable and not yet announced, it shows the one before,
//! whose groups are all still there (nothing of it is merged into the newest or deleted that was open).

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{database, nothing_recovered};
use crate::{
    batch::{BatchRecord, Superseded, VisibleFact},
    checkpoint::{
        CheckpointError, Recovered, RestoreGroup, VisibleFile,
        ledger::{Contents, visit_history},
        rocks::{
            database::{Database, Presence},
            directory::storage,
        },
        visible::Reading,
    },
    types::BatchId,
};

/// A writer can move files between two reads of ours; looking again settles it.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// What a checkpoint held at one moment.
#[derive(Debug)]
pub struct RocksView {
    /// Dropped before its scratch directory.
    pub(super) database: Option<Database>,
    pub(super) contents: Contents,
    pub(super) reading: Reading,
    recovered: Recovered,
    _scratch: tempfile::TempDir,
}

impl RocksView {
    /// Looks into a state directory, changing nothing in it.
    ///
    /// # Errors
    /// `Corrupt` when it stays inconsistent for two seconds, `Misfit`, `Storage`.
    pub fn open(directory: &Path) -> Result<RocksView, CheckpointError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let looked = RocksView::look(directory);
            let settled = match &looked {
                Ok(view) => !view.is_behind(),
                Err(CheckpointError::Corrupt { .. }) => false,
                Err(_) => true,
            };
            if settled || Instant::now() >= deadline {
                return looked;
            }
            drop(looked);
            thread::sleep(PAUSE);
        }
    }

    /// What was announced: `last` is the newest announced batch, with its rows and dead letters as
    /// long as no newer one is durable.
    #[must_use]
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// The newest durable batch: that of [`RocksView::recovered`], or the one behind it that is about
    /// to be announced.
    #[must_use]
    pub fn newest_durable(&self) -> Option<BatchId> {
        self.contents.last.as_ref().map(|last| last.batch)
    }

    /// Whether a batch was announced that the database does not hold: the log lost its end.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        let lineage = self.contents.genesis.as_ref().map(|genesis| genesis.lineage);
        match self.recovered.visible {
            VisibleFact::At(seen, batch, _) => {
                Some(seen) == lineage && Some(batch) > self.newest_durable()
            }
            _ => false,
        }
    }

    /// Hands out the groups as they were after the newest announced batch.
    ///
    /// # Errors
    /// `Corrupt`, or whatever `visit` returned.
    pub fn groups(&self, visit: &mut RestoreGroup<'_>) -> Result<(), CheckpointError> {
        match (&self.database, &self.recovered.last) {
            (Some(database), Some(last)) => {
                self.contents.restore_groups(database, Some(last.batch), visit)
            }
            _ => Ok(()),
        }
    }

    /// The announced batches in history, oldest first.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn history(&self) -> Result<Vec<BatchRecord>, CheckpointError> {
        let mut records = Vec::new();
        let last = self.recovered.last.as_ref().map(|last| last.batch);
        if let Some(database) = &self.database {
            visit_history(database, &mut |record| {
                if Some(record.batch) <= last {
                    records.push(record);
                }
                Ok(())
            })?;
        }
        Ok(records)
    }

    fn look(directory: &Path) -> Result<RocksView, CheckpointError> {
        let scratch = tempfile::tempdir()
            .map_err(|error| storage(directory, "making a temporary directory", &error))?;
        if !directory.is_dir() {
            let error = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(storage(directory, "looking into the state directory", &error));
        }
        let database = match database::presence(directory)? {
            Presence::Nothing => None,
            Presence::Database => Some(Database::secondary(directory, scratch.path())?),
        };
        let contents = match &database {
            Some(database) => Contents::read(database)?,
            None => Contents::none(),
        };
        // Read after the database: a batch that is announced now was perhaps not when it was read.
        let reading = VisibleFile::read(directory)
            .map_err(|error| storage(directory, "reading the announce file", &error))?;
        let recovered = match &database {
            Some(database) => announced(&contents, database, reading.fact())?,
            None => nothing_recovered(reading.fact()),
        };
        Ok(RocksView { database, contents, reading, recovered, _scratch: scratch })
    }
}

/// What is there, cut to what was announced.
fn announced(
    contents: &Contents,
    database: &Database,
    visible: VisibleFact,
) -> Result<Recovered, CheckpointError> {
    let mut recovered = contents.recovered(database, visible)?;
    let (Some(newest), Some(genesis)) = (contents.last.as_ref(), contents.genesis.as_ref()) else {
        return Ok(recovered);
    };
    let superseded =
        |lineage| genesis.superseded.iter().any(|other: &Superseded| other.lineage == lineage);
    let before_newest = match recovered.visible {
        VisibleFact::At(lineage, batch, _) if lineage == genesis.lineage => batch < newest.batch,
        // The batches of a history that was replaced were announced under its name.
        VisibleFact::At(lineage, ..) => !superseded(lineage),
        VisibleFact::Absent => newest.batch == BatchId(0),
        VisibleFact::Unreadable(_) => false,
    };
    if before_newest {
        recovered.last = None;
        recovered.stored_rows.clear();
        recovered.dead_letters.clear();
        visit_history(database, &mut |record| {
            if record.batch.next() == newest.batch {
                recovered.last = Some(record);
            }
            Ok(())
        })?;
    }
    Ok(recovered)
}
