//! The announce file `visible`: the newest batch that anyone may have seen.
//!
//! Two slots of 4096 bytes, written in turn and each wholly covered by its checksum, so that a write
//! torn by a power cut spoils only itself and the announcement before it stays readable. Every
//! announcement carries a generation one above the newest; the higher one counts, whatever lineage or
//! batch it names (after an accepted rollback the newer batch has the lower number).
//!
//! Invariants: an announcement is written only after its batch is durable, and synced before anyone
//! sees the batch; the slot of the newest announcement is never written over.
//!
//! Not here: what an announcement that does not fit means (`batch::recover`).

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use crate::{
    batch::{Identity, VisibleFact},
    types::{BatchId, Digest, Incarnation, Lineage},
};

/// The file's name inside the state directory.
pub(in crate::checkpoint) const FILE_NAME: &str = "visible";
/// What it is made as before it gets its name.
const NEW_FILE_NAME: &str = ".visible.new";
const SLOT_BYTES: usize = 4096;
const FILE_BYTES: u64 = 2 * SLOT_BYTES as u64;
const CHECKSUM_AT: usize = SLOT_BYTES - 4;
const MAGIC: [u8; 8] = *b"announce";
const VERSION: u32 = 1;

/// What one slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The history.
    pub lineage: Lineage,
    /// The batch that may be seen.
    pub batch: BatchId,
    /// Its link.
    pub digest: Digest,
    /// The start that announced it.
    pub incarnation: Incarnation,
}

impl From<&Identity> for Announcement {
    fn from(identity: &Identity) -> Announcement {
        let Identity { lineage, incarnation, batch, digest } = *identity;
        Announcement { lineage, batch, digest, incarnation }
    }
}

/// The state of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Never written: all zero.
    Empty,
    /// A whole announcement with its generation.
    Announced(u64, Announcement),
    /// Neither; why.
    Damaged(String),
}

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// There is no file.
    Missing,
    /// It is not two slots long.
    WrongLength(u64),
    /// Both slots.
    Slots([Slot; 2]),
}

impl Reading {
    /// The newest announcement.
    #[must_use]
    pub fn newest(&self) -> Option<(u64, Announcement)> {
        let Reading::Slots(slots) = self else { return None };
        let announced = slots.iter().filter_map(|slot| match slot {
            Slot::Announced(generation, announcement) => Some((*generation, *announcement)),
            _ => None,
        });
        announced.max_by_key(|(generation, _)| *generation)
    }

    /// What a start may rest on. A damaged slot beside a whole or an empty one is an announcement
    /// torn by a power cut: it had not returned, so nobody saw its batch.
    #[must_use]
    pub fn fact(&self) -> VisibleFact {
        if let Some((_, Announcement { lineage, batch, digest, .. })) = self.newest() {
            return VisibleFact::At(lineage, batch, digest);
        }
        match self {
            Reading::Missing => VisibleFact::Absent,
            Reading::Slots(slots) if slots.contains(&Slot::Empty) => VisibleFact::Absent,
            Reading::Slots(_) => VisibleFact::Unreadable("both its slots are damaged".to_owned()),
            Reading::WrongLength(bytes) => {
                VisibleFact::Unreadable(format!("it has {bytes} bytes, not {FILE_BYTES}"))
            }
        }
    }

    /// Everything about the file that an undisturbed run would not leave, the tolerable included.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        match self {
            Reading::Missing => Vec::new(),
            Reading::WrongLength(bytes) => {
                vec![format!("`{FILE_NAME}` has {bytes} bytes, not {FILE_BYTES}")]
            }
            Reading::Slots(slots) => {
                let mut problems = Vec::new();
                for (index, slot) in slots.iter().enumerate() {
                    if let Slot::Damaged(why) = slot {
                        problems.push(format!("slot {index} of `{FILE_NAME}` is damaged: {why}"));
                    }
                }
                if let [Slot::Announced(first, _), Slot::Announced(second, _)] = slots
                    && first.abs_diff(*second) != 1
                {
                    problems.push(format!(
                        "the slots of `{FILE_NAME}` do not follow each other: generations {first} \
                         and {second}"
                    ));
                }
                problems
            }
        }
    }
}

