//! A look into a checkpoint, also beside the process that writes it.
//!
//! The view is a RocksDB secondary: it takes no lock, writes only into a directory of its own under
//! the system's temporary one, and sees the state of the moment it was opened. It shows nothing that
//! is not announced: where the newest batch is durable and not yet announced, it shows the one before,
//! whose groups are all still there (nothing of it is merged into the newest or deleted that was open).
//! A log of changes that the newest batch began anew is the exception: [`RocksView::is_log_cut`].

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{database, nothing_recovered};
use crate::{
    batch::{BatchRecord, Superseded, VisibleFact},
    checkpoint::{
        Announcement, CheckpointError, Recovered, RestoreGroup, VisibleFile, VisitLog,
        codec::{self, Family},
        ledger::{Contents, Families as _, visit_history},
        rocks::{
            database::{Database, Presence},
            directory::{check_links, storage},
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
    /// What the announce file said before the database was opened.
    announced_before: Reading,
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
                Ok(view) => !view.is_behind() && !view.is_log_cut(),
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

    /// What was announced: `last` is the newest announced batch.
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

    /// Whether a batch was announced that the database does not hold: the log lost its end, or all of
    /// it is gone.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        // What was announced before the database was opened must be in it; what was announced since
        // need not.
        let Some((_, seen)) = self.announced_before.newest() else { return false };
        match &self.contents.genesis {
            None => true,
            Some(genesis) => {
                seen.lineage == genesis.lineage && Some(seen.batch) > self.newest_durable()
            }
        }
    }

    /// What does not fit the announce file, in one clause: the view then shows an older state than
    /// was seen, or another.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn problem(&self) -> Result<Option<String>, CheckpointError> {
        let seen = if self.is_behind() {
            self.announced_before.newest().map(|(_, seen)| seen)
        } else {
            self.newest_announced_within()
        };
        visible_problem(&self.contents, self.database.as_ref(), seen)
    }

    /// The newest announcement of a batch that the view holds: one that was announced after the view
    /// was opened may be newer than it.
    pub(super) fn newest_announced_within(&self) -> Option<Announcement> {
        let (_, seen) = self.reading.newest()?;
        match (&self.contents.genesis, &self.contents.last) {
            (Some(genesis), Some(last))
                if seen.lineage == genesis.lineage && seen.batch > last.batch =>
            {
                Some(Announcement {
                    lineage: seen.lineage,
                    batch: last.batch,
                    digest: last.digest,
                    incarnation: last.incarnation,
                })
            }
            _ => Some(seen),
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

    /// Whether the log of changes begins anew with a batch that is still to be announced, so that the
    /// state after the announced one cannot be told.
    #[must_use]
    pub fn is_log_cut(&self) -> bool {
        let last = self.recovered.last.as_ref();
        last.is_some_and(|last| self.contents.is_log_cut(last.batch))
    }

    /// Whether the state is a log of changes.
    #[must_use]
    pub fn is_log(&self) -> bool {
        !self.contents.log.is_empty()
    }

    /// Hands out the log of changes up to the newest announced batch, part by part; nothing where the state is
    /// not one, or [`RocksView::is_log_cut`].
    ///
    /// # Errors
    /// `Corrupt`, or whatever `visit` returned.
    pub fn log(&self, visit: &mut VisitLog<'_>) -> Result<(), CheckpointError> {
        match (&self.database, &self.recovered.last) {
            (Some(database), Some(last)) => self.contents.visit_log(database, last.batch, visit),
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
        check_links(directory)?;
        let read_visible = || {
            VisibleFile::read(directory)
                .map_err(|error| storage(directory, "reading the announce file", &error))
        };
        let announced_before = read_visible()?;
        let database = match database::presence(directory)? {
            Presence::Nothing => None,
            Presence::Database => Some(Database::secondary(directory, scratch.path())?),
        };
        let contents = match &database {
            Some(database) => Contents::read(database)?,
            None => Contents::none(),
        };
        // Read after the database: a batch that is announced now was perhaps not when it was read.
        let reading = read_visible()?;
        let recovered = match &database {
            Some(database) => announced(&contents, database, reading.fact())?,
            None => nothing_recovered(reading.fact()),
        };
        Ok(RocksView {
            database,
            contents,
            reading,
            announced_before,
            recovered,
            _scratch: scratch,
        })
    }
}

/// What is there, cut to what was announced.
fn announced(
    contents: &Contents,
    database: &Database,
    visible: VisibleFact,
) -> Result<Recovered, CheckpointError> {
    let mut recovered = contents.recovered(visible);
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
        visit_history(database, &mut |record| {
            if record.batch.next() == newest.batch {
                recovered.last = Some(record);
            }
            Ok(())
        })?;
    }
    Ok(recovered)
}

/// What of the announce file does not fit the database, if anything: first of all that the database
/// is older than what was announced.
pub(super) fn visible_problem(
    contents: &Contents,
    database: Option<&Database>,
    seen: Option<Announcement>,
) -> Result<Option<String>, CheckpointError> {
    let Some(database) = database else {
        return Ok(seen.map(|seen| {
            format!(
                "the database (db/) is missing, but batch {} was announced: {} missing",
                seen.batch,
                missing(BatchId(0), seen.batch)
            )
        }));
    };
    let Some(genesis) = &contents.genesis else {
        return Ok(seen.map(|seen| {
            format!(
                "the database (db/) is empty, but batch {} was announced: {} missing",
                seen.batch,
                missing(BatchId(0), seen.batch)
            )
        }));
    };
    let last = contents.last.as_ref().map(|last| last.batch);
    let Some(seen) = seen else {
        let announced = last.filter(|_| !genesis.has_just_begun(last));
        return Ok(announced
            .map(|last| format!("`visible` names no batch, but the checkpoint ends at {last}")));
    };
    if seen.lineage != genesis.lineage {
        let known = genesis.has_just_begun(last)
            && genesis.superseded.iter().any(|other| other.lineage == seen.lineage);
        return Ok((!known).then(|| format!("`visible` is of another history ({})", seen.lineage)));
    }
    if Some(seen.batch) > last {
        return Ok(Some(match last {
            Some(last) => format!(
                "the log ends at batch {last}, but batch {} was announced: {} missing",
                seen.batch,
                missing(last.next(), seen.batch)
            ),
            None => format!(
                "the log holds no batch, but batch {} was announced: {} missing",
                seen.batch,
                missing(BatchId(0), seen.batch)
            ),
        }));
    }
    if last > Some(seen.batch.next()) {
        let batch = seen.batch;
        return Ok(Some(format!("`visible` names batch {batch}, but the checkpoint goes on")));
    }
    let key = codec::record_key(seen.batch);
    let record = match database.get(Family::History, &key)? {
        Some(value) => codec::decode_record(&key, &value).ok(),
        None => None,
    };
    Ok(record
        .is_none_or(|record| record.digest != seen.digest)
        .then(|| format!("`visible` names another batch {} than history", seen.batch)))
}

fn missing(first: BatchId, last: BatchId) -> String {
    if first == last {
        format!("batch {first} is")
    } else {
        format!("batches {first} to {last} are")
    }
}
