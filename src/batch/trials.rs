//! Jobs to try things on: a spec in a few words, records in, rows out, and a model of what a
//! checkpoint holds, so that any batch can be followed by a restart.

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc};

use crate::{
    batch::{
        BatchRecord, Beyond, Due, Head, Job, OutputChunk, Plan, Record, Room, RowsHasher,
        TakesOutput, due,
    },
    spark::{LogWrite, StateLog},
    spec::{self, Comparison, Expression, Literal, Pipeline, Query, SessionGap, Window},
    types::{
        Incarnation, LeaderEpoch, Lineage, Offset, Partition, Place, Position, Rows, Timestamp,
        Value,
    },
    window::{
        Accumulator, Changes, Group, ResultsError, Shelf, Table, VisitGroup, Wanted, Watermarks,
        overlaid,
    },
};

/// A spec over (store, item, price, ts in seconds): its mode, the delay of its watermark, whatever is
/// to stand before the sections, and sections.
pub(super) fn pipeline(mode: &str, delay: Option<&str>, head: &str, sections: &str) -> Pipeline {
    let watermark = delay.map_or_else(String::new, |delay| format!("watermark = \"{delay}\"\n"));
    let text = format!(
        "name = \"trial\"\ntopic = \"trial\"\n{head}\n\
         [schema]\nstore = \"string\"\nitem = \"string\"\nprice = \"double\"\nts = \"long\"\n\
         [event_time]\ncolumn = \"ts\"\nformat = \"seconds\"\n{watermark}\n{sections}\n\
         [run]\noutput_mode = \"{mode}\"\n"
    );
    spec::parse(&text, "trial").unwrap_or_else(|errors| panic!("{errors}\n{text}")).pipeline
}

/// The same pipeline with session gaps that depend on the text of a schema column; NULL for others.
pub(super) fn with_gaps(mut pipeline: Pipeline, column: usize, gaps: &[(&str, &str)]) -> Pipeline {
    let text = |text: &str| Expression::Literal(Literal::String(text.to_owned()));
    let is = |value: &str| {
        let column = Box::new(Expression::Column(column));
        Expression::Compare(Comparison::Equal, column, Box::new(text(value)))
    };
    let branches = gaps.iter().map(|(value, gap)| (is(value), text(gap))).collect();
    let Query::Aggregation(aggregation) = &mut pipeline.query else { panic!("it has sessions") };
    let gap = SessionGap::Dynamic(Expression::Case(branches, None));
    aggregation.window = Some(Window::Session(gap));
    pipeline
}

/// What is stored under a place, start and key.
type StoredRow = (Timestamp, Vec<Accumulator>, bool);

/// What a checkpoint holds of the state.
#[derive(Clone, Debug, Default)]
struct Stored {
    rows: BTreeMap<Place, BTreeMap<(Timestamp, Vec<u8>), StoredRow>>,
    /// What was written anew ahead of the batch, which must be what it comes to.
    anew: Vec<(Timestamp, WholePlace)>,
}

type WholePlace = BTreeMap<(Timestamp, Vec<u8>), (Timestamp, Vec<Accumulator>)>;

impl Stored {
    /// What the ledger does with a plan.
    fn take(&mut self, plan: &Plan) {
        let bound = plan.publication.record.watermarks.late_bound;
        self.rows.retain(|place, _| !bound.closes(place.closing));
        self.rows.values_mut().flat_map(BTreeMap::values_mut).for_each(|row| row.2 = false);
        assert!(plan.changes.is_sorted_by_key(|changes| changes.place));
        for Changes { place, written, removed } in &plan.changes {
            assert!(!bound.closes(place.closing), "{place:?} is done with already");
            let rows = self.rows.entry(*place).or_default();
            for (start, key) in removed {
                let gone = rows.remove(&(*start, key.to_vec()));
                assert!(gone.is_some(), "only what is stored is removed");
            }
            for group in written.sorted() {
                let row = (group.end, group.accumulators.to_vec(), true);
                rows.insert((group.start, group.key.to_vec()), row);
            }
        }
        for (closing, whole) in self.anew.drain(..) {
            let rows = self.rows.get_mut(&Place::groups(closing)).expect("it was touched");
            let plain = |(at, row): (&(_, _), &StoredRow)| (at.clone(), (row.0, row.1.clone()));
            let stored: WholePlace = rows.iter().map(plain).collect();
            assert_eq!(whole, stored, "what is written anew is what is there behind the batch");
            // Nobody can tell any more what was touched.
            rows.values_mut().for_each(|row| row.2 = true);
        }
    }

    fn restore(&self, job: &mut Job, rows_are_stored: bool) {
        for (place, rows) in &self.rows {
            for ((start, key), (end, accumulators, newest)) in rows {
                let group = Group { start: *start, end: *end, key, accumulators };
                job.restore(*place, group, *newest && !rows_are_stored).expect("its own rows fit");
            }
        }
    }
}

