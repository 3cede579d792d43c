//! Curves: how the cost of an event, a checkpoint and a recovery grow; as pictures and as a page around them.
//!
//! Invariants: only points whose results were right are drawn, and a curve with wrong ones says so; a point is the
//! median of its rounds, its bar goes from the least to the most; what is claimed to be flat or proportional is
//! computed here from the same points, with the tolerance named, and said whether it holds or not; costs of events are
//! compared within rounds, for the machine is not equally fast in all of them. Colours, markers and names tell series
//! apart, on light paper and on dark.
//!
//! Start at [`Draw::run`]. Not here: where points come from (`scripts/growth.sh`).

mod picture;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Deserialize;

use crate::{Outcome, table::median};
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
    verdict: fn(&Lines) -> Option<String>,
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
                time, all windows are open until the end.",
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
        verdict: is_proportional,
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

/// What was measured, by series; in each the points in the order of x.
type Lines = BTreeMap<String, Vec<Measured>>;

/// What was measured of a series at one x.
#[derive(Debug, PartialEq)]
struct Measured {
    x: f64,
    /// By round; of a small point there are several in each.
    rounds: BTreeMap<u32, Vec<f64>>,
}

impl Measured {
    fn values(&self) -> Vec<f64> {
        self.rounds.values().flatten().copied().collect()
    }

    fn of_round(&self, round: u32) -> Option<f64> {
        median(self.rounds.get(&round)?)
    }

