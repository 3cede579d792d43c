//! What a start may do, decided from facts that were all read before anything is changed.
//!
//! The witnesses of a checkpoint's age are the announce file `visible`, Kafka's commit metadata and
//! the sinks' own markers: each was written only after the batch it names was durable, so a database
//! older than any of them was rolled back, however cleanly it opened.
//!
//! Invariant: an error while reading a fact never reaches this function as an absence; the caller
//! asks again or stops. A permission is for one transition: what it permits begins a new lineage, and
//! left in the command it permits nothing more.
//!
//! Not here: what a refused operator can type (`ways_out`).

use crate::{
    batch::{Begun, Superseded},
    types::{BatchId, Digest, Lineage, SinkName},
};

/// Everything a decision rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What the database holds.
    pub database: DatabaseFact,
    /// What the announce file says.
    pub visible: VisibleFact,
    /// What Kafka's group says.
    pub witness: WitnessFact,
    /// What each sink of this run says of itself.
    pub markers: Vec<(SinkName, MarkerFact)>,
    /// What the operator allows this once.
    pub permissions: Permissions,
}

/// The database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseFact {
    /// Nothing was ever written.
    Fresh,
    /// A history.
    History {
        /// Its name.
        lineage: Lineage,
        /// By what it was begun.
        begun: Begun,
        /// Histories it replaced.
        superseded: Vec<Superseded>,
        /// Whether nothing of its own can have been announced yet ([`crate::batch::Genesis::has_just_begun`]).
        just_begun: bool,
        /// Whether it has no batch of its own yet ([`crate::batch::Genesis::has_no_batch_of_its_own`]).
        is_unborn: bool,
        /// Its newest batch with its link, if there is one.
        last: Option<(BatchId, Digest)>,
        /// The newest batch each sink was marked with.
        marks: Vec<Mark>,
    },
}

/// How far a sink is known to have got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The sink.
    pub sink: SinkName,
    /// The newest batch it has published; `None` before its first.
    pub published: Option<BatchId>,
}

/// The announce file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VisibleFact {
    /// There is none.
    Absent,
    /// The newest announced batch.
    At(Lineage, BatchId, Digest),
    /// It is there and neither of its slots can be read.
    Unreadable(String),
}

/// The metadata of Kafka's commits for this group and topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessFact {
    /// No commit, or commits that are not of our form.
    None,
    /// The newest commit of ours, and by what its history was begun.
    At(Lineage, BatchId, Digest, Begun),
}

/// What a sink keeps of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkerFact {
    /// This kind of sink keeps nothing (stdout).
    NotKept,
    /// It could, and holds nothing yet.
    Absent,
    /// It belongs to a history; its newest batch, if it holds one; and the histories that one went on
    /// from, oldest first.
    At(Lineage, Option<BatchId>, Vec<Shared>),
}

/// A history that what a sink holds begins with: up to this batch (none, if `None`) the sink holds what
/// that history had published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The history.
    pub lineage: Lineage,
    /// The newest batch in common.
    pub until: Option<BatchId>,
}

impl Shared {
    /// What a sink of `holder` shares with others once a new history goes on behind `newest`.
    #[must_use]
    pub fn behind(holder: Lineage, shared: &[Shared], newest: Option<BatchId>) -> Vec<Shared> {
        let cut = |old: &Shared| Shared { until: old.until.min(newest), ..*old };
        let last = Shared { lineage: holder, until: newest };
        shared.iter().map(cut).chain([last]).collect()
    }
}

/// One flag that permits a transition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Permission {
    /// It is not there.
    #[default]
    NotGiven,
    /// It is there and names nothing: permits one transition, but not from a history that the same
    /// flag began.
    Unnamed,
    /// It names the lineage that is given up.
    Naming(Lineage),
}

/// What the operator allows. Each acceptance begins a new lineage, so that none is used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// `--start-over`: an empty directory may begin although another history is known.
    pub start_over: Permission,
    /// `--accept-rollback`: a database that is older than its witnesses may go on.
    pub accept_rollback: Permission,
    /// `checkpoints restore --accept-rollback`: as the flag without a name, kept with the state and used
    /// up by the next start.
    pub given_with_backup: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Begin a new history, in place of the named ones.
    Fresh {
        /// Histories it replaces.
        superseded: Vec<Superseded>,
    },
    /// Go on behind the newest batch; every sink has published it.
    Resume,
    /// The newest batch is durable but may not have left: announce it (again) and publish it to
    /// these sinks.
    Republish {
        /// Sinks that are not marked with it.
        sinks: Vec<SinkName>,
    },
    /// Go on as a new history that replaces this one, then as `Resume` or `Republish`.
    RollBack {
        /// All that the new history replaces.
        superseded: Vec<Superseded>,
        /// Sinks that are not marked with the newest batch.
        sinks: Vec<SinkName>,
    },
    /// Change nothing and tell the operator.
    Refuse(Refusal),
}