impl Shelf for Stored {
    fn groups(
        &mut self,
        closing: Timestamp,
        wanted: &mut Wanted<'_>,
        visit: &mut VisitGroup<'_>,
    ) -> Result<(), ResultsError> {
        let rows = self.rows.get(&Place::groups(closing)).into_iter().flatten();
        for ((start, key), (end, accumulators, _)) in rows {
            if wanted(*start, key) {
                visit(Group { start: *start, end: *end, key, accumulators })?;
            }
        }
        Ok(())
    }

    fn is_scattered(&mut self, closing: Timestamp) -> bool {
        closing.0 / 10_000_000 % 2 == 0
    }

    fn write_anew(&mut self, closing: Timestamp, touched: &Table) -> Result<(), ResultsError> {
        let mut whole = BTreeMap::new();
        overlaid(self, closing, Some(touched), &mut |group| {
            let row = (group.end, group.accumulators.to_vec());
            assert!(whole.insert((group.start, group.key.to_vec()), row).is_none(), "it came once");
            Ok(())
        })?;
        self.anew.push((closing, whole));
        Ok(())
    }
}

/// Rows that went ahead.
#[derive(Debug, Default)]
struct WentAhead(Vec<Vec<u8>>);

impl TakesOutput for WentAhead {
    fn take(&mut self, chunk: OutputChunk) -> Result<(), ResultsError> {
        let OutputChunk::Rows(rows) = chunk else { panic!("only rows follow from state") };
        self.0.push(rows);
        Ok(())
    }
}

/// A job under trial.
#[derive(Debug)]
pub(super) struct Trial {
    pipeline: Arc<Pipeline>,
    room: Room,
    /// In how many lanes batches are read.
    lanes: NonZeroUsize,
    /// How often state was to be read back, and rows were too many.
    pub(super) beyond: (u64, u64),
    /// What the newest batch held when it was read.
    pub(super) held_bytes: usize,
    pub(super) job: Job,
    stored: Stored,
    log: Option<StateLog>,
    next: BTreeMap<Partition, i64>,
    pub(super) last: Option<BatchRecord>,
}

impl Trial {
    pub(super) fn new(pipeline: Pipeline) -> Trial {
        Trial::within(pipeline, Room::ENDLESS)
    }

    /// The same with only so much in memory.
    pub(super) fn within(pipeline: Pipeline, room: Room) -> Trial {
        let pipeline = Arc::new(pipeline);
        let lanes = NonZeroUsize::MIN;
        let job = new_job(&pipeline, room, lanes);
        let next = [(Partition(0), 0), (Partition(1), 0)].into();
        let (stored, beyond) = (Stored::default(), (0, 0));
        let (log, last) = (None, None);
        Trial { pipeline, room, lanes, beyond, held_bytes: 0, job, stored, log, next, last }
    }

    /// The same in so many lanes.
    pub(super) fn in_lanes(self, lanes: NonZeroUsize) -> Trial {
        let job = new_job(&self.pipeline, self.room, lanes);
        Trial { lanes, job, ..self }
    }

    /// Runs the batch that is due with these records, each a JSON text in a partition; its rows, each
    /// as text. `None` when none is due. With `restart`, the job is then made anew from what a
    /// checkpoint holds, and publishes the batch again.
    pub(super) fn batch(
        &mut self,
        records: &[(i32, String)],
        restart: bool,
    ) -> Option<Vec<String>> {
        if due(self.job.head(), &self.pipeline, !records.is_empty()) == Due::Nothing {
            return None;
        }
        let count = |(partition, next): (&Partition, &i64)| {
            let more = records.iter().filter(|(of, _)| *of == partition.0).count();
            (*partition, Offset(next + i64::try_from(more).expect("traces are short")))
        };
        let mut open = self.job.open(self.next.iter().map(count).collect(), 0);
        for (partition, value) in records {
            let partition = Partition(*partition);
            let next = self.next.get_mut(&partition).expect("there are two partitions");
            let record = Record { partition, offset: Offset(*next), value: Some(value.as_bytes()) };
            *next += 1;
            self.job.add(&mut open, record).expect("permissive mode goes on");
        }
        let reached = self.next.iter().map(|(partition, next)| {
            let epoch = LeaderEpoch::UNKNOWN;
            (*partition, Position { offset: Offset(*next), epoch })
        });
        self.held_bytes = open.memory_bytes();
        let wants_shelf = self.job.wants_shelf(&mut open);
        let mut ahead = WentAhead::default();
        let shelf = wants_shelf.then_some(&mut self.stored as &mut dyn Shelf);
        let beyond = Beyond { shelf, ahead: Some(&mut ahead) };
        let reached = reached.collect();
        let closed = self.job.close(open, &reached, 0, beyond, &mut |_| {});
        let plan = closed.expect("its own rows fit");
        self.beyond.0 += u64::from(wants_shelf);
        self.beyond.1 += u64::from(!ahead.0.is_empty());
        self.stored.take(&plan);
        self.take_log(&plan);
        if restart {
            self.restart(&plan);
        }
        self.last = Some(plan.publication.record.clone());
        let columns = plan.publication.rows.columns().clone();
        let mut rows = Rows::from_chunks(columns, ahead.0).expect("they were rows");
        rows.append(plan.publication.rows);
        assert_eq!(rows.len(), plan.publication.record.counts.rows_out);
        assert_eq!(RowsHasher::digest_of(&rows), plan.publication.record.rows_digest);
        Some(texts(&rows))
    }

