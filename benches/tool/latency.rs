//! Latency: from a record acknowledged by the broker to its result published.
//!
//! A producer of its own sends sales at a fixed rate and notes when the broker's acknowledgement of each came,
//! with the partition and offset it got. Meanwhile the command runs, and its lines of progress are read as they
//! come: a line is written behind the last step of its batch, and says where the batch ended in each partition.
//! The time of a record is that from its acknowledgement to the first line whose end lies behind it.
//!
//! Invariants: what is measured is never less than what a reader of the results sees, since a line of progress
//! follows durability, publishing and the sink's mark; every acknowledged record behind the warm-up is counted, and
//! one whose result never came is a failure; a rate that was not kept is a failure; nothing is averaged or
//! sampled, percentiles are those of all records. Event time passes as the clock does.
//!
//! Start at [`Latency::run`]. Not here: whether the results were right (`check`).

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{ExitCode, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use clap::Args;
use rdkafka::{
    ClientConfig, ClientContext, Message,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseRecord, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer},
};
use serde::{Deserialize, Serialize};
use tokio::{
    process::{Child, Command},
    sync::mpsc,
};

use crate::{
    Outcome,
    measure::{Group, forward, usage_of_children},
    places::Places,
    workload::Sales,
};

/// The producer sleeps no shorter than this: above 1,000 records a second they are sent in bursts.
const TICK: Duration = Duration::from_millis(1);
/// How long the command may take to end once it is asked to.
const ENDING: Duration = Duration::from_secs(30);
/// The part of its rate that a producer has to reach.
const KEPT: f64 = 0.99;

/// What to send, what to run, what to write down.
#[derive(Args)]
pub struct Latency {
    /// Kafka's brokers
    #[arg(long)]
    brokers: String,
    /// The topic, which must be there and empty, and which the command reads from its begin
    #[arg(long)]
    topic: String,
    /// Records a second
    #[arg(long)]
    rate: u32,
    /// Seconds that count
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Seconds before that, which do not
    #[arg(long, default_value_t = 10)]
    warm_up: u32,
    /// Number of stores
    #[arg(long, default_value_t = 100)]
    stores: u32,
    /// Seed of everything random
    #[arg(long, default_value_t = 42)]
    seed: u32,
    /// The file for the figures, one JSON object
    #[arg(long)]
    out: PathBuf,
    /// The file for what the command prints, but for its progress
    #[arg(long)]
    log: PathBuf,
    /// Fail if the last result is not out so many seconds after the last record
    #[arg(long, default_value_t = 60)]
    timeout: u64,
    /// The command and its arguments; it writes lines of progress to stderr or stdout
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(Serialize)]
struct Figures {
    rate: u32,
    seconds: u32,
    warm_up_s: u32,
    /// Records that count.
    count: usize,
    /// Batches of the whole run.
    batches: usize,
    /// From the broker's acknowledgement to the line of progress.
    acknowledged: Percentiles,
    /// From the moment the record was to be sent, which also holds what producer and broker took.
    due: Percentiles,
    /// What the parts of a batch took, by its own progress: where the time goes, in whole milliseconds.
    parts: BTreeMap<String, Percentiles>,
    /// Of the command, over the whole run.
    user_s: f64,
    system_s: f64,
    command: String,
}

