//! What came out: a table for the terminal and the README, and a chart.

use std::{fs, path::Path, process::Command};

use plotters::prelude::*;

use crate::{Outcome, server::Kind};

/// The two tables that are compared, and what is done with each.
pub const FEW_ROWS: &str = "a table of 1,000 rows";
pub const MANY_ROWS: &str = "a table of 1,000,000 rows (100,000 with QUICK)";
pub const OF_A_TABLE: [&str; 3] = ["INSERT to arrival", "resume", "history"];

/// Whose figure.
enum Of {
    Hub,
    /// The hub's, divided by this one's.
    Times(Kind),
}

enum Bound {
    Most(f64),
    Least(f64),
}

const GOALS: &[(&str, Of, Bound)] = &[
    ("broadcast to 1,000: CPU a delivery", Of::Times(Kind::NchanTwo), Bound::Most(1.0)),
    ("broadcast to 8,000: CPU a delivery", Of::Times(Kind::NchanTwo), Bound::Most(1.0)),
    ("broadcast to 8,000: last client", Of::Times(Kind::Floor), Bound::Most(1.3)),
    ("instructions: a delivery", Of::Hub, Bound::Most(6_000.0)),
    ("burst of 200 to 1,000: CPU a delivery", Of::Hub, Bound::Most(0.8)),
    ("burst of 200 to 1,000: deliveries a second", Of::Hub, Bound::Least(500_000.0)),
    ("one alarm to an idle hub, by INSERT: p50", Of::Hub, Bound::Most(1.0)),
    ("one alarm to an idle hub, by INSERT: p99", Of::Hub, Bound::Most(5.0)),
    ("one alarm to an idle hub, by INSERT: idle", Of::Hub, Bound::Most(0.5)),
    ("20,000 alarms for 1,000 single users, by INSERT: alarms a second", Of::Hub, Bound::Least(30_000.0)),
    ("memory a connection: of 8,000, all in all", Of::Hub, Bound::Most(18.0)),
    ("takeovers: a second", Of::Hub, Bound::Least(12_000.0)),
    ("takeovers: CPU each", Of::Hub, Bound::Most(45.0)),
    ("takeovers: p99", Of::Hub, Bound::Most(10.0)),
    ("takeovers: memory gained over 1000000", Of::Hub, Bound::Most(1_000.0)),
    ("storm: 8,000 resume with 100 missed alarms each: all caught up", Of::Hub, Bound::Most(3.0)),
    ("storm: 8,000 resume with 100 missed alarms each: longest delay of a live alarm", Of::Hub, Bound::Most(100.0)),
    ("8,000 connections with heartbeats: CPU", Of::Hub, Bound::Most(1.0)),
    ("growth: CPU a delivery, 16,000 connections to 1,000", Of::Hub, Bound::Most(1.45)),
    ("growth: INSERT to arrival, many rows to 1,000", Of::Hub, Bound::Most(1.2)),
    ("growth: resume, many rows to 1,000", Of::Hub, Bound::Most(1.2)),
    ("growth: history, many rows to 1,000", Of::Hub, Bound::Most(1.2)),
];

/// A twentieth above what was counted last (4,791, 104,158 and 5,003): more is a step back.
const GATES: &[(&str, f64)] = &[
    ("instructions: a delivery", 5_030.0),
    ("instructions: a takeover", 109_400.0),
    ("instructions: a heartbeat", 5_250.0),
];

struct Figure {
    name: String,
    unit: &'static str,
    /// For each run, in order.
    values: Vec<(Kind, Vec<f64>)>,
}

/// All figures, in the order in which they came first.
#[derive(Default)]
pub struct Report {
    figures: Vec<Figure>,
}

impl Figure {
    fn of(&self, kind: Kind) -> Option<&[f64]> {
        self.values.iter().find(|(of, _)| *of == kind).map(|(_, values)| values.as_slice())
    }

    fn median(&self, kind: Kind) -> Option<f64> {
        self.of(kind).map(|values| median(values.to_vec()))
    }

