//! Output, and state that is written anew: written ahead of its batch, read back piece by piece.
//!
//! Chunks of the open batch are written unsynced, on the reading thread, while the batch before may
//! still be on its way out. They go through the same write-ahead log as everything else, so they come
//! before the batch's own write there, and that write's sync makes them durable with it: RocksDB syncs
//! every log that was not synced yet, the closed ones first. A log is only ever cut at its end, so a
//! batch that is there has its chunks.
//!
//! Invariants: a batch's descriptor names how many chunks belong to it and the sum of their checksums
//! (each covers the batch's number and the chunk's), so that chunks of another attempt at the same
//! batch can neither hide among them nor stand in for one; chunks of an attempt that is given up are
//! deleted before the next one writes, and those of a process that died before anything is published.
//!
//! Not here: how output is cut into chunks (`batch`), the batch's own write (`ledger`).

use std::sync::Arc;

use super::{Durability, Edit, SharedFamilies, Writer, at_key, contents::must_get, corrupt};
use crate::{
    batch::{Chunks, DeadLetter, OutputChunk, RowsHasher, WholePlace, WrittenAhead},
    checkpoint::{
        Ahead, CheckpointError,
        codec::{self, ChunkKey, ChunkWriter, Descriptor, Entry, Family, OutboxKey, Row},
    },
    faults::{Point, reach},
    types::{BatchId, Column, Digest, Place, Rows},
    window::Group,
};

/// Chunks of rows are written so many at a time.
const ROW_CHUNKS_AT_ONCE: usize = 16;

/// Counts a chunk in.
pub(super) fn take_in(chunks: &mut Chunks, value: &[u8]) {
    chunks.count = chunks.count.checked_add(1).expect("a batch has fewer than 2^32 chunks");
    chunks.seal = chunks.seal.wrapping_add(u64::from(codec::stored_checksum(value)));
}

/// The next chunk of a batch's output, counted in.
pub(super) fn encode_rows(batch: BatchId, chunks: &mut Chunks, rows: &[u8]) -> Entry {
    let entry = codec::encode_result_rows(batch, chunks.count, rows);
    take_in(chunks, &entry.value);
    entry
}

/// The next chunk of a batch's dead letters, counted in.
pub(super) fn encode_letters(batch: BatchId, chunks: &mut Chunks, letters: &[DeadLetter]) -> Entry {
    let entry = codec::encode_dead_letters(batch, chunks.count, letters);
    take_in(chunks, &entry.value);
    entry
}

/// Deletes so many chunks of a batch.
pub(super) fn delete_chunks(
    batch: BatchId,
    rows: u32,
    dead_letters: u32,
) -> impl Iterator<Item = Edit> {
    let rows = (0..rows).map(move |chunk| OutboxKey::ResultRows(batch, chunk));
    let letters = (0..dead_letters).map(move |chunk| OutboxKey::DeadLetters(batch, chunk));
    rows.chain(letters).map(|key| Edit::Delete(Family::Outbox, key.encode()))
}

/// Writes output ahead of the open batch.
pub(super) struct AheadWriter {
    writer: Writer,
    batch: Option<BatchId>,
    written: WrittenAhead,
    /// The place that is being written anew, the last of `written`.
    rows: Option<ChunkWriter>,
    totals: Vec<u8>,
}

impl AheadWriter {
    pub(super) fn new(writer: Writer) -> AheadWriter {
        let (written, totals) = (WrittenAhead::default(), Vec::new());
        AheadWriter { writer, batch: None, written, rows: None, totals }
    }

    fn write_rows(&mut self, entries: Vec<Entry>) -> Result<(), CheckpointError> {
        let whole = self.written.places.last_mut().expect("a place is begun before its rows");
        for entry in &entries {
            take_in(&mut whole.chunks, &entry.value);
            whole.bytes += entry.value.len() as u64;
        }
        let edits = entries.into_iter().map(Edit::Put).collect();
        self.writer.write(edits, Durability::Unsynced)?;
        reach(Point::ChunkWritten);
        Ok(())
    }
}

impl Ahead for AheadWriter {
    fn begin(&mut self, batch: BatchId) -> Result<(), CheckpointError> {
        if self.batch == Some(batch) {
            self.discard()?;
        }
        self.batch = Some(batch);
        self.written = WrittenAhead::default();
        self.rows = None;
        Ok(())
    }

    fn write(&mut self, chunk: &OutputChunk) -> Result<(), CheckpointError> {
        let batch = self.batch.expect("a batch is begun before its output is written");
        let WrittenAhead { rows, dead_letters, .. } = &mut self.written;
        let entry = match chunk {
            OutputChunk::Rows(encoded) => encode_rows(batch, rows, encoded),
            OutputChunk::DeadLetters(letters) => encode_letters(batch, dead_letters, letters),
        };
        self.writer.write(vec![Edit::Put(entry)], Durability::Unsynced)?;
        reach(Point::ChunkWritten);
        Ok(())
    }

