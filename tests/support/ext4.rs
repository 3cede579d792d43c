//! A small ext4 in a file, mounted on a loop device: a disk that can lose its power, be filled, and be
//! made read-only without harm to the machine.
//!
//! Needs root and the tools `mkfs.ext4`, `mount` and `umount`; [`Disk::make`] gives a word instead of a
//! disk where they are missing. Invariant: dropping a disk leaves no mount and no loop device behind.
//!
//! Not here: what is done to a processor that writes on it.

use std::{
    fs::{self, File},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::fs::{FallocateFlags, fallocate};

/// `EXT4_IOC_SHUTDOWN`, `_IOR('X', 125, __u32)`: from then on every read or write of the disk fails.
const SHUTDOWN: libc::c_ulong = 0x8004_587d;
/// Nothing that is not on the disk yet goes there any more, the journal in memory included.
const NO_LOG_FLUSH: u32 = 2;

const BALLAST: &str = "ballast";

/// A disk of its own.
pub struct Disk {
    /// Where it is mounted.
    pub root: PathBuf,
    image: PathBuf,
    options: String,
    copies: u32,
    home: tempfile::TempDir,
}

impl Disk {
    /// Makes and mounts one of so many mebibytes; why not, where that is not possible.
    /// `options` are those of `mount -o`, beside `loop`.
    pub fn make(mebibytes: u64, options: &str) -> Result<Disk, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("not root".to_owned());
        }
        // In memory where that is a file system of its own: the power cut needs no real disk.
        let memory = Path::new("/dev/shm");
        let home = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let home = home.map_err(|error| format!("no temporary directory: {error}"))?;
        let image = home.path().join("image");
        let root = home.path().join("disk");
        fs::create_dir(&root).map_err(|error| error.to_string())?;
        let file = File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(mebibytes << 20).map_err(|error| error.to_string())?;
        let disk = Disk { root, image, options: options.to_owned(), copies: 0, home };
        tool(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&disk.image))?;
        disk.try_mount()?;
        Ok(disk)
    }

    fn try_mount(&self) -> Result<(), String> {
        let mut options = "loop".to_owned();
        if !self.options.is_empty() {
            options = format!("{options},{}", self.options);
        }
        tool(
            Command::new("mount")
                .args(["-t", "ext4", "-o", &options])
                .args([&self.image, &self.root]),
        )
    }

    /// Mounts it again; the journal is replayed, as after a power cut.
    fn mount(&mut self) {
        self.try_mount().expect("a disk can be mounted");
        if File::open(&self.root).and_then(|root| root.sync_all()).is_ok() {
            return;
        }
        // A process with mounts of its own (`ip netns exec` makes such) keeps the disk without power alive,
        // and the image would be that one's again. Nothing writes to it any more, so a copy is it.
        self.unmount();
        self.copies += 1;
        let copy = self.home.path().join(format!("image-{}", self.copies));
        tool(Command::new("cp").arg("--sparse=always").args([&self.image, &copy]))
            .expect("an image can be copied");
        let old = std::mem::replace(&mut self.image, copy);
        fs::remove_file(old).expect("it is ours");
        self.try_mount().expect("a disk can be mounted");
    }

    /// Unmounts it. No process may use it.
    fn unmount(&self) {
        let deadline = std::time::Instant::now() + super::PATIENCE;
        while let Err(problem) = tool(Command::new("umount").arg(&self.root)) {
            assert!(std::time::Instant::now() < deadline, "{problem}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Cuts the power: nothing reaches the disk any more, and everything on it fails until it is
    /// mounted anew.
    pub fn cut(&self) {
        let directory = File::open(&self.root).expect("a disk that is mounted can be opened");
        let flags = NO_LOG_FLUSH;
        // SAFETY: the descriptor is open, and the call reads one u32, which outlives it.
        let done = unsafe { libc::ioctl(directory.as_raw_fd(), SHUTDOWN as _, &raw const flags) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    /// What a machine does that comes up again: mounts the disk as it was left.
    pub fn come_up(&mut self) {
        self.unmount();
        self.mount();
    }

    /// Writes everything out, as the system does at times of its own.
    pub fn sync(&self) {
        let directory = File::open(&self.root).expect("a disk that is mounted can be opened");
        // A disk without power cannot.
        let _ = rustix::fs::syncfs(&directory);
    }

    /// Changes how it is mounted: `ro` or `rw`.
    pub fn remount(&self, how: &str) {
        tool(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.root))
            .expect("a disk can be mounted another way");
    }

    /// Bytes that can still be written.
    pub fn free(&self) -> u64 {
        let about = rustix::fs::statvfs(&self.root).expect("a disk can be asked");
        about.f_bavail * about.f_frsize
    }

    /// Fills it until so many bytes are free, or a few less.
    pub fn fill_up_to(&self, free: u64) {
        self.sync();
        let file = File::options().create(true).append(true).open(self.root.join(BALLAST));
        let file = file.expect("the ballast can be made");
        for step in [1 << 20, 64 << 10, 1 << 10] {
            while self.free() > free + step {
                let at = file.metadata().expect("a file can be asked").len();
                if fallocate(&file, FallocateFlags::empty(), at, step).is_err() {
                    break;
                }
            }
        }
        self.sync();
    }

    /// Gives the space back.
    pub fn empty(&self) {
        match fs::remove_file(self.root.join(BALLAST)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }

    /// A directory that is not on the disk and goes with it.
    pub fn beside(&self) -> &Path {
        self.home.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = tool(Command::new("umount").arg(&self.root)).is_ok();
        if !unmounted {
            let _ = tool(Command::new("umount").arg("-l").arg(&self.root));
        }
    }
}

/// Runs a tool to its end; its words when it failed.
pub fn tool(command: &mut Command) -> Result<(), String> {
    let done = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(format!("{} ended with {}: {said}", command.get_program().display(), done.status))
}
