//! Checkpoints of the probe: results to a synced file, then one synced write to RocksDB, on a thread of its own.
//!
//! Invariants: at most one checkpoint is under way; its results are on disk before it is. Start at
//! [`Store::save`]. Not here: reading it again, which a probe never does.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::Write,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
};

use rocksdb::{DB, DBCompressionType, Options, WriteBatch, WriteOptions};

use super::sums::Changes;
use crate::Outcome;

/// The store's end on the reading thread.
pub struct Store {
    sender: SyncSender<Changes>,
    writer: JoinHandle<Result<(), String>>,
}

impl Store {
    /// # Errors
    /// The directory cannot be made or is there already.
    pub fn create(directory: &Path) -> Outcome<Store> {
        fs::create_dir(directory)?;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::None);
        options.set_max_background_jobs(2);
        let database = DB::open(&options, directory.join("db"))?;
        fs::create_dir(directory.join("results"))?;
        let results = File::create(directory.join("results/all.jsonl"))?;
        // A rendezvous: a second checkpoint waits for the first.
        let (sender, receiver) = sync_channel(0);
        let writer = std::thread::spawn(move || write(&database, results, &receiver));
        Ok(Store { sender, writer })
    }

    /// Hands a checkpoint to the writer, waiting for the one before it.
    ///
    /// # Errors
    /// The writer has failed; `finish` says why.
    pub fn save(&mut self, changes: Changes) -> Outcome<()> {
        self.sender.send(changes).map_err(|_| "the checkpoint's writer has failed".into())
    }

    /// Waits until everything is on disk.
    ///
    /// # Errors
    /// A write failed.
    pub fn finish(self) -> Outcome<()> {
        drop(self.sender);
        Ok(self.writer.join().map_err(|_| "the checkpoint's writer panicked")??)
    }
}

fn write(database: &DB, mut results: File, receiver: &Receiver<Changes>) -> Result<(), String> {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    // Numbers of the checkpoints that are still needed, with their newest windows.
    let mut kept: VecDeque<(u64, i64)> = VecDeque::new();
    for (number, changes) in (0_u64..).zip(receiver) {
        results.write_all(&changes.results).map_err(|error| error.to_string())?;
        results.sync_data().map_err(|error| error.to_string())?;
        let mut batch = WriteBatch::default();
        while kept.front().is_some_and(|(_, newest)| *newest < changes.oldest) {
            let oldest = kept.pop_front().map_or(0, |(number, _)| number);
            batch.delete(oldest.to_be_bytes());
        }
        batch.put(number.to_be_bytes(), &changes.rows);
        kept.push_back((number, changes.newest));
        let offsets: Vec<u8> = changes.offsets.iter().flat_map(|it| it.to_be_bytes()).collect();
        batch.put("offsets", offsets);
        database.write_opt(batch, &options).map_err(|error| error.to_string())?;
    }
    Ok(())
}
