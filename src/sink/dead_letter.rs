//! `--dead-letter files:DIR`: late and malformed records, one JSON line each, one file a batch.
//!
//! ```text
//! {"topic":"sales","partition":0,"offset":12,"reason":"late","payload":"{\"store\":\"A\"}"}
//! {"topic":"sales","partition":0,"offset":13,"reason":"wrong-type","column":"price"}
//! ```
//!
//! A record appears once for each of its faults. `column` and `payload` are there when the record
//! has them; a payload that is not is found in the topic by its coordinates.
//!
//! Invariant: each record exactly once, as for results: the same machinery (`batch_files`).
//! Not here: which records these are (`batch`).

use std::{
    io::{self, Write},
    path::PathBuf,
};

use crate::{
    batch::{DeadLetter, MarkerFact},
    checkpoint::Visible,
    sink::{
        Sink, SinkError,
        batch_files::{BatchFiles, Kind},
        json::write_string,
    },
    types::{BatchId, Lineage, SinkName},
};

/// Writes `batch-000000000012.jsonl` for each batch with dead letters.
#[derive(Debug)]
pub struct DeadLetterSink {
    name: SinkName,
    topic: String,
    files: BatchFiles,
}

impl DeadLetterSink {
    /// The sink `dead-letter:files:DIR` for records of `topic`. The directory need not exist;
    /// nothing is touched before [`Sink::begin`].
    #[must_use]
    pub fn new(directory: PathBuf, topic: String) -> DeadLetterSink {
        DeadLetterSink {
            name: SinkName(format!("dead-letter:files:{}", directory.display())),
            topic,
            files: BatchFiles::new(directory, Kind::DeadLetters),
        }
    }
}

impl Sink for DeadLetterSink {
    fn name(&self) -> &SinkName {
        &self.name
    }

    fn marker(&mut self) -> Result<MarkerFact, SinkError> {
        self.files.marker()
    }

    fn begin(&mut self, lineage: Lineage, newest: Option<BatchId>) -> Result<(), SinkError> {
        self.files.begin(lineage, newest)
    }

    fn publish(&mut self, batch: &Visible) -> Result<(), SinkError> {
        let publication = batch.publication();
        let letters = &publication.dead_letters;
        let count = u64::try_from(letters.len()).expect("a count of things in memory fits 64 bits");
        let topic = &self.topic;
        self.files.publish(publication.identity.batch, count, |out| {
            letters.iter().try_for_each(|letter| write_letter(topic, letter, out))
        })
    }
}

fn write_letter(topic: &str, letter: &DeadLetter, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"{\"topic\":")?;
    write_string(topic, out)?;
    write!(out, ",\"partition\":{},\"offset\":{},\"reason\":", letter.partition, letter.offset)?;
    write_string(letter.reason.name(), out)?;
    for (key, text) in [("column", &letter.column), ("payload", &letter.payload)] {
        if let Some(text) = text {
            write!(out, ",\"{key}\":")?;
            write_string(text, out)?;
        }
    }
    out.write_all(b"}\n")
}
