//! What there is to read at a trigger: the ends of all partitions, new partitions included.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    batch::{Bounds, Job},
    engine::Settings,
    source::{Source, SourceError},
    spec::Trigger,
    stop::Stop,
    types::{LeaderEpoch, Offset, Partition, Position},
};

/// New partitions are looked for at every trigger, but not more often than this.
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
    looked_for_partitions: Option<Instant>,
    doubts: u32,
}

impl Ends {
    pub(super) fn new(settings: &Settings) -> Ends {
        let fixed =
            matches!(settings.trigger, Trigger::AvailableNow | Trigger::Once).then_some(None);
        Ends { fixed, looked_for_partitions: None, doubts: 0 }
    }

    /// The end of what may be read of every partition; partitions new since the last trigger join
    /// the job, from their beginning.
    pub(super) fn latest(
        &mut self,
        source: &mut dyn Source,
        job: &mut Job,
        now_ms: i64,
    ) -> Result<BTreeMap<Partition, Offset>, SourceError> {
        if let Some(Some(fixed)) = &self.fixed {
            return Ok(fixed.clone());
        }
        self.join_partitions(source, job, now_ms)?;
        let partitions: Vec<_> = job.head().positions.keys().copied().collect();
        let bounds = source.bounds(&partitions)?;
        self.check(&bounds, job)?;
        let latest: BTreeMap<_, _> =
            bounds.iter().map(|(partition, bounds)| (*partition, bounds.latest)).collect();
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
        job: &Job,
    ) -> Result<(), SourceError> {
        let problem = bounds.iter().find_map(|(partition, bounds)| {
            let next = job.head().positions.get(partition)?.offset;
            lost(&job.pipeline().topic, *partition, next, *bounds)
        });
        let Some(problem) = problem else {
            self.doubts = 0;
            return Ok(());
        };
        self.doubts += 1;
        if self.doubts > DOUBTS {
            return Err(SourceError::Lost(problem));
        }
        Err(SourceError::Unreachable(problem))
    }

    fn join_partitions(
        &mut self,
        source: &mut dyn Source,
        job: &mut Job,
        now_ms: i64,
    ) -> Result<(), SourceError> {
        if self.looked_for_partitions.is_some_and(|at| at.elapsed() < PARTITIONS_EVERY) {
            return Ok(());
        }
        let known = &job.head().positions;
        let found = source.describe()?.partitions;
        self.looked_for_partitions = Some(Instant::now());
        let gone: Vec<_> = known.keys().filter(|partition| !found.contains(partition)).collect();
        if let Some(partition) = gone.first() {
            return Err(SourceError::Lost(format!(
                "partition {partition} of topic {} is gone; the checkpoint needs it",
                job.pipeline().topic
            )));
        }
        let new: Vec<_> =
            found.into_iter().filter(|partition| !known.contains_key(partition)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let bounds = source.bounds(&new)?;
        tracing::info!(partitions = ?new, now_ms, "new partitions are read from their beginning");
        job.add_partitions(bounds.into_iter().map(|(partition, bounds)| {
            (partition, Position { offset: bounds.earliest, epoch: LeaderEpoch::UNKNOWN })
        }));
        source.assign(&job.head().positions)
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
        let patience = Instant::now() + DATA_PATIENCE;
        while Instant::now() < patience && !stop.is_requested() {
            if source.wait(Duration::from_millis(20))? {
                break;
            }
        }
        Ok(())
    }
}

/// What is lost of a partition that is to be read next at `next`, if anything is.
fn lost(topic: &str, partition: Partition, next: Offset, bounds: Bounds) -> Option<String> {
    if next < bounds.earliest {
        return Some(format!(
            "records {next} to {} of partition {partition} of topic {topic} were deleted before they \
             were read (retention, or delete-records): the partition now begins at {}. Nothing later \
             was read. To go on without them, start over with another --checkpoint-dir and --group-id",
            bounds.earliest.0 - 1,
            bounds.earliest
        ));
    }
    if next > bounds.latest {
        return Some(format!(
            "partition {partition} of topic {topic} ends at {}, but it was read up to {next}: the log \
             was cut off (an unclean leader election, or a topic made again). What was counted cannot \
             be told from what is there now; start over with another --checkpoint-dir and --group-id",
            bounds.latest
        ));
    }
    None
}
