//! What has happened so far and what must therefore hold: every batch that is or may be durable, what
//! it read, what it must give, and how far it has got outside.
//!
//! Each batch is computed twice more: by an undisturbed run of the job over the same boundaries (the
//! *shadow*), and by the reference model where that knows the pipeline. Start at [`Book::planned`].
//!
//! Invariants looked at here: visibility, contiguity, closure, boundaries (a batch reads where the one
//! before it ended and what is there), lineage; that nothing is lost or read twice follows from them,
//! and is counted once more at the end of a trial.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::{
    batch::{
        BatchRecord, Beyond, DeadLetter, Head, Identity, Job, Plan, Publication, Record, RowsHasher,
    },
    checkpoint::{Recovered, Visible},
    simulate::{
        pipelines::Variant,
        reference::{Given, Reference},
    },
    source::memory::Held,
    types::{
        Incarnation, LeaderEpoch, Lineage, Offset, Partition, Position, Rows, Value, Watermark,
    },
    window::Watermarks,
};

/// Where partitions are read.
pub(super) type Positions = BTreeMap<Partition, Position>;

/// Something that must never be.
pub(super) type Checked = Result<(), String>;

/// What a batch has read, in the order it was handed out.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// Where reading stood before it was moved.
    stood: Positions,
    /// Where it began.
    pub(super) from: Positions,
    /// Where it ended.
    pub(super) ends: Positions,
    /// How reading was moved since the batch before it.
    moves: Vec<Move>,
    records: Vec<(Partition, Held)>,
}

#[derive(Clone, Copy, Debug)]
enum Move {
    /// What is below was deleted; its offsets stay part of the batches.
    Without(Partition, Offset),
    /// The log ends before.
    To(Partition, Position),
    Add(Partition, Position),
    Remove(Partition),
}

impl Move {
    /// Whether it makes the next batch of a partition begin elsewhere than the last one ended.
    fn jumps(&self, partition: Partition) -> bool {
        matches!(self, Move::To(at, _) | Move::Add(at, _) if *at == partition)
    }
}

/// A batch and what it must give.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    record: BatchRecord,
    content: Content,
    rows: Rows,
    letters: Arc<[DeadLetter]>,
    /// Some sink has confirmed it.
    has_left: bool,
}

/// What a copy of the disk holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    /// Its batches.
    pub(super) history: Vec<Entry>,
    /// The sinks that it knows, and the newest batch that each had.
    sinks: Vec<(String, Option<u64>)>,
}

/// How far a sink has got.
#[derive(Clone, Debug)]
pub(super) struct SinkBook {
    pub(super) name: String,
    /// Newest batch that it has confirmed.
    pub(super) published: Option<u64>,
    /// Newest batch before it came.
    pub(super) joined: Option<u64>,
    /// How many publications it has confirmed.
    pub(super) confirmed: u64,
}

/// The book.
pub(super) struct Book {
    variant: &'static Variant,
    keep_dead_letters: bool,
    shadow: Shadow,
    history: Vec<Entry>,
    /// A batch whose write was not confirmed.
    candidate: Option<Entry>,
    /// The newest batch was found after a write that failed, and nothing was synced since.
    is_unsure: bool,
    announced: Option<u64>,
    lineage: Option<Lineage>,
    reading: Content,
    /// Read to their ends and not yet persisted, oldest first.
    read: VecDeque<Content>,
    sinks: Vec<SinkBook>,
    /// Sinks of earlier runs.
    gone: Vec<SinkBook>,
    /// Whether records may be lost (`--fail-on-data-loss false`).
    pub(super) may_lose: bool,
    /// Batches that were ever durable.
    pub(super) batches: u64,
}

impl Book {
    pub(super) fn new(variant: &'static Variant, keep_dead_letters: bool) -> Book {
        Book {
            variant,
            keep_dead_letters,
            shadow: Shadow::new(variant, keep_dead_letters),
            history: Vec::new(),
            candidate: None,
            is_unsure: false,
            announced: None,
            lineage: None,
            reading: Content::default(),
            read: VecDeque::new(),
            sinks: Vec::new(),
            gone: Vec::new(),
            may_lose: false,
            batches: 0,
        }
    }

    /// Number of the newest batch that is durable.
    pub(super) fn newest(&self) -> Option<u64> {
        self.history.last().map(|entry| entry.record.batch.0)
    }

