//! One picture: lines with markers and bars over two labelled axes, as SVG.
//!
//! Invariants: what is ink is told by its colour attribute alone, so that a style sheet in the picture can turn it
//! over where the reader's page is dark; a reader without style sheets sees the light one. Start at
//! [`Picture::draw`]. Not here: what is drawn (`super`).

use plotters::{
    coord::{
        Shift,
        combinators::{BindKeyPoints, IntoLogRange},
        ranged1d::{Ranged, ValueFormatter},
    },
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::Outcome;

const SIZE: (u32, u32) = (760, 430);
/// Text, axes and grid.
const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const FIRST: RGBColor = RGBColor(0x2f, 0x81, 0xf7);
const SECOND: RGBColor = RGBColor(0xd9, 0x73, 0x0d);
const FONT: &str = "sans-serif";

/// The same ink on dark paper. Lines and markers can be read on both.
const STYLE: &str = "<style>@media (prefers-color-scheme: dark) { .paper { fill: #0d1117 } \
     [fill=\"#1F2328\"] { fill: #e6edf3 } [stroke=\"#1F2328\"] { stroke: #e6edf3 } }</style>\n\
     <rect class=\"paper\" width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n";

/// What is to be drawn.
pub struct Picture {
    pub title: &'static str,
    /// What it was measured on.
    pub note: String,
    /// What the axes say.
    pub x: (&'static str, Scale),
    pub y: (&'static str, Scale),
    pub series: Vec<Series>,
}

/// How values lie on an axis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    FromZero,
    Logarithmic,
}

/// Points that belong together, by x.
pub struct Series {
    pub name: String,
    pub mark: Mark,
    pub points: Vec<Spread>,
}

/// How a series is told from the others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    First,
    Second,
}

/// The values of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub x: f64,
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Picture {
    /// The picture as the text of an SVG file.
    ///
    /// # Errors
    /// The library's, which are for other kinds of paper than a text.
    pub fn draw(&self) -> Outcome<String> {
        let mut svg = String::new();
        {
            let paper = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            let (note, paper) = self.words(&paper)?;
            drop(note);
            let points = || self.series.iter().flat_map(|series| &series.points);
            let (xs, ys) = (range(points().map(|it| it.x)), range(points().map(|it| it.most)));
            let lows = range(points().map(|it| it.least));
            let mut chart = ChartBuilder::on(&paper);
            chart.margin(8).margin_right(24).x_label_area_size(46).y_label_area_size(66);
            let mut measured: Vec<f64> = points().map(|point| point.x).collect();
            measured.sort_by(f64::total_cmp);
            measured.dedup();
            let x = (xs.0 / 1.3..xs.1 * 1.3).log_scale().with_key_points(measured);
            match self.y.1 {
                Scale::FromZero => {
                    self.fill(&mut chart.build_cartesian_2d(x, 0.0..ys.1 * 1.25)?)?;
                }
                Scale::Logarithmic => {
                    let (least, most) = (lows.0 / 1.5, ys.1 * 1.8);
                    let y = (least..most).log_scale().with_key_points(round_numbers(least, most));
                    self.fill(&mut chart.build_cartesian_2d(x, y)?)?;
                }
            }
            paper.present()?;
        }
        let body = svg.find("<svg").and_then(|start| Some(start + svg[start..].find('>')? + 1));
        svg.insert_str(body.ok_or("the picture does not begin as an SVG file does")?, STYLE);
        Ok(svg)
    }

    /// Writes title and note; the rest of the paper comes back behind where they are.
    fn words<'a>(&self, paper: &Area<'a>) -> Outcome<(Area<'a>, Area<'a>)> {
        let (head, below) = paper.split_vertically(52);
        let style =
            |size| (FONT, size).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Top));
        head.draw(&Text::new(self.title, (16, 8), style(23)))?;
        head.draw(&Text::new(&*self.note, (16, 34), style(15)))?;
        Ok((head, below))
    }

    fn fill<X, Y>(&self, chart: &mut Chart<'_, X, Y>) -> Outcome<()>
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let text = |size| (FONT, size).into_font().color(&INK);
        chart
            .configure_mesh()
            .x_desc(self.x.0)
            .y_desc(self.y.0)
            .x_label_formatter(&|value| short(*value))
            .y_label_formatter(&|value| short(*value))
            .label_style(text(16))
            .axis_desc_style(text(17))
            .axis_style(INK)
            .bold_line_style(INK.mix(0.2))
            .light_line_style(INK.mix(0.0))
            .draw()?;
        for series in &self.series {
            let color = series.mark.color();
            let line = series.points.iter().map(|point| (point.x, point.median));
            chart.draw_series(LineSeries::new(line, color.stroke_width(2)))?;
            let bars = series.points.iter().map(|point| {
                let ends = vec![(point.x, point.least), (point.x, point.most)];
                PathElement::new(ends, color.stroke_width(1))
            });
            chart.draw_series(bars)?;
            let places = series.points.iter().map(|point| (point.x, point.median));
            match series.mark {
                Mark::First => chart
                    .draw_series(places.map(|place| Circle::new(place, 4, color.filled())))?
                    .label(&series.name)
                    .legend(move |(x, y)| Circle::new((x + 8, y), 4, color.filled()).into_dyn()),
                Mark::Second => chart
                    .draw_series(places.map(|place| TriangleMarker::new(place, 6, color.filled())))?
                    .label(&series.name)
                    .legend(move |(x, y)| {
                        TriangleMarker::new((x + 8, y), 6, color.filled()).into_dyn()
                    }),
            };
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(text(16))
            .border_style(INK.mix(0.0))
            .draw()?;
        Ok(())
    }
}