/// Why a start is refused. Exit code 13, but 12 for the two that name a sink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The directory is empty although Kafka or `visible` knows a history.
    #[error(
        "the checkpoint directory holds no checkpoint, but {witness} has seen batch {batch} of this \
         pipeline (lineage {lineage})"
    )]
    StateMissing {
        /// Who has seen it.
        witness: &'static str,
        /// The history.
        lineage: Lineage,
        /// Its newest batch.
        batch: BatchId,
    },
    /// The database is older than what was seen of it.
    #[error(
        "the checkpoint (lineage {lineage}) is older than what was already seen: it ends at batch {}, but \
         {witness} has seen batch {seen}", last.map_or_else(|| "none".to_owned(), |last| last.to_string())
    )]
    RolledBack {
        /// Its history.
        lineage: Lineage,
        /// Who has seen more.
        witness: String,
        /// What the database ends with.
        last: Option<BatchId>,
        /// What was seen.
        seen: BatchId,
    },
    /// Same batch, other content.
    #[error(
        "batch {batch} of the checkpoint (lineage {lineage}) is not the batch {batch} that {witness} has seen: their \
         digests differ, so two processes wrote under one name or a backup was run on"
    )]
    Diverged {
        /// Its history.
        lineage: Lineage,
        /// Who has seen the other one.
        witness: &'static str,
        /// The batch.
        batch: BatchId,
    },
    /// A history that this one neither is nor replaced.
    #[error(
        "{witness} belongs to another history of this pipeline (lineage {other}, {}), not to this \
         checkpoint's (lineage {lineage})",
        batch.map_or_else(|| "no batch yet".to_owned(), |batch| format!("batch {batch}"))
    )]
    ForeignHistory {
        /// Where it was found.
        witness: String,
        /// The history found there.
        other: Lineage,
        /// Its newest batch.
        batch: Option<BatchId>,
        /// Ours.
        lineage: Lineage,
    },
    /// `visible` is gone or older than it can be.
    #[error(
        "the announce file `visible` does not fit the checkpoint (lineage {lineage}), which ends at batch \
         {last}: {found}"
    )]
    VisibleLost {
        /// Its history.
        lineage: Lineage,
        /// What the database ends with.
        last: BatchId,
        /// What was found.
        found: String,
    },
    /// A sink that belongs to someone else.
    #[error(
        "sink {sink} belongs to another history (lineage {other}), and what it holds is not what this \
         checkpoint published: give this run a sink at another place"
    )]
    ForeignSink {
        /// The sink.
        sink: SinkName,
        /// Whose it is.
        other: Lineage,
    },
    /// A sink that was published to holds nothing any more.
    #[error(
        "sink {sink} has published batch {seen} and holds nothing now: it was emptied, or what it \
         stands on is not mounted"
    )]
    SinkLost {
        /// The sink.
        sink: SinkName,
        /// What it had.
        seen: BatchId,
        /// Whether the newest batch had still to be published to it.
        pending: bool,
    },
    /// A sink was taken away before it had the newest batch.
    #[error(
        "sink {sink} has not published batch {batch} and is not among this run's sinks; run once \
         more with it, then leave it out"
    )]
    SinkPending {
        /// The sink.
        sink: SinkName,
        /// What it lacks.
        batch: BatchId,
    },
}

impl Refusal {
    /// Whether it is about a sink's fit (exit 12) and not about the age of the state (exit 13).
    #[must_use]
    pub fn is_misfit(&self) -> bool {
        matches!(self, Refusal::ForeignSink { .. } | Refusal::SinkPending { .. })
    }
}

/// Decides what a start does. Pure; see the table in the tests.
#[must_use]
pub fn recover(facts: &Facts) -> Decision {
    let decided = match History::of(&facts.database) {
        None => recover_fresh(facts),
        Some(history) => history.recover(facts),
    };
    decided.unwrap_or_else(Decision::Refuse)
}

fn recover_fresh(facts: &Facts) -> Result<Decision, Refusal> {
    let mut superseded = Vec::new();
    let mut missing = None;
    let mut found = |witness, lineage, batch| {
        supersede(&mut superseded, lineage, Some(batch));
        missing.get_or_insert(Refusal::StateMissing { witness, lineage, batch });
    };
    if let VisibleFact::At(lineage, batch, _) = &facts.visible {
        found("its own file `visible`", *lineage, *batch);
    }
    if let WitnessFact::At(lineage, batch, ..) = &facts.witness {
        found("the consumer group in Kafka", *lineage, *batch);
    }
    if let Some(missing) = missing
        && !may_start_over(facts)
    {
        return Err(missing);
    }
    for (sink, marker) in &facts.markers {
        if let MarkerFact::At(other, ..) = marker {
            return Err(Refusal::ForeignSink { sink: sink.clone(), other: *other });
        }
    }
    Ok(Decision::Fresh { superseded })
}

/// `--start-over` by itself does not permit twice: neither where the witness says that the lost
/// history was begun by it, nor where a history is known that no witness tells about.
fn may_start_over(facts: &Facts) -> bool {
    match facts.permissions.start_over {
        Permission::NotGiven => false,
        Permission::Naming(named) => start_over_name(facts) == Some(named),
        Permission::Unnamed => match (&facts.witness, &facts.visible) {
            (WitnessFact::At(.., Begun::StartOver) | WitnessFact::None, _) => false,
            (WitnessFact::At(lost, ..), VisibleFact::At(announced, ..)) => lost == announced,
            (WitnessFact::At(..), _) => true,
        },
    }
}

/// The lineage to name with `--start-over`: the one that is lost with the directory.
pub(super) fn start_over_name(facts: &Facts) -> Option<Lineage> {
    match (&facts.witness, &facts.visible, &facts.database) {
        (WitnessFact::At(lineage, ..), _, _)
        | (WitnessFact::None, VisibleFact::At(lineage, ..), DatabaseFact::Fresh) => Some(*lineage),
        _ => None,
    }
}

