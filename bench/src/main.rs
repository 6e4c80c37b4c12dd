//! `alarm-hub-bench`: how fast and how large the hub is, side by side with Nchan and with a bare broadcaster.

mod cluster;
mod floor;
mod load;
mod report;
mod scenario;
mod server;

use std::{error::Error, net::SocketAddr, path::PathBuf};

use clap::Parser;

/// What goes wrong here ends the run with its words.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// What to do.
#[derive(Parser)]
enum Command {
    /// Run the scenarios, print the table and draw the chart.
    Run(Run),
    /// Measure two hubs on a Redis of their own, against the goals.
    Cluster(Run),
    /// Serve as the floor: one thread, one write a client, encoded before.
    Floor {
        /// Where to listen.
        address: SocketAddr,
    },
}

/// How to run the scenarios.
#[derive(Clone, clap::Args)]
pub struct Run {
    /// The hub's release binary.
    #[arg(long, default_value = "target/release/alarm-hub")]
    hub: PathBuf,
    /// Fewer and shorter rounds: under two minutes in all.
    #[arg(long)]
    quick: bool,
    /// Only scenarios whose name contains one of these.
    #[arg(long)]
    only: Vec<String>,
    /// How often each server is measured; the median counts. Three times, or once with --quick.
    #[arg(long)]
    runs: Option<usize>,
    /// The core that the server runs on; the generator runs where it was started.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Where the chart goes, if nothing was left out.
    #[arg(long, default_value = "docs/benchmarks.svg")]
    chart: PathBuf,
    /// Files in which all figures go between the lines `<!-- figures -->` and `<!-- end of figures -->`, and those to be
    /// reached between `<!-- goals -->` and `<!-- end of goals -->`. Only if nothing was left out.
    #[arg(long)]
    into: Vec<PathBuf>,
}

fn main() -> Outcome<()> {
    match Command::parse() {
        Command::Floor { address } => floor::serve(address)?,
        Command::Cluster(run) => cluster::run(&run)?,
        Command::Run(run) => scenario::run(&run)?,
    }
    Ok(())
}
