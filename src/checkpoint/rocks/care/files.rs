//! Which of RocksDB's files is damaged, told from the files themselves.
//!
//! RocksDB says of a damaged log only that a checksum is wrong. Its write-ahead logs and its MANIFEST
//! are written as checksummed records in blocks of 32 KiB, so that the file and the byte can be found.
//! Sorted files (`.sst`) are not read here: of them RocksDB itself tells the name.
//!
//! Not here: what the damage costs (`care`), whether a start may go on (`batch::recover`).

use std::{fs, io, path::Path};

use crate::checkpoint::rocks::database_path;

/// Records never cross the end of a block of this many bytes.
const BLOCK_BYTES: usize = 32 << 10;
/// Checksum, length and type of a record.
const HEADER_BYTES: usize = 4 + 2 + 1;

/// What is wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// One clause that begins with the file's name.
    pub problem: String,
    /// Whether a write that a crash interrupted may look like this.
    pub is_unfinished_write: bool,
}

/// Looks at CURRENT, the MANIFEST that it names and every write-ahead log.
pub(super) fn findings(directory: &Path) -> io::Result<Vec<Finding>> {
    let database = database_path(directory);
    let names = names(&database)?;
    let mut findings = Vec::new();
    let mut add = |name: &str, end: End| findings.extend(end.finding(name));
    if names.iter().any(|name| name == "CURRENT") {
        match manifest_of(&fs::read(database.join("CURRENT"))?) {
            Some(manifest) if names.contains(&manifest) => {
                add(&manifest, end_of_records(&fs::read(database.join(&manifest))?));
            }
            Some(manifest) => add("CURRENT", End::Names(manifest)),
            None => add("CURRENT", End::NoName),
        }
    }
    for name in names.iter().filter(|name| name.ends_with(".log")) {
        add(name, end_of_records(&fs::read(database.join(name))?));
    }
    Ok(findings)
}

/// The names of all sorted files, for a sentence.
pub(super) fn sorted_files(directory: &Path) -> io::Result<String> {
    let mut names = names(&database_path(directory))?;
    names.retain(|name| name.ends_with(".sst"));
    let names: Vec<_> = names.into_iter().map(|name| format!("db/{name}")).collect();
    Ok(match names.as_slice() {
        [] => "RocksDB's own notes".to_owned(),
        [one] => one.clone(),
        several => format!("one of {}", several.join(", ")),
    })
}

fn names(database: &Path) -> io::Result<Vec<String>> {
    let mut names = vec![];
    for entry in fs::read_dir(database)? {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// The name of the MANIFEST, or at least that it is one.
pub(super) fn manifest(directory: &Path) -> io::Result<String> {
    let current = fs::read(database_path(directory).join("CURRENT"))?;
    Ok(manifest_of(&current).unwrap_or_else(|| "MANIFEST".to_owned()))
}

/// The file that CURRENT names.
fn manifest_of(current: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(current).ok()?.strip_suffix('\n')?;
    let number = name.strip_prefix("MANIFEST-")?;
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| name.to_owned())
}

/// How a file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// With a whole record, or empty.
    Whole,
    /// The record at this byte is not all there.
    CutShort { at: usize, bytes: usize },
    /// The record at this byte is not what was written.
    Damaged { at: usize, bytes: usize },
    /// It should name a MANIFEST that is there, and names this.
    Names(String),
    /// It should name a MANIFEST, and does not.
    NoName,
}

impl End {
    fn finding(self, name: &str) -> Option<Finding> {
        let (problem, is_unfinished_write) = match self {
            End::Whole => return None,
            End::CutShort { at, bytes } => {
                let problem = format!(
                    "db/{name} is cut short: the record at byte {at} is not whole, {bytes} bytes \
                     are of no use"
                );
                (problem, true)
            }
            End::Damaged { at, bytes } => {
                let problem = format!(
                    "db/{name} is damaged: the record at byte {at} has a wrong checksum, so that \
                     the {bytes} bytes from there on cannot be trusted"
                );
                (problem, false)
            }
            End::Names(other) => {
                (format!("db/{name} is damaged: it names {other}, which is not there"), false)
            }
            End::NoName => (format!("db/{name} is damaged: it does not name a MANIFEST"), false),
        };
        Some(Finding { problem, is_unfinished_write })
    }
}

