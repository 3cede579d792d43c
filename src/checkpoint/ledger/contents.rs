//! Everything a checkpoint holds, read and checked to belong together.
//!
//! Damage that every single checksum survives shows here: a family that ends at another batch, a hole
//! in history, a link that does not fit, a chunk that is missing or of an older version.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Families, HISTORY_BATCHES, at_key, corrupt, merge::MergedRows, outbox, same_watermarks,
};
use crate::{
    batch::{BatchRecord, Chunks, Genesis, Mark, VisibleFact},
    checkpoint::{
        CheckpointError, Recovered, RestoreGroup, VisitLog,
        codec::{
            self, Chunk, CodecError, Descriptor, Entry, Family, OutboxKey, StateHead, TotalsReader,
        },
    },
    types::{BatchId, Incarnation, Partition, Place, Position},
    window::{Group, Wanted},
};

/// What one write made for one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) struct Run {
    pub batch: BatchId,
    pub chunks: u32,
    pub bytes: u64,
    /// Sum of its chunks' checksums.
    pub seal: u64,
}

impl Run {
    pub fn of(batch: BatchId, entries: &[Entry]) -> Run {
        let mut run = Run { batch, chunks: 0, bytes: 0, seal: 0 };
        entries.iter().for_each(|entry| run.take_in(&entry.value));
        run
    }

    fn take_in(&mut self, value: &[u8]) {
        self.chunks += 1;
        self.bytes += value.len() as u64;
        self.seal = self.seal.wrapping_add(u64::from(codec::stored_checksum(value)));
    }

    pub fn add_to(&self, head: &mut StateHead) {
        head.chunks += u64::from(self.chunks);
        head.seal = head.seal.wrapping_add(self.seal);
    }

    pub fn take_from(&self, head: &mut StateHead) {
        head.chunks -= u64::from(self.chunks);
        head.seal = head.seal.wrapping_sub(self.seal);
    }
}

/// What a checkpoint holds, but for the groups, rows and dead letters themselves.
#[derive(Clone, Debug)]
pub(in crate::checkpoint) struct Contents {
    pub genesis: Option<Genesis>,
    pub head: Option<StateHead>,
    pub last: Option<BatchRecord>,
    pub marks: Vec<Mark>,
    pub incarnation: Incarnation,
    pub rollback_accepted: bool,
    pub descriptor: Option<Descriptor>,
    /// The first batch in history.
    pub oldest_record: Option<BatchId>,
    /// Runs by place, oldest first.
    pub runs: BTreeMap<Place, Vec<Run>>,
    /// What each batch added to the log of changes since its newest snapshot, oldest first.
    pub log: Vec<Run>,
    /// What was written ahead of a batch that was never written.
    pub orphans: BTreeSet<(Family, Vec<u8>)>,
}

impl Contents {
    /// What there is before anything was written.
    pub fn none() -> Contents {
        Contents {
            genesis: None,
            head: None,
            last: None,
            marks: Vec::new(),
            incarnation: Incarnation(0),
            rollback_accepted: false,
            descriptor: None,
            oldest_record: None,
            runs: BTreeMap::new(),
            log: Vec::new(),
            orphans: BTreeSet::new(),
        }
    }

    /// Reads all families and checks each against the others.
    pub fn read(families: &dyn Families) -> Result<Contents, CheckpointError> {
        let mut contents = Contents::none();
        contents.read_meta(families)?;
        let keys = contents.read_history(families)?;
        let offsets = read_offsets(families)?;
        contents.read_windows(families)?;
        contents.read_order(families)?;
        contents.read_outbox(families)?;
        let fits = contents.check(keys, &offsets);
        fits.map_err(|problem| corrupt(families.directory(), problem))?;
        Ok(contents)
    }

    fn read_meta(&mut self, families: &dyn Families) -> Result<(), CheckpointError> {
        families.scan(Family::Meta, &mut |key, value| {
            self.read_meta_value(key, value)
                .map_err(|error| at_key(families.directory(), Family::Meta, key, &error))
        })
    }