    /// The median of what the hub has to the other, run by run.
    fn ratio(&self, other: Kind) -> Option<f64> {
        let pairs = self.of(Kind::Hub)?.iter().zip(self.of(other)?);
        Some(median(pairs.map(|(hub, other)| hub / other).collect()))
    }
}

impl Report {
    /// Adds what one run gave.
    pub fn add(&mut self, name: &str, unit: &'static str, kind: Kind, value: f64) {
        let at = self.figures.iter().position(|figure| figure.name == name).unwrap_or_else(|| {
            self.figures.push(Figure { name: name.to_owned(), unit, values: Vec::new() });
            self.figures.len() - 1
        });
        let values = &mut self.figures[at].values;
        match values.iter_mut().find(|(of, _)| *of == kind) {
            Some((_, values)) => values.push(value),
            None => values.push((kind, vec![value])),
        }
    }

    fn find(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// Adds how much dearer a delivery is with sixteen times as many connections, and everything with a thousand times
    /// as many rows, run by run.
    pub fn add_growth(&mut self) {
        let cost = |clients: &str| format!("broadcast to {clients}: CPU a delivery");
        let mut growths =
            vec![("growth: CPU a delivery, 16,000 connections to 1,000".to_owned(), cost("1,000"), cost("16,000"))];
        growths.extend(OF_A_TABLE.map(|what| {
            (
                format!("growth: {what}, many rows to 1,000"),
                format!("{FEW_ROWS}: {what}"),
                format!("{MANY_ROWS}: {what}"),
            )
        }));
        for (name, few, many) in growths {
            for kind in Kind::ALL {
                let of = |name: &str| Some(self.find(name)?.of(kind)?.to_vec());
                let pairs = of(&few).into_iter().flatten().zip(of(&many).into_iter().flatten());
                pairs.collect::<Vec<_>>().into_iter().for_each(|(few, many)| self.add(&name, "×", kind, many / few));
            }
        }
    }

    /// The medians, and the ratios in the same run.
    pub fn figures(&self) -> String {
        let mut table = String::from(
            "| what | hub | × Nchan, two channels | × Nchan, one channel | × floor |\n|---|---|---|---|---|\n",
        );
        for figure in &self.figures {
            let other = |kind| match (figure.ratio(kind), figure.median(kind)) {
                (Some(ratio), Some(median)) => format!("{} ({})", shown(ratio), shown(median)),
                (None, Some(median)) => format!("({})", shown(median)),
                _ => "–".to_owned(),
            };
            table += &format!(
                "| {} | {} {} | {} | {} | {} |\n",
                figure.name,
                figure.median(Kind::Hub).map_or_else(|| "–".to_owned(), shown),
                figure.unit,
                other(Kind::NchanTwo),
                other(Kind::NchanOne),
                other(Kind::Floor)
            );
        }
        table
    }

    /// What was to be reached, and whether it was.
    pub fn goals(&self) -> String {
        let mut table = String::from(
            "| what | measured | to be reached | reached | Nchan, two channels | floor |\n|---|---|---|---|---|---|\n",
        );
        for (name, of, bound) in GOALS {
            let Some(figure) = self.find(name) else { continue };
            let measured = match of {
                Of::Hub => figure.median(Kind::Hub),
                Of::Times(kind) => figure.ratio(*kind),
            };
            let Some(measured) = measured else { continue };
            let unit = match of {
                Of::Hub => figure.unit.to_owned(),
                Of::Times(kind) => format!("× {kind}"),
            };
            let (wanted, reached) = match bound {
                Bound::Most(most) => (format!("≤ {}", shown(*most)), measured <= *most),
                Bound::Least(least) => (format!("≥ {}", shown(*least)), measured >= *least),
            };
            let other = |kind| {
                figure.median(kind).map_or_else(|| "–".to_owned(), |of| format!("{} {}", shown(of), figure.unit))
            };
            let own = match of {
                Of::Hub => String::new(),
                Of::Times(_) => format!(" ({})", other(Kind::Hub)),
            };
            table += &format!(
                "| {name} | {} {unit}{own} | {wanted} | {} | {} | {} |\n",
                shown(measured),
                if reached { "yes" } else { "no" },
                other(Kind::NchanTwo),
                other(Kind::Floor)
            );
        }
        table
    }

    /// Fails if the hub executes more instructions than it used to.
    pub fn gate(&self) -> Outcome<()> {
        for (name, most) in GATES {
            let counted = self.find(name).and_then(|figure| figure.median(Kind::Hub));
            if let Some(counted) = counted.filter(|counted| counted > most) {
                return Err(format!("{name}: {counted:.0} instructions, more than {most:.0}").into());
            }
        }
        Ok(())
    }

    /// Writes the tables into a file that has places for them.
    pub fn write(&self, path: &Path, runs: usize) -> Outcome<()> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let said = format!("Medians of {runs}. {}", machine());
        let text = between(text, "figures", &format!("{said}\n\n{}", self.figures()));
        fs::write(path, between(text, "goals", &format!("{said}\n\n{}", self.goals())))?;
        Ok(())
    }

