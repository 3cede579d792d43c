//! Carries out the steps of one batch at a time, on a thread of its own or, under a simulation, in line.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    batch::{Counts, Plan},
    checkpoint::{Checkpoint, Visible},
    engine::{
        Clock, Effect, EngineError, Report, Reporter, Steps, Timing, WayOut, commits::Commits,
    },
    faults::{Point, reach},
    sink::{Sink, SinkError},
    stop::Stop,
    types::BatchId,
};

/// How often a wait looks up to see whether it should stop.
const LOOK_UP: Duration = Duration::from_millis(50);

/// How long a sink that asks for it is left alone before it is given the batch again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Who carries batches out.
#[derive(Default)]
pub enum Carriage {
    /// A thread of its own, and another one for commits.
    #[default]
    Threads,
    /// The loop itself, whenever it looks at the way out, as far as it is told: so that one schedule
    /// decides how reading and the way out interleave.
    Inline(Box<dyn Pace>),
}

/// When the loop looks at the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// While it reads or waits.
    Look,
    /// It cannot go on before the batch has left.
    HandOver,
    /// The run ends.
    Finish,
}

/// Decides how far a batch gets on its way out.
pub trait Pace: Send {
    /// How many effects are carried out now.
    fn effects(&mut self, moment: Moment) -> usize;
}

/// The way out, seen from the loop.
pub(super) struct Outlet {
    hands: Hands,
    /// Plans handed over whose outcome has not been looked at: 0 or 1.
    under_way: usize,
    failed: Option<EngineError>,
    departed: Option<Departed>,
    clock: Arc<dyn Clock>,
    stop: Stop,
}

enum Hands {
    Thread {
        plans: Option<SyncSender<(Plan, Timing)>>,
        outcomes: Receiver<Result<Departed, EngineError>>,
        thread: Option<JoinHandle<Exit>>,
    },
    Inline {
        exit: Box<Exit>,
        pace: Box<dyn Pace>,
        leaving: Option<Box<Leaving>>,
    },
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
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stop: Stop,
}

/// A batch on its way out.
struct Leaving {
    steps: Steps,
    departed: Departed,
    timing: Timing,
    started: Duration,
    way_out: WayOut,
    left: Option<Visible>,
}

impl Outlet {
    pub(super) fn new(exit: Exit, carriage: Carriage) -> Outlet {
        let (clock, stop) = (exit.clock.clone(), exit.stop.clone());
        let hands = match carriage {
            Carriage::Threads => Hands::on_a_thread(exit),
            Carriage::Inline(pace) => Hands::Inline { exit: Box::new(exit), pace, leaving: None },
        };
        Outlet { hands, under_way: 0, failed: None, departed: None, clock, stop }
    }

    /// Hands a plan over, once the one before it has left. `false`: it was told to stop while it
    /// waited, and the plan is dropped; nothing of it was written.
    pub(super) fn hand_over(&mut self, plan: Plan, timing: Timing) -> Result<bool, EngineError> {
        if !self.settle()? {
            return Ok(false);
        }
        self.hands.take(plan, timing);
        self.under_way += 1;
        Ok(true)
    }

    /// Waits until everything that was handed over has left, and so is durable. `false`: it was told to stop
    /// while it waited.
    pub(super) fn settle(&mut self) -> Result<bool, EngineError> {
        while self.under_way > 0 {
            match self.hands.outcome_within(LOOK_UP, Moment::HandOver) {
                Some(outcome) => self.note(outcome),
                None if self.stop.is_requested() => return Ok(false),
                None => {}
            }
            self.fail()?;
        }
        self.fail()?;
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
        if let Hands::Thread { plans, .. } = &mut self.hands {
            *plans = None;
        }
        let mut deadline = None;
        while self.under_way > 0 {
            match self.hands.outcome_within(LOOK_UP, Moment::Finish) {
                Some(outcome) => self.note(outcome),
                None if self.stop.is_requested() => {
                    let now = self.clock.uptime();
                    if now >= *deadline.get_or_insert(now + patience) {
                        return self.fail().map(|()| Left::Pending);
                    }
                }
                None => {}
            }
        }
        if let Hands::Thread { thread, .. } = &mut self.hands
            && let Some(thread) = thread.take()
            && let Ok(exit) = thread.join()
        {
            exit.commits.finish(patience);
        }
        self.fail().map(|()| Left::All)
    }

