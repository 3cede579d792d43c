//! Runs of one place read as one, newest row first, and written as one.

use super::{Edit, Families, Run, at_key, corrupt};
use crate::{
    checkpoint::{
        CheckpointError,
        codec::{Chunk, ChunkKey, ChunkReader, ChunkWriter, Family, Row, StateHead},
    },
    faults::{Mutant, is_planted},
    types::{BatchId, Place, Timestamp},
};

/// What one batch may merge besides its own write: bounds the time and memory of a checkpoint.
pub(super) const BYTES_PER_BATCH: u64 = 16 << 20;

/// Fewer runs are left alone.
const FEWEST_RUNS: usize = 4;

/// Merges the newest runs before the last one (which is the batch being written) while each older
/// one is at most as large as all newer ones together twice: every row is merged a number of times
/// that grows with the logarithm of the runs.
pub(super) fn merge_runs(
    families: &dyn Families,
    place: Place,
    runs: &mut Vec<Run>,
    head: &mut StateHead,
    budget: &mut u64,
    edits: &mut Vec<Edit>,
) -> Result<(), CheckpointError> {
    let older = runs.len().saturating_sub(1);
    let from = first_to_merge(&runs[..older], *budget);
    let merged = &runs[from..older];
    let [.., newest] = merged else { return Ok(()) };
    if merged.len() < FEWEST_RUNS {
        return Ok(());
    }
    *budget -= merged.iter().map(|run| run.bytes).sum::<u64>();
    let batch = newest.batch;
    let mut writer = ChunkWriter::new(place, batch);
    let mut rows = MergedRows::new(families, place, merged)?;
    while let Some((row, _)) = rows.next()? {
        // A tombstone has nothing left to hide once the oldest run is part of the merge.
        let is_lost = is_planted(Mutant::LoseRowsAtMerge)
            && row.key.iter().map(|byte| u32::from(*byte)).sum::<u32>().is_multiple_of(3);
        if (row.totals.is_some() || from > 0) && !is_lost {
            writer.push(row);
        }
    }
    let entries = writer.finish();
    for run in merged {
        run.take_from(head);
        let written = if run.batch == batch { entries.len() } else { 0 };
        let kept = u32::try_from(written).expect("a run has fewer than 2^32 chunks");
        edits.extend((kept..run.chunks).map(|chunk| {
            Edit::Delete(Family::Windows, ChunkKey { place, batch: run.batch, chunk }.encode())
        }));
    }
    let run = (!entries.is_empty()).then(|| Run::of(batch, &entries));
    if let Some(run) = &run {
        run.add_to(head);
    }
    edits.extend(entries.into_iter().map(Edit::Put));
    runs.splice(from..older, run);
    Ok(())
}

fn first_to_merge(runs: &[Run], budget: u64) -> usize {
    let mut from = runs.len();
    let mut newer: u64 = 0;
    while let Some(run) = from.checked_sub(1).map(|index| &runs[index]) {
        let fits = newer == 0 || run.bytes <= newer.saturating_mul(2);
        if !fits || newer + run.bytes > budget {
            break;
        }
        newer += run.bytes;
        from -= 1;
    }
    from
}

/// The rows of several runs in order, of each (start, key) the newest.
pub(super) struct MergedRows<'f> {
    cursors: Vec<Cursor<'f>>,
    /// Those that stand at a row, as a heap: on top the least row, of equal ones the newest.
    heap: Vec<usize>,
    /// The row on top was handed out, and no other one is of its group.
    is_top_used: bool,
    /// Cursors off the heap whose row was handed out or hidden by it.
    used: Vec<usize>,
}

