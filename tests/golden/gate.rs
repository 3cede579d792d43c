//! Stands between the engine and its source, checkpoint and stdout, and knows when the engine is idle.
//!
//! The engine asks the source to *wait* only when a trigger found nothing to do; when by then every
//! batch it planned has been marked, it is idle. It is then held in that call until the case goes on,
//! so that all records of a step are there before the next trigger looks. Nothing here waits for a
//! length of time to pass.
//!
//! It also keeps what the comparison needs (every published batch, every byte of the console) and, on
//! request, copies of the state directory at the moments a crash may come.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sales_stream::{
    batch::{BatchRecord, Begun, Bounds, Genesis, Mark, Plan, Publication, WitnessFact},
    checkpoint::{
        Ahead, Checkpoint, CheckpointError, Durable, Recovered, RestoreGroup, StateReader, Visible,
        VisitLog,
    },
    commands::Failure,
    source::{Committer, Progress, Source, SourceError, Taker, TopicDescription},
    types::{BatchId, Incarnation, Offset, Partition, Position, SinkName},
};
use serde_json::Value as Json;

use crate::broker::{Commits, Group};

/// How long a step may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// One published batch.
#[derive(Clone, Debug)]
pub struct Seen {
    pub record: BatchRecord,
    /// Its line of `--progress`.
    pub progress: Option<Json>,
}

/// What the engine is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A trigger is under way or may come.
    Working,
    /// The newest trigger found nothing, everything has left, and the next one is held.
    Idle,
    /// The run is over.
    Ended(Option<Failure>),
}

/// The gate of one case, over all its starts. Clones share it.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<(Mutex<State>, Condvar)>,
    copies: Option<Copies>,
}

/// Where copies of the state directory are kept.
#[derive(Clone)]
pub struct Copies {
    pub state: PathBuf,
    pub kept: PathBuf,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    released: bool,
    stopping: bool,
    /// Batches read to their end and not yet marked.
    under_way: usize,
    persisted: BTreeSet<BatchId>,
    seen: Vec<Seen>,
    console: Vec<u8>,
    group: Option<Group>,
    commits: BTreeMap<BatchId, Commits>,
    /// How often the topic's partitions were looked for.
    described: u64,
}