/// The lineage to name with `--accept-rollback`: the one that is given up. Where the checkpoint is
/// lost, the one that a restored backup of it will have to give up.
pub(super) fn accept_rollback_name(facts: &Facts) -> Option<Lineage> {
    match &facts.database {
        DatabaseFact::History { lineage, .. } => {
            let heir = History::of(&facts.database).and_then(|history| history.heir(facts));
            Some(heir.map_or(*lineage, |heir| heir.lineage))
        }
        DatabaseFact::Fresh => {
            let lost = start_over_name(facts)?;
            let heir = longest(facts, |_, heir| heir.lineage == lost || heir.holds(lost));
            Some(heir.map_or(lost, |heir| heir.lineage))
        }
    }
}

/// A later history that went on from this one, or was begun in its place.
struct Heir<'a> {
    lineage: Lineage,
    /// What it went on from, where a sink of its tells.
    shared: &'a [Shared],
}

impl Heir<'_> {
    fn holds(&self, lineage: Lineage) -> bool {
        self.shared.iter().any(|shared| shared.lineage == lineage)
    }
}

/// Of the histories that sinks belong to and that `fits`, the latest: each keeps what the one it
/// went on from had kept, and one more.
fn longest<'a>(
    facts: &'a Facts,
    mut fits: impl FnMut(&SinkName, &Heir<'_>) -> bool,
) -> Option<Heir<'a>> {
    let heirs = facts.markers.iter().filter_map(|(sink, marker)| match marker {
        MarkerFact::At(lineage, _, shared) => {
            let heir = Heir { lineage: *lineage, shared };
            fits(sink, &heir).then_some(heir)
        }
        MarkerFact::NotKept | MarkerFact::Absent => None,
    });
    heirs.max_by_key(|heir| heir.shared.len())
}

fn supersede(superseded: &mut Vec<Superseded>, lineage: Lineage, seen: Option<BatchId>) {
    match superseded.iter_mut().find(|known| known.lineage == lineage) {
        Some(known) => known.seen = known.seen.max(seen),
        None => superseded.push(Superseded { lineage, seen }),
    }
}

struct History<'a> {
    lineage: Lineage,
    begun: Begun,
    superseded: &'a [Superseded],
    just_begun: bool,
    is_unborn: bool,
    last: Option<(BatchId, Digest)>,
    marks: &'a [Mark],
}

impl<'a> History<'a> {
    fn of(database: &'a DatabaseFact) -> Option<History<'a>> {
        match database {
            DatabaseFact::Fresh => None,
            DatabaseFact::History {
                lineage,
                begun,
                superseded,
                just_begun,
                is_unborn,
                last,
                marks,
            } => Some(History {
                lineage: *lineage,
                begun: *begun,
                superseded,
                just_begun: *just_begun,
                is_unborn: *is_unborn,
                last: *last,
                marks,
            }),
        }
    }
}

impl History<'_> {
    fn recover(&self, facts: &Facts) -> Result<Decision, Refusal> {
        let heir = self.heir(facts);
        let mut rolled_back = false;
        let mut checks =
            vec![self.check_visible(&facts.visible), self.check_witness(&facts.witness)];
        let sinks = facts.markers.iter();
        checks.extend(sinks.map(|(sink, marker)| self.check_marker(sink, marker, heir.as_ref())));
        for check in checks {
            match check {
                Ok(()) => {}
                Err(refusal) if self.is_permitted(&refusal, heir.as_ref(), facts.permissions) => {
                    rolled_back = true;
                }
                Err(refusal) => return Err(refusal),
            }
        }
        self.check_removed_sinks(facts, rolled_back)?;
        let sinks = self.unpublished(facts);
        if rolled_back {
            let superseded = self.given_up(facts, heir.as_ref());
            return Ok(Decision::RollBack { superseded, sinks });
        }
        let announced = match (&facts.visible, self.last) {
            (_, None) => true,
            (VisibleFact::At(lineage, batch, _), Some((last, _))) => {
                *lineage == self.lineage && *batch == last
            }
            _ => false,
        };
        Ok(if announced && sinks.is_empty() {
            Decision::Resume
        } else {
            Decision::Republish { sinks }
        })
    }

    /// Whether a rollback that is accepted goes on in spite of this.
    ///
    /// Without a name only this very history can be given up, and only if it was not itself begun by
    /// an accepted rollback: then the flag may be one that was left in the command. With a name it is
    /// the history that was found, whether this one knows it or not; a new one begins each time, so
    /// that the same name does not fit again.
    fn is_permitted(
        &self,
        refusal: &Refusal,
        heir: Option<&Heir<'_>>,
        permissions: Permissions,
    ) -> bool {
        let own = match refusal {
            Refusal::RolledBack { .. } | Refusal::Diverged { .. } | Refusal::VisibleLost { .. } => {
                true
            }
            Refusal::ForeignHistory { .. } => false,
            _ => return false,
        };
        let by_flag = match permissions.accept_rollback {
            Permission::NotGiven => false,
            Permission::Unnamed => own && self.begun != Begun::AcceptedRollback,
            Permission::Naming(named) => named == heir.map_or(self.lineage, |heir| heir.lineage),
        };
        by_flag || (own && permissions.given_with_backup)
    }