    /// Where the newest durable batch ended.
    pub(super) fn positions(&self) -> Option<Positions> {
        self.history.last().map(|entry| entry.record.positions())
    }

    pub(super) fn sinks(&self) -> &[SinkBook] {
        &self.sinks
    }

    /// Every record that a durable batch has read.
    pub(super) fn records(&self) -> impl Iterator<Item = (Partition, &Held)> {
        let contents = self.history.iter().flat_map(|entry| &entry.content.records);
        contents.map(|(partition, held)| (*partition, held))
    }

    /// The history's name, if it has begun.
    pub(super) fn lineage(&self) -> Option<Lineage> {
        self.lineage
    }

    fn entry(&self, batch: u64) -> Option<&Entry> {
        self.history.get(usize::try_from(batch).ok()?)
    }

    /// A durable batch.
    pub(super) fn record(&self, batch: u64) -> Option<&BatchRecord> {
        self.entry(batch).map(|entry| &entry.record)
    }

    /// Everything that was read at the start is on the disk.
    pub(super) fn synced(&mut self) {
        self.is_unsure = false;
    }

    /// All that is durable, to be put back with a copy of the disk; `None` while it is not known
    /// whether a batch is.
    pub(super) fn copy(&self) -> Option<Kept> {
        let sinks =
            self.sinks.iter().chain(&self.gone).map(|sink| (sink.name.clone(), sink.published));
        (self.candidate.is_none() && !self.is_unsure)
            .then(|| Kept { history: self.history.clone(), sinks: sinks.collect() })
    }

    /// The disk was replaced by a copy of it, or an empty one, on which these batches are durable. A
    /// sink that the copy does not know begins behind them: it may hold those of another history.
    pub(super) fn replaced(&mut self, copy: Kept) {
        self.history = copy.history;
        self.candidate = None;
        self.is_unsure = false;
        let newest = self.newest();
        self.announced = self.announced.min(newest);
        for sink in self.sinks.iter_mut().chain(&mut self.gone) {
            let known = copy.sinks.iter().find(|(name, _)| *name == sink.name);
            sink.published = match known {
                Some((_, had)) => sink.published.max(*had).min(newest),
                None => newest,
            };
            sink.joined = if known.is_some() { sink.joined.min(newest) } else { newest };
        }
        self.remake_shadow(true);
    }

    /// A run begins; `recovered` is what it found.
    pub(super) fn begins(&mut self, recovered: &Recovered) -> Checked {
        (self.reading, self.read) = (Content::default(), VecDeque::new());
        let candidate = self.candidate.take();
        let found = recovered.last.as_ref();
        if self.is_unsure && found != self.history.last().map(|entry| &entry.record) {
            self.history.pop();
            self.is_unsure = false;
            self.remake_shadow(true);
        }
        let newest = self.history.last().map(|entry| &entry.record);
        if found == newest {
            self.remake_shadow(candidate.is_some());
            return Ok(());
        }
        if let (Some(entry), Some(found)) = (candidate, found)
            && entry.record == *found
        {
            self.history.push(entry);
            self.batches += 1;
            self.is_unsure = true;
            return Ok(());
        }
        Err(format!(
            "batch {} was durable, and the checkpoint now ends with batch {}",
            shown(newest.map(|record| record.batch.0)),
            shown(found.map(|record| record.batch.0))
        ))
    }

    fn remake_shadow(&mut self, is_needed: bool) {
        if !is_needed {
            return;
        }
        self.shadow = Shadow::new(self.variant, self.keep_dead_letters);
        for entry in &self.history {
            self.shadow.starts_from(&entry.content, &entry.record);
            self.shadow.batch(&entry.content, &entry.record);
        }
    }

    /// The sinks of the run, in its order; new ones begin behind the newest batch.
    pub(super) fn set_sinks(&mut self, names: &[&str]) {
        let newest = self.newest();
        let mut sinks = Vec::new();
        for name in names {
            let mut before = self.sinks.iter().chain(&self.gone);
            let known = before.rfind(|sink| sink.name == *name).cloned();
            // One that was given nothing yet joins anew where the batch that it joined behind was lost.
            let known = known.filter(|sink| sink.confirmed > 0 || sink.published <= newest);
            sinks.push(known.unwrap_or_else(|| SinkBook {
                name: (*name).to_owned(),
                published: newest,
                joined: newest,
                confirmed: 0,
            }));
        }
        self.gone.retain(|gone| !names.contains(&&*gone.name));
        let left = std::mem::replace(&mut self.sinks, sinks);
        self.gone.extend(left.into_iter().filter(|sink| !names.contains(&&*sink.name)));
    }

