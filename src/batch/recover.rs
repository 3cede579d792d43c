//! What a start may do, decided from facts that were all read before anything is changed.
//!
//! The witnesses of a checkpoint's age are the announce file `visible`, Kafka's commit metadata and
//! the sinks' own markers: each was written only after the batch it names was durable, so a database
//! older than any of them was rolled back, however cleanly it opened.
//!
//! Invariant: an error while reading a fact never reaches this function as an absence; the caller
//! asks again or stops.

use crate::{
    batch::Superseded,
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
        /// Histories it replaced.
        superseded: Vec<Superseded>,
        /// Whether nothing of its own can have been announced yet ([`crate::batch::Genesis::has_just_begun`]).
        just_begun: bool,
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
    /// The newest commit of ours.
    At(Lineage, BatchId, Digest),
}

/// What a sink keeps of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkerFact {
    /// This kind of sink keeps nothing (stdout).
    NotKept,
    /// It could, and holds nothing yet.
    Absent,
    /// It belongs to a history; its newest batch, if it holds one.
    At(Lineage, Option<BatchId>),
}

/// What the operator allows for one transition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// `--start-over`: an empty directory may begin although another history is known.
    pub start_over: bool,
    /// `--accept-rollback`: a database that is older than its witnesses may go on.
    pub accept_rollback: bool,
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
        "the checkpoint is older than what was already seen: it ends at batch {}, but {witness} has \
         seen batch {seen}", last.map_or_else(|| "none".to_owned(), |last| last.to_string())
    )]
    RolledBack {
        /// Who has seen more.
        witness: String,
        /// What the database ends with.
        last: Option<BatchId>,
        /// What was seen.
        seen: BatchId,
    },
    /// Same batch, other content.
    #[error(
        "batch {batch} of the checkpoint is not the batch {batch} that {witness} has seen: their \
         digests differ, so two processes wrote under one name or a backup was run on"
    )]
    Diverged {
        /// Who has seen the other one.
        witness: &'static str,
        /// The batch.
        batch: BatchId,
    },
    /// A history that this one neither is nor replaced.
    #[error(
        "{witness} belongs to another history of this pipeline (lineage {other}, batch {batch}), \
         not to this checkpoint's (lineage {lineage})"
    )]
    ForeignHistory {
        /// Where it was found.
        witness: &'static str,
        /// The history found there.
        other: Lineage,
        /// Its newest batch.
        batch: BatchId,
        /// Ours.
        lineage: Lineage,
    },
    /// `visible` is gone or older than it can be.
    #[error(
        "the announce file `visible` does not fit the checkpoint, which ends at batch {last}: {found}"
    )]
    VisibleLost {
        /// What the database ends with.
        last: BatchId,
        /// What was found.
        found: String,
    },
    /// A sink that belongs to someone else.
    #[error(
        "sink {sink} belongs to another history (lineage {other}); give this run a place of its own, or \
         empty that one"
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
         stands on is not mounted. Bring it back, or give this run a sink at another place, which \
         begins with the next batch"
    )]
    SinkLost {
        /// The sink.
        sink: SinkName,
        /// What it had.
        seen: BatchId,
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
    let decided = match &facts.database {
        DatabaseFact::Fresh => recover_fresh(facts),
        DatabaseFact::History { lineage, superseded, just_begun, last, marks } => {
            let (lineage, just_begun, last) = (*lineage, *just_begun, *last);
            History { lineage, superseded, just_begun, last, marks }.recover(facts)
        }
    };
    decided.unwrap_or_else(Decision::Refuse)
}

fn recover_fresh(facts: &Facts) -> Result<Decision, Refusal> {
    let mut superseded = Vec::new();
    let mut found = |witness, lineage, batch| {
        superseded.push(Superseded { lineage, seen: Some(batch) });
        if facts.permissions.start_over {
            return Ok(());
        }
        Err(Refusal::StateMissing { witness, lineage, batch })
    };
    match &facts.visible {
        VisibleFact::At(lineage, batch, _) => found("its own file `visible`", *lineage, *batch)?,
        VisibleFact::Unreadable(_) | VisibleFact::Absent => {}
    }
    if let WitnessFact::At(lineage, batch, _) = &facts.witness {
        found("the consumer group in Kafka", *lineage, *batch)?;
    }
    for (sink, marker) in &facts.markers {
        if let MarkerFact::At(other, _) = marker {
            return Err(Refusal::ForeignSink { sink: sink.clone(), other: *other });
        }
    }
    Ok(Decision::Fresh { superseded })
}

