//! `files:DIR`: the rows of each batch as one file of JSON lines.
//!
//! Invariant: DIR holds each result exactly once, whenever the process or the machine stops: see
//! `batch_files`, which does the work. Not here: the form of a line (`json`).

use std::path::PathBuf;

use crate::{
    batch::MarkerFact,
    checkpoint::Visible,
    sink::{
        Sink, SinkError,
        batch_files::{BatchFiles, Kind},
        json::RowWriter,
    },
    types::{BatchId, Lineage, SinkName},
};

/// Writes `batch-000000000012.jsonl` for each batch with rows.
#[derive(Debug)]
pub struct FileSink {
    name: SinkName,
    files: BatchFiles,
}

impl FileSink {
    /// The sink `files:DIR`. The directory need not exist; nothing is touched before
    /// [`Sink::begin`].
    #[must_use]
    pub fn new(directory: PathBuf) -> FileSink {
        FileSink {
            name: SinkName(format!("files:{}", directory.display())),
            files: BatchFiles::new(directory, Kind::Results),
        }
    }
}

impl Sink for FileSink {
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
        let rows = &publication.rows;
        self.files.publish(publication.identity.batch, rows.len(), |out| {
            let writer = RowWriter::new(rows.columns());
            let mut reader = rows.reader();
            while let Some(row) = reader.next() {
                writer.write(row, out)?;
            }
            Ok(())
        })
    }
}
