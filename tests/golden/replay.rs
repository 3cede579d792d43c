//! Carries out a case's steps on the real engine, and tells what came of each.
//!
//! Every start is a run as typed on the command line: the spec's file, the flags, the checkpoint
//! opened from disk. Start at [`replay`].

use std::{
    fs,
    panic::AssertUnwindSafe,
    path::PathBuf,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use sales_stream::{
    cli,
    commands::{self, Failure, Surroundings},
    stop::Stop,
    types::BatchId,
};
use serde_json::{Map, Value as Json};

use crate::{
    broker::{Broker, Group},
    case::{Case, Step, object},
    gate::{Copies, Gate, Phase, Seen, replace},
    progress::Lines,
    translate::{self, Mode},
};

/// How long the engine may take to look for new partitions.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of a case.
#[derive(Debug, Default)]
pub struct Replayed {
    /// What the topic was called.
    pub topic: String,
    /// What each step made the engine do, for the steps that made it do anything.
    pub events: Vec<Done>,
    /// Everything that was printed.
    pub console: Vec<u8>,
}

/// What a step made the engine do.
#[derive(Debug)]
pub struct Done {
    pub after_step: usize,
    pub batches: Vec<Seen>,
    pub failure: Option<Failure>,
}

/// Carries out a case.
///
/// # Errors
/// What kept it from being carried out; a run that fails is a result.
pub fn replay(case: &Case, mode: Mode, kafka: Option<&str>) -> Result<Replayed, String> {
    let home = tempfile::tempdir().map_err(|error| error.to_string())?;
    let topic = match mode {
        Mode::Compat => case.real_topic().to_owned(),
        Mode::Own => format!("{}-own", case.real_topic()),
    };
    let broker = match kafka {
        Some(address) => Broker::real(address, &topic, case.partitions()),
        None => Broker::embedded(&topic, case.partitions()),
    };
    let copies = case.has_step(|step| matches!(step, Step::Delete(_))).then(|| Copies {
        state: home.path().join("checkpoints").join("sales"),
        kept: home.path().join("kept"),
    });
    let mut world = World {
        case,
        mode,
        topic,
        broker,
        gate: Gate::new(copies.clone()),
        copies,
        home: home.path().to_owned(),
        said: case.json.clone(),
        group: 0,
        running: None,
        newest: None,
        progress: Lines::new(home.path().join("progress.jsonl")),
    };
    let mut replayed = Replayed { topic: world.topic.clone(), ..Replayed::default() };
    for (index, step) in case.steps.iter().enumerate() {
        let ran = world.step(step);
        let failure = ran.map_err(|problem| format!("step {index}: {problem}"))?;
        if matches!(step, Step::AddPartitions(_)) && failure.is_none() {
            // What it makes the engine do is told with the step after it.
            continue;
        }
        let mut batches = world.gate.take_seen();
        let given = world.progress.give_to(&mut batches);
        given.map_err(|problem| format!("step {index}: {problem}"))?;
        world.newest = batches.last().map(|seen| seen.record.batch).or(world.newest);
        if failure.is_some() || !batches.is_empty() {
            replayed.events.push(Done { after_step: index, batches, failure });
        }
    }
    world.stop()?;
    replayed.console = world.gate.console();
    Ok(replayed)
}

struct World<'a> {
    case: &'a Case,
    mode: Mode,
    topic: String,
    broker: Broker,
    gate: Gate,
    copies: Option<Copies>,
    home: PathBuf,
    /// The case with the overrides of the starts so far.
    said: Map<String, Json>,
    /// The consumer group's number: a new one after a crash was made up.
    group: usize,
    running: Option<Running>,
    newest: Option<BatchId>,
    progress: Lines,
}

struct Running {
    thread: JoinHandle<()>,
    stop: Stop,
}