    /// The history's name, known once it begins.
    pub(super) fn named(&mut self, lineage: Lineage) {
        self.lineage = Some(lineage);
    }

    /// Where reading of the next batch begins.
    pub(super) fn reads_from(&self) -> &Positions {
        &self.reading.from
    }

    /// Reading is sent to these positions.
    pub(super) fn assigned(&mut self, positions: &Positions) -> Checked {
        self.drop_read(positions);
        let stood = self.read.back().map(|content| content.ends.clone());
        let stood = if self.reading.from.is_empty() && stood.is_none() {
            self.positions()
        } else if self.reading.from.is_empty() {
            stood
        } else {
            Some(self.reading.from.clone())
        };
        self.reading.records.clear();
        let Some(stood) = stood else {
            self.reading.stood.clone_from(positions);
            self.reading.from.clone_from(positions);
            return Ok(());
        };
        for (partition, position) in positions {
            match stood.get(partition) {
                Some(before) if before.offset == position.offset => {}
                Some(before) if !self.may_lose => {
                    return Err(format!(
                        "partition {partition} was read up to {} and is now read from {}",
                        before.offset, position.offset
                    ));
                }
                Some(before) if before.offset < position.offset => {
                    self.reading.moves.push(Move::Without(*partition, position.offset));
                }
                Some(_) => self.reading.moves.push(Move::To(*partition, *position)),
                None => self.reading.moves.push(Move::Add(*partition, *position)),
            }
        }
        for partition in stood.keys().filter(|partition| !positions.contains_key(partition)) {
            if !self.may_lose {
                return Err(format!("partition {partition} is not read any more"));
            }
            self.reading.moves.push(Move::Remove(*partition));
        }
        self.reading.from.clone_from(positions);
        Ok(())
    }

    /// A batch that was read to its ends may turn out too large, and is read again with other ends. Where it
    /// was none of those, but one that is still to be persisted, that shows then: it was not read.
    fn drop_read(&mut self, positions: &Positions) {
        let is_at = |there: &Positions| {
            let offsets = |at: &Positions| -> Vec<_> {
                at.iter().map(|(partition, position)| (*partition, position.offset)).collect()
            };
            offsets(there) == offsets(positions)
        };
        let is_read_again =
            self.read.back().is_some_and(|last| is_at(&last.from) && !is_at(&last.ends));
        if is_read_again && self.reading.records.is_empty() {
            self.reading = self.read.pop_back().expect("it was just seen");
        }
    }

    /// A record was handed out.
    pub(super) fn handed(&mut self, partition: Partition, record: Held) {
        self.reading.records.push((partition, record));
    }

    /// The batch that is read is at its ends. `there`: what the partitions hold between its beginning
    /// and its ends, where that did not change meanwhile.
    pub(super) fn reached(
        &mut self,
        ends: &Positions,
        there: Option<&dyn Fn(Partition, Offset, Offset) -> Vec<Held>>,
    ) -> Checked {
        let mut content = std::mem::take(&mut self.reading);
        content.ends.clone_from(ends);
        self.reading.from.clone_from(ends);
        if let Some(there) = there {
            for (partition, from) in &content.from {
                let to = ends.get(partition).map_or(from.offset, |end| end.offset);
                let expected = there(*partition, from.offset, to);
                let handed = content.records.iter().filter(|(at, _)| at == partition);
                if !handed.map(|(_, held)| held).eq(&expected) {
                    return Err(format!(
                        "partition {partition} was not read whole from {} to {to}",
                        from.offset
                    ));
                }
            }
        }
        self.read.push_back(content);
        Ok(())
    }

