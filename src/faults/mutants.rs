//! Mutants: defects that can be switched on, one at a time, to see that the auditor finds them.
//!
//! `SALES_STREAM_MUTANT=NAME` plants one for the whole run. So that a defect of the order of steps shows,
//! `SALES_STREAM_KILL_AFTER=STEP:BATCH` ends the process by SIGKILL behind a step of a batch, and
//! `SALES_STREAM_PLANTED_ERROR=witness` lets the question for Kafka's witness fail, `SALES_STREAM_STATE_BYTES=N`
//! leaves state so little memory that some of it is elsewhere. `scripts/mutants.sh` runs them
//! all.
//!
//! Invariant: a mutant is one defect at the place where somebody could make it, and nothing else.
//!
//! Start at [`Mutant`]. Not here: the steps that the outlet takes in another order (`engine::planted`).

/// A defect. Its name is that of the variant in kebab case.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "faults", derive(Debug))]
pub enum Mutant {
    /// Sinks are given a batch before it is durable.
    PublishBeforePersist,
    /// Kafka is told of a batch before it is durable.
    CommitBeforePersist,
    /// Kafka is told of a batch before sinks were given it.
    CommitBeforePublish,
    /// Sinks are given a batch before it is announced.
    PublishBeforeAnnounce,
    /// A sink is marked with a batch before it was given it.
    MarkBeforePublish,
    /// A sink is given each batch twice.
    PublishTwice,
    /// Batches are written without the write-ahead log: what a lost sync does at a power cut, a kill
    /// does here.
    SkipSync,
    /// A restart reads on at the end of the topic.
    ResetToLatest,
    /// A restart reads on where Kafka's commit says.
    PositionsFromCommit,
    /// A restart reads one partition from where the newest batch began.
    ForgetOnePosition,
    /// A partition that is new is read from its end on.
    NewPartitionFromEnd,
    /// The first record of each batch is counted and not added up.
    DropFirstRecord,
    /// The first record after a restart is added twice.
    ApplyTwice,
    /// A batch is recorded up to its cut, and read only as far as time allowed.
    CutNotKept,
    /// Records of aborted transactions are read.
    ReadUncommitted,
    /// Late records are added up.
    ForgetLateBound,
    /// Records are late by the bound of the next batch.
    LateBoundTooNew,
    /// Windows close ten seconds before the watermark is there.
    CloseEarly,
    /// Windows that closed stay open.
    KeepClosedWindows,
    /// A window holds its end and not its start.
    EndInclusive,
    /// Sums are added up as doubles.
    SumAsDouble,
    /// Each number loses its places before it is added.
    TruncateBeforeSum,
    /// The batch without data that closes the last windows is left out.
    SkipNoDataBatch,
    /// A restart begins with a watermark of zero.
    ForgetWatermark,
    /// A restart begins with a watermark one minute older.
    MoveWatermarkBack,
    /// A restart does not publish the batch that was left unpublished.
    SkipRepublish,
    /// A restart publishes the batch that was left unpublished under the next number.
    RepublishAsNext,
    /// A batch that is published again is added to its file.
    AppendRepublished,
    /// A file gets its name before it is whole.
    WriteInPlace,
    /// Every second batch is published with the one behind it.
    MergeTwoBatches,
    /// The rows of closed windows are deleted with the batch that closes them, and what a restart
    /// computes again is not compared.
    DropClosedWindowEarly,
    /// Rows are lost where older runs are merged.
    LoseRowsAtMerge,
    /// A stored sum is read back with another value, and what a restart computes again is not compared.
    AcceptDamagedRow,
    /// A restart takes a state that is older than what was seen.
    AcceptOlderState,
    /// A failed question for Kafka's witness is taken for the answer that there is none.
    ErrorAsAbsence,
    /// Late records are not kept for the dead-letter sink.
    DropLateLetters,
    /// Malformed records are not counted.
    ForgetMalformed,
    /// Offsets are committed where the batch began.
    CommitBegins,
    /// A group that is touched while it is not in memory begins anew.
    ForgetColdTotals,
}

/// A step of a batch behind which a run can be made to end.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "faults", derive(Debug))]
pub enum Step {
    /// It is durable.
    Persisted,
    /// It is announced.
    Announced,
    /// Half of its file is written.
    HalfWritten,
    /// Every sink was given it.
    Published,
    /// Kafka has confirmed its offsets.
    Committed,
    /// Every sink is marked with it.
    Marked,
}

/// Whether this defect is switched on. Always false without the feature `faults`.
#[inline]
#[must_use]
pub fn is_planted(mutant: Mutant) -> bool {
    #[cfg(feature = "faults")]
    return planted::mutant() == Some(mutant);
    #[cfg(not(feature = "faults"))]
    {
        let _ = mutant;
        false
    }
}