impl<'f> MergedRows<'f> {
    /// `runs` from the oldest to the newest.
    pub fn new(
        families: &'f dyn Families,
        place: Place,
        runs: &[Run],
    ) -> Result<MergedRows<'f>, CheckpointError> {
        let mut cursors = Vec::with_capacity(runs.len());
        for run in runs {
            cursors.push(Cursor::open(families, place, run)?);
        }
        let mut rows =
            MergedRows { cursors, heap: Vec::new(), is_top_used: false, used: Vec::new() };
        (0..runs.len()).for_each(|cursor| rows.push(cursor));
        Ok(rows)
    }

    /// The next row and the batch of the run it is from.
    pub fn next(&mut self) -> Result<Option<(Row<'_>, BatchId)>, CheckpointError> {
        if std::mem::take(&mut self.is_top_used) {
            let top = self.heap[0];
            self.cursors[top].advance()?;
            match self.cursors[top].done {
                true => drop(self.pop()),
                false => self.sink(),
            }
        }
        while let Some(cursor) = self.used.pop() {
            self.cursors[cursor].advance()?;
            self.push(cursor);
        }
        let Some(&newest) = self.heap.first() else { return Ok(None) };
        let order = self.cursors[newest].order();
        // Were there another one of its group, one of these would be.
        let below = self.heap.iter().skip(1).take(2);
        if below.into_iter().all(|&cursor| self.cursors[cursor].order() != order) {
            self.is_top_used = true;
            let cursor = &self.cursors[newest];
            return Ok(Some((cursor.row(), cursor.batch)));
        }
        self.pop();
        self.used.push(newest);
        while let Some(&older) = self.heap.first()
            && self.cursors[older].order() == self.cursors[newest].order()
        {
            self.pop();
            self.used.push(older);
        }
        let cursor = &self.cursors[newest];
        Ok(Some((cursor.row(), cursor.batch)))
    }

    fn comes_before(&self, one: usize, other: usize) -> bool {
        let order = |cursor: usize| self.cursors[cursor].order();
        order(one).cmp(&order(other)).then(other.cmp(&one)).is_lt()
    }

    /// Takes a cursor into the heap, unless it is done.
    fn push(&mut self, cursor: usize) {
        if self.cursors[cursor].done {
            return;
        }
        let mut at = self.heap.len();
        self.heap.push(cursor);
        while at > 0 && self.comes_before(self.heap[at], self.heap[(at - 1) / 2]) {
            self.heap.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    /// Takes the top off the heap.
    fn pop(&mut self) -> Option<usize> {
        if self.heap.is_empty() {
            return None;
        }
        let top = self.heap.swap_remove(0);
        self.sink();
        Some(top)
    }

    /// Lets the top sink to where it belongs.
    fn sink(&mut self) {
        let mut at = 0;
        loop {
            let below =
                [2 * at + 1, 2 * at + 2].into_iter().filter(|below| *below < self.heap.len());
            let first = below.reduce(|left, right| {
                if self.comes_before(self.heap[right], self.heap[left]) { right } else { left }
            });
            match first {
                Some(below) if self.comes_before(self.heap[below], self.heap[at]) => {
                    self.heap.swap(at, below);
                    at = below;
                }
                _ => return,
            }
        }
    }
}

struct Cursor<'f> {
    families: &'f dyn Families,
    place: Place,
    batch: BatchId,
    chunks: u32,
    /// The chunk being read, and its bytes.
    chunk: u32,
    value: Vec<u8>,
    /// Stands at a row, unless all were read.
    rows: ChunkReader,
    done: bool,
}

impl<'f> Cursor<'f> {
    fn open(
        families: &'f dyn Families,
        place: Place,
        run: &Run,
    ) -> Result<Cursor<'f>, CheckpointError> {
        let mut cursor = Cursor {
            families,
            place,
            batch: run.batch,
            chunks: run.chunks,
            chunk: 0,
            value: Vec::new(),
            rows: ChunkReader::new(place),
            done: false,
        };
        cursor.fetch()?;
        cursor.advance()?;
        Ok(cursor)
    }

    fn key(&self) -> ChunkKey {
        ChunkKey { place: self.place, batch: self.batch, chunk: self.chunk }
    }

    fn fetch(&mut self) -> Result<(), CheckpointError> {
        let key = self.key().encode();
        let directory = self.families.directory();
        let found = self.families.get(Family::Windows, &key)?;
        self.value = found.ok_or_else(|| {
            corrupt(directory, format!("windows {} is missing", key.escape_ascii()))
        })?;
        let chunk = Chunk::open(&key, &self.value)
            .map_err(|error| at_key(directory, Family::Windows, &key, &error))?;
        self.rows.begin(chunk);
        Ok(())
    }

    /// Moves to the next row, through the next chunk where this one ends.
    fn advance(&mut self) -> Result<(), CheckpointError> {
        loop {
            let is_row = self.rows.advance(&self.value).map_err(|error| {
                let key = self.key().encode();
                at_key(self.families.directory(), Family::Windows, &key, &error)
            })?;
            if is_row {
                return Ok(());
            }
            if self.chunk + 1 >= self.chunks {
                self.done = true;
                return Ok(());
            }
            self.chunk += 1;
            self.fetch()?;
        }
    }

    fn row(&self) -> Row<'_> {
        self.rows.row(&self.value)
    }

    fn order(&self) -> (Timestamp, &[u8]) {
        self.rows.order()
    }
}