    /// The CPU time of a delivery, as bars.
    pub fn draw(&self, path: &Path) -> Outcome<()> {
        let drawn: Vec<&Figure> =
            self.figures.iter().filter(|figure| figure.name.ends_with("CPU a delivery")).collect();
        if drawn.is_empty() {
            return Ok(());
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let kinds = Kind::ALL.len() as i32;
        let highest = drawn.iter().flat_map(|figure| Kind::ALL.map(|kind| figure.median(kind).unwrap_or(0.0)));
        let highest = highest.fold(0.0, f64::max) * 1.15;
        let groups = drawn.len() as i32;
        let root = SVGBackend::new(path, (800, 360)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption("CPU a delivery, µs (less is better)", ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(40)
            .build_cartesian_2d(0..groups * (kinds + 1), 0.0..highest)?;
        chart.configure_mesh().disable_x_mesh().disable_x_axis().draw()?;
        let colours = [RGBColor(200, 30, 30), RGBColor(40, 110, 60), RGBColor(110, 170, 120), RGBColor(150, 150, 150)];
        for (place, (kind, colour)) in Kind::ALL.into_iter().zip(colours).enumerate() {
            let bars = drawn.iter().enumerate().filter_map(|(group, figure)| {
                let left = group as i32 * (kinds + 1) + place as i32;
                Some(Rectangle::new([(left, 0.0), (left + 1, figure.median(kind)?)], colour.filled()))
            });
            chart
                .draw_series(bars)?
                .label(kind.to_string())
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled()));
            let values = drawn.iter().enumerate().filter_map(|(group, figure)| {
                let (left, median) = (group as i32 * (kinds + 1) + place as i32, figure.median(kind)?);
                Some(Text::new(shown(median), (left, median + highest * 0.05), ("sans-serif", 12)))
            });
            chart.draw_series(values)?;
        }
        chart.configure_series_labels().position(SeriesLabelPosition::UpperRight).draw()?;
        for (group, figure) in drawn.iter().enumerate() {
            let name = figure.name.split(':').next().unwrap_or_default().to_owned();
            let x = 50 + group as i32 * 740 / groups;
            root.draw(&Text::new(name, (x, 338), ("sans-serif", 14)))?;
        }
        root.present()?;
        Ok(())
    }
}

/// Replaces what lies between the two lines of this name, if they are there.
fn between(text: String, name: &str, new: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    match text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1))) {
        Some((before, after)) => format!("{before}{begin}{}\n{end}{after}", new.trim_end()),
        None => text,
    }
}

/// What it was measured on and with.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let said = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output();
        output.map(|output| [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).trim().to_owned()))
    };
    let version =
        |program: &str, argument: &str| said(program, argument).map_or_else(|_| String::new(), |said| said.concat());
    let info = read("/proc/cpuinfo");
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |(_, is)| is);
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    format!(
        "{cores} × {model}, Linux {}, {}, {}, load before and during the run {}",
        read("/proc/sys/kernel/osrelease").trim(),
        version("rustc", "--version"),
        version("nginx", "-v"),
        read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Three digits that count.
fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
