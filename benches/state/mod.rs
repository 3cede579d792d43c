//! A job and its checkpoint without Kafka: records made from numbers, for what measures state.
//!
//! Group `n` of a job is store `n` in the one window that there is, which never closes; each record adds one cent
//! to a group, and memory has no limit. The steps are the engine's: open, add, close, persist, announce.
//!
//! Invariant: what is held follows from the calls alone, so that [`Held::recover`] can be checked to the cent.
//! Start at [`Held::create`]. The records: `sales`. Not here: what is measured (`benches/*.rs`, `benches/tool/state.rs`).

mod sales;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use sales_stream::{
    batch::{Begun, Beyond, Genesis, Head, Job, Mark, OpenBatch, Plan, Record},
    checkpoint::{
        Checkpoint, CheckpointError, Visible,
        memory::{MemoryCheckpoint, MemoryDisk},
        rocks::RocksCheckpoint,
    },
    spec,
    types::{
        BatchId, Incarnation, Keeper, LeaderEpoch, Lineage, Offset, Partition, Position, SinkName,
    },
    window::{Accumulator, Watermarks},
};

use sales::SPEC;

const PARTITION: Partition = Partition(0);
const SINK: &str = "none";

/// A job with the checkpoint that keeps it.
pub struct Held {
    job: Job,
    checkpoint: Box<dyn Checkpoint>,
    next: i64,
}

/// What was found in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub groups: u64,
    pub cents: i128,
    /// Bytes of memory that they take, as progress tells them (`memoryUsedBytes`).
    pub state_bytes: usize,
}

impl Held {
    /// An empty one in a state directory that is not there yet, or in memory.
    ///
    /// # Errors
    /// The checkpoint cannot be made.
    pub fn create(directory: Option<&Path>) -> Result<Held, CheckpointError> {
        let mut checkpoint: Box<dyn Checkpoint> = match directory {
            Some(directory) => Box::new(RocksCheckpoint::open(directory)?),
            None => Box::new(MemoryCheckpoint::open(&MemoryDisk::new())?),
        };
        let mark = Mark { sink: SinkName(SINK.to_owned()), published: None };
        checkpoint.begin(&genesis(), vec![mark])?;
        let incarnation = checkpoint.next_incarnation()?;
        Ok(Held { job: job(incarnation), checkpoint, next: 0 })
    }

    /// Reads it back as a start does, and tells what was there.
    ///
    /// # Errors
    /// The checkpoint cannot be read.
    ///
    /// # Panics
    /// When it is not one of [`Held::create`].
    pub fn recover(directory: &Path) -> Result<(Held, Found), CheckpointError> {
        let mut checkpoint = RocksCheckpoint::open(directory)?;
        let incarnation = checkpoint.next_incarnation()?;
        let mut job = job(incarnation);
        let mut found = Found { groups: 0, cents: 0, state_bytes: 0 };
        let recovered = checkpoint.load(&mut |place, row, newest| {
            found.groups += 1;
            if let [Accumulator::Sum(sum)] = row.accumulators {
                found.cents += i128::from(sum.count);
            }
            job.restore(place, row, newest).expect("rows are of this pipeline");
            Ok(())
        })?;
        let last = recovered.last.expect("there is a batch");
        let next = last.ranges[&PARTITION].end.offset.0;
        job.resume(last, true, None).expect("rows are of this pipeline");
        found.state_bytes = job.memory_bytes(Keeper::Groups);
        Ok((Held { job, checkpoint: Box::new(checkpoint), next }, found))
    }

    /// A batch that adds a cent to each of these groups.
    ///
    /// # Panics
    /// Never: the records are of this pipeline.
    pub fn plan(&mut self, groups: impl Iterator<Item = u64>) -> Plan {
        let batch = self.read(groups);
        self.close(batch)
    }

    /// The same, read and not yet closed.
    ///
    /// # Panics
    /// Never: the records are of this pipeline.
    pub fn read(&mut self, groups: impl Iterator<Item = u64>) -> OpenBatch {
        let mut batch = self.job.open(BTreeMap::new(), 0);
        let mut value = Vec::with_capacity(96);
        for group in groups {
            value.clear();
            sales::write(group, &mut value);
            let record =
                Record { partition: PARTITION, offset: Offset(self.next), value: Some(&value) };
            self.next += 1;
            self.job.add(&mut batch, record).expect("permissive mode goes on");
        }
        batch
    }

    /// Closes a batch that was read; it is to be persisted next.
    ///
    /// # Panics
    /// Never: what is held is of this pipeline.
    pub fn close(&mut self, batch: OpenBatch) -> Plan {
        let end = Position { offset: Offset(self.next), epoch: LeaderEpoch::UNKNOWN };
        let reached = BTreeMap::from([(PARTITION, end)]);
        self.job
            .close(batch, &reached, 0, Beyond::default(), &mut |_| {})
            .expect("rows are of this pipeline")
    }

    /// Makes a batch durable and announces it.
    ///
    /// # Errors
    /// The write failed.
    pub fn persist(&mut self, plan: Plan) -> Result<Visible, CheckpointError> {
        let durable = self.checkpoint.persist(plan)?;
        self.checkpoint.announce(durable)
    }

    /// Adds a cent to each of the first groups, in batches of at most a million.
    ///
    /// # Errors
    /// A write failed.
    pub fn fill(&mut self, groups: u64) -> Result<(), CheckpointError> {
        const BATCH: u64 = 1_000_000;
        for first in (0..groups).step_by(usize::try_from(BATCH).unwrap_or(usize::MAX)) {
            let plan = self.plan(first..groups.min(first + BATCH));
            self.persist(plan)?;
        }
        Ok(())
    }
}

fn job(incarnation: Incarnation) -> Job {
    let pipeline = spec::parse(SPEC, "bench").expect("the spec is good").pipeline;
    let head = Head {
        lineage: genesis().lineage,
        incarnation,
        last: None,
        positions: genesis().starting,
        watermarks: Watermarks::FIRST,
        has_run: false,
    };
    Job::new(Arc::new(pipeline), head, false).expect("the spec is good")
}

fn genesis() -> Genesis {
    let pipeline = spec::parse(SPEC, "bench").expect("the spec is good").pipeline;
    Genesis {
        lineage: Lineage(1),
        begun: Begun::Freely,
        superseded: Vec::new(),
        began_after: None,
        pipeline: pipeline.name.clone(),
        spec_text: SPEC.to_owned(),
        identity: pipeline.identity(),
        cluster_id: None,
        topic_id: None,
        topic_since: None::<BatchId>,
        starting: [(PARTITION, Position { offset: Offset(0), epoch: LeaderEpoch::UNKNOWN })].into(),
        created_ms: 0,
    }
}
