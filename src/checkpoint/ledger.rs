//! What a checkpoint's families hold together: one write per batch, and one reading that believes
//! nothing.
//!
//! [`Ledger`] is the checkpoint over any store of ordered keys; RocksDB and the memory twin are such
//! stores. Start at [`Ledger::persist`] for writing and at [`Contents::read`] for reading.
//!
//! Invariants: everything a batch changes is in one synced write; output too large for it goes ahead of
//! it under the batch's number and counts only with it (`outbox`); groups of the newest batch and of
//! the windows it closed are neither merged nor deleted before the next batch is written; after any
//! failed write the ledger and whoever writes beside it refuse everything, because nobody knows what is
//! on disk; a place that went ahead as a whole counts with its batch, and what it replaces goes with the next
//! one.
//!
//! Not here: bytes (`codec`), opening and locking (`rocks`), what a start may do (`batch::recover`).

mod beside;
mod contents;
mod merge;
mod outbox;
mod reader;

pub(in crate::checkpoint) use contents::{Contents, Run, link_problem, visit_history};
pub(in crate::checkpoint) use outbox::Outbox;

use reader::Shelved;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    batch::{
        BatchRecord, Chunks, DeadLetter, Genesis, Mark, Plan, Publication, RowsHasher, VisibleFact,
        WholePlace, WrittenAhead,
    },
    checkpoint::{
        Ahead, Announcement, Checkpoint, CheckpointError, Durable, Recovered, RestoreGroup,
        StateReader, Visible, VisitLog,
        codec::{
            self, ChunkKey, ChunkWriter, CodecError, Descriptor, Entry, Family, LogKey, OutboxKey,
            Row, StateHead,
        },
    },
    faults::{Mutant, Point, is_planted, reach},
    types::{BatchId, Digest, Incarnation, Keeper, Place, Rows, SinkName, Timestamp},
    window::{Changes, Watermarks},
};

/// How many batches of history are kept.
const HISTORY_BATCHES: u64 = 10_000;

/// Families are flushed at least this often, so that no write-ahead log is older than history and a
/// hole in one shows as a hole in the other.
const FLUSH_EVERY: u64 = 2_000;

/// State of so many bytes is worth a thread to read it back.
const READ_BESIDE_BYTES: u64 = 4 << 20;

/// One change.
#[derive(Clone, Debug)]
pub(in crate::checkpoint) enum Edit {
    Put(Entry),
    Delete(Family, Vec<u8>),
    /// Every key in `[from, to)`.
    DeleteRange(Family, Vec<u8>, Vec<u8>),
}

/// Whether a write is on the disk when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) enum Durability {
    Synced,
    Unsynced,
}

/// Takes a key and its value.
pub(in crate::checkpoint) type Visit<'a> =
    dyn FnMut(&[u8], &[u8]) -> Result<(), CheckpointError> + 'a;

/// Families that can be read.
pub(in crate::checkpoint) trait Families {
    /// For messages.
    fn directory(&self) -> &Path;

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, CheckpointError>;

    /// Every key of a family in order.
    fn scan(&self, family: Family, visit: &mut Visit<'_>) -> Result<(), CheckpointError>;
}

/// Families that several threads may read and write.
pub(in crate::checkpoint) trait SharedFamilies:
    Families + Send + Sync + std::fmt::Debug
{
    /// All of it or nothing, behind everything written before. A synced write makes everything
    /// written before durable, too.
    fn write(&self, edits: Vec<Edit>, durability: Durability) -> Result<(), CheckpointError>;
}

/// Families with the announce file beside them, held by one process.
pub(in crate::checkpoint) trait Store: Send {
    fn families(&self) -> Arc<dyn SharedFamilies>;

    /// Moves everything out of the write-ahead log.
    fn flush(&mut self) -> Result<(), CheckpointError>;

    fn announce(&mut self, announcement: &Announcement) -> Result<(), CheckpointError>;

    fn visible(&self) -> Result<VisibleFact, CheckpointError>;

