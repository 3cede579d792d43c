//! Reading state back on two threads: one makes rows of chunks, the other takes them in.
//!
//! The two are about as much work, so that a large state is back in little more than half the time. Start at
//! [`read_beside`].
//!
//! Invariants: rows are handed out on the calling thread, in the order they were read; what ended the reading comes
//! behind the rows before it.

use std::{
    mem,
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

use crate::{
    checkpoint::{CheckpointError, RestoreGroup},
    types::{Place, Timestamp},
    window::{Accumulator, Group},
};

/// Rows that change hands together.
const BLOCK_ROWS: usize = 4096;
/// Blocks that may wait.
const BLOCKS: usize = 4;

/// Lets `read` hand its rows to `restore`, beside it.
///
/// # Errors
/// What `restore` said, or else what `read` said.
pub(super) fn read_beside(
    read: impl FnOnce(&mut RestoreGroup<'_>) -> Result<(), CheckpointError> + Send,
    restore: &mut RestoreGroup<'_>,
) -> Result<(), CheckpointError> {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(BLOCKS);
        let reader = scope.spawn(move || send(read, &sender));
        let mut restored = Ok(());
        for block in &receiver {
            restored = Block::hand_out(&block, restore);
            if restored.is_err() {
                break;
            }
        }
        // It ends at the next block where nobody takes it.
        drop(receiver);
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        restored.and_then(|()| read.unwrap_or(Ok(())))
    })
}

/// What came of the reading; `None` if nobody took its rows any more.
fn send(
    read: impl FnOnce(&mut RestoreGroup<'_>) -> Result<(), CheckpointError>,
    sender: &SyncSender<Block>,
) -> Option<Result<(), CheckpointError>> {
    let (mut block, mut is_over) = (Block::default(), false);
    let read = read(&mut |place, group, newest| {
        block.push(place, group, newest);
        if block.rows.len() < BLOCK_ROWS {
            return Ok(());
        }
        sender.send(mem::take(&mut block)).map_err(|_| {
            is_over = true;
            CheckpointError::stopped(&"nobody takes the rows any more")
        })
    });
    is_over |= sender.send(block).is_err();
    (!is_over).then_some(read)
}

/// Rows one behind the other.
#[derive(Debug, Default)]
struct Block {
    rows: Vec<BlockRow>,
    keys: Vec<u8>,
    accumulators: Vec<Accumulator>,
}

#[derive(Debug)]
struct BlockRow {
    place: Place,
    start: Timestamp,
    end: Timestamp,
    newest: bool,
    /// Where its key and its accumulators end; they begin where those of the row before it end.
    key_end: usize,
    accumulators_end: usize,
}

impl Block {
    fn push(&mut self, place: Place, group: Group<'_>, newest: bool) {
        self.keys.extend_from_slice(group.key);
        self.accumulators.extend_from_slice(group.accumulators);
        self.rows.push(BlockRow {
            place,
            start: group.start,
            end: group.end,
            newest,
            key_end: self.keys.len(),
            accumulators_end: self.accumulators.len(),
        });
    }

    fn hand_out(&self, restore: &mut RestoreGroup<'_>) -> Result<(), CheckpointError> {
        let (mut key_begin, mut accumulators_begin) = (0, 0);
        for row in &self.rows {
            let group = Group {
                start: row.start,
                end: row.end,
                key: &self.keys[key_begin..row.key_end],
                accumulators: &self.accumulators[accumulators_begin..row.accumulators_end],
            };
            (key_begin, accumulators_begin) = (row.key_end, row.accumulators_end);
            restore(row.place, group, row.newest)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> CheckpointError {
        super::super::corrupt(std::path::Path::new("there"), text)
    }

    /// Rows with these numbers, then perhaps an error.
    fn rows(
        count: i64,
        then: Option<&'static str>,
    ) -> impl FnOnce(&mut RestoreGroup<'_>) -> Result<(), CheckpointError> + Send {
        move |visit| {
            for number in 0..count {
                let (place, start) = (Place::groups(Timestamp(number / 100)), Timestamp(number));
                let key = number.to_string().repeat(usize::try_from(number % 3).unwrap());
                let accumulators = [Accumulator::Count(number), Accumulator::Count(-number)];
                let accumulators = &accumulators[..usize::try_from(number % 2 + 1).unwrap()];
                let group = Group { start, end: place.closing, key: key.as_bytes(), accumulators };
                visit(place, group, number % 5 == 0)?;
            }
            then.map_or(Ok(()), |text| Err(problem(text)))
        }
    }

    fn gathered(
        work: impl FnOnce(&mut RestoreGroup<'_>) -> Result<(), CheckpointError>,
        most: usize,
    ) -> (Vec<String>, Result<(), String>) {
        let mut seen = Vec::new();
        let result = work(&mut |place, group, newest| {
            if seen.len() == most {
                return Err(problem("it is enough"));
            }
            seen.push(format!("{place:?} {group:?} {newest}"));
            Ok(())
        });
        (seen, result.map_err(|error| error.to_string()))
    }

    #[test]
    fn rows_and_errors_come_as_if_they_were_read_on_one_thread() {
        let count = i64::try_from(3 * BLOCK_ROWS + 7).unwrap();
        for (then, most) in [
            (None, usize::MAX),
            (Some("a chunk is missing"), usize::MAX),
            (Some("a chunk is missing"), 5),
            (None, 2 * BLOCK_ROWS),
        ] {
            let alone = gathered(|visit| rows(count, then)(visit), most);
            let beside = gathered(|visit| read_beside(rows(count, then), visit), most);
            assert!(beside == alone, "then {then:?}, at most {most}: {:?}", beside.1);
        }
        let none = gathered(|visit| read_beside(rows(0, None), visit), 0);
        assert_eq!(none, (vec![], Ok(())));
    }
}