#[cfg(feature = "faults")]
pub use planted::{asks_for_end_after, end_after, is_first, state_bytes, witness_fails};

#[cfg(feature = "faults")]
mod planted {
    use std::{
        fmt::Debug,
        sync::{
            OnceLock,
            atomic::{AtomicBool, Ordering},
        },
    };

    use super::{Mutant, Step};

    impl Mutant {
        /// Every defect, in the order of their table.
        pub const ALL: [Mutant; 39] = [
            Mutant::PublishBeforePersist,
            Mutant::CommitBeforePersist,
            Mutant::CommitBeforePublish,
            Mutant::PublishBeforeAnnounce,
            Mutant::MarkBeforePublish,
            Mutant::PublishTwice,
            Mutant::SkipSync,
            Mutant::ResetToLatest,
            Mutant::PositionsFromCommit,
            Mutant::ForgetOnePosition,
            Mutant::NewPartitionFromEnd,
            Mutant::DropFirstRecord,
            Mutant::ApplyTwice,
            Mutant::CutNotKept,
            Mutant::ReadUncommitted,
            Mutant::ForgetLateBound,
            Mutant::LateBoundTooNew,
            Mutant::CloseEarly,
            Mutant::KeepClosedWindows,
            Mutant::EndInclusive,
            Mutant::SumAsDouble,
            Mutant::TruncateBeforeSum,
            Mutant::SkipNoDataBatch,
            Mutant::ForgetWatermark,
            Mutant::MoveWatermarkBack,
            Mutant::SkipRepublish,
            Mutant::RepublishAsNext,
            Mutant::AppendRepublished,
            Mutant::WriteInPlace,
            Mutant::MergeTwoBatches,
            Mutant::DropClosedWindowEarly,
            Mutant::LoseRowsAtMerge,
            Mutant::AcceptDamagedRow,
            Mutant::AcceptOlderState,
            Mutant::ErrorAsAbsence,
            Mutant::DropLateLetters,
            Mutant::ForgetMalformed,
            Mutant::CommitBegins,
            Mutant::ForgetColdTotals,
        ];

        /// Its name in `SALES_STREAM_MUTANT`.
        #[must_use]
        pub fn name(self) -> String {
            kebab(self)
        }
    }

    /// A variant's name in kebab case.
    fn kebab(variant: impl Debug) -> String {
        let mut name = String::new();
        for letter in format!("{variant:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// The defect of this run.
    pub(super) fn mutant() -> Option<Mutant> {
        static PLANTED: OnceLock<Option<Mutant>> = OnceLock::new();
        *PLANTED.get_or_init(|| {
            let name = std::env::var("SALES_STREAM_MUTANT").ok().filter(|name| !name.is_empty())?;
            let found = Mutant::ALL.into_iter().find(|mutant| mutant.name() == name);
            Some(found.unwrap_or_else(|| panic!("SALES_STREAM_MUTANT={name} is no mutant")))
        })
    }

    /// Whether the run is to end behind this step of this batch.
    #[must_use]
    pub fn asks_for_end_after(step: Step, batch: u64) -> bool {
        static ASKED: OnceLock<Option<String>> = OnceLock::new();
        let asked = ASKED.get_or_init(|| std::env::var("SALES_STREAM_KILL_AFTER").ok());
        asked.as_ref().is_some_and(|asked| *asked == format!("{}:{batch}", kebab(step)))
    }

    /// Ends the process by SIGKILL if the run is to end behind this step of this batch.
    pub fn end_after(step: Step, batch: u64) {
        if asks_for_end_after(step, batch) {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            // The signal is on its way.
            loop {
                std::thread::park();
            }
        }
    }

    /// Whether the question for Kafka's witness is to fail.
    #[must_use]
    pub fn witness_fails() -> bool {
        std::env::var("SALES_STREAM_PLANTED_ERROR").is_ok_and(|what| what == "witness")
    }

    /// How many bytes of state may be in memory, where `SALES_STREAM_STATE_BYTES` says so: so few that the little
    /// state of a trial does not fit.
    #[must_use]
    pub fn state_bytes() -> Option<usize> {
        std::env::var("SALES_STREAM_STATE_BYTES").ok()?.parse().ok()
    }

    /// True once in a process, for mutants that act once.
    #[must_use]
    pub fn is_first() -> bool {
        static DONE: AtomicBool = AtomicBool::new(false);
        !DONE.swap(true, Ordering::SeqCst)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_mutant_has_a_name_of_its_own() {
            let names: std::collections::BTreeSet<_> = Mutant::ALL.map(Mutant::name).into();
            assert_eq!(names.len(), Mutant::ALL.len());
            assert_eq!(Mutant::PublishBeforePersist.name(), "publish-before-persist");
            assert_eq!(kebab(Step::HalfWritten), "half-written");
        }
    }
}