    /// Leaves an announce file that names nothing.
    fn clear_visible(&mut self) -> Result<(), CheckpointError>;
}

pub(in crate::checkpoint) fn corrupt(
    directory: &Path,
    problem: impl Into<String>,
) -> CheckpointError {
    CheckpointError::Corrupt { directory: directory.to_owned(), problem: problem.into() }
}

/// Says which value it was.
pub(in crate::checkpoint) fn at_key(
    directory: &Path,
    family: Family,
    key: &[u8],
    error: &CodecError,
) -> CheckpointError {
    let problem = format!("{} {}: {error}", family.name(), key.escape_ascii());
    let directory = directory.to_owned();
    if error.is_newer_format() {
        return CheckpointError::Misfit { directory, problem };
    }
    CheckpointError::Corrupt { directory, problem }
}

/// Writes as long as no write has failed, its own or that of one of its clones.
#[derive(Clone, Debug)]
struct Writer {
    families: Arc<dyn SharedFamilies>,
    failed: Arc<AtomicBool>,
}

impl Writer {
    fn write(&self, edits: Vec<Edit>, durability: Durability) -> Result<(), CheckpointError> {
        self.attempt("writing the checkpoint", || self.families.write(edits, durability))
    }

    fn attempt<T>(
        &self,
        attempt: &'static str,
        work: impl FnOnce() -> Result<T, CheckpointError>,
    ) -> Result<T, CheckpointError> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(CheckpointError::Storage {
                directory: self.families.directory().to_owned(),
                attempt,
                problem: "an earlier write failed, so what is on disk is not known".to_owned(),
            });
        }
        let done = work();
        if done.is_err() {
            self.failed.store(true, Ordering::SeqCst);
        }
        done
    }
}

/// A checkpoint over a store.
#[derive(Debug)]
pub struct Ledger<S> {
    writer: Writer,
    store: S,
    contents: Contents,
    shelved: Shelved,
    /// Places that the newest batch wrote anew, whose older runs go with the next one: until then the state
    /// before that batch is there too.
    written_anew: Vec<Place>,
}

#[expect(private_bounds, reason = "the stores, and what is done with them, are this room's own")]
impl<S: Store> Ledger<S> {
    /// Reads the store, checks that everything in it belongs together, and deletes what was written
    /// ahead of a batch that never came.
    pub(in crate::checkpoint) fn over(store: S) -> Result<Ledger<S>, CheckpointError> {
        let writer = Writer { families: store.families(), failed: Arc::default() };
        let mut contents = Contents::read(&*writer.families)?;
        let orphans = std::mem::take(&mut contents.orphans);
        if !orphans.is_empty() {
            tracing::info!(
                chunks = orphans.len(),
                "deleting what was ahead of a batch that was not finished; it is made anew"
            );
            let edits =
                orphans.into_iter().map(|(family, key)| Edit::Delete(family, key)).collect();
            writer.write(edits, Durability::Unsynced)?;
            reach(Point::OrphansDeleted);
        }
        let newest = contents.head.map(|head| head.batch);
        let shelved = Shelved::new(newest, contents.runs.clone());
        Ok(Ledger { writer, store, contents, shelved, written_anew: Vec::new() })
    }

    pub(in crate::checkpoint) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// What there is, without the groups.
    pub(in crate::checkpoint) fn recovered(&self) -> Result<Recovered, CheckpointError> {
        Ok(self.contents.recovered(self.store.visible()?))
    }

    fn families(&self) -> &dyn Families {
        &*self.writer.families
    }

    fn write(&self, edits: Vec<Edit>, durability: Durability) -> Result<(), CheckpointError> {
        self.writer.write(edits, durability)
    }

    /// Moves everything out of the write-ahead log.
    pub(in crate::checkpoint) fn flush(&mut self) -> Result<(), CheckpointError> {
        let store = &mut self.store;
        self.writer.attempt("flushing the checkpoint", || store.flush())
    }