/// The announce file of one state directory.
#[derive(Debug)]
pub struct VisibleFile {
    file: File,
    generation: u64,
}

impl VisibleFile {
    /// Where the file is.
    #[must_use]
    pub fn path(directory: &Path) -> PathBuf {
        directory.join(FILE_NAME)
    }

    /// Reads the file, changing nothing.
    ///
    /// # Errors
    /// It is there and cannot be read: an error, never an absence.
    pub fn read(directory: &Path) -> io::Result<Reading> {
        let file = match open(&Self::path(directory), OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Reading::Missing),
            opened => opened?,
        };
        read_slots(file)
    }

    /// Opens the file for announcing, making it where there is none. Made whole under another name
    /// and renamed, so that no crash leaves a part of it.
    ///
    /// # Errors
    /// It cannot be made, read or synced.
    pub fn open(directory: &Path) -> io::Result<VisibleFile> {
        if VisibleFile::read(directory)? == Reading::Missing {
            write_new(directory, &[0; 2 * SLOT_BYTES])?;
        }
        let reading = VisibleFile::read(directory)?;
        let file = open(&Self::path(directory), OFlags::RDWR)?;
        file.sync_all()?;
        let generation = reading.newest().map_or(0, |(generation, _)| generation);
        Ok(VisibleFile { file, generation })
    }

    /// Writes an announcement into the slot that is not the newest one's, and syncs it.
    ///
    /// # Errors
    /// The write or its sync failed: the announcement may or may not be there.
    pub fn announce(&mut self, announcement: &Announcement) -> io::Result<()> {
        let generation = self.generation + 1;
        let at = (generation % 2) * SLOT_BYTES as u64;
        self.file.write_all_at(&encode(generation, announcement), at)?;
        self.file.sync_data()?;
        self.generation = generation;
        Ok(())
    }

    /// Empties both slots, synced, as in a file that was just made; one of another length gets its own.
    ///
    /// # Errors
    /// The write or its sync failed: the slots may be empty or not.
    pub fn clear(&mut self) -> io::Result<()> {
        self.file.write_all_at(&[0; 2 * SLOT_BYTES], 0)?;
        self.file.set_len(FILE_BYTES)?;
        self.file.sync_all()?;
        self.generation = 0;
        Ok(())
    }

    /// Makes the file anew with one announcement in both slots, for a copy of a checkpoint.
    ///
    /// # Errors
    /// It cannot be made or synced.
    pub fn create_announced(directory: &Path, announcement: &Announcement) -> io::Result<()> {
        let slots = [encode(2, announcement), encode(1, announcement)].concat();
        write_new(directory, &slots)
    }
}

fn write_new(directory: &Path, content: &[u8]) -> io::Result<()> {
    let new = directory.join(NEW_FILE_NAME);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    let file = open(&new, flags)?;
    file.write_all_at(content, 0)?;
    file.sync_all()?;
    std::fs::rename(&new, VisibleFile::path(directory))?;
    File::open(directory)?.sync_all()
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?))
}

fn read_slots(mut file: File) -> io::Result<Reading> {
    let bytes = file.metadata()?.len();
    if bytes != FILE_BYTES {
        return Ok(Reading::WrongLength(bytes));
    }
    let mut content = [0; 2 * SLOT_BYTES];
    file.read_exact(&mut content)?;
    let (first, second) = content.split_at(SLOT_BYTES);
    Ok(Reading::Slots([decode(first), decode(second)]))
}