    /// x with least, median and most.
    fn spread(&self) -> Option<picture::Spread> {
        let values = self.values();
        let least = values.iter().copied().reduce(f64::min)?;
        let most = values.iter().copied().reduce(f64::max)?;
        Some(picture::Spread { x: self.x, least, median: median(&values)?, most })
    }
}

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
            let wrong = of_curve().filter(|point| !point.right).count();
            let lines = lines(of_curve().filter(|point| point.right));
            if lines.is_empty() && wrong == 0 {
                continue;
            }
            let file = self.pictures.join(format!("{}.svg", curve.name));
            if !lines.is_empty() {
                fs::write(&file, self.picture(curve, &lines, &environment)?)?;
            }
            page += &section(curve, &lines, wrong, &self.link(&file)?);
        }
        Ok(fs::write(&self.page, page)?)
    }

    fn picture(&self, curve: &Curve, lines: &Lines, environment: &str) -> Outcome<String> {
        let trial = if self.trial { "A TRIAL, no measurement · " } else { "" };
        let said = |key| value_of(environment, key).unwrap_or("?");
        // The commit by its first letters; what was changed besides stays.
        let commit = said("commit");
        let (hash, changes) = commit.split_at_checked(40).unwrap_or((commit, ""));
        let hash = hash.get(..8).unwrap_or(hash);
        let note = format!("{trial}{} · {hash}{changes} · {}", said("date"), said("processor"));
        let series = lines.iter().map(|(name, points)| Series {
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
            "# How cost grows\n\n{trial}Made by `{command}`, which measures these curves anew on your machine. \
             Each point is the median of its rounds, its bar goes from the least to the most; a point counts only \
             if its results were right.\n\n\
             The cost of an event is the CPU time of the process, user and system, less that of a start with nothing \
             to read just before, divided by the number of events. A round measures all points of a curve, back and \
             forth, those of less than a million events several times; what is said of them below is the median of \
             what the rounds say, for the machine is not equally fast in all of them. `sales-stream files` checkpoints \
             every million events, as by default, and writes results to files; `probe checkpoint` is the limit that \
             it is compared with: the least work that reads, adds up, and writes a checkpoint every million events \
             (`benches/tool/probe.rs`).\n\n\
             ```text\n{}\n```\n",
            environment.trim_end()
        )
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

/// Brings points into order; those of one x together.
fn lines<'a>(points: impl Iterator<Item = &'a Point>) -> Lines {
    let mut lines = Lines::new();
    for point in points {
        for (x, series, value) in point.places() {
            let line = lines.entry(series.to_owned()).or_default();
            // The sizes of one state on disk differ a little from round to round.
            let there = line.iter().position(|it| (it.x - x).abs() <= 0.02 * x);
            let at = there.unwrap_or_else(|| {
                line.push(Measured { x, rounds: BTreeMap::new() });
                line.len() - 1
            });
            line[at].rounds.entry(point.round).or_default().push(value);
        }
    }
    lines.values_mut().for_each(|line| line.sort_by(|one, other| one.x.total_cmp(&other.x)));
    lines
}

/// What the page says of a curve.
fn section(curve: &Curve, lines: &Lines, wrong: usize, link: &str) -> String {
    let mut text = format!("\n## {}\n\n{}\n\n", curve.title, curve.about);
    if !lines.is_empty() {
        let _ = writeln!(text, "![{}]({link})\n", curve.title);
        text += &rows(curve, lines);
    }
    if let Some(verdict) = (curve.verdict)(lines) {
        let _ = writeln!(text, "\n{verdict}");
    }
    if wrong > 0 {
        let _ = writeln!(text, "\n**{wrong} points were WRONG or failed and are left out.**");
    }
    text
}

fn rows(curve: &Curve, lines: &Lines) -> String {
    let (mut head, mut rule) = (format!("| {} |", curve.x.0), "|---|".to_owned());
    for name in lines.keys() {
        let _ = write!(head, " {name}, {} |", curve.y.0);
        rule += "---|";
    }
    let mut text = format!("{head}\n{rule}\n");
    for Measured { x, .. } in lines.values().next().into_iter().flatten() {
        let _ = write!(text, "| {} |", picture::short(*x));
        for line in lines.values() {
            let _ = write!(text, " {} |", shown(line.iter().find(|it| it.x == *x)));
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

/// The medians of a series, by x.
fn medians(lines: &Lines, series: &str) -> Vec<(f64, f64)> {
    let line = lines.get(series).into_iter().flatten();
    line.filter_map(|it| Some((it.x, median(&it.values())?))).collect()
}

/// What each point of a series costs by the mean of all its points, by x: the median of what the rounds say that have
/// measured all of them.
fn relative(lines: &Lines, series: &str) -> Vec<(f64, f64)> {
    let line = lines.get(series).map(Vec::as_slice).unwrap_or_default();
    let mut parts = vec![Vec::new(); line.len()];
    for round in line.iter().flat_map(|it| it.rounds.keys()).collect::<BTreeSet<_>>() {
        let Some(values) = line.iter().map(|it| it.of_round(*round)).collect::<Option<Vec<_>>>()
        else {
            continue;
        };
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        parts.iter_mut().zip(values).for_each(|(parts, value)| parts.push(value / mean));
    }
    line.iter().zip(parts).filter_map(|(it, parts)| Some((it.x, median(&parts)?))).collect()
}

fn holds(holds: bool) -> &'static str {
    if holds { "Holds" } else { "**Does not hold**" }
}

/// By how much the dearest point costs more than the cheapest.
fn rise(points: &[(f64, f64)]) -> Option<f64> {
    let values = || points.iter().map(|(_, value)| *value);
    let (least, most) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
    Some(most / least - 1.0)
}

fn is_flat(lines: &Lines) -> Option<String> {
    let rise = rise(&relative(lines, OURS))?;
    Some(format!(
        "Flat within {:.0} %: {}; the dearest point of {OURS} costs {:.1} % more than the cheapest.",
        FLAT * 100.0,
        holds(rise <= FLAT).to_lowercase(),
        rise * 100.0
    ))
}

fn is_near_probe(lines: &Lines) -> Option<String> {
    let probe = lines.get(PROBE)?;
    let parts = lines.get(OURS)?.iter().filter_map(|ours| {
        let probe = probe.iter().find(|it| it.x == ours.x)?;
        let of_round = |round: &u32| Some(probe.of_round(*round)? / ours.of_round(*round)?);
        Some((ours.x, median(&ours.rounds.keys().filter_map(of_round).collect::<Vec<_>>())?))
    });
    let (x, least) = parts.reduce(|one, other| if other.1 < one.1 { other } else { one })?;
    Some(format!(
        "At least {:.0} % of the probe's events per CPU-second at each point: {}; the least is {:.0} %, with {} groups.",
        OF_PROBE * 100.0,
        holds(least >= OF_PROBE).to_lowercase(),
        least * 100.0,
        picture::short(x)
    ))
}

fn is_proportional(lines: &Lines) -> Option<String> {
    let mean = medians(lines, "mean");
    let ((few, few_ms), (many, many_ms)) = (*mean.first()?, *mean.last()?);
    let a_group = (many_ms - few_ms) / (many - few) * 1e6;
    Some(format!(
        "From {} to {} changed groups a checkpoint takes {} to {} ms: {a_group:.0} ns for each group more.",
        picture::short(few),
        picture::short(many),
        picture::short(few_ms),
        picture::short(many_ms)
    ))
}

fn is_free_of_held(lines: &Lines) -> Option<String> {
    let mean = medians(lines, "mean");
    let ((_, few_ms), (_, many_ms)) = (*mean.first()?, *mean.last()?);
    let rise = many_ms / few_ms - 1.0;
    Some(format!(
        "With the most that is held a checkpoint takes at most {:.0} % longer than with the least: {}; it is {:.0} %.",
        HELD * 100.0,
        holds(rise <= HELD).to_lowercase(),
        rise * 100.0
    ))
}

fn is_soon_back(lines: &Lines) -> Option<String> {
    let (megabytes, seconds) = *medians(lines, "open and read").last()?;
    let a_gigabyte = seconds / megabytes * 1000.0;
    Some(format!(
        "A gigabyte in less than {SECONDS_A_GB:.0} s: {}; the largest state, {megabytes:.0} MB, took {seconds:.2} s, \
         which is {a_gigabyte:.2} s a gigabyte.",
        holds(a_gigabyte < SECONDS_A_GB).to_lowercase()
    ))
}

#[cfg(test)]
mod tests {
    use super::{
        Lines, Measured, OURS, PROBE, is_flat, is_free_of_held, is_near_probe, is_soon_back, lines,
        section,
    };

    /// A point with one value in each round.
    fn measured(x: f64, values: &[f64]) -> Measured {
        let rounds = (1..).zip(values.iter().map(|value| vec![*value])).collect();
        Measured { x, rounds }
    }

    fn line(points: &[(f64, f64)]) -> Vec<Measured> {
        points.iter().map(|(x, value)| measured(*x, &[*value])).collect()
    }

    fn check(verdict: fn(&Lines) -> Option<String>, lines: Lines, expected: bool) {
        let said = verdict(&lines).unwrap();
        assert_eq!(!said.contains("does not hold"), expected, "{said}");
    }

    #[test]
    fn a_curve_is_flat_up_to_the_tolerance_and_no_further() {
        let of = |dearest| Lines::from([(OURS.to_owned(), line(&[(1.0, 1.0), (9.0, dearest)]))]);
        check(is_flat, of(1.14), true);
        check(is_flat, of(1.16), false);
        check(is_flat, of(0.80), false);
    }

    #[test]
    fn costs_are_compared_within_rounds() {
        // The machine was half as fast in the second round, and slower still in a third that was not ended.
        let ours = vec![measured(1.0, &[1.0, 2.0]), measured(9.0, &[1.1, 2.2, 9.0])];
        let probe = vec![measured(1.0, &[0.9, 1.8]), measured(9.0, &[0.99, 1.98])];
        let lines = Lines::from([(OURS.to_owned(), ours), (PROBE.to_owned(), probe)]);
        let (flat, near) = (is_flat(&lines).unwrap(), is_near_probe(&lines).unwrap());
        assert!(flat.contains(" 10.0 % more"), "{flat}");
        assert!(near.contains("the least is 90 %"), "{near}");
    }

    #[test]
    fn every_point_has_to_be_near_the_probe() {
        let of = |ours| {
            Lines::from([
                (OURS.to_owned(), line(&[(1.0, 1.0), (9.0, ours)])),
                (PROBE.to_owned(), line(&[(1.0, 0.9), (9.0, 0.9)])),
            ])
        };
        check(is_near_probe, of(1.05), true);
        check(is_near_probe, of(1.07), false);
    }

    #[test]
    fn checkpoints_and_recoveries_are_held_to_their_limits() {
        let mean = |most| Lines::from([("mean".to_owned(), line(&[(1.0, 2.0), (9.0, most)]))]);
        check(is_free_of_held, mean(2.9), true);
        check(is_free_of_held, mean(3.1), false);
        let back = |s| Lines::from([("open and read".to_owned(), line(&[(500.0, s)]))]);
        check(is_soon_back, back(0.9), true);
        check(is_soon_back, back(1.1), false);
    }

    #[test]
    fn only_right_points_are_shown_and_the_start_is_not_part_of_an_events_cost() {
        let point = |x: u32, round: u32, right: bool| {
            let text = format!(
                r#"{{"curve":"groups","x":{x},"round":{round},"right":{right},"system":"{OURS}","events":1000000,
                "figures":{{"user_s":1.0,"system_s":0.5}},"start":{{"user_s":0.2,"system_s":0.05}}}}"#
            );
            serde_json::from_str::<super::Point>(&text).unwrap()
        };
        let points = [point(10, 1, true), point(10, 2, true), point(100, 1, false)];
        let found = lines(points.iter().filter(|point| point.right));
        assert_eq!(found, Lines::from([(OURS.to_owned(), vec![measured(10.0, &[1.25, 1.25])])]));
        let text = section(&super::CURVES[2], &found, 1, "groups.svg");
        assert!(text.contains("**1 points were WRONG"), "{text}");
        assert!(text.contains("| 10 | 1.25 |"), "{text}");
    }
}