    fn read_meta_value(&mut self, key: &[u8], value: &[u8]) -> Result<(), CodecError> {
        match key {
            codec::GENESIS_KEY => self.genesis = Some(codec::decode_genesis(value)?),
            codec::HEAD_KEY => self.head = Some(codec::decode_head(value)?),
            codec::INCARNATION_KEY => self.incarnation = codec::decode_incarnation(value)?,
            codec::ROLLBACK_ACCEPTED_KEY => {
                codec::decode_rollback_accepted(value)?;
                self.rollback_accepted = true;
            }
            _ => {
                let sink = codec::sink_of_mark_key(key)?.ok_or(CodecError::Key)?;
                self.marks.push(codec::decode_mark(sink, value)?);
            }
        }
        Ok(())
    }

    /// Checks the chain; returns how many records there are.
    fn read_history(&mut self, families: &dyn Families) -> Result<u64, CheckpointError> {
        let mut count = 0;
        let mut last: Option<BatchRecord> = None;
        visit_history(families, &mut |record| {
            let problem = link_problem(last.as_ref(), &record);
            if let Some(problem) = problem {
                return Err(corrupt(families.directory(), problem));
            }
            self.oldest_record.get_or_insert(record.batch);
            count += 1;
            last = Some(record);
            Ok(())
        })?;
        self.last = last;
        Ok(count)
    }

    fn read_windows(&mut self, families: &dyn Families) -> Result<(), CheckpointError> {
        let directory = families.directory();
        let newest = self.head.map(|head| head.batch);
        let mut open_run: Option<(Place, Run)> = None;
        families.scan(Family::Windows, &mut |key, value| {
            if codec::is_row_form(key) {
                return Err(at_key(directory, Family::Windows, key, &CodecError::Key));
            }
            let chunk = Chunk::open(key, value)
                .map_err(|error| at_key(directory, Family::Windows, key, &error))?;
            let at = chunk.key;
            if Some(at.batch) > newest {
                self.orphans.insert((Family::Windows, key.to_vec()));
                return Ok(());
            }
            let mut run = match open_run.take() {
                Some((place, run)) if place == at.place && run.batch == at.batch => run,
                None => Run { batch: at.batch, chunks: 0, bytes: 0, seal: 0 },
                Some((place, run)) => return Err(unfinished(directory, place, &run)),
            };
            if at.chunk != run.chunks {
                return Err(unfinished(directory, at.place, &run));
            }
            run.take_in(value);
            if chunk.last {
                self.runs.entry(at.place).or_default().push(run);
            } else {
                open_run = Some((at.place, run));
            }
            Ok(())
        })?;
        match open_run {
            Some((place, run)) => Err(unfinished(directory, place, &run)),
            None => Ok(()),
        }
    }

    /// Checks that the log begins with the first batch or a snapshot and has no hole.
    fn read_order(&mut self, families: &dyn Families) -> Result<(), CheckpointError> {
        let directory = families.directory();
        let mut unfinished: Option<Run> = None;
        families.scan(Family::Order, &mut |key, value| {
            let chunk = codec::open_log(key, value)
                .map_err(|error| at_key(directory, Family::Order, key, &error))?;
            let at = chunk.key;
            let mut run = unfinished.take().unwrap_or_else(|| Run::of(at.batch, &[]));
            let follows = match self.log.last() {
                None => at.batch == BatchId(0) || chunk.is_snapshot,
                Some(last) => at.batch == last.batch.next(),
            };
            if run.batch != at.batch || run.chunks != at.chunk || !follows {
                let problem = format!("the log of changes has a hole before batch {}", at.batch);
                return Err(corrupt(directory, problem));
            }
            run.take_in(value);
            if chunk.last {
                self.log.push(run);
            } else {
                unfinished = Some(run);
            }
            Ok(())
        })?;
        match unfinished {
            Some(run) => {
                let problem = format!("the log of changes of batch {} has no end", run.batch);
                Err(corrupt(directory, problem))
            }
            None => Ok(()),
        }
    }