struct History<'a> {
    lineage: Lineage,
    superseded: &'a [Superseded],
    just_begun: bool,
    last: Option<(BatchId, Digest)>,
    marks: &'a [Mark],
}

impl History<'_> {
    fn recover(&self, facts: &Facts) -> Result<Decision, Refusal> {
        let mut seen = None;
        let accept = facts.permissions.accept_rollback;
        let mut checks =
            vec![self.check_visible(&facts.visible), self.check_witness(&facts.witness)];
        checks.extend(facts.markers.iter().map(|(sink, marker)| self.check_marker(sink, marker)));
        for check in checks {
            match check {
                Ok(()) => {}
                Err(refusal) if accept => match self.accepted(&refusal) {
                    Some(batch) => seen = seen.max(Some(batch)),
                    None => return Err(refusal),
                },
                Err(refusal) => return Err(refusal),
            }
        }
        self.check_removed_sinks(facts)?;
        let sinks = self.unpublished(facts);
        if let Some(seen) = seen {
            let mut superseded = self.superseded.to_vec();
            superseded.push(Superseded { lineage: self.lineage, seen: Some(seen) });
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

    /// The newest batch that an accepted rollback gives up, if this refusal is of that kind.
    fn accepted(&self, refusal: &Refusal) -> Option<BatchId> {
        match refusal {
            Refusal::RolledBack { seen, .. } => Some(*seen),
            Refusal::Diverged { batch, .. } => Some(*batch),
            Refusal::VisibleLost { last, .. } => Some(*last),
            _ => None,
        }
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
                let (witness, other, lineage) = (WITNESS, *lineage, self.lineage);
                Err(Refusal::ForeignHistory { witness, other, batch: *batch, lineage })
            }
            (VisibleFact::At(_, seen, _), _) if Some(*seen) > last => {
                Err(Refusal::RolledBack { witness: WITNESS.to_owned(), last, seen: *seen })
            }
            (VisibleFact::At(_, seen, digest), Some((batch, own)))
                if *seen == batch && *digest != own =>
            {
                Err(Refusal::Diverged { witness: WITNESS, batch })
            }
            (VisibleFact::At(_, seen, _), Some((batch, _))) if seen.0 + 1 < batch.0 => {
                Err(Refusal::VisibleLost { last: batch, found: format!("it names batch {seen}") })
            }
            (VisibleFact::Absent, Some((batch, _))) if batch > BatchId(0) && !self.just_begun => {
                Err(Refusal::VisibleLost { last: batch, found: "it is missing".to_owned() })
            }
            (VisibleFact::Unreadable(why), _) => Err(Refusal::VisibleLost {
                last: last.unwrap_or(BatchId(0)),
                found: format!("it cannot be read ({why})"),
            }),
            _ => Ok(()),
        }
    }

    fn check_witness(&self, witness: &WitnessFact) -> Result<(), Refusal> {
        const WITNESS: &str = "the consumer group in Kafka";
        let WitnessFact::At(lineage, seen, digest) = witness else { return Ok(()) };
        if *lineage != self.lineage {
            return self.check_other(WITNESS, *lineage, *seen);
        }
        match self.last {
            Some((batch, own)) if *seen == batch && *digest != own => {
                Err(Refusal::Diverged { witness: WITNESS, batch })
            }
            last if Some(*seen) > last.map(|(batch, _)| batch) => Err(Refusal::RolledBack {
                witness: WITNESS.to_owned(),
                last: last.map(|(batch, _)| batch),
                seen: *seen,
            }),
            _ => Ok(()),
        }
    }

    fn check_marker(&self, sink: &SinkName, marker: &MarkerFact) -> Result<(), Refusal> {
        if *marker == MarkerFact::Absent
            && let Some(mark) = self.marks.iter().find(|mark| mark.sink == *sink)
            && let Some(seen) = mark.published
        {
            return Err(Refusal::SinkLost { sink: sink.clone(), seen });
        }
        let MarkerFact::At(lineage, seen) = marker else { return Ok(()) };
        // A sink that was not there when its history was replaced still holds what was given up.
        let superseded = self.superseded.iter().any(|other| other.lineage == *lineage)
            && self.marks.iter().any(|mark| mark.sink == *sink);
        if *lineage != self.lineage && !superseded {
            return Err(Refusal::ForeignSink { sink: sink.clone(), other: *lineage });
        }
        let last = self.last.map(|(batch, _)| batch);
        match seen {
            Some(seen) if *lineage == self.lineage && Some(*seen) > last => {
                let witness = format!("sink {sink}");
                Err(Refusal::RolledBack { witness, last, seen: *seen })
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
            _ => Err(Refusal::ForeignHistory { witness, other, batch, lineage: self.lineage }),
        }
    }

    fn check_removed_sinks(&self, facts: &Facts) -> Result<(), Refusal> {
        let Some((last, _)) = self.last else { return Ok(()) };
        let known = |name: &SinkName| facts.markers.iter().any(|(sink, _)| sink == name);
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
                superseded: Vec::new(),
                just_begun: last == 0,
                last: Some((BatchId(last), D)),
                marks,
            },
            visible: VisibleFact::At(OURS, BatchId(last), D),
            witness: WitnessFact::At(OURS, BatchId(last), D),
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
        let known = Facts { witness: WitnessFact::At(OTHER, BatchId(5), D), ..fresh() };
        assert!(matches!(refused(&known), Refusal::StateMissing { batch: BatchId(5), .. }));
        let lost = Facts { visible: VisibleFact::At(OTHER, BatchId(5), D), ..fresh() };
        assert!(matches!(refused(&lost), Refusal::StateMissing { .. }));
    }

    #[test]
    fn starting_over_names_what_it_replaces() {
        let permissions = Permissions { start_over: true, accept_rollback: false };
        let facts =
            Facts { witness: WitnessFact::At(OTHER, BatchId(5), D), permissions, ..fresh() };
        let superseded = vec![Superseded { lineage: OTHER, seen: Some(BatchId(5)) }];
        assert_eq!(recover(&facts), Decision::Fresh { superseded });
        let lost = vec![(console(), MarkerFact::At(OTHER, None))];
        let lost = Facts { markers: lost, permissions: Permissions::default(), ..facts };
        assert!(matches!(refused(&lost), Refusal::StateMissing { .. }), "the loss is said first");
        let taken = vec![(console(), MarkerFact::At(OTHER, None))];
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
        let ahead = WitnessFact::At(OURS, BatchId(6), D);
        assert!(matches!(
            refused(&Facts { witness: ahead, ..history(5, Some(5)) }),
            Refusal::RolledBack { seen: BatchId(6), .. }
        ));
        let ahead = vec![(console(), MarkerFact::At(OURS, Some(BatchId(6))))];
        assert!(matches!(
            refused(&Facts { markers: ahead, ..history(5, Some(5)) }),
            Refusal::RolledBack { seen: BatchId(6), .. }
        ));
    }

    #[test]
    fn the_same_batch_with_another_digest_is_refused() {
        let other = WitnessFact::At(OURS, BatchId(5), E);
        let facts = Facts { witness: other, ..history(5, Some(5)) };
        assert!(matches!(refused(&facts), Refusal::Diverged { .. }));
        let other = VisibleFact::At(OURS, BatchId(5), E);
        let facts = Facts { visible: other, ..history(5, Some(5)) };
        assert!(matches!(refused(&facts), Refusal::Diverged { .. }));
    }

    #[test]
    fn a_witness_that_lags_or_is_not_there_changes_nothing() {
        for witness in [WitnessFact::None, WitnessFact::At(OURS, BatchId(3), E)] {
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
        let mut facts =
            Facts { witness: WitnessFact::At(OTHER, BatchId(9), D), ..history(5, Some(5)) };
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
        let mut facts =
            Facts { witness: WitnessFact::At(OURS, BatchId(8), D), ..history(5, Some(5)) };
        facts.permissions.accept_rollback = true;
        let superseded = vec![Superseded { lineage: OURS, seen: Some(BatchId(8)) }];
        let expected = Decision::RollBack { superseded, sinks: Vec::new() };
        assert_eq!(recover(&facts), expected);
        // With the flag left in the command and nothing rolled back, nothing happens.
        let mut later = history(6, Some(6));
        later.permissions.accept_rollback = true;
        superseding(&mut later, 8);
        assert_eq!(recover(&later), Decision::Resume);
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
            (console(), MarkerFact::At(OTHER, Some(BatchId(3)))),
            (files, MarkerFact::At(OTHER, Some(BatchId(3)))),
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
        let mut facts =
            Facts { witness: WitnessFact::At(OTHER, BatchId(8), D), ..history(5, Some(5)) };
        facts.permissions.accept_rollback = true;
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