    /// Deletes the rows of places that closed before this batch; they were published with it. Which these are.
    fn delete_closed(
        &mut self,
        record: &BatchRecord,
        head: &mut StateHead,
        edits: &mut Vec<Edit>,
    ) -> Vec<Place> {
        let mut all_closed = Vec::new();
        let watermarks = record.watermarks;
        let is_early = is_planted(Mutant::DropClosedWindowEarly);
        let bound = if is_early { watermarks.closing_bound } else { watermarks.late_bound };
        for keeper in [Keeper::Groups, Keeper::Keys] {
            let first = Place { keeper, closing: Timestamp(i64::MIN) };
            let places = self.contents.runs.range(first..).map(|(place, _)| *place);
            let closed: Vec<_> = places
                .take_while(|place| place.keeper == keeper && bound.closes(place.closing))
                .collect();
            for runs in closed.iter().filter_map(|place| self.contents.runs.remove(place)) {
                runs.iter().for_each(|run| run.take_from(head));
            }
            let (Some(&first), Some(&last)) = (closed.first(), closed.last()) else { continue };
            edits.push(Edit::DeleteRange(
                Family::Windows,
                codec::row_key_prefix(first),
                codec::behind_chunks_of(last),
            ));
            all_closed.extend(closed);
        }
        all_closed
    }

    /// Deletes the runs that were written anew with the newest batch. Of which places.
    fn delete_replaced(&mut self, head: &mut StateHead, edits: &mut Vec<Edit>) -> Vec<Place> {
        let places = std::mem::take(&mut self.written_anew);
        let newest = self.contents.head.map_or(BatchId(0), |head| head.batch);
        for place in &places {
            // It may have closed meanwhile.
            let Some(runs) = self.contents.runs.get_mut(place) else { continue };
            let whole = runs.partition_point(|run| run.batch < newest);
            runs.drain(..whole).for_each(|run| run.take_from(head));
            let behind = ChunkKey { place: *place, batch: newest, chunk: 0 }.encode();
            let from = codec::row_key_prefix(*place);
            edits.push(Edit::DeleteRange(Family::Windows, from, behind));
        }
        places
    }

    /// Writes the rows a batch touched, one run for each place; a place that was written anew has its run.
    fn put_touched(
        &mut self,
        changes: &[Changes],
        ahead: &WrittenAhead,
        head: &mut StateHead,
        edits: &mut Vec<Edit>,
    ) -> Vec<(Place, u32)> {
        let mut described = Vec::with_capacity(changes.len());
        let mut totals = Vec::new();
        for Changes { place, written, removed } in changes {
            if let Some(whole) = ahead.places.iter().find(|whole| whole.place == *place) {
                let WholePlace { chunks: Chunks { count: chunks, seal }, bytes, .. } = *whole;
                described.push((*place, chunks));
                let run = Run { batch: head.batch, chunks, bytes, seal };
                run.add_to(head);
                self.contents.runs.entry(*place).or_default().push(run);
                continue;
            }
            let mut writer = ChunkWriter::new(*place, head.batch);
            let mut removed: Vec<_> = removed.iter().map(|(start, key)| (*start, &**key)).collect();
            removed.sort_unstable();
            let mut gone = removed.into_iter().peekable();
            for group in written.sorted() {
                while let Some(gone) = gone.next_if(|gone| *gone < (group.start, group.key)) {
                    writer.push(tombstone(gone));
                }
                totals.clear();
                codec::encode_totals(group.accumulators, &mut totals);
                writer.push(Row {
                    start: group.start,
                    end: group.end,
                    key: group.key,
                    totals: Some(&totals),
                });
            }
            gone.for_each(|gone| writer.push(tombstone(gone)));
            let entries = writer.finish();
            if entries.is_empty() {
                continue;
            }
            let run = Run::of(head.batch, &entries);
            described.push((*place, run.chunks));
            run.add_to(head);
            self.contents.runs.entry(*place).or_default().push(run);
            edits.extend(entries.into_iter().map(Edit::Put));
        }
        described
    }

    /// Adds to the log of changes; a snapshot takes the place of all of it.
    fn put_log(&mut self, plan: &Plan, head: &mut StateHead, edits: &mut Vec<Edit>) {
        let Some(write) = &plan.log else { return };
        if write.is_snapshot
            && let Some(first) = self.contents.log.first()
        {
            let from = LogKey { batch: first.batch, chunk: 0 }.encode();
            let to = LogKey { batch: head.batch, chunk: 0 }.encode();
            edits.push(Edit::DeleteRange(Family::Order, from, to));
            self.contents.log.drain(..).for_each(|run| run.take_from(head));
        }
        let entries = codec::encode_log(head.batch, write);
        let run = Run::of(head.batch, &entries);
        run.add_to(head);
        self.contents.log.push(run);
        edits.extend(entries.into_iter().map(Edit::Put));
    }

