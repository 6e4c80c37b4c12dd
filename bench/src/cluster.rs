//! Two hubs on a Redis of their own, one with the database and one without: what a takeover from one to the other, an
//! alarm over the stream and a connect cost, each beside its goal. Both hubs and Redis share one core, but where it is
//! about throughput: there the hub without the database and Redis have the generator's.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use memchr::memmem::{find, find_iter};
use tempfile::TempDir;

use crate::{
    Outcome, Run,
    load::Load,
    report::machine,
    scenario::quantile,
    server::{self, Kind, Server, Way},
};

/// How long anything may take before the run fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takeovers a second, whoever they take it from.
const TAKEOVERS: u32 = 500;

/// A Redis that keeps nothing on the disk.
struct Redis {
    process: Child,
    port: u16,
    _directory: TempDir,
    spent: HashMap<String, u64>,
}

impl Redis {
    fn start(run: &Run) -> Outcome<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let directory = tempfile::tempdir()?;
        let mut command = Command::new("taskset");
        command.args(["-c", &run.core.to_string(), "redis-server", "--port", &port.to_string()]);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]).arg(directory.path());
        let process = command.stdout(Stdio::null()).spawn()?;
        let redis = Self { process, port, _directory: directory, spent: HashMap::new() };
        wait("Redis listens", || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        Ok(redis)
    }

    fn cpu(&mut self) -> Duration {
        server::spent(self.process.id(), &mut self.spent);
        Duration::from_nanos(self.spent.values().sum())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended by itself
        let _ = self.process.wait(); // as above
    }
}

/// A hub with the database, one without, and the Redis between.
struct Cluster {
    origin: Server,
    edge: Server,
    redis: Redis,
}

impl Cluster {
    fn start(run: &Run) -> Outcome<Self> {
        Self::apart(run, run)
    }

    /// With another core for all but the hub with the database.
    fn apart(run: &Run, others: &Run) -> Outcome<Self> {
        let redis = Redis::start(others)?;
        let url = format!("--redis=redis://127.0.0.1:{}", redis.port);
        let origin = Server::start(Kind::Hub, run, &[&url, "--db=alarms.db"], &[], 1)?;
        is_well(&origin)?;
        let edge = Server::start(Kind::Hub, others, &[&url], &[], 0)?;
        is_well(&edge)?;
        Ok(Self { origin, edge, redis })
    }

    fn hub(&self, number: usize) -> &Server {
        if number.is_multiple_of(2) { &self.origin } else { &self.edge }
    }
}

/// What came out: a figure, and what it is to be.
struct Row {
    what: &'static str,
    value: f64,
    unit: &'static str,
    goal: Option<Goal>,
}

enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Row {
    fn print(&self) {
        let Self { what, value, unit, goal } = self;
        let (goal, met) = match goal {
            Some(Goal::AtMost(most)) => (format!("≤ {most}"), if value <= most { "yes" } else { "NO" }),
            Some(Goal::AtLeast(least)) => (format!("≥ {least}"), if value >= least { "yes" } else { "NO" }),
            None => ("–".to_owned(), "–"),
        };
        println!("| {what} | {value:.*} {unit} | {goal} | {met} |", usize::from(*value < 100.0) * 2);
    }
}

/// What is measured, by name.
type Scenario = fn(&Run) -> Outcome<Vec<Row>>;
const SCENARIOS: &[(&str, Scenario)] =
    &[("takeovers", takeovers), ("alarms", alarms), ("rows", rows), ("connects", connects), ("idle", idle)];

/// Measures and prints.
pub fn run(run: &Run) -> Outcome<()> {
    let (mut rows, mut failed) = (Vec::new(), 0);
    for (name, scenario) in SCENARIOS {
        if run.only.is_empty() || run.only.iter().any(|only| name.contains(only.as_str())) {
            eprintln!("{name}");
            match scenario(run) {
                Ok(measured) => rows.extend(measured),
                Err(error) => {
                    eprintln!("     FAILED: {error}");
                    failed += 1;
                }
            }
        }
    }
    println!("{}\n", machine());
    println!("| two hubs and Redis | measured | goal | met |");
    println!("|---|---|---|---|");
    rows.iter().for_each(Row::print);
    if failed == 0 { Ok(()) } else { Err(format!("{failed} scenarios failed").into()) }
}