impl Gate {
    pub fn new(copies: Option<Copies>) -> Gate {
        let state = State {
            phase: Phase::Working,
            released: false,
            stopping: false,
            under_way: 0,
            persisted: BTreeSet::new(),
            seen: Vec::new(),
            console: Vec::new(),
            group: None,
            commits: BTreeMap::new(),
            described: 0,
        };
        Gate { shared: Arc::new((Mutex::new(state), Condvar::new())), copies }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.shared.1.notify_all();
        result
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, patience: Duration) -> MutexGuard<'a, State> {
        self.shared.1.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
    }

    /// A new run begins, in this consumer group.
    pub fn begin(&self, group: Group) {
        self.change(|state| {
            state.group = Some(group);
            state.phase = Phase::Working;
            (state.released, state.stopping) = (false, false);
            state.under_way = 0;
            state.persisted.clear();
        });
    }

    /// The run is over.
    pub fn end(&self, failure: Option<Failure>) {
        self.change(|state| state.phase = Phase::Ended(failure));
    }

    /// Lets an idle engine look around again.
    pub fn release(&self) {
        self.change(|state| {
            if state.phase == Phase::Idle {
                state.phase = Phase::Working;
                state.released = true;
            }
        });
    }

    /// Holds nothing any more: the run was told to stop.
    pub fn open(&self) {
        self.change(|state| state.stopping = true);
    }

    /// How often the topic's partitions were looked for.
    pub fn described(&self) -> u64 {
        self.lock().described
    }

    /// Waits until the engine is idle or has ended.
    ///
    /// # Errors
    /// It is neither in time.
    pub fn settled(&self) -> Result<Phase, String> {
        self.settled_but(|phase| *phase == Phase::Working)
    }

    /// Waits until the run is over.
    ///
    /// # Errors
    /// It is not in time.
    pub fn ended(&self) -> Result<Phase, String> {
        self.settled_but(|phase| !matches!(phase, Phase::Ended(_)))
    }

    fn settled_but(&self, unsettled: impl Fn(&Phase) -> bool) -> Result<Phase, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.lock();
        while unsettled(&state.phase) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Err(format!(
                    "still {:?} after {} s, with {} batch(es) on their way out",
                    state.phase,
                    PATIENCE.as_secs(),
                    state.under_way
                ));
            };
            state = self.wait(state, left);
        }
        Ok(state.phase.clone())
    }

    /// The batches published since the last call.
    pub fn take_seen(&self) -> Vec<Seen> {
        self.change(|state| std::mem::take(&mut state.seen))
    }

    /// Everything that was printed.
    pub fn console(&self) -> Vec<u8> {
        self.lock().console.clone()
    }

    /// What the consumer group was told with the newest batch up to this one.
    pub fn commits_up_to(&self, batch: BatchId) -> Option<Commits> {
        let state = self.lock();
        state.commits.range(..=batch).next_back().map(|(_, commits)| commits.clone())
    }

    /// The source that the engine sees.
    pub fn around_source(&self, source: Box<dyn Source>) -> Box<dyn Source> {
        Box::new(GatedSource { inner: source, gate: self.clone() })
    }

    /// The checkpoint that the engine sees.
    pub fn around_checkpoint(&self, checkpoint: Box<dyn Checkpoint>) -> Box<dyn Checkpoint> {
        Box::new(GatedCheckpoint { inner: checkpoint, gate: self.clone() })
    }

    /// Where the console prints.
    pub fn stdout(&self) -> Box<dyn io::Write + Send> {
        Box::new(Stdout { gate: self.clone() })
    }

    fn copy(&self, moment: &str, batch: BatchId) {
        if let Some(Copies { state, kept }) = &self.copies {
            let to = kept.join(format!("{moment}-{}", batch.0));
            replace(state, &to).expect("the state directory can be copied");
        }
    }
}

