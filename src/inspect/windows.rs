//! The open windows in the order they are listed, with the groups asked for, page by page.
//!
//! The state is read once for each page, which has as many of the windows that come next as fit in it; where the rows
//! of a single window do not, they are read once more while they are shown.

use std::collections::BTreeMap;

use crate::{
    inspect::{
        View, ViewError,
        groups::{Cells, OneGroup, WindowKey},
    },
    types::Timestamp,
};

/// About how many bytes of memory a page takes.
pub(super) const PAGE_BYTES: usize = 32 << 20;

/// What a window takes in a page, and what a cell does besides its texts.
const WINDOW_BYTES: usize = 2 * size_of::<(WindowKey, Listed)>();
const CELL_BYTES: usize = size_of::<(String, serde_json::Value)>() + 32;

/// The windows that are listed next.
#[derive(Debug, Default)]
pub(super) struct Page {
    windows: BTreeMap<WindowKey, Listed>,
    bytes: usize,
    /// The first window that did not fit.
    cut: WindowCut,
}

/// Where a page ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WindowCut {
    #[default]
    Nowhere,
    Before(WindowKey),
}

/// A window of a page.
#[derive(Debug, Default)]
struct Listed {
    groups: u64,
    /// The groups asked for, unless they are too many.
    rows: Vec<Cells>,
    row_bytes: usize,
    has_rows: bool,
    has_too_many_rows: bool,
}

/// An open window, or the groups that have none.
pub(super) struct OpenWindow<'v> {
    view: &'v View<'v>,
    key: WindowKey,
    listed: &'v Listed,
}

impl Page {
    /// Takes a group of a window, with its row where that is asked for.
    fn take(&mut self, key: WindowKey, row: Option<Cells>, room: usize) {
        let listed = self.windows.entry(key).or_insert_with(|| {
            self.bytes += WINDOW_BYTES;
            Listed::default()
        });
        listed.groups += 1;
        if let Some(row) = row {
            listed.has_rows = true;
            if !listed.has_too_many_rows {
                let bytes = bytes_of(&row);
                listed.row_bytes += bytes;
                self.bytes += bytes;
                listed.rows.push(row);
            }
        }
        while self.bytes > room && self.make_room() {}
    }

    /// Leaves the last window to the next page, or the rows of the only one to another reading; whether there
    /// was something.
    fn make_room(&mut self) -> bool {
        if self.windows.len() > 1
            && let Some((key, gone)) = self.windows.pop_last()
        {
            self.bytes -= WINDOW_BYTES + gone.row_bytes;
            self.cut = WindowCut::Before(key);
            return true;
        }
        let Some(mut only) = self.windows.first_entry() else { return false };
        let only = only.get_mut();
        self.bytes -= std::mem::take(&mut only.row_bytes);
        only.has_too_many_rows = only.has_rows;
        only.rows = Vec::new();
        false
    }

    fn is_behind(&self, key: WindowKey) -> bool {
        matches!(self.cut, WindowCut::Before(first) if key >= first)
    }
}

fn bytes_of(row: &Cells) -> usize {
    let cell = |(name, value): &(String, serde_json::Value)| {
        CELL_BYTES + name.len() + value.as_str().map_or(0, str::len)
    };
    size_of::<Cells>() + row.iter().map(cell).sum::<usize>()
}

impl View<'_> {
    /// The windows behind one, as many as fit, and how many keys a deduplication remembers.
    pub(super) fn page(&self, behind: Option<WindowKey>) -> Result<(Page, u64), ViewError> {
        let mut page = Page::default();
        let remembered = self.groups.each(&mut |key, group| {
            let is_before = behind.is_some_and(|behind| key <= behind);
            if is_before || page.is_behind(key) || !self.may_show(key) {
                return Ok(());
            }
            page.take(key, self.row(group)?, self.page_bytes);
            Ok(())
        })?;
        Ok((page, remembered))
    }

    /// Hands out the open windows in the order they are listed.
    pub(super) fn each_window(
        &self,
        show: &mut dyn FnMut(&OpenWindow<'_>) -> Result<(), ViewError>,
    ) -> Result<(), ViewError> {
        let mut next;
        let mut page = &self.first;
        loop {
            for (key, listed) in &page.windows {
                if listed.has_rows || !self.filter.shows_groups() {
                    show(&OpenWindow { view: self, key: *key, listed })?;
                }
            }
            let (WindowCut::Before(_), Some((last, _))) = (page.cut, page.windows.last_key_value())
            else {
                return Ok(());
            };
            (next, _) = self.page(Some(*last))?;
            page = &next;
        }
    }

    /// Whether a window can be one of those asked for.
    fn may_show(&self, key: WindowKey) -> bool {
        self.filter.window.is_none() || self.filter.window == key.map(|(_, start)| start)
    }

    /// The row of a group, if it is asked for.
    fn row(&self, group: &OneGroup<'_>) -> Result<Option<Cells>, ViewError> {
        if self.filter.shows_groups() {
            group.cells(&self.pipeline, &self.filter)
        } else {
            Ok(None)
        }
    }
}

