//! Curves: how the cost of an event, a checkpoint and a recovery grow; as pictures and as a page around them.
//!
//! Invariants: only runs whose results were right are drawn, and a curve with wrong ones says so; a point is the median of
//! its runs, its bar goes from the least to the most; what a curve is to be (flat, near the probe, free of what is held,
//! soon back) is computed here from the same runs, with the tolerance named, and said whether it holds, does not, or cannot
//! be said, because a run was wrong or a point is missing; the times of checkpoints by what changed are told without such a
//! claim. Points are compared within rounds (`rounds`). Colours, markers and names tell series apart, on light paper and on
//! dark.
//!
//! Start at [`Draw::run`]. Not here: where points come from (`scripts/growth.sh`).

mod picture;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Component, Path, PathBuf},
};

use clap::Args;
use serde::Deserialize;

use crate::{Outcome, rounds::Rounds};
use picture::{Mark, Picture, Scale, Series};

const OURS: &str = "sales-stream files";
const PROBE: &str = "probe checkpoint";
/// The dearest point of a flat curve costs at most so much more than the cheapest.
const FLAT: f64 = 0.15;
/// The part of the probe's events per CPU-second that is to be reached at each number of groups.
const OF_PROBE: f64 = 0.85;
/// How much longer a checkpoint may take with the most that is held than with the least.
const HELD: f64 = 0.5;
/// Seconds in which a gigabyte is to be read back.
const SECONDS_A_GB: f64 = 2.0;

/// Which points, and where the pictures go.
#[derive(Args)]
pub struct Draw {
    /// The file of points, one JSON object a line
    points: PathBuf,
    /// The file that says what they were measured on
    #[arg(long)]
    environment: PathBuf,
    /// A directory for the pictures; it is made
    #[arg(long)]
    pictures: PathBuf,
    /// The page that shows them
    #[arg(long)]
    page: PathBuf,
    /// Say on every picture and on the page that this is no measurement
    #[arg(long)]
    trial: bool,
}

/// One line of the file, as `scripts/growth.sh` writes it.
#[derive(Deserialize)]
struct Point {
    curve: String,
    x: f64,
    round: u32,
    right: bool,
    #[serde(default)]
    system: String,
    #[serde(default)]
    events: f64,
    /// Of the run, and of one with nothing to read.
    figures: Option<Figures>,
    start: Option<Figures>,
    hold: Option<Hold>,
    recover: Option<Recover>,
}

#[derive(Deserialize)]
struct Figures {
    user_s: f64,
    system_s: f64,
}

#[derive(Deserialize)]
struct Hold {
    mean_ms: f64,
    most_ms: f64,
}

#[derive(Deserialize)]
struct Recover {
    state_bytes: f64,
    seconds: f64,
}

impl Figures {
    fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }
}

impl Point {
    /// Where it lies: x, and for each series that it is in the value.
    fn places(&self) -> Vec<(f64, &str, f64)> {
        if let (Some(run), Some(start)) = (&self.figures, &self.start) {
            let micros = (run.cpu_s() - start.cpu_s()) * 1e6 / self.events;
            return vec![(self.x, &self.system, micros)];
        }
        if let Some(hold) = &self.hold {
            return vec![(self.x, "mean", hold.mean_ms), (self.x, "longest", hold.most_ms)];
        }
        let recover = self.recover.as_ref();
        recover.map(|it| (it.state_bytes / 1e6, "open and read", it.seconds)).into_iter().collect()
    }
}

