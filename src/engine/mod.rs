//! The engine: carries batches from the source through the core to the outside, in one order.
//!
//! The loop reads batch n+1 while batch n is on its way out on a thread of its own (`outlet`); a
//! plan is handed over only when the one before it has left through every sink, so at most one batch
//! is unpublished. Output of the batch that is read goes ahead into the checkpoint whenever a chunk is
//! full, so that no batch is too large for memory; where the batch is dropped, so is that. State that is not
//! in memory is read back when the batch before is durable (`beyond`). Start at [`run`].
//!
//! Invariants kept here:
//! - *Visibility*: nothing of a batch leaves before it is durable and announced, neither to a sink
//!   nor as a commit; the types of [`crate::checkpoint`] hold that.
//! - *Contiguity*: batches are handed over in order; the first failure ends the run.
//! - *Lineage*: facts are read before anything is changed; a permission that is used becomes durable
//!   as a new lineage, and left in the command it does nothing a second time: it either names the
//!   lineage that was given up, or the new one says (in Kafka, from its first commit on) what began it.
//! - *Topic*: a topic made again is read on only where that is allowed, and its id is in the checkpoint
//!   before a batch of it is read; from then on the history is of that topic.
//!
//! Not here: what a batch is (`batch`), bytes and clients (the adapters), options (`commands`).

mod beyond;
mod clock;
mod commits;
mod error;
mod outlet;
#[cfg(feature = "faults")]
mod planted;
mod report;
mod start;
mod steps;
#[cfg(test)]
mod tests;
mod trigger;

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc, time::Duration};

pub use clock::{Clock, SystemClock};
pub use error::EngineError;
pub use outlet::{Carriage, Moment, Pace};
pub use report::{OperatorTiming, Report, Reporter, Timing, WayOut};
pub use steps::{Effect, Steps};

use crate::{
    batch::{
        Counts, Due, Fit, HoldBack, Job, OpenBatch, Permissions, Plan, Record, Room, cut, due,
    },
    checkpoint::{Ahead, Checkpoint, Recovered, StateReader},
    engine::{
        outlet::{Departed, Left, Outlet},
        report::Stopwatch,
        trigger::Ends,
    },
    faults::{Mutant, Point, is_planted, reach},
    sink::Sink,
    source::{Progress, Source, SourceError, Taker},
    spec::{MaxOffsets, Pipeline, StartingOffsets, Trigger},
    stop::Stop,
    types::{BatchId, Keeper, Offset, Partition, Position, Timestamp},
};

/// How often a read looks up to see whether it should stop.
const READ_PATIENCE: Duration = Duration::from_millis(50);

/// The least pause between two looks that found nothing, where every moment is a trigger.
const IDLE_PAUSE: Duration = Duration::from_millis(5);

/// How often in a row records may be gone where reading stands, or the topic be another one, before going
/// on is given up.
const GONE_IN_A_ROW: u32 = 20;

/// How a run is to go; everything that is not the pipeline's meaning.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When batches are cut.
    pub trigger: Trigger,
    /// How many records a batch takes at most.
    pub max_offsets: MaxOffsets,
    /// Where a new query starts.
    pub starting_offsets: StartingOffsets,
    /// Fewest records of one batch, until `max_trigger_delay_ms` has passed since the last one.
    pub min_offsets: Option<u64>,
    /// How long a batch may be held back for being too small, in milliseconds.
    pub max_trigger_delay_ms: u64,
    /// What the operator allows this once.
    pub permissions: Permissions,
    /// How long to wait for a broker at the start; for ever if not given.
    pub startup_timeout: Option<Duration>,
    /// How long a run that was told to stop may wait for its last batch to leave, and any run for its
    /// last commit.
    pub shutdown_timeout: Duration,
    /// Whether late and malformed records are kept for a dead-letter sink.
    pub keep_dead_letters: bool,
    /// Whether records that are gone before they were read end the run; if not, it goes on without
    /// them as Spark does, says which, and counts them.
    pub fail_on_data_loss: bool,
    /// Into pieces of how many bytes at most the output of an open batch is cut to be written ahead;
    /// [`crate::types::Rows::CHUNK_BYTES`] outside of tests.
    pub output_chunk_bytes: usize,
    /// How much of the state and of a batch's rows may be in memory.
    pub room: Room,
    /// The limit on memory that this follows from, in bytes, for messages.
    pub memory_limit: u64,
    /// In how many lanes a large batch is read at most.
    pub lanes: NonZeroUsize,
    /// The spec as the user wrote it, kept in the checkpoint.
    pub spec_text: String,
    /// The brokers as the user named them, for messages.
    pub brokers: String,
}

