//! The scenarios: what is done to a server, and which figures come out of it.

use std::{
    cell::Cell,
    fs,
    io::Write,
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    Outcome, Run,
    load::Load,
    report::{self, Report},
    server::{Kind, Server, Way},
};

/// Runs them and reports.
pub fn run(run: &Run) -> Outcome<()> {
    let mut report = Report::default();
    let runs = run.runs.unwrap_or(if run.quick { 1 } else { 3 });
    let mut failed = 0;
    for number in 1..=runs {
        for (name, kinds, scenario) in SCENARIOS {
            if !run.only.is_empty() && !run.only.iter().any(|only| name.contains(only.as_str())) {
                continue;
            }
            for kind in *kinds {
                eprintln!("{number}/{runs}: {name}: {kind}");
                let mut about = About { run, name, kind: *kind, first: number == 1, report: &mut report };
                if let Err(error) = scenario(&mut about) {
                    eprintln!("     FAILED: {error}");
                    failed += 1;
                }
            }
        }
    }
    report.add_growth();
    println!("{}\n\n{}\n{}", report::machine(), report.figures(), report.goals());
    if failed > 0 {
        return Err(format!("{failed} scenarios failed").into());
    }
    // The tables and the chart in the documents are those of one whole run.
    if run.only.is_empty() && !run.quick {
        report.draw(&run.chart)?;
        run.into.iter().try_for_each(|path| report.write(path, runs))?;
    }
    report.gate()
}

/// What a scenario is about and where its figures go.
struct About<'a> {
    run: &'a Run,
    name: &'static str,
    kind: Kind,
    /// Whether it is the first of its runs.
    first: bool,
    report: &'a mut Report,
}

type Scenario = for<'a, 'b> fn(&'a mut About<'b>) -> Outcome<()>;

const HUB: &[Kind] = &[Kind::Hub];
const EVENTS_PER_STORM: u64 = 100;

const SCENARIOS: &[(&str, &[Kind], Scenario)] = &[
    ("broadcast to 1,000", &Kind::ALL, |about| about.broadcast(1_000, 300)),
    ("broadcast to 8,000", &Kind::ALL, |about| about.broadcast(8_000, 40)),
    ("broadcast to 16,000", &Kind::ALL, |about| if about.run.quick { Ok(()) } else { about.broadcast(16_000, 20) }),
    ("memory a connection", &Kind::ALL, |about| {
        if about.run.quick && about.kind != Kind::Hub { Ok(()) } else { about.memory() }
    }),
    ("burst of 200 to 1,000", &Kind::ALL, |about| about.burst()),
    ("one alarm to an idle hub, by INSERT", HUB, |about| about.latency(Way::Insert, 0)),
    ("one alarm to an idle hub, by POST", HUB, |about| about.latency(Way::Post, 0)),
    ("20,000 alarms for 1,000 single users, by INSERT", HUB, |about| about.single(Way::Insert)),
    ("20,000 alarms for 1,000 single users, by POST", &[Kind::Hub, Kind::NchanTwo], |about| about.single(Way::Post)),
    ("takeovers", HUB, |about| about.takeovers()),
    ("storm: 8,000 resume with 100 missed alarms each", HUB, |about| about.storm()),
    ("8,000 connections with heartbeats", HUB, |about| about.heartbeats()),
    (report::FEW_ROWS, HUB, |about| about.table(1_000)),
    (report::MANY_ROWS, HUB, |about| about.table(if about.run.quick { 100_000 } else { 1_000_000 })),
    ("200 readers beside 200 that read nothing", HUB, |about| about.stuck()),
    ("instructions", HUB, |about| about.instructions()),
];