/// What a curve shows, and what it is to look like.
struct Curve {
    name: &'static str,
    title: &'static str,
    x: (&'static str, Scale),
    y: (&'static str, Scale),
    about: &'static str,
    verdict: fn(&Found) -> String,
}

const COST: (&str, Scale) = ("CPU, µs an event", Scale::FromZero);

const CURVES: [Curve; 7] = [
    Curve {
        name: "partitions",
        title: "Cost of an event by partitions",
        x: ("partitions of the topic", Scale::Logarithmic),
        y: COST,
        about: "The same events in more and more partitions.",
        verdict: is_flat,
    },
    Curve {
        name: "windows",
        title: "Cost of an event by open windows",
        x: ("open windows", Scale::Logarithmic),
        y: COST,
        about: "The same number of groups in more and more windows: as many fewer stores. Events come in no order of \
                time, all windows are open until the end, and each partition has as many events.",
        verdict: is_flat,
    },
    Curve {
        name: "groups",
        title: "Cost of an event by groups",
        x: ("open groups", Scale::Logarithmic),
        y: COST,
        about: "More and more groups, in ten windows that are open until the end.",
        verdict: is_near_probe,
    },
    Curve {
        name: "backlog",
        title: "Cost of an event by backlog",
        x: ("backlog of 2,000 events a second, minutes", Scale::Logarithmic),
        y: COST,
        about: "A topic that has waited for so long, 100 stores, windows opening and closing as they do in operation.",
        verdict: is_flat,
    },
    Curve {
        name: "changed",
        title: "Time of a checkpoint by groups that changed",
        x: ("groups changed by the batch", Scale::Logarithmic),
        y: ("ms", Scale::Logarithmic),
        about: "One synced write and one synced announcement, while a fixed number of groups is held.",
        verdict: a_group_more,
    },
    Curve {
        name: "held",
        title: "Time of a checkpoint by groups held",
        x: ("groups held", Scale::Logarithmic),
        y: ("ms", Scale::FromZero),
        about: "The same number of groups changes, while more and more are held.",
        verdict: is_free_of_held,
    },
    Curve {
        name: "recovery",
        title: "Time of a recovery by size of the state",
        x: ("state, MB of memory as progress tells it (memoryUsedBytes)", Scale::Logarithmic),
        y: ("s", Scale::Logarithmic),
        about: "Opening the checkpoint and reading every group, in a new process; the sums are compared with what was \
                written.",
        verdict: is_soon_back,
    },
];

/// What was found of a curve.
struct Found {
    /// By series; in each the points in the order of x.
    lines: BTreeMap<String, Vec<Measured>>,
    /// How many runs were wrong or failed, by system; without a name those of points that are of no system.
    failed: BTreeMap<String, usize>,
}

/// What was measured of a series at one x.
#[derive(Debug, PartialEq)]
struct Measured {
    x: f64,
    /// Of a small point there are several values in each round.
    rounds: Rounds,
}

impl Measured {
    /// x with least, median and most.
    fn spread(&self) -> Option<picture::Spread> {
        let (least, most) = self.rounds.range()?;
        Some(picture::Spread { x: self.x, least, median: self.rounds.median()?, most })
    }
}

impl Found {
    /// Brings points into order; those of one x together.
    fn of<'a>(points: impl Iterator<Item = &'a Point>) -> Found {
        let mut found = Found { lines: BTreeMap::new(), failed: BTreeMap::new() };
        for point in points {
            if !point.right {
                *found.failed.entry(point.system.clone()).or_default() += 1;
                continue;
            }
            for (x, series, value) in point.places() {
                let line = found.lines.entry(series.to_owned()).or_default();
                // The memory that one state takes may differ a little from round to round.
                let there = line.iter().position(|it| (it.x - x).abs() <= 0.02 * x);
                let at = there.unwrap_or_else(|| {
                    line.push(Measured { x, rounds: Rounds::default() });
                    line.len() - 1
                });
                line[at].rounds.push(point.round, value);
            }
        }
        let lines = found.lines.values_mut();
        lines.for_each(|line| line.sort_by(|one, other| one.x.total_cmp(&other.x)));
        found
    }

    fn failures(&self) -> usize {
        self.failed.values().sum()
    }

    /// Every x at which anything was measured, in order.
    fn xs(&self) -> Vec<f64> {
        let mut xs: Vec<f64> = self.lines.values().flatten().map(|it| it.x).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        xs
    }

    /// A series of which something can be said: all of its runs were right, and it has every point.
    fn line(&self, series: &str) -> Result<&[Measured], String> {
        let of_series = |system: &&String| system.is_empty() || *system == series;
        let failed = self.failed.iter().filter(|(system, _)| of_series(system));
        match failed.map(|(_, count)| count).sum() {
            0 => (),
            1 => return Err("one of its runs was wrong or failed".to_owned()),
            count => return Err(format!("{count} of its runs were wrong or failed")),
        }
        let line = self.lines.get(series).map(Vec::as_slice).unwrap_or_default();
        let lacks = |x: &f64| line.iter().all(|it| it.x != *x);
        match self.xs().into_iter().find(lacks) {
            Some(x) => Err(format!("{series} was not measured at {}", picture::short(x))),
            None if line.is_empty() => Err(NOTHING.to_owned()),
            None => Ok(line),
        }
    }

    /// The first and the last point of a series.
    fn ends(&self, series: &str) -> Result<(&Measured, &Measured), String> {
        match self.line(series)? {
            [first, .., last] => Ok((first, last)),
            _ => Err(ONE_POINT.to_owned()),
        }
    }
}

const NOTHING: &str = "nothing was measured";
const ONE_POINT: &str = "it was measured at one point alone";

impl Draw {
    pub fn run(&self) -> Outcome<()> {
        let text = fs::read_to_string(&self.points)
            .map_err(|error| format!("{}: {error}", self.points.display()))?;
        let points = text.lines().map(serde_json::from_str).collect::<Result<Vec<Point>, _>>()?;
        let environment = fs::read_to_string(&self.environment)
            .map_err(|error| format!("{}: {error}", self.environment.display()))?;
        fs::create_dir_all(&self.pictures)?;
        let mut page = self.head(&environment);
        for curve in &CURVES {
            let of_curve = || points.iter().filter(|point| point.curve == curve.name);
            let found = Found::of(of_curve());
            if found.lines.is_empty() && found.failed.is_empty() {
                continue;
            }
            let file = self.pictures.join(format!("{}.svg", curve.name));
            if !found.lines.is_empty() {
                fs::write(&file, self.picture(curve, &found, &environment)?)?;
            }
            page += &section(curve, &found, &self.link(&file)?);
        }
        Ok(fs::write(&self.page, page)?)
    }