impl OpenWindow<'_> {
    /// Start and end; `None` for groups of keys alone.
    pub(super) fn window(&self) -> Option<(Timestamp, Timestamp)> {
        self.key.map(|(end, start)| (start, end))
    }

    pub(super) fn groups(&self) -> u64 {
        self.listed.groups
    }

    pub(super) fn has_rows(&self) -> bool {
        self.listed.has_rows
    }

    /// Hands out the rows of the groups asked for.
    pub(super) fn each_row(
        &self,
        show: &mut dyn FnMut(&Cells) -> Result<(), ViewError>,
    ) -> Result<(), ViewError> {
        if !self.listed.has_too_many_rows {
            return self.listed.rows.iter().try_for_each(show);
        }
        let visit = &mut |key: WindowKey, group: &OneGroup<'_>| match self.view.row(group) {
            _ if key != self.key => Ok(()),
            Ok(Some(row)) => show(&row),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        self.view.groups.each(visit).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::{Begun, Genesis, VisibleFact},
        checkpoint::Recovered,
        inspect::{Filter, State},
        spec,
        types::{Incarnation, Lineage, Place},
        window::{Accumulator, Group, Sum},
    };

    fn recovered(spec_text: &str) -> Recovered {
        let pipeline = spec::parse(spec_text, "trial").expect("it is right").pipeline;
        let genesis = Genesis {
            lineage: Lineage(1),
            begun: Begun::Freely,
            superseded: Vec::new(),
            began_after: None,
            pipeline: pipeline.name.clone(),
            spec_text: spec_text.to_owned(),
            identity: pipeline.identity(),
            cluster_id: None,
            topic_id: None,
            topic_since: None,
            starting: BTreeMap::new(),
            created_ms: 0,
        };
        Recovered {
            genesis: Some(genesis),
            last: None,
            marks: Vec::new(),
            visible: VisibleFact::Absent,
            rows_are_stored: false,
            incarnation: Incarnation(1),
            rollback_accepted: false,
        }
    }

    /// A place, the end and start of a window in it in seconds, and how many groups it has there.
    type Stored = (Place, (i64, i64), usize);

    /// What a view with pages of so many bytes shows of these windows: its JSON and its text.
    fn shown(
        (spec_text, stored): (&str, &[Stored]),
        page_bytes: usize,
        filter: &Filter,
    ) -> (String, String) {
        let read: &crate::inspect::ReadRows<'_> = &|visit| {
            for (place, (end, start), groups) in stored {
                for index in 0..*groups {
                    // A text in front of its own end.
                    let key = [b"\x01s".as_slice(), index.to_string().as_bytes(), b"\0\0"].concat();
                    let sum = Sum { exact: 1_000_000_000, inexact: None, count: 1 };
                    let group = Group {
                        start: Timestamp(*start * 1_000_000),
                        end: Timestamp(*end * 1_000_000),
                        key: &key,
                        accumulators: &[Accumulator::Sum(sum)],
                    };
                    visit(*place, group, false)?;
                }
            }
            Ok(())
        };
        let state = State::Rows(read);
        let view =
            View::with_pages_of(page_bytes, recovered(spec_text), &state, Vec::new(), filter);
        let view = view.expect("it can be shown");
        assert!(view.first.bytes <= page_bytes.max(WINDOW_BYTES), "a page is no larger");
        let (mut json, mut text) = (Vec::new(), Vec::new());
        view.write_json(&mut json).expect("it can be written");
        view.write_text(&mut text).expect("it can be written");
        let text_of = |bytes| String::from_utf8(bytes).expect("it is text");
        (text_of(json), text_of(text))
    }

    fn filters() -> Vec<Filter> {
        let (window, key) = (Some(Timestamp(60_000_000)), Some("s3".to_owned()));
        vec![
            Filter::default(),
            Filter { window, key: None },
            Filter { window: None, key: key.clone() },
            Filter { window, key },
            Filter { window: Some(Timestamp(1)), key: None },
        ]
    }

    #[test]
    fn however_small_its_pages_are_a_view_shows_the_same() {
        let sales = spec::preset("sales").expect("the preset is there");
        let sessions = sales.replace("duration = \"30 seconds\"", "session_gap = \"30 seconds\"");
        let windows: Vec<_> = (0..30)
            .map(|index| (Place::groups(Timestamp((index + 1) * 30_000_000)), index))
            .map(|(place, index)| (place, ((index + 1) * 30, index * 30), 5))
            .collect();
        // By start, not by end; one is of several places' groups.
        let place = Place::groups(Place::NEVER);
        let mixed: Vec<_> = (0..40).map(|index| (place, (90 + index * 37 % 61, 60), 2)).collect();
        for trial in [(sales, &windows[..]), (&sessions, &mixed[..])] {
            for filter in filters() {
                let whole = shown(trial, usize::MAX, &filter);
                for page_bytes in [1, 700, 3000] {
                    assert!(shown(trial, page_bytes, &filter) == whole, "{page_bytes}: {filter:?}");
                }
                let (json, text) = whole;
                let parsed: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
                assert_eq!(json, format!("{parsed:#}\n"));
                let listed = parsed["windows"].as_array().expect("it is a list");
                let keys: Vec<_> =
                    listed.iter().map(|window| window["window_end"].to_string()).collect();
                assert!(keys.is_sorted(), "{keys:?}");
                let rest = format!("and {} more", listed.len().saturating_sub(20));
                assert_eq!(text.contains(&rest), listed.len() > 20, "{text}");
                assert_eq!(text.contains("no open window"), listed.is_empty(), "{text}");
            }
        }
    }

    #[test]
    fn a_window_with_more_groups_than_a_page_holds_is_shown_whole() {
        let sales = spec::preset("sales").expect("the preset is there");
        let stored = [(Place::groups(Timestamp(90_000_000)), (90, 60), 500)];
        let filter = Filter { window: Some(Timestamp(60_000_000)), key: None };
        let (json, text) = shown((sales, &stored), 2000, &filter);
        let parsed: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        let rows = parsed["windows"][0]["rows"].as_array().expect("there are rows");
        assert_eq!((rows.len(), text.matches("store=").count()), (500, 500));
        assert_eq!(rows[3]["store"], "s3");
    }
}
