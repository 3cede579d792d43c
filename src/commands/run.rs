//! A run: what was typed, the environment and the spec become one set of values, and the engine is
//! given its parts.

use std::{
    fs::File,
    io::{self, IsTerminal},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Failure, client_settings, memory, pipeline};
use crate::{
    batch::Permissions,
    checkpoint::{Checkpoint, rocks::RocksCheckpoint},
    cli::{RunArguments, Signals, say},
    engine::{self, End, EngineError, Parts, Reporter, Settings, Summary, SystemClock},
    kafka::ClientSettings,
    progress::{self, Progress, ProgressWriter},
    sink::{
        NoSink, Sink,
        console::{ConsoleOptions, ConsoleSink, Layout, Reader, Truncate, ValueTexts},
        dead_letter::DeadLetterSink,
        files::FileSink,
    },
    source::{
        Source,
        kafka::{KafkaSource, KafkaSourceConfig},
    },
    spec::{
        Asked, Compat, DeadLetterSpec, Overrides, Pipeline, ProgressSpec, RunOptions, SinkSpec,
        StartingOffsets, StartingTimestamps, Threads, Trigger, without_secrets,
    },
    stop::Stop,
    types::{BatchId, DoubleTexts, FaultReason, Rows, Zone},
    umask,
};

const DEFAULT_CHECKPOINT_DIR: &str = "./checkpoints";
const DEFAULT_TRIGGER: Trigger = Trigger::ProcessingTime { interval_ms: 10_000 };
/// Spark's default for `maxTriggerDelay`.
const DEFAULT_MAX_TRIGGER_DELAY_MS: u64 = 15 * 60 * 1000;
const DEFAULT_SHUTDOWN: Duration = Duration::from_secs(30);

/// Everything a run needs, merged.
struct Choices {
    pipeline: Pipeline,
    settings: Settings,
    memory: memory::Parts,
    client: ClientSettings,
    group_id: String,
    state: PathBuf,
    sinks: Vec<SinkSpec>,
    dead_letter: Option<DeadLetterSpec>,
    console: ConsoleOptions,
    progress: Option<ProgressSpec>,
}

/// Puts something around a part of a run.
pub type Around<T> = Box<dyn FnOnce(Box<T>) -> Box<T>>;

/// What a run is connected to outside of this process's own rooms: the real thing, or what a test
/// stands in the way of it.
pub struct Surroundings {
    /// Where the console sink prints.
    pub stdout: Box<dyn io::Write + Send>,
    /// The request to stop.
    pub stop: Stop,
    /// Gives the source that the engine sees, from the one that reads Kafka.
    pub around_source: Around<dyn Source>,
    /// Gives the checkpoint that the engine sees, from the one on disk.
    pub around_checkpoint: Around<dyn Checkpoint>,
}

impl Surroundings {
    /// The real ones.
    #[must_use]
    pub fn of_process(stop: Stop) -> Surroundings {
        Surroundings {
            stdout: Box::new(io::stdout()),
            stop,
            around_source: Box::new(|source| source),
            around_checkpoint: Box::new(|checkpoint| checkpoint),
        }
    }
}

pub(super) fn run(arguments: RunArguments, signals: &Signals) -> Result<(), Failure> {
    let (summary, trigger) =
        run_within(arguments, Surroundings::of_process(signals.stop().clone()))?;
    let is_bounded = matches!(trigger, Trigger::AvailableNow | Trigger::Once);
    say(format_args!("{}", closing_line(&summary)));
    match summary.end {
        End::Stopped { unfinished: true } | End::Waiting { unfinished: true } if is_bounded => {
            let message = "stopped before everything was read; the same command goes on from there";
            Err(Failure::new(signals.code(), message))
        }
        End::Unpublished => {
            let message = "the newest batch did not leave within --shutdown-timeout; the next start \
                           publishes it";
            Err(Failure::new(signals.code(), message))
        }
        End::Finished | End::Stopped { .. } | End::Waiting { .. } | End::Closed => Ok(()),
    }
}

/// A run as typed, in surroundings of the caller's; what it did, and the trigger it did it by.
///
/// # Errors
/// The exit code and what to say.
pub fn run_within(
    arguments: RunArguments,
    surroundings: Surroundings,
) -> Result<(Summary, Trigger), Failure> {
    let choices = choose(arguments)?;
    let trigger = choices.settings.trigger;
    let summary =
        start(choices, surroundings).map_err(|error| Failure::new(error.exit_code(), error))?;
    Ok((summary, trigger))
}

