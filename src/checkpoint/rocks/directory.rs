//! The state directory itself: who may use it, and that only one process does.
//!
//! Invariants: what we make in it only its owner may read or write; nothing in it leads elsewhere. Who
//! can write to its parent can exchange it: that is for the operator to prevent.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, StatVfsMountFlags},
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
    lock: File,
    /// What was made for the lock: directories, outermost first, and whether the lock file itself.
    made: Vec<PathBuf>,
    made_lock: bool,
}

/// A start that came to nothing leaves nothing behind: what was made for the lock is taken away again
/// while the lock is held, unless something else is in it by now.
impl Drop for StateDirectory {
    fn drop(&mut self) {
        let is_empty = fs::read_dir(&self.path)
            .is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name() == LOCK_FILE));
        if !is_empty {
            return;
        }
        if self.made_lock && is_named(&self.lock, &self.path.join(LOCK_FILE)) {
            let _ = fs::remove_file(self.path.join(LOCK_FILE));
        }
        for made in self.made.iter().rev() {
            // One that is not empty stays.
            let _ = fs::remove_dir(made);
        }
    }
}

impl StateDirectory {
    /// Locks the directory, making it, with mode 0700, where there is none.
    ///
    /// Taken away again when dropped, as far as it was made here and nothing else came into it.
    pub fn lock(path: &Path) -> Result<StateDirectory, CheckpointError> {
        StateDirectory::lock_by(path, open_lock)
    }

    /// The same for one who only looks, so that it works on a read-only file system too. One without a
    /// lock file there is not locked (`None`), and need not be: nobody has it, and nobody can write to it
    /// (but through another mount that is not read-only, where the next process makes the lock file).
    pub fn lock_to_look(path: &Path) -> Result<Option<StateDirectory>, CheckpointError> {
        let open_to_read = |path: &Path| open_lock_as(path, OFlags::RDONLY);
        if is_read_only(path) && matches!(open_to_read(path), Err(Errno::NOENT)) {
            return check(path).map(|()| None);
        }
        let locked = StateDirectory::lock_by(path, |path| match open_lock(path) {
            Err(Errno::ROFS) => open_to_read(path).map(|lock| (lock, false)),
            opened => opened,
        });
        locked.map(Some)
    }