/// Reads records until one is not right.
fn end_of_records(content: &[u8]) -> End {
    let mut at = 0;
    while at < content.len() {
        let left_in_block = BLOCK_BYTES - at % BLOCK_BYTES;
        if left_in_block < HEADER_BYTES {
            at += left_in_block;
            continue;
        }
        let (rest, bytes) = (&content[at..], content.len() - at);
        if rest.iter().all(|byte| *byte == 0) {
            return End::CutShort { at, bytes };
        }
        let Some((header, _)) = rest.split_at_checked(HEADER_BYTES) else {
            return End::CutShort { at, bytes };
        };
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        if HEADER_BYTES + length > left_in_block.min(bytes) {
            // In the last block nobody can tell a wrong length from a write that was interrupted.
            let is_last_block = left_in_block >= bytes;
            return if is_last_block {
                End::CutShort { at, bytes }
            } else {
                End::Damaged { at, bytes }
            };
        }
        // The type is part of what is checked.
        let checked = &rest[HEADER_BYTES - 1..HEADER_BYTES + length];
        if masked(crc32c::crc32c(checked)).to_le_bytes() != header[..4] {
            return End::Damaged { at, bytes };
        }
        at += HEADER_BYTES + length;
    }
    End::Whole
}

/// A checksum as RocksDB stores it, so that a checksum of checksums stays one.
fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content: &[u8]) -> Vec<u8> {
        let mut checked = vec![1];
        checked.extend_from_slice(content);
        let mut record = masked(crc32c::crc32c(&checked)).to_le_bytes().to_vec();
        record.extend_from_slice(&u16::try_from(content.len()).unwrap().to_le_bytes());
        record.extend_from_slice(&checked);
        record
    }

    #[test]
    fn the_first_record_that_is_not_right_is_found() {
        assert_eq!(end_of_records(&[]), End::Whole);
        let mut file = [record(b"one"), record(b""), record(b"three")].concat();
        assert_eq!(end_of_records(&file), End::Whole);
        assert_eq!(end_of_records(&file[..12]), End::CutShort { at: 10, bytes: 2 });
        assert_eq!(end_of_records(&file[..26]), End::CutShort { at: 17, bytes: 9 });
        file[16] ^= 1;
        assert_eq!(end_of_records(&file), End::Damaged { at: 10, bytes: 19 });
        file[3] ^= 1;
        assert_eq!(end_of_records(&file), End::Damaged { at: 0, bytes: 29 });
        file = record(b"one");
        file[5] = 0xff;
        assert_eq!(end_of_records(&file), End::CutShort { at: 0, bytes: 10 });
        file.resize(BLOCK_BYTES + 1, 1);
        assert_eq!(end_of_records(&file), End::Damaged { at: 0, bytes: BLOCK_BYTES + 1 });
    }

    #[test]
    fn what_is_left_of_a_block_is_no_record() {
        let mut file = record(&vec![7; BLOCK_BYTES - 2 * HEADER_BYTES + 4]);
        assert_eq!(file.len(), BLOCK_BYTES - 3);
        file.extend([0; 3]);
        file.extend(record(b"next block"));
        assert_eq!(end_of_records(&file), End::Whole);
        let at = file.len();
        file.extend([0; 100]);
        assert_eq!(end_of_records(&file), End::CutShort { at, bytes: 100 });
    }

    #[test]
    fn current_names_a_manifest_in_one_line() {
        assert_eq!(manifest_of(b"MANIFEST-000005\n"), Some("MANIFEST-000005".to_owned()));
        for wrong in ["", "MANIFEST-000005", "MANIFEST-00x005\n", "MANIFEST-\n", "../x\n"] {
            assert_eq!(manifest_of(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
