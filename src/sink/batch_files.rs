//! A directory with one file a batch, each there whole or not at all, after any crash or power cut.
//!
//! ```text
//! DIR/_query                              whose the directory is: its lineage, and those it went on from
//! DIR/batch-000000000012.jsonl            what batch 12 published; none for a batch without lines
//! DIR/_rolled_back/LINEAGE/batch-….jsonl  what a given-up history had published beyond the rollback
//! DIR/.lock                               held while a process writes here
//! DIR/.NAME.tmp                           being written; left by a crash, removed at the next start
//! ```
//!
//! Invariants: a file appears under its name only after its bytes are synced (temporary name, sync,
//! rename, sync of the directory), and never changes afterwards; a batch published again must give
//! the bytes that are there; no file exists before `_query` names its history; nothing is deleted but
//! our own temporary files; no symbolic link is followed below DIR.
//!
//! Start at [`BatchFiles::publish`]. Not here: what the lines are (`files`, `dead_letter`), whether a
//! history may go on (`batch::recover`).

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{
    batch::{MarkerFact, Shared},
    checkpoint::CheckpointError,
    faults::{Mutant, Point, is_planted, reach},
    sink::{SinkError, blocks::Blocks},
    types::{BatchId, Lineage},
    umask,
};

const QUERY: &str = "_query";
const ROLLED_BACK: &str = "_rolled_back";
const LOCK: &str = ".lock";

/// Form of `_query`; a higher one is not touched.
const FORMAT: u32 = 1;

/// `_query` is a hundred bytes and as many for each accepted rollback; what is longer is not ours.
const QUERY_MAX_BYTES: u64 = 64 << 10;

/// A process that was just killed gives its lock back within this.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

const BUFFER_BYTES: usize = 256 << 10;

/// What a directory holds; a directory is never used for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// Result rows.
    Results,
    /// Late and malformed records.
    DeadLetters,
}

/// The content of `_query`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Query {
    format: u32,
    kind: Kind,
    lineage: String,
    /// The histories that this one went on from, oldest first; not there in a first one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    went_on_from: Vec<WentOnFrom>,
}

/// Up to this batch the files are those of this history too.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WentOnFrom {
    lineage: String,
    batch: Option<u64>,
}

/// A directory of batch files, held by one process.
#[derive(Debug)]
pub(super) struct BatchFiles {
    path: PathBuf,
    kind: Kind,
    /// The lock, from the first look at an existing directory to the end of the process.
    lock: Option<OwnedFd>,
    /// What was seen before the decision to go on.
    seen: Option<MarkerFact>,
    /// The directory, once it is ours.
    directory: Option<OwnedFd>,
}

impl BatchFiles {
    /// Nothing is looked at yet.
    pub(super) fn new(path: PathBuf, kind: Kind) -> BatchFiles {
        BatchFiles { path, kind, lock: None, seen: None, directory: None }
    }

    /// Whose the directory is and its newest batch file. Changes nothing on disk.
    ///
    /// # Errors
    /// `Foreign` when it is in use or holds batch files that nobody owns.
    pub(super) fn marker(&mut self) -> Result<MarkerFact, SinkError> {
        let seen = match self.open_directory() {
            Ok(directory) => {
                self.lock(&directory, OFlags::empty())?;
                self.read_marker(&directory)?
            }
            Err(Errno::NOENT) => MarkerFact::Absent,
            Err(errno) => return Err(self.storage("opening the directory", &self.path, errno)),
        };
        self.seen = Some(seen.clone());
        Ok(seen)
    }

    /// Makes the directory this history's: creates it, locks it, removes temporary files, moves what
    /// a superseded history left above `newest` aside, and writes `_query`.
    ///
    /// # Errors
    /// `Foreign` when another process has or had it, `Diverged` when this very history has a file
    /// above `newest`, `Storage`.
    pub(super) fn begin(
        &mut self,
        lineage: Lineage,
        newest: Option<BatchId>,
    ) -> Result<(), SinkError> {
        create_directories(&self.path)
            .map_err(|(path, error)| self.storage("creating the directory", &path, error))?;
        let directory = self
            .open_directory()
            .map_err(|errno| self.storage("opening the directory", &self.path, errno))?;
        self.lock(&directory, OFlags::CREATE)?;
        let marker = self.read_marker(&directory)?;
        if self.seen.take().is_some_and(|seen| seen != marker) {
            return Err(SinkError::Foreign(format!(
                "another process wrote to {} while this one was starting. {OWN_DIRECTORY}",
                self.path.display()
            )));
        }
        self.remove_leftovers(&directory)?;
        match marker {
            MarkerFact::At(holder, held, _) if holder == lineage => self.check_end(held, newest)?,
            MarkerFact::At(holder, _, shared) => {
                self.roll_back(&directory, holder, newest)?;
                let shared = Shared::behind(holder, &shared, newest);
                self.write_query(&directory, lineage, &shared)?;
            }
            MarkerFact::Absent | MarkerFact::NotKept => {
                sync_parent(&self.path)
                    .map_err(|error| self.storage("syncing the parent of", &self.path, error))?;
                self.write_query(&directory, lineage, &[])?;
            }
        }
        // A rename that an earlier process did not come to sync.
        self.sync_directory(&directory)?;
        self.directory = Some(directory);
        Ok(())
    }

