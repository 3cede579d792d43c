//! `--dead-letter files:DIR`: late and malformed records, one JSON line each, one file a batch.
//!
//! ```text
//! {"topic":"sales","partition":0,"offset":12,"reason":"late","payload":"{\"store\":\"A\"}"}
//! {"topic":"sales","partition":0,"offset":13,"reason":"wrong_type","column":"price"}
//! ```
//!
//! A record appears once, under its fault if it has one and as late otherwise. `column` and `payload`
//! are there when the record has them; for a payload over 1 MiB, or one that is no UTF-8,
//! `"payload_omitted":"1234567 bytes"` stands instead: it is found in the topic by its coordinates.
//!
//! Invariant: each record exactly once, as for results: the same machinery (`batch_files`).
//! Not here: which records these are (`batch`).

use std::{
    io::{self, Write},
    path::PathBuf,
};

use crate::{
    batch::{DeadLetter, MarkerFact, Payload},
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
    if let Some(column) = &letter.column {
        out.write_all(b",\"column\":")?;
        write_string(column, out)?;
    }
    match &letter.payload {
        None => {}
        Some(Payload::Text(text)) => {
            out.write_all(b",\"payload\":")?;
            write_string(text, out)?;
        }
        Some(Payload::Omitted(bytes)) => write!(out, ",\"payload_omitted\":\"{bytes} bytes\"")?,
    }
    out.write_all(b"}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::DeadLetterReason,
        sink::{files::FileSink, fixtures},
        types::{FaultReason, Offset, Partition},
    };

    fn letters() -> Vec<DeadLetter> {
        let late = DeadLetter {
            partition: Partition(0),
            offset: Offset(12),
            reason: DeadLetterReason::Late,
            column: None,
            payload: Some(Payload::Text("{\"store\":\"A\"}\n".to_owned())),
        };
        let fault = DeadLetter {
            partition: Partition(1),
            offset: Offset(i64::MAX),
            reason: DeadLetterReason::Fault(FaultReason::WrongType),
            column: Some("price".to_owned()),
            payload: None,
        };
        let large = DeadLetter {
            partition: Partition(1),
            offset: Offset(0),
            reason: DeadLetterReason::Late,
            column: None,
            payload: Some(Payload::Omitted(1_234_567)),
        };
        vec![late, fault, large]
    }

    #[test]
    fn each_dead_letter_is_a_line_with_what_it_has() {
        let root = tempfile::tempdir().unwrap();
        let mut sink = DeadLetterSink::new(root.path().to_owned(), "sales".to_owned());
        assert_eq!(sink.name().0, format!("dead-letter:files:{}", root.path().display()));
        sink.begin(Lineage(1), None).unwrap();
        sink.publish(&fixtures::visible_letters(3, Vec::new())).unwrap();
        sink.publish(&fixtures::visible_letters(4, letters())).unwrap();
        sink.publish(&fixtures::visible_letters(4, letters())).unwrap();
        assert!(!root.path().join("batch-000000000003.jsonl").exists());
        let text = std::fs::read_to_string(root.path().join("batch-000000000004.jsonl")).unwrap();
        let wrong_type = FaultReason::WrongType.name();
        let expected = [
            r#"{"topic":"sales","partition":0,"offset":12,"reason":"late","#.to_owned(),
            r#""payload":"{\"store\":\"A\"}\n"}"#.to_owned() + "\n",
            r#"{"topic":"sales","partition":1,"offset":9223372036854775807,"#.to_owned(),
            format!("\"reason\":\"{wrong_type}\",\"column\":\"price\"}}\n"),
            r#"{"topic":"sales","partition":1,"offset":0,"reason":"late","#.to_owned(),
            r#""payload_omitted":"1234567 bytes"}"#.to_owned() + "\n",
        ];
        assert_eq!(text, expected.concat());
    }

    #[test]
    fn results_and_dead_letters_do_not_share_a_directory() {
        let root = tempfile::tempdir().unwrap();
        let mut results = FileSink::new(root.path().to_owned());
        results.begin(Lineage(1), None).unwrap();
        let new = || DeadLetterSink::new(root.path().to_owned(), "sales".to_owned());
        assert!(matches!(new().marker(), Err(SinkError::Foreign(_))), "while in use");
        drop(results);
        assert!(matches!(new().marker(), Err(SinkError::Foreign(_))), "and later");
    }
}