    /// Whether a snapshot of a later batch took the place of the log up to this one.
    pub fn is_log_cut(&self, up_to: BatchId) -> bool {
        self.log.first().is_some_and(|first| first.batch > up_to)
    }

    /// Hands out the log of changes up to a batch, chunk by chunk; nothing where the state is not one.
    pub fn visit_log(
        &self,
        families: &dyn Families,
        up_to: BatchId,
        visit: &mut VisitLog<'_>,
    ) -> Result<(), CheckpointError> {
        if self.log.is_empty() {
            return Ok(());
        }
        families.scan(Family::Order, &mut |key, value| {
            let mut part = None;
            let read = codec::open_log(key, value).and_then(|chunk| {
                let is_wanted = chunk.key.batch <= up_to;
                if is_wanted { codec::decode_log(key, value, &mut part) } else { Ok(()) }
            });
            read.map_err(|error| at_key(families.directory(), Family::Order, key, &error))?;
            part.as_ref().map_or(Ok(()), &mut *visit)
        })
    }

    fn read_outbox(&mut self, families: &dyn Families) -> Result<(), CheckpointError> {
        let directory = families.directory();
        let newest = self.head.map(|head| head.batch);
        let (mut rows, mut letters) = (Chunks::default(), Chunks::default());
        families.scan(Family::Outbox, &mut |key, value| {
            let damaged = |error| at_key(directory, Family::Outbox, key, &error);
            match OutboxKey::decode(key).map_err(damaged)? {
                OutboxKey::Descriptor(batch) if Some(batch) == newest => {
                    self.descriptor =
                        Some(codec::decode_descriptor(batch, value).map_err(damaged)?);
                }
                OutboxKey::ResultRows(batch, _) if Some(batch) == newest => {
                    codec::decode_result_rows(key, value).map_err(damaged)?;
                    outbox::take_in(&mut rows, value);
                }
                OutboxKey::DeadLetters(batch, _) if Some(batch) == newest => {
                    codec::decode_dead_letters(key, value, &mut Vec::new()).map_err(damaged)?;
                    outbox::take_in(&mut letters, value);
                }
                OutboxKey::ResultRows(batch, _) | OutboxKey::DeadLetters(batch, _)
                    if Some(batch) > newest =>
                {
                    self.orphans.insert((Family::Outbox, key.to_vec()));
                }
                other => {
                    let problem =
                        format!("the outbox holds {other:?}, but the newest batch is {newest:?}");
                    return Err(corrupt(directory, problem));
                }
            }
            Ok(())
        })?;
        match &self.descriptor {
            Some(descriptor) => descriptor_problem(descriptor, rows, letters)
                .map_or(Ok(()), |problem| Err(corrupt(directory, problem))),
            None => Ok(()),
        }
    }

    fn check(&self, records: u64, offsets: &Offsets) -> Result<(), String> {
        let (Some(head), Some(last)) = (&self.head, &self.last) else {
            return self.check_without_batch(offsets);
        };
        if self.genesis.is_none() {
            return Err("it holds batches, but not who it belongs to".to_owned());
        }
        if (last.batch, last.digest) != (head.batch, head.digest) {
            return Err(format!(
                "`meta` ends at batch {} ({}) and `history` at batch {} ({})",
                head.batch, head.digest, last.batch, last.digest
            ));
        }
        if records < HISTORY_BATCHES.min(last.batch.0.saturating_add(1)) {
            return Err(format!("history of batch {} holds only {records} batches", last.batch));
        }
        let expected: Offsets = last
            .positions()
            .into_iter()
            .map(|(partition, position)| (partition, (last.batch, position)))
            .collect();
        if *offsets != expected {
            return Err(format!("`offsets` are not those of batch {}", last.batch));
        }
        self.check_runs(head, last)?;
        self.check_descriptor(last)
    }