    /// Merges older runs of the places this batch touched and did not close, so that none collects a
    /// run for every batch.
    fn merge_older(
        &mut self,
        record: &BatchRecord,
        touched: impl Iterator<Item = Place>,
        head: &mut StateHead,
        edits: &mut Vec<Edit>,
    ) -> Result<(), CheckpointError> {
        let mut budget = merge::BYTES_PER_BATCH;
        for place in touched {
            let closes = record.watermarks.closing_bound.closes(place.closing);
            let Some(runs) = self.contents.runs.get_mut(&place).filter(|_| !closes) else {
                continue;
            };
            merge::merge_runs(&*self.writer.families, place, runs, head, &mut budget, edits)?;
        }
        Ok(())
    }

    fn put_mark(&mut self, mark: Mark) -> Result<(), CheckpointError> {
        self.write(vec![Edit::Put(codec::encode_mark(&mark))], Durability::Unsynced)?;
        let marks = &mut self.contents.marks;
        marks.retain(|known| known.sink != mark.sink);
        marks.push(mark);
        Ok(())
    }

    fn delete_outbox_of_last(&self, edits: &mut Vec<Edit>) {
        let Some(old) = &self.contents.descriptor else { return };
        let rows = old.rows.map_or(0, |rows| rows.count);
        edits.extend(outbox::delete_chunks(old.batch, rows, old.dead_letters.count));
        edits.push(Edit::Delete(Family::Outbox, OutboxKey::Descriptor(old.batch).encode()));
    }

    fn put_record(&mut self, record: &BatchRecord, edits: &mut Vec<Edit>) {
        edits.push(Edit::Put(codec::encode_record(record)));
        for (partition, position) in record.positions() {
            edits.push(Edit::Put(codec::encode_position(partition, record.batch, position)));
        }
        if let Some(last) = &self.contents.last {
            let gone =
                last.ranges.keys().filter(|partition| !record.ranges.contains_key(partition));
            edits.extend(
                gone.map(|partition| {
                    Edit::Delete(Family::Offsets, codec::position_key(*partition))
                }),
            );
        }
        let oldest = self.contents.oldest_record.get_or_insert(record.batch);
        while record.batch.0 - oldest.0 >= HISTORY_BATCHES {
            edits.push(Edit::Delete(Family::History, codec::record_key(*oldest)));
            *oldest = oldest.next();
        }
    }

    fn follows(&self, record: &BatchRecord) {
        let last = self.contents.last.as_ref();
        let expected = last.map_or(BatchId(0), |last| last.batch.next());
        assert_eq!(record.batch, expected, "a batch directly follows the newest one");
        let previous = last.map_or(Digest::ZERO, |last| last.digest);
        assert_eq!(record.previous, previous, "a batch names the one before it");
        assert_eq!(record.digest, record.link(), "a batch carries its own link");
    }
}

impl<S: Store> Checkpoint for Ledger<S> {
    fn begin(&mut self, genesis: &Genesis, marks: Vec<Mark>) -> Result<(), CheckpointError> {
        let mut edits = vec![
            Edit::Put(codec::encode_genesis(genesis)),
            Edit::Delete(Family::Meta, codec::ROLLBACK_ACCEPTED_KEY.to_vec()),
        ];
        let forgotten = self.contents.marks.iter().map(|mark| &mark.sink);
        edits.extend(forgotten.map(|sink| Edit::Delete(Family::Meta, codec::mark_key(sink))));
        edits.extend(marks.iter().map(|mark| Edit::Put(codec::encode_mark(mark))));
        self.contents.marks = marks;
        self.contents.genesis = Some(genesis.clone());
        self.contents.rollback_accepted = false;
        self.write(edits, Durability::Synced)
    }