    /// A batch is about to be persisted.
    pub(super) fn planned(&mut self, record: &BatchRecord) -> Checked {
        let next = self.newest().map_or(0, |newest| newest + 1);
        if record.batch.0 != next {
            return Err(format!("batch {} is persisted behind {next}", record.batch));
        }
        let behind = self.sinks.iter().find(|sink| sink.published < self.newest());
        if let Some(sink) = behind {
            return Err(format!("batch {next} is persisted before {} has the last one", sink.name));
        }
        // New sinks may begin behind a batch, but not behind one that no sink was ever given.
        if self.history.last().is_some_and(|newest| !newest.has_left) {
            return Err(format!("batch {next} is persisted and no sink was given the last one"));
        }
        let Some(content) = self.read.pop_front() else {
            return Err(format!("batch {next} is persisted and was not read"));
        };
        let boundaries = |positions: &Positions| -> Vec<_> {
            positions.iter().map(|(at, position)| (*at, position.offset)).collect()
        };
        // A batch of what was deleted ends before what was read.
        if !self.may_lose && boundaries(&record.positions()) != boundaries(&content.ends) {
            return Err(format!("batch {next} does not end where it was read up to"));
        }
        let before = self.positions();
        for (partition, range) in &record.ranges {
            let before = before.as_ref().and_then(|before| before.get(partition));
            let is_moved = content.moves.iter().any(|moved| moved.jumps(*partition));
            if before.is_some_and(|before| before.offset != range.begin && !is_moved) {
                return Err(format!("batch {next} does not begin where the last one ended"));
            }
        }
        self.shadow.starts_from(&content, record);
        let (plan, given) = self.shadow.batch(&content, record);
        let Publication { record: expected, rows, dead_letters: letters, .. } = plan.publication;
        self.check_record(record, &expected)?;
        if let Some(given) = given {
            check_given(record, &rows, &given, self.variant.is_compat)?;
        }
        self.candidate =
            Some(Entry { record: record.clone(), content, rows, letters, has_left: false });
        Ok(())
    }

    fn check_record(&self, record: &BatchRecord, expected: &BatchRecord) -> Checked {
        let batch = record.batch;
        let same_boundaries = record.watermarks == expected.watermarks
            && record.next_watermarks == expected.next_watermarks
            && record.ranges == expected.ranges;
        if !same_boundaries || record.counts != expected.counts || record.totals != expected.totals
        {
            return Err(format!(
                "batch {batch} is not what an undisturbed run gives: {:?} {:?} {:?} instead of {:?} \
                 {:?} {:?}",
                record.counts,
                record.ranges,
                record.next_watermarks,
                expected.counts,
                expected.ranges,
                expected.next_watermarks
            ));
        }
        if !self.variant.is_compat && record.digest != expected.digest {
            return Err(format!("batch {batch} has other rows than an undisturbed run gives"));
        }
        let previous = self.history.last().map(|entry| entry.record.digest);
        if record.digest != record.link() || previous.is_some_and(|link| link != record.previous) {
            return Err(format!("batch {batch} does not follow the one before it"));
        }
        Ok(())
    }

    /// The batch that was planned is durable.
    pub(super) fn durable(&mut self) {
        self.history.extend(self.candidate.take());
        self.batches += 1;
    }

    /// The newest batch is about to be announced.
    pub(super) fn announcing(&self, batch: u64) -> Checked {
        if self.newest() == Some(batch) {
            return Ok(());
        }
        Err(format!("batch {batch} is announced and not the newest durable one"))
    }

    pub(super) fn was_announced(&mut self, batch: u64) {
        self.announced = Some(batch);
    }

    /// A batch is given to a sink.
    pub(super) fn publishing(&self, sink: usize, visible: &Visible) -> Checked {
        let Identity { batch, digest, lineage, .. } = *visible.identity();
        let sink = &self.sinks[sink];
        let name = &sink.name;
        if self.announced < Some(batch.0) {
            return Err(format!("{name} is given batch {batch}, which is not announced"));
        }
        let Some(entry) = self.entry(batch.0) else {
            return Err(format!("{name} is given batch {batch}, which is not durable"));
        };
        let next = sink.published.map_or(0, |published| published + 1);
        if batch.0 != next && Some(batch.0) != sink.published {
            return Err(format!("{name} is given batch {batch} and has {}", shown(sink.published)));
        }
        if digest != entry.record.digest
            || *visible.record() != entry.record
            || Some(lineage) != self.lineage
        {
            return Err(format!("{name} is given another batch {batch} than the durable one"));
        }
        let whole = visible.whole().map_err(|error| error.to_string())?;
        if RowsHasher::digest_of(&whole.rows) != entry.record.rows_digest {
            return Err(format!("{name} is given batch {batch} with other rows"));
        }
        let is_same = match self.variant.is_compat {
            true => sorted(&whole.rows) == sorted(&entry.rows),
            false => whole.rows == entry.rows,
        };
        if !is_same || by_partition(&whole.dead_letters) != by_partition(&entry.letters) {
            return Err(format!(
                "{name} is given batch {batch} with {:?} and {} dead letters instead of {:?} and {}",
                sorted(&whole.rows),
                whole.dead_letters.len(),
                sorted(&entry.rows),
                entry.letters.len()
            ));
        }
        Ok(())
    }