fn start(choices: Choices, surroundings: Surroundings) -> Result<Summary, EngineError> {
    let Choices {
        pipeline,
        mut settings,
        memory,
        client,
        group_id,
        state,
        sinks,
        dead_letter,
        console,
        progress,
    } = choices;
    let Surroundings { stdout, stop, around_source, around_checkpoint } = surroundings;
    let examined = RocksCheckpoint::examine(&state)?;
    let recovered = examined.facts().clone();
    settings.permissions.given_with_backup = recovered.rollback_accepted;
    let topic = pipeline.topic.clone();
    let reporter = match progress {
        Some(place) => Some(progress_writer(&place, &pipeline, &sinks)?),
        None => None,
    };
    let source = KafkaSource::new(KafkaSourceConfig {
        settings: client,
        topic: topic.clone(),
        group_id,
        startup_timeout: settings.startup_timeout,
        follows_new_topic: settings.takes_new_topic(&pipeline),
        queue_bytes: memory.queue_bytes,
    })?;
    let sinks = make_sinks(sinks, dead_letter, (console, stdout), &topic);
    let parts = Parts {
        pipeline,
        source: around_source(Box::new(source)),
        recovered,
        open: Box::new(move || {
            Ok(around_checkpoint(Box::new(examined.into_open_within(memory.database)?)))
        }),
        sinks,
        reporter,
        clock: std::sync::Arc::new(SystemClock),
        carriage: engine::Carriage::Threads,
        stop,
    };
    engine::run(parts, &settings)
}

/// Writes progress where it was asked for.
fn progress_writer(
    place: &ProgressSpec,
    pipeline: &Pipeline,
    sinks: &[SinkSpec],
) -> Result<Box<dyn Reporter>, EngineError> {
    let out: Box<dyn io::Write + Send> = match place {
        ProgressSpec::Stderr => Box::new(io::stderr()),
        ProgressSpec::JsonLines(file) => Box::new(
            open_progress(file)
                .map_err(|problem| EngineError::Progress { file: file.clone(), problem })?,
        ),
    };
    let mut run_id = [0; 16];
    rustix::rand::getrandom(&mut run_id, rustix::rand::GetRandomFlags::empty())
        .expect("the system gives 16 random bytes");
    let sinks: Vec<String> = sinks.iter().map(SinkSpec::to_string).collect();
    let progress = Progress::new(pipeline, u128::from_le_bytes(run_id), sinks.join(", "));
    Ok(Box::new(ProgressWriter::new(progress, out)))
}

/// Opens the file to append to; a new one is for whoever the user's umask lets.
fn open_progress(path: &Path) -> io::Result<File> {
    match File::options().create_new(true).append(true).open(path) {
        Ok(made) => umask::share(&made, 0o666).map(|()| made),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // A pipe or a terminal has no last line, and a file that we may not read keeps its.
            if std::fs::metadata(path).is_ok_and(|it| it.is_file())
                && let Ok(mut file) = File::options().read(true).append(true).open(path)
            {
                progress::end_at_a_line(&mut file)?;
                return Ok(file);
            }
            File::options().create(true).append(true).open(path)
        }
        Err(error) => Err(error),
    }
}

fn make_sinks(
    sinks: Vec<SinkSpec>,
    dead_letter: Option<DeadLetterSpec>,
    (console, stdout): (ConsoleOptions, Box<dyn io::Write + Send>),
    topic: &str,
) -> Vec<Box<dyn Sink>> {
    let mut made: Vec<Box<dyn Sink>> = Vec::new();
    let mut stdout = Some(stdout);
    for sink in sinks {
        made.push(match sink {
            SinkSpec::Console => {
                // No sink is there twice.
                let stdout = stdout.take().unwrap_or_else(|| Box::new(io::stdout()));
                let reader = match io::stdout().is_terminal() {
                    true => Reader::Terminal,
                    false => Reader::Program,
                };
                Box::new(ConsoleSink::new(stdout, ConsoleOptions { reader, ..console.clone() }))
            }
            SinkSpec::Files(directory) => Box::new(FileSink::new(directory)),
            SinkSpec::None => Box::new(NoSink::new()),
        });
    }
    if let Some(DeadLetterSpec::Files(directory)) = dead_letter {
        made.push(Box::new(DeadLetterSink::new(directory, topic.to_owned())));
    }
    made
}

