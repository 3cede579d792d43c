//! What a limit on memory means for each part of a run, and the limit where none is given.
//!
//! Half of it is for what a batch needs while it is read and on its way out; queues and the database get as much
//! as they do well with, up to a thirty-second part; state has the rest. Measured: records that make a group each
//! take 0.5 to 1 KiB on their way (what the batch adds, totals, bytes for the disk and what RocksDB makes of them).
//!
//! Not here: who keeps to it (`window`, `engine`, `source::kafka`, `checkpoint::rocks`); threads and files
//! (`limits`).

use std::{fs, path::Path};

use crate::{
    batch::Room,
    checkpoint::rocks::DatabaseRoom,
    spec::{MaxOffsets, MemoryLimit},
};

/// What a record of a batch takes at most, where each makes a group of its own.
const RECORD_BYTES: u64 = 1 << 10;
/// What the process takes before it has read anything.
const PROCESS_BYTES: u64 = 32 << 20;
/// Of what a batch takes in all, so much is what it holds while it is read: the same again is what is encoded of
/// it, what is written, and what the database keeps until it is in a file.
const OPEN_PART: u64 = 4;
const DEFAULT_MAX_OFFSETS: u64 = 1_000_000;
const MIB: u64 = 1 << 20;

/// The parts of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// Fetched bytes that wait.
    pub(super) queue_bytes: usize,
    pub(super) database: DatabaseRoom,
    pub(super) room: Room,
    /// The most records of a batch, unless the user says how many.
    pub(super) max_offsets: MaxOffsets,
}

/// Divides a limit.
pub(super) fn divide(limit: MemoryLimit) -> Parts {
    let limit = limit.bytes();
    let queue = (limit / 32).clamp(2 * MIB, 12 * MIB);
    let write_buffers = (limit / 32).clamp(4 * MIB, 24 * MIB);
    let block_cache = (limit / 128).clamp(MIB, 8 * MIB);
    let batch = (limit / 2).min(DEFAULT_MAX_OFFSETS * RECORD_BYTES);
    // A record that waits takes about as much again besides its bytes, and a buffer that is being flushed is
    // still there.
    let others = PROCESS_BYTES + 2 * queue + 2 * write_buffers + block_cache;
    let state = (limit - batch).saturating_sub(others).max(limit / 16);
    #[cfg(feature = "faults")]
    let state = crate::faults::state_bytes().map_or(state, |bytes| bytes as u64);
    Parts {
        queue_bytes: size(queue),
        database: DatabaseRoom {
            write_buffer_bytes: size(write_buffers),
            block_cache_bytes: size(block_cache),
        },
        room: Room {
            state_bytes: size(state),
            rows_bytes: size(limit / 32),
            batch_bytes: size(batch / OPEN_PART),
        },
        max_offsets: MaxOffsets::Limited(batch / RECORD_BYTES),
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// A quarter of what the machine has, or of what this process may have of it.
pub(super) fn default_limit() -> MemoryLimit {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let group = fs::read_to_string("/proc/self/cgroup").ok();
    let group = group.and_then(|groups| limit_of_groups(Path::new("/sys/fs/cgroup"), &groups));
    match machine.into_iter().chain(group).min() {
        Some(bytes) => MemoryLimit::at_least(bytes / 4),
        // Where nobody says how much there is, as much as most machines can spare.
        None => MemoryLimit::at_least(1 << 30),
    }
}

/// The memory of the machine, as `/proc/meminfo` tells it.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The least limit of the control groups that `/proc/self/cgroup` names and those above them; their file
/// system is at `root`, where a container sees its own group.
fn limit_of_groups(root: &Path, groups: &str) -> Option<u64> {
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (root, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            v1 if v1.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let own = root.join(path.trim_start_matches('/'));
        for group in own.ancestors().take_while(|group| group.starts_with(&root)) {
            // `max` is no number, and the file of the topmost group is not there.
            let limit = fs::read_to_string(group.join(file)).ok();
            let limit = limit.and_then(|text| text.trim().parse().ok());
            least = least.into_iter().chain(limit).min();
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(limit: &str) -> Parts {
        divide(limit.parse().expect("it is a limit"))
    }

    #[test]
    fn the_parts_of_a_limit_are_no_more_than_it() {
        for limit in ["96MiB", "256MiB", "1GiB", "6GiB", "1t"] {
            let Parts { queue_bytes, database, room, max_offsets } = parts(limit);
            let MaxOffsets::Limited(records) = max_offsets else { panic!("there is a limit") };
            let fixed = queue_bytes + database.write_buffer_bytes + database.block_cache_bytes;
            let all = fixed as u64 + room.state_bytes as u64 + records * RECORD_BYTES;
            let bytes = limit.parse::<MemoryLimit>().unwrap().bytes();
            assert!(all <= bytes, "{limit}: {all}");
            assert!(room.state_bytes as u64 >= bytes / 16, "{limit}: {room:?}");
        }
    }

    #[test]
    fn where_there_is_enough_nothing_is_smaller_than_without_a_limit() {
        let Parts { queue_bytes, database, max_offsets, .. } = parts("4GiB");
        assert_eq!(database, DatabaseRoom::default());
        assert_eq!(queue_bytes, crate::source::kafka::KafkaSourceConfig::QUEUE_BYTES);
        assert_eq!(max_offsets, MaxOffsets::Limited(DEFAULT_MAX_OFFSETS));
        assert_eq!(parts("256MiB").max_offsets, MaxOffsets::Limited(131_072));
    }

    #[test]
    fn a_container_has_what_its_groups_leave_it() {
        let root = tempfile::tempdir().expect("there is room");
        let inner = root.path().join("system.slice/sales.service");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        let groups = "0::/system.slice/sales.service\n";
        assert_eq!(limit_of_groups(root.path(), groups), None);
        fs::write(root.path().join("system.slice/memory.max"), "1000\n").unwrap();
        assert_eq!(limit_of_groups(root.path(), groups), Some(1000));
        fs::write(root.path().join("memory.max"), "900\n").unwrap();
        assert_eq!(limit_of_groups(root.path(), "0::/\n"), Some(900));
        let old = root.path().join("memory/docker");
        fs::create_dir_all(&old).unwrap();
        fs::write(old.join("memory.limit_in_bytes"), "800").unwrap();
        assert_eq!(limit_of_groups(root.path(), "7:cpu,memory:/docker\n3:pids:/\n"), Some(800));
        assert_eq!(total_of("MemTotal:       24 kB\nMemFree: 1 kB\n"), Some(24 * 1024));
        assert_eq!(total_of("nothing"), None);
    }
}
