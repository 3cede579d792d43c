//! What was measured in which round, and what rounds say together.
//!
//! Invariant: what is compared was measured in the same round, because the machine is not equally fast in all of them; a
//! round that one of the two lacks says nothing of how they compare. Start at [`Rounds::by`].

use std::collections::BTreeMap;

/// Values by round; in a round there may be several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rounds(BTreeMap<u32, Vec<f64>>);

impl Rounds {
    pub fn push(&mut self, round: u32, value: f64) {
        self.0.entry(round).or_default().push(value);
    }

    /// Rounds that have a value, in their order.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.0.keys().copied()
    }

    /// All values of all rounds.
    pub fn values(&self) -> Vec<f64> {
        self.0.values().flatten().copied().collect()
    }

    /// The median of a round's values.
    pub fn of_round(&self, round: u32) -> Option<f64> {
        median(self.0.get(&round)?)
    }

    /// These divided by the others, by rounds that both have: `by(…).median()` is how the two compare.
    pub fn by(&self, others: &Rounds) -> Rounds {
        let mut ratios = Rounds::default();
        for round in self.numbers() {
            if let (Some(of), Some(to)) = (self.of_round(round), others.of_round(round)) {
                ratios.push(round, of / to);
            }
        }
        ratios
    }

    /// The median of all values.
    pub fn median(&self) -> Option<f64> {
        median(&self.values())
    }

    /// The least and the most of all values.
    pub fn range(&self) -> Option<(f64, f64)> {
        let values = self.values();
        let least = values.iter().copied().reduce(f64::min)?;
        Some((least, values.iter().copied().reduce(f64::max)?))
    }
}

/// The one in the middle.
fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
pub mod tests {
    use super::{Rounds, median};

    pub fn rounds(values: &[(u32, f64)]) -> Rounds {
        let mut rounds = Rounds::default();
        values.iter().for_each(|(round, value)| rounds.push(*round, *value));
        rounds
    }

    #[test]
    fn what_is_compared_was_measured_in_one_round() {
        let one = rounds(&[(1, 1.0), (2, 20.0), (3, 30.0)]);
        let other = rounds(&[(1, 2.0), (2, 10.0), (3, 60.0)]);
        // That of the medians would be 2.
        assert_eq!(one.by(&other), rounds(&[(1, 0.5), (2, 2.0), (3, 0.5)]));
        assert_eq!(one.by(&other).median(), Some(0.5));
    }

    #[test]
    fn a_round_that_one_of_them_lacks_is_left_out() {
        // As many values of both, of different rounds.
        let (one, other) = (rounds(&[(2, 8.0), (3, 9.0)]), rounds(&[(1, 1.0), (2, 2.0)]));
        assert_eq!(one.by(&other), rounds(&[(2, 4.0)]));
        assert_eq!(one.by(&rounds(&[(4, 1.0)])).median(), None);
    }

    #[test]
    fn a_round_with_several_values_counts_once_in_a_comparison() {
        let one = rounds(&[(1, 1.0), (1, 3.0), (1, 90.0)]);
        assert_eq!(one.by(&rounds(&[(1, 6.0)])), rounds(&[(1, 0.5)]));
        assert_eq!(one.values(), [1.0, 3.0, 90.0]);
        assert_eq!(one.range(), Some((1.0, 90.0)));
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middle_ones() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
