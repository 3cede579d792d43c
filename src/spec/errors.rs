//! What is wrong with a spec, and where.
//!
//! A reader of the text never stops at the first mistake: it notes each in [`Mistakes`] and goes on
//! with what it could read, so that a user sees the whole list at once. Each says line and column
//! (counted from 1, columns in characters) and what would be right.
//!
//! Not here: which mistakes there are (`parse`, `expression`, `rules`).

use std::fmt;

/// Where a mistake is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the text of a spec.
    Text {
        /// Name of the text, usually the file's path.
        origin: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In a value given from outside of the text, by the name of its option (`--output-mode`).
    Option(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Text { origin, line, column } => write!(f, "{origin}:{line}:{column}"),
            Place::Option(name) => f.write_str(name),
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct SpecError {
    /// Where it is.
    pub place: Place,
    /// What is wrong and what would be right.
    pub message: String,
}

/// All mistakes found in a spec, at least one, in the order of the text. Shown one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecErrors(pub Vec<SpecError>);

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecErrors {}

/// A value of an option or a key that cannot be read; the text says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOption(pub String);

/// Mistakes noted so far, by their byte offset in the text.
pub(super) struct Mistakes<'t> {
    text: &'t str,
    found: Vec<(usize, String)>,
    of_options: Vec<(&'static str, String)>,
    doubts: Vec<(usize, String)>,
}

impl<'t> Mistakes<'t> {
    pub(super) fn new(text: &'t str) -> Mistakes<'t> {
        Mistakes { text, found: Vec::new(), of_options: Vec::new(), doubts: Vec::new() }
    }

    /// The text the offsets point into.
    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    /// Notes a mistake at a byte offset.
    pub(super) fn note(&mut self, offset: usize, message: impl Into<String>) {
        self.found.push((offset, message.into()));
    }

    /// Notes a mistake of a value that an option gives in place of the text's.
    pub(super) fn note_option(&mut self, option: &'static str, message: String) {
        self.of_options.push((option, message));
    }

    /// Notes what is most likely a mistake, and no reason to refuse the text.
    pub(super) fn doubt(&mut self, offset: usize, message: impl Into<String>) {
        self.doubts.push((offset, message.into()));
    }

    /// Whether no mistake was noted.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty() && self.of_options.is_empty()
    }

    /// The mistakes in the order of the text, then those of options.
    pub(super) fn into_errors(self, origin: &str) -> SpecErrors {
        let mut errors = placed(self.text, origin, self.found);
        let of_option = |(option, message)| SpecError { place: Place::Option(option), message };
        errors.extend(self.of_options.into_iter().map(of_option));
        SpecErrors(errors)
    }

    /// The doubts in the order of the text.
    pub(super) fn into_doubts(self, origin: &str) -> Vec<SpecError> {
        placed(self.text, origin, self.doubts)
    }
}

/// What was noted by byte offset, in the order of the text.
fn placed(text: &str, origin: &str, mut found: Vec<(usize, String)>) -> Vec<SpecError> {
    found.sort_by_key(|(offset, _)| *offset);
    let error = |(offset, message)| {
        let (line, column) = line_and_column(text, offset);
        SpecError { place: Place::Text { origin: origin.to_owned(), line, column }, message }
    };
    found.into_iter().map(error).collect()
}

/// Line and column, from 1, of a byte offset; one behind the end of the text is its end.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..character_start(text, offset)];
    let line = before.matches('\n').count() + 1;
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[line_start..].chars().count() + 1)
}

/// The start of the character that a byte belongs to; behind the end, the end.
pub(super) fn character_start(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// `; did you mean "store"?` for the candidate that is a likely slip away from `given`, else nothing.
pub(super) fn suggestion<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let limit = 1 + given.chars().count() / 4;
    candidates
        .into_iter()
        .map(|candidate| (distance(&given.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map_or_else(String::new, |(_, candidate)| format!("; did you mean {candidate:?}?"))
}

/// Number of characters to insert, delete, replace or swap with their neighbour (optimal string
/// alignment). Long texts are not names: they are as far from anything as they are long.
fn distance(left: &str, right: &str) -> usize {
    const LONGEST_NAME: usize = 64;
    let left: Vec<char> = left.chars().take(LONGEST_NAME + 1).collect();
    let right: Vec<char> = right.chars().take(LONGEST_NAME + 1).collect();
    if left.len().max(right.len()) > LONGEST_NAME {
        return usize::MAX;
    }
    let mut rows = vec![(0..=right.len()).collect::<Vec<usize>>()];
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut best = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

/// `a, b, c`, or a word for there being none.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let check = |text, offset, expected| assert_eq!(line_and_column(text, offset), expected);
        check("", 0, (1, 1));
        check("ab\ncd", 4, (2, 2));
        check("ä = 1", 3, (1, 3));
        check("ä", 1, (1, 1));
        check("ab\n", 99, (2, 1));
    }

    #[test]
    fn likely_slips_are_suggested_and_others_are_not() {
        let names = ["store", "item", "price", "ts"];
        let check =
            |given, expected: &str| assert_eq!(suggestion(given, names), expected, "{given}");
        check("prise", "; did you mean \"price\"?");
        check("Store", "; did you mean \"store\"?");
        check("sotre", "; did you mean \"store\"?");
        check("st", "; did you mean \"ts\"?");
        check("warehouse", "");
        check(&"store".repeat(1000), "");
    }

    #[test]
    fn mistakes_are_listed_in_the_order_of_the_text() {
        let mut mistakes = Mistakes::new("a\nb");
        mistakes.note(2, "second");
        mistakes.note(0, "first");
        let errors = mistakes.into_errors("x.toml");
        assert_eq!(errors.to_string(), "x.toml:1:1: first\nx.toml:2:1: second");
    }
}
