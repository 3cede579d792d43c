//! Counts the records of a topic as fast as the source hands them out:
//! `count_records BROKERS TOPIC [RUNS] [key=value]...`
//!
//! Prints for each run the records, the bytes, the seconds and millions of records a second, and the
//! process's resident memory. Not here: anything done with a record.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use sales_stream::{
    batch::Record,
    kafka::{ClientSettings, Trust},
    source::{
        Progress, Source,
        kafka::{KafkaSource, KafkaSourceConfig},
    },
    types::{LeaderEpoch, Position},
};

/// The allocator of the program itself.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, topic, rest @ ..] = arguments.as_slice() else {
        return Err("usage: count_records BROKERS TOPIC [RUNS] [key=value]...".into());
    };
    let runs: u32 = rest.first().map_or(Ok(1), |runs| runs.parse())?;
    let options = rest.iter().skip(1).map(|text| ClientSettings::parse_option(text));
    let options = options.collect::<Result<Vec<_>, _>>()?;
    let settings = ClientSettings::new(brokers.as_str(), options, Trust::SafeOptionsOnly)?;
    let config = KafkaSourceConfig {
        settings,
        topic: topic.clone(),
        group_id: "count".into(),
        startup_timeout: None,
        follows_new_topic: false,
        queue_bytes: KafkaSourceConfig::QUEUE_BYTES,
    };
    for _ in 0..runs {
        run(config.clone())?;
    }
    Ok(())
}

fn run(config: KafkaSourceConfig) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let mut source = KafkaSource::new(config)?;
    let partitions = source.describe()?.partitions;
    let bounds = source.bounds(&partitions)?;
    let begin = bounds.iter().map(|(partition, bounds)| {
        (*partition, Position { offset: bounds.earliest, epoch: LeaderEpoch::UNKNOWN })
    });
    source.assign(&begin.collect())?;
    let ends = bounds.iter().map(|(partition, bounds)| (*partition, bounds.latest)).collect();
    let (mut records, mut bytes, mut first) = (0_u64, 0_u64, None);
    let mut count = |record: Record<'_>| {
        first.get_or_insert_with(|| started.elapsed());
        records += 1;
        bytes += record.value.map_or(0, |value| value.len() as u64);
        Ok(())
    };
    loop {
        let progress = source.read(&ends, Duration::from_millis(100), &mut [&mut count])?;
        if let Progress::Reached(_) = progress {
            break;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let stopping = Instant::now();
    drop(source);
    let millions = f64::from(u32::try_from(records)?) / 1e6;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!(
        "{records} records, {bytes} bytes, {seconds:.3} s, {:.3} M/s, first after {:?}, closed in \
         {:?}, {peak}",
        millions / seconds,
        first.unwrap_or_default(),
        stopping.elapsed()
    );
    Ok(())
}