impl World<'_> {
    fn step(&mut self, step: &Step) -> Result<Option<Failure>, String> {
        match step {
            Step::Produce(records) => {
                self.broker.produce(records);
                self.go_on()
            }
            Step::Start(overrides) => {
                self.stop()?;
                self.say(overrides);
                self.start()
            }
            Step::Stop => self.stop().map(|()| None),
            Step::Delete(files) => {
                self.stop()?;
                self.crash_at(files).map(|()| None)
            }
            Step::AddPartitions(total) => {
                self.broker.add_partitions(*total);
                self.go_on_to_partitions()
            }
            Step::RecreateTopic(partitions) => {
                self.broker.recreate_topic(*partitions);
                self.go_on()
            }
            Step::Wait(seconds) => {
                std::thread::sleep(Duration::from_secs_f64(*seconds));
                self.go_on()
            }
        }
    }

    fn say(&mut self, overrides: &Map<String, Json>) {
        for (key, value) in overrides {
            let mut value = value.clone();
            // A session's settings stay until they are set again.
            if let ("conf", Json::Object(new)) = (key.as_str(), &mut value) {
                let mut conf = object(self.said.get("conf")).clone();
                conf.append(new);
                value = Json::Object(conf);
            }
            self.said.insert(key.clone(), value);
        }
    }

    fn start(&mut self) -> Result<Option<Failure>, String> {
        let topic = translate::topic(self.case, &self.said, &self.topic).to_owned();
        if topic != self.topic {
            self.broker.forbid(&topic);
        }
        let spec = translate::spec(self.case.version, self.mode, &self.said, &topic)?;
        let path = self.home.join("spec.toml");
        fs::write(&path, &spec).map_err(|error| error.to_string())?;
        let checkpoints = self.home.join("checkpoints");
        let typed = vec![
            "sales-stream".to_owned(),
            format!("--pipeline={}", path.display()),
            format!("--brokers={}", self.broker.address()),
            format!("--checkpoint-dir={}", checkpoints.display()),
            format!("--group-id={}", self.group().id),
            "--startup-timeout=2s".to_owned(),
            self.progress.option(),
        ];
        self.gate.begin(self.group());
        let (gate, stop) = (self.gate.clone(), Stop::new());
        let surroundings = surroundings(&gate, &stop);
        let thread = std::thread::spawn(move || {
            let ran = std::panic::catch_unwind(AssertUnwindSafe(|| run(typed, surroundings)));
            gate.end(match ran {
                Ok(failure) => failure,
                Err(panic) => Some(panicked(&*panic)),
            });
        });
        self.running = Some(Running { thread, stop });
        self.settle()
    }

    /// Lets a running engine see what was done.
    fn go_on(&mut self) -> Result<Option<Failure>, String> {
        if self.running.is_none() {
            return Ok(None);
        }
        self.gate.release();
        self.settle()
    }

    fn settle(&mut self) -> Result<Option<Failure>, String> {
        match self.gate.settled()? {
            Phase::Ended(failure) => {
                self.join();
                Ok(failure)
            }
            Phase::Idle | Phase::Working => Ok(None),
        }
    }

    /// Lets a running engine see new partitions: it does not look for them at every trigger.
    fn go_on_to_partitions(&mut self) -> Result<Option<Failure>, String> {
        let (described, deadline) = (self.gate.described(), Instant::now() + PATIENCE);
        loop {
            let failure = self.go_on()?;
            if failure.is_some() || self.running.is_none() || self.gate.described() > described {
                return Ok(failure);
            }
            if Instant::now() > deadline {
                return Err("the engine does not look for new partitions".to_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&mut self) -> Result<(), String> {
        let Some(running) = &self.running else { return Ok(()) };
        running.stop.request();
        self.gate.open();
        let ended = self.gate.ended()?;
        self.join();
        match ended {
            Phase::Ended(Some(failure)) => Err(format!("a clean stop ended with {failure:?}")),
            _ => Ok(()),
        }
    }

    fn join(&mut self) {
        if let Some(Running { thread, .. }) = self.running.take() {
            // What it panicked with was told through the gate.
            let _ = thread.join();
        }
    }

    /// Tells a run that hangs to end, and does not wait for it.
    fn abandon(&mut self) {
        if let Some(Running { stop, .. }) = self.running.take() {
            stop.request();
            self.gate.open();
        }
    }

    /// Puts the state directory back to the crash that these missing files stand for.
    fn crash_at(&mut self, files: &[String]) -> Result<(), String> {
        let Some(newest) = self.newest else {
            return Err("there is no batch whose files could be missing".to_owned());
        };
        let is_there =
            |kind: &str, batch: u64| !files.iter().any(|file| *file == format!("{kind}/{batch}"));
        let planned = (0..=newest.0).rev().find(|batch| is_there("offsets", *batch));
        let Some(planned) = planned else {
            return Err("nothing is left of the checkpoint".to_owned());
        };
        let marked = is_there("commits", planned);
        if marked && planned == newest.0 {
            // Files of earlier batches are never looked at.
            return Ok(());
        }
        let copies = self.copies.as_ref().expect("a case with a delete keeps copies");
        let copy = match marked {
            true => format!("before-{}", planned + 1),
            false => format!("published-{planned}"),
        };
        let from = copies.kept.join(&copy);
        replace(&from, &copies.state).map_err(|error| format!("putting {copy} back: {error}"))?;
        self.newest = Some(BatchId(planned));
        self.group += 1;
        self.commit_again(BatchId(planned));
        Ok(())
    }

    /// A new consumer group that was told of batches up to this one.
    fn commit_again(&self, batch: BatchId) {
        if let Some(commits) = self.gate.commits_up_to(batch) {
            self.group().commit(&commits);
        }
    }

    fn group(&self) -> Group {
        self.broker.group(&format!("golden-{}", self.group))
    }
}

/// A run that a problem of the case left behind is told to end.
impl Drop for World<'_> {
    fn drop(&mut self) {
        self.abandon();
    }
}

fn surroundings(gate: &Gate, stop: &Stop) -> impl FnOnce() -> Surroundings + Send + use<> {
    let (gate, stop) = (gate.clone(), stop.clone());
    move || {
        let (source, checkpoint) = (gate.clone(), gate.clone());
        Surroundings {
            stdout: gate.stdout(),
            stop,
            around_source: Box::new(move |inner| source.around_source(inner)),
            around_checkpoint: Box::new(move |inner| checkpoint.around_checkpoint(inner)),
        }
    }
}

/// One run; how it failed, if it did.
fn run(typed: Vec<String>, surroundings: impl FnOnce() -> Surroundings) -> Option<Failure> {
    let arguments = match cli::parse(typed) {
        Ok(arguments) => arguments,
        Err(error) => return Some(Failure { code: 2, message: error.to_string() }),
    };
    commands::run_within(*arguments.run, surroundings()).err()
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let message = format!("panicked: {}", text.unwrap_or_default());
    Failure { code: 134, message }
}
