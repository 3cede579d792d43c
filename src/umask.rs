//! Who may read what this process makes: its state nobody else, its results whoever the user lets.
//!
//! RocksDB makes its files for everybody to read, and the only thing it listens to is the umask. So the
//! process takes everything from others, and what is meant for others is given back to them, as far as
//! the umask of the user's shell does.
//!
//! Start at [`keep_private`]. Not here: the modes of the state directory (`checkpoint::rocks`).

use std::{fs::File, io, os::fd::AsFd, path::Path, sync::OnceLock};

use rustix::fs::{self, Mode};

/// The umask that the process was started with, once it has another.
static OF_USER: OnceLock<Mode> = OnceLock::new();

/// From now on what this process makes is for its user alone.
pub fn keep_private() {
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    // Only the first call meets the user's.
    let _ = OF_USER.set(before);
}

/// Gives a new file or directory the mode that it would have without [`keep_private`]: `mode`, usually
/// 0666 or 0777, less the user's umask.
///
/// # Errors
/// The system's, for a file that is not ours.
pub fn share(made: impl AsFd, mode: u32) -> io::Result<()> {
    let Some(of_user) = OF_USER.get() else { return Ok(()) };
    let has = Mode::from_raw_mode(fs::fstat(&made)?.st_mode);
    // Where a directory says itself who may read what is made in it (a default ACL), no umask counts.
    if !(has & (Mode::RWXG | Mode::RWXO)).is_empty() {
        return Ok(());
    }
    // The group's bit of a directory's parent stays.
    let wanted = has | (Mode::from_raw_mode(mode) - *of_user);
    if wanted != has {
        fs::fchmod(&made, wanted)?;
    }
    Ok(())
}

/// [`share`] for a new directory, by its name.
///
/// # Errors
/// As [`share`].
pub fn share_directory(path: &Path) -> io::Result<()> {
    share(File::open(path)?, 0o777)
}
