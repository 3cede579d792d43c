//! Small publications for the unit tests of those who are given them.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    batch::{BatchRecord, Counts, DeadLetter, Identity, Publication},
    checkpoint::Visible,
    spec::OutputMode,
    types::{BatchId, Column, DataType, Digest, Incarnation, Lineage, Row, Rows},
    window::Watermarks,
};

/// Columns of these names and types.
pub(crate) fn columns(columns: &[(&str, DataType)]) -> Arc<[Column]> {
    columns
        .iter()
        .map(|(name, data_type)| Column { name: (*name).to_owned(), data_type: *data_type })
        .collect()
}

/// A batch with these rows.
pub(crate) fn publication(batch: u64, columns: Arc<[Column]>, rows: &[Row<'_, '_>]) -> Publication {
    let mut table = Rows::new(columns);
    rows.iter().for_each(|row| table.push(row));
    let batch = BatchId(batch);
    let incarnation = Incarnation(1);
    Publication {
        identity: Identity { lineage: Lineage(1), incarnation, batch, digest: Digest::ZERO },
        record: BatchRecord {
            batch,
            incarnation,
            clock_ms: 0,
            took_ms: 0,
            ranges: BTreeMap::new(),
            watermarks: Watermarks::FIRST,
            next_watermarks: Watermarks::FIRST,
            output_mode: OutputMode::Append,
            counts: Counts { rows_out: table.len(), ..Counts::default() },
            totals: Counts::default(),
            operators: Vec::new(),
            event_times: None,
            rows_digest: Digest::ZERO,
            previous: Digest::ZERO,
            digest: Digest::ZERO,
        },
        rows: table,
        dead_letters: Arc::new([]),
    }
}

/// A visible batch with these rows.
pub(super) fn visible(batch: u64, columns: Arc<[Column]>, rows: &[Row<'_, '_>]) -> Visible {
    Visible::for_test(publication(batch, columns, rows))
}

/// A visible batch without rows and with these dead letters.
pub(super) fn visible_letters(batch: u64, letters: Vec<DeadLetter>) -> Visible {
    let mut publication = publication(batch, columns(&[]), &[]);
    publication.record.counts.dead_letters = letters.len() as u64;
    publication.dead_letters = letters.into();
    Visible::for_test(publication)
}