/// Of all records, by nearest rank.
#[derive(Deserialize, Serialize, Debug, PartialEq)]
pub struct Percentiles {
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

/// A record that the broker has acknowledged.
#[derive(Clone, Copy, Debug)]
struct Acknowledgement {
    offset: i64,
    /// Its place among all that were sent.
    index: usize,
    at: Instant,
}

/// A batch that was told of: when, and where it ended in a partition.
#[derive(Clone, Copy, Debug)]
struct Publication {
    end: i64,
    at: Instant,
}

type ByPartition<T> = BTreeMap<i32, Vec<T>>;

/// What was sent.
struct Sent {
    begin: Instant,
    acknowledged: ByPartition<Acknowledgement>,
}

/// What of a line of progress is needed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProgressLine {
    sources: Vec<ProgressSource>,
    duration_ms: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProgressSource {
    end_offset: BTreeMap<String, BTreeMap<String, i64>>,
}

impl Latency {
    pub fn run(&self, places: &Places) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let measured =
            runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(self.measure(places)));
        match measured {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(130),
            Err(error) => {
                let error = error.to_string();
                eprintln!(
                    "bench: latency of {}: {}",
                    places.command(&self.command),
                    places.short(&error)
                );
                ExitCode::FAILURE
            }
        }
    }

    /// False where it was interrupted.
    async fn measure(&self, places: &Places) -> Outcome<bool> {
        let (sender, lines) = mpsc::unbounded_channel();
        let mut child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let group = Group::of(&child)?;
        forward(child.stdout.take().ok_or("no stdout")?, sender.clone());
        forward(child.stderr.take().ok_or("no stderr")?, sender);
        let mut watch = Watch {
            lines,
            log: File::create(&self.log)?,
            places,
            published: BTreeMap::new(),
            parts: BTreeMap::new(),
            batches: 0,
        };
        let Some(sent) = self.watch(&mut child, &mut watch).await? else { return Ok(false) };
        group.terminate();
        let ended = tokio::time::timeout(ENDING, child.wait()).await;
        let status = ended.map_err(|_| format!("it did not end within {ENDING:?}"))??;
        if !status.success() {
            return Err(format!(
                "it ended with {status} when asked to; see {}",
                self.log.display()
            )
            .into());
        }
        let figures = self.figures(&sent, &watch, places)?;
        fs::write(&self.out, serde_json::to_string(&figures)? + "\n")?;
        Ok(true)
    }

    /// Sends everything and watches until its results are out; `None` where it was interrupted.
    async fn watch(&self, child: &mut Child, watch: &mut Watch<'_>) -> Outcome<Option<Sent>> {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let (sender, mut sending) = tokio::sync::oneshot::channel();
        let job = Sending::new(self)?;
        std::thread::spawn(move || {
            // Nobody waits for it where the command has failed.
            let _ = sender.send(job.send().map_err(|error| error.to_string()));
        });
        let mut sent: Option<(Sent, Instant)> = None;
        loop {
            if let Some((whole, _)) = &sent
                && watch.has_all(&whole.acknowledged)
            {
                return Ok(sent.map(|(sent, _)| sent));
            }
            let patience = Duration::from_secs(self.timeout);
            let deadline = sent.as_ref().map(|(_, since)| *since + patience);
            tokio::select! {
                status = child.wait() => {
                    let log = self.log.display();
                    return Err(format!("it ended by itself with {}; see {log}", status?).into());
                }
                Some((line, at)) = watch.lines.recv() => watch.note(&line, at)?,
                outcome = &mut sending, if sent.is_none() => sent = Some((outcome??, Instant::now())),
                () = until(deadline) => return Err(format!(
                    "not all results were out {patience:?} after the last record: {}", watch.ends()
                ).into()),
                _ = tokio::signal::ctrl_c() => return Ok(None),
                _ = terminate.recv() => return Ok(None),
            }
        }
    }

    fn figures(&self, sent: &Sent, watch: &Watch<'_>, places: &Places) -> Outcome<Figures> {
        let first = u64::from(self.rate) * u64::from(self.warm_up);
        let (mut acknowledged, mut due) = (Vec::new(), Vec::new());
        for (partition, records) in &sent.acknowledged {
            let published = watch.published.get(partition).ok_or("a partition without results")?;
            for (record, at) in published_at(records, published)? {
                if record.index as u64 >= first {
                    acknowledged.push(at.saturating_duration_since(record.at));
                    let due_at = sent.begin + due_after(record.index, self.rate);
                    due.push(at.saturating_duration_since(due_at));
                }
            }
        }
        let usage = usage_of_children()?;
        Ok(Figures {
            rate: self.rate,
            seconds: self.seconds,
            warm_up_s: self.warm_up,
            count: acknowledged.len(),
            batches: watch.batches,
            acknowledged: Percentiles::of(acknowledged).ok_or("no record counts")?,
            due: Percentiles::of(due).ok_or("no record counts")?,
            parts: watch.parts(),
            user_s: usage.user_s,
            system_s: usage.system_s,
            command: places.command(&self.command),
        })
    }
}

/// Never, where there is no deadline.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// When record `index` is to be sent, from the first.
fn due_after(index: usize, rate: u32) -> Duration {
    Duration::from_nanos((index as u128 * 1_000_000_000 / u128::from(rate)) as u64)
}