    fn begin_place(&mut self, place: Place) {
        let batch = self.batch.expect("a batch is begun before its rows are written");
        assert!(self.rows.is_none(), "one place is ended before the next is begun");
        self.rows = Some(ChunkWriter::new(place, batch));
        self.written.places.push(WholePlace { place, chunks: Chunks::default(), bytes: 0 });
    }

    fn put_row(&mut self, row: Group<'_>) -> Result<(), CheckpointError> {
        let rows = self.rows.as_mut().expect("a place is begun before its rows");
        self.totals.clear();
        codec::encode_totals(row.accumulators, &mut self.totals);
        let Group { start, end, key, .. } = row;
        rows.push(Row { start, end, key, totals: Some(&self.totals) });
        if rows.full() < ROW_CHUNKS_AT_ONCE {
            return Ok(());
        }
        let entries = rows.take_full();
        self.write_rows(entries)
    }

    fn end_place(&mut self) -> Result<(), CheckpointError> {
        let rows = self.rows.take().expect("a place is begun before it is ended");
        self.write_rows(rows.finish())
    }

    fn written(&self) -> WrittenAhead {
        self.written.clone()
    }

    fn follow_topic(&mut self, topic_id: &str, since: BatchId) -> Result<(), CheckpointError> {
        let (families, key) = (&*self.writer.families, codec::GENESIS_KEY);
        let stored = families.get(Family::Meta, key)?;
        let stored = stored.ok_or_else(|| corrupt(families.directory(), "it has no history"))?;
        let mut genesis = codec::decode_genesis(&stored)
            .map_err(|error| at_key(families.directory(), Family::Meta, key, &error))?;
        genesis.topic_id = Some(topic_id.to_owned());
        genesis.topic_since = Some(since);
        self.writer.write(vec![Edit::Put(codec::encode_genesis(&genesis))], Durability::Synced)
    }

    fn discard(&mut self) -> Result<(), CheckpointError> {
        let WrittenAhead { rows, dead_letters, places } = std::mem::take(&mut self.written);
        self.rows = None;
        let Some(batch) = self.batch else { return Ok(()) };
        let output = delete_chunks(batch, rows.count, dead_letters.count);
        let places = places.into_iter().filter(|whole| whole.chunks.count > 0).map(|whole| {
            let key = |chunk| ChunkKey { place: whole.place, batch, chunk }.encode();
            Edit::DeleteRange(Family::Windows, key(0), key(whole.chunks.count))
        });
        let edits: Vec<_> = output.chain(places).collect();
        if edits.is_empty() {
            return Ok(());
        }
        self.writer.write(edits, Durability::Unsynced)?;
        reach(Point::ChunksDiscarded);
        Ok(())
    }
}

/// Where a durable batch's stored output is.
#[derive(Clone, Debug)]
pub(in crate::checkpoint) struct Outbox {
    families: Arc<dyn SharedFamilies>,
    batch: BatchId,
    row_chunks: Option<u32>,
    dead_letter_chunks: u32,
}

impl Outbox {
    pub(super) fn new(families: Arc<dyn SharedFamilies>, descriptor: &Descriptor) -> Outbox {
        Outbox {
            families,
            batch: descriptor.batch,
            row_chunks: descriptor.rows.map(|rows| rows.count),
            dead_letter_chunks: descriptor.dead_letters.count,
        }
    }

    /// How many chunks hold its rows; `None` where rows are state.
    pub fn row_chunks(&self) -> Option<u32> {
        self.row_chunks
    }

    pub fn dead_letter_chunks(&self) -> u32 {
        self.dead_letter_chunks
    }

    pub fn rows(&self, chunk: u32, columns: &Arc<[Column]>) -> Result<Rows, CheckpointError> {
        let key = OutboxKey::ResultRows(self.batch, chunk).encode();
        let value = must_get(&*self.families, &key)?;
        let directory = self.families.directory();
        let rows = codec::decode_result_rows(&key, &value)
            .map_err(|error| at_key(directory, Family::Outbox, &key, &error))?;
        Rows::from_chunks(columns.clone(), vec![rows.to_vec()])
            .map_err(|error| corrupt(directory, format!("batch {}: {error}", self.batch)))
    }

    pub fn dead_letters(&self, chunk: u32) -> Result<Vec<DeadLetter>, CheckpointError> {
        let key = OutboxKey::DeadLetters(self.batch, chunk).encode();
        let value = must_get(&*self.families, &key)?;
        let mut letters = Vec::new();
        codec::decode_dead_letters(&key, &value, &mut letters)
            .map_err(|error| at_key(self.families.directory(), Family::Outbox, &key, &error))?;
        Ok(letters)
    }

    /// The digest of its stored rows; `None` where rows are state.
    pub fn rows_digest(&self, columns: &Arc<[Column]>) -> Result<Option<Digest>, CheckpointError> {
        let Some(chunks) = self.row_chunks else { return Ok(None) };
        let mut hasher = RowsHasher::new(columns);
        for chunk in 0..chunks {
            self.rows(chunk, columns)?.chunks().iter().for_each(|rows| hasher.update(rows));
        }
        Ok(Some(hasher.digest()))
    }
}