/// Puts a copy of a directory in the place of another one.
///
/// # Errors
/// The file system's.
pub fn replace(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    copy_dir(from, to)
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    std::fs::set_permissions(to, std::fs::metadata(from)?.permissions())?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

struct GatedSource {
    inner: Box<dyn Source>,
    gate: Gate,
}

impl Source for GatedSource {
    fn describe(&mut self) -> Result<TopicDescription, SourceError> {
        let described = self.inner.describe();
        self.gate.change(|state| state.described += 1);
        described
    }

    fn bounds(
        &mut self,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, Bounds>, SourceError> {
        self.inner.bounds(partitions)
    }

    fn offsets_for_times(
        &mut self,
        times_ms: &BTreeMap<Partition, i64>,
    ) -> Result<BTreeMap<Partition, Option<Offset>>, SourceError> {
        self.inner.offsets_for_times(times_ms)
    }

    fn assign(&mut self, positions: &BTreeMap<Partition, Position>) -> Result<(), SourceError> {
        self.inner.assign(positions)
    }

    fn read(
        &mut self,
        ends: &BTreeMap<Partition, Offset>,
        patience: Duration,
        takers: &mut [Taker<'_>],
    ) -> Result<Progress, SourceError> {
        let read = self.inner.read(ends, patience, takers);
        if let Ok(Progress::Reached(_)) = &read {
            self.gate.change(|state| state.under_way += 1);
        }
        read
    }

    /// Idle, unless a batch is still on its way out: then the engine has to look at how that went.
    fn wait(&mut self, patience: Duration) -> Result<bool, SourceError> {
        let ready = self.inner.wait(Duration::ZERO)?;
        if patience.is_zero() {
            // Only a look at what befell the client; triggers begin with one.
            return Ok(ready);
        }
        let mut state = self.gate.lock();
        if state.under_way > 0 {
            drop(self.gate.wait(state, patience));
            return Ok(false);
        }
        state.phase = Phase::Idle;
        self.gate.shared.1.notify_all();
        while !state.released && !state.stopping {
            state = self.gate.wait(state, PATIENCE);
        }
        state.released = false;
        Ok(true)
    }

    fn witness(&mut self, partitions: &[Partition]) -> Result<WitnessFact, SourceError> {
        self.inner.witness(partitions)
    }

    fn committer(&self, begun: Begun) -> Box<dyn Committer> {
        let inner = self.inner.committer(begun);
        if self.gate.copies.is_none() {
            return inner;
        }
        Box::new(GatedCommitter { inner, gate: self.gate.clone() })
    }
}

/// Keeps what the consumer group was told, for crashes that are made up.
struct GatedCommitter {
    inner: Box<dyn Committer>,
    gate: Gate,
}

impl Committer for GatedCommitter {
    fn commit(&mut self, batch: &Visible) -> Result<(), SourceError> {
        self.inner.commit(batch)?;
        let group = self.gate.lock().group.clone();
        let commits = group.expect("a run has a group").commits();
        let batch = batch.record().batch;
        self.gate.change(|state| state.commits.insert(batch, commits));
        Ok(())
    }
}

struct GatedCheckpoint {
    inner: Box<dyn Checkpoint>,
    gate: Gate,
}

impl Checkpoint for GatedCheckpoint {
    fn begin(&mut self, genesis: &Genesis, marks: Vec<Mark>) -> Result<(), CheckpointError> {
        self.inner.begin(genesis, marks)
    }

    fn next_incarnation(&mut self) -> Result<Incarnation, CheckpointError> {
        self.inner.next_incarnation()
    }

    fn ahead(&self) -> Box<dyn Ahead> {
        self.inner.ahead()
    }

    fn state_reader(&self) -> Box<dyn StateReader> {
        self.inner.state_reader()
    }

    fn persist(&mut self, plan: Plan) -> Result<Durable, CheckpointError> {
        let batch = plan.publication.record.batch;
        self.gate.copy("before", batch);
        let durable = self.inner.persist(plan)?;
        self.gate.change(|state| state.persisted.insert(batch));
        Ok(durable)
    }

    fn durable_again(&mut self, publication: Publication) -> Result<Durable, CheckpointError> {
        self.inner.durable_again(publication)
    }

    fn announce(&mut self, durable: Durable) -> Result<Visible, CheckpointError> {
        let visible = self.inner.announce(durable)?;
        let record = visible.record().clone();
        self.gate.change(|state| {
            state.seen.push(Seen { record, progress: None });
        });
        Ok(visible)
    }

    fn mark(&mut self, sink: &SinkName, batch: BatchId) -> Result<(), CheckpointError> {
        self.gate.copy("published", batch);
        self.inner.mark(sink, batch)?;
        self.gate.change(|state| {
            if state.persisted.contains(&batch) {
                state.under_way -= 1;
            }
        });
        Ok(())
    }

    fn admit_sink(
        &mut self,
        sink: &SinkName,
        newest: Option<BatchId>,
    ) -> Result<(), CheckpointError> {
        self.inner.admit_sink(sink, newest)
    }

    fn forget_sink(&mut self, sink: &SinkName) -> Result<(), CheckpointError> {
        self.inner.forget_sink(sink)
    }

    fn load_log(&mut self, restore: &mut VisitLog<'_>) -> Result<(), CheckpointError> {
        self.inner.load_log(restore)
    }

    fn load(&mut self, restore: &mut RestoreGroup<'_>) -> Result<Recovered, CheckpointError> {
        self.inner.load(restore)
    }
}

struct Stdout {
    gate: Gate,
}

impl io::Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gate.change(|state| state.console.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
