//! The state of one operator: a map for each shuffle partition, and the log of what a batch did to it.
//!
//! Invariant: applying the changes of all batches in order to an empty store, without copying the maps
//! in between, gives the maps Spark has after a restart (it replays its delta files so).

use crate::{
    spark::{Field, field::text_bytes, hash_map::JavaMap},
    spec::StateStore,
};

/// What a batch did to one key of an operator's state: a line of Spark's delta file.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The operator.
    pub operator: Operator,
    /// The shuffle partition.
    pub partition: u32,
    /// The key's bytes.
    pub key: Box<[u8]>,
    /// What is put; `None` removes the key.
    pub value: Option<Box<[Field]>>,
}

/// Spark's stateful operators, in the order its progress lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Operator {
    /// Groups: of windows, of sessions, of keys.
    Aggregation = 0,
    /// Keys already seen.
    Deduplication = 1,
}

/// The log of what batches did to the state, with what its reading depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct StateLog {
    /// Shuffle partitions of the changes.
    pub partitions: u32,
    /// The state store whose order of rows is given.
    pub state_store: StateStore,
    /// Types of keys and values, as [`SparkEngine::schema`](crate::spark::SparkEngine::schema) has them.
    pub schema: String,
    /// What was done, in its order.
    pub changes: Vec<Change>,
}

/// What a batch adds to the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogWrite {
    /// Its part.
    pub log: StateLog,
    /// Whether it makes the state from nothing, so that all parts before it are needed no more.
    pub is_snapshot: bool,
}

/// Key and value of what was taken out.
pub(super) type Removed = (Box<[u8]>, Box<[Field]>);

#[derive(Clone, Debug)]
pub(super) struct Store {
    operator: Operator,
    maps: Vec<JavaMap<Box<[Field]>>>,
    /// Fields of the newest value; all have as many.
    width: usize,
    /// Bytes of texts that values own.
    text_bytes: usize,
}

impl Store {
    pub(super) fn new(operator: Operator, partitions: usize) -> Store {
        Store { operator, maps: vec![JavaMap::default(); partitions], width: 0, text_bytes: 0 }
    }

    pub(super) fn partitions(&self) -> usize {
        self.maps.len()
    }

    pub(super) fn len(&self) -> u64 {
        self.maps.iter().map(|map| map.len() as u64).sum()
    }

    /// About how many bytes of memory it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        let values: usize = self.maps.iter().map(JavaMap::len).sum();
        let maps: usize = self.maps.iter().map(JavaMap::memory_bytes).sum();
        maps + values * self.width * size_of::<Field>() + self.text_bytes
    }

    /// What loading the version before does to the maps.
    pub(super) fn load(&mut self) {
        self.maps.iter_mut().for_each(JavaMap::copy_anew);
    }

    pub(super) fn get(&self, partition: usize, key: &[u8]) -> Option<&[Field]> {
        self.maps[partition].get(key).map(|value| &**value)
    }

    pub(super) fn contains(&self, partition: usize, key: &[u8]) -> bool {
        self.maps[partition].contains(key)
    }

    /// The keys of a partition in the order of its map.
    pub(super) fn keys(&self, partition: usize) -> impl Iterator<Item = (&[u8], &[Field])> {
        self.maps[partition].iter().map(|(key, value)| (key, &**value))
    }

    /// Does to the state what a log says.
    pub(super) fn apply(&mut self, change: &Change) {
        let map = &mut self.maps[change.partition as usize];
        let old = map.get(&change.key).map_or(0, |value| text_bytes(value));
        self.text_bytes -= old;
        match &change.value {
            Some(value) => {
                self.width = value.len();
                self.text_bytes += text_bytes(value);
                map.put(&change.key, value.clone());
            }
            None => {
                map.remove(&change.key);
            }
        }
    }

    pub(super) fn change(
        &mut self,
        partition: usize,
        key: &[u8],
        value: Option<Box<[Field]>>,
        log: &mut Vec<Change>,
    ) {
        let change = Change {
            operator: self.operator,
            partition: u32::try_from(partition).expect("shuffle partitions fit 32 bits"),
            key: key.into(),
            value,
        };
        self.apply(&change);
        log.push(change);
    }

    /// Takes out the keys for which `is_done` holds, in the order of the maps.
    pub(super) fn evict<E>(
        &mut self,
        partition: usize,
        is_done: impl Fn(&[u8], &[Field]) -> Result<bool, E>,
        log: &mut Vec<Change>,
    ) -> Result<Vec<Removed>, E> {
        let mut done = Vec::new();
        for (key, value) in self.keys(partition) {
            if is_done(key, value)? {
                done.push((Box::from(key), Box::from(value)));
            }
        }
        for (key, _) in &done {
            self.change(partition, key, None, log);
        }
        Ok(done)
    }
}