    fn take_log(&mut self, plan: &Plan) {
        let Some(LogWrite { log, is_snapshot }) = &plan.log else { return };
        match &mut self.log {
            Some(known) if !is_snapshot => known.changes.extend(log.changes.iter().cloned()),
            known => *known = Some(log.clone()),
        }
    }

    /// A new job from what a checkpoint holds after `plan`. What it publishes again must be what was
    /// published.
    fn restart(&mut self, plan: &Plan) {
        self.job = new_job(&self.pipeline, self.room, self.lanes);
        self.stored.restore(&mut self.job, !plan.rows_are_state);
        if let Some(log) = &self.log {
            // It comes in parts.
            for changes in log.changes.chunks(5) {
                let part = StateLog { changes: changes.to_vec(), ..log.clone() };
                self.job.restore_log(&part).expect("its own log fits");
            }
            self.job.note_run_again();
        }
        let Plan { publication, rows_are_state, .. } = plan;
        let again =
            self.job.resume(publication.record.clone(), *rows_are_state, Some(&mut self.stored));
        let mut again = again.expect("its own rows fit");
        if !rows_are_state {
            again.rows = publication.rows.clone();
        }
        assert_eq!(&again, publication, "it is published again alike");
    }

    /// A batch of sales in partition 0 (store, price, second; item is "i") and, where due, the batch
    /// without data after it: the rows of each, joined by `; `.
    pub(super) fn sales(&mut self, sales: &[(&str, f64, i64)]) -> Vec<String> {
        let records: Vec<_> =
            sales.iter().map(|(store, price, ts)| (0, sale(store, "i", *price, *ts))).collect();
        let rows = self.batch(&records, true).into_iter();
        let mut batches: Vec<_> = rows.map(|rows| rows.join("; ")).collect();
        if let Some(rows) = self.batch(&[], true) {
            batches.push(rows.join("; "));
        }
        batches
    }

    pub(super) fn late(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.totals.late)
    }
}

fn new_job(pipeline: &Arc<Pipeline>, room: Room, lanes: NonZeroUsize) -> Job {
    let start = Position { offset: Offset(0), epoch: LeaderEpoch::UNKNOWN };
    let head = Head {
        lineage: Lineage(1),
        incarnation: Incarnation(1),
        last: None,
        positions: BTreeMap::from([(Partition(0), start), (Partition(1), start)]),
        watermarks: Watermarks::FIRST,
        has_run: false,
    };
    let job = Job::new(pipeline.clone(), head, false).expect("the pipeline can be decoded");
    // Rows can only be too many where a chunk holds few.
    let chunk_bytes = if room == Room::ENDLESS { Rows::CHUNK_BYTES } else { 50 };
    let job = job.with_output_chunks_of(chunk_bytes).within(room);
    job.in_lanes(lanes).expect("the pipeline can be decoded")
}

/// A record; a price below zero and a second of `i64::MIN` stand for NULL.
pub(super) fn sale(store: &str, item: &str, price: f64, ts: i64) -> String {
    let price = if price < 0.0 { "null".to_owned() } else { price.to_string() };
    let ts = if ts == i64::MIN { "null".to_owned() } else { ts.to_string() };
    let text = |text: &str| if text == "NULL" { "null".to_owned() } else { format!("\"{text}\"") };
    let (store, item) = (text(store), text(item));
    format!(r#"{{"store":{store},"item":{item},"price":{price},"ts":{ts}}}"#)
}

fn texts(rows: &Rows) -> Vec<String> {
    let mut reader = rows.reader();
    let mut all = Vec::new();
    while let Some(row) = reader.next() {
        all.push(row.iter().map(|value| text(*value)).collect::<Vec<_>>().join(" "));
    }
    all
}

fn text(value: Value<'_>) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Long(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::String(text) => text.to_owned(),
        Value::Timestamp(time) if time.0 % 1_000_000 == 0 => (time.0 / 1_000_000).to_string(),
        Value::Timestamp(time) => format!("{}us", time.0),
        Value::Decimal(value) => value.to_string(),
    }
}