    fn lock_by(
        path: &Path,
        open: impl Fn(&Path) -> Result<(File, bool), Errno>,
    ) -> Result<StateDirectory, CheckpointError> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        let (mut made, mut made_lock) = (Vec::new(), false);
        loop {
            let more =
                make(path).map_err(|error| storage(path, "making the state directory", &error))?;
            made.extend(more);
            check(path)?;
            let (lock, is_new) = match open(path) {
                // Another process has just taken away what it had made.
                Err(Errno::NOENT) if Instant::now() < deadline => continue,
                opened => {
                    opened.map_err(|error| storage(path, "opening the lock file", &error.into()))?
                }
            };
            made_lock |= is_new;
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_named(&lock, &path.join(LOCK_FILE)) => {
                    return Ok(StateDirectory { path: path.to_owned(), lock, made, made_lock });
                }
                Ok(()) => {}
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

    /// Refuses when the directory, or the database in it, no longer has its name.
    pub fn check_in_place(&self) -> Result<(), CheckpointError> {
        let current = super::database_path(&self.path).join("CURRENT");
        let lock = self.path.join(LOCK_FILE);
        let is_ours = match fs::symlink_metadata(&lock) {
            Err(error) => !is_absence(&error),
            Ok(_) => is_named(&self.lock, &lock),
        };
        let is_gone = fs::symlink_metadata(current).is_err_and(|error| is_absence(&error));
        if is_ours && !is_gone {
            return Ok(());
        }
        Err(CheckpointError::TakenAway { directory: self.path.clone() })
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

/// Refuses a directory that another user could exchange or write to, and one that leads elsewhere.
pub(super) fn check(path: &Path) -> Result<(), CheckpointError> {
    let misfit = |problem: String| CheckpointError::Misfit { directory: path.to_owned(), problem };
    let metadata = fs::symlink_metadata(path)
        .map_err(|error| storage(path, "looking at the state directory", &error))?;
    check_links(path)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(misfit(format!(
            "its mode is {mode:04o}, so that others can write to it; run `chmod 700` on it"
        )));
    }
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    // Root may look after what is another's, and what is root's is out of others' reach.
    if owner != user && owner != 0 && user != 0 {
        return Err(misfit(format!(
            "it belongs to user {owner}, who could exchange everything in it, and this process runs \
             as user {user}; run as its owner, or name another directory"
        )));
    }
    Ok(())
}

/// Refuses a directory that is, or has in it where we have files, anything but directories and regular
/// files: a symbolic link would make us write elsewhere, a pipe would make us wait.
pub(super) fn check_links(path: &Path) -> Result<(), CheckpointError> {
    let misfit = |problem: String| CheckpointError::Misfit { directory: path.to_owned(), problem };
    let kind = fs::symlink_metadata(path)
        .map_err(|error| storage(path, "looking at the state directory", &error))?
        .file_type();
    if kind.is_symlink() {
        return Err(misfit("it is a symbolic link; name the directory itself".to_owned()));
    }
    if !kind.is_dir() {
        return Err(misfit("it is not a directory".to_owned()));
    }
    for below in ["", "db", ".restoring", ".restoring/db"] {
        let listed = match fs::read_dir(path.join(below)) {
            Err(error) if !below.is_empty() && error.kind() == io::ErrorKind::NotFound => continue,
            listed => listed.and_then(Iterator::collect::<Result<Vec<_>, _>>),
        };
        for entry in listed.map_err(|error| storage(path, "listing the state directory", &error))? {
            let Ok(kind) = entry.file_type() else { continue };
            if !kind.is_dir() && !kind.is_file() {
                let what = if kind.is_symlink() {
                    "a symbolic link"
                } else {
                    "neither file nor directory"
                };
                let name = Path::new(below).join(entry.file_name());
                return Err(misfit(format!("{} in it is {what}; take it away", name.display())));
            }
        }
    }
    Ok(())
}

/// Makes RocksDB's own directory where it is missing, and takes others' permissions from it and the
/// files in it: RocksDB makes them for everybody to read.
pub(super) fn keep_database_private(path: &Path) -> io::Result<()> {
    let database = super::database_path(path);
    match DirBuilder::new().mode(0o700).create(&database) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    take_from_others(&database)?;
    for entry in fs::read_dir(&database)? {
        take_from_others(&entry?.path())?;
    }
    Ok(())
}

fn take_from_others(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let mode = metadata.mode();
    if mode & 0o077 == 0 || metadata.is_symlink() {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700))
}

/// Makes the directory with mode 0700 and its parents; which of them were not there, outermost first.
fn make(path: &Path) -> io::Result<Vec<PathBuf>> {
    let is_missing = |directory: &&Path| !directory.as_os_str().is_empty() && !directory.exists();
    let mut made: Vec<PathBuf> =
        path.ancestors().skip(1).take_while(is_missing).map(Path::to_owned).collect();
    made.reverse();
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => made.push(path.to_owned()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    Ok(made)
}

/// Opens the lock file; whether it had to be made.
fn open_lock(path: &Path) -> Result<(File, bool), Errno> {
    match open_lock_as(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL) {
        Err(Errno::EXIST) => open_lock_as(path, OFlags::RDWR).map(|lock| (lock, false)),
        made => made.map(|lock| (lock, true)),
    }
}

fn open_lock_as(path: &Path, flags: OFlags) -> Result<File, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path.join(LOCK_FILE), flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// Whether it is on a file system that is mounted read-only; no, where that cannot be found out.
fn is_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Whether an error says that there is no such file; what else it may be is for the next write to tell.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether an open file is the one of this name, and not one that was taken away.
fn is_named(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let named = fs::symlink_metadata(path).map(identity);
    matches!((file.metadata().map(identity), named), (Ok(open), Ok(named)) if open == named)
}