    /// Puts a batch's file there, or finds it there with the same bytes. `lines` says how many lines
    /// `write` gives; for none there is no file.
    ///
    /// # Errors
    /// `Diverged` when there is something else under its name, `Storage`.
    ///
    /// # Panics
    /// When called before [`BatchFiles::begin`].
    pub(super) fn publish(
        &mut self,
        batch: BatchId,
        lines: u64,
        write: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>,
    ) -> Result<(), SinkError> {
        let directory = self.directory.as_ref().expect("a sink begins before it publishes");
        let name = file_name(batch);
        match self.open_file(directory, &name) {
            Ok(None) if lines == 0 => Ok(()),
            Ok(None) => self.place(directory, &name, write),
            Ok(Some(_)) if is_planted(Mutant::AppendRepublished) => {
                let path = self.path.join(&name);
                let opened = std::fs::OpenOptions::new().append(true).open(&path);
                let appended =
                    opened.map_err(WriteError::from).and_then(|mut file| write(&mut file));
                appended.map_err(|_| self.diverged(&name))
            }
            Ok(Some(there)) if lines > 0 => self.check_equal(directory, &name, there, write),
            Ok(Some(_)) | Err(OpenError::NotAFile) => Err(self.diverged(&name)),
            Err(OpenError::Failed(error)) => {
                Err(self.storage("opening the file", &self.path.join(&name), error))
            }
        }
    }

    fn open_directory(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::io::retry_on_intr(|| fs::open(&self.path, flags, Mode::empty()))
    }