    fn picture(&self, curve: &Curve, found: &Found, environment: &str) -> Outcome<String> {
        let trial = if self.trial { "A TRIAL, no measurement · " } else { "" };
        let said = |key| value_of(environment, key).unwrap_or("?");
        // The commit by its first letters; what was changed besides stays.
        let commit = said("commit");
        let (hash, changes) = commit.split_at_checked(40).unwrap_or((commit, ""));
        let hash = hash.get(..8).unwrap_or(hash);
        let note = format!("{trial}{} · {hash}{changes} · {}", said("date"), said("processor"));
        let series = found.lines.iter().map(|(name, points)| Series {
            name: name.clone(),
            mark: match name.as_str() {
                OURS | "mean" | "open and read" => Mark::First,
                _ => Mark::Second,
            },
            points: points.iter().filter_map(Measured::spread).collect(),
        });
        Picture { title: curve.title, note, x: curve.x, y: curve.y, series: series.collect() }
            .draw()
    }

    fn head(&self, environment: &str) -> String {
        let command = value_of(environment, "command").unwrap_or("scripts/growth.sh");
        let trial = if self.trial {
            "**This was a trial of the script on a small scale: no figure here is a measurement.**\n\n"
        } else {
            ""
        };
        format!(
            "# How cost grows\n\n{trial}Made by `{command}`, which measures these curves anew on your machine, from {}. \
             A point is the median of its runs, its bar goes from the least to the most; a run counts only if its results \
             were right.\n\n\
             A round measures all points of a curve, back and forth. What is said of a curve is the median of what the \
             rounds say, for the machine is not equally fast in all of them; where a run was wrong or a point is missing, \
             nothing can be said.\n\n\
             The cost of an event is the CPU time of the process, user and system, less that of a start with nothing \
             to read just before, divided by the number of events; a point is measured in a round as often as makes \
             ten million events, but at most twenty times, in turn with the others. `sales-stream files` checkpoints every million events, as by \
             default, and writes results to files; `probe checkpoint` is the limit that it is compared with: the \
             least work that reads, adds up, and writes a checkpoint every million events \
             (`benches/tool/probe.rs`). The two take turns in being first.\n\n\
             ```text\n{}\n```\n",
            self.raw(),
            environment.trim_end()
        )
    }

