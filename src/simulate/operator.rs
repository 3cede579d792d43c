//! What happens to the state, the sinks, the group and the topic while nothing runs, when a start must
//! then be refused, and the way out that its operator takes, as the refusal words it.
//!
//! Invariant: a refusal needs a reason, a reason needs its refusal, and the way out that was named is
//! not refused for the same reason.

use crate::{
    batch::{Begun, Genesis, MarkerFact, Permission, Permissions, VisibleFact},
    checkpoint::{Recovered, memory::MemoryDisk},
    engine::EngineError,
    simulate::{Trial, book::Kept, pipelines, pipelines::Variant, sink_name},
    sink::{
        Sink as _,
        memory::{Keeps, MemorySink},
    },
    types::{BatchId, Lineage},
};

/// A copy of the state and what is durable on it.
pub(super) struct Backup {
    disk: MemoryDisk,
    kept: Kept,
}

/// What was done to a trial and not yet got over.
#[derive(Default)]
pub(super) struct Troubled {
    /// The state was replaced or the announce file lost: a start may be refused.
    pub(super) state: bool,
    /// The sinks of before, where one was taken away for the next start.
    pub(super) sinks: Option<Vec<MemorySink>>,
    /// The sinks of before, where others were given together with a way out.
    pub(super) exchanged: Option<Vec<MemorySink>>,
    /// Another pipeline is given to the next start.
    pub(super) pipeline: Option<&'static Variant>,
    /// The history whose announce file could not be read: nobody goes on with it.
    pub(super) unreadable: Option<Lineage>,
    /// A way out was taken: the next start is not refused again.
    pub(super) way_out: bool,
    /// Starts that were refused in a row.
    pub(super) refused: u32,
}

impl Trial {
    /// Something happens between two runs, or nothing.
    pub(super) fn meanwhile(&mut self) {
        let what = {
            let mut world = self.shared.lock();
            let permille = world.plague.between_runs;
            if self.troubled.way_out || !world.chance.permille(permille) {
                return;
            }
            world.chance.below(12)
        };
        match what {
            0..3 => self.back_up(),
            3 | 4 => self.restore(),
            5 => self.lose_visible(),
            6 => self.lose_state(),
            7 => {
                let mut world = self.shared.lock();
                world.note("the group's commits expire", 0);
                world.counts.faults_injected += 1;
                world.in_flight.clear();
                self.topic.forget_commits();
            }
            8 | 9 => self.change_sinks(),
            10 => {
                let mut world = self.shared.lock();
                if world.chance.below(2) == 0 {
                    world.change_topic();
                } else {
                    world.note("no broker answers for a while", 0);
                    let time = 1 + world.chance.below(4);
                    world.outage_until = world.uptime + std::time::Duration::from_secs(time);
                }
            }
            _ => self.change_pipeline(),
        }
    }

    fn back_up(&mut self) {
        let mut world = self.shared.lock();
        if let Some(kept) = world.book.copy() {
            world.note("a backup is made", kept.history.len() as u64);
            self.backup = Some(Backup { disk: self.disk.fork(), kept });
        }
    }

    fn restore(&mut self) {
        let Some(Backup { disk, kept }) = &self.backup else { return };
        let mut world = self.shared.lock();
        world.note("a backup is restored", kept.history.len() as u64);
        world.counts.faults_injected += 1;
        world.commits_arrive();
        world.state_was_replaced();
        world.book.replaced(kept.clone());
        self.disk.replace_with(disk);
        self.troubled.state = true;
        self.troubled.unreadable = None;
        self.has_gone_back = true;
    }

    fn lose_visible(&mut self) {
        let mut world = self.shared.lock();
        if world.book.newest().is_none() {
            return;
        }
        let is_there = world.chance.below(2) == 0;
        world.note("the announce file is lost", u64::from(is_there));
        world.counts.faults_injected += 1;
        self.disk.lose_visible(is_there);
        self.troubled.state = true;
        self.troubled.unreadable = None;
    }

    fn lose_state(&mut self) {
        let mut world = self.shared.lock();
        world.note("the state is lost", 0);
        world.counts.faults_injected += 1;
        world.commits_arrive();
        world.state_was_replaced();
        world.book.replaced(Kept::default());
        self.disk.replace_with(&MemoryDisk::new());
        self.troubled.state = true;
        self.troubled.unreadable = None;
        self.has_gone_back = true;
    }

