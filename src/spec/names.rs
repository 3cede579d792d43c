//! Rules for names that leave the process: a pipeline's (it becomes a directory) and a topic's.

use super::errors::InvalidOption;

/// Longest pipeline name: with a prefix and a suffix it still is a file name and a group id.
const MAX_PIPELINE_NAME: usize = 100;
/// Kafka's limit (`Topic.MAX_NAME_LENGTH`).
const MAX_TOPIC_NAME: usize = 249;

/// Checks a pipeline's name: `[a-z0-9][a-z0-9_-]*`, at most 100 characters.
///
/// # Errors
/// Says the rule.
pub fn check_pipeline_name(name: &str) -> Result<(), InvalidOption> {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let starts_well = name.starts_with(letter);
    let fits = starts_well && name.chars().all(|c| letter(c) || c == '_' || c == '-');
    if fits && name.len() <= MAX_PIPELINE_NAME {
        return Ok(());
    }
    Err(InvalidOption(format!(
        "{name:?} cannot name a pipeline: it becomes a directory, so it has lowercase letters, \
         digits, _ and -, starts with a letter or digit, and has at most {MAX_PIPELINE_NAME} characters"
    )))
}

/// Checks a topic's name by Kafka's rule: 1 to 249 of `[a-zA-Z0-9._-]`, not `.` or `..`.
///
/// # Errors
/// Says the rule.
pub fn check_topic_name(name: &str) -> Result<(), InvalidOption> {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fits = !name.is_empty() && name.len() <= MAX_TOPIC_NAME && name.chars().all(letter);
    if fits && name != "." && name != ".." {
        return Ok(());
    }
    Err(InvalidOption(format!(
        "{name:?} is not a topic's name: Kafka takes 1 to {MAX_TOPIC_NAME} letters, digits, \".\", \
         \"_\" and \"-\", but not \".\" or \"..\" alone"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipeline_names_are_safe_directory_names() {
        for good in ["sales", "0", "sales-by_store-2"] {
            assert_eq!(check_pipeline_name(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "_a", "Sales", "a/b", "..", "a b", "ä", &"a".repeat(101)] {
            assert!(check_pipeline_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn topic_names_follow_kafkas_rule() {
        for good in ["sales", "real-time-transactions", "A.b_c", &"a".repeat(249)] {
            assert_eq!(check_topic_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", &"a".repeat(250)] {
            assert!(check_topic_name(bad).is_err(), "{bad}");
        }
    }
}