/// Merges flags and environment (which the command line reader has put together) over the spec over
/// the defaults.
fn choose(typed: RunArguments) -> Result<Choices, Failure> {
    let name = typed.pipeline.as_deref().unwrap_or("sales");
    let asked = Asked {
        compat: typed.compat,
        output_mode: typed.output_mode,
        watermark_delay_ms: typed.watermark,
    };
    let (spec_text, spec) = pipeline::read(name, asked)?;
    let run = spec.run;
    let pipeline = spec
        .pipeline
        .with_overrides(Overrides {
            topic: typed.topic.clone(),
            output_mode: typed.output_mode,
            parse_mode: typed.mode,
            max_future_skew_ms: typed.max_future_skew,
            watermark_delay_ms: typed.watermark,
            session_time_zone: typed.session_time_zone.clone(),
            semantics: typed.compat.map(|compat| spec.spark.semantics(Some(compat))),
        })
        .map_err(|errors| Failure::new(2, errors))?;
    let options: Vec<_> =
        run.kafka.iter().map(|option| (option.name.clone(), option.value.clone())).collect();
    let client = client_settings(&typed.connect, run.brokers.as_deref(), &options)?;
    let starting_offsets = typed
        .batches
        .starting_offsets
        .clone()
        .or(run.starting_offsets.clone())
        .unwrap_or(StartingOffsets::Latest);
    let starting_offsets = match starting_times(&typed, &run) {
        None => starting_offsets,
        Some(timestamps) => {
            let strategy = typed.batches.starting_offsets_by_timestamp_strategy;
            let strategy = strategy.or(run.timestamp_strategy).unwrap_or_default();
            StartingOffsets::ByTimestamp(timestamps, strategy)
        }
    };
    starting_offsets.check_topic(&pipeline.topic).map_err(|error| Failure::new(2, error))?;
    let dead_letter = typed.sinks.dead_letter.clone().or(run.dead_letter.clone());
    let memory_limit = typed.batches.memory_limit.or(run.memory_limit);
    let memory_limit = memory_limit.unwrap_or_else(memory::default_limit);
    let memory = memory::divide(memory_limit);
    let threads = typed.batches.threads.or(run.threads).unwrap_or_else(|| {
        let processors = std::thread::available_parallelism();
        Threads::of_processors(processors.map_or(1, NonZeroUsize::get))
    });
    let settings = Settings {
        trigger: typed.batches.trigger.or(run.trigger).unwrap_or(DEFAULT_TRIGGER),
        max_offsets: typed
            .batches
            .max_offsets_per_trigger
            .or(run.max_offsets_per_trigger)
            .unwrap_or(memory.max_offsets),
        starting_offsets,
        min_offsets: typed.batches.min_offsets_per_trigger.or(run.min_offsets_per_trigger),
        max_trigger_delay_ms: typed
            .batches
            .max_trigger_delay
            .map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
            .or(run.max_trigger_delay_ms)
            .unwrap_or(DEFAULT_MAX_TRIGGER_DELAY_MS),
        permissions: Permissions {
            start_over: typed.checkpoint.start_over.unwrap_or_default(),
            accept_rollback: typed.checkpoint.accept_rollback.unwrap_or_default(),
            given_with_backup: false,
        },
        startup_timeout: typed
            .reading
            .startup_timeout
            .or(run.startup_timeout_ms.map(Duration::from_millis)),
        shutdown_timeout: typed
            .reading
            .shutdown_timeout
            .or(run.shutdown_timeout_ms.map(Duration::from_millis))
            .unwrap_or(DEFAULT_SHUTDOWN),
        keep_dead_letters: dead_letter.is_some(),
        fail_on_data_loss: typed
            .reading
            .fail_on_data_loss
            .or(run.fail_on_data_loss)
            .unwrap_or(true),
        output_chunk_bytes: Rows::CHUNK_BYTES,
        room: memory.room,
        memory_limit: memory_limit.bytes(),
        lanes: threads.number(),
        // It is kept with the state.
        spec_text: without_secrets(&spec_text),
        brokers: client.brokers().to_owned(),
    };
    let checkpoints = typed.checkpoint.checkpoint_dir.clone().or(run.checkpoint_dir.clone());
    let group_id = typed.reading.group_id.clone().or(run.group_id.clone());
    Ok(Choices {
        state: checkpoints
            .unwrap_or_else(|| PathBuf::from(DEFAULT_CHECKPOINT_DIR))
            .join(&pipeline.name),
        group_id: group_id.unwrap_or_else(|| format!("sales-stream-{}", pipeline.name)),
        sinks: chosen_sinks(&typed, &run, dead_letter.as_ref())?,
        console: console_options(&typed, &run, &pipeline),
        pipeline,
        settings,
        memory,
        client,
        dead_letter,
        progress: typed.sinks.progress.clone().or(run.progress),
    })
}

/// The times a new query starts at, if it is told so: what is typed before what the spec says, one
/// time for all before one for each, as in Spark.
fn starting_times(typed: &RunArguments, run: &RunOptions) -> Option<StartingTimestamps> {
    let batches = &typed.batches;
    let all = batches.starting_timestamp.map(StartingTimestamps::All);
    let typed_times = all.or_else(|| batches.starting_offsets_by_timestamp.clone());
    typed_times.or_else(|| {
        // Offsets that are typed win over times in the file.
        run.starting_timestamps.clone().filter(|_| batches.starting_offsets.is_none())
    })
}

