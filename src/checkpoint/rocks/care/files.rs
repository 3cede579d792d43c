//! Which of RocksDB's files is damaged, told from the files themselves.
//!
//! Sorted files (`.sst`) are not read here: of them RocksDB itself tells the name, but for some damage
//! in their properties.
//!
//! Not here: what the damage costs (`care`), whether a start may go on (`batch::recover`).

use std::{fs, io, path::Path};

use crate::checkpoint::rocks::{
    database_path,
    records::{self, End},
};

/// What is wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// One clause that begins with the file's name.
    pub problem: String,
    /// Whether a write that a crash interrupted may look like this.
    pub is_unfinished_write: bool,
}

/// Looks at CURRENT, the MANIFEST that it names and every write-ahead log.
pub(super) fn findings(directory: &Path) -> io::Result<Vec<Finding>> {
    let names = records::names(directory)?;
    let mut findings = Vec::new();
    let mut with_records: Vec<&str> =
        names.iter().filter(|name| name.ends_with(".log")).map(String::as_str).collect();
    if names.iter().any(|name| name == "CURRENT") {
        let current = manifest_of(&fs::read(database_path(directory).join("CURRENT"))?);
        let problem = match &current {
            Some(name) if names.contains(name) => None,
            Some(name) => Some(format!("it names {name}, which is not there")),
            None => Some("it does not name a MANIFEST".to_owned()),
        };
        with_records.extend(
            names.iter().map(String::as_str).filter(|name| current.as_deref() == Some(*name)),
        );
        findings.extend(problem.map(|problem| Finding {
            problem: format!("db/CURRENT is damaged: {problem}"),
            is_unfinished_write: false,
        }));
    }
    for name in with_records {
        findings.extend(finding(name, &records::read(directory, name)?.end));
    }
    Ok(findings)
}

fn finding(name: &str, end: &End) -> Option<Finding> {
    let (problem, is_unfinished_write) = match end {
        End::Whole => return None,
        End::CutShort { at, bytes } => {
            let problem = format!(
                "db/{name} is cut short: the record at byte {at} is not whole, {bytes} bytes are of \
                 no use"
            );
            (problem, true)
        }
        End::Damaged { at, bytes } => {
            let problem = format!(
                "db/{name} is damaged: the record at byte {at} has a wrong checksum, so that the \
                 {bytes} bytes from there on cannot be trusted"
            );
            (problem, false)
        }
    };
    Some(Finding { problem, is_unfinished_write })
}

/// The names of all sorted files, for a sentence.
pub(super) fn sorted_files(directory: &Path) -> io::Result<String> {
    let mut names = records::names(directory)?;
    names.retain(|name| name.ends_with(".sst"));
    let names: Vec<_> = names.into_iter().map(|name| format!("db/{name}")).collect();
    Ok(match names.as_slice() {
        [] => "RocksDB's own notes".to_owned(),
        [one] => one.clone(),
        several => format!("one of {}", several.join(", ")),
    })
}

/// The name of the MANIFEST, or at least that it is one.
pub(super) fn manifest(directory: &Path) -> io::Result<String> {
    let current = fs::read(database_path(directory).join("CURRENT"))?;
    Ok(manifest_of(&current).unwrap_or_else(|| "MANIFEST".to_owned()))
}

/// The file that CURRENT names.
fn manifest_of(current: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(current).ok()?.strip_suffix('\n')?;
    let number = name.strip_prefix("MANIFEST-")?;
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn current_names_a_manifest_in_one_line() {
        assert_eq!(manifest_of(b"MANIFEST-000005\n"), Some("MANIFEST-000005".to_owned()));
        for wrong in ["", "MANIFEST-000005", "MANIFEST-00x005\n", "MANIFEST-\n", "../x\n"] {
            assert_eq!(manifest_of(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