/// Each record with the time of the first batch that holds it. Both are by offset.
fn published_at<'a>(
    records: &'a [Acknowledgement],
    published: &'a [Publication],
) -> Outcome<Vec<(Acknowledgement, Instant)>> {
    let mut batches = published.iter().peekable();
    let batch_of = |record: &'a Acknowledgement| {
        while batches.next_if(|batch| batch.end <= record.offset).is_some() {}
        let batch = batches.peek();
        let batch = batch.ok_or_else(|| format!("offset {} was not published", record.offset))?;
        Ok((*record, batch.at))
    };
    records.iter().map(batch_of).collect()
}

impl Percentiles {
    fn of(mut times: Vec<Duration>) -> Option<Percentiles> {
        times.sort_unstable();
        let last = times.last()?.as_secs_f64() * 1000.0;
        let rank = |thousandths: usize| {
            let rank = (times.len() * thousandths).div_ceil(1000).max(1);
            times[rank - 1].as_secs_f64() * 1000.0
        };
        Some(Percentiles {
            p50_ms: rank(500),
            p90_ms: rank(900),
            p99_ms: rank(990),
            p999_ms: rank(999),
            max_ms: last,
        })
    }
}

/// What came from the command.
struct Watch<'a> {
    lines: mpsc::UnboundedReceiver<(String, Instant)>,
    log: File,
    places: &'a Places,
    published: ByPartition<Publication>,
    /// What each part of each batch took.
    parts: BTreeMap<String, Vec<Duration>>,
    batches: usize,
}

impl Watch<'_> {
    fn note(&mut self, line: &str, at: Instant) -> Outcome<()> {
        if !line.starts_with('{') {
            return Ok(writeln!(self.log, "{}", self.places.short(line))?);
        }
        let progress: ProgressLine = serde_json::from_str(line)?;
        self.batches += 1;
        for (part, took_ms) in progress.duration_ms {
            self.parts.entry(part).or_default().push(Duration::from_millis(took_ms));
        }
        let ends = progress.sources.iter().flat_map(|source| source.end_offset.values().flatten());
        for (partition, end) in ends {
            let published = self.published.entry(partition.parse()?).or_default();
            if published.last().is_none_or(|last| last.end < *end) {
                published.push(Publication { end: *end, at });
            }
        }
        Ok(())
    }

    fn parts(&self) -> BTreeMap<String, Percentiles> {
        let of = |(part, times): (&String, &Vec<Duration>)| {
            Some((part.clone(), Percentiles::of(times.clone())?))
        };
        self.parts.iter().filter_map(of).collect()
    }

    fn end_of(&self, partition: i32) -> i64 {
        let last = self.published.get(&partition).and_then(|published| published.last());
        last.map_or(0, |last| last.end)
    }

    fn has_all(&self, acknowledged: &ByPartition<Acknowledgement>) -> bool {
        acknowledged.iter().all(|(partition, records)| {
            records.last().is_none_or(|last| last.offset < self.end_of(*partition))
        })
    }

    fn ends(&self) -> String {
        let ends = self.published.keys().map(|it| format!("{it} up to {}", self.end_of(*it)));
        format!("published were {}", ends.collect::<Vec<_>>().join(", "))
    }
}

/// What the producer's client tells: records by partition, or what went wrong.
#[derive(Default)]
struct Acknowledgements(Mutex<(ByPartition<Acknowledgement>, Option<KafkaError>)>);

#[derive(Clone)]
struct Context(Arc<Acknowledgements>);

impl ClientContext for Context {}

impl ProducerContext<NoCustomPartitioner> for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, delivered: &DeliveryResult<'_>, index: usize) {
        let at = Instant::now();
        let mut noted = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        match delivered {
            Ok(message) => noted.0.entry(message.partition()).or_default().push(Acknowledgement {
                offset: message.offset(),
                index,
                at,
            }),
            Err((error, _)) => noted.1 = Some(error.clone()),
        }
    }
}

/// The producer's work.
struct Sending {
    producer: ThreadedProducer<Context>,
    noted: Arc<Acknowledgements>,
    topic: String,
    rate: u32,
    sales: Sales,
    count: u32,
}