/// The sinks, none of which may be another's, the dead letters' included.
fn chosen_sinks(
    typed: &RunArguments,
    run: &RunOptions,
    dead_letter: Option<&DeadLetterSpec>,
) -> Result<Vec<SinkSpec>, Failure> {
    let chosen = if typed.sinks.sink.is_empty() {
        run.sinks.clone().unwrap_or_else(|| vec![SinkSpec::Console])
    } else {
        typed.sinks.sink.clone()
    };
    let refuse = |problem: String| Err(Failure::new(2, problem));
    for (index, sink) in chosen.iter().enumerate() {
        if chosen[..index].contains(sink) {
            return refuse(format!("--sink {sink} is given twice"));
        }
        if let (SinkSpec::Files(results), Some(DeadLetterSpec::Files(letters))) =
            (sink, dead_letter)
            && same_path(results, letters)
        {
            return refuse(format!(
                "results and dead letters cannot both go to {}: give each its own directory",
                results.display()
            ));
        }
    }
    Ok(chosen)
}

/// Whether two paths are one, links aside.
fn same_path(one: &Path, other: &Path) -> bool {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute(one) == absolute(other)
}

fn console_options(typed: &RunArguments, run: &RunOptions, pipeline: &Pipeline) -> ConsoleOptions {
    let default = ConsoleOptions::default();
    let of_spec = |truncate| if truncate { Truncate::TRUE } else { Truncate::Never };
    ConsoleOptions {
        num_rows: typed.sinks.num_rows.or(run.num_rows).unwrap_or(default.num_rows),
        truncate: typed.sinks.truncate.or(run.truncate.map(of_spec)).unwrap_or(default.truncate),
        vertical: typed.sinks.vertical.or(run.vertical).unwrap_or(default.vertical),
        layout: match pipeline.semantics.compat {
            Some(Compat::Spark35) => Layout::Spark35,
            Some(Compat::Spark4) | None => default.layout,
        },
        reader: default.reader,
        texts: ValueTexts {
            // Starting the job refuses an unknown zone.
            zone: Zone::parse(&pipeline.session_time_zone).unwrap_or(Zone::UTC),
            doubles: match pipeline.semantics.compat {
                Some(_) => DoubleTexts::Jdk17,
                None => DoubleTexts::Shortest,
            },
        },
    }
}

/// How the run ended and what the whole checkpoint has counted, in one line.
fn closing_line(summary: &Summary) -> String {
    let Summary { end, last, batches, totals } = summary;
    let ended = match end {
        End::Finished => "finished",
        End::Stopped { .. } | End::Waiting { .. } => "stopped",
        End::Closed => "the reader of stdout is gone; stopped",
        End::Unpublished => "stopped",
    };
    let Some(BatchId(last)) = last else { return format!("{ended} before the first batch") };
    if let End::Waiting { .. } = end {
        return format!(
            "stopped while waiting for a broker; the next start goes on after batch {last}"
        );
    }
    let mut told = vec![
        format!("{} read", counted(totals.rows_in, "record")),
        format!("{} late", grouped(totals.late)),
        format!("{} malformed{}", grouped(totals.malformed()), reasons(&totals.faults)),
        format!("{} published", counted(totals.rows_out, "row")),
    ];
    let more = [
        (totals.filtered, "left out by where"),
        (totals.nulled, "results NULL because they did not fit"),
        (totals.inexact_sums, "sums inexact"),
        (totals.lost, "offsets lost"),
    ];
    let more = more.iter().filter(|(count, _)| *count > 0);
    told.extend(more.map(|(count, what)| format!("{} {what}", grouped(*count))));
    let run = if *batches == last + 1 {
        String::new()
    } else {
        format!(" ({} in this run)", counted(*batches, "batch"))
    };
    format!("{ended} after batch {last}: {}{run}", told.join(", "))
}

/// ` (syntax 3, wrong_type 2)`, or nothing.
fn reasons(faults: &[u64; FaultReason::ALL.len()]) -> String {
    let found: Vec<String> = FaultReason::ALL
        .iter()
        .zip(faults)
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{} {}", reason.name(), grouped(*count)))
        .collect();
    if found.is_empty() { String::new() } else { format!(" ({})", found.join(", ")) }
}

/// `1,234 records`.
fn counted(count: u64, what: &str) -> String {
    let ending = match (count, what) {
        (1, _) => "",
        (_, "batch") => "es",
        _ => "s",
    };
    format!("{} {what}{ending}", grouped(count))
}

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
