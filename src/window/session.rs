//! Session windows: an event at `t` with gap `g` is `[t, t + g)`, and what overlaps or touches within
//! a key grows together.
//!
//! Invariant: open sessions of a key neither overlap nor touch. Which sessions there are does not
//! depend on the order of the events, nor on how they are cut into batches, as long as none is late.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use foldhash::fast::FixedState;

use crate::{
    types::{Event, Place, Timestamp, Verdict, Watermark},
    window::{Accumulator, Changes, Group, Table, WindowPlan, key},
};

/// Sessions of one key by their start.
type ByStart = BTreeMap<Timestamp, Session>;

#[derive(Clone, Debug)]
struct Session {
    end: Timestamp,
    totals: Box<[Accumulator]>,
}

/// The sessions of one batch's events.
#[derive(Debug)]
pub struct SessionDelta {
    plan: Arc<WindowPlan>,
    late_bound: Watermark,
    keys: BTreeMap<Box<[u8]>, ByStart>,
    /// About how many bytes of memory `keys` take.
    bytes: usize,
    key: Vec<u8>,
}

impl Session {
    /// Bytes of texts that its totals own.
    fn text_bytes(&self) -> usize {
        text_bytes(&self.totals)
    }
}

fn text_bytes(totals: &[Accumulator]) -> usize {
    totals.iter().map(Accumulator::text_bytes).sum()
}

impl SessionDelta {
    /// The delta of a batch that drops events whose own end is at or before `late_bound`.
    #[must_use]
    pub fn new(plan: Arc<WindowPlan>, late_bound: Watermark) -> SessionDelta {
        SessionDelta { plan, late_bound, keys: BTreeMap::new(), bytes: 0, key: Vec::new() }
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// Adds an event to its session. Whether it is late is asked of its own `[t, t + gap)`, even where
    /// an open session would take it (Spark).
    pub fn add(&mut self, event: &Event<'_>, gap_us: Option<i64>) -> Verdict {
        let Some(time) = event.time else { return Verdict::NoTime };
        let Some(gap_us) = gap_us.filter(|gap_us| *gap_us > 0) else { return Verdict::NoSession };
        let end = Timestamp(time.0.saturating_add(gap_us));
        if self.plan.sessions_are_late && self.late_bound.closes(end) {
            return Verdict::Late;
        }
        self.key.clear();
        for &column in &self.plan.key_columns {
            key::encode(event.value(column), &mut self.key);
        }
        let sessions = match self.keys.get_mut(&self.key[..]) {
            Some(sessions) => sessions,
            None => {
                self.bytes += size_of::<(Box<[u8]>, ByStart)>() + self.key.len();
                self.keys.entry(self.key.as_slice().into()).or_default()
            }
        };
        // The usual case: it falls into a session that need not grow downwards nor meet another.
        if let Some((_, session)) = sessions.range_mut(..=time).next_back()
            && time <= session.end
            && end <= session.end
        {
            let before = session.text_bytes();
            self.plan.add_event(&mut session.totals, event);
            self.bytes = self.bytes - before + session.text_bytes();
            return Verdict::Counted;
        }
        let mut totals: Box<[Accumulator]> = self.plan.fresh().collect();
        self.plan.add_event(&mut totals, event);
        let of_one = bytes_of_session(&self.plan);
        let start = absorb(&self.plan, sessions, time, Session { end, totals }, &mut |_, gone| {
            self.bytes -= of_one + gone.text_bytes();
        });
        self.bytes += of_one + sessions[&start].text_bytes();
        Verdict::Counted
    }
}

/// What a session takes at its start, without texts.
fn bytes_of_session(plan: &WindowPlan) -> usize {
    size_of::<(Timestamp, Session)>() + plan.stride() * size_of::<Accumulator>()
}

/// Puts a session in, merged with all that it meets, which are told to `gone`; its start then.
fn absorb(
    plan: &WindowPlan,
    sessions: &mut ByStart,
    start: Timestamp,
    session: Session,
    gone: &mut dyn FnMut(Timestamp, &Session),
) -> Timestamp {
    let met = sessions.range(..=session.end).rev().take_while(|(_, other)| other.end >= start);
    let met: Vec<Timestamp> = met.map(|(start, _)| *start).collect();
    let mut parts = vec![(start, session)];
    for start in met {
        let other = sessions.remove(&start).expect("it was just seen");
        gone(start, &other);
        parts.push((start, other));
    }
    // In the order of time; of two that begin together the new one is first (Spark).
    parts.sort_by_key(|(start, _)| *start);
    let mut parts = parts.into_iter();
    let (start, mut whole) = parts.next().expect("the new session is one of them");
    for (_, part) in parts {
        whole.end = whole.end.max(part.end);
        plan.merge(&mut whole.totals, &part.totals);
    }
    sessions.insert(start, whole);
    start
}

fn changes_at(
    places: &mut BTreeMap<Timestamp, Changes>,
    closing: Timestamp,
    stride: usize,
) -> &mut Changes {
    let none = || Changes::written(Place::groups(closing), Table::new(stride));
    places.entry(closing).or_insert_with(none)
}

/// Every open session.
#[derive(Debug)]
pub struct Sessions {
    plan: Arc<WindowPlan>,
    keys: HashMap<Arc<[u8]>, ByStart, FixedState>,
    /// Bytes of the keys in `keys`.
    key_bytes: usize,
    /// Bytes of texts that totals own.
    text_bytes: usize,
    ends: BTreeSet<End>,
}

/// End, start and key of a session.
type End = (Timestamp, Timestamp, Arc<[u8]>);

/// How many rows of state a merge made and removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Merged {
    pub(super) written: u64,
    /// Starts that vanished.
    pub(super) removed: u64,
}

