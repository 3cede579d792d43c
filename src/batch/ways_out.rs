//! What an operator whose start is refused can type.
//!
//! Invariant: every way that is named works when typed in its order, unless the facts change meanwhile;
//! where a step meets a further refusal, that one's ways are ways on.
//!
//! Not here: why a start is refused (`recover`).

use crate::{
    batch::{
        Begun, DatabaseFact, Facts, Permission, Refusal, VisibleFact, WitnessFact,
        recover::{accept_rollback_name, start_over_name},
    },
    types::Lineage,
};

/// The ways out of a refusal, for the operator; empty where the refusal says all there is.
#[must_use]
pub fn ways_out(facts: &Facts, refusal: &Refusal) -> String {
    let accept = accept_rollback_name(facts);
    let ways = match (refusal, accept) {
        (Refusal::ForeignSink { .. } | Refusal::SinkPending { .. }, _) => return String::new(),
        (Refusal::SinkLost { pending, .. }, _) => of_lost_sink(*pending, facts),
        (Refusal::StateMissing { .. }, Some(lost)) => {
            let first = match facts.visible {
                VisibleFact::Absent => "put",
                _ => "move the checkpoint's directory away, put",
            };
            vec![restored(first, lost), begin_anew(facts, false), independent()]
        }
        (_, accept) => {
            let accept = accept.expect("only a history is older, other or without `visible`");
            vec![
                format!(
                    "go on from this checkpoint with --accept-rollback={accept} (later batches are \
                     computed and published again, and files of the given-up ones are moved to \
                     DIR/_rolled_back/)"
                ),
                restored("move the checkpoint's directory away, put", accept),
                begin_anew(facts, true),
                independent(),
            ]
        }
    };
    let mut text = unheeded(facts, refusal, accept);
    text.push_str("Nothing was changed. The ways out:");
    for way in ways {
        text.push_str("\n- ");
        text.push_str(&way);
    }
    text
}

fn restored(first: &str, accept: Lineage) -> String {
    format!(
        "{first} the newest backup in its place (`sales-stream checkpoints restore BACKUP`), and start \
         with --accept-rollback={accept}"
    )
}

fn begin_anew(facts: &Facts, has_state: bool) -> String {
    let directory = match (has_state, &facts.visible) {
        (false, VisibleFact::Absent) => "",
        _ => ", with the checkpoint's directory moved away",
    };
    // With the directory `visible` goes as well, so that only Kafka's witness is left to be named.
    let flag = match start_over_name(facts) {
        Some(lost) => format!(" with --start-over={lost}"),
        None => String::new(),
    };
    format!("begin anew{flag}{directory}, and with a new directory for each files: sink")
}

fn independent() -> String {
    "for an independent run, use another --group-id, --checkpoint-dir, and directory for each files: \
     sink"
        .to_owned()
}

fn of_lost_sink(pending: bool, facts: &Facts) -> Vec<String> {
    let mut ways = vec!["bring it back".to_owned()];
    if !pending {
        ways.push(
            "give this run a sink at another place; it begins with the next batch".to_owned(),
        );
    }
    ways.push(begin_anew(facts, true));
    ways
}