    /// Where the figures are from: a link, or the directory's name where the page cannot know the way to it.
    fn raw(&self) -> String {
        let is_below = |path: &Path| path.components().all(|it| matches!(it, Component::Normal(_)));
        let file = self.points.file_name().unwrap_or_default().display();
        let (page, points) = (self.page.parent(), self.points.parent());
        if page == points {
            return format!("[{file}]({file})");
        }
        if let Some(page) = page.filter(|page| is_below(page) && is_below(&self.points)) {
            let up = "../".repeat(page.components().count());
            let points = self.points.display();
            return format!("[{points}]({up}{points})");
        }
        let directory = points.and_then(Path::file_name).unwrap_or_default().display();
        format!("`{file}` of the run `{directory}`")
    }

    /// The picture as the page names it.
    fn link(&self, picture: &Path) -> Outcome<String> {
        let beside = self.page.parent().ok_or("--page wants a file")?;
        let link = picture.strip_prefix(beside).unwrap_or(picture);
        Ok(link.display().to_string())
    }
}

/// The value of a line `key: value`.
fn value_of<'a>(environment: &'a str, key: &str) -> Option<&'a str> {
    environment.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
}

/// What the page says of a curve.
fn section(curve: &Curve, found: &Found, link: &str) -> String {
    let mut text = format!("\n## {}\n\n{}\n\n", curve.title, curve.about);
    if !found.lines.is_empty() {
        let _ = writeln!(text, "![{}]({link})\n", curve.title);
        text += &rows(curve, found);
    }
    let _ = writeln!(text, "\n{}", (curve.verdict)(found));
    match found.failures() {
        0 => (),
        1 => text += "\n**One run was WRONG or failed and is left out.**\n",
        count => {
            let _ = writeln!(text, "\n**{count} runs were WRONG or failed and are left out.**");
        }
    }
    text
}

fn rows(curve: &Curve, found: &Found) -> String {
    let (mut head, mut rule) = (format!("| {} |", curve.x.0), "|---|".to_owned());
    for name in found.lines.keys() {
        let _ = write!(head, " {name}, {} |", curve.y.0);
        rule += "---|";
    }
    let mut text = format!("{head}\n{rule}\n");
    for x in found.xs() {
        let _ = write!(text, "| {} |", picture::short(x));
        for line in found.lines.values() {
            let _ = write!(text, " {} |", shown(line.iter().find(|it| it.x == x)));
        }
        text.push('\n');
    }
    text
}

/// The median with its spread.
fn shown(measured: Option<&Measured>) -> String {
    let Some(spread) = measured.and_then(Measured::spread) else { return "–".to_owned() };
    let digits = picture::short;
    if spread.least == spread.most {
        return digits(spread.median);
    }
    let (least, most) = (digits(spread.least), digits(spread.most));
    format!("{} ({least} to {most})", digits(spread.median))
}

/// A claim and whether it holds, with the figures that say so; or why it cannot be said.
fn judged(claim: &str, outcome: Result<(bool, String), String>) -> String {
    match outcome {
        Ok((true, figures)) => format!("{claim}: holds; {figures}."),
        Ok((false, figures)) => format!("{claim}: **does not hold**; {figures}."),
        Err(reason) => format!("{claim}: **cannot be said**, for {reason}."),
    }
}

