//! What there is to read at a trigger: the ends of all partitions, new partitions included.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    batch::{Bounds, Job},
    engine::{Clock, Settings},
    faults::{Mutant, is_planted},
    source::{Source, SourceError},
    spec::Trigger,
    stop::Stop,
    types::{LeaderEpoch, Offset, Partition, Position},
};

/// The topic is looked up at every trigger, for its id and new partitions, but not more often than this.
const PARTITIONS_EVERY: Duration = Duration::from_millis(500);

/// How long a run without an interval waits for data before it looks around.
const DATA_PATIENCE: Duration = Duration::from_millis(200);

/// A leader that was just elected may briefly know less than the one before it; what does not fit is
/// asked again so often before it counts as lost.
const DOUBTS: u32 = 5;

/// The ends as the source tells them.
pub(super) struct Ends {
    /// For runs that end by themselves: read once per process.
    fixed: Option<Option<BTreeMap<Partition, Offset>>>,
    clock: Arc<dyn Clock>,
    looked_for_partitions: Option<Duration>,
    /// The topic's id as it was last told.
    topic_id: Option<String>,
    /// The id of a topic that was made anew and is followed, until it is noted in the checkpoint.
    new_topic: Option<String>,
    doubts: u32,
    fail_on_data_loss: bool,
    /// Also fixed ends have to be compared with what there is.
    look_again: bool,
}

impl Ends {
    /// `topic_id` is that of the topic that was found at the start.
    pub(super) fn new(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        topic_id: Option<String>,
    ) -> Ends {
        let fixed =
            matches!(settings.trigger, Trigger::AvailableNow | Trigger::Once).then_some(None);
        Ends {
            fixed,
            clock,
            looked_for_partitions: None,
            topic_id,
            new_topic: None,
            doubts: 0,
            fail_on_data_loss: settings.fail_on_data_loss,
            look_again: false,
        }
    }

    /// The id of a topic made anew that is followed from now on, told once: it must be in the checkpoint
    /// before a batch reads it.
    pub(super) fn take_new_topic(&mut self) -> Option<String> {
        self.new_topic.take()
    }

    /// Records were gone where reading stood, or the topic is another one: at the next trigger the topic
    /// is looked up, and its ends are asked for again.
    pub(super) fn look_again(&mut self) {
        self.look_again = true;
        self.looked_for_partitions = None;
    }

    /// The end of what may be read of every partition; partitions new since the last trigger join
    /// the job, from their beginning. What is gone of the records is done without, unless that ends the
    /// run.
    pub(super) fn latest(
        &mut self,
        source: &mut dyn Source,
        job: &mut Job,
        now_ms: i64,
    ) -> Result<BTreeMap<Partition, Offset>, SourceError> {
        let before = self.fixed.clone().flatten();
        self.join_partitions(source, job, now_ms)?;
        if let Some(fixed) = &before
            && !self.look_again
        {
            return Ok(fixed.clone());
        }
        let partitions: Vec<_> = job.head().positions.keys().copied().collect();
        let bounds = source.bounds(&partitions)?;
        self.check(&bounds, source, job)?;
        self.look_again = false;
        let end = |(partition, bounds): (&Partition, &Bounds)| {
            let fixed = before.as_ref().and_then(|ends| ends.get(partition));
            (*partition, fixed.map_or(bounds.latest, |end| bounds.latest.min(*end)))
        };
        let latest: BTreeMap<_, _> = bounds.iter().map(end).collect();
        if let Some(fixed) = &mut self.fixed {
            *fixed = Some(latest.clone());
        }
        Ok(latest)
    }

    /// Every position must lie within what its partition holds; otherwise records that were still to
    /// be read are gone, or the log was cut off behind what was read.
    fn check(
        &mut self,
        bounds: &BTreeMap<Partition, Bounds>,
        source: &mut dyn Source,
        job: &mut Job,
    ) -> Result<(), SourceError> {
        let topic = job.pipeline().topic.clone();
        let positions = job.reading_positions();
        let losses = bounds.iter().filter_map(|(partition, bounds)| {
            Loss::of(*partition, positions.get(partition)?.offset, *bounds)
        });
        let losses: Vec<Loss> = losses.collect();
        let Some(first) = losses.first() else {
            self.doubts = 0;
            return Ok(());
        };
        self.doubts += 1;
        if self.doubts <= DOUBTS {
            return Err(SourceError::Unreachable(format!(
                "{} (as far as the leader knows, which may just have been elected)",
                first.problem(&topic)
            )));
        }
        if self.fail_on_data_loss {
            return Err(SourceError::Lost(format!(
                "{}. Nothing later was read. To go on without them, run with --fail-on-data-loss false; \
                 to start over, with another --checkpoint-dir and --group-id",
                first.problem(&topic)
            )));
        }
        self.doubts = 0;
        for loss in &losses {
            tracing::warn!(
                topic,
                partition = loss.partition.0,
                first = loss.first().0,
                last = loss.last().0,
                goes_on_at = loss.goes_on_at().0,
                problem = loss.problem(&topic),
                "records were lost; reading goes on without them"
            );
            if loss.is_deleted() {
                job.do_without(loss.partition, loss.goes_on_at());
            } else {
                job.move_to(loss.partition, loss.goes_on_at());
            }
        }
        source.assign(&job.reading_positions())
    }