    /// All that a new history in the place of this one replaces.
    fn given_up(&self, facts: &Facts, heir: Option<&Heir<'_>>) -> Vec<Superseded> {
        let mut superseded = self.superseded.to_vec();
        supersede(&mut superseded, self.lineage, self.last.map(|(batch, _)| batch));
        if let VisibleFact::At(lineage, seen, _) = &facts.visible {
            supersede(&mut superseded, *lineage, Some(*seen));
        }
        if let WitnessFact::At(lineage, seen, ..) = &facts.witness {
            supersede(&mut superseded, *lineage, Some(*seen));
        }
        for (_, marker) in &facts.markers {
            if let MarkerFact::At(lineage, seen, _) = marker
                && (*lineage == self.lineage || is_of(heir, *lineage))
            {
                supersede(&mut superseded, *lineage, *seen);
            }
        }
        superseded
    }

    /// The history that was found in the place of this one: the one a sink belongs to, if it went on
    /// from here and is not older than the one that Kafka knows; else that one.
    fn heir<'f>(&self, facts: &'f Facts) -> Option<Heir<'f>> {
        let foreign = |check| match check {
            Err(Refusal::ForeignHistory { other, .. }) => Some(other),
            _ => None,
        };
        let witness = foreign(self.check_witness(&facts.witness));
        let sinks = longest(facts, |sink, heir| {
            self.is_foreign(sink, heir.lineage)
                && self.is_continued_in(heir.shared)
                && witness.is_none_or(|known| heir.lineage == known || heir.holds(known))
        });
        sinks.or_else(|| {
            let lineage = witness.or_else(|| foreign(self.check_visible(&facts.visible)))?;
            Some(Heir { lineage, shared: &[] })
        })
    }

    /// Whether a sink of this lineage is neither ours nor one that was there when we replaced it: a
    /// sink that was not there then still holds what was given up.
    fn is_foreign(&self, sink: &SinkName, lineage: Lineage) -> bool {
        let superseded = self.superseded.iter().any(|other| other.lineage == lineage)
            && self.marks.iter().any(|mark| mark.sink == *sink);
        lineage != self.lineage && !superseded
    }

    /// Whether what a sink holds begins with everything that this history has.
    fn is_continued_in(&self, shared: &[Shared]) -> bool {
        let last = self.last.map(|(batch, _)| batch);
        shared.iter().any(|shared| shared.lineage == self.lineage && shared.until >= last)
    }

    fn check_visible(&self, visible: &VisibleFact) -> Result<(), Refusal> {
        const WITNESS: &str = "the announce file `visible`";
        let last = self.last.map(|(batch, _)| batch);
        match (visible, self.last) {
            (VisibleFact::At(lineage, batch, _), _)
                if *lineage != self.lineage && self.just_begun =>
            {
                self.check_other(WITNESS, *lineage, *batch)
            }
            (VisibleFact::At(lineage, batch, _), _) if *lineage != self.lineage => {
                Err(self.foreign(WITNESS, *lineage, *batch))
            }
            (VisibleFact::At(_, seen, _), _) if Some(*seen) > last => {
                let (lineage, witness) = (self.lineage, WITNESS.to_owned());
                Err(Refusal::RolledBack { lineage, witness, last, seen: *seen })
            }
            (VisibleFact::At(_, seen, digest), Some((batch, own)))
                if *seen == batch && *digest != own =>
            {
                Err(Refusal::Diverged { lineage: self.lineage, witness: WITNESS, batch })
            }
            (VisibleFact::At(_, seen, _), Some((batch, _))) if seen.0 + 1 < batch.0 => {
                Err(self.visible_lost(format!("it names batch {seen}")))
            }
            (VisibleFact::Absent, Some((batch, _))) if batch > BatchId(0) && !self.just_begun => {
                Err(self.visible_lost("it is missing".to_owned()))
            }
            // It was permitted together with this history, once for both, and is emptied before a batch of
            // its own is written: the start that permitted it ended between the two.
            (VisibleFact::Unreadable(_), _) if self.is_unborn && self.begun != Begun::Freely => {
                Ok(())
            }
            (VisibleFact::Unreadable(why), _) => {
                Err(self.visible_lost(format!("it cannot be read ({why})")))
            }
            _ => Ok(()),
        }
    }

    fn check_witness(&self, witness: &WitnessFact) -> Result<(), Refusal> {
        const WITNESS: &str = "the consumer group in Kafka";
        let WitnessFact::At(lineage, seen, digest, _) = witness else { return Ok(()) };
        if *lineage != self.lineage {
            return self.check_other(WITNESS, *lineage, *seen);
        }
        match self.last {
            Some((batch, own)) if *seen == batch && *digest != own => {
                Err(Refusal::Diverged { lineage: self.lineage, witness: WITNESS, batch })
            }
            last if Some(*seen) > last.map(|(batch, _)| batch) => Err(Refusal::RolledBack {
                lineage: self.lineage,
                witness: WITNESS.to_owned(),
                last: last.map(|(batch, _)| batch),
                seen: *seen,
            }),
            _ => Ok(()),
        }
    }

    fn foreign(&self, witness: &str, other: Lineage, batch: BatchId) -> Refusal {
        let (witness, lineage) = (witness.to_owned(), self.lineage);
        Refusal::ForeignHistory { witness, other, batch: Some(batch), lineage }
    }

    fn visible_lost(&self, found: String) -> Refusal {
        let last = self.last.map_or(BatchId(0), |(batch, _)| batch);
        Refusal::VisibleLost { lineage: self.lineage, last, found }
    }

    fn check_marker(
        &self,
        sink: &SinkName,
        marker: &MarkerFact,
        heir: Option<&Heir<'_>>,
    ) -> Result<(), Refusal> {
        if *marker == MarkerFact::Absent
            && let Some(mark) = self.marks.iter().find(|mark| mark.sink == *sink)
            && let Some(seen) = mark.published
        {
            let pending = Some(seen) < self.last.map(|(batch, _)| batch);
            return Err(Refusal::SinkLost { sink: sink.clone(), seen, pending });
        }
        let MarkerFact::At(lineage, seen, shared) = marker else { return Ok(()) };
        if self.is_foreign(sink, *lineage) {
            if !self.is_continued_in(shared) || !is_of(heir, *lineage) {
                return Err(Refusal::ForeignSink { sink: sink.clone(), other: *lineage });
            }
            let (other, batch, lineage) = (*lineage, *seen, self.lineage);
            let witness = format!("sink {sink}");
            return Err(Refusal::ForeignHistory { witness, other, batch, lineage });
        }
        let last = self.last.map(|(batch, _)| batch);
        match seen {
            Some(seen) if *lineage == self.lineage && Some(*seen) > last => {
                let (lineage, witness) = (self.lineage, format!("sink {sink}"));
                Err(Refusal::RolledBack { lineage, witness, last, seen: *seen })
            }
            _ => Ok(()),
        }
    }

    /// A history found elsewhere that is not ours: fine if we replaced it and nobody went on with it.
    fn check_other(
        &self,
        witness: &'static str,
        other: Lineage,
        batch: BatchId,
    ) -> Result<(), Refusal> {
        let replaced = self.superseded.iter().find(|superseded| superseded.lineage == other);
        match replaced {
            Some(superseded) if Some(batch) <= superseded.seen => Ok(()),
            _ => Err(self.foreign(witness, other, batch)),
        }
    }

    /// A sink may not go while it lacks the newest batch; only where a rollback is accepted may a new
    /// one take its place, and the batch.
    fn check_removed_sinks(&self, facts: &Facts, rolled_back: bool) -> Result<(), Refusal> {
        let Some((last, _)) = self.last else { return Ok(()) };
        let known = |name: &SinkName| facts.markers.iter().any(|(sink, _)| sink == name);
        let is_new = |name: &SinkName| self.marks.iter().all(|mark| mark.sink != *name);
        if rolled_back && facts.markers.iter().any(|(sink, _)| is_new(sink)) {
            return Ok(());
        }
        for mark in self.marks {
            if mark.published < Some(last) && !known(&mark.sink) {
                return Err(Refusal::SinkPending { sink: mark.sink.clone(), batch: last });
            }
        }
        Ok(())
    }

    /// The sinks of this run that still lack the newest batch. A sink that is new to the history
    /// lacks it only while some other one does.
    fn unpublished(&self, facts: &Facts) -> Vec<SinkName> {
        let Some((last, _)) = self.last else { return Vec::new() };
        let mark = |name: &SinkName| self.marks.iter().find(|mark| mark.sink == *name);
        let pending = self.marks.iter().any(|mark| mark.published < Some(last));
        facts
            .markers
            .iter()
            .map(|(sink, _)| sink)
            .filter(|sink| match mark(sink) {
                Some(mark) => mark.published < Some(last),
                None => pending || self.marks.is_empty(),
            })
            .cloned()
            .collect()
    }
}

