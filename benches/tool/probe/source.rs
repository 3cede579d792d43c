//! Reading by the pipeline's own source, and nothing else.
//!
//! Start at [`each`].

use std::time::Duration;

use sales_stream::{
    batch::Record,
    kafka::{ClientSettings, Trust},
    source::{
        Progress, Source,
        kafka::{KafkaSource, KafkaSourceConfig},
    },
    types::{LeaderEpoch, Position},
};

use crate::Outcome;

/// Hands the value of each record of a topic to `take`, from its begin to where it ends now.
///
/// # Errors
/// What the source says.
pub fn each(brokers: &str, topic: &str, mut take: impl FnMut(&[u8]) + Send) -> Outcome<()> {
    let settings = ClientSettings::new(brokers, Vec::new(), Trust::SafeOptionsOnly)?;
    let mut source = KafkaSource::new(KafkaSourceConfig {
        settings,
        topic: topic.to_owned(),
        group_id: "bench-probe".into(),
        startup_timeout: None,
        follows_new_topic: false,
        queue_bytes: KafkaSourceConfig::QUEUE_BYTES,
    })?;
    let partitions = source.describe()?.partitions;
    let bounds = source.bounds(&partitions)?;
    let begin = bounds.iter().map(|(partition, bounds)| {
        (*partition, Position { offset: bounds.earliest, epoch: LeaderEpoch::UNKNOWN })
    });
    source.assign(&begin.collect())?;
    let ends = bounds.iter().map(|(partition, bounds)| (*partition, bounds.latest)).collect();
    let mut taker = |record: Record<'_>| {
        take(record.value.unwrap_or_default());
        Ok(())
    };
    loop {
        let progress = source.read(&ends, Duration::from_millis(100), &mut [&mut taker])?;
        if let Progress::Reached(_) = progress {
            return Ok(());
        }
    }
}