impl About<'_> {
    fn tell(&mut self, what: &str, unit: &'static str, value: f64) {
        self.report.add(&format!("{}: {what}", self.name), unit, self.kind, value);
    }

    fn start(&self, arguments: &[&str]) -> Outcome<(Server, Load)> {
        let server = Server::start(self.kind, self.run, arguments, &[], 0)?;
        let load = Load::new(server.address)?;
        Ok((server, load))
    }

    fn rounds(&self, full: u64) -> u64 {
        if self.run.quick { full.div_ceil(4) } else { full }
    }

    fn busy(&mut self, load: &Load) {
        let (name, kind) = (self.name, self.kind);
        eprintln!("     the generator was busy {:.0} % of the time ({name}, {kind})", load.busy_share() * 100.0);
    }

    /// One alarm at a time to everybody.
    fn broadcast(&mut self, clients: usize, rounds: u64) -> Outcome<()> {
        let most = format!("--max-connections={}", clients + 100);
        let arguments = if clients > 9_000 { vec![most.as_str()] } else { vec![] };
        let (mut server, mut load) = self.start(&arguments)?;
        server.open(&mut load, 0..clients, "")?;
        for _ in 0..3 {
            self.round(&mut server, &mut load, clients)?;
        }
        let idle = idle(&mut server, &mut load, Duration::from_millis(500))?;
        let (rounds, mut last, mut spent) = (self.rounds(rounds), Vec::new(), Duration::ZERO);
        load.count_busy();
        for _ in 0..rounds {
            let before = server.cpu();
            let begun = Instant::now();
            last.push(self.round(&mut server, &mut load, clients)?.as_secs_f64() * 1e3);
            load.rest(Duration::from_millis(2))?; // what it does after the last write is part of the cost
            spent += server.cpu().saturating_sub(before).saturating_sub(begun.elapsed().mul_f64(idle));
        }
        self.busy(&load);
        self.tell("CPU a delivery", "µs", spent.as_secs_f64() * 1e6 / (rounds * clients as u64) as f64);
        self.tell("last client", "ms", quantile(&mut last, 0.5));
        Ok(())
    }

    fn round(&self, server: &mut Server, load: &mut Load, clients: usize) -> Outcome<Duration> {
        let all = load.blocks + clients as u64;
        let begun = Instant::now();
        server.publish_one(load)?;
        load.until("the alarm at everybody", |load| load.blocks >= all)?;
        Ok(begun.elapsed())
    }

    /// What idle connections take, beyond what the server takes without any.
    fn memory(&mut self) -> Outcome<()> {
        let (mut server, mut load) = self.start(&[])?;
        server.open(&mut load, 0..10, "")?; // whatever is made once is there
        load.rest(Duration::from_millis(200))?;
        let (mut before, mut connected) = (server.memory(), 10);
        let empty = before;
        for (clients, what) in
            [(1_000, "of the first 1,000"), (2_000, "of the second 1,000"), (8_000, "from 2,000 to 8,000")]
        {
            server.open(&mut load, connected..clients, "")?;
            load.rest(Duration::from_millis(500))?;
            let now = server.memory();
            self.tell(what, "kB", (now as f64 - before as f64) / 1e3 / (clients - connected) as f64);
            (before, connected) = (now, clients);
        }
        self.tell("of 8,000, all in all", "kB", (before - empty) as f64 / 1e3 / (connected - 10) as f64);
        // That nothing is put off until the first alarm.
        self.round(&mut server, &mut load, connected)?;
        load.rest(Duration::from_millis(500))?;
        self.tell("of 8,000, after an alarm", "kB", (server.memory() - empty) as f64 / 1e3 / (connected - 10) as f64);
        Ok(())
    }

    /// Many alarms at once to everybody.
    fn burst(&mut self) -> Outcome<()> {
        let (clients, alarms, rounds) = (1_000, 200, self.rounds(8));
        let (mut server, mut load) = self.start(&[])?;
        server.open(&mut load, 0..clients, "")?;
        self.round(&mut server, &mut load, clients)?;
        let (mut spent, mut took) = (Duration::ZERO, Duration::ZERO);
        load.count_busy();
        for _ in 0..rounds {
            let all = load.blocks + clients as u64 * alarms;
            let before = server.cpu();
            let begun = Instant::now();
            server.publish(&mut load, alarms, None, Way::Insert)?;
            load.until("the burst at everybody", |load| load.blocks >= all)?;
            took += begun.elapsed();
            load.rest(Duration::from_millis(20))?;
            spent += server.cpu() - before;
        }
        self.busy(&load);
        let deliveries = (clients as u64 * alarms * rounds) as f64;
        self.tell("CPU a delivery", "µs", spent.as_secs_f64() * 1e6 / deliveries);
        self.tell("deliveries a second", "/s", deliveries / took.as_secs_f64());
        Ok(())
    }

    /// From the writer's commit to the reader, and what it costs to be that quick.
    fn latency(&mut self, way: Way, rows: u64) -> Outcome<()> {
        let mut server = Server::start(self.kind, self.run, &[], &[], rows)?;
        let mut load = Load::new(server.address)?;
        server.open(&mut load, 0..1, "")?;
        server.publish(&mut load, 1, None, way)?;
        load.rest(Duration::from_millis(300))?;
        if way == Way::Insert {
            let rest = Duration::from_secs(if self.run.quick { 2 } else { 5 });
            let idle = idle(&mut server, &mut load, rest)?;
            self.tell("idle", "% of a core", idle * 100.0);
        }
        let mut took = Vec::new();
        for number in 0..self.rounds(400) {
            let all = load.blocks + 1;
            let begun = Instant::now();
            server.publish(&mut load, 1, None, way)?;
            load.until("the alarm", |load| load.blocks >= all)?;
            took.push(begun.elapsed().as_secs_f64() * 1e3);
            load.rest(Duration::from_micros(5_000 + number * 7_919 % 15_000))?;
        }
        self.tell("p50", "ms", quantile(&mut took, 0.5));
        self.tell("p99", "ms", quantile(&mut took, 0.99));
        Ok(())
    }

    /// Alarms that are each for one user.
    fn single(&mut self, way: Way) -> Outcome<()> {
        let (users, alarms) = (1_000, 20_000);
        let (mut server, mut load) = self.start(&[])?;
        server.open(&mut load, 0..users, "")?;
        server.publish(&mut load, users as u64, Some(users), way)?;
        load.rest(Duration::from_millis(500))?;
        let all = load.blocks + alarms;
        let (begun, before) = (Instant::now(), server.cpu());
        load.count_busy();
        for _ in 0..alarms / 1_000 {
            server.publish(&mut load, 1_000, Some(users), way)?;
            load.turn(|_, _| {})?;
        }
        load.until("all alarms", |load| load.blocks >= all)?;
        let took = begun.elapsed();
        self.busy(&load);
        self.tell("alarms a second", "/s", alarms as f64 / took.as_secs_f64());
        self.tell("CPU an alarm", "µs", (server.cpu() - before).as_secs_f64() * 1e6 / alarms as f64);
        Ok(())
    }

    /// Language switches: each user opens the stream again in another language, at the position it has.
    fn takeovers(&mut self) -> Outcome<()> {
        let users = 1_000;
        let (mut server, mut load) = self.start(&[])?;
        server.open(&mut load, 0..users, "")?;
        let query = format!("last_event_id={}", position(&server, &mut load, users)?);
        // Once so many that a leak would show.
        let total = match (self.run.quick, self.first) {
            (true, _) => 20_000,
            (false, true) => 1_000_000,
            (false, false) => 100_000,
        };
        switch(&server, &mut load, users, &query, total / 10)?;
        let (memory, before, begun) = (server.memory(), server.cpu(), Instant::now());
        load.count_busy();
        let mut took = switch(&server, &mut load, users, &query, total)?;
        let elapsed = begun.elapsed().as_secs_f64();
        self.busy(&load);
        self.tell("a second", "/s", total as f64 / elapsed);
        self.tell("CPU each", "µs", (server.cpu() - before).as_secs_f64() * 1e6 / total as f64);
        self.tell("p99", "ms", quantile(&mut took, 0.99));
        let gained = (server.memory() as f64 - memory as f64) / 1e3;
        eprintln!("     memory gained over {total} takeovers: {gained:.0} kB");
        if self.first {
            self.tell(&format!("memory gained over {total}"), "kB", gained);
        }
        Ok(())
    }

    /// Everybody comes back at once and has missed alarms, while alarms go on.
    fn storm(&mut self) -> Outcome<()> {
        let (returning, live) = (8_000, 100);
        let (mut server, mut load) = self.start(&[])?;
        server.open(&mut load, 0..live, "")?;
        let position = position(&server, &mut load, live)?;
        let all = load.blocks + EVENTS_PER_STORM * live as u64;
        server.publish(&mut load, EVENTS_PER_STORM, None, Way::Insert)?;
        load.until("what will have been missed", |load| load.blocks >= all)?;
        let query = format!("last_event_id={position}");
        let begun = Instant::now();
        let (mut due, mut late, mut sent) = (begun, Vec::new(), 0_u64);
        // How many blocks each live reader has had since the storm began; the slowest of them is the delay.
        let mut had = vec![0_u64; live];
        let mut returned = 0_u64;
        let (mut opened, mut answered) = (0_usize, 0_usize);
        let mut first = vec![false; live + returning + 8];
        let mut published: Vec<Instant> = Vec::new();
        load.count_busy();
        while opened < returning || returned < (returning as u64) * (EVENTS_PER_STORM + 1) {
            if opened < returning && opened < answered + 512 {
                load.open(&server.request(live + opened, opened, &query))?;
                opened += 1;
            }
            if Instant::now() >= due {
                due += Duration::from_millis(100);
                published.push(Instant::now());
                server.publish_one(&mut load)?;
                sent += 1;
            }
            load.turn(|_, heard| {
                if heard.client < live {
                    for _ in 0..heard.blocks {
                        let alarm = had[heard.client] as usize;
                        had[heard.client] += 1;
                        late.push(published[alarm].elapsed().as_secs_f64() * 1e3);
                    }
                } else {
                    returned += heard.blocks;
                    if heard.blocks > 0 && !std::mem::replace(&mut first[heard.client], true) {
                        answered += 1;
                    }
                }
            })?;
            if begun.elapsed() > Duration::from_secs(60) {
                return Err(format!("{returned} blocks in a minute").into());
            }
        }
        let took = begun.elapsed();
        eprintln!("     {sent} live alarms meanwhile");
        self.busy(&load);
        self.tell("all caught up", "s", took.as_secs_f64());
        let in_storm = quantile(&mut late, 1.0);
        self.tell("INSERT to the last of 100 who stayed, at most", "ms", in_storm);
        // An alarm takes its time to so many in any case: what is longer than that is the storm's.
        load.rest(Duration::from_millis(500))?;
        let mut quiet = Vec::new();
        for _ in 0..10 {
            let (begun, mut arrived) = (Instant::now(), 0);
            server.publish_one(&mut load)?;
            while arrived < live as u64 {
                load.turn(|_, heard| arrived += if heard.client < live { heard.blocks } else { 0 })?;
                if begun.elapsed() > Duration::from_secs(10) {
                    return Err("an alarm did not arrive in a quiet hub".into());
                }
            }
            quiet.push(begun.elapsed().as_secs_f64() * 1e3);
            load.rest(Duration::from_millis(200))?;
        }
        let quiet = quantile(&mut quiet, 0.5);
        self.tell("the same once it is quiet", "ms", quiet);
        self.tell("longest delay of a live alarm", "ms", (in_storm - quiet).max(0.0));
        Ok(())
    }

    /// What readers that take nothing cost the others: bursts to these alone, then as many beside the stuck ones.
    fn stuck(&mut self) -> Outcome<()> {
        let (readers, alarms, rounds) = (200, 50, self.rounds(200));
        let (mut server, mut load) = self.start(&[])?;
        server.open(&mut load, 0..readers, "")?;
        let bursts = |server: &mut Server, load: &mut Load| -> Outcome<f64> {
            let mut took = Vec::new();
            for _ in 0..rounds {
                let all = load.blocks + readers as u64 * alarms;
                let begun = Instant::now();
                server.publish(load, alarms, None, Way::Insert)?;
                load.until("the burst at everybody", |load| load.blocks >= all)?;
                took.push(begun.elapsed().as_secs_f64() * 1e3);
                load.rest(Duration::from_millis(5))?;
            }
            Ok(quantile(&mut took, 0.99))
        };
        bursts(&mut server, &mut load)?; // whatever is made once is there
        let alone = bursts(&mut server, &mut load)?;
        let before = server.memory();
        let mut stuck = Vec::new();
        for user in readers..2 * readers {
            let mut socket = TcpStream::connect(server.address)?;
            socket2::SockRef::from(&socket).set_recv_buffer_size(4_096)?;
            socket.write_all(server.request(user, 0, "").as_bytes())?;
            stuck.push(socket);
        }
        load.rest(Duration::from_millis(500))?;
        let beside = bursts(&mut server, &mut load)?;
        let each = (server.memory() as f64 - before as f64) / 1e3 / readers as f64;
        drop(stuck);
        self.tell("p99 of a burst of 50, alone", "ms", alone);
        self.tell("p99 of a burst of 50, beside them", "ms", beside);
        self.tell("p99 beside them to alone", "×", beside / alone);
        self.tell("memory each of them takes", "kB", each);
        Ok(())
    }

    fn heartbeats(&mut self) -> Outcome<()> {
        const AT_ONCE: usize = 80;
        let (mut server, mut load) = self.start(&["--heartbeat=15s"])?;
        // They come spread over a heartbeat, as their pings would be after a while. (From 12 to 15 seconds lie between
        // two, so these would come in crowds at first.)
        for users in (0..8_000).step_by(AT_ONCE) {
            server.open(&mut load, users..users + AT_ONCE, "")?;
            load.rest(Duration::from_millis(135))?;
        }
        let share = idle(&mut server, &mut load, Duration::from_secs(if self.run.quick { 5 } else { 20 }))?;
        self.tell("CPU", "% of a core", share * 100.0);
        Ok(())
    }

    /// What must not depend on how many rows there are.
    fn table(&mut self, rows: u64) -> Outcome<()> {
        let mut server = Server::start(self.kind, self.run, &[], &[], rows)?;
        let mut load = Load::new(server.address)?;
        server.open(&mut load, 0..1, "")?;
        let position = position(&server, &mut load, 1)?;
        self.round(&mut server, &mut load, 1)?;
        let mut times = [const { Vec::new() }; 3];
        for user in 2..self.rounds(200) as usize {
            times[0].push(self.round(&mut server, &mut load, 1)?.as_secs_f64() * 1e3);
            let resume = server.request(user, 0, &format!("last_event_id={position}"));
            times[1].push(answer(&mut load, &resume, b"event: alarm")?);
            let history = format!("GET /users/{user}/alarms?limit=50 HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
            times[2].push(answer(&mut load, &history, b"\"next\":")?);
        }
        for (what, times) in report::OF_A_TABLE.into_iter().zip(&mut times) {
            self.tell(what, "ms", quantile(times, 0.5));
        }
        Ok(())
    }

    /// User instructions a delivery, a takeover and a heartbeat: the gate, since they are free of noise.
    fn instructions(&mut self) -> Outcome<()> {
        let (clients, alarms, takeovers) = if self.run.quick { (1_000, 10, 500) } else { (1_000, 20, 1_000) };
        let counted = self.counted(clients, "10m", |about, server, load| {
            (0..alarms).try_for_each(|_| about.round(server, load, clients).map(|_| ()))
        })?;
        self.tell("a delivery", "instr", counted / (alarms * clients) as f64);
        let counted = self.counted(clients, "10m", |_, server, load| {
            let query = format!("last_event_id={}", position(server, load, clients)?);
            switch(server, load, clients, &query, takeovers)?;
            load.rest(Duration::from_millis(200))
        })?;
        self.tell("a takeover", "instr", counted / takeovers as f64);
        let pings = Cell::new(0);
        let counted = self.counted(clients, "1s", |_, _, load| {
            let before = load.blocks;
            load.rest(Duration::from_secs(3))?;
            pings.set(load.blocks - before);
            Ok(())
        })?;
        self.tell("a heartbeat", "instr", counted / pings.get() as f64);
        Ok(())
    }

    /// Instructions that the hub executes while this is done and so many are connected, and at no other time.
    fn counted(
        &self,
        clients: usize,
        heartbeat: &str,
        work: impl Fn(&Self, &mut Server, &mut Load) -> Outcome<()>,
    ) -> Outcome<f64> {
        let valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=callgrind.out"];
        let arguments = ["--poll-interval=1s", &format!("--heartbeat={heartbeat}")];
        let mut server = Server::start(self.kind, self.run, &arguments, &valgrind, 0)?;
        let mut load = Load::new(server.address)?;
        server.open(&mut load, 0..clients, "")?;
        self.round(&mut server, &mut load, clients)?;
        server.instrument("on")?;
        work(self, &mut server, &mut load)?;
        server.instrument("off")?;
        let directory = server.stop()?;
        let profile = fs::read_to_string(directory.path().join("callgrind.out"))?;
        let total = profile.lines().find_map(|line| line.strip_prefix("totals: ")).ok_or("no totals")?;
        Ok(total.split(' ').next().unwrap_or_default().parse()?)
    }
}