    fn next_incarnation(&mut self) -> Result<Incarnation, CheckpointError> {
        let incarnation = Incarnation(self.contents.incarnation.0 + 1);
        let edits = vec![
            Edit::Put(codec::encode_incarnation(incarnation)),
            Edit::Delete(Family::Meta, codec::ROLLBACK_ACCEPTED_KEY.to_vec()),
        ];
        self.write(edits, Durability::Synced)?;
        self.contents.incarnation = incarnation;
        self.contents.rollback_accepted = false;
        if let VisibleFact::Unreadable(_) = self.store.visible()? {
            let store = &mut self.store;
            self.writer.attempt("emptying the announce file", || store.clear_visible())?;
        }
        Ok(incarnation)
    }

    fn ahead(&self) -> Box<dyn Ahead> {
        Box::new(outbox::AheadWriter::new(self.writer.clone()))
    }

    fn state_reader(&self) -> Box<dyn StateReader> {
        Box::new(reader::Reader::new(self.writer.families.clone(), self.shelved.clone()))
    }

    fn persist(&mut self, plan: Plan) -> Result<Durable, CheckpointError> {
        let record = &plan.publication.record;
        self.follows(record);
        let mut head =
            StateHead { batch: record.batch, digest: record.digest, ..self.contents.seal() };
        let mut edits = Vec::new();
        self.shelved.begin();
        let closed = self.delete_closed(record, &mut head, &mut edits);
        let replaced = self.delete_replaced(&mut head, &mut edits);
        let touched = self.put_touched(&plan.changes, &plan.ahead, &mut head, &mut edits);
        let anew: Vec<_> = plan.ahead.places.iter().map(|whole| whole.place).collect();
        let others = touched.iter().map(|(place, _)| *place).filter(|place| !anew.contains(place));
        if let Err(error) = self.merge_older(record, others, &mut head, &mut edits) {
            self.writer.failed.store(true, Ordering::SeqCst);
            return Err(error);
        }
        self.put_log(&plan, &mut head, &mut edits);
        let (rows, dead_letters) = put_output(&plan, &mut edits);
        self.delete_outbox_of_last(&mut edits);
        let descriptor = Descriptor {
            batch: record.batch,
            output_mode: record.output_mode,
            watermarks: record.watermarks,
            touched,
            columns: rows.is_some().then(|| plan.publication.rows.columns().clone()),
            rows,
            dead_letters,
        };
        edits.push(Edit::Put(codec::encode_descriptor(&descriptor)));
        self.put_record(record, &mut edits);
        edits.push(Edit::Put(codec::encode_head(&head)));
        self.write(edits, Durability::Synced)?;
        let outbox = Outbox::new(self.writer.families.clone(), &descriptor);
        let touched = descriptor.touched.iter().map(|(place, _)| *place);
        let changed = closed.into_iter().chain(replaced).chain(touched);
        let runs = &self.contents.runs;
        self.shelved.finish(record.batch, changed.map(|place| (place, runs.get(&place))), &anew);
        self.written_anew = anew;
        self.contents.head = Some(head);
        self.contents.descriptor = Some(descriptor);
        self.contents.last = Some(record.clone());
        if record.batch.0 % FLUSH_EVERY == FLUSH_EVERY - 1 {
            self.flush()?;
        }
        Ok(Durable::new(without_stored(plan), outbox))
    }

    fn durable_again(&mut self, publication: Publication) -> Result<Durable, CheckpointError> {
        let directory = self.families().directory();
        let (Some(last), Some(descriptor)) = (&self.contents.last, &self.contents.descriptor)
        else {
            return Err(corrupt(directory, "there is no batch to publish again"));
        };
        let batch = last.batch;
        // Its rows may have been written by a pipeline with other columns.
        let publication = match &descriptor.columns {
            Some(columns) => Publication { rows: Rows::new(columns.clone()), ..publication },
            None => publication,
        };
        let outbox = Outbox::new(self.writer.families.clone(), descriptor);
        let stored = outbox.rows_digest(publication.rows.columns())?;
        let computed = stored.unwrap_or_else(|| RowsHasher::digest_of(&publication.rows));
        let is_trusted =
            is_planted(Mutant::DropClosedWindowEarly) || is_planted(Mutant::AcceptDamagedRow);
        if publication.record != *last
            || publication.identity.digest != last.link()
            || (computed != last.rows_digest && !is_trusted)
        {
            return Err(corrupt(
                directory,
                format!(
                    "batch {batch} computed again from the stored groups is not the batch that was \
                     written (rows {computed}, stored {})",
                    last.rows_digest
                ),
            ));
        }
        Ok(Durable::new(publication, outbox))
    }

