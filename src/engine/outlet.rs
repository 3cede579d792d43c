//! Carries out the steps of one batch at a time, on a thread of its own.

use std::{
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    batch::{Counts, Plan},
    checkpoint::{Checkpoint, Visible},
    engine::{Effect, EngineError, Report, Reporter, Steps, Timing, WayOut, commits::Commits},
    sink::{Sink, SinkError},
    stop::Stop,
    types::BatchId,
};

/// How often a wait looks up to see whether it should stop.
const LOOK_UP: Duration = Duration::from_millis(50);

/// How long a sink that asks for it is left alone before it is given the batch again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The way out, seen from the loop.
pub(super) struct Outlet {
    plans: Option<SyncSender<(Plan, Timing)>>,
    outcomes: Receiver<Result<Departed, EngineError>>,
    thread: Option<JoinHandle<Exit>>,
    /// Plans handed over whose outcome has not been looked at: 0 or 1.
    under_way: usize,
    failed: Option<EngineError>,
    departed: Option<Departed>,
    stop: Stop,
}

/// The newest batch that has left through every sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Departed {
    pub(super) batch: BatchId,
    pub(super) totals: Counts,
}

/// Whether everything that was handed over has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    All,
    /// The newest batch did not leave in time; the next start publishes it.
    Pending,
}

/// The way out itself.
pub(super) struct Exit {
    pub(super) checkpoint: Box<dyn Checkpoint>,
    pub(super) sinks: Vec<Box<dyn Sink>>,
    pub(super) commits: Commits,
    pub(super) reporter: Option<Box<dyn Reporter>>,
    pub(super) stop: Stop,
}

impl Outlet {
    pub(super) fn new(mut exit: Exit) -> Outlet {
        let stop = exit.stop.clone();
        let (plans, incoming) = sync_channel::<(Plan, Timing)>(1);
        let (outgoing, outcomes) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("outlet".to_owned())
            .spawn(move || {
                while let Ok((plan, timing)) = incoming.recv() {
                    let record = &plan.publication.record;
                    let departed = Departed { batch: record.batch, totals: record.totals };
                    let sinks = (0..exit.sinks.len()).collect();
                    let outcome =
                        exit.carry_out(Steps::new(plan, sinks), &timing).map(|()| departed);
                    let failed = outcome.is_err();
                    if outgoing.send(outcome).is_err() || failed {
                        break;
                    }
                }
                exit
            })
            .expect("the system has room for one more thread");
        Outlet {
            plans: Some(plans),
            outcomes,
            thread: Some(thread),
            under_way: 0,
            failed: None,
            departed: None,
            stop,
        }
    }

    /// Hands a plan over, once the one before it has left. `false`: it was told to stop while it
    /// waited, and the plan is dropped; nothing of it was written.
    pub(super) fn hand_over(&mut self, plan: Plan, timing: Timing) -> Result<bool, EngineError> {
        while self.under_way > 0 {
            match self.outcomes.recv_timeout(LOOK_UP) {
                Ok(outcome) => self.note(outcome),
                Err(_) if self.stop.is_requested() => return Ok(false),
                Err(_) => {}
            }
            self.fail()?;
        }
        self.fail()?;
        let plans = self.plans.as_ref().expect("nothing is handed over after the end");
        // The thread only ends after a failure, which was looked at just now.
        plans.send((plan, timing)).expect("the outlet takes plans until it fails");
        self.under_way += 1;
        Ok(true)
    }

    /// Fails if a batch could not leave. Does not wait.
    pub(super) fn check(&mut self) -> Result<(), EngineError> {
        self.look();
        self.fail()
    }

    /// Whether a batch could not leave. Does not wait.
    pub(super) fn has_failed(&mut self) -> bool {
        self.look();
        self.failed.is_some()
    }

    /// The newest batch of this run that has left.
    pub(super) fn departed(&self) -> Option<Departed> {
        self.departed
    }