    fn look(&mut self) {
        let outcome = match &self.hands {
            Hands::Thread { outcomes, .. } => outcomes.try_recv().ok(),
            Hands::Inline { .. } => self.hands.outcome_within(Duration::ZERO, Moment::Look),
        };
        if let Some(outcome) = outcome {
            self.note(outcome);
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

impl Hands {
    fn on_a_thread(mut exit: Exit) -> Hands {
        let (plans, incoming) = sync_channel::<(Plan, Timing)>(1);
        let (outgoing, outcomes) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("outlet".to_owned())
            .spawn(move || {
                while let Ok((plan, timing)) = incoming.recv() {
                    let mut leaving = exit.begin(plan, timing);
                    let outcome = exit.carry_out_all(&mut leaving).map(|()| leaving.departed);
                    let failed = outcome.is_err();
                    if outgoing.send(outcome).is_err() || failed {
                        break;
                    }
                }
                exit
            })
            .expect("the system has room for one more thread");
        Hands::Thread { plans: Some(plans), outcomes, thread: Some(thread) }
    }

    fn take(&mut self, plan: Plan, timing: Timing) {
        match self {
            Hands::Thread { plans, .. } => {
                let plans = plans.as_ref().expect("nothing is handed over after the end");
                // The thread only ends after a failure, which was looked at just now.
                plans.send((plan, timing)).expect("the outlet takes plans until it fails");
            }
            Hands::Inline { exit, leaving, .. } => {
                *leaving = Some(Box::new(exit.begin(plan, timing)))
            }
        }
    }

    /// What came of the batch under way, if that is known by then.
    fn outcome_within(
        &mut self,
        patience: Duration,
        moment: Moment,
    ) -> Option<Result<Departed, EngineError>> {
        let (exit, pace, leaving) = match self {
            Hands::Thread { outcomes, .. } => return outcomes.recv_timeout(patience).ok(),
            Hands::Inline { exit, pace, leaving } => (exit, pace, leaving),
        };
        let under_way = leaving.as_mut()?;
        for _ in 0..pace.effects(moment) {
            match exit.carry_out_next(under_way) {
                Ok(true) => {}
                Ok(false) => return leaving.take().map(|left| Ok(left.departed)),
                Err(error) => {
                    *leaving = None;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl Exit {
    fn begin(&self, plan: Plan, timing: Timing) -> Leaving {
        let record = &plan.publication.record;
        let departed = Departed { batch: record.batch, totals: record.totals };
        self.leaving(Steps::new(plan, (0..self.sinks.len()).collect()), departed, timing)
    }

    fn leaving(&self, steps: Steps, departed: Departed, timing: Timing) -> Leaving {
        let (started, way_out) = (self.clock.uptime(), WayOut::default());
        Leaving { steps, departed, timing, started, way_out, left: None }
    }

    /// Publishes the newest batch of earlier runs again, and then tells of it.
    pub(super) fn carry_out_again(
        &mut self,
        steps: Steps,
        departed: Departed,
    ) -> Result<(), EngineError> {
        let mut leaving = self.leaving(steps, departed, Timing::default());
        self.carry_out_all(&mut leaving)
    }

    fn carry_out_all(&mut self, leaving: &mut Leaving) -> Result<(), EngineError> {
        while self.carry_out_next(leaving)? {}
        Ok(())
    }

    /// Carries out the next thing that is left of a batch; when nothing is, tells of it and returns
    /// false.
    fn carry_out_next(&mut self, leaving: &mut Leaving) -> Result<bool, EngineError> {
        let Leaving { steps, way_out, left, started, timing, .. } = leaving;
        let began = self.clock.uptime();
        let since = |clock: &dyn Clock, then: Duration| clock.uptime().saturating_sub(then);
        let Some(effect) = steps.next_effect() else {
            #[cfg(feature = "faults")]
            if let Some(batch) = &*left {
                crate::faults::end_after(crate::faults::Step::Marked, batch.identity().batch.0);
            }
            if let (Some(batch), Some(reporter)) = (left, &mut self.reporter) {
                let (identity, record, way_out) = (*batch.identity(), batch.record(), *way_out);
                reach(Point::BeforeReport);
                reporter.report(&Report { identity, record, timing, way_out });
            }
            reach(Point::AfterReport);
            return Ok(false);
        };
        #[cfg(feature = "faults")]
        let Some(effect) = self.misbehave(effect)? else { return Ok(true) };
        match effect {
            Effect::Persist(plan) => {
                reach(Point::BeforePersist);
                steps.persisted(self.checkpoint.persist(*plan)?);
                reach(Point::AfterPersist);
                way_out.persist += since(&*self.clock, began);
            }
            Effect::Announce(durable) => {
                reach(Point::BeforeAnnounce);
                steps.announced(&self.checkpoint.announce(durable)?);
                reach(Point::AfterAnnounce);
                way_out.announce += since(&*self.clock, began);
            }
            Effect::Publish(sink, batch) => {
                reach(Point::BeforePublish);
                self.publish(sink, &batch)?;
                reach(Point::AfterPublish);
                way_out.publish += since(&*self.clock, began);
            }
            Effect::Commit(batch) => {
                reach(Point::BeforeCommit);
                log_batch(&batch, since(&*self.clock, *started));
                *left = Some(batch.clone());
                self.commits.commit(batch);
                way_out.mark += since(&*self.clock, began);
            }
            Effect::Mark(sink, batch) => {
                let name = self.sinks[sink].name();
                reach(Point::BeforeMark);
                self.checkpoint.mark(name, batch.identity().batch)?;
                reach(Point::AfterMark);
                way_out.mark += since(&*self.clock, began);
            }
        }
        Ok(true)
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
                    self.clock.wait(&self.stop, RETRY_PAUSE);
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