    /// A sink has confirmed a batch.
    pub(super) fn published(&mut self, sink: usize, batch: u64) {
        let sink = &mut self.sinks[sink];
        sink.published = Some(batch);
        sink.confirmed += 1;
        let entry = usize::try_from(batch).ok().and_then(|batch| self.history.get_mut(batch));
        if let Some(entry) = entry {
            entry.has_left = true;
        }
    }

    /// A batch is to be committed to the group.
    pub(super) fn committing(&self, visible: &Visible) -> Checked {
        let batch = visible.identity().batch.0;
        let Some(entry) = self.entry(batch) else {
            return Err(format!("batch {batch} is committed and not durable"));
        };
        if visible.record().positions() != entry.record.positions() {
            return Err(format!("batch {batch} is committed with other positions"));
        }
        self.everywhere(batch, "committed")
    }

    fn everywhere(&self, batch: u64, what: &str) -> Checked {
        match self.sinks.iter().find(|sink| sink.published < Some(batch)) {
            Some(sink) => Err(format!("batch {batch} is {what} and {} lacks it", sink.name)),
            None => Ok(()),
        }
    }

    /// A sink is marked with a batch.
    pub(super) fn marking(&self, sink: &str, batch: u64) -> Checked {
        let known = self.sinks.iter().find(|known| known.name == sink);
        if known.is_some_and(|known| known.published >= Some(batch)) {
            return Ok(());
        }
        Err(format!("{sink} is marked with batch {batch}, which it lacks"))
    }

    /// A sink joins behind a batch.
    pub(super) fn admitting(&self, sink: &str, newest: Option<u64>) -> Checked {
        match newest {
            Some(batch) => self.marking(sink, batch),
            None => Ok(()),
        }
    }

    /// A report is made of a batch.
    pub(super) fn reported(&self, batch: u64) -> Checked {
        self.everywhere(batch, "reported")
    }

    /// A group is read back at a start.
    pub(super) fn restored(&self, closing_us: i64) -> Checked {
        let Some(last) = self.history.last() else {
            return Err("state is read back and there is no batch".to_owned());
        };
        let Watermark(bound_ms) = last.record.watermarks.late_bound;
        let complete = self.variant.pipeline.output_mode == crate::spec::OutputMode::Complete;
        if self.variant.windows.is_some()
            && !complete
            && closing_us <= bound_ms.saturating_mul(1000)
        {
            return Err(format!(
                "a window that closed at {closing_us} us is stored behind batch {}",
                last.record.batch
            ));
        }
        Ok(())
    }

    /// So many groups were read back whose windows are open.
    pub(super) fn restored_all(&self, open: usize) -> Checked {
        let Some(reference) = &self.shadow.reference else { return Ok(()) };
        if self.variant.is_compat || reference.groups() == open {
            return Ok(());
        }
        Err(format!("{open} open groups are read back, the model has {}", reference.groups()))
    }

    /// Until when windows are closed.
    pub(super) fn closing_bound_us(&self) -> i64 {
        let complete = self.variant.pipeline.output_mode == crate::spec::OutputMode::Complete;
        let last = self.history.last().filter(|_| !complete);
        last.map_or(i64::MIN, |last| last.record.watermarks.closing_bound.0.saturating_mul(1000))
    }

    /// A run has ended by itself: everything is everywhere.
    pub(super) fn finished(&self) -> Checked {
        match self.newest() {
            Some(newest) => self.everywhere(newest, "the last one of a finished run"),
            None => Ok(()),
        }
    }
}

pub(super) fn shown(batch: Option<u64>) -> String {
    batch.map_or("none".to_owned(), |batch| batch.to_string())
}

fn check_given(record: &BatchRecord, rows: &Rows, given: &Given, is_compat: bool) -> Checked {
    let next = record.next_watermarks;
    let watermarks = (next.late_bound.0, next.closing_bound.0);
    let is_late_same = is_compat || record.counts.late == given.late;
    if watermarks != (given.late_bound_ms, given.closing_bound_ms) || !is_late_same {
        return Err(format!(
            "batch {}: {} late and watermarks {watermarks:?}, where the model has {} and {:?}",
            record.batch,
            record.counts.late,
            given.late,
            (given.late_bound_ms, given.closing_bound_ms)
        ));
    }
    let rows = sorted(rows);
    if rows != given.rows {
        return Err(format!(
            "batch {} gives {:?}, where the model has {:?}",
            record.batch,
            only_in(&rows, &given.rows),
            only_in(&given.rows, &rows)
        ));
    }
    Ok(())
}