/// Each user opens the stream again on the other hub: from the request to the `bye` on the hub before.
fn takeovers(run: &Run) -> Outcome<Vec<Row>> {
    let (users, seconds) = (1_000, if run.quick { 5 } else { 20 });
    let total = usize::try_from(TAKEOVERS * seconds)?;
    let mut cluster = Cluster::start(run)?;
    let mut load = Load::new(cluster.origin.address)?;
    let mut client = vec![None; users];
    let (mut asked, mut took) = (HashMap::new(), Vec::with_capacity(total));
    let (begun, mut before) = (Instant::now(), Duration::ZERO);
    for number in 0..total + users {
        if number == users {
            before = cluster.redis.cpu();
        }
        let (user, hub) = (number % users, cluster.hub(number % users + number / users));
        let due = begun + Duration::from_secs(1) / TAKEOVERS * u32::try_from(number)?;
        let mut waits = true;
        while waits {
            waits = Instant::now() < due;
            hear(&mut load, &mut asked, &mut took)?;
            std::thread::sleep(Duration::from_micros(10)); // the core is not the generator's alone
        }
        let at = Instant::now();
        let next = load.open_at(hub.address, &hub.request(user, 0, ""))?;
        if let Some(before) = client[user].replace(next) {
            asked.insert(before, at);
        }
    }
    let begun = Instant::now();
    while !asked.is_empty() {
        hear(&mut load, &mut asked, &mut took)?;
        if begun.elapsed() > PATIENCE {
            return Err(format!("{} connections were never told that they are superseded", asked.len()).into());
        }
    }
    let spent = (cluster.redis.cpu() - before).as_secs_f64() * 1e6 / total as f64;
    Ok(vec![
        Row { what: "CPU a takeover of Redis", value: spent, unit: "µs", goal: None },
        Row { what: "takeover at 500 a second, p50", value: quantile(&mut took, 0.5), unit: "ms", goal: None },
        Row {
            what: "takeover at 500 a second, p99",
            value: quantile(&mut took, 0.99),
            unit: "ms",
            goal: Some(Goal::AtMost(5.0)),
        },
    ])
}

/// Reads what is there and notes who was told that it is superseded.
fn hear(load: &mut Load, asked: &mut HashMap<usize, Instant>, took: &mut Vec<f64>) -> Outcome<()> {
    load.turn(|_, heard| {
        if heard.bytes.is_some_and(|bytes| find(bytes, b"superseded").is_some())
            && let Some(at) = asked.remove(&heard.client)
        {
            took.push(at.elapsed().as_secs_f64() * 1e3);
        }
    })
}

/// One alarm at a time: from the INSERT to the reader of the hub without the database.
fn alarms(run: &Run) -> Outcome<Vec<Row>> {
    let mut cluster = Cluster::start(run)?;
    let mut load = Load::new(cluster.edge.address)?;
    cluster.edge.open(&mut load, 0..1, "")?;
    let mut took = Vec::new();
    for number in 0..if run.quick { 200 } else { 1_000 } {
        let all = load.blocks + 1;
        let begun = Instant::now();
        cluster.origin.publish_one(&mut load)?;
        load.until("the alarm", |load| load.blocks >= all)?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        load.rest(Duration::from_micros(5_000 + number * 7_919 % 15_000))?;
    }
    Ok(vec![
        Row {
            what: "INSERT to a reader of the other hub, p50",
            value: quantile(&mut took, 0.5),
            unit: "ms",
            goal: None,
        },
        Row {
            what: "INSERT to a reader of the other hub, p99",
            value: quantile(&mut took, 0.99),
            unit: "ms",
            goal: Some(Goal::AtMost(10.0)),
        },
    ])
}

/// Many rows in one transaction: how fast they get to the hub without the database. Its only reader gets the last.
fn rows(run: &Run) -> Outcome<Vec<Row>> {
    let (count, users) = (100_000, 1_000);
    let mut cluster = Cluster::apart(run, &Run { core: 1 - run.core.min(1), ..run.clone() })?;
    let mut load = Load::new(cluster.edge.address)?;
    cluster.edge.open(&mut load, 0..1, "")?;
    let mut rates = Vec::new();
    for _ in 0..if run.quick { 1 } else { 3 } {
        let all = load.blocks + count / users;
        cluster.origin.publish(&mut load, count, Some(usize::try_from(users)?), Way::Insert)?;
        // From the moment that the transaction ended: nobody sees a row before.
        let begun = Instant::now();
        let before = [cluster.origin.cpu(), cluster.redis.cpu(), cluster.edge.cpu()];
        while load.blocks < all && begun.elapsed() < PATIENCE {
            load.turn(|_, _| {})?;
            std::thread::sleep(Duration::from_millis(1)); // the core is not the generator's alone
        }
        if load.blocks < all {
            return Err(format!("the last row is not there after {PATIENCE:?}").into());
        }
        rates.push(count as f64 / begun.elapsed().as_secs_f64());
        let after = [cluster.origin.cpu(), cluster.redis.cpu(), cluster.edge.cpu()];
        let spent = |at: usize| (after[at] - before[at]).as_secs_f64() * 1e6 / count as f64;
        eprintln!("     CPU a row: {:.1} µs, Redis {:.1} µs, the other hub {:.1} µs", spent(0), spent(1), spent(2));
    }
    Ok(vec![Row {
        what: "rows a second to the other hub, in batches",
        value: quantile(&mut rates, 0.5),
        unit: "/s",
        goal: Some(Goal::AtLeast(100_000.0)),
    }])
}