    /// Takes the lock unless it is held already; without `CREATE` a directory that never had one
    /// stays as it is.
    fn lock(&mut self, directory: &OwnedFd, create: OFlags) -> Result<(), SinkError> {
        if self.lock.is_some() {
            return Ok(());
        }
        let path = self.path.join(LOCK);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | create;
        let lock = match fs::openat(directory, LOCK, flags, Mode::from_raw_mode(0o666)) {
            Ok(lock) => lock,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(self.storage("opening the lock", &path, errno)),
        };
        if create == OFlags::CREATE {
            // Another user's lock is theirs to share.
            let _ = umask::share(&lock, 0o666);
        }
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(Errno::WOULDBLOCK) => {
                    return Err(SinkError::Foreign(format!(
                        "{} is in use by another sales-stream process, or twice by this one. Stop \
                         the other one, or: {OWN_DIRECTORY}",
                        self.path.display()
                    )));
                }
                Err(errno) => return Err(self.storage("locking", &path, errno)),
            }
        }
        self.lock = Some(lock);
        Ok(())
    }

    fn read_marker(&self, directory: &OwnedFd) -> Result<MarkerFact, SinkError> {
        let newest = self.batches(directory)?.into_iter().max();
        match (self.read_query(directory)?, newest) {
            (Some((lineage, shared)), newest) => Ok(MarkerFact::At(lineage, newest, shared)),
            (None, None) => Ok(MarkerFact::Absent),
            (None, Some(newest)) => Err(SinkError::Foreign(format!(
                "{} holds batch files (the newest is {}) and no file {QUERY} that says whose they \
                 are. Bring {QUERY} back, or: {OWN_DIRECTORY}",
                self.path.display(),
                file_name(newest)
            ))),
        }
    }

    fn read_query(&self, directory: &OwnedFd) -> Result<Option<(Lineage, Vec<Shared>)>, SinkError> {
        let path = self.path.join(QUERY);
        let foreign = |problem: String| {
            SinkError::Foreign(format!(
                "{} does not say whose the directory is: {problem}. {OWN_DIRECTORY}",
                path.display()
            ))
        };
        let file = match self.open_file(directory, QUERY) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(OpenError::NotAFile) => return Err(foreign("it is not a regular file".to_owned())),
            Err(OpenError::Failed(error)) => return Err(self.storage("opening", &path, error)),
        };
        let mut bytes = Vec::new();
        file.take(QUERY_MAX_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|error| self.storage("reading", &path, error))?;
        let query: Query =
            serde_json::from_slice(&bytes).map_err(|error| foreign(error.to_string()))?;
        if query.format != FORMAT {
            return Err(foreign(format!(
                "its format is {}, this version knows {FORMAT}",
                query.format
            )));
        }
        if query.kind != self.kind {
            return Err(foreign(format!("it is for {:?}, not {:?}", query.kind, self.kind)));
        }
        let lineage = |text: &str| {
            text.parse::<Lineage>()
                .map_err(|_| foreign(format!("its lineage {text:?} is not 32 hexadecimal digits")))
        };
        let shared = query.went_on_from.iter().map(|from| {
            Ok::<_, SinkError>(Shared {
                lineage: lineage(&from.lineage)?,
                until: from.batch.map(BatchId),
            })
        });
        Ok(Some((lineage(&query.lineage)?, shared.collect::<Result<_, _>>()?)))
    }

    fn write_query(
        &self,
        directory: &OwnedFd,
        lineage: Lineage,
        shared: &[Shared],
    ) -> Result<(), SinkError> {
        let from = |shared: &Shared| WentOnFrom {
            lineage: shared.lineage.to_string(),
            batch: shared.until.map(|batch| batch.0),
        };
        let query = Query {
            format: FORMAT,
            kind: self.kind,
            lineage: lineage.to_string(),
            went_on_from: shared.iter().map(from).collect(),
        };
        self.place(directory, QUERY, |out| {
            serde_json::to_writer(&mut *out, &query).map_err(io::Error::from)?;
            Ok(out.write_all(b"\n")?)
        })?;
        reach(Point::OwnerWritten);
        Ok(())
    }

    /// The batches that have a file, in no order. Whatever bears such a name counts.
    fn batches(&self, directory: &OwnedFd) -> Result<Vec<BatchId>, SinkError> {
        Ok(self.names(directory)?.iter().filter_map(|name| batch_of(name)).collect())
    }

    fn names(&self, directory: &OwnedFd) -> Result<Vec<String>, SinkError> {
        let failed = |errno| self.storage("listing", &self.path, errno);
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(directory).map_err(failed)? {
            // A name that is not UTF-8 is not one of ours.
            if let Ok(name) = entry.map_err(failed)?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn remove_leftovers(&self, directory: &OwnedFd) -> Result<(), SinkError> {
        for name in self.names(directory)?.iter().filter(|name| is_leftover(name)) {
            let failed = |errno| self.storage("removing", &self.path.join(name), errno);
            let kind = fs::statat(directory, name.as_str(), AtFlags::SYMLINK_NOFOLLOW);
            if FileType::from_raw_mode(kind.map_err(failed)?.st_mode) == FileType::RegularFile {
                fs::unlinkat(directory, name.as_str(), AtFlags::empty()).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn check_end(&self, held: Option<BatchId>, newest: Option<BatchId>) -> Result<(), SinkError> {
        match held {
            Some(held) if Some(held) > newest => Err(SinkError::Diverged(format!(
                "{} holds batch {held} of this history, whose checkpoint ends at batch {}: the \
                 checkpoint was rolled back. Nothing was changed; the next start names the ways out",
                self.path.display(),
                newest.map_or_else(|| "none".to_owned(), |newest| newest.to_string()),
            ))),
            _ => Ok(()),
        }
    }

    /// Moves the files above `newest` to `_rolled_back/<holder>/`. Interrupted, it goes on at the
    /// next start, because `_query` still names the holder.
    fn roll_back(
        &self,
        directory: &OwnedFd,
        holder: Lineage,
        newest: Option<BatchId>,
    ) -> Result<(), SinkError> {
        let mut above = self.batches(directory)?;
        above.retain(|batch| Some(*batch) > newest);
        if above.is_empty() {
            return Ok(());
        }
        // From the end, so that an interruption leaves no hole.
        above.sort_unstable_by_key(|batch| std::cmp::Reverse(*batch));
        let holder = holder.to_string();
        let target_path = self.path.join(ROLLED_BACK).join(&holder);
        let failed = |errno| self.storage("moving batch files to", &target_path, errno);
        let aside = open_or_create(directory, ROLLED_BACK).map_err(failed)?;
        let target = open_or_create(&aside, &holder).map_err(failed)?;
        for batch in &above {
            self.move_aside(directory, &target, &target_path, &file_name(*batch))?;
            reach(Point::FileMovedAside);
        }
        for changed in [&target, &aside, directory] {
            sync(changed).map_err(failed)?;
        }
        tracing::warn!(
            directory = %self.path.display(),
            moved_to = %target_path.display(),
            files = above.len(),
            "moved the files of a given-up history aside"
        );
        Ok(())
    }

    fn move_aside(
        &self,
        directory: &OwnedFd,
        target: &OwnedFd,
        target_path: &Path,
        name: &str,
    ) -> Result<(), SinkError> {
        let path = target_path.join(name);
        match fs::statat(target, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Ok(_) => {
                return Err(SinkError::Diverged(format!(
                    "{} must be moved to {}, where there is one already. Move that one away and \
                     start again",
                    self.path.join(name).display(),
                    path.display()
                )));
            }
            Err(errno) => return Err(self.storage("looking for", &path, errno)),
        }
        fs::renameat(directory, name, target, name)
            .map_err(|errno| self.storage("moving a batch file to", &path, errno))
    }

    /// Writes a file under a temporary name, syncs it, and gives it its name for good.
    fn place(
        &self,
        directory: &OwnedFd,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>,
    ) -> Result<(), SinkError> {
        let mut temporary = temporary_name(name);
        if is_planted(Mutant::WriteInPlace) && name != QUERY {
            name.clone_into(&mut temporary);
        }
        let placed = write_synced(directory, &temporary, write).and_then(|()| {
            fs::renameat(directory, temporary.as_str(), directory, name)
                .map_err(|errno| WriteError::Output(errno.into()))
        });
        if placed.is_ok() {
            reach(Point::FileRenamed);
        }
        if let Err(error) = placed {
            // Makes room on a full disk; what stays is removed at the next start.
            let _ = fs::unlinkat(directory, temporary.as_str(), AtFlags::empty());
            return Err(match error {
                WriteError::Output(error) => self.storage("writing", &self.path.join(name), error),
                WriteError::Input(error) => SinkError::Checkpoint(error),
            });
        }
        self.sync_directory(directory)
    }

    /// Compares what is there with what would be written, and makes sure that it stays: the process
    /// that put it there may have died before it synced the directory.
    fn check_equal(
        &self,
        directory: &OwnedFd,
        name: &str,
        there: File,
        write: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>,
    ) -> Result<(), SinkError> {
        let failed = |error| self.storage("reading", &self.path.join(name), error);
        let mut comparison = Comparison::new(&there);
        let outcome = write(&mut comparison);
        if comparison.differs {
            return Err(self.diverged(name));
        }
        outcome.map_err(|error| match error {
            WriteError::Output(error) => failed(error),
            WriteError::Input(error) => SinkError::Checkpoint(error),
        })?;
        if !comparison.is_at_end().map_err(failed)? {
            return Err(self.diverged(name));
        }
        reach(Point::FileFound);
        there.sync_all().map_err(|error| self.storage("syncing", &self.path.join(name), error))?;
        self.sync_directory(directory)
    }

    /// Opens a regular file below the directory, without following a link or waiting for a pipe.
    fn open_file(&self, directory: &OwnedFd, name: &str) -> Result<Option<File>, OpenError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened =
            rustix::io::retry_on_intr(|| fs::openat(directory, name, flags, Mode::empty()));
        match opened {
            Ok(file) => {
                let file = File::from(file);
                let metadata = file.metadata().map_err(OpenError::Failed)?;
                if metadata.is_file() { Ok(Some(file)) } else { Err(OpenError::NotAFile) }
            }
            Err(Errno::NOENT) => Ok(None),
            // A symbolic link; a socket.
            Err(Errno::LOOP | Errno::NXIO) => Err(OpenError::NotAFile),
            Err(errno) => Err(OpenError::Failed(errno.into())),
        }
    }

    fn sync_directory(&self, directory: &OwnedFd) -> Result<(), SinkError> {
        sync(directory).map_err(|errno| self.storage("syncing the directory", &self.path, errno))
    }

    fn diverged(&self, name: &str) -> SinkError {
        SinkError::Diverged(format!(
            "{} is there already and is not what this batch publishes: two histories wrote to one \
             directory, or the file was changed. Nothing was written. Compare it, then move it away \
             to have this one's, and start again",
            self.path.join(name).display()
        ))
    }

    fn storage(&self, attempt: &str, path: &Path, error: impl Into<io::Error>) -> SinkError {
        let error = error.into();
        let remedy = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "Make room",
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "Make it writable for this user"
            }
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                "Name a directory of its own for this run"
            }
            _ => "Mend the disk or the path",
        };
        SinkError::Storage(format!(
            "{attempt} {} failed: {error}. {remedy} and start again; no batch is lost",
            path.display()
        ))
    }
}

