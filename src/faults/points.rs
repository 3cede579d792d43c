//! Fail points: named places of a batch, of recovery and of a checkpoint's care where a run can be
//! made to end.
//!
//! `SALES_STREAM_FAULT=NAME[#OCCURRENCE]=ACTION[,…]` plants some; OCCURRENCE counts from 1 (the default)
//! over all threads. ACTION is `kill` (SIGKILL), `panic`, `exit` (at once, with code 99) or `stop`
//! (SIGTERM, and the run goes on to see it).
//! `SALES_STREAM_FAULT=list` prints the names.
//!
//! Not here: faults that fall between two places (a test can preload those between any two calls of
//! the system).

/// A place where a run can be made to end, in the order in which a run comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Point {
    /// Every fact of a start is read: the checkpoint, `visible`, Kafka's witness, the sinks' markers.
    FactsRead,
    /// What the start does is decided; nothing is changed.
    Decided,
    /// The checkpoint is open for writing.
    Opened,
    /// Output of a batch that never came is deleted.
    OrphansDeleted,
    /// A history is begun in an empty checkpoint.
    FreshBegun,
    /// A history is begun on the state of one that is given up.
    RollbackBegun,
    /// The start is counted.
    IncarnationCounted,
    /// The state is back in memory.
    Loaded,
    /// A batch file of a given-up history is moved aside.
    FileMovedAside,
    /// A sink's directory names this history.
    OwnerWritten,
    /// A sink is this history's.
    SinkBegun,
    /// A sink that is gone is forgotten.
    SinkForgotten,
    /// A sink that is new is marked as having everything.
    SinkAdmitted,
    /// The newest batch is proven durable and not published again.
    BeforeRepublish,
    /// The newest batch was published again.
    AfterRepublish,
    /// A chunk of output is written ahead of its batch.
    ChunkWritten,
    /// What was written ahead is deleted, because the batch is dropped.
    ChunksDiscarded,
    /// A batch is read and planned.
    Planned,
    /// Nothing of a planned batch is written but what went ahead.
    BeforePersist,
    /// A batch is durable.
    AfterPersist,
    /// A durable batch is not announced.
    BeforeAnnounce,
    /// A batch is announced.
    AfterAnnounce,
    /// A batch is announced and a sink does not have it.
    BeforePublish,
    /// A batch file is there under its temporary name, perhaps not on the disk.
    FileWritten,
    /// A batch file is on the disk under its temporary name.
    FileSynced,
    /// A batch file has its name, perhaps not on the disk.
    FileRenamed,
    /// A batch that is published again is found in its sink.
    FileFound,
    /// A sink has a batch.
    AfterPublish,
    /// Every sink has a batch, and its commit is not asked for.
    BeforeCommit,
    /// A commit is on its way to Kafka.
    Committing,
    /// Kafka has confirmed a commit, or not.
    Committed,
    /// The commit is asked for and a sink is not marked.
    BeforeMark,
    /// A sink is marked.
    AfterMark,
    /// A batch has left and is not reported.
    BeforeReport,
    /// A batch has left and is reported.
    AfterReport,
    /// The loop has ended; the last batch may be on its way.
    Ending,
    /// A backup holds every value.
    BackupCopied,
    /// A backup has everything but its manifest.
    BackupAnnounced,
    /// A backup is whole.
    BackupWritten,
    /// A backup that is put back is copied and not in its place.
    RestoreStaged,
    /// A backup that is put back may go on from an older batch.
    RestorePermitted,
    /// `visible` is in its place, and the database is not.
    RestoreVisibleMoved,
    /// Everything is in its place.
    RestoreMoved,
}

/// The run has come to this place. Empty without the feature `faults`.
///
/// # Panics
/// When that was planted here.
#[inline]
pub fn reach(point: Point) {
    #[cfg(feature = "faults")]
    planted::reach(point);
    #[cfg(not(feature = "faults"))]
    let _ = point;
}

#[cfg(feature = "faults")]
pub use planted::{is_list_asked, names};