impl Sending {
    fn new(latency: &Latency) -> Outcome<Sending> {
        let noted = Arc::new(Acknowledgements::default());
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &latency.brokers)
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "1")
            .set("queue.buffering.max.messages", "1000000")
            .create_with_context(Context(noted.clone()))?;
        let seconds = latency.warm_up + latency.seconds;
        let count = latency.rate.checked_mul(seconds).ok_or("more records than 2^32")?;
        Ok(Sending {
            producer,
            noted,
            topic: latency.topic.clone(),
            rate: latency.rate,
            sales: Sales::new(latency.seed, latency.stores, count, seconds),
            count,
        })
    }

    /// Sends every record when it is due, and waits for all acknowledgements.
    fn send(mut self) -> Outcome<Sent> {
        let begin = Instant::now();
        for index in 0..self.count {
            self.sales.next(index);
            let place = index as usize;
            let early =
                (begin + due_after(place, self.rate)).saturating_duration_since(Instant::now());
            if !early.is_zero() {
                std::thread::sleep(early.max(TICK));
            }
            self.put(place)?;
        }
        let took = begin.elapsed().as_secs_f64();
        self.producer.flush(Duration::from_secs(60))?;
        let reached = f64::from(self.count) / took;
        if reached < f64::from(self.rate) * KEPT {
            let wanted = self.rate;
            return Err(format!(
                "{wanted} records a second were wanted, and the producer reached {reached:.0}"
            )
            .into());
        }
        let mut noted = self.noted.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = noted.1.take() {
            return Err(error.into());
        }
        let mut acknowledged = std::mem::take(&mut noted.0);
        let known: usize = acknowledged.values().map(Vec::len).sum();
        if known != self.count as usize {
            return Err(format!("{known} of {} records were acknowledged", self.count).into());
        }
        for records in acknowledged.values_mut() {
            records.sort_unstable_by_key(|record| record.offset);
        }
        Ok(Sent { begin, acknowledged })
    }

    fn put(&self, index: usize) -> Outcome<()> {
        loop {
            let record = BaseRecord::with_opaque_to(&self.topic, index)
                .key(self.sales.store())
                .payload(self.sales.value());
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    std::thread::sleep(TICK);
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Acknowledgement, Percentiles, Publication, due_after, published_at};

    #[test]
    fn percentiles_are_by_nearest_rank_and_of_all_records() {
        let times = |count: u64| (1..=count).rev().map(Duration::from_millis).collect();
        let of = |count| Percentiles::of(times(count)).unwrap();
        let expected = |p50_ms, p90_ms, p99_ms, p999_ms, max_ms| Percentiles {
            p50_ms,
            p90_ms,
            p99_ms,
            p999_ms,
            max_ms,
        };
        assert_eq!(of(1), expected(1.0, 1.0, 1.0, 1.0, 1.0));
        assert_eq!(of(10), expected(5.0, 9.0, 10.0, 10.0, 10.0));
        assert_eq!(of(1000), expected(500.0, 900.0, 990.0, 999.0, 1000.0));
        assert_eq!(Percentiles::of(Vec::new()), None);
    }

    #[test]
    fn a_record_is_out_with_the_first_batch_that_ends_behind_it() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let records: Vec<_> = (0..5)
            .map(|offset| Acknowledgement { offset, index: 0, at: at(offset.unsigned_abs()) })
            .collect();
        let published =
            [(2, 10), (4, 20), (5, 30)].map(|(end, ms)| Publication { end, at: at(ms) });
        let out: Vec<_> = published_at(&records, &published)
            .unwrap()
            .iter()
            .map(|(record, out)| (record.offset, (*out - begin).as_millis()))
            .collect();
        assert_eq!(out, [(0, 10), (1, 10), (2, 20), (3, 20), (4, 30)]);
        let missing = published_at(&records, &published[..2]).unwrap_err().to_string();
        assert_eq!(missing, "offset 4 was not published");
    }

    #[test]
    fn records_are_due_evenly() {
        assert_eq!(due_after(0, 1000), Duration::ZERO);
        assert_eq!(due_after(1, 1000), Duration::from_millis(1));
        assert_eq!(due_after(100_000, 100_000), Duration::from_secs(1));
        assert_eq!(due_after(1, 3), Duration::from_nanos(333_333_333));
    }
}