    fn check_without_batch(&self, offsets: &Offsets) -> Result<(), String> {
        let empty = self.head.is_none()
            && self.last.is_none()
            && offsets.is_empty()
            && self.runs.is_empty()
            && self.log.is_empty()
            && self.descriptor.is_none();
        if empty { Ok(()) } else { Err("its families do not end at the same batch".to_owned()) }
    }

    fn check_runs(&self, head: &StateHead, last: &BatchRecord) -> Result<(), String> {
        let mut found = StateHead { chunks: 0, seal: 0, ..*head };
        for (place, runs) in &self.runs {
            let closed = last.watermarks.late_bound.closes(place.closing);
            if closed || runs.iter().any(|run| run.batch > last.batch) {
                return Err(format!(
                    "rows of state that end at {} us do not fit batch {}",
                    place.closing.0, last.batch
                ));
            }
            runs.iter().for_each(|run| run.add_to(&mut found));
        }
        if self.log.last().is_some_and(|run| run.batch != last.batch) {
            return Err(format!("the log of changes does not end at batch {}", last.batch));
        }
        self.log.iter().for_each(|run| run.add_to(&mut found));
        if found == *head {
            return Ok(());
        }
        Err(format!(
            "`windows` and `order` hold {} chunks with seal {:x}, but `meta` says {} with {:x}",
            found.chunks, found.seal, head.chunks, head.seal
        ))
    }

    fn check_descriptor(&self, last: &BatchRecord) -> Result<(), String> {
        let batch = last.batch;
        let Some(descriptor) = &self.descriptor else {
            return Err(format!("the outbox of batch {batch} is missing"));
        };
        let touched: Vec<_> = self
            .runs
            .iter()
            .flat_map(|(place, runs)| runs.iter().map(move |run| (*place, run)))
            .filter(|(_, run)| run.batch == batch)
            .map(|(place, run)| (place, run.chunks))
            .collect();
        let fits = descriptor.touched == touched
            && descriptor.output_mode == last.output_mode
            && same_watermarks(descriptor, last.watermarks);
        if fits { Ok(()) } else { Err(format!("the outbox of batch {batch} does not fit it")) }
    }

    /// Whether nothing was ever written.
    pub fn is_empty(&self) -> bool {
        self.genesis.is_none() && self.head.is_none() && self.marks.is_empty()
    }

    /// Hands out every row of state, of each the newest, by place, start and key. With `as_of`,
    /// as they were after that batch, which must be the newest or the one before it.
    pub fn restore_groups(
        &self,
        families: &dyn Families,
        as_of: Option<BatchId>,
        restore: &mut RestoreGroup<'_>,
    ) -> Result<(), CheckpointError> {
        let Some(newest) = self.head.map(|head| head.batch) else { return Ok(()) };
        let as_of = as_of.unwrap_or(newest);
        for (place, runs) in &self.runs {
            let seen = runs.partition_point(|run| run.batch <= as_of);
            visit_rows(families, (*place, &runs[..seen]), newest, &mut |_, _| true, restore)?;
        }
        Ok(())
    }

    /// Bytes of all chunks of state.
    pub fn state_bytes(&self) -> u64 {
        self.runs.values().flatten().map(|run| run.bytes).sum()
    }

    /// What the port calls recovered.
    pub fn recovered(&self, visible: VisibleFact) -> Recovered {
        Recovered {
            genesis: self.genesis.clone(),
            last: self.last.clone(),
            marks: self.marks.clone(),
            visible,
            rows_are_stored: self.descriptor.as_ref().is_some_and(|batch| batch.rows.is_some()),
            incarnation: self.incarnation,
            rollback_accepted: self.rollback_accepted,
        }
    }
}