    fn join_partitions(
        &mut self,
        source: &mut dyn Source,
        job: &mut Job,
        now_ms: i64,
    ) -> Result<(), SourceError> {
        let now = self.clock.uptime();
        if self.looked_for_partitions.is_some_and(|at| now < at + PARTITIONS_EVERY) {
            return Ok(());
        }
        let described = source.describe()?;
        let found = described.partitions;
        self.looked_for_partitions = Some(self.clock.uptime());
        self.follow_topic(described.topic_id, source, job)?;
        self.part_with(&found, source, job)?;
        let known = &job.head().positions;
        let new: Vec<_> =
            found.into_iter().filter(|partition| !known.contains_key(partition)).collect();
        // A run with fixed ends leaves new partitions to the next one.
        if new.is_empty() || matches!(self.fixed, Some(Some(_))) {
            return Ok(());
        }
        let bounds = source.bounds(&new)?;
        tracing::info!(partitions = ?new, now_ms, "new partitions are read from their beginning");
        job.add_partitions(bounds.into_iter().map(|(partition, bounds)| {
            let is_wrong = is_planted(Mutant::NewPartitionFromEnd);
            let offset = if is_wrong { bounds.latest } else { bounds.earliest };
            (partition, Position { offset, epoch: LeaderEpoch::UNKNOWN })
        }));
        source.assign(&job.reading_positions())
    }

    /// A source that follows a topic made anew describes it with another id, and has to be told again
    /// where to read.
    fn follow_topic(
        &mut self,
        topic_id: Option<String>,
        source: &mut dyn Source,
        job: &mut Job,
    ) -> Result<(), SourceError> {
        let is_other = self.topic_id.is_some() && topic_id.is_some() && self.topic_id != topic_id;
        self.topic_id = topic_id.or(self.topic_id.take());
        if !is_other {
            return Ok(());
        }
        self.look_again = true;
        self.new_topic.clone_from(&self.topic_id);
        tracing::warn!(
            topic = job.pipeline().topic,
            "the topic was deleted and made again while it was read: what was not read of the old one is \
             lost, and the new one is read from the old one's offsets on, as Spark does"
        );
        job.forget_log();
        source.assign(&job.reading_positions())
    }

    /// Partitions that the topic does not have any more (it was made again with fewer).
    fn part_with(
        &self,
        found: &[Partition],
        source: &mut dyn Source,
        job: &mut Job,
    ) -> Result<(), SourceError> {
        let positions = &job.head().positions;
        let gone = positions.iter().filter(|(partition, _)| !found.contains(partition));
        let gone: Vec<_> =
            gone.map(|(partition, position)| (*partition, position.offset)).collect();
        let Some((first, _)) = gone.first() else { return Ok(()) };
        let topic = job.pipeline().topic.clone();
        if self.fail_on_data_loss {
            return Err(SourceError::Lost(format!(
                "partition {first} of topic {topic} is gone; the checkpoint needs it. To go on without \
                 it, run with --fail-on-data-loss false"
            )));
        }
        for (partition, next) in gone {
            tracing::warn!(
                topic,
                partition = partition.0,
                first = next.0,
                "a partition is gone, and with it all its records from an offset on; reading goes on \
                 without it"
            );
            job.remove_partition(partition);
        }
        source.assign(&job.reading_positions())
    }

    /// Waits until there is something to read, or a moment.
    ///
    /// # Errors
    /// As [`Source::wait`].
    pub(super) fn wait_for_data(
        &self,
        source: &mut dyn Source,
        stop: &Stop,
    ) -> Result<(), SourceError> {
        let patience = self.clock.uptime() + DATA_PATIENCE;
        while self.clock.uptime() < patience && !stop.is_requested() {
            if source.wait(Duration::from_millis(20))? {
                break;
            }
        }
        Ok(())
    }
}

/// Records of a partition that are gone.
#[derive(Clone, Copy, Debug)]
struct Loss {
    partition: Partition,
    /// What was to be read next.
    next: Offset,
    bounds: Bounds,
}

impl Loss {
    /// What is lost of a partition that is to be read next at `next`, if anything is.
    fn of(partition: Partition, next: Offset, bounds: Bounds) -> Option<Loss> {
        let is_whole = (bounds.earliest..=bounds.latest).contains(&next);
        (!is_whole).then_some(Loss { partition, next, bounds })
    }

    fn is_deleted(&self) -> bool {
        self.next < self.bounds.earliest
    }

    /// Where there is something to go on from: the nearest there is.
    fn goes_on_at(&self) -> Offset {
        if self.is_deleted() { self.bounds.earliest } else { self.bounds.latest }
    }

    /// The first offset that is gone.
    fn first(&self) -> Offset {
        self.next.min(self.goes_on_at())
    }

    /// The last offset that is gone.
    fn last(&self) -> Offset {
        Offset(self.next.max(self.goes_on_at()).0 - 1)
    }

    fn problem(&self, topic: &str) -> String {
        let Loss { partition, next, bounds } = self;
        let (first, last) = (self.first(), self.last());
        if self.is_deleted() {
            return format!(
                "records {first} to {last} of partition {partition} of topic {topic} were deleted \
                 before they were read (retention, or delete-records): the partition now begins at {}",
                bounds.earliest
            );
        }
        format!(
            "partition {partition} of topic {topic} ends at {}, but it was read up to {next}: records \
             {first} to {last} are gone, the log was cut off (an unclean leader election, or a topic \
             made again). What was counted cannot be told from what is there now",
            bounds.latest
        )
    }
}
