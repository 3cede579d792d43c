//! The groups of one task of a batch, in the order they were first seen: Spark's hash aggregate.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::{
    spark::{
        Failure, Field,
        field::text_bytes,
        plan::{AggregationPlan, WindowKind},
    },
    types::{Timestamp, Value},
};

/// Keys come from outside, so the seed is not the crate's own default.
const HASHER: FixedState = FixedState::with_seed(0x0005_9a4b_5ea1);

/// Groups in the order they were first seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    index: HashTable<u32>,
    pub(super) groups: Vec<Group>,
    /// Bytes that keys and what was added up own.
    owned_bytes: usize,
    scratch: Vec<u8>,
}

/// What one task has added up of a group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The key's row.
    pub(super) key: Box<[u8]>,
    /// End of its window or of the record's session; anything without windows.
    pub(super) end: i64,
    /// What was added up.
    pub(super) buffer: Box<[Field]>,
}

impl Groups {
    /// About how many bytes of memory they take.
    pub(super) fn memory_bytes(&self) -> usize {
        // An index's slot has a byte of its own beside its number.
        self.index.capacity() * (size_of::<u32>() + 1)
            + self.groups.capacity() * size_of::<Group>()
            + self.owned_bytes
    }

    /// Adds a record: its keys, and an argument for each aggregate. `gap` is that of its session.
    ///
    /// # Errors
    /// With ANSI mode on, arithmetic that overflows.
    pub(super) fn add(
        &mut self,
        plan: &AggregationPlan,
        (time, gap): (Option<Timestamp>, Option<i64>),
        keys: &[Value<'_>],
        arguments: &[Value<'_>],
    ) -> Result<(), Box<Failure>> {
        match (plan.window, time) {
            (WindowKind::None, _) => self.add_to(plan, None, i64::MAX, (keys, arguments)),
            (_, None) => Ok(()),
            (WindowKind::Sliding(window), Some(time)) => {
                for (start, end) in plan.windows(time, &window)? {
                    self.add_to(plan, Some(start), end, (keys, arguments))?;
                }
                Ok(())
            }
            (WindowKind::Session(fixed), Some(time)) => match fixed.or(gap) {
                Some(gap) if gap > 0 => {
                    let end = time.0.saturating_add(gap);
                    self.add_to(plan, Some(time.0), end, (keys, arguments))
                }
                _ => Ok(()),
            },
        }
    }

    fn add_to(
        &mut self,
        plan: &AggregationPlan,
        start: Option<i64>,
        end: i64,
        (keys, arguments): (&[Value<'_>], &[Value<'_>]),
    ) -> Result<(), Box<Failure>> {
        let mut key = std::mem::take(&mut self.scratch);
        let window = if plan.layout.window { start.map(|start| (start, end)) } else { None };
        plan.layout.encode(window, keys, start, &mut key);
        let group = self.find_or_insert(&key, end, || plan.buffers.fresh());
        let before = text_bytes(&group.buffer);
        let updated = plan.buffers.update(&mut group.buffer, arguments);
        let after = text_bytes(&group.buffer);
        self.owned_bytes = self.owned_bytes - before + after;
        self.scratch = key;
        updated.map_err(|(index, class)| {
            let window = start.map(|start| (Timestamp(start), Timestamp(end)));
            plan.failure(window, keys, (index, Value::Null, class))
        })
    }

    /// The group of a key and an end, made anew if it was not there.
    pub(super) fn find_or_insert(
        &mut self,
        key: &[u8],
        end: i64,
        fresh: impl FnOnce() -> Box<[Field]>,
    ) -> &mut Group {
        let groups = &mut self.groups;
        let hash = HASHER.hash_one(key);
        let found = self.index.find(hash, |&index| {
            let group = &groups[index as usize];
            *group.key == *key && group.end == end
        });
        let place = if let Some(index) = found {
            *index
        } else {
            let place = u32::try_from(groups.len()).expect("fewer than 2^32 groups in a batch");
            let buffer = fresh();
            self.owned_bytes += key.len() + size_of_val(&*buffer) + text_bytes(&buffer);
            groups.push(Group { key: key.into(), end, buffer });
            self.index
                .insert_unique(hash, place, |&index| HASHER.hash_one(&*groups[index as usize].key));
            place
        };
        &mut groups[place as usize]
    }
}