/// Hands out the rows of a place's runs that are wanted, of each the newest, by start and key, but for those
/// that are gone.
pub(super) fn visit_rows(
    families: &dyn Families,
    (place, runs): (Place, &[Run]),
    newest: BatchId,
    wanted: &mut Wanted<'_>,
    visit: &mut RestoreGroup<'_>,
) -> Result<(), CheckpointError> {
    let mut totals = TotalsReader::default();
    let mut rows = MergedRows::new(families, place, runs)?;
    while let Some((row, batch)) = rows.next()? {
        let Some(stored) = row.totals.filter(|_| wanted(row.start, row.key)) else { continue };
        let accumulators = totals.read(stored).map_err(|error| {
            let key = codec::row_key_prefix(place);
            at_key(families.directory(), Family::Windows, &key, &error)
        })?;
        let group = Group { start: row.start, end: row.end, key: row.key, accumulators };
        visit(place, group, batch == newest)?;
    }
    Ok(())
}

type Offsets = BTreeMap<Partition, (BatchId, Position)>;

fn read_offsets(families: &dyn Families) -> Result<Offsets, CheckpointError> {
    let mut offsets = Offsets::new();
    families.scan(Family::Offsets, &mut |key, value| {
        let (partition, batch, position) = codec::decode_position(key, value)
            .map_err(|error| at_key(families.directory(), Family::Offsets, key, &error))?;
        offsets.insert(partition, (batch, position));
        Ok(())
    })?;
    Ok(offsets)
}

/// Hands out every record of history, oldest first.
pub(in crate::checkpoint) fn visit_history(
    families: &dyn Families,
    visit: &mut dyn FnMut(BatchRecord) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    families.scan(Family::History, &mut |key, value| {
        let record = codec::decode_record(key, value)
            .map_err(|error| at_key(families.directory(), Family::History, key, &error))?;
        visit(record)
    })
}

/// Why a record cannot follow the one before it, if so.
pub(in crate::checkpoint) fn link_problem(
    last: Option<&BatchRecord>,
    record: &BatchRecord,
) -> Option<String> {
    let batch = record.batch;
    if record.link() != record.digest {
        return Some(format!("the digest of batch {batch} in history is not that of its content"));
    }
    match last {
        None if batch == BatchId(0) && record.previous != crate::types::Digest::ZERO => {
            Some("the first batch names one before it".to_owned())
        }
        Some(last) if last.batch.next() != batch => Some(format!(
            "history has a hole: batch {batch} comes directly after batch {}",
            last.batch
        )),
        Some(last) if last.digest != record.previous => Some(format!(
            "the chain is broken: batch {batch} names {} as the link before it, which is {}",
            record.previous, last.digest
        )),
        _ => None,
    }
}

fn unfinished(directory: &std::path::Path, place: Place, run: &Run) -> CheckpointError {
    corrupt(
        directory,
        format!(
            "of the groups that batch {} wrote for windows ending at {} us, chunk {} is missing",
            run.batch, place.closing.0, run.chunks
        ),
    )
}

/// Why these chunks are not the ones a batch names, if so.
fn descriptor_problem(
    descriptor: &Descriptor,
    rows: Chunks,
    dead_letters: Chunks,
) -> Option<String> {
    let batch = descriptor.batch;
    let pairs = [
        ("rows", descriptor.rows.unwrap_or_default(), rows),
        ("dead letters", descriptor.dead_letters, dead_letters),
    ];
    pairs.into_iter().find(|(_, named, found)| named != found).map(|(what, named, found)| {
        format!(
            "the outbox of batch {batch} holds {} chunks of {what} with seal {:x}, not {} with {:x}",
            found.count, found.seal, named.count, named.seal
        )
    })
}

pub(super) fn must_get(families: &dyn Families, key: &[u8]) -> Result<Vec<u8>, CheckpointError> {
    families.get(Family::Outbox, key)?.ok_or_else(|| {
        corrupt(families.directory(), format!("outbox {} is missing", key.escape_ascii()))
    })
}