fn encode(generation: u64, announcement: &Announcement) -> [u8; SLOT_BYTES] {
    let Announcement { lineage, batch, digest, incarnation } = announcement;
    let mut fields = Vec::with_capacity(SLOT_BYTES);
    fields.extend_from_slice(&MAGIC);
    fields.extend_from_slice(&VERSION.to_le_bytes());
    fields.extend_from_slice(&generation.to_le_bytes());
    fields.extend_from_slice(&lineage.0.to_le_bytes());
    fields.extend_from_slice(&batch.0.to_le_bytes());
    fields.extend_from_slice(&digest.0);
    fields.extend_from_slice(&incarnation.0.to_le_bytes());
    let mut slot = [0; SLOT_BYTES];
    slot[..fields.len()].copy_from_slice(&fields);
    let checksum = crc32c::crc32c(&slot[..CHECKSUM_AT]);
    slot[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    slot
}

fn decode(slot: &[u8]) -> Slot {
    if slot.iter().all(|byte| *byte == 0) {
        return Slot::Empty;
    }
    match decode_fields(slot) {
        Ok((generation, announcement)) => Slot::Announced(generation, announcement),
        Err(why) => Slot::Damaged(why.to_owned()),
    }
}

fn decode_fields(slot: &[u8]) -> Result<(u64, Announcement), &'static str> {
    let (mut fields, checksum) = slot.split_at_checked(CHECKSUM_AT).ok_or("it is cut short")?;
    if checksum != crc32c::crc32c(fields).to_le_bytes() {
        return Err("its checksum does not fit");
    }
    if take(&mut fields)? != MAGIC || u32::from_le_bytes(take(&mut fields)?) != VERSION {
        return Err("it is of another version");
    }
    let generation = u64::from_le_bytes(take(&mut fields)?);
    let announcement = Announcement {
        lineage: Lineage(u128::from_le_bytes(take(&mut fields)?)),
        batch: BatchId(u64::from_le_bytes(take(&mut fields)?)),
        digest: Digest(take(&mut fields)?),
        incarnation: Incarnation(u64::from_le_bytes(take(&mut fields)?)),
    };
    Ok((generation, announcement))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], &'static str> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or("it is cut short")?;
    *bytes = rest;
    Ok(*head)
}