    /// Waits for the batch under way, for as long as nobody asks to stop and then for `patience`;
    /// after it for its commit, at most for `patience`.
    pub(super) fn finish(&mut self, patience: Duration) -> Result<Left, EngineError> {
        self.plans = None;
        let mut deadline = None;
        while self.under_way > 0 {
            match self.outcomes.recv_timeout(LOOK_UP) {
                Ok(outcome) => self.note(outcome),
                Err(_) if self.stop.is_requested() => {
                    let now = Instant::now();
                    if now >= *deadline.get_or_insert(now + patience) {
                        return self.fail().map(|()| Left::Pending);
                    }
                }
                Err(_) => {}
            }
        }
        if let Some(thread) = self.thread.take()
            && let Ok(exit) = thread.join()
        {
            exit.commits.finish(patience);
        }
        self.fail().map(|()| Left::All)
    }

    fn look(&mut self) {
        match self.outcomes.try_recv() {
            Ok(outcome) => self.note(outcome),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
    }

    fn note(&mut self, outcome: Result<Departed, EngineError>) {
        self.under_way -= 1;
        match outcome {
            Ok(departed) => self.departed = Some(departed),
            Err(error) => self.failed = Some(error),
        }
    }

    fn fail(&mut self) -> Result<(), EngineError> {
        self.failed.take().map_or(Ok(()), Err)
    }
}

impl Exit {
    /// Carries out everything that is left of a batch, and then tells of it.
    pub(super) fn carry_out(
        &mut self,
        mut steps: Steps,
        timing: &Timing,
    ) -> Result<(), EngineError> {
        let started = Instant::now();
        let mut way_out = WayOut::default();
        let mut left = None;
        while let Some(effect) = steps.next_effect() {
            #[cfg(feature = "faults")]
            let Some(effect) = self.misbehave(effect)? else { continue };
            let began = Instant::now();
            match effect {
                Effect::Persist(plan) => {
                    steps.persisted(self.checkpoint.persist(*plan)?);
                    way_out.persist += began.elapsed();
                }
                Effect::Announce(durable) => {
                    steps.announced(&self.checkpoint.announce(durable)?);
                    way_out.announce += began.elapsed();
                }
                Effect::Publish(sink, batch) => {
                    self.publish(sink, &batch)?;
                    way_out.publish += began.elapsed();
                }
                Effect::Commit(batch) => {
                    log_batch(&batch, started.elapsed());
                    left = Some(batch.clone());
                    self.commits.commit(batch);
                    way_out.mark += began.elapsed();
                }
                Effect::Mark(sink, batch) => {
                    let name = self.sinks[sink].name();
                    self.checkpoint.mark(name, batch.identity().batch)?;
                    way_out.mark += began.elapsed();
                }
            }
        }
        #[cfg(feature = "faults")]
        if let Some(batch) = &left {
            crate::faults::end_after(crate::faults::Step::Marked, batch.identity().batch.0);
        }
        if let (Some(batch), Some(reporter)) = (left, &mut self.reporter) {
            let (identity, record) = (*batch.identity(), batch.record());
            reporter.report(&Report { identity, record, timing, way_out });
        }
        Ok(())
    }

    /// Gives a batch to a sink until it takes it. Meanwhile the source is not read beyond the next
    /// batch, and a request to stop is heeded.
    pub(super) fn publish(&mut self, sink: usize, batch: &Visible) -> Result<(), EngineError> {
        let sink = &mut self.sinks[sink];
        loop {
            match sink.publish(batch) {
                Ok(()) => return Ok(()),
                Err(SinkError::Closed) => return Err(EngineError::Closed),
                Err(SinkError::Checkpoint(error)) => return Err(EngineError::Checkpoint(error)),
                Err(SinkError::Retry(problem)) if !self.stop.is_requested() => {
                    let batch = batch.identity().batch.0;
                    tracing::warn!(sink = %sink.name(), batch, problem, "a sink does not take a batch; trying again");
                    self.stop.wait_timeout(RETRY_PAUSE);
                }
                Err(error) => {
                    return Err(EngineError::Sink { sink: sink.name().0.clone(), error });
                }
            }
        }
    }
}

fn log_batch(batch: &Visible, took: Duration) {
    let record = batch.record();
    tracing::info!(
        batch = record.batch.0,
        rows_in = record.counts.rows_in,
        late = record.counts.late,
        malformed = record.counts.malformed(),
        rows_out = record.counts.rows_out,
        out_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "batch"
    );
    if record.counts.nulled > 0 {
        tracing::warn!(
            batch = record.batch.0,
            nulled = record.counts.nulled,
            "results do not fit their output type and are NULL"
        );
    }
}