    /// One sink more, or one less.
    fn change_sinks(&mut self) {
        let mut world = self.shared.lock();
        if self.sinks.len() > 1 && world.chance.below(2) == 0 {
            let index = world.chance.index(self.sinks.len());
            world.note("a sink is left out", index as u64);
            self.troubled.sinks = Some(self.sinks.clone());
            self.former.push(self.sinks.remove(index));
        } else if self.sinks.len() < 3 {
            let keeps = if world.chance.below(2) == 0 { Keeps::Marker } else { Keeps::Nothing };
            self.sinks_made += 1;
            world.note("there is one more sink", self.sinks_made);
            self.sinks.push(new_sink(keeps, self.sinks_made));
        }
    }

    fn change_pipeline(&mut self) {
        let mut world = self.shared.lock();
        let variants = pipelines::all();
        let other = &variants[world.chance.index(variants.len())];
        let has_state = world.book.newest().is_some();
        if has_state
            && other.kind != self.variant.kind
            && !other.is_compat
            && !self.variant.is_compat
        {
            world.note("the next start has another pipeline", 0);
            self.troubled.pipeline = Some(other);
        }
    }

    /// Why the next start must be refused, from what everyone knows.
    pub(super) fn reason_to_refuse(
        &mut self,
        recovered: &Recovered,
        permissions: Permissions,
    ) -> Option<&'static str> {
        let witness = self.topic.newest_commit().map(|commit| (commit.lineage, commit.batch));
        let markers: Vec<_> = self.sinks.iter_mut().filter_map(marker).collect();
        let Some(genesis) = &recovered.genesis else {
            let permitted = matches!((permissions.start_over, witness),
                (Permission::Naming(named), Some((lineage, _))) if named == lineage);
            if !markers.is_empty() {
                return Some("a sink belongs to a history that is lost");
            }
            return (witness.is_some() && !permitted).then_some("the state is lost");
        };
        if self.troubled.pipeline.is_some() {
            return Some("the pipeline is another one");
        }
        let last = recovered.last.as_ref().map(|last| last.batch);
        if let VisibleFact::Unreadable(_) = recovered.visible
            && cannot_be_read(genesis, last)
        {
            self.troubled.unreadable = Some(genesis.lineage);
        }
        let known = |lineage: Lineage| {
            lineage == genesis.lineage
                || genesis.superseded.iter().any(|other| other.lineage == lineage)
        };
        let seen: Vec<_> = witness
            .map(|(lineage, batch)| (lineage, Some(batch)))
            .into_iter()
            .chain(markers.iter().copied())
            .collect();
        if let Permission::Naming(named) = permissions.accept_rollback
            && (named == genesis.lineage || seen.iter().any(|(lineage, _)| *lineage == named))
        {
            return None;
        }
        if self.lacks_a_sink(last) {
            return Some("a sink that lacks the newest batch was left out");
        }
        if seen.iter().any(|(lineage, batch)| *lineage == genesis.lineage && *batch > last) {
            return Some("later batches were seen");
        }
        if witness.is_some_and(|(lineage, _)| !known(lineage)) {
            return Some("a later history was seen");
        }
        match &recovered.visible {
            VisibleFact::Unreadable(_) if cannot_be_read(genesis, last) => {
                Some("the announce file cannot be read")
            }
            VisibleFact::Absent if last > Some(BatchId(0)) && !genesis.has_just_begun(last) => {
                Some("the announce file is gone")
            }
            _ => None,
        }
    }

    /// Whether a sink was left out that has not confirmed the newest batch.
    fn lacks_a_sink(&self, last: Option<BatchId>) -> bool {
        let Some(before) = &self.troubled.sinks else { return false };
        let names: Vec<_> = self.sinks.iter().map(sink_name).collect();
        let world = self.shared.lock();
        let newest = last.map(|last| last.0);
        let sinks = world.book.sinks().iter();
        sinks
            .filter(|sink| before.iter().any(|before| sink_name(before) == sink.name))
            .any(|sink| !names.contains(&sink.name) && sink.published < newest)
    }

    /// Whether something was done that may lead to this refusal.
    pub(super) fn may_be_refused(&self, code: u8) -> bool {
        match code {
            13 => self.troubled.state,
            12 => {
                self.troubled.state
                    || self.troubled.sinks.is_some()
                    || self.troubled.pipeline.is_some()
            }
            _ => false,
        }
    }

    /// The start was refused: its operator does what it says.
    pub(super) fn take_the_way_out(&mut self, error: &EngineError) -> Result<(), String> {
        let text = error.to_string();
        let code = error.exit_code();
        if self.troubled.pipeline.take().is_some() && code == 12 {
            return Ok(());
        }
        if code == 12
            && let Some(sinks) = self.troubled.sinks.take().or(self.troubled.exchanged.take())
        {
            self.former.append(&mut std::mem::replace(&mut self.sinks, sinks));
            return Ok(());
        }
        self.troubled.refused += 1;
        if code == 13 && self.troubled.way_out {
            return Err(format!("the way out that was named is refused: {text}"));
        }
        if self.troubled.refused > 4 {
            return Err(format!("one refusal leads to another: {text}"));
        }
        if code == 12 {
            let is_named = |sink: &MemorySink| text.contains(&format!("sink {} ", sink_name(sink)));
            if let Some(index) = self.sinks.iter().position(is_named) {
                self.renew_sink(index);
            } else {
                // One that others took the place of lacks a batch.
                let index = self.former.iter().position(is_named);
                let index = index.ok_or_else(|| format!("a sink that never was: {text}"))?;
                self.sinks.push(self.former.swap_remove(index));
            }
            return Ok(());
        }
        let has_state = !text.contains("holds no checkpoint");
        self.permissions = Permissions::default();
        match (has_state, typed(&text, "--accept-rollback="), typed(&text, "--start-over=")) {
            (true, Some(lineage), _) => {
                self.permissions.accept_rollback = Permission::Naming(lineage);
                self.has_gone_back = true;
                self.exchange_sinks();
            }
            (false, _, Some(lineage)) => {
                self.permissions.start_over = Permission::Naming(lineage);
                self.renew_sinks();
            }
            _ => return Err(format!("a refusal names no way out: {text}")),
        }
        self.troubled.way_out = true;
        self.shared.lock().note("the operator takes the way out", u64::from(code));
        Ok(())
    }

    /// Other sinks, or another one, for the history that is to begin; or not.
    fn exchange_sinks(&mut self) {
        let (what, index) = {
            let chance = &mut self.shared.lock().chance;
            (chance.below(6), chance.index(self.sinks.len()))
        };
        if what < 2 {
            self.troubled.exchanged.get_or_insert_with(|| self.sinks.clone());
        }
        match what {
            0 => self.renew_sinks(),
            1 => self.renew_sink(index),
            _ => {}
        }
    }

    fn renew_sinks(&mut self) {
        (0..self.sinks.len()).for_each(|index| self.renew_sink(index));
    }

    /// Another place for a sink.
    fn renew_sink(&mut self, index: usize) {
        self.sinks_made += 1;
        let sink = new_sink(self.sinks[index].keeps(), self.sinks_made);
        self.former.push(std::mem::replace(&mut self.sinks[index], sink));
    }

    /// A start got past its decision: whatever was wrong is accepted.
    pub(super) fn got_over_it(&mut self) {
        let unreadable = std::mem::take(&mut self.troubled).unreadable;
        let mut world = self.shared.lock();
        if unreadable.is_some() && unreadable == world.book.lineage() {
            let passed_over = "a history went on whose announce file could not be read";
            world.check(Err(passed_over.to_owned()));
        }
        if world.chance.below(2) == 0 {
            self.permissions = Permissions::default();
        }
    }
}

pub(super) fn new_sink(keeps: Keeps, number: u64) -> MemorySink {
    let kind = if keeps == Keeps::Marker { "marker" } else { "plain" };
    MemorySink::new(&format!("{kind}-{number}"), keeps)
}

/// Whether a start may not go on with this history because its announce file cannot be read.
fn cannot_be_read(genesis: &Genesis, last: Option<BatchId>) -> bool {
    genesis.begun == Begun::Freely || !genesis.has_no_batch_of_its_own(last)
}

fn marker(sink: &mut MemorySink) -> Option<(Lineage, Option<BatchId>)> {
    match sink.marker() {
        Ok(MarkerFact::At(lineage, newest, _)) => Some((lineage, newest)),
        _ => None,
    }
}

/// The lineage that a message tells to type behind a flag.
fn typed(text: &str, flag: &str) -> Option<Lineage> {
    let start = text.find(flag)? + flag.len();
    text.get(start..start + 32)?.parse().ok()
}
