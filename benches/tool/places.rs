//! Names for what is only so on one machine: directories, and what the machine is called.
//!
//! Invariant: what is written down for others to read (commands, logs, messages) holds the names, so that it says nothing
//! of the machine and means the same on another. Start at [`Places::short`]. Not here: which places there are
//! (`scripts/bench/parts.sh`).

use std::{borrow::Cow, path::Path};

use clap::Args;

/// What is written as what.
#[derive(Args, Clone, Default)]
pub struct Places {
    /// Write NAME where a command, a log or a message says TEXT (a directory, the machine's name); again for more
    #[arg(long = "place", value_name = "NAME=TEXT", global = true, value_parser = parse)]
    places: Vec<Place>,
}

#[derive(Clone)]
struct Place {
    name: String,
    text: String,
}

fn parse(argument: &str) -> Result<Place, String> {
    let (name, text) = argument.split_once('=').ok_or("NAME=TEXT is wanted")?;
    Ok(Place { name: name.to_owned(), text: text.trim_end_matches('/').to_owned() })
}

impl Places {
    /// A command line: its program by the file's name, and places in its arguments by theirs.
    pub fn command(&self, command: &[String]) -> String {
        let program = command.first().map(|program| {
            let name = Path::new(program).file_name().map(|name| name.to_string_lossy());
            name.unwrap_or(Cow::Borrowed(program))
        });
        let arguments = command.iter().skip(1).map(|it| self.short(it));
        program.into_iter().chain(arguments).collect::<Vec<_>>().join(" ")
    }

    /// A text with the names of the places in it; of several that begin alike the longest counts.
    pub fn short<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if !self.places.iter().any(|place| !place.text.is_empty() && text.contains(&place.text)) {
            return Cow::Borrowed(text);
        }
        let (mut short, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(next) = rest.chars().next() {
            let taken = if let Some(place) = self.place_at(&short, rest) {
                short += &place.name;
                place.text.len()
            } else {
                short.push(next);
                next.len_utf8()
            };
            rest = &rest[taken..];
        }
        Cow::Owned(short)
    }

    /// The place that `rest` begins with, as a word of its own behind `before`.
    fn place_at(&self, before: &str, rest: &str) -> Option<&Place> {
        if before.ends_with(|it| is_of_word(it) || it == '.') {
            return None;
        }
        let is_there = |place: &&Place| {
            let behind = rest.strip_prefix(&place.text);
            !place.text.is_empty() && behind.is_some_and(|behind| !behind.starts_with(is_of_word))
        };
        self.places.iter().filter(is_there).max_by_key(|place| place.text.len())
    }
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '-'
}

#[cfg(test)]
pub mod tests {
    use super::{Places, parse};

    pub fn places(arguments: &[&str]) -> Places {
        Places { places: arguments.iter().map(|it| parse(it).unwrap()).collect() }
    }

    #[test]
    fn places_are_told_by_their_names() {
        let places = places(&["HOME=/home/me", "DIR=/home/me/data/", "HOST=me-box", "ROOT=/"]);
        let check = |text, short| assert_eq!(places.short(text), short);
        check("files:/home/me/data/runs/1/results", "files:DIR/runs/1/results");
        check("state [file:///home/me/data]: /home/me/.cache", "state [file://DIR]: HOME/.cache");
        check("-cp=/home/me/a:/home/me/b", "-cp=HOME/a:HOME/b");
        check("Your hostname, me-box, resolves", "Your hostname, HOST, resolves");
        check(r#"{"sink":"FileSink[/home/me/data/x]"}"#, r#"{"sink":"FileSink[DIR/x]"}"#);
    }

    #[test]
    fn what_only_begins_or_ends_like_a_place_is_left() {
        let places = places(&["DIR=/data", "HOST=vm"]);
        for text in ["/data2/x", "/data-old", "/mnt/data/x", "jdk.internal.vm", "vms", "€ älvm"]
        {
            assert_eq!(places.short(text), text);
        }
        assert_eq!(places.short("€/data2 /data"), "€/data2 DIR");
    }

    #[test]
    fn a_program_is_told_by_its_file_name() {
        let places = places(&["DIR=/data"]);
        let command = ["/usr/local/bin/java", "-cp", "/data/lib"].map(str::to_owned);
        assert_eq!(places.command(&command), "java -cp DIR/lib");
        assert_eq!(places.command(&[]), "");
    }
}
