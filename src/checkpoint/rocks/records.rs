//! The records that RocksDB's write-ahead logs and MANIFEST are made of, read without RocksDB.
//!
//! Both are checksummed records in blocks of 32 KiB. RocksDB says of a damaged one only that a checksum
//! is wrong, so that the file and the byte are found here; and of one damaged in a certain way it says
//! nothing at all: behind the first record of a file, a record whose type is one of a recycled log's
//! makes its reader turn in an endless loop. No log of ours is recycled, so [`refuse_endless`] looks for
//! such a type before every opening.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use super::{database_path, directory::storage};
use crate::checkpoint::{CheckpointError, ledger::corrupt};

/// Records never cross the end of a block of this many bytes.
const BLOCK_BYTES: usize = 32 << 10;
/// Checksum, length and type of a record.
const HEADER_BYTES: usize = 4 + 2 + 1;
/// Types of records in recycled logs.
const RECYCLED_TYPES: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// How the records of a file end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a whole record, or the file is empty.
    Whole,
    /// The record at this byte is not all there.
    CutShort { at: u64, bytes: u64 },
    /// The record at this byte is not what was written.
    Damaged { at: u64, bytes: u64 },
}

/// What was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Records {
    /// How the records end that can be trusted.
    pub end: End,
    /// Where a record is whose type would keep RocksDB busy for ever.
    pub endless: Option<u64>,
}

/// Refuses a database whose logs or MANIFEST RocksDB would never finish reading.
pub(super) fn refuse_endless(directory: &Path) -> Result<(), CheckpointError> {
    let failed = |error: io::Error| storage(directory, "reading the database's files", &error);
    for name in names(directory).map_err(failed)? {
        if !name.ends_with(".log") && !name.starts_with("MANIFEST-") {
            continue;
        }
        let records = match read(directory, &name) {
            // A live process removes files.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read.map_err(failed)?,
        };
        if let Some(at) = records.endless {
            return Err(corrupt(
                directory,
                format!(
                    "db/{name} is damaged: the record at byte {at} is of a kind that is never \
                     written"
                ),
            ));
        }
    }
    Ok(())
}

/// The files of the database, sorted; none when there is no database.
pub(super) fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(database_path(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Reads the records of a file of the database.
pub(super) fn read(directory: &Path, name: &str) -> io::Result<Records> {
    let file = File::open(database_path(directory).join(name))?;
    let total = file.metadata()?.len();
    read_records(file, total)
}

/// Reads `total` bytes; of what is behind the first damage only the types count, as for RocksDB,
/// which goes on with the next block.
fn read_records(mut file: impl Read, total: u64) -> io::Result<Records> {
    let mut records = Records { end: End::Whole, endless: None };
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut start = 0;
    while start < total && records.endless.is_none() {
        block.clear();
        let wanted = (total - start).min(BLOCK_BYTES as u64);
        let got = file.by_ref().take(wanted).read_to_end(&mut block)? as u64;
        if got < wanted {
            // Cut while it was read.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let is_last = start + got == total;
        let (wrong, endless) = read_block(&block, is_last);
        records.endless = endless.map(|at| start + at as u64);
        if let Some((at, is_cut_short)) = wrong
            && records.end == End::Whole
        {
            let at = start + at as u64;
            let bytes = total - at;
            records.end =
                if is_cut_short { End::CutShort { at, bytes } } else { End::Damaged { at, bytes } };
        }
        start += got;
    }
    Ok(records)
}

/// Where the first record that is not right begins and whether it only lacks its end, and where one of
/// a recycled type does.
fn read_block(block: &[u8], is_last: bool) -> (Option<(usize, bool)>, Option<usize>) {
    let mut at = 0;
    while at < block.len() {
        let rest = &block[at..];
        let Some(header) = rest.first_chunk::<HEADER_BYTES>() else {
            // The end of a full block is filled up.
            let cut_short = is_last && block.len() < BLOCK_BYTES;
            return (cut_short.then_some((at, true)), None);
        };
        let record_type = header[HEADER_BYTES - 1];
        if RECYCLED_TYPES.contains(&record_type) {
            return (Some((at, false)), Some(at));
        }
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        // In the last block nobody can tell a wrong length from a write that was interrupted.
        let Some(record) = rest.get(..HEADER_BYTES + length) else {
            return (Some((at, is_last)), None);
        };
        if record_type == 0 && length == 0 {
            return (Some((at, is_last && rest.iter().all(|byte| *byte == 0))), None);
        }
        // The type is part of what is checked.
        let checksum = masked(crc32c::crc32c(&record[HEADER_BYTES - 1..]));
        if checksum.to_le_bytes() != header[..4] {
            return (Some((at, false)), None);
        }
        at += record.len();
    }
    (None, None)
}

/// A checksum as RocksDB stores it, so that a checksum of checksums stays one.
fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(record_type: u8, content: &[u8]) -> Vec<u8> {
        let mut checked = vec![record_type];
        checked.extend_from_slice(content);
        let mut record = masked(crc32c::crc32c(&checked)).to_le_bytes().to_vec();
        record.extend_from_slice(&u16::try_from(content.len()).unwrap().to_le_bytes());
        record.extend_from_slice(&checked);
        record
    }

    fn record(content: &[u8]) -> Vec<u8> {
        typed(1, content)
    }

    fn end(file: &[u8]) -> End {
        read_records(file, file.len() as u64).unwrap().end
    }

    #[test]
    fn the_first_record_that_is_not_right_is_found() {
        assert_eq!(end(&[]), End::Whole);
        let mut file = [record(b"one"), record(b""), record(b"three")].concat();
        assert_eq!(end(&file), End::Whole);
        assert_eq!(end(&file[..12]), End::CutShort { at: 10, bytes: 2 });
        assert_eq!(end(&file[..26]), End::CutShort { at: 17, bytes: 9 });
        file[16] ^= 2;
        assert_eq!(end(&file), End::Damaged { at: 10, bytes: 19 });
        file[3] ^= 1;
        assert_eq!(end(&file), End::Damaged { at: 0, bytes: 29 });
    }

    #[test]
    fn a_wrong_length_in_the_last_block_looks_like_an_unfinished_write() {
        let mut file = record(b"one");
        file[5] = 0xff;
        assert_eq!(end(&file), End::CutShort { at: 0, bytes: 10 });
        file.resize(BLOCK_BYTES + 1, 1);
        assert_eq!(end(&file), End::Damaged { at: 0, bytes: BLOCK_BYTES as u64 + 1 });
    }

    #[test]
    fn what_is_left_of_a_block_is_no_record() {
        let mut file = record(&vec![7; BLOCK_BYTES - 2 * HEADER_BYTES + 4]);
        assert_eq!(file.len(), BLOCK_BYTES - 3);
        file.extend([0; 3]);
        file.extend(record(b"next block"));
        assert_eq!(end(&file), End::Whole);
        let at = file.len() as u64;
        file.extend([0; 100]);
        assert_eq!(end(&file), End::CutShort { at, bytes: 100 });
    }

    #[test]
    fn a_recycled_type_is_found_also_behind_other_damage() {
        let mut file = [record(b"one"), typed(5, b"two")].concat();
        let endless = |file: &[u8]| read_records(file, file.len() as u64).unwrap().endless;
        assert_eq!(endless(&file), Some(10));
        file[7] ^= 1;
        assert_eq!(endless(&file), None, "the rest of a damaged block is skipped");
        file.resize(BLOCK_BYTES, 0);
        file.extend(typed(131, b"three"));
        assert_eq!(endless(&file), Some(BLOCK_BYTES as u64));
    }
}