type Chart<'a, X, Y> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>;

impl Mark {
    fn color(self) -> RGBColor {
        match self {
            Mark::First => FIRST,
            Mark::Second => SECOND,
        }
    }
}

/// The least and the most.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
        (least.min(value), most.max(value))
    })
}

/// 1, 2 and 5 times the powers of ten that lie between.
fn round_numbers(least: f64, most: f64) -> Vec<f64> {
    let decades = least.log10().floor() as i32..=most.log10().ceil() as i32;
    let numbers =
        decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(decade)));
    numbers.filter(|number| (least..=most).contains(number)).collect()
}

/// A number with three digits that say something: `0.02`, `1.5`, `96`, `360`, `10 K`, `2.5 M`.
pub fn short(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 999_500.0 => (value / 1e6, " M"),
        value if value >= 9_995.0 => (value / 1e3, " K"),
        value => (value, ""),
    };
    // Digits before the point, or, negative, zeros behind it.
    let before = if value > 0.0 { value.log10().floor() as i32 + 1 } else { 1 };
    let places = usize::try_from(3 - before).unwrap_or(0);
    let text = format!("{value:.places$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::{Mark, Picture, Scale, Series, Spread, round_numbers, short};

    #[test]
    fn an_axis_has_round_numbers() {
        assert_eq!(round_numbers(3.0, 60.0), [5.0, 10.0, 20.0, 50.0]);
        assert_eq!(round_numbers(0.15, 1.0), [0.2, 0.5, 1.0]);
    }

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (0.02, "0.02"),
            (0.000_446_1, "0.000446"),
            (1.5, "1.5"),
            (3.236, "3.24"),
            (96.0, "96"),
            (360.0, "360"),
            (1000.0, "1000"),
            (10_000.0, "10 K"),
            (100_000.0, "100 K"),
            (1e6, "1 M"),
            (43_200_000.0, "43.2 M"),
        ] {
            assert_eq!(short(value), expected);
        }
    }

    #[test]
    fn a_picture_names_its_axes_series_and_source_in_ink_that_a_dark_page_turns_over() {
        let point = |x| Spread { x, least: 0.9, median: 1.0, most: 1.1 };
        let series = || Series {
            name: "sales-stream files".to_owned(),
            mark: Mark::First,
            points: [1.0, 10.0, 100.0].map(point).to_vec(),
        };
        let picture = |scale| Picture {
            title: "Cost by something",
            note: "a machine".to_owned(),
            x: ("somethings", Scale::Logarithmic),
            y: ("µs an event", scale),
            series: vec![series()],
        };
        for scale in [Scale::FromZero, Scale::Logarithmic] {
            let svg = picture(scale).draw().unwrap();
            for word in [
                "Cost by something",
                "a machine",
                "somethings",
                "µs an event",
                "sales-stream files",
            ] {
                assert!(svg.contains(word), "{word}");
            }
            assert!(svg.contains("fill=\"#1F2328\"") && svg.contains("stroke=\"#1F2328\""));
            assert!(!svg.contains("#000000"), "ink that no style sheet turns over");
        }
    }
}
