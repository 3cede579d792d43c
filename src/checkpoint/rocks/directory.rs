//! The state directory itself: who may use it, and that only one process does.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
};

use crate::checkpoint::CheckpointError;

const LOCK_FILE: &str = ".lock";
/// A process that was killed may hold the lock for a moment longer.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// A directory that this process has locked.
#[derive(Debug)]
pub(super) struct StateDirectory {
    path: PathBuf,
    _lock: File,
}

impl StateDirectory {
    /// Locks the directory, making it, with mode 0700, where there is none.
    pub fn lock(path: &Path) -> Result<StateDirectory, CheckpointError> {
        make(path).map_err(|error| storage(path, "making the state directory", &error))?;
        check(path)?;
        let lock = open_lock(path)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(StateDirectory { path: path.to_owned(), _lock: lock }),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(Errno::WOULDBLOCK) => {
                    return Err(CheckpointError::Locked { directory: path.to_owned() });
                }
                Err(error) => {
                    return Err(storage(path, "locking the state directory", &error.into()));
                }
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn storage(&self, attempt: &'static str, error: &io::Error) -> CheckpointError {
        storage(&self.path, attempt, error)
    }

    /// Makes the names in this directory, and its own name, durable.
    pub fn sync(&self) -> Result<(), CheckpointError> {
        let parent = self.path.canonicalize().map(|path| path.parent().map(Path::to_owned));
        let synced = parent.and_then(|parent| {
            sync_directory(&super::database_path(&self.path))?;
            sync_directory(&self.path)?;
            parent.map_or(Ok(()), |parent| sync_directory(&parent))
        });
        synced.map_err(|error| self.storage("syncing the state directory", &error))
    }
}

/// Makes the names inside a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub(super) fn storage(path: &Path, attempt: &'static str, error: &io::Error) -> CheckpointError {
    CheckpointError::Storage { directory: path.to_owned(), attempt, problem: error.to_string() }
}

/// Refuses a directory that another user could exchange or write to.
pub(super) fn check(path: &Path) -> Result<(), CheckpointError> {
    let misfit = |problem: String| CheckpointError::Misfit { directory: path.to_owned(), problem };
    let metadata = fs::symlink_metadata(path)
        .map_err(|error| storage(path, "looking at the state directory", &error))?;
    if metadata.is_symlink() {
        return Err(misfit("it is a symbolic link; name the directory itself".to_owned()));
    }
    if !metadata.is_dir() {
        return Err(misfit("it is not a directory".to_owned()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(misfit(format!(
            "its mode is {mode:04o}, so that others can write to it; run `chmod 700` on it"
        )));
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    for entry in entries.map_err(|error| storage(path, "listing the state directory", &error))? {
        if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            let name = entry.file_name();
            return Err(misfit(format!("{} in it is a symbolic link", name.display())));
        }
    }
    Ok(())
}

fn make(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn open_lock(path: &Path) -> Result<File, CheckpointError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path.join(LOCK_FILE), flags, Mode::RUSR | Mode::WUSR)
        .map(File::from)
        .map_err(|error| storage(path, "opening the lock file", &error.into()))
}