/// What each point of a series costs by the mean of all its points: the median of what the rounds say that have measured
/// all of them.
fn relative(line: &[Measured]) -> Result<Vec<f64>, String> {
    if line.len() < 2 {
        return Err(ONE_POINT.to_owned());
    }
    let mut parts = vec![Rounds::default(); line.len()];
    for round in line.iter().flat_map(|it| it.rounds.numbers()).collect::<BTreeSet<_>>() {
        let values = line.iter().map(|it| it.rounds.of_round(round)).collect::<Option<Vec<_>>>();
        let Some(values) = values else { continue };
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        parts.iter_mut().zip(values).for_each(|(parts, value)| parts.push(round, value / mean));
    }
    let medians = parts.iter().map(Rounds::median).collect::<Option<_>>();
    medians.ok_or_else(|| "no round has measured all points".to_owned())
}

fn is_flat(found: &Found) -> String {
    let judge = || {
        let points = relative(found.line(OURS)?)?;
        let (least, most) =
            (points.iter().copied().reduce(f64::min), points.into_iter().reduce(f64::max));
        let rise = most.unwrap_or_default() / least.unwrap_or_default() - 1.0;
        let figures = format!(
            "the dearest point of {OURS} costs {:.1} % more than the cheapest",
            rise * 100.0
        );
        Ok((rise <= FLAT, figures))
    };
    judged(&format!("Flat within {:.0} %", FLAT * 100.0), judge())
}

fn is_near_probe(found: &Found) -> String {
    let judge = || {
        let (ours, probe) = (found.line(OURS)?, found.line(PROBE)?);
        let mut least = (0.0, f64::INFINITY);
        for (ours, probe) in ours.iter().zip(probe) {
            let part = probe.rounds.by(&ours.rounds).median();
            let part = part.ok_or("at one point no round has measured both")?;
            if part < least.1 {
                least = (ours.x, part);
            }
        }
        let (x, part) = (picture::short(least.0), least.1 * 100.0);
        Ok((least.1 >= OF_PROBE, format!("the least is {part:.0} %, with {x} groups")))
    };
    let claim = format!(
        "At least {:.0} % of the probe's events per CPU-second at each point",
        OF_PROBE * 100.0
    );
    judged(&claim, judge())
}

/// No claim: what a group costs besides what a checkpoint of few takes.
fn a_group_more(found: &Found) -> String {
    let tell = || {
        let (few, many) = found.ends("mean")?;
        let (few, many) = (few.spread().ok_or(NOTHING)?, many.spread().ok_or(NOTHING)?);
        let nanos = (many.median - few.median) / (many.x - few.x) * 1e6;
        let [from, to, least, most] = [few.x, many.x, few.median, many.median].map(picture::short);
        Ok(format!(
            "From {from} to {to} changed groups a checkpoint takes {least} to {most} ms: {nanos:.0} ns for each group more."
        ))
    };
    tell().unwrap_or_else(|reason: String| {
        format!("From few to many changed groups: **cannot be said**, for {reason}.")
    })
}

fn is_free_of_held(found: &Found) -> String {
    let judge = || {
        let (least, most) = found.ends("mean")?;
        let rise = most.rounds.by(&least.rounds).median();
        let rise = rise.ok_or("no round has measured both of them")? - 1.0;
        Ok((rise <= HELD, format!("it is {:.0} %", rise * 100.0)))
    };
    let claim = format!(
        "With the most that is held a checkpoint takes at most {:.0} % longer than with the least",
        HELD * 100.0
    );
    judged(&claim, judge())
}