impl Settings {
    /// Whether a topic that was made again under its name is read on. Spark, which knows topics by name
    /// alone, does not notice that.
    #[must_use]
    pub fn takes_new_topic(&self, pipeline: &Pipeline) -> bool {
        !self.fail_on_data_loss || pipeline.semantics.compat.is_some()
    }
}

/// The parts a run is put together from.
pub struct Parts<'a> {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Where records come from.
    pub source: Box<dyn Source>,
    /// What was read of the checkpoint, before anything is changed.
    pub recovered: Recovered,
    /// Opens the checkpoint for writing.
    pub open:
        Box<dyn FnOnce() -> Result<Box<dyn Checkpoint>, crate::checkpoint::CheckpointError> + 'a>,
    /// Where results go.
    pub sinks: Vec<Box<dyn Sink>>,
    /// Who is told of each batch that has left.
    pub reporter: Option<Box<dyn Reporter>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Who carries batches out.
    pub carriage: Carriage,
    /// The request to stop.
    pub stop: Stop,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// An available-now run did everything that was there.
    Finished,
    /// It was told to stop. `unfinished`: an available-now run had more to do.
    Stopped {
        /// Whether something was left undone.
        unfinished: bool,
    },
    /// It was told to stop before the brokers had answered; [`Summary::last`] is the newest batch of
    /// earlier runs. `unfinished`: as above.
    Waiting {
        /// Whether something was left undone.
        unfinished: bool,
    },
    /// The reader of stdout went away; its batch stays unpublished.
    Closed,
    /// It was told to stop, and its newest batch did not leave in time; the next start publishes it.
    Unpublished,
}

/// What a run did, for its closing line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How it ended.
    pub end: End,
    /// The newest batch that has left through every sink.
    pub last: Option<BatchId>,
    /// How many batches this run made.
    pub batches: u64,
    /// What all batches up to and with that one counted.
    pub totals: Counts,
}

/// Runs a pipeline until it is finished, stopped, or cannot go on.
///
/// # Errors
/// Everything that ends a run; see [`EngineError::exit_code`].
pub fn run(parts: Parts<'_>, settings: &Settings) -> Result<Summary, EngineError> {
    let clock = parts.clock.clone();
    let stop = parts.stop.clone();
    let stored = parts
        .recovered
        .last
        .as_ref()
        .map(|last| Departed { batch: last.batch, totals: last.totals });
    let started = match start::start(parts, settings) {
        Ok(start::Started::Ready(started)) => *started,
        Ok(start::Started::Stopped) => return Ok(stopped_at_start(settings, stored)),
        Err(EngineError::Closed) => return Ok(Summary { end: End::Closed, ..nothing() }),
        Err(error) => return Err(error),
    };
    let start::Ready { job, source, ahead, reader, outlet, topic_id } = started;
    let before =
        job.head().last.as_ref().map(|last| Departed { batch: last.batch, totals: last.totals });
    let mut run = Run {
        job,
        source,
        ahead,
        reader,
        outlet,
        ends: Ends::new(settings, clock.clone(), topic_id),
        settings,
        clock,
        stop,
        batches: 0,
        hold: HoldBack::default(),
        fit: Fit::new(settings.room.batch_bytes),
        worked_before: Worked::Batch,
        gone: 0,
        // Only a new query is new to its user.
        warned: Warned { first_window: before.is_some(), ..Warned::default() },
    };
    let end = run.batches();
    reach(Point::Ending);
    let left = run.outlet.finish(settings.shutdown_timeout);
    let end = match (end, left) {
        (Err(EngineError::Closed), _) | (_, Err(EngineError::Closed)) => End::Closed,
        (_, Err(error)) | (Err(error), Ok(_)) => return Err(error),
        (Ok(_), Ok(Left::Pending)) => End::Unpublished,
        (Ok(end), Ok(Left::All)) => end,
    };
    let last = run.outlet.departed().or(before);
    Ok(Summary {
        end,
        last: last.map(|last| last.batch),
        batches: run.batches,
        totals: last.map_or_else(Counts::default, |last| last.totals),
    })
}