/// The CPU time of a connection that is opened, greeted and closed, with and without Redis.
fn connects(run: &Run) -> Outcome<Vec<Row>> {
    let count = if run.quick { 4_000 } else { 20_000 };
    let alone = Server::start(Kind::Hub, run, &[], &[], 0)?;
    let (without, _) = connect(alone, None, count)?;
    let Cluster { origin, redis, .. } = Cluster::start(run)?;
    let (with, redis) = connect(origin, Some(redis), count)?;
    Ok(vec![
        Row { what: "CPU a connect of a hub by itself", value: without, unit: "µs", goal: None },
        Row { what: "CPU a connect of a hub among others", value: with, unit: "µs", goal: None },
        Row { what: "CPU a connect of Redis", value: redis, unit: "µs", goal: None },
    ])
}

/// The CPU time of the hub and of Redis for each, in microseconds.
fn connect(mut hub: Server, mut redis: Option<Redis>, count: usize) -> Outcome<(f64, f64)> {
    const TOGETHER: usize = 1_000;
    let mut load = Load::new(hub.address)?;
    let mut cpu = |hub: &mut Server| (hub.cpu(), redis.as_mut().map_or(Duration::ZERO, Redis::cpu));
    let mut before = cpu(&mut hub);
    for round in 0..=count / TOGETHER {
        let clients: Vec<usize> = (0..TOGETHER)
            .map(|user| load.open(&hub.request(round * TOGETHER + user, 0, "")))
            .collect::<Outcome<_>>()?;
        let greeted = (round as u64 + 1) * TOGETHER as u64;
        load.until("each is greeted", |load| load.blocks >= greeted)?;
        clients.into_iter().for_each(|client| load.close(client));
        load.rest(Duration::from_millis(100))?; // what is done of it afterwards is part of the cost
        if round == 0 {
            before = cpu(&mut hub); // whatever is made once is there
        }
    }
    let after = cpu(&mut hub);
    let each = |spent: Duration| spent.as_secs_f64() * 1e6 / (count / TOGETHER * TOGETHER) as f64;
    Ok((each(after.0 - before.0), each(after.1 - before.1)))
}

/// What connections cost of which each hub keeps saying that they are there.
fn idle(run: &Run) -> Outcome<Vec<Row>> {
    const CONNECTIONS: usize = 8_000;
    let mut cluster = Cluster::start(run)?;
    let mut load = Load::new(cluster.origin.address)?;
    cluster.origin.open(&mut load, 0..CONNECTIONS, "")?;
    load.rest(Duration::from_secs(5))?;
    let (begun, before) = (Instant::now(), (cluster.origin.cpu(), cluster.redis.cpu()));
    // Each is told again after 24 to 30 seconds.
    for _ in 0..if run.quick { 1 } else { 4 } {
        load.rest(Duration::from_secs(30))?;
    }
    let told = CONNECTIONS as f64 * begun.elapsed().as_secs_f64() / 27.0;
    let each = |spent: Duration| spent.as_secs_f64() * 1e6 / told;
    let (hub, redis) = (each(cluster.origin.cpu() - before.0), each(cluster.redis.cpu() - before.1));
    Ok(vec![
        Row { what: "CPU a renewal of the hub", value: hub, unit: "µs", goal: None },
        Row { what: "CPU a renewal of Redis", value: redis, unit: "µs", goal: None },
    ])
}

/// Waits until something is so.
fn wait(what: &str, mut is_so: impl FnMut() -> bool) -> Outcome<()> {
    let begun = Instant::now();
    while !is_so() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{what}: not within {PATIENCE:?}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Waits until a hub is ready, and hears of the others.
fn is_well(hub: &Server) -> Outcome<()> {
    let ready = || -> Outcome<bool> {
        let mut socket = TcpStream::connect(hub.address)?;
        write!(socket, "GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", hub.address)?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer)?;
        let fails = find_iter(&answer, b"\"status\":").count() != find_iter(&answer, b"\"status\":\"ok\"").count();
        Ok(answer.starts_with(b"HTTP/1.1 200 ") && find(&answer, b"\"redis\"").is_some() && !fails)
    };
    wait("the hub is ready", || ready().unwrap_or(false))
}
