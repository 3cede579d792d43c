//! A start: read every fact, decide, and only then change anything.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use crate::{
    batch::{
        Begun, Bounds, DatabaseFact, Decision, Facts, Genesis, Head, Job, Mark, MarkerFact,
        StateError, Superseded, WitnessFact, recover, ways_out,
    },
    checkpoint::{Ahead, Checkpoint, CheckpointError, Recovered, StateReader},
    engine::{
        Clock, EngineError, Parts, Settings, Steps,
        beyond::StoredState,
        commits::Commits,
        outlet::{Carriage, Departed, Exit, Outlet},
    },
    faults::{Mutant, Point, is_planted, reach},
    sink::Sink,
    source::{Source, SourceError, TopicDescription},
    spec::{Pipeline, StartingOffset, StartingOffsets, StartingTimestamps, TimestampStrategy},
    stop::Stop,
    types::{
        BatchId, Keeper, LeaderEpoch, Offset, Partition, Place, Position, SinkName, Timestamp,
    },
    window::Watermarks,
};

/// How long to wait before asking the brokers again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// With no more time than this left, the brokers are not asked again: a client that was asked within
/// the time left comes back a moment before it is up.
const NO_TIME_LEFT: Duration = Duration::from_millis(50);

/// After how many rows of state that are read back the memory they take is looked at.
const LOOK_AFTER_ROWS: usize = 4096;

/// What a start came to.
pub(super) enum Started {
    Ready(Box<Ready>),
    /// It was told to stop while it waited for the brokers.
    Stopped,
}

/// A job ready to go on, its newest batch published.
pub(super) struct Ready {
    pub(super) job: Job,
    pub(super) source: Box<dyn Source>,
    pub(super) ahead: Box<dyn Ahead>,
    pub(super) reader: Box<dyn StateReader>,
    pub(super) outlet: Outlet,
    /// The id of the topic that is read, where the cluster tells it.
    pub(super) topic_id: Option<String>,
}