#[cfg(feature = "faults")]
mod planted {
    use std::sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    };

    use super::Point;

    const VARIABLE: &str = "SALES_STREAM_FAULT";
    const EXIT_CODE: i32 = 99;

    /// Every place by name, in the order of [`Point`].
    const NAMES: [&str; Point::RestoreMoved as usize + 1] = [
        "facts-read",
        "decided",
        "opened",
        "orphans-deleted",
        "fresh-begun",
        "rollback-begun",
        "incarnation-counted",
        "loaded",
        "file-moved-aside",
        "owner-written",
        "sink-begun",
        "sink-forgotten",
        "sink-admitted",
        "before-republish",
        "after-republish",
        "chunk-written",
        "chunks-discarded",
        "planned",
        "before-persist",
        "after-persist",
        "before-announce",
        "after-announce",
        "before-publish",
        "file-written",
        "file-synced",
        "file-renamed",
        "file-found",
        "after-publish",
        "before-commit",
        "committing",
        "committed",
        "before-mark",
        "after-mark",
        "before-report",
        "after-report",
        "ending",
        "backup-copied",
        "backup-announced",
        "backup-written",
        "restore-staged",
        "restore-permitted",
        "restore-visible-moved",
        "restore-moved",
    ];

    /// The names of all places.
    #[must_use]
    pub fn names() -> &'static [&'static str] {
        &NAMES
    }

    /// Whether the run is asked for the names instead of doing anything.
    #[must_use]
    pub fn is_list_asked() -> bool {
        std::env::var(VARIABLE).is_ok_and(|text| text == "list")
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Action {
        Kill,
        Panic,
        Exit,
        Stop,
    }

    #[derive(Debug)]
    struct Fault {
        name: &'static str,
        occurrence: usize,
        action: Action,
        reached: AtomicUsize,
    }

    fn parse(text: &str) -> Option<Fault> {
        let (place, action) = text.split_once('=')?;
        let (name, occurrence) = match place.split_once('#') {
            Some((name, occurrence)) => (name, occurrence.parse().ok()?),
            None => (place, 1),
        };
        let action = match action {
            "kill" => Action::Kill,
            "panic" => Action::Panic,
            "exit" => Action::Exit,
            "stop" => Action::Stop,
            _ => return None,
        };
        let name = NAMES.iter().copied().find(|known| *known == name)?;
        Some(Fault { name, occurrence, action, reached: AtomicUsize::new(0) })
    }

    fn planted() -> &'static [Fault] {
        static PLANTED: OnceLock<Vec<Fault>> = OnceLock::new();
        PLANTED.get_or_init(|| {
            let text = std::env::var(VARIABLE).unwrap_or_default();
            let faults = text.split(',').filter(|text| !text.is_empty());
            faults
                .map(|text| parse(text).unwrap_or_else(|| panic!("{VARIABLE}={text} is no fault")))
                .collect()
        })
    }

    pub(super) fn reach(point: Point) {
        for fault in planted().iter().filter(|fault| fault.name == NAMES[point as usize]) {
            if fault.reached.fetch_add(1, Ordering::SeqCst) + 1 != fault.occurrence {
                continue;
            }
            match fault.action {
                Action::Panic => panic!("planted at {}", fault.name),
                // SAFETY: none of these has preconditions.
                Action::Exit => unsafe { libc::_exit(EXIT_CODE) },
                Action::Kill => unsafe {
                    libc::kill(libc::getpid(), libc::SIGKILL);
                    libc::pause();
                },
                Action::Stop => {
                    // SAFETY: it has no preconditions.
                    unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
                    // Another thread hears of it; however fast this one is, it is to be stopped here.
                    std::thread::sleep(std::time::Duration::from_millis(500));
                }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_fault_is_a_name_an_occurrence_and_an_action() {
            let parsed =
                |text| parse(text).map(|fault| (fault.name, fault.occurrence, fault.action));
            assert_eq!(parsed("opened=kill"), Some(("opened", 1, Action::Kill)));
            assert_eq!(parsed("after-mark#12=panic"), Some(("after-mark", 12, Action::Panic)));
            for wrong in ["opened", "opened=end", "open=kill", "opened#x=exit", ""] {
                assert_eq!(parsed(wrong), None, "{wrong}");
            }
        }

        #[test]
        fn every_place_has_the_name_of_its_variant() {
            let kebab = |point: Point| {
                let mut text = String::new();
                for letter in format!("{point:?}").chars() {
                    if letter.is_uppercase() && !text.is_empty() {
                        text.push('-');
                    }
                    text.push(letter.to_ascii_lowercase());
                }
                text
            };
            for point in [Point::FactsRead, Point::ChunkWritten, Point::FileFound, Point::Ending] {
                assert_eq!(NAMES[point as usize], kebab(point));
            }
            assert_eq!(NAMES[Point::RestoreMoved as usize], kebab(Point::RestoreMoved));
        }
    }
}