/// Reads bytes as both slots, once as they are and once with right checksums, and weighs them.
#[cfg(any(test, fuzzing))]
pub(in crate::checkpoint) fn read_any(bytes: &[u8]) {
    let mut slots = [[0; SLOT_BYTES]; 2];
    for (slot, part) in slots.iter_mut().zip(bytes.chunks(SLOT_BYTES)) {
        slot[..part.len()].copy_from_slice(part);
    }
    for _ in 0..2 {
        let reading = Reading::Slots([decode(&slots[0]), decode(&slots[1])]);
        let _ = (reading.fact(), reading.problems());
        for slot in &mut slots {
            let checksum = crc32c::crc32c(&slot[..CHECKSUM_AT]);
            slot[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn announcement(batch: u64) -> Announcement {
        Announcement {
            lineage: Lineage(7),
            batch: BatchId(batch),
            digest: Digest([3; 32]),
            incarnation: Incarnation(1),
        }
    }

    fn at(batch: u64) -> VisibleFact {
        VisibleFact::At(Lineage(7), BatchId(batch), Digest([3; 32]))
    }

    fn fact(directory: &tempfile::TempDir) -> VisibleFact {
        VisibleFile::read(directory.path()).unwrap().fact()
    }

    /// Changes one byte of the file.
    fn flip(directory: &tempfile::TempDir, offset: usize) {
        let path = VisibleFile::path(directory.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes[offset] ^= 0x40;
        fs::write(&path, bytes).unwrap();
    }

    fn announced(batches: std::ops::Range<u64>) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut file = VisibleFile::open(directory.path()).unwrap();
        batches.for_each(|batch| file.announce(&announcement(batch)).unwrap());
        directory
    }

    #[test]
    fn the_newest_announcement_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(fact(&directory), VisibleFact::Absent);
        let mut file = VisibleFile::open(directory.path()).unwrap();
        assert_eq!(fact(&directory), VisibleFact::Absent);
        for batch in [0, 1, 2, 2, 3] {
            file.announce(&announcement(batch)).unwrap();
            assert_eq!(fact(&directory), at(batch));
            file = VisibleFile::open(directory.path()).unwrap();
        }
        file.announce(&announcement(1)).unwrap();
        assert_eq!(fact(&directory), at(1), "after a rollback the newer one names a lower batch");
    }

    #[test]
    fn the_bytes_of_a_slot_never_change() {
        let slot = encode(5, &announcement(300));
        let fields: String = slot[..84].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            fields,
            "616e6e6f756e6365010000000500000000000000070000000000000000000000000000002c01000000000000\
             03030303030303030303030303030303030303030303030303030303030303030100000000000000"
        );
        assert_eq!(slot[84..CHECKSUM_AT], [0; CHECKSUM_AT - 84]);
        assert_eq!(decode(&slot), Slot::Announced(5, announcement(300)));
    }

    #[test]
    fn a_torn_announcement_leaves_the_one_before() {
        // Generations 1, 2, 3: the newest is in the second slot.
        for offset in [SLOT_BYTES, SLOT_BYTES + 2000, 2 * SLOT_BYTES - 1] {
            let directory = announced(0..3);
            flip(&directory, offset);
            assert_eq!(fact(&directory), at(1));
            let reading = VisibleFile::read(directory.path()).unwrap();
            assert!(reading.problems()[0].contains("slot 1"), "a check names it");
            let mut file = VisibleFile::open(directory.path()).unwrap();
            file.announce(&announcement(2)).unwrap();
            assert_eq!(fact(&directory), at(2));
            let reading = VisibleFile::read(directory.path()).unwrap();
            assert_eq!(reading.problems(), Vec::<String>::new(), "the damaged slot was used");
        }
    }

    #[test]
    fn any_flipped_byte_is_named_with_its_slot() {
        let directory = announced(0..3);
        for offset in 0..2 * SLOT_BYTES {
            flip(&directory, offset);
            let problems = VisibleFile::read(directory.path()).unwrap().problems();
            let slot = format!("slot {} of `visible` is damaged", offset / SLOT_BYTES);
            assert!(matches!(&problems[..], [one] if one.contains(&slot)), "{problems:?}");
            assert_eq!(fact(&directory), if offset < SLOT_BYTES { at(2) } else { at(1) });
            flip(&directory, offset);
        }
    }

    #[test]
    fn announcing_a_batch_again_spares_the_slot_it_is_in() {
        let directory = announced(0..2);
        VisibleFile::open(directory.path()).unwrap().announce(&announcement(1)).unwrap();
        // Generation 3 is in the second slot; torn, it leaves the first announcement of batch 1.
        flip(&directory, SLOT_BYTES);
        assert_eq!(fact(&directory), at(1));
    }

    #[test]
    fn the_very_first_announcement_may_be_torn_too() {
        let directory = announced(0..1);
        flip(&directory, SLOT_BYTES + 17);
        assert_eq!(fact(&directory), VisibleFact::Absent);
    }

    #[test]
    fn two_damaged_slots_or_another_length_cannot_be_read() {
        let directory = announced(0..2);
        flip(&directory, 0);
        flip(&directory, SLOT_BYTES);
        assert!(matches!(fact(&directory), VisibleFact::Unreadable(_)));
        let directory = announced(0..2);
        let path = VisibleFile::path(directory.path());
        fs::write(&path, &fs::read(&path).unwrap()[..SLOT_BYTES]).unwrap();
        assert!(matches!(fact(&directory), VisibleFact::Unreadable(_)));
    }

    #[test]
    fn a_file_that_was_emptied_names_nothing_and_takes_announcements_again() {
        let directory = announced(0..5);
        for offset in [0, SLOT_BYTES] {
            flip(&directory, offset);
        }
        let mut file = VisibleFile::open(directory.path()).unwrap();
        file.clear().unwrap();
        assert_eq!(fact(&directory), VisibleFact::Absent);
        file.announce(&announcement(3)).unwrap();
        assert_eq!(fact(&directory), at(3));
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let directory = announced(0..1);
        let path = VisibleFile::path(directory.path());
        fs::rename(&path, directory.path().join("other")).unwrap();
        std::os::unix::fs::symlink(directory.path().join("other"), &path).unwrap();
        assert!(VisibleFile::read(directory.path()).is_err());
    }
}
