//! A file that is written in large blocks and synced at its end.
//!
//! A file that is longer than a block is written past the page cache where the file system lets us: its bytes go to
//! disk at once anyway, and a page of the cache with a copy for each 4 KiB would be for nothing. Where it does not let
//! us, and behind the last whole block, the same bytes go through the cache.
//!
//! Not here: names, what is in the file (`batch_files`).

use std::{
    fs::File,
    io::{self, Write},
};

use rustix::fs::{self, OFlags};

/// What is written at once: enough for a disk to be busy, few pages for us.
const BLOCK_BYTES: usize = 1 << 20;

/// What memory and offsets have to be a multiple of past the page cache; where a file system asks for more, it gets
/// what it does not take through the cache.
const ALIGNMENT: usize = 4096;

/// A new file, at its beginning.
pub(super) struct Blocks {
    file: File,
    /// Room for a block, from `begin` on; none before something is written.
    buffer: Vec<u8>,
    begin: usize,
    len: usize,
    /// Whether writes go past the page cache.
    is_direct: bool,
}

impl Blocks {
    pub(super) fn new(file: File) -> Blocks {
        Blocks { file, buffer: Vec::new(), begin: 0, len: 0, is_direct: false }
    }

    /// Writes what is left, and gives the file back, not synced.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn into_file(mut self) -> io::Result<File> {
        self.flush()?;
        Ok(self.file)
    }

    fn write_out(&mut self) -> io::Result<()> {
        let mut at = self.begin;
        let end = self.begin + self.len;
        while at < end {
            match self.file.write(&self.buffer[at..end]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => at += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The file system takes other blocks, or cut this one at another place.
                Err(error) if self.is_direct && error.kind() == io::ErrorKind::InvalidInput => {
                    self.set_direct(false)?;
                }
                Err(error) => return Err(error),
            }
        }
        self.len = 0;
        Ok(())
    }

    fn set_direct(&mut self, direct: bool) -> io::Result<()> {
        if self.is_direct != direct {
            let flags = if direct { OFlags::DIRECT } else { OFlags::empty() };
            fs::fcntl_setfl(&self.file, flags)?;
            self.is_direct = direct;
        }
        Ok(())
    }
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; BLOCK_BYTES + ALIGNMENT];
            self.begin = self.buffer.as_ptr().align_offset(ALIGNMENT);
        }
        let taken = bytes.len().min(BLOCK_BYTES - self.len);
        let at = self.begin + self.len;
        self.buffer[at..at + taken].copy_from_slice(&bytes[..taken]);
        self.len += taken;
        if self.len == BLOCK_BYTES {
            // Where that is not to be had, it goes the other way.
            let _ = self.set_direct(true);
            self.write_out()?;
        }
        Ok(taken)
    }

    /// Writes what there is. Blocks behind it begin where they cannot go past the cache.
    fn flush(&mut self) -> io::Result<()> {
        self.set_direct(false)?;
        self.write_out()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn write(directory: &Path, bytes: &[u8], piece: usize) -> (Vec<u8>, bool) {
        let path = directory.join("file");
        let mut out = Blocks::new(File::create(&path).unwrap());
        for piece in bytes.chunks(piece) {
            out.write_all(piece).unwrap();
        }
        let was_direct = out.is_direct;
        drop(out.into_file().unwrap());
        (std::fs::read(&path).unwrap(), was_direct)
    }

    #[test]
    fn what_is_written_is_there_whatever_its_length_and_the_file_system() {
        let disk = tempfile::tempdir().unwrap();
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        for len in
            [0, 1, 4095, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 4097]
        {
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            for (directory, piece) in [(&disk, 1000), (&disk, 5 << 20), (&memory, 70_000)] {
                let (there, was_direct) = write(directory.path(), &bytes, piece);
                assert!(there == bytes, "{len} bytes in pieces of {piece}");
                assert!(!was_direct || len >= BLOCK_BYTES);
            }
        }
    }

    #[test]
    fn blocks_that_the_file_system_does_not_take_go_through_the_cache() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut file = File::create(&path).unwrap();
        // From here on no block begins where it could go past the cache.
        file.write_all(b"x").unwrap();
        let mut out = Blocks::new(file);
        out.write_all(&vec![b'y'; 2 * BLOCK_BYTES + 5]).unwrap();
        drop(out.into_file().unwrap());
        let there = std::fs::read(&path).unwrap();
        assert_eq!((there.len(), there[0]), (2 * BLOCK_BYTES + 6, b'x'));
        assert!(there[1..].iter().all(|byte| *byte == b'y'));
    }

    #[test]
    fn a_file_that_takes_nothing_is_an_error() {
        let file = File::options().write(true).open("/dev/full").unwrap();
        let mut out = Blocks::new(file);
        out.write_all(b"some").unwrap();
        assert_eq!(out.into_file().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