/// So many language switches, a few unanswered at a time: milliseconds from each opening to its hello.
fn switch(server: &Server, load: &mut Load, users: usize, query: &str, total: usize) -> Outcome<Vec<f64>> {
    const UNANSWERED: usize = 32;
    let (mut begun_at, mut took): (Vec<Option<Instant>>, _) = (Vec::new(), Vec::with_capacity(total));
    let mut opened = 0;
    while took.len() < total {
        while opened < total && opened < took.len() + UNANSWERED {
            let now = Instant::now();
            let client = load.open(&server.request(opened % users, opened / users, query))?;
            begun_at.resize(begun_at.len().max(client + 1), None);
            begun_at[client] = Some(now);
            opened += 1;
        }
        load.turn(|load, heard| {
            if let Some(begun) = begun_at.get_mut(heard.client).and_then(Option::take) {
                took.push(begun.elapsed().as_secs_f64() * 1e3);
            }
            if heard.bytes.is_none_or(|bytes| memchr::memmem::find(bytes, b"event: bye").is_some()) {
                load.close(heard.client);
            }
        })?;
    }
    Ok(took)
}

/// The position at the end of the log, as a new client learns it.
fn position(server: &Server, load: &mut Load, user: usize) -> Outcome<String> {
    let client = load.open(&server.request(user, 0, ""))?;
    let mut hello = Vec::new();
    let begun = Instant::now();
    while memchr::memmem::find(&hello, b"\n\n").is_none() {
        load.turn(|_, heard| {
            if heard.client == client {
                hello.extend_from_slice(heard.bytes.unwrap_or_default());
            }
        })?;
        if begun.elapsed() > Duration::from_secs(10) {
            return Err("no hello".into());
        }
    }
    load.close(client);
    let hello = String::from_utf8(hello)?;
    let id = hello.split("id: ").nth(1).and_then(|id| id.lines().next()).ok_or("a hello without an id")?;
    Ok(id.rsplit_once('.').ok_or("an id without a claim")?.0.to_owned())
}

/// How long it takes from the request until this comes, in milliseconds; the connection is closed then.
fn answer(load: &mut Load, request: &str, what: &[u8]) -> Outcome<f64> {
    let begun = Instant::now();
    let client = load.open(request)?;
    let (mut came, mut bytes) = (false, Vec::new());
    while !came {
        load.turn(|_, heard| {
            if heard.client == client {
                bytes.extend_from_slice(heard.bytes.unwrap_or_default());
                came |= memchr::memmem::find(&bytes, what).is_some();
            }
        })?;
        if begun.elapsed() > Duration::from_secs(10) {
            return Err(format!("no answer to {request}: {}", String::from_utf8_lossy(&bytes)).into());
        }
    }
    let took = begun.elapsed().as_secs_f64() * 1e3;
    load.close(client);
    Ok(took)
}

/// The share of a core that the server takes while nothing is asked of it.
fn idle(server: &mut Server, load: &mut Load, time: Duration) -> Outcome<f64> {
    let (before, begun) = (server.cpu(), Instant::now());
    load.rest(time)?;
    Ok((server.cpu() - before).as_secs_f64() / begun.elapsed().as_secs_f64())
}

pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}
