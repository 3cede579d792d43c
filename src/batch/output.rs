//! What an open batch has to publish, so far: rows that are not state, and dead letters; and, while it is
//! closed, rows that are.
//!
//! All can be more than memory holds, so that full chunks can be taken away while the batch is still
//! read or closed. The digest goes on over what was taken.
//!
//! Invariants: chunks leave in the order their rows and letters came, but for letters of other lanes, which come
//! behind; where they are cut changes no digest.
//!
//! Not here: where chunks go (`checkpoint`), when they are taken (`engine`).

use std::{mem, sync::Arc};

use crate::{
    batch::{DeadLetter, OutputChunk},
    types::{Column, Digest, Rows},
    window::{ResultsError, Spill},
};

/// The output of an open batch.
#[derive(Debug)]
pub(super) struct Output {
    chunk_bytes: usize,
    rows: Rows,
    hasher: RowsHasher,
    rows_taken: u64,
    letters: Vec<DeadLetter>,
    letter_bytes: usize,
    full_letters: Vec<Vec<DeadLetter>>,
    letter_count: u64,
}

/// The output of a batch that was read to its end, and what is left of it.
pub(super) struct Closed {
    pub(super) row_count: u64,
    pub(super) rows_digest: Digest,
    pub(super) rows: Rows,
    pub(super) letter_count: u64,
    pub(super) letters: Vec<DeadLetter>,
}

impl Output {
    pub(super) fn new(columns: Arc<[Column]>, chunk_bytes: usize) -> Output {
        Output {
            chunk_bytes,
            hasher: RowsHasher::new(&columns),
            rows: Rows::with_chunks_of(columns, chunk_bytes),
            rows_taken: 0,
            letters: Vec::new(),
            letter_bytes: 0,
            full_letters: Vec::new(),
            letter_count: 0,
        }
    }

    pub(super) fn rows(&mut self) -> &mut Rows {
        &mut self.rows
    }

    pub(super) fn push_letter(&mut self, letter: DeadLetter) {
        let bytes = letter.bytes();
        if self.letter_bytes + bytes > self.chunk_bytes && !self.letters.is_empty() {
            self.full_letters.push(mem::take(&mut self.letters));
            self.letter_bytes = 0;
        }
        self.letter_bytes += bytes;
        self.letter_count += 1;
        self.letters.push(letter);
    }

    /// Adds what another lane has left, behind its own: letters alone, for rows are in an order of their own.
    pub(super) fn absorb(&mut self, other: Output) {
        assert_eq!((other.rows_taken, other.rows.len()), (0, 0), "lanes have no rows");
        let Output { letters, full_letters, letter_count, .. } = other;
        let letters: Vec<_> = full_letters.into_iter().flatten().chain(letters).collect();
        // The others were taken away.
        self.letter_count += letter_count - letters.len() as u64;
        letters.into_iter().for_each(|letter| self.push_letter(letter));
    }

    /// About how many bytes of memory it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        let rows: usize = self.rows.chunks().iter().map(Vec::capacity).sum();
        let full = self.full_letters.iter().flatten().map(DeadLetter::bytes);
        rows + self.letter_bytes + full.sum::<usize>()
    }

    /// Takes away what nothing will be added to any more.
    pub(super) fn take_full(&mut self) -> Vec<OutputChunk> {
        let before = self.rows.len();
        let rows = self.rows.take_full();
        self.rows_taken += before - self.rows.len();
        rows.iter().for_each(|chunk| self.hasher.update(chunk));
        let letters = mem::take(&mut self.full_letters).into_iter().map(OutputChunk::DeadLetters);
        rows.into_iter().map(OutputChunk::Rows).chain(letters).collect()
    }

    pub(super) fn close(mut self) -> Closed {
        self.rows.chunks().iter().for_each(|chunk| self.hasher.update(chunk));
        let letters = self.full_letters.into_iter().flatten().chain(self.letters);
        Closed {
            row_count: self.rows_taken + self.rows.len(),
            rows_digest: self.hasher.digest(),
            rows: self.rows,
            letter_count: self.letter_count,
            letters: letters.collect(),
        }
    }
}

/// Rows that follow from state, while they are computed: more than a bound of them go ahead, and then the
/// batch's rows are stored as those are that are not state.
pub(super) struct Spilling<'a> {
    bound_bytes: usize,
    chunk_bytes: usize,
    hasher: RowsHasher,
    taken: u64,
    is_spilling: bool,
    ahead: Option<&'a mut (dyn TakesOutput + 'a)>,
}

/// Takes output of a batch that is being closed, to be kept elsewhere than in memory.
pub trait TakesOutput {
    /// Takes the next chunk.
    ///
    /// # Errors
    /// [`ResultsError::Beyond`] when it cannot be kept; whoever lent this knows why.
    fn take(&mut self, chunk: OutputChunk) -> Result<(), ResultsError>;
}

/// The rows that are left, and what there were in all.
pub(super) struct Spilled {
    pub(super) rows: Rows,
    pub(super) row_count: u64,
    pub(super) rows_digest: Digest,
    /// Whether some of them went ahead, or all must be stored.
    pub(super) has_spilled: bool,
}