/// What the first has and the second lacks.
fn only_in<'a>(these: &'a [String], those: &[String]) -> Vec<&'a String> {
    these.iter().filter(|row| !those.contains(row)).collect()
}

/// Those of a partition in their order; which partition is first depends on the lanes.
fn by_partition(letters: &[DeadLetter]) -> Vec<&DeadLetter> {
    let mut letters: Vec<_> = letters.iter().collect();
    letters.sort_by_key(|letter| letter.partition);
    letters
}

/// Rows as texts, in the model's way of writing them, sorted.
fn sorted(rows: &Rows) -> Vec<String> {
    let text = |value: &Value<'_>| match value {
        Value::Null => "NULL".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Long(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::String(value) => (*value).to_owned(),
        Value::Timestamp(value) => (value.0 / 1_000_000).to_string(),
        Value::Decimal(value) => value.to_string(),
    };
    let (mut reader, mut texts) = (rows.reader(), Vec::new());
    while let Some(row) = reader.next() {
        texts.push(row.iter().map(text).collect::<Vec<_>>().join("|"));
    }
    texts.sort();
    texts
}

/// The run that nothing disturbs, and the reference beside it.
struct Shadow {
    job: Option<Job>,
    variant: &'static Variant,
    keep_dead_letters: bool,
    reference: Option<Reference>,
}

impl Shadow {
    fn new(variant: &'static Variant, keep_dead_letters: bool) -> Shadow {
        let reference = variant.windows.map(Reference::new);
        Shadow { job: None, variant, keep_dead_letters, reference }
    }

    /// The first batch begins where the history says; reading may have begun behind it, where records
    /// were deleted meanwhile. Where the log ended before, it was moved instead.
    fn starts_from(&mut self, content: &Content, record: &BatchRecord) {
        if self.job.is_none() {
            let mut positions = content.stood.clone();
            let mut deleted = Vec::new();
            for (partition, stood) in &mut positions {
                let begin = record.ranges.get(partition).map(|range| range.begin);
                let is_moved = content.moves.iter().any(|moved| moved.jumps(*partition));
                if let Some(begin) = begin.filter(|begin| *begin < stood.offset && !is_moved) {
                    deleted.push((*partition, stood.offset));
                    *stood = Position { offset: begin, epoch: LeaderEpoch::UNKNOWN };
                }
            }
            let head = Head {
                lineage: Lineage(0),
                incarnation: Incarnation(0),
                last: None,
                positions,
                watermarks: Watermarks::FIRST,
                has_run: false,
            };
            let job = Job::new(self.variant.pipeline.clone(), head, self.keep_dead_letters);
            let job = self.job.insert(job.expect("the pipeline was checked"));
            for (partition, first) in deleted {
                job.do_without(partition, first);
            }
        }
    }

    fn batch(&mut self, content: &Content, record: &BatchRecord) -> (Plan, Option<Given>) {
        let job = self.job.as_mut().expect("it has started");
        for moved in &content.moves {
            match moved {
                Move::Without(partition, first) => job.do_without(*partition, *first),
                Move::To(partition, position) => job.move_to(*partition, position.offset),
                Move::Add(partition, position) => job.add_partitions([(*partition, *position)]),
                Move::Remove(partition) => job.remove_partition(*partition),
            }
        }
        let ends = record.positions().iter().map(|(at, end)| (*at, end.offset)).collect();
        let mut open = job.open(ends, record.clock_ms);
        for (partition, (offset, value)) in &content.records {
            let (partition, offset) = (*partition, *offset);
            let read = job.add(&mut open, Record { partition, offset, value: value.as_deref() });
            read.expect("permissive mode goes on");
        }
        let plan = job
            .close(
                open,
                &record.positions(),
                record.clock_ms.saturating_add(record.took_ms),
                Beyond::default(),
                &mut |_| {},
            )
            .expect("its own state fits");
        let records = content.records.iter().map(|(_, (_, value))| value.as_deref());
        (plan, self.reference.as_mut().map(|reference| reference.batch(records)))
    }
}
