//! The metadata of commits: which batch of which history they belong to.
//!
//! Invariant: [`newest`] reads what [`metadata`] writes; anything else in a commit is somebody
//! else's and says nothing.
//!
//! Not here: what a witness means for a start (`batch::recover`).

use crate::{
    batch::{Begun, Identity, WitnessFact},
    types::{BatchId, Digest, Lineage},
};

const START_OVER: &str = "start-over";
const ACCEPTED_ROLLBACK: &str = "accepted-rollback";

/// `lineage:batch:digest`, the lineage and the digest in hexadecimal; behind it, where the lineage was
/// begun by a permission, `:start-over` or `:accepted-rollback`.
pub(super) fn metadata(identity: &Identity, begun: Begun) -> String {
    let Identity { lineage, batch, digest, .. } = identity;
    match begun {
        Begun::Freely => format!("{lineage}:{batch}:{digest}"),
        Begun::StartOver => format!("{lineage}:{batch}:{digest}:{START_OVER}"),
        Begun::AcceptedRollback => format!("{lineage}:{batch}:{digest}:{ACCEPTED_ROLLBACK}"),
    }
}

/// The highest batch named by the partitions' commits.
///
/// All partitions are committed together, so that they differ only where a commit was carried out in
/// part or a partition is new. If they name several histories the highest batch counts as well: when
/// it belongs to a history that was replaced, the decision knows how far that one had been seen.
pub(super) fn newest<'a>(commits: impl IntoIterator<Item = &'a [u8]>) -> WitnessFact {
    commits
        .into_iter()
        .filter_map(parse)
        .max_by_key(|(_, batch, _, _)| *batch)
        .map_or(WitnessFact::None, |(lineage, batch, digest, begun)| {
            WitnessFact::At(lineage, batch, digest, begun)
        })
}

fn parse(metadata: &[u8]) -> Option<(Lineage, BatchId, Digest, Begun)> {
    let text = std::str::from_utf8(metadata).ok()?;
    let mut parts = text.split(':');
    let (lineage, batch, digest) = (parts.next()?, parts.next()?, parts.next()?);
    let begun = match parts.next() {
        None => Begun::Freely,
        Some(START_OVER) => Begun::StartOver,
        Some(ACCEPTED_ROLLBACK) => Begun::AcceptedRollback,
        Some(_) => return None,
    };
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if parts.next().is_some() || lineage.len() != 32 || !plain(lineage) || !plain(batch) {
        return None;
    }
    Some((lineage.parse().ok()?, BatchId(batch.parse().ok()?), digest.parse().ok()?, begun))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Incarnation;

    fn named(lineage: u128, batch: u64) -> (String, WitnessFact) {
        let (lineage, batch, digest) = (Lineage(lineage), BatchId(batch), Digest([7; 32]));
        let identity = Identity { lineage, incarnation: Incarnation(3), batch, digest };
        let text = metadata(&identity, Begun::Freely);
        (text, WitnessFact::At(lineage, batch, digest, Begun::Freely))
    }

    /// Commits outlive versions: what an old one wrote must go on to be a witness.
    #[test]
    fn the_text_of_commits_never_changes() {
        let identity = Identity {
            lineage: Lineage(255),
            incarnation: Incarnation(3),
            batch: BatchId(12),
            digest: Digest([0xAB; 32]),
        };
        let free = format!("000000000000000000000000000000ff:12:{}", "ab".repeat(32));
        assert_eq!(metadata(&identity, Begun::Freely), free);
        assert_eq!(metadata(&identity, Begun::StartOver), format!("{free}:start-over"));
        let accepted = metadata(&identity, Begun::AcceptedRollback);
        assert_eq!(accepted, format!("{free}:accepted-rollback"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (text, fact) = named(u128::MAX / 3, 12);
        assert_eq!(newest([text.as_bytes()]), fact);
        let WitnessFact::At(lineage, batch, digest, _) = fact else { panic!("{fact:?}") };
        let identity = Identity { lineage, incarnation: Incarnation(3), batch, digest };
        for begun in [Begun::StartOver, Begun::AcceptedRollback] {
            let text = metadata(&identity, begun);
            let fact = WitnessFact::At(lineage, batch, digest, begun);
            assert_eq!(newest([text.as_bytes()]), fact, "{text}");
        }
    }

    #[test]
    fn the_highest_batch_counts_as_a_number() {
        let (nine, _) = named(1, 9);
        let (ten, fact) = named(2, 10);
        assert_eq!(newest([ten.as_bytes(), b"", nine.as_bytes()]), fact);
    }

    #[test]
    fn foreign_metadata_says_nothing() {
        let (ours, _) = named(1, 9);
        let foreign = [
            String::new(),
            "hello".to_owned(),
            format!("{ours}:"),
            format!("{ours}:otherwise"),
            format!("{ours}:start-over:"),
            ours.replacen("00000000", "0000+000", 1),
            ours.replace(":9:", ":+9:"),
            ours[..ours.len() - 1].to_owned(),
        ];
        for text in foreign {
            assert_eq!(newest([text.as_bytes()]), WitnessFact::None, "{text}");
        }
        assert_eq!(newest([&[0xff, 0xfe][..]]), WitnessFact::None);
    }
}