fn is_of(heir: Option<&Heir<'_>>, lineage: Lineage) -> bool {
    heir.is_some_and(|heir| heir.lineage == lineage || heir.holds(lineage))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Lineage = Lineage(1);
    const OTHER: Lineage = Lineage(2);
    const D: Digest = Digest([7; 32]);
    const E: Digest = Digest([8; 32]);

    fn console() -> SinkName {
        SinkName("console".to_owned())
    }

    fn history(last: u64, published: Option<u64>) -> Facts {
        let marks = vec![Mark { sink: console(), published: published.map(BatchId) }];
        Facts {
            database: DatabaseFact::History {
                lineage: OURS,
                begun: Begun::Freely,
                superseded: Vec::new(),
                just_begun: last == 0,
                is_unborn: false,
                last: Some((BatchId(last), D)),
                marks,
            },
            visible: VisibleFact::At(OURS, BatchId(last), D),
            witness: WitnessFact::At(OURS, BatchId(last), D, Begun::Freely),
            markers: vec![(console(), MarkerFact::NotKept)],
            permissions: Permissions::default(),
        }
    }

    fn superseding(facts: &mut Facts, seen: u64) {
        let DatabaseFact::History { superseded, .. } = &mut facts.database else {
            panic!("a history")
        };
        superseded.push(Superseded { lineage: OTHER, seen: Some(BatchId(seen)) });
    }

    fn fresh() -> Facts {
        Facts {
            database: DatabaseFact::Fresh,
            visible: VisibleFact::Absent,
            witness: WitnessFact::None,
            markers: vec![(console(), MarkerFact::Absent)],
            permissions: Permissions::default(),
        }
    }

    fn republish() -> Decision {
        Decision::Republish { sinks: vec![console()] }
    }

    fn refused(facts: &Facts) -> Refusal {
        match recover(facts) {
            Decision::Refuse(refusal) => refusal,
            other => panic!("{other:?} is no refusal"),
        }
    }

    #[test]
    fn an_empty_directory_begins_only_where_nobody_knows_a_history() {
        assert_eq!(recover(&fresh()), Decision::Fresh { superseded: Vec::new() });
        let known =
            Facts { witness: WitnessFact::At(OTHER, BatchId(5), D, Begun::Freely), ..fresh() };
        assert!(matches!(refused(&known), Refusal::StateMissing { batch: BatchId(5), .. }));
        let lost = Facts { visible: VisibleFact::At(OTHER, BatchId(5), D), ..fresh() };
        assert!(matches!(refused(&lost), Refusal::StateMissing { .. }));
    }

    #[test]
    fn starting_over_names_what_it_replaces() {
        let permissions = Permissions { start_over: Permission::Unnamed, ..Permissions::default() };
        let facts = Facts {
            witness: WitnessFact::At(OTHER, BatchId(5), D, Begun::Freely),
            permissions,
            ..fresh()
        };
        let superseded = vec![Superseded { lineage: OTHER, seen: Some(BatchId(5)) }];
        assert_eq!(recover(&facts), Decision::Fresh { superseded });
        let lost = vec![(console(), MarkerFact::At(OTHER, None, Vec::new()))];
        let lost = Facts { markers: lost, permissions: Permissions::default(), ..facts };
        assert!(matches!(refused(&lost), Refusal::StateMissing { .. }), "the loss is said first");
        let taken = vec![(console(), MarkerFact::At(OTHER, None, Vec::new()))];
        let facts = Facts { markers: taken, permissions, ..fresh() };
        assert!(refused(&facts).is_misfit(), "a sink of another history is never taken over");
    }

    #[test]
    fn what_is_published_is_resumed_and_what_is_not_is_published_again() {
        assert_eq!(recover(&history(5, Some(5))), Decision::Resume);
        assert_eq!(recover(&history(5, Some(4))), republish());
        assert_eq!(recover(&history(0, None)), republish());
    }

    #[test]
    fn a_batch_that_was_durable_but_not_announced_is_announced_and_published() {
        let unannounced =
            Facts { visible: VisibleFact::At(OURS, BatchId(4), E), ..history(5, Some(4)) };
        assert_eq!(recover(&unannounced), republish());
        let first = Facts { visible: VisibleFact::Absent, ..history(0, None) };
        let first = Facts { witness: WitnessFact::None, ..first };
        assert_eq!(recover(&first), republish());
    }

    #[test]
    fn state_older_than_any_witness_is_refused() {
        let ahead = VisibleFact::At(OURS, BatchId(6), D);
        assert!(matches!(
            refused(&Facts { visible: ahead, ..history(5, Some(5)) }),
            Refusal::RolledBack { seen: BatchId(6), .. }
        ));
        let ahead = WitnessFact::At(OURS, BatchId(6), D, Begun::Freely);
        assert!(matches!(
            refused(&Facts { witness: ahead, ..history(5, Some(5)) }),
            Refusal::RolledBack { seen: BatchId(6), .. }
        ));
        let ahead = vec![(console(), MarkerFact::At(OURS, Some(BatchId(6)), Vec::new()))];
        assert!(matches!(
            refused(&Facts { markers: ahead, ..history(5, Some(5)) }),
            Refusal::RolledBack { seen: BatchId(6), .. }
        ));
    }

    #[test]
    fn the_same_batch_with_another_digest_is_refused() {
        let other = WitnessFact::At(OURS, BatchId(5), E, Begun::Freely);
        let facts = Facts { witness: other, ..history(5, Some(5)) };
        assert!(matches!(refused(&facts), Refusal::Diverged { .. }));
        let other = VisibleFact::At(OURS, BatchId(5), E);
        let facts = Facts { visible: other, ..history(5, Some(5)) };
        assert!(matches!(refused(&facts), Refusal::Diverged { .. }));
    }

    #[test]
    fn a_witness_that_lags_or_is_not_there_changes_nothing() {
        for witness in [WitnessFact::None, WitnessFact::At(OURS, BatchId(3), E, Begun::Freely)] {
            assert_eq!(recover(&Facts { witness, ..history(5, Some(5)) }), Decision::Resume);
        }
    }

    #[test]
    fn an_announce_file_that_does_not_fit_is_refused() {
        for visible in [
            VisibleFact::Absent,
            VisibleFact::At(OURS, BatchId(3), D),
            VisibleFact::Unreadable("both slots are damaged".to_owned()),
        ] {
            let facts = Facts { visible, ..history(5, Some(5)) };
            assert!(matches!(refused(&facts), Refusal::VisibleLost { .. }));
        }
    }

    #[test]
    fn another_history_is_refused_unless_it_was_replaced_and_nobody_went_on_with_it() {
        let mut facts = Facts {
            witness: WitnessFact::At(OTHER, BatchId(9), D, Begun::Freely),
            ..history(5, Some(5))
        };
        assert!(matches!(refused(&facts), Refusal::ForeignHistory { .. }));
        superseding(&mut facts, 8);
        assert!(matches!(refused(&facts), Refusal::ForeignHistory { .. }), "it went on to 9");
        superseding(&mut facts, 9);
        let DatabaseFact::History { superseded, .. } = &mut facts.database else {
            panic!("a history")
        };
        superseded.remove(0);
        assert_eq!(recover(&facts), Decision::Resume);
    }

    #[test]
    fn an_accepted_rollback_begins_a_new_history_once() {
        let mut facts = Facts {
            witness: WitnessFact::At(OURS, BatchId(8), D, Begun::Freely),
            ..history(5, Some(5))
        };
        facts.permissions.accept_rollback = Permission::Unnamed;
        let superseded = vec![Superseded { lineage: OURS, seen: Some(BatchId(8)) }];
        let expected = Decision::RollBack { superseded, sinks: Vec::new() };
        assert_eq!(recover(&facts), expected);
        // With the flag left in the command and nothing rolled back, nothing happens.
        let mut later = history(6, Some(6));
        later.permissions.accept_rollback = Permission::Unnamed;
        superseding(&mut later, 8);
        assert_eq!(recover(&later), Decision::Resume);
    }

    fn begun(facts: &mut Facts, by: Begun) {
        let DatabaseFact::History { begun, .. } = &mut facts.database else { panic!("a history") };
        *begun = by;
    }

    fn shared(lineage: Lineage, until: u64) -> Shared {
        Shared { lineage, until: Some(BatchId(until)) }
    }

    fn gives_up(facts: &Facts, expected: &[(Lineage, u64)]) {
        let Decision::RollBack { superseded, .. } = recover(facts) else {
            panic!("{:?} is no rollback", recover(facts))
        };
        let found: Vec<_> = superseded.iter().map(|other| (other.lineage, other.seen)).collect();
        let expected: Vec<_> =
            expected.iter().map(|(lineage, seen)| (*lineage, Some(BatchId(*seen)))).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn start_over_left_in_the_command_is_not_heeded_at_the_next_loss() {
        let lost = |begun| WitnessFact::At(OTHER, BatchId(5), D, begun);
        let permitted = |witness, start_over| {
            let permissions = Permissions { start_over, ..Permissions::default() };
            matches!(recover(&Facts { witness, permissions, ..fresh() }), Decision::Fresh { .. })
        };
        assert!(permitted(lost(Begun::Freely), Permission::Unnamed));
        assert!(
            permitted(lost(Begun::AcceptedRollback), Permission::Unnamed),
            "another permission"
        );
        assert!(!permitted(lost(Begun::StartOver), Permission::Unnamed));
        for begun in [Begun::Freely, Begun::StartOver, Begun::AcceptedRollback] {
            assert!(permitted(lost(begun), Permission::Naming(OTHER)));
            assert!(!permitted(lost(begun), Permission::Naming(OURS)), "another one is lost");
            assert!(!permitted(lost(begun), Permission::NotGiven));
        }
    }

    #[test]
    fn a_history_that_only_visible_knows_must_be_named_to_start_over() {
        let mut facts = Facts { visible: VisibleFact::At(OTHER, BatchId(5), D), ..fresh() };
        for (start_over, permitted) in [
            (Permission::Unnamed, false),
            (Permission::Naming(OURS), false),
            (Permission::Naming(OTHER), true),
        ] {
            facts.permissions.start_over = start_over;
            let decision = recover(&facts);
            assert_eq!(matches!(decision, Decision::Fresh { .. }), permitted, "{start_over:?}");
        }
        facts.permissions.start_over = Permission::Unnamed;
        facts.witness = WitnessFact::At(OTHER, BatchId(5), D, Begun::Freely);
        assert!(matches!(recover(&facts), Decision::Fresh { .. }), "Kafka tells how it began");
    }

    #[test]
    fn accept_rollback_left_in_the_command_is_not_heeded_at_the_next_rollback() {
        let witness = WitnessFact::At(OURS, BatchId(8), D, Begun::AcceptedRollback);
        let mut facts = Facts { witness, ..history(5, Some(5)) };
        begun(&mut facts, Begun::AcceptedRollback);
        facts.permissions.accept_rollback = Permission::Unnamed;
        assert!(matches!(refused(&facts), Refusal::RolledBack { .. }));
        facts.permissions.accept_rollback = Permission::Naming(OTHER);
        assert!(matches!(refused(&facts), Refusal::RolledBack { .. }));
        facts.permissions.accept_rollback = Permission::Naming(OURS);
        gives_up(&facts, &[(OURS, 8)]);
        facts.permissions = Permissions { given_with_backup: true, ..Permissions::default() };
        gives_up(&facts, &[(OURS, 8)]);
        begun(&mut facts, Begun::StartOver);
        facts.permissions =
            Permissions { accept_rollback: Permission::Unnamed, ..Permissions::default() };
        gives_up(&facts, &[(OURS, 8)]);
    }

    #[test]
    fn a_backup_restored_again_goes_on_when_the_later_history_is_named() {
        let witness = WitnessFact::At(OTHER, BatchId(8), D, Begun::AcceptedRollback);
        let files = SinkName("files:out".to_owned());
        let marker = |until| MarkerFact::At(OTHER, Some(BatchId(9)), vec![shared(OURS, until)]);
        let mut facts = Facts { witness, ..history(5, Some(5)) };
        facts.markers.push((files, marker(5)));
        for not_enough in [Permission::NotGiven, Permission::Unnamed, Permission::Naming(OURS)] {
            facts.permissions.accept_rollback = not_enough;
            facts.permissions.given_with_backup = true;
            assert!(matches!(refused(&facts), Refusal::ForeignHistory { other: OTHER, .. }));
        }
        facts.permissions.accept_rollback = Permission::Naming(OTHER);
        gives_up(&facts, &[(OURS, 5), (OTHER, 9)]);
        facts.markers[1].1 = marker(4);
        let refusal = refused(&facts);
        assert!(refusal.is_misfit(), "batch 5 of the sink is not ours: {refusal}");
    }

    #[test]
    fn a_sink_that_went_on_from_here_is_named_where_kafka_tells_nothing_newer() {
        const LATEST: Lineage = Lineage(3);
        let marker = MarkerFact::At(LATEST, None, vec![shared(OURS, 7), shared(OTHER, 5)]);
        for witness in [
            WitnessFact::None,
            WitnessFact::At(OURS, BatchId(8), D, Begun::Freely),
            WitnessFact::At(OTHER, BatchId(8), D, Begun::AcceptedRollback),
        ] {
            let mut facts = Facts { witness, ..history(5, Some(5)) };
            facts.markers.push((SinkName("files:out".to_owned()), marker.clone()));
            assert!(!refused(&facts).is_misfit());
            assert_eq!(accept_rollback_name(&facts), Some(LATEST));
            facts.permissions.accept_rollback = Permission::Naming(OTHER);
            assert!(!refused(&facts).is_misfit());
            facts.permissions.accept_rollback = Permission::Naming(LATEST);
            assert!(matches!(recover(&facts), Decision::RollBack { .. }));
        }
        let witness = WitnessFact::At(Lineage(9), BatchId(8), D, Begun::Freely);
        let mut facts = Facts { witness, ..history(5, Some(5)) };
        facts.markers.push((SinkName("files:out".to_owned()), marker));
        facts.permissions.accept_rollback = Permission::Naming(Lineage(9));
        assert!(refused(&facts).is_misfit(), "the sink is of neither: it needs another place");
    }

    #[test]
    fn where_a_rollback_is_accepted_a_new_sink_may_take_the_place_and_the_pending_batch() {
        let witness = WitnessFact::At(OURS, BatchId(8), D, Begun::Freely);
        let files = SinkName("files:out".to_owned());
        let markers = vec![(files.clone(), MarkerFact::Absent)];
        let mut facts = Facts { witness, markers, ..history(5, Some(4)) };
        facts.permissions.accept_rollback = Permission::Naming(OURS);
        let Decision::RollBack { sinks, .. } = recover(&facts) else { panic!("a rollback") };
        assert_eq!(sinks, [files]);
        facts.markers.clear();
        assert!(matches!(refused(&facts), Refusal::SinkPending { .. }), "nobody would get it");
    }

    #[test]
    fn what_a_sink_shares_is_cut_where_it_goes_on() {
        let first = Shared::behind(OURS, &[], Some(BatchId(7)));
        assert_eq!(first, [shared(OURS, 7)]);
        let second = Shared::behind(OTHER, &first, Some(BatchId(5)));
        assert_eq!(second, [shared(OURS, 5), shared(OTHER, 5)]);
    }

    #[test]
    fn a_sink_that_lost_what_it_was_given_is_noticed() {
        let emptied = vec![(console(), MarkerFact::Absent)];
        let facts = Facts { markers: emptied.clone(), ..history(5, Some(5)) };
        assert!(matches!(refused(&facts), Refusal::SinkLost { seen: BatchId(5), .. }));
        let never_used = Facts { markers: emptied, ..history(0, None) };
        assert_eq!(recover(&never_used), republish());
    }

    #[test]
    fn a_sink_that_missed_a_rollback_is_not_taken_back() {
        let files = SinkName("files:out".to_owned());
        let markers = vec![
            (console(), MarkerFact::At(OTHER, Some(BatchId(3)), Vec::new())),
            (files, MarkerFact::At(OTHER, Some(BatchId(3)), Vec::new())),
        ];
        let mut facts = Facts { markers, ..history(5, Some(5)) };
        superseding(&mut facts, 8);
        assert!(
            matches!(refused(&facts), Refusal::ForeignSink { sink, .. } if sink.0 == "files:out")
        );
        facts.markers.pop();
        assert_eq!(recover(&facts), Decision::Resume, "the console was there and was marked");
    }

    #[test]
    fn once_a_new_history_has_announced_a_batch_its_announce_file_must_be_its_own() {
        for visible in [VisibleFact::Absent, VisibleFact::At(OTHER, BatchId(5), D)] {
            let mut facts = Facts { visible, ..history(5, Some(5)) };
            superseding(&mut facts, 8);
            assert!(matches!(recover(&facts), Decision::Refuse(_)));
            let DatabaseFact::History { just_begun, .. } = &mut facts.database else {
                panic!("a history")
            };
            *just_begun = true;
            assert_eq!(recover(&facts), Decision::Republish { sinks: Vec::new() });
        }
    }

    #[test]
    fn a_foreign_history_is_not_a_rollback_that_can_be_accepted() {
        let mut facts = Facts {
            witness: WitnessFact::At(OTHER, BatchId(8), D, Begun::Freely),
            ..history(5, Some(5))
        };
        facts.permissions.accept_rollback = Permission::Unnamed;
        assert!(matches!(refused(&facts), Refusal::ForeignHistory { .. }));
    }

    #[test]
    fn a_sink_taken_away_with_a_batch_pending_is_refused_and_a_new_one_waits_for_the_next() {
        let files = SinkName("files:out".to_owned());
        let markers = vec![(files, MarkerFact::Absent)];
        let pending = Facts { markers: markers.clone(), ..history(5, Some(4)) };
        assert!(matches!(refused(&pending), Refusal::SinkPending { .. }));
        let drained = Facts { markers, ..history(5, Some(5)) };
        assert_eq!(recover(&drained), Decision::Resume);
    }
}
