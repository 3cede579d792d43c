//! What ends a run, and the exit code that says what the operator does next.

use crate::{
    batch::{BadRecord, Refusal, StateError},
    checkpoint::CheckpointError,
    decode::DecodeError,
    sink::SinkError,
    source::SourceError,
};

/// Everything that ends a run before its time.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The source.
    #[error(transparent)]
    Source(SourceError),
    /// A record in fail-fast mode.
    #[error(transparent)]
    BadRecord(#[from] BadRecord),
    /// A sink.
    #[error("sink {sink}: {error}")]
    Sink {
        /// Its name.
        sink: String,
        /// What it said.
        error: SinkError,
    },
    /// The reader of stdout went away.
    #[error("the reader of stdout is gone")]
    Closed,
    /// A start that is refused, with the ways out.
    #[error("{refusal}.{}{ways_out}", if ways_out.is_empty() { "" } else { "\n" })]
    Refused {
        /// Why.
        refusal: Refusal,
        /// What the operator can do.
        ways_out: String,
    },
    /// The checkpoint is another pipeline's.
    #[error("{0}")]
    Misfit(String),
    /// The topic is not the one the checkpoint was made from.
    #[error("{0}")]
    OtherTopic(String),
    /// A starting offset that cannot be used.
    #[error("{0}")]
    StartingOffsets(String),
    /// The place for progress cannot be written.
    #[error(
        "--progress jsonl:{} cannot be written: {problem}. Name another file, or mend what keeps this one \
         from being written, and start again; no batch is lost", file.display()
    )]
    Progress {
        /// The file.
        file: std::path::PathBuf,
        /// What the system said.
        problem: std::io::Error,
    },
    /// State that is not of this pipeline.
    #[error("the checkpoint is damaged: {0}")]
    State(StateError),
    /// A value that cannot be computed, with ANSI mode on.
    #[error(transparent)]
    Value(crate::decode::ValueError),
    /// A value that does not fit, with ANSI mode on.
    #[error(transparent)]
    Failure(Box<crate::spark::Failure>),
    /// State that must all be in memory takes more than it may.
    #[error(
        "the state of {} takes {} MiB, and --memory-limit {} MiB leaves {} MiB for it: it cannot be kept \
         elsewhere. Nothing of the open batch was written; start again with a larger --memory-limit, and the run \
         goes on where it stopped", operator, mib(*bytes), mib(*limit), mib(*room)
    )]
    TooLarge {
        /// What keeps it.
        operator: &'static str,
        /// How many bytes of memory it takes.
        bytes: u64,
        /// How many it may take.
        room: u64,
        /// The limit on everything.
        limit: u64,
    },
    /// A pipeline the decoder cannot serve.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl From<StateError> for EngineError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Failure(failure) => EngineError::Failure(failure),
            StateError::Value(error) => EngineError::Value(error),
            StateError::Schema { .. } => EngineError::Misfit(error.to_string()),
            StateError::Results(_) | StateError::Key(_) => EngineError::State(error),
        }
    }
}

impl From<crate::window::ResultsError> for EngineError {
    fn from(error: crate::window::ResultsError) -> Self {
        EngineError::State(error.into())
    }
}

impl From<SourceError> for EngineError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::BadRecord(record) => EngineError::BadRecord(record),
            other => EngineError::Source(other),
        }
    }
}

/// In whole mebibytes, rounded up.
fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Whether a file cannot be opened because of how it was named, and not because storage fails.
fn is_of_the_name(problem: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        problem.kind(),
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename
    )
}

impl EngineError {
    /// The exit code, part of the command line's interface.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            EngineError::Closed => 0,
            EngineError::Decode(_) | EngineError::StartingOffsets(_) => 2,
            EngineError::Progress { problem, .. } if is_of_the_name(problem) => 2,
            EngineError::Progress { .. } => 14,
            EngineError::Checkpoint(CheckpointError::Locked { .. }) => 10,
            EngineError::Checkpoint(CheckpointError::Corrupt { .. }) | EngineError::State(_) => 11,
            EngineError::Checkpoint(CheckpointError::Misfit { .. }) | EngineError::Misfit(_) => 12,
            EngineError::Refused { refusal, .. } if refusal.is_misfit() => 12,
            EngineError::Checkpoint(CheckpointError::Stale { .. })
            | EngineError::Refused { .. } => 13,
            EngineError::Checkpoint(
                CheckpointError::Storage { .. } | CheckpointError::TakenAway { .. },
            ) => 14,
            EngineError::TooLarge { .. } => 50,
            EngineError::Source(SourceError::Unreachable(_) | SourceError::NoTopic(_)) => 22,
            EngineError::Source(SourceError::Refused(_)) => 21,
            EngineError::Source(SourceError::Usage(_)) => 2,
            EngineError::Source(_) | EngineError::OtherTopic(_) => 20,
            EngineError::BadRecord(record) if record.is_of_value() => 41,
            EngineError::BadRecord(_) => 40,
            EngineError::Failure(_) | EngineError::Value(_) => 41,
            EngineError::Sink { error, .. } => match error {
                SinkError::Closed => 0,
                SinkError::Checkpoint(
                    CheckpointError::Storage { .. } | CheckpointError::TakenAway { .. },
                ) => 14,
                SinkError::Checkpoint(_) => 11,
                SinkError::Diverged(_) => 13,
                SinkError::Foreign(_) => 12,
                SinkError::Storage(_) => 14,
                SinkError::Retry(_) | SinkError::Refused(_) => 30,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn a_full_disk_under_the_progress_file_is_a_failure_of_storage() {
        let code =
            |problem: Error| EngineError::Progress { file: "progress".into(), problem }.exit_code();
        assert_eq!(code(ErrorKind::StorageFull.into()), 14);
        assert_eq!(code(Error::from_raw_os_error(libc::EIO)), 14);
        assert_eq!(code(ErrorKind::NotFound.into()), 2);
        assert_eq!(code(ErrorKind::IsADirectory.into()), 2);
    }
}