pub(super) fn start(parts: Parts<'_>, settings: &Settings) -> Result<Started, EngineError> {
    let Parts { pipeline, mut source, recovered, open, mut sinks, reporter, clock, carriage, stop } =
        parts;
    if let Some(genesis) = &recovered.genesis {
        check_identity(genesis, &pipeline)?;
    }
    let mut brokers = Brokers::new(settings, &*clock, &stop);
    let described =
        brokers.ask(|| source.describe()).map_err(|error| lost_topic(error, &recovered));
    let Some(topic) = described? else { return Ok(Started::Stopped) };
    let same_topic = match &recovered.genesis {
        Some(genesis) => is_same_topic(genesis, &topic, &pipeline, settings)?,
        None => true,
    };
    let asked = brokers.ask(|| source.witness(&topic.partitions))?;
    let Some(witness) = asked else { return Ok(Started::Stopped) };
    let facts = facts(&recovered, witness, &mut sinks, settings)?;
    #[cfg(feature = "faults")]
    let facts = planted_facts(facts);
    reach(Point::FactsRead);
    let decision = recover(&facts);
    reach(Point::Decided);
    let genesis = match &decision {
        Decision::Refuse(refusal) => {
            let (refusal, ways_out) = (refusal.clone(), ways_out(&facts, refusal));
            return Err(EngineError::Refused { refusal, ways_out });
        }
        Decision::Fresh { superseded } => {
            let asked = brokers.ask(|| source.bounds(&topic.partitions))?;
            let Some(bounds) = asked else { return Ok(Started::Stopped) };
            let times = starting_times(&settings.starting_offsets, &topic.partitions);
            let asked = match &times {
                Some(times) => brokers.ask(|| source.offsets_for_times(times))?,
                None => Some(BTreeMap::new()),
            };
            let Some(found) = asked else { return Ok(Started::Stopped) };
            let starting = resolve(settings, &pipeline.topic, &bounds, &found)?;
            Some(new_genesis(&pipeline, &topic, settings, superseded.clone(), starting, &*clock))
        }
        Decision::RollBack { superseded, .. } => {
            let old = recovered.genesis.as_ref().expect("only a history is rolled back");
            let began_after = newest(&recovered);
            let (lineage, superseded) = (clock.new_lineage(), superseded.clone());
            let begun = Begun::AcceptedRollback;
            Some(Genesis { lineage, begun, superseded, began_after, ..old.clone() })
        }
        Decision::Resume | Decision::Republish { .. } => None,
    };
    let mut checkpoint = open()?;
    reach(Point::Opened);
    let names: Vec<SinkName> = sinks.iter().map(|sink| sink.name().clone()).collect();
    if let Some(genesis) = &genesis {
        checkpoint.begin(genesis, first_marks(&recovered, &facts.markers))?;
        reach(match genesis.begun {
            Begun::AcceptedRollback => Point::RollbackBegun,
            Begun::Freely | Begun::StartOver => Point::FreshBegun,
        });
    }
    let genesis = genesis.or(recovered.genesis.clone()).expect("a history was found or begun");
    let needs_rows = !recovered.rows_are_stored && pending(&decision).is_some();
    let bounds = (settings, recovered.last.as_ref().map(|last| last.watermarks));
    let (mut job, again) = restore(&mut *checkpoint, pipeline, &genesis, bounds, needs_rows)?;
    reach(Point::Loaded);
    check_room(&job, settings)?;
    let mut ahead = checkpoint.ahead();
    let reader = checkpoint.state_reader();
    let newest = job.head().last.as_ref().map(|last| last.batch);
    if let (false, Some(topic_id)) = (same_topic, &topic.topic_id) {
        job.forget_log();
        ahead.follow_topic(topic_id, job.head().next_batch())?;
    } else if genesis.has_left_log_of(newest) {
        job.forget_log();
    }
    for sink in &mut sinks {
        let name = sink.name().0.clone();
        sink.begin(genesis.lineage, newest)
            .map_err(|error| EngineError::Sink { sink: name, error })?;
        reach(Point::SinkBegun);
    }
    if recovered.genesis.is_some() {
        settle_marks(&mut *checkpoint, &recovered, &names)?;
    }
    let committer = source.committer(genesis.begun);
    let commits = match &carriage {
        Carriage::Threads => Commits::on_a_thread(committer),
        Carriage::Inline(_) => Commits::inline(committer),
    };
    let mut exit = Exit { checkpoint, sinks, commits, reporter, clock, stop };
    if let (Some(pending), Some(publication)) = (pending(&decision), again) {
        let durable = exit.checkpoint.durable_again(publication)?;
        let sinks = (0..names.len()).filter(|&index| pending.contains(&names[index])).collect();
        tracing::info!(batch = durable.batch().0, "publishing the newest batch again");
        let last = job.head().last.as_ref().expect("there is a batch to publish again");
        let departed = Departed { batch: last.batch, totals: last.totals };
        reach(Point::BeforeRepublish);
        #[cfg(feature = "faults")]
        super::planted::note_again(true);
        exit.carry_out_again(Steps::again(durable, sinks), departed)?;
        #[cfg(feature = "faults")]
        super::planted::note_again(false);
        reach(Point::AfterRepublish);
        job.note_run_again();
    }
    if is_planted(Mutant::ResetToLatest) && newest.is_some() {
        for (partition, bounds) in source.bounds(&topic.partitions)? {
            job.move_to(partition, bounds.latest);
        }
    }
    announce_start(&job, &topic, settings);
    let (outlet, topic_id) = (Outlet::new(exit, carriage), topic.topic_id);
    Ok(Started::Ready(Box::new(Ready { job, source, ahead, reader, outlet, topic_id })))
}