/// Of the state that is nearest to a gigabyte.
fn is_soon_back(found: &Found) -> String {
    let judge = || {
        let line = found.line("open and read")?.iter().filter_map(Measured::spread);
        let distance = |it: &picture::Spread| (it.x / 1000.0).ln().abs();
        let nearest = line.min_by(|one, other| distance(one).total_cmp(&distance(other)));
        let nearest = nearest.ok_or(NOTHING)?;
        let (megabytes, seconds) = (nearest.x, nearest.median);
        if distance(&nearest) > 0.2 {
            return Err(format!("the state nearest to it has {megabytes:.0} MB"));
        }
        let a_gigabyte = seconds / megabytes * 1000.0;
        let figures = format!(
            "the state of {megabytes:.0} MB took {seconds:.2} s, which is {a_gigabyte:.2} s a gigabyte"
        );
        Ok((a_gigabyte < SECONDS_A_GB, figures))
    };
    judged(&format!("A gigabyte in less than {SECONDS_A_GB:.0} s"), judge())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        CURVES, Draw, Found, Measured, OURS, PROBE, a_group_more, is_flat, is_free_of_held,
        is_near_probe, is_soon_back, section,
    };
    use crate::rounds::tests::rounds;

    /// A point with one value in each round.
    fn measured(x: f64, values: &[f64]) -> Measured {
        let values: Vec<_> = (1..).zip(values.iter().copied()).collect();
        Measured { x, rounds: rounds(&values) }
    }

    fn line(points: &[(f64, f64)]) -> Vec<Measured> {
        points.iter().map(|(x, value)| measured(*x, &[*value])).collect()
    }

    fn found<const N: usize>(lines: [(&str, Vec<Measured>); N]) -> Found {
        let lines = lines.into_iter().map(|(series, line)| (series.to_owned(), line));
        Found { lines: lines.collect(), failed: BTreeMap::new() }
    }

    fn check(verdict: fn(&Found) -> String, found: &Found, expected: &str) {
        let said = verdict(found);
        assert!(said.contains(expected), "{said}");
    }

    const HOLDS: &str = ": holds;";
    const FAILS: &str = ": **does not hold**;";
    const UNSAID: &str = ": **cannot be said**, for ";

    #[test]
    fn a_curve_is_flat_up_to_the_tolerance_and_no_further() {
        let of = |dearest| found([(OURS, line(&[(1.0, 1.0), (9.0, dearest)]))]);
        check(is_flat, &of(1.14), HOLDS);
        check(is_flat, &of(1.16), FAILS);
        check(is_flat, &of(0.80), FAILS);
    }

    #[test]
    fn costs_are_compared_within_rounds() {
        // The machine was half as fast in the second round, and slower still in a third that was not ended.
        let ours = vec![measured(1.0, &[1.0, 2.0]), measured(9.0, &[1.1, 2.2, 9.0])];
        let probe = vec![measured(1.0, &[0.9, 1.8]), measured(9.0, &[0.99, 1.98])];
        let found = found([(OURS, ours), (PROBE, probe)]);
        check(is_flat, &found, " 10.0 % more");
        check(is_near_probe, &found, "the least is 90 %");
    }

    #[test]
    fn several_values_of_a_round_are_one_in_what_is_said() {
        let ours = |x, values: [f64; 3]| Measured { x, rounds: rounds(&values.map(|it| (1, it))) };
        let line = vec![ours(1.0, [1.0, 1.0, 5.0]), ours(9.0, [1.05, 1.05, 0.1])];
        check(is_flat, &found([(OURS, line)]), " 5.0 % more");
    }

    #[test]
    fn every_point_has_to_be_near_the_probe() {
        let of = |ours| {
            found([
                (OURS, line(&[(1.0, 1.0), (9.0, ours)])),
                (PROBE, line(&[(1.0, 0.9), (9.0, 0.9)])),
            ])
        };
        check(is_near_probe, &of(1.05), HOLDS);
        check(is_near_probe, &of(1.07), FAILS);
    }

    #[test]
    fn checkpoints_and_recoveries_are_held_to_their_limits() {
        let mean =
            |most: &[f64]| found([("mean", vec![measured(1.0, &[2.0, 4.0]), measured(9.0, most)])]);
        check(is_free_of_held, &mean(&[2.9, 5.8]), HOLDS);
        check(is_free_of_held, &mean(&[3.1, 6.2]), FAILS);
        // The machine was slower in the second round.
        check(is_free_of_held, &mean(&[2.0, 4.0]), "it is 0 %");
        // Others are shown, and not judged.
        let back = |seconds| {
            found([("open and read", line(&[(100.0, 9.0), (1100.0, seconds), (1900.0, 9.0)]))])
        };
        check(is_soon_back, &back(2.1), HOLDS);
        check(is_soon_back, &back(2.3), FAILS);
    }

    #[test]
    fn nothing_is_said_of_a_curve_that_lacks_a_point() {
        let flat = |points| found([(OURS, line(points)), (PROBE, line(&[(1.0, 1.0), (9.0, 1.0)]))]);
        let whole = flat(&[(1.0, 1.0), (9.0, 1.0)]);
        check(is_flat, &whole, HOLDS);
        check(is_near_probe, &whole, HOLDS);
        let part = flat(&[(1.0, 1.0)]);
        check(is_flat, &part, &format!("{UNSAID}{OURS} was not measured at 9"));
        check(is_near_probe, &part, UNSAID);
        check(is_flat, &found([(OURS, line(&[(1.0, 1.0)]))]), UNSAID);
        check(is_flat, &found([]), UNSAID);
        let one = found([("mean", line(&[(1.0, 1.0)]))]);
        check(is_free_of_held, &one, UNSAID);
        check(a_group_more, &one, UNSAID);
        check(is_soon_back, &found([("open and read", line(&[(800.0, 0.1)]))]), UNSAID);
        // Each point in a round of its own.
        let torn = vec![measured(1.0, &[1.0]), Measured { x: 9.0, rounds: rounds(&[(2, 1.0)]) }];
        check(is_flat, &found([(OURS, torn)]), UNSAID);
    }

    #[test]
    fn nothing_is_said_of_a_curve_with_a_wrong_run() {
        let points = || line(&[(1.0, 1.0), (9.0, 1.0)]);
        let with = |system: &str| {
            let mut found = found([(OURS, points()), (PROBE, points()), ("mean", points())]);
            found.failed.insert(system.to_owned(), 1);
            found
        };
        check(is_flat, &with(OURS), UNSAID);
        check(is_near_probe, &with(PROBE), UNSAID);
        check(is_flat, &with(PROBE), HOLDS);
        check(is_free_of_held, &with(""), UNSAID);
    }

    #[test]
    fn a_point_that_one_series_lacks_is_in_the_table() {
        let found = found([(OURS, line(&[(1.0, 2.0), (9.0, 3.0)])), (PROBE, line(&[(9.0, 1.0)]))]);
        let text = section(&CURVES[2], &found, "groups.svg");
        assert!(text.contains("| 1 | – | 2 |\n| 9 | 1 | 3 |"), "{text}");
    }

    #[test]
    fn only_right_runs_are_shown_and_the_start_is_not_part_of_an_events_cost() {
        let point = |x: u32, round: u32, right: bool| {
            let text = format!(
                r#"{{"curve":"groups","x":{x},"round":{round},"right":{right},"system":"{OURS}","events":1000000,
                "figures":{{"user_s":1.0,"system_s":0.5}},"start":{{"user_s":0.2,"system_s":0.05}}}}"#
            );
            serde_json::from_str::<super::Point>(&text).unwrap()
        };
        let points = [point(10, 1, true), point(10, 2, true), point(100, 1, false)];
        let found = Found::of(points.iter());
        let there = BTreeMap::from([(OURS.to_owned(), vec![measured(10.0, &[1.25, 1.25])])]);
        assert_eq!((&found.lines, found.failures()), (&there, 1));
        let text = section(&CURVES[2], &found, "groups.svg");
        assert!(text.contains("**One run was WRONG"), "{text}");
        assert!(text.contains("| 10 | 1.25 |"), "{text}");
    }

    #[test]
    fn the_page_says_where_its_figures_are() {
        let raw = |points: &str, page: &str| {
            let [points, page] = [points, page].map(Into::into);
            Draw { points, page, environment: "".into(), pictures: "".into(), trial: false }.raw()
        };
        assert_eq!(
            raw("/data/out/points.jsonl", "/data/out/growth.md"),
            "[points.jsonl](points.jsonl)"
        );
        assert_eq!(
            raw("benches/runs/x/points.jsonl", "docs/growth.md"),
            "[benches/runs/x/points.jsonl](../benches/runs/x/points.jsonl)"
        );
        assert_eq!(
            raw("/data/x-growth/points.jsonl", "docs/growth.md"),
            "`points.jsonl` of the run `x-growth`"
        );
    }
}