impl<'a> Spilling<'a> {
    pub(super) fn new(
        columns: &[Column],
        (bound_bytes, chunk_bytes): (usize, usize),
        ahead: Option<&'a mut (dyn TakesOutput + 'a)>,
    ) -> Spilling<'a> {
        let hasher = RowsHasher::new(columns);
        Spilling { bound_bytes, chunk_bytes, hasher, taken: 0, is_spilling: false, ahead }
    }

    pub(super) fn close(mut self, rows: Rows) -> Spilled {
        rows.chunks().iter().for_each(|chunk| self.hasher.update(chunk));
        Spilled {
            row_count: self.taken + rows.len(),
            rows_digest: self.hasher.digest(),
            has_spilled: self.is_spilling,
            rows,
        }
    }
}

impl Spill for Spilling<'_> {
    fn look(&mut self, rows: &mut Rows) -> Result<(), ResultsError> {
        let Some(ahead) = &mut self.ahead else { return Ok(()) };
        let full = rows.chunks().len().saturating_sub(1);
        if !self.is_spilling && full.saturating_mul(self.chunk_bytes) <= self.bound_bytes {
            return Ok(());
        }
        self.is_spilling = true;
        let before = rows.len();
        let chunks = rows.take_full();
        self.taken += before - rows.len();
        for chunk in chunks {
            self.hasher.update(&chunk);
            ahead.take(OutputChunk::Rows(chunk))?;
        }
        Ok(())
    }

    fn store(&mut self) {
        self.is_spilling = true;
    }
}

/// Computes the digest of rows: their columns and their values, in order, chunk by chunk.
#[derive(Debug)]
pub(crate) struct RowsHasher(blake3::Hasher);

impl RowsHasher {
    pub(crate) fn new(columns: &[Column]) -> RowsHasher {
        let mut hasher = blake3::Hasher::new_derive_key("sales-stream result rows 1");
        for column in columns {
            hasher.update(format!("{}\0{}\0", column.name, column.data_type).as_bytes());
        }
        RowsHasher(hasher)
    }

    /// Takes in the next encoded rows.
    pub(crate) fn update(&mut self, chunk: &[u8]) {
        self.0.update(chunk);
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }

    /// The digest of a table that is here.
    pub(crate) fn digest_of(rows: &Rows) -> Digest {
        let mut hasher = RowsHasher::new(rows.columns());
        rows.chunks().iter().for_each(|chunk| hasher.update(chunk));
        hasher.digest()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        batch::{DeadLetterReason, Payload},
        types::{DataType, Offset, Partition, Value},
    };

    fn columns() -> Arc<[Column]> {
        [Column { name: "id".to_owned(), data_type: DataType::String }].into()
    }

    fn letter(text: &str) -> DeadLetter {
        DeadLetter {
            partition: Partition(0),
            offset: Offset(1),
            reason: DeadLetterReason::Late,
            column: None,
            payload: Some(Payload::Text(text.to_owned())),
        }
    }

    /// It is part of a batch's link, and of what a sink was given.
    #[test]
    fn the_digest_of_rows_in_format_1_never_changes() {
        let total = DataType::Decimal { precision: 18, scale: 2 };
        let columns = [("id", DataType::String), ("total", total)]
            .map(|(name, data_type)| Column { name: name.to_owned(), data_type });
        let mut rows = Rows::new(columns.into());
        rows.push(&[Value::String("a"), Value::Null]);
        rows.push(&[Value::Null, Value::Null]);
        assert_eq!(
            RowsHasher::digest_of(&rows).to_string(),
            "b04c5f1eb346101c640a56e23afc4fd7939a262ad1cc092b710f2857e4979054"
        );
    }

    proptest! {
        /// Whatever is taken away and whenever: the digest, the counts and everything together are
        /// those of output that stayed.
        #[test]
        fn what_is_taken_and_what_is_left_are_the_whole(
            steps in prop::collection::vec((0usize..60, any::<bool>()), 0..60),
            chunk_bytes in 1usize..300,
        ) {
            let mut output = Output::new(columns(), chunk_bytes);
            let mut whole = Rows::new(columns());
            let (mut bytes, mut taken) = (Vec::new(), Vec::new());
            for (length, take) in &steps {
                let text = "x".repeat(*length);
                output.rows().push(&[Value::String(&text)]);
                whole.push(&[Value::String(&text)]);
                output.push_letter(letter(&text));
                if *take {
                    for chunk in output.take_full() {
                        match chunk {
                            OutputChunk::Rows(rows) => bytes.push(rows),
                            OutputChunk::DeadLetters(letters) => taken.extend(letters),
                        }
                    }
                }
            }
            let closed = output.close();
            prop_assert_eq!(closed.rows_digest, RowsHasher::digest_of(&whole));
            prop_assert_eq!((closed.row_count, closed.letter_count), (whole.len(), whole.len()));
            let mut rows = Rows::from_chunks(columns(), bytes).expect("they were rows");
            rows.append(closed.rows);
            prop_assert_eq!(rows, whole);
            taken.extend(closed.letters);
            let expected: Vec<_> =
                steps.iter().map(|(length, _)| letter(&"x".repeat(*length))).collect();
            prop_assert_eq!(taken, expected);
        }
    }
}