/// Why a permission that was given did not count.
fn unheeded(facts: &Facts, refusal: &Refusal, accept: Option<Lineage>) -> String {
    let (flag, given, found) = match refusal {
        Refusal::StateMissing { .. } => {
            ("--start-over", facts.permissions.start_over, start_over_name(facts))
        }
        Refusal::SinkLost { .. } => return String::new(),
        _ => ("--accept-rollback", facts.permissions.accept_rollback, accept),
    };
    let Some(found) = found else { return String::new() };
    match given {
        Permission::NotGiven => String::new(),
        Permission::Naming(named) => {
            format!("{flag} names lineage {named}, and what was found is lineage {found}. ")
        }
        Permission::Unnamed => {
            let why = match (refusal, &facts.witness, &facts.database) {
                (Refusal::StateMissing { .. }, WitnessFact::At(.., Begun::StartOver), _)
                | (
                    Refusal::RolledBack { .. }
                    | Refusal::Diverged { .. }
                    | Refusal::VisibleLost { .. },
                    _,
                    DatabaseFact::History { begun: Begun::AcceptedRollback, .. },
                ) => {
                    "was itself begun by it, so that the flag may only have been left in the command"
                }
                (Refusal::StateMissing { .. }, ..) => "is not the one that Kafka has seen last",
                _ => "is one that this checkpoint does not know",
            };
            format!("{flag} alone does not permit this, because lineage {found} {why}. ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::{Decision, Mark, MarkerFact, Permissions, Shared, recover},
        types::{BatchId, Digest, SinkName},
    };

    const OURS: Lineage = Lineage(1);
    const LATER: Lineage = Lineage(2);
    const D: Digest = Digest([7; 32]);

    fn fresh() -> Facts {
        Facts {
            database: DatabaseFact::Fresh,
            visible: VisibleFact::Absent,
            witness: WitnessFact::At(LATER, BatchId(8), D, Begun::StartOver),
            markers: Vec::new(),
            permissions: Permissions::default(),
        }
    }

    fn restored() -> Facts {
        let sink = SinkName("files:out".to_owned());
        let marker =
            MarkerFact::At(LATER, None, vec![Shared { lineage: OURS, until: Some(BatchId(5)) }]);
        Facts {
            database: DatabaseFact::History {
                lineage: OURS,
                begun: Begun::Freely,
                superseded: Vec::new(),
                just_begun: false,
                is_unborn: false,
                last: Some((BatchId(5), D)),
                marks: vec![Mark { sink: sink.clone(), published: Some(BatchId(5)) }],
            },
            visible: VisibleFact::At(OURS, BatchId(5), D),
            markers: vec![(sink, marker)],
            ..fresh()
        }
    }

    fn told(facts: &Facts) -> String {
        match recover(facts) {
            Decision::Refuse(refusal) => ways_out(facts, &refusal),
            other => panic!("{other:?} is no refusal"),
        }
    }

    /// Types a flag as the message writes it.
    fn typed(text: &str, flag: &str) -> Permission {
        let start = text.find(&format!("{flag}=")).expect(text) + flag.len() + 1;
        Permission::Naming(text[start..start + 32].parse().expect(text))
    }

    #[test]
    fn the_flags_that_are_named_are_permissions_for_what_was_found() {
        let mut facts = fresh();
        let text = told(&facts);
        facts.permissions.start_over = typed(&text, "--start-over");
        assert!(matches!(recover(&facts), Decision::Fresh { .. }));
        let mut facts = restored();
        facts.permissions.accept_rollback = typed(&text, "--accept-rollback");
        assert!(matches!(recover(&facts), Decision::RollBack { .. }), "a backup was put back");
        facts.permissions = Permissions::default();
        let text = told(&facts);
        facts.permissions.accept_rollback = typed(&text, "--accept-rollback");
        assert!(matches!(recover(&facts), Decision::RollBack { .. }));
        let start_over = typed(&text, "--start-over");
        let permissions = Permissions { start_over, ..Permissions::default() };
        let emptied = Facts { permissions, ..fresh() };
        assert!(matches!(recover(&emptied), Decision::Fresh { .. }));
    }

    #[test]
    fn a_flag_that_did_not_count_is_told_why() {
        let mut facts = fresh();
        assert!(told(&facts).starts_with("Nothing was changed."));
        facts.permissions.start_over = Permission::Unnamed;
        let text = told(&facts);
        assert!(text.starts_with("--start-over alone") && text.contains("begun by it"), "{text}");
        facts.permissions.start_over = Permission::Naming(OURS);
        assert!(told(&facts).starts_with(&format!("--start-over names lineage {OURS}")));
        let mut facts = restored();
        facts.permissions.accept_rollback = Permission::Unnamed;
        let text = told(&facts);
        assert!(text.contains("does not know") && text.contains(&LATER.to_string()), "{text}");
    }

    #[test]
    fn a_sink_that_lost_a_batch_still_to_be_published_cannot_be_left_out() {
        let mut facts = restored();
        facts.witness = WitnessFact::At(OURS, BatchId(5), D, Begun::Freely);
        facts.markers[0].1 = MarkerFact::Absent;
        assert!(told(&facts).contains("another place"));
        let DatabaseFact::History { marks, .. } = &mut facts.database else { panic!("a history") };
        marks[0].published = Some(BatchId(4));
        let text = told(&facts);
        assert!(!text.contains("another place") && text.contains("--start-over="), "{text}");
    }
}