    fn announce(&mut self, durable: Durable) -> Result<Visible, CheckpointError> {
        let announcement = Announcement::from(durable.identity());
        let store = &mut self.store;
        self.writer.attempt("announcing a batch", || store.announce(&announcement))?;
        Ok(Visible::new(durable))
    }

    fn mark(&mut self, sink: &SinkName, batch: BatchId) -> Result<(), CheckpointError> {
        self.put_mark(Mark { sink: sink.clone(), published: Some(batch) })
    }

    fn admit_sink(
        &mut self,
        sink: &SinkName,
        newest: Option<BatchId>,
    ) -> Result<(), CheckpointError> {
        self.put_mark(Mark { sink: sink.clone(), published: newest })
    }

    fn forget_sink(&mut self, sink: &SinkName) -> Result<(), CheckpointError> {
        // Synced: the mark coming back would make the next start wait for a sink that is gone.
        let edits = vec![Edit::Delete(Family::Meta, codec::mark_key(sink))];
        self.write(edits, Durability::Synced)?;
        self.contents.marks.retain(|mark| mark.sink != *sink);
        Ok(())
    }

    fn load(&mut self, restore: &mut RestoreGroup<'_>) -> Result<Recovered, CheckpointError> {
        let (contents, families) = (&self.contents, &*self.writer.families);
        if contents.state_bytes() < READ_BESIDE_BYTES {
            contents.restore_groups(families, None, restore)?;
        } else {
            let read =
                |visit: &mut RestoreGroup<'_>| contents.restore_groups(families, None, visit);
            beside::read_beside(read, restore)?;
        }
        self.recovered()
    }

    fn load_log(&mut self, restore: &mut VisitLog<'_>) -> Result<(), CheckpointError> {
        let Some(last) = &self.contents.last else { return Ok(()) };
        self.contents.visit_log(self.families(), last.batch, restore)
    }
}

impl Contents {
    /// The head of before, or that of a checkpoint without a batch.
    fn seal(&self) -> StateHead {
        self.head.unwrap_or(StateHead {
            batch: BatchId(0),
            digest: Digest::ZERO,
            chunks: 0,
            seal: 0,
        })
    }
}

fn tombstone((start, key): (Timestamp, &[u8])) -> Row<'_> {
    Row { start, end: start, key, totals: None }
}

/// Writes what did not go ahead of a batch; counts all of it.
fn put_output(plan: &Plan, edits: &mut Vec<Edit>) -> (Option<Chunks>, Chunks) {
    let Publication { record, rows, dead_letters, .. } = &plan.publication;
    let WrittenAhead { rows: mut row_chunks, dead_letters: mut letter_chunks, .. } = plan.ahead;
    if !plan.rows_are_state {
        for chunk in rows.chunks() {
            edits.push(Edit::Put(outbox::encode_rows(record.batch, &mut row_chunks, chunk)));
        }
    }
    for chunk in cut_letters(dead_letters) {
        edits.push(Edit::Put(outbox::encode_letters(record.batch, &mut letter_chunks, chunk)));
    }
    ((!plan.rows_are_state).then_some(row_chunks), letter_chunks)
}

/// What is published, without what is read back from the store.
fn without_stored(plan: Plan) -> Publication {
    let mut publication = plan.publication;
    if !plan.rows_are_state {
        publication.rows = Rows::new(publication.rows.columns().clone());
    }
    publication.dead_letters = Arc::new([]);
    publication
}

fn cut_letters(letters: &[DeadLetter]) -> Vec<&[DeadLetter]> {
    let mut bytes = 0;
    let cut = letters.chunk_by(|letter, _| {
        bytes += letter.bytes();
        let together = bytes < Rows::CHUNK_BYTES;
        if !together {
            bytes = 0;
        }
        together
    });
    cut.collect()
}

/// The watermarks a descriptor must name for a batch.
fn same_watermarks(descriptor: &Descriptor, watermarks: Watermarks) -> bool {
    descriptor.watermarks == watermarks
}

#[cfg(test)]
mod tests;
