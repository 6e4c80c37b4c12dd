//! What came out: a table for the terminal and the README, and a chart.

use std::{fs, path::Path, process::Command};

use plotters::prelude::*;

use crate::{Outcome, server::Kind};

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

    /// The machine, the medians, and the ratios in the same run.
    pub fn print(&self) {
        println!("{}\n", machine());
        println!("| what | hub | × Nchan, two channels | × Nchan, one channel | × floor |");
        println!("|---|---|---|---|---|");
        for figure in &self.figures {
            let other = |kind| match (figure.ratio(kind), figure.median(kind)) {
                (Some(ratio), Some(median)) => format!("{ratio:.2} ({})", shown(median)),
                (None, Some(median)) => format!("({})", shown(median)),
                _ => "–".to_owned(),
            };
            println!(
                "| {} | {} {} | {} | {} | {} |",
                figure.name,
                figure.median(Kind::Hub).map_or_else(|| "–".to_owned(), shown),
                figure.unit,
                other(Kind::NchanTwo),
                other(Kind::NchanOne),
                other(Kind::Floor)
            );
        }
    }

    /// How much dearer a delivery is to sixteen times as many.
    pub fn print_growth(&self) {
        let cost = |clients: &str| {
            let name = format!("broadcast to {clients}: CPU a delivery");
            self.figures.iter().find(|figure| figure.name == name)?.median(Kind::Hub)
        };
        if let (Some(few), Some(many)) = (cost("1,000"), cost("16,000")) {
            println!("\nCPU a delivery from 1,000 to 16,000 connections: {:.2} ×", many / few);
        }
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