impl Sessions {
    /// No session is open.
    #[must_use]
    pub fn new(plan: Arc<WindowPlan>) -> Sessions {
        let (keys, ends) = (HashMap::default(), BTreeSet::new());
        Sessions { plan, keys, key_bytes: 0, text_bytes: 0, ends }
    }

    /// What the sessions do.
    #[must_use]
    pub fn plan(&self) -> &Arc<WindowPlan> {
        &self.plan
    }

    /// How many sessions are open.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ends.len() as u64
    }

    /// About how many bytes of memory they take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let session = size_of::<End>() + bytes_of_session(&self.plan);
        // A slot of a map has a byte of its own, a shared key two counters.
        let slots = self.keys.capacity() * (size_of::<(Arc<[u8]>, ByStart)>() + 1);
        let counters = self.keys.len() * 2 * size_of::<usize>();
        slots + counters + self.key_bytes + self.text_bytes + self.ends.len() * session
    }

    /// Whether no session is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The end of the session that closes first; [`Place::NEVER`] where none ever closes.
    #[must_use]
    pub fn first_end(&self) -> Option<Timestamp> {
        let first = self.ends.first().map(|(end, ..)| *end);
        first.map(|end| if self.plan.closes { end } else { Place::NEVER })
    }

    /// Puts back a session read from a checkpoint.
    pub fn restore(&mut self, row: Group<'_>) {
        let key: Arc<[u8]> = row.key.into();
        let session = Session { end: row.end, totals: row.accumulators.into() };
        if !self.keys.contains_key(&key) {
            self.key_bytes += key.len();
        }
        self.text_bytes += session.text_bytes();
        let old = self.keys.entry(key.clone()).or_default().insert(row.start, session);
        // One that had closed and one that began at the same instant later may both be stored.
        if let Some(old) = old {
            self.text_bytes -= old.text_bytes();
            self.ends.remove(&(old.end, row.start, key.clone()));
        }
        self.ends.insert((row.end, row.start, key));
    }

    /// Adds a batch's sessions.
    pub(super) fn merge(&mut self, delta: SessionDelta, changes: &mut Vec<Changes>) -> Merged {
        let mut merged = Merged::default();
        let mut places: BTreeMap<Timestamp, Changes> = BTreeMap::new();
        for (key, sessions) in delta.keys {
            let key: Arc<[u8]> = match self.keys.get_key_value(&key[..]) {
                Some((known, _)) => known.clone(),
                None => {
                    self.key_bytes += key.len();
                    key.into()
                }
            };
            self.merge_key(&key, sessions, &mut places, &mut merged);
        }
        changes.extend(places.into_values());
        merged
    }

    fn merge_key(
        &mut self,
        key: &Arc<[u8]>,
        sessions: ByStart,
        places: &mut BTreeMap<Timestamp, Changes>,
        merged: &mut Merged,
    ) {
        let open = self.keys.entry(key.clone()).or_default();
        // Starts of sessions made by this batch, and sessions made before it that are gone.
        let mut made: BTreeSet<Timestamp> = BTreeSet::new();
        let mut gone: Vec<(Timestamp, Timestamp)> = Vec::new();
        for (start, session) in sessions {
            let start = absorb(&self.plan, open, start, session, &mut |start, other| {
                self.text_bytes -= other.text_bytes();
                self.ends.remove(&(other.end, start, key.clone()));
                if !made.remove(&start) {
                    gone.push((start, other.end));
                }
            });
            made.insert(start);
            self.text_bytes += open[&start].text_bytes();
            self.ends.insert((open[&start].end, start, key.clone()));
        }
        let stride = self.plan.stride();
        for start in &made {
            let Session { end, totals } = &open[start];
            let row = Group { start: *start, end: *end, key, accumulators: totals };
            let changes = changes_at(places, self.plan.closing(*end), stride);
            Arc::make_mut(&mut changes.written).put(row);
        }
        merged.written += made.len() as u64;
        for (start, end) in gone {
            let closing = self.plan.closing(end);
            let now = open.get(&start).filter(|_| made.contains(&start));
            merged.removed += u64::from(now.is_none());
            // Where the new row stands in place of the old one there is nothing to remove.
            if now.is_none_or(|session| self.plan.closing(session.end) != closing) {
                changes_at(places, closing, stride).removed.push((start, key[..].into()));
            }
        }
    }

    /// Takes out the sessions that close under `watermark`.
    pub(super) fn close(&mut self, watermark: Watermark) -> Table {
        let mut closed = Table::new(self.plan.stride());
        while self.plan.closes
            && self.ends.first().is_some_and(|(end, ..)| watermark.closes(*end))
            && let Some((end, start, key)) = self.ends.pop_first()
        {
            let sessions = self.keys.get_mut(&key).expect("every end is of a session");
            let session = sessions.remove(&start).expect("every end is of a session");
            self.text_bytes -= session.text_bytes();
            if sessions.is_empty() {
                self.keys.remove(&key);
                self.key_bytes -= key.len();
            }
            closed.put(Group { start, end, key: &key, accumulators: &session.totals });
        }
        closed
    }

    /// The open sessions, ordered by start, then key.
    #[must_use]
    pub fn sorted(&self) -> Vec<Group<'_>> {
        let mut all: Vec<Group<'_>> = self
            .keys
            .iter()
            .flat_map(|(key, sessions)| {
                sessions.iter().map(|(start, session)| Group {
                    start: *start,
                    end: session.end,
                    key,
                    accumulators: &session.totals,
                })
            })
            .collect();
        all.sort_unstable_by(|a, b| (a.start, a.key).cmp(&(b.start, b.key)));
        all
    }
}