/// The sinks that lack the newest batch; `None` when it need not even be announced again.
fn pending(decision: &Decision) -> Option<&[SinkName]> {
    if is_planted(Mutant::SkipRepublish) {
        return None;
    }
    match decision {
        Decision::Republish { sinks } | Decision::RollBack { sinks, .. } => Some(sinks),
        Decision::Resume | Decision::Fresh { .. } | Decision::Refuse(_) => None,
    }
}

/// Asks the brokers until they answer, the time is up, or the run is told to stop.
struct Brokers<'a> {
    settings: &'a Settings,
    clock: &'a dyn Clock,
    stop: &'a Stop,
    started: Duration,
    told: bool,
}

impl<'a> Brokers<'a> {
    fn new(settings: &'a Settings, clock: &'a dyn Clock, stop: &'a Stop) -> Brokers<'a> {
        Brokers { settings, clock, stop, started: clock.uptime(), told: false }
    }

    fn elapsed(&self) -> Duration {
        self.clock.uptime().saturating_sub(self.started)
    }

    fn ask<T>(
        &mut self,
        mut question: impl FnMut() -> Result<T, SourceError>,
    ) -> Result<Option<T>, EngineError> {
        loop {
            let problem = match question() {
                Ok(answer) => return Ok(Some(answer)),
                Err(SourceError::Unreachable(problem)) => problem,
                Err(error) => return Err(error.into()),
            };
            let timeout = self.settings.startup_timeout;
            if timeout.is_some_and(|timeout| self.elapsed() + NO_TIME_LEFT >= timeout) {
                return Err(EngineError::Source(SourceError::Unreachable(problem)));
            }
            if !self.told {
                self.told = true;
                tracing::warn!(
                    problem,
                    "no broker answers at {}; waiting for it. Name another with --brokers HOST:PORT, \
                     or try `sales-stream demo`, which needs none",
                    self.settings.brokers
                );
            }
            let left = timeout
                .map_or(ASK_AGAIN, |timeout| timeout.saturating_sub(self.elapsed()).min(ASK_AGAIN));
            if self.clock.wait(self.stop, left) {
                return Ok(None);
            }
        }
    }
}

/// Refuses a pipeline that would mix two meanings in one checkpoint; what a compatibility mode goes on
/// with, as Spark does, is only warned of.
fn check_identity(genesis: &Genesis, pipeline: &Pipeline) -> Result<(), EngineError> {
    let ours: BTreeMap<_, _> = pipeline.identity().into_iter().collect();
    let theirs: BTreeMap<_, _> = genesis.identity.iter().cloned().collect();
    let mut differing = String::new();
    for field in ours.keys().chain(theirs.keys().filter(|field| !ours.contains_key(*field))) {
        let (new, old) = (ours.get(field), theirs.get(field));
        if new != old {
            let none = "(none)".to_owned();
            let (new, old) = (new.unwrap_or(&none), old.unwrap_or(&none));
            if !pipeline.must_keep(field) {
                tracing::warn!(
                    field,
                    checkpoint = old,
                    run = new,
                    "the pipeline was changed since the checkpoint was begun; the run goes on from \
                     the old state, as Spark does"
                );
                continue;
            }
            let _ = write!(differing, "\n  {field}: the checkpoint has {old}, this run has {new}");
        }
    }
    if differing.is_empty() {
        return Ok(());
    }
    Err(EngineError::Misfit(format!(
        "the checkpoint was made by another pipeline; these fields differ:{differing}\n\
         Run the pipeline it was made for, or give this one its own --checkpoint-dir (and --group-id)."
    )))
}

/// A topic that a checkpoint was made from and that is not there has taken with it what was still to
/// be read.
fn lost_topic(error: EngineError, recovered: &Recovered) -> EngineError {
    match (error, &recovered.genesis) {
        (EngineError::Source(SourceError::NoTopic(_)), Some(_)) => {
            let read = match &recovered.last {
                Some(last) => format!("the checkpoint has read it up to batch {}", last.batch),
                None => "the checkpoint was begun from it".to_owned(),
            };
            EngineError::OtherTopic(format!(
                "{read}, and there is no such topic: it was deleted, and what was still to be read is \
                 lost. If it is on other brokers, name them with --brokers; otherwise start over with \
                 another --checkpoint-dir and --group-id"
            ))
        }
        (error, _) => error,
    }
}

/// Whether the topic is the one that the checkpoint was made from, as far as the cluster tells; an error
/// where it is not and must be.
fn is_same_topic(
    genesis: &Genesis,
    topic: &TopicDescription,
    pipeline: &Pipeline,
    settings: &Settings,
) -> Result<bool, EngineError> {
    let differs = |old: &Option<String>, new: &Option<String>| matches!((old, new), (Some(old), Some(new)) if old != new);
    if differs(&genesis.cluster_id, &topic.cluster_id) {
        return Err(EngineError::OtherTopic(format!(
            "the checkpoint was made from Kafka cluster {}, and the brokers are cluster {}: its \
             offsets mean nothing there. Name the right brokers with --brokers, or start over with \
             another --checkpoint-dir",
            genesis.cluster_id.as_deref().unwrap_or("?"),
            topic.cluster_id.as_deref().unwrap_or("?")
        )));
    }
    if !differs(&genesis.topic_id, &topic.topic_id) {
        return Ok(true);
    }
    let id = |id: &Option<String>| id.clone().unwrap_or_default();
    let (old, new) = (id(&genesis.topic_id), id(&topic.topic_id));
    if settings.takes_new_topic(pipeline) {
        tracing::warn!(
            topic = pipeline.topic,
            checkpoint = old,
            cluster = new,
            "the topic was deleted and made again since the checkpoint: what was not read of the old one \
             is lost, and the new one is read from the old one's offsets on, as Spark does"
        );
        return Ok(false);
    }
    Err(EngineError::OtherTopic(format!(
        "topic {} was deleted and made again since the checkpoint (its id was {old}, it is {new}): what \
         was still to be read is gone. Start over with another --checkpoint-dir, or go on from the old \
         offsets (--fail-on-data-loss false)",
        pipeline.topic
    )))
}

fn facts(
    recovered: &Recovered,
    witness: WitnessFact,
    sinks: &mut [Box<dyn Sink>],
    settings: &Settings,
) -> Result<Facts, EngineError> {
    let database = match &recovered.genesis {
        None => DatabaseFact::Fresh,
        Some(genesis) => DatabaseFact::History {
            lineage: genesis.lineage,
            begun: genesis.begun,
            superseded: genesis.superseded.clone(),
            just_begun: genesis.has_just_begun(newest(recovered)),
            is_unborn: genesis.has_no_batch_of_its_own(newest(recovered)),
            last: recovered.last.as_ref().map(|last| (last.batch, last.digest)),
            marks: recovered.marks.clone(),
        },
    };
    let mut markers = Vec::new();
    for sink in sinks {
        let name = sink.name().clone();
        let marker =
            sink.marker().map_err(|error| EngineError::Sink { sink: name.0.clone(), error })?;
        markers.push((name, marker));
    }
    Ok(Facts {
        database,
        visible: recovered.visible.clone(),
        witness,
        markers,
        permissions: settings.permissions,
    })
}

/// The facts as a mutant wants them: nobody has seen more than the database holds.
#[cfg(feature = "faults")]
fn planted_facts(facts: Facts) -> Facts {
    use crate::batch::{MarkerFact, VisibleFact};
    if !is_planted(Mutant::AcceptOlderState) {
        return facts;
    }
    let visible = match &facts.database {
        DatabaseFact::History { lineage, last: Some((batch, digest)), .. } => {
            VisibleFact::At(*lineage, *batch, *digest)
        }
        _ => VisibleFact::Absent,
    };
    let markers = facts.markers.into_iter().map(|(sink, _)| (sink, MarkerFact::NotKept)).collect();
    Facts { visible, markers, witness: WitnessFact::None, ..facts }
}

/// The times from which a new query reads, if it is told as times; partitions that are not named
/// are left to [`resolve`] to complain about.
fn starting_times(
    starting: &StartingOffsets,
    partitions: &[Partition],
) -> Option<BTreeMap<Partition, i64>> {
    match starting {
        StartingOffsets::ByTimestamp(StartingTimestamps::All(time_ms), _) => {
            Some(partitions.iter().map(|partition| (*partition, *time_ms)).collect())
        }
        StartingOffsets::ByTimestamp(StartingTimestamps::Specific { partitions: named, .. }, _) => {
            let known = named.iter().filter(|(partition, _)| partitions.contains(partition));
            Some(known.map(|(partition, time_ms)| (*partition, *time_ms)).collect())
        }
        StartingOffsets::Latest | StartingOffsets::Earliest | StartingOffsets::Specific { .. } => {
            None
        }
    }
}

/// Resolves the starting offsets of a new query, once; `found` is what was found by time.
fn resolve(
    settings: &Settings,
    topic: &str,
    bounds: &BTreeMap<Partition, Bounds>,
    found: &BTreeMap<Partition, Option<Offset>>,
) -> Result<BTreeMap<Partition, Position>, EngineError> {
    let starting = &settings.starting_offsets;
    let refused = |problem: String| Err(EngineError::StartingOffsets(problem));
    if let Err(problem) = starting.check_topic(topic) {
        return refused(problem.to_string());
    }
    let named: Option<Vec<Partition>> = match starting {
        StartingOffsets::Specific { partitions, .. } => Some(partitions.keys().copied().collect()),
        StartingOffsets::ByTimestamp(StartingTimestamps::Specific { partitions, .. }, _) => {
            Some(partitions.keys().copied().collect())
        }
        _ => None,
    };
    if let Some(named) = named {
        if let Some(unknown) = named.iter().find(|named| !bounds.contains_key(named)) {
            return refused(format!(
                "the starting positions name partition {unknown}, which topic {topic} does not have"
            ));
        }
        if let Some(missing) = bounds.keys().find(|there| !named.contains(there)) {
            return refused(format!(
                "the starting positions must name every partition of topic {topic}; {missing} is \
                 missing (as an offset, -2 is earliest and -1 is latest)"
            ));
        }
    }
    let mut positions = BTreeMap::new();
    for (partition, bounds) in bounds {
        let chosen = match starting {
            StartingOffsets::Latest => StartingOffset::Latest,
            StartingOffsets::Earliest => StartingOffset::Earliest,
            StartingOffsets::Specific { partitions, .. } => partitions[partition],
            StartingOffsets::ByTimestamp(timestamps, strategy) => {
                match (found.get(partition).copied().flatten(), strategy) {
                    (Some(offset), _) => StartingOffset::At(offset),
                    (None, TimestampStrategy::Latest) => StartingOffset::Latest,
                    (None, TimestampStrategy::Error) => {
                        return refused(format!(
                            "partition {partition} of topic {topic} has no record of the starting \
                             time ({timestamps}) or later; begin earlier, or at the end of such \
                             partitions with --starting-offsets-by-timestamp-strategy latest"
                        ));
                    }
                }
            }
        };
        let offset = match chosen {
            StartingOffset::Earliest => bounds.earliest,
            StartingOffset::Latest => bounds.latest,
            StartingOffset::At(offset)
                if settings.fail_on_data_loss
                    && (offset < bounds.earliest || offset > bounds.latest) =>
            {
                return Err(EngineError::Source(SourceError::Lost(format!(
                    "--starting-offsets asks for offset {offset} of partition {partition} of topic \
                     {topic}, which holds {} to {}",
                    bounds.earliest, bounds.latest
                ))));
            }
            StartingOffset::At(offset) => offset,
        };
        positions.insert(*partition, Position { offset, epoch: LeaderEpoch::UNKNOWN });
    }
    Ok(positions)
}

fn new_genesis(
    pipeline: &Pipeline,
    topic: &TopicDescription,
    settings: &Settings,
    superseded: Vec<Superseded>,
    starting: BTreeMap<Partition, Position>,
    clock: &dyn Clock,
) -> Genesis {
    Genesis {
        lineage: clock.new_lineage(),
        begun: if superseded.is_empty() { Begun::Freely } else { Begun::StartOver },
        superseded,
        began_after: None,
        pipeline: pipeline.name.clone(),
        spec_text: settings.spec_text.clone(),
        identity: pipeline.identity(),
        cluster_id: topic.cluster_id.clone(),
        topic_id: topic.topic_id.clone(),
        topic_since: None,
        starting,
        created_ms: clock.now_ms(),
    }
}

/// Reads the state back into a job; with the publication of the newest batch, which worked under these
/// watermarks, computed again.
fn restore(
    checkpoint: &mut dyn Checkpoint,
    pipeline: Pipeline,
    genesis: &Genesis,
    (settings, watermarks): (&Settings, Option<Watermarks>),
    needs_rows: bool,
) -> Result<(Job, Option<crate::batch::Publication>), EngineError> {
    let incarnation = checkpoint.next_incarnation()?;
    reach(Point::IncarnationCounted);
    let pipeline = Arc::new(pipeline);
    let head = Head {
        lineage: genesis.lineage,
        incarnation,
        last: None,
        positions: genesis.starting.clone(),
        watermarks: Watermarks::FIRST,
        has_run: false,
    };
    let mut job = Job::new(pipeline, head, settings.keep_dead_letters)?
        .with_output_chunks_of(settings.output_chunk_bytes)
        .within(settings.room)
        .in_lanes(settings.lanes)?;
    let bounds = (settings, watermarks.unwrap_or(Watermarks::FIRST));
    let recovered = load(checkpoint, &mut job, bounds, needs_rows)?;
    let Some(last) = recovered.last else { return Ok((job, None)) };
    let mut reader = checkpoint.state_reader();
    let mut stored = StoredState::new(&mut *reader, Some(last.batch));
    match job.resume(last, needs_rows, Some(&mut stored)) {
        Ok(publication) => Ok((job, Some(publication))),
        Err(error) => Err(stored.explain(error)),
    }
}

/// Reads all state into a job, or as much of it as there is room for; what was done with before the newest
/// batch, which worked under `watermarks`, is left out.
pub(super) fn load(
    checkpoint: &mut dyn Checkpoint,
    job: &mut Job,
    (settings, watermarks): (&Settings, Watermarks),
    needs_rows: bool,
) -> Result<Recovered, EngineError> {
    // What ended the loading; the checkpoint is told no more than that it is to end.
    let mut refused: Option<EngineError> = None;
    let mut refuse = |error: EngineError| {
        let stopped = CheckpointError::stopped(&error);
        refused = Some(error);
        stopped
    };
    let mut rows = 0usize;
    let loaded = checkpoint.load(&mut |place, row, newest| {
        if is_done_with(place, row.end, watermarks) {
            return Ok(());
        }
        // Which rows the newest batch wrote is only asked to compute its rows again.
        job.restore(place, row, newest && needs_rows)
            .map_err(|error| refuse(EngineError::from(StateError::from(error))))?;
        rows += 1;
        if rows.is_multiple_of(LOOK_AFTER_ROWS) {
            within(job.too_large_to_restore(), job, settings).map_err(&mut refuse)?;
        }
        Ok(())
    });
    let loaded = loaded.and_then(|recovered| {
        checkpoint.load_log(&mut |part| {
            job.restore_log(part).map_err(|error| refuse(error.into()))?;
            within(job.too_large_to_restore(), job, settings).map_err(&mut refuse)
        })?;
        Ok(recovered)
    });
    match (refused, loaded) {
        (Some(error), _) => Err(error),
        (None, loaded) => Ok(loaded?),
    }
}

/// Whether a row that shares its place with others is of a session that an earlier batch closed, or of a key that
/// is forgotten.
fn is_done_with(place: Place, end: Timestamp, watermarks: Watermarks) -> bool {
    let bound = match place.keeper {
        Keeper::Groups => watermarks.late_bound,
        Keeper::Keys => watermarks.closing_bound,
    };
    place.closing < Place::NEVER && bound.closes(end)
}

/// Refuses to go on where state that must all be in memory takes more than it may.
pub(super) fn check_room(job: &Job, settings: &Settings) -> Result<(), EngineError> {
    within(job.too_large(), job, settings)
}

fn within(
    too_large: Option<(Keeper, usize)>,
    job: &Job,
    settings: &Settings,
) -> Result<(), EngineError> {
    let Some((keeper, bytes)) = too_large else { return Ok(()) };
    let bytes_of = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    let operator = match (keeper, job.pipeline().semantics.compat) {
        (Keeper::Keys, _) => "the deduplication",
        (Keeper::Groups, None) => "the sessions",
        (Keeper::Groups, Some(_)) => "the groups (with --compat)",
    };
    Err(EngineError::TooLarge {
        operator,
        bytes: bytes_of(bytes),
        room: bytes_of(settings.room.state_bytes),
        limit: settings.memory_limit,
    })
}

fn newest(recovered: &Recovered) -> Option<BatchId> {
    recovered.last.as_ref().map(|last| last.batch)
}

/// Whether some sink lacks the newest batch. Where every sink is new there is none that has it: it is
/// published to all of them.
fn is_pending(recovered: &Recovered) -> bool {
    let marks = &recovered.marks;
    marks.is_empty() || marks.iter().any(|mark| mark.published < newest(recovered))
}

/// The marks that a new history begins with. A sink that is new to it is owed the newest batch where some
/// other one lacks that, and else begins with the next; one that holds nothing of its own yet is admitted
/// once it was begun itself, so that nobody takes it for emptied.
fn first_marks(recovered: &Recovered, markers: &[(SinkName, MarkerFact)]) -> Vec<Mark> {
    let (is_owed, newest) = (is_pending(recovered), newest(recovered));
    let mark = |(name, marker): &(SinkName, MarkerFact)| {
        let known = recovered.marks.iter().find(|mark| mark.sink == *name).cloned();
        let published = match marker {
            _ if is_owed => Some(None),
            MarkerFact::Absent => None,
            MarkerFact::NotKept | MarkerFact::At(..) => Some(newest),
        };
        known.or_else(|| Some(Mark { sink: name.clone(), published: published? }))
    };
    markers.iter().filter_map(mark).collect()
}

/// Sinks that are new to the history begin with its next batch; ones that are gone are forgotten.
fn settle_marks(
    checkpoint: &mut dyn Checkpoint,
    recovered: &Recovered,
    names: &[SinkName],
) -> Result<(), EngineError> {
    let newest = newest(recovered);
    // Before the first batch there is nothing to publish, and what comes is owed to all of them.
    if newest.is_none() || !is_pending(recovered) {
        for name in names {
            if recovered.marks.iter().all(|mark| mark.sink != *name) {
                checkpoint.admit_sink(name, newest)?;
                reach(Point::SinkAdmitted);
            }
        }
    }
    for mark in &recovered.marks {
        if !names.contains(&mark.sink) {
            checkpoint.forget_sink(&mark.sink)?;
            reach(Point::SinkForgotten);
        }
    }
    Ok(())
}

fn announce_start(job: &Job, topic: &TopicDescription, settings: &Settings) {
    let head = job.head();
    let pipeline = job.pipeline();
    tracing::info!(
        pipeline = pipeline.name,
        topic = pipeline.topic,
        partitions = topic.partitions.len(),
        brokers = settings.brokers,
        next_batch = head.next_batch().0,
        incarnation = head.incarnation.0,
        trigger = %settings.trigger,
        output_mode = pipeline.output_mode.name(),
        "running"
    );
}