fn stopped_at_start(settings: &Settings, stored: Option<Departed>) -> Summary {
    let unfinished = is_bounded(settings.trigger);
    Summary {
        end: End::Waiting { unfinished },
        last: stored.map(|last| last.batch),
        totals: stored.map_or_else(Counts::default, |last| last.totals),
        batches: 0,
    }
}

/// Whether a run with this trigger ends by itself.
fn is_bounded(trigger: Trigger) -> bool {
    matches!(trigger, Trigger::AvailableNow | Trigger::Once)
}

fn nothing() -> Summary {
    Summary { end: End::Finished, last: None, batches: 0, totals: Counts::default() }
}

struct Run<'a> {
    job: Job,
    source: Box<dyn Source>,
    ahead: Box<dyn Ahead>,
    reader: Box<dyn StateReader>,
    outlet: Outlet,
    ends: Ends,
    settings: &'a Settings,
    clock: Arc<dyn Clock>,
    stop: Stop,
    batches: u64,
    hold: HoldBack,
    fit: Fit,
    worked_before: Worked,
    /// How often in a row records were gone where reading stood, or the topic was another one.
    gone: u32,
    warned: Warned,
}

#[derive(Default)]
struct Warned {
    milliseconds: bool,
    first_window: bool,
}

impl Run<'_> {
    fn batches(&mut self) -> Result<End, EngineError> {
        self.source.assign(&self.job.reading_positions())?;
        loop {
            if self.stop.is_requested() {
                return Ok(self.stopped());
            }
            let trigger_ms = self.clock.now_ms();
            let asked = self.clock.uptime();
            let attended = self.source.wait(Duration::ZERO).map(|_| ());
            self.bear(attended)?;
            let latest = match self.ends.latest(&mut *self.source, &mut self.job, trigger_ms) {
                Ok(latest) => latest,
                Err(SourceError::Unreachable(problem)) => {
                    tracing::warn!(problem, "the brokers do not answer; asking again");
                    self.outlet.check()?;
                    self.clock.wait(&self.stop, Duration::from_secs(1));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(topic_id) = self.ends.take_new_topic() {
                self.ahead.follow_topic(&topic_id, self.job.head().next_batch())?;
            }
            let latest_offset = self.since(asked);
            let planning = self.clock.uptime();
            let ends = if self.holds_back(&latest, trigger_ms) {
                self.job.head().positions.iter().map(|(at, next)| (*at, next.offset)).collect()
            } else {
                cut(&self.job.head().positions, &latest, self.limit())
            };
            let timing = Timing {
                trigger_ms,
                latest_offset,
                planning: self.since(planning),
                latest,
                before: self.job.head().last.as_ref().map(|last| {
                    last.ranges.iter().map(|(at, range)| (*at, range.end.offset)).collect()
                }),
                ..Timing::default()
            };
            let worked = self.batch(ends, timing)?;
            self.outlet.check()?;
            match (worked, self.settings.trigger) {
                (Worked::Dropped, _) => return Ok(self.stopped()),
                (Worked::CutAnew, _) => {}
                (Worked::Nothing, Trigger::AvailableNow) | (_, Trigger::Once) => {
                    return Ok(End::Finished);
                }
                (Worked::Batch, Trigger::AvailableNow) => {}
                (worked, Trigger::ProcessingTime { interval_ms }) => {
                    self.wait(trigger_ms, interval_ms, worked)?;
                }
            }
        }
    }

    /// How much time has passed since this uptime.
    fn since(&self, uptime: Duration) -> Duration {
        self.clock.uptime().saturating_sub(uptime)
    }

    /// Whether this run ends by itself.
    fn is_bounded(&self) -> bool {
        is_bounded(self.settings.trigger)
    }

    /// Whether what waits is too little for a batch yet (`--min-offsets-per-trigger`).
    fn holds_back(&mut self, latest: &BTreeMap<Partition, Offset>, trigger_ms: i64) -> bool {
        let Some(least) = self.settings.min_offsets.filter(|_| !self.is_bounded()) else {
            return false;
        };
        let waiting = self.job.head().positions.iter().map(|(partition, at)| {
            let end = latest.get(partition).map_or(at.offset.0, |end| end.0);
            u64::try_from(end.saturating_sub(at.offset.0)).unwrap_or(0)
        });
        let longest_ms = self.settings.max_trigger_delay_ms;
        self.hold.holds(trigger_ms, waiting.sum(), least, longest_ms)
    }

    fn limit(&self) -> Option<u64> {
        if self.settings.trigger == Trigger::Once {
            return None;
        }
        match self.settings.max_offsets {
            MaxOffsets::Limited(limit) => self.fit.limit(Some(limit)),
            MaxOffsets::Unlimited => self.fit.limit(None),
        }
    }

    /// Whether the open batch holds too much to be gone on with. The one batch that `once` makes takes what it
    /// takes.
    fn is_too_large(&self, open: &OpenBatch) -> bool {
        // What it holds before its first record is room that was made for more.
        self.settings.trigger != Trigger::Once
            && open.records() > 0
            && self.fit.is_too_large(open.memory_bytes())
    }

    /// Drops a batch that holds too much: the next one is cut smaller.
    fn cut_smaller(&mut self, open: OpenBatch) -> Result<Worked, EngineError> {
        let (bytes, read) = (open.memory_bytes(), open.records());
        let records = self.fit.dropped(bytes, read);
        tracing::info!(
            bytes,
            room = self.settings.room.batch_bytes,
            read,
            records,
            "the open batch takes more memory than it may; it is dropped and cut anew with fewer records"
        );
        drop(open);
        self.job.forget_sizes();
        self.ahead.discard()?;
        self.source.assign(&self.job.reading_positions())?;
        Ok(Worked::CutAnew)
    }

    fn stopped(&self) -> End {
        End::Stopped { unfinished: self.is_bounded() }
    }

    /// Runs the batch that is due, if one is.
    fn batch(
        &mut self,
        ends: BTreeMap<Partition, Offset>,
        mut timing: Timing,
    ) -> Result<Worked, EngineError> {
        let planning = self.clock.uptime();
        let head = self.job.head();
        let new_data = ends.iter().any(|(partition, end)| {
            head.positions.get(partition).is_none_or(|at| at.offset < *end)
        }) || head.has_moved();
        let pipeline = self.job.pipeline();
        match due(head, pipeline, new_data) {
            Due::Nothing => return Ok(Worked::Nothing),
            // One batch of data or none, as Spark's `Trigger.Once`.
            Due::NoData if self.settings.trigger == Trigger::Once => return Ok(Worked::Nothing),
            Due::NoData if is_planted(Mutant::SkipNoDataBatch) => return Ok(Worked::Nothing),
            Due::NoData | Due::Data => {}
        }
        timing.planning += self.since(planning);
        let reading = self.clock.uptime();
        let (mut open, reached) = match self.read(&ends, &mut timing) {
            Ok(Read::Whole(open, reached)) => (open, reached),
            Ok(Read::TooLarge(open)) => return self.cut_smaller(open),
            Ok(Read::Stopped) => {
                self.ahead.discard()?;
                return Ok(Worked::Dropped);
            }
            Err(EngineError::Source(SourceError::Gone(problem))) => {
                self.do_without(problem)?;
                self.ahead.discard()?;
                return Ok(Worked::CutAnew);
            }
            Err(EngineError::Source(SourceError::Replaced(problem))) => {
                self.gone += 1;
                if self.gone > GONE_IN_A_ROW {
                    return Err(EngineError::OtherTopic(problem));
                }
                tracing::warn!(problem, "the open batch is dropped and cut anew");
                self.clock.wait(&self.stop, READ_PATIENCE);
                self.ends.look_again();
                self.ahead.discard()?;
                return Ok(Worked::CutAnew);
            }
            Err(error) => return Err(error),
        };
        timing.read = self.since(reading).saturating_sub(timing.open);
        self.fit.took(open.memory_bytes(), open.records());
        self.warn_of_milliseconds(open.newest().0);
        // What is not in memory is only there to be read once the batch before is durable.
        let wants_shelf = self.job.wants_shelf(&mut open);
        if wants_shelf && !self.outlet.settle()? {
            self.ahead.discard()?;
            return Ok(Worked::Dropped);
        }
        let planning = self.clock.uptime();
        let mut stopwatch = Stopwatch::start(&*self.clock);
        let now_ms = self.clock.now_ms();
        let newest = self.job.head().last.as_ref().map(|last| last.batch);
        let reader = wants_shelf.then_some((&mut *self.reader, newest));
        let plan = beyond::with(&mut *self.ahead, reader, |beyond| {
            self.job.close(open, &reached, now_ms, beyond, &mut |work| stopwatch.turn_to(work))
        })?;
        if let Err(error) = start::check_room(&self.job, self.settings) {
            self.ahead.discard()?;
            return Err(error);
        }
        let plan = Plan { ahead: self.ahead.written(), ..plan };
        reach(Point::Planned);
        timing.plan = self.since(planning);
        for keeper in [Keeper::Groups, Keeper::Keys] {
            let bytes = u64::try_from(self.job.memory_bytes(keeper)).unwrap_or(u64::MAX);
            stopwatch.of(keeper).memory_bytes = bytes;
        }
        (timing.groups, timing.keys) = (stopwatch.groups, stopwatch.keys);
        self.hint_at_first_window();
        if !self.outlet.hand_over(plan, timing)? {
            self.ahead.discard()?;
            return Ok(Worked::Dropped);
        }
        self.batches += 1;
        self.gone = 0;
        Ok(Worked::Batch)
    }

    /// Records are gone where reading stands: ends the run, or begins to read anew, so that the next
    /// trigger looks at what there is and moves the positions.
    fn do_without(&mut self, problem: String) -> Result<(), EngineError> {
        self.gone += 1;
        if self.settings.fail_on_data_loss || self.gone > GONE_IN_A_ROW {
            return Err(EngineError::Source(SourceError::Lost(format!(
                "{problem}. Nothing was skipped: restore the topic, begin again with a new \
                 --checkpoint-dir, or go on without them (--fail-on-data-loss false)"
            ))));
        }
        tracing::warn!(problem, "the open batch is dropped and cut anew");
        self.clock.wait(&self.stop, READ_PATIENCE);
        self.ends.look_again();
        self.job.forget_log();
        Ok(self.source.assign(&self.job.reading_positions())?)
    }

    /// Reads a batch to its ends, unless it was told to stop first, or there turns out to be no room for it.
    fn read(
        &mut self,
        ends: &BTreeMap<Partition, Offset>,
        timing: &mut Timing,
    ) -> Result<Read, EngineError> {
        let opening = self.clock.uptime();
        let clock_ms = self.clock.now_ms();
        let batch = self.job.head().next_batch();
        self.ahead.begin(batch)?;
        let mut open = self.job.open(ends.clone(), clock_ms);
        timing.open = self.since(opening);
        loop {
            if self.stop.is_requested() {
                return Ok(Read::Stopped);
            }
            #[cfg(feature = "faults")]
            let (cut, positions) = (ends, self.job.head().positions.clone());
            #[cfg(feature = "faults")]
            let ends = &planted_ends(cut, &positions);
            let lanes = self.job.lanes(&mut open).into_iter();
            let mut lanes: Vec<_> =
                lanes.map(|mut lane| move |record: Record<'_>| lane.add(record)).collect();
            let mut takers: Vec<Taker<'_>> = lanes.iter_mut().map(|lane| lane as _).collect();
            let read = self.source.read(ends, READ_PATIENCE, &mut takers);
            #[cfg(feature = "faults")]
            let read = planted_reading(read, cut);
            match read {
                Ok(progress) => {
                    for chunk in open.take_full_output() {
                        self.ahead.write(&chunk)?;
                    }
                    if self.is_too_large(&open) {
                        return Ok(Read::TooLarge(open));
                    }
                    if let Progress::Reached(reached) = progress {
                        open.join();
                        return Ok(Read::Whole(open, reached));
                    }
                    self.outlet.check()?;
                }
                Err(SourceError::Reread(problem)) => {
                    tracing::warn!(problem, "the open batch is dropped and read again");
                    self.clock.wait(&self.stop, READ_PATIENCE);
                    self.source.assign(&self.job.reading_positions())?;
                    self.ahead.begin(batch)?;
                    open = self.job.open(ends.clone(), clock_ms);
                }
                Err(SourceError::Unreachable(problem)) => {
                    tracing::warn!(problem, "the brokers do not answer; waiting for them");
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for the next trigger, or for data where every moment is one.
    fn wait(
        &mut self,
        trigger_ms: i64,
        interval_ms: u64,
        worked: Worked,
    ) -> Result<(), EngineError> {
        let interval_ms = i64::try_from(interval_ms).unwrap_or(i64::MAX);
        if interval_ms == 0 {
            if matches!(worked, Worked::Nothing) {
                let waited = self.ends.wait_for_data(&mut *self.source, &self.stop);
                self.bear(waited)?;
            }
            // Something to read that makes no batch (an error the client reports) must not make a
            // busy loop.
            if matches!((worked, self.worked_before), (Worked::Nothing, Worked::Nothing)) {
                self.clock.wait(&self.stop, IDLE_PAUSE);
            }
            self.worked_before = worked;
            return Ok(());
        }
        let next_ms = crate::batch::next_tick(trigger_ms, interval_ms);
        let now_ms = self.clock.now_ms();
        if now_ms >= next_ms {
            if matches!(worked, Worked::Batch) {
                let late_ms = now_ms - trigger_ms;
                tracing::warn!(
                    late_ms,
                    interval_ms,
                    "a batch took longer than the trigger's interval"
                );
            }
            return Ok(());
        }
        let mut left = Duration::from_millis((next_ms - now_ms).unsigned_abs());
        // In slices, so that a failure on the way out is noticed within a second.
        while !left.is_zero() && !self.stop.is_requested() && !self.outlet.has_failed() {
            let slice = left.min(Duration::from_secs(1));
            self.clock.wait(&self.stop, slice);
            left -= slice;
        }
        Ok(())
    }

    /// What befell the source while nothing was read: what passes is borne, everything else ends the
    /// run before there is data that it would concern.
    fn bear(&mut self, waited: Result<(), SourceError>) -> Result<(), EngineError> {
        match waited {
            Ok(()) => Ok(()),
            Err(SourceError::Reread(problem)) => {
                tracing::warn!(problem, "reading begins again where the last batch ended");
                Ok(self.source.assign(&self.job.reading_positions())?)
            }
            Err(SourceError::Unreachable(problem)) => {
                tracing::warn!(problem, "the brokers do not answer; waiting for them");
                Ok(())
            }
            Err(SourceError::Gone(problem)) => self.do_without(problem),
            Err(SourceError::Replaced(problem)) => {
                tracing::warn!(problem, "the topic is looked up again before it is read");
                self.ends.look_again();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn warn_of_milliseconds(&mut self, newest: Option<Timestamp>) {
        if !self.warned.milliseconds && newest.is_some_and(crate::decode::looks_like_milliseconds) {
            self.warned.milliseconds = true;
            tracing::warn!(
                newest = newest.map(crate::types::timestamp_text),
                "an event time lies thousands of years ahead: are its seconds milliseconds? It moves \
                 the watermark past every ordinary record; see `format = \"milliseconds\"` in \
                 [event_time] and --max-future-skew"
            );
        }
    }

    fn hint_at_first_window(&mut self) {
        if self.warned.first_window {
            return;
        }
        let pipeline = self.job.pipeline();
        let delay_ms = pipeline.event_time.as_ref().and_then(|time| time.watermark_delay_ms);
        let first = self.job.first_closing();
        if let (crate::spec::OutputMode::Append, Some(delay_ms), Some(first)) =
            (pipeline.output_mode, delay_ms, first)
        {
            self.warned.first_window = true;
            if self.job.head().watermarks.closing_bound.closes(first) {
                return;
            }
            // The watermark is in whole milliseconds.
            let end_ms = first.0.saturating_add(999).div_euclid(1000);
            let closes_ms = end_ms.saturating_add(delay_ms);
            tracing::info!(
                "append mode prints each window once, when it has closed: the one that ends at {} UTC \
                 closes when an event of {} UTC or later was read; --output-mode update shows running \
                 totals until then",
                crate::types::timestamp_text(first),
                crate::types::timestamp_text(Timestamp(closes_ms.saturating_mul(1000)))
            );
        }
    }
}

/// Where a mutant reads to: not as far as the batch was cut.
#[cfg(feature = "faults")]
fn planted_ends(
    cut: &BTreeMap<Partition, Offset>,
    positions: &BTreeMap<Partition, Position>,
) -> BTreeMap<Partition, Offset> {
    let end = |(partition, end): (&Partition, &Offset)| {
        let begin = positions.get(partition).map_or(end.0, |at| at.offset.0);
        let arrived = if is_planted(Mutant::CutNotKept) { (end.0 - begin) / 3 } else { 0 };
        (*partition, Offset(end.0 - arrived))
    };
    cut.iter().map(end).collect()
}

/// What a mutant says of it.
#[cfg(feature = "faults")]
fn planted_reading(
    read: Result<Progress, SourceError>,
    cut: &BTreeMap<Partition, Offset>,
) -> Result<Progress, SourceError> {
    match read {
        Ok(Progress::Reached(mut reached)) if is_planted(Mutant::CutNotKept) => {
            for (partition, position) in &mut reached {
                position.offset = cut[partition];
            }
            Ok(Progress::Reached(reached))
        }
        read => read,
    }
}

/// The positions behind everything a batch read.
type Reached = BTreeMap<Partition, Position>;

/// How the reading of a batch ended.
enum Read {
    Whole(OpenBatch, Reached),
    /// It holds more than it may.
    TooLarge(OpenBatch),
    Stopped,
}

/// What a trigger came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worked {
    Batch,
    Nothing,
    Dropped,
    /// Records it was to read are gone, or there is no room for so many: the next trigger looks at what there is.
    CutAnew,
}