const OWN_DIRECTORY: &str = "Give this run a directory of its own";

/// Why lines were not written.
pub(super) enum WriteError {
    /// The file does not take them.
    Output(io::Error),
    /// They cannot be read.
    Input(CheckpointError),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> WriteError {
        WriteError::Output(error)
    }
}

impl From<CheckpointError> for WriteError {
    fn from(error: CheckpointError) -> WriteError {
        WriteError::Input(error)
    }
}

/// Why a file was not opened.
enum OpenError {
    NotAFile,
    Failed(io::Error),
}

/// Compares what is written to it with a file.
struct Comparison<'a> {
    there: BufReader<&'a File>,
    expected: Vec<u8>,
    differs: bool,
}

impl<'a> Comparison<'a> {
    fn new(there: &'a File) -> Comparison<'a> {
        let there = BufReader::with_capacity(BUFFER_BYTES, there);
        Comparison { there, expected: Vec::new(), differs: false }
    }

    fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.there.read(&mut [0])? == 0)
    }
}

impl Write for Comparison<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.expected.resize(bytes.len(), 0);
        match self.there.read_exact(&mut self.expected) {
            Ok(()) => self.differs = self.expected != bytes,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.differs = true,
            Err(error) => return Err(error),
        }
        if self.differs {
            return Err(io::Error::other("the bytes differ"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_synced(
    directory: &OwnedFd,
    name: &str,
    write: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    match fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(WriteError::Output(errno.into())),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        fs::openat(directory, name, flags, Mode::from_raw_mode(0o666)).map_err(io::Error::from)?;
    umask::share(&file, 0o666)?;
    let mut out = Blocks::new(File::from(file));
    #[cfg(feature = "faults")]
    let write = |out: &mut dyn Write| write_half(name, write, out);
    write(&mut out)?;
    let file = out.into_file()?;
    reach(Point::FileWritten);
    file.sync_all()?;
    reach(Point::FileSynced);
    Ok(())
}

/// Writes a file; ends the process behind its first half where that is asked for.
#[cfg(feature = "faults")]
fn write_half(
    name: &str,
    write: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>,
    out: &mut dyn Write,
) -> Result<(), WriteError> {
    use crate::faults::{Step, asks_for_end_after, end_after};
    let Some(batch) = batch_of(name.trim_start_matches('.').trim_end_matches(".tmp")) else {
        return write(out);
    };
    if !asks_for_end_after(Step::HalfWritten, batch.0) {
        return write(out);
    }
    let mut bytes = Vec::new();
    write(&mut bytes)?;
    out.write_all(&bytes[..bytes.len() / 2])?;
    out.flush()?;
    end_after(Step::HalfWritten, batch.0);
    Ok(())
}

fn open_or_create(directory: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let is_new = match fs::mkdirat(directory, name, Mode::from_raw_mode(0o777)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(errno),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = fs::openat(directory, name, flags, Mode::empty())?;
    if is_new {
        // Ours: nothing can be wrong with its mode.
        let _ = umask::share(&opened, 0o777);
    }
    Ok(opened)
}

fn sync(directory: &OwnedFd) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| fs::fsync(directory))
}

/// Creates a directory and those above it, each synced into the one above it; names the one that
/// could not be.
fn create_directories(path: &Path) -> Result<(), (PathBuf, io::Error)> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent_of(path);
    if parent != path {
        create_directories(parent)?;
    }
    match std::fs::create_dir(path).and_then(|()| umask::share_directory(path)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(error) => return Err((path.to_owned(), error)),
    }
    sync_parent(path).map_err(|error| (path.to_owned(), error))
}

/// Syncs the entry of `path` in its parent. A parent that this user may enter and not list cannot be
/// opened, and was not changed by this user either.
fn sync_parent(path: &Path) -> io::Result<()> {
    match File::open(parent_of(path)) {
        Ok(parent) => parent.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn file_name(batch: BatchId) -> String {
    format!("batch-{batch:012}.jsonl")
}

/// The batch whose file bears this name exactly.
fn batch_of(name: &str) -> Option<BatchId> {
    let digits = name.strip_prefix("batch-")?.strip_suffix(".jsonl")?;
    let batch = BatchId(digits.parse().ok()?);
    (file_name(batch) == name).then_some(batch)
}

fn temporary_name(name: &str) -> String {
    format!(".{name}.tmp")
}

fn is_leftover(name: &str) -> bool {
    let named = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp"));
    named.is_some_and(|name| name == QUERY || batch_of(name).is_some())
}
