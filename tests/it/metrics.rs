//! What the hub counts, read as Prometheus reads it; by Prometheus itself for the alerts and the dashboard.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Hub, Stream, THREE, get, write};

/// A process that ends with the test.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait(); // as above
    }
}

/// Every number of a scrape, by its name and labels as they are written.
fn scrape(address: &str) -> HashMap<String, f64> {
    let (head, text) = get(address, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let numbers = text.lines().filter(|line| !line.starts_with('#'));
    let number = |line: &str| line.rsplit_once(' ').map(|(name, number)| (name.to_owned(), number.parse().unwrap()));
    numbers.map(|line| number(line).expect("a name and a number")).collect()
}

/// Waits until a number of the scrape is this.
fn counts(address: &str, name: &str, expected: f64) -> HashMap<String, f64> {
    let begun = Instant::now();
    loop {
        let numbers = scrape(address);
        if numbers.get(name) == Some(&expected) {
            return numbers;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{name} is not {expected}: {numbers:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Someone who is displaced, comes back, and two others who read: one of them in a language that is not there.
fn a_day(hub: &Hub, directory: &Path) -> Vec<Stream> {
    let mut displaced = hub.connect("secret-user", "Accept: text/event-stream\r\n");
    assert_eq!(displaced.event().0, "hello");
    let mut korean = hub.connect("secret-user", "Accept: text/event-stream\r\nAccept-Language: ko\r\n");
    let mut german = hub.connect("second-user", "Accept-Language: de\r\n");
    assert_eq!((korean.event().0.as_str(), german.event().0.as_str()), ("hello", "hello"));
    assert_eq!(displaced.event().0, "bye");
    let refused = format!("Accept: text/event-stream\r\nLast-Event-ID: {}\r\n", displaced.id);
    assert!(hub.connect("secret-user", &refused).status.contains(" 204 "));
    write(directory, THREE);
    assert_eq!((korean.event().0.as_str(), german.event().0.as_str()), ("alarm", "alarm"));
    vec![korean, german]
}

#[test]
fn what_happens_is_counted_and_no_user_is_named() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    let streams = a_day(&hub, directory.path());
    let numbers = counts(&hub.address, "alarm_hub_alarms_delivered_total{language=\"ko\"}", 1.0);
    for (name, expected) in [
        ("connections", 2.0),
        ("connections_opened_total", 3.0),
        ("connections_closed_total{reason=\"superseded\"}", 1.0),
        ("connections_closed_total{reason=\"gone\"}", 0.0),
        ("resumes_refused_total", 1.0),
        ("alarms_read_total", 1.0),
        ("alarms_delivered_total{language=\"en\"}", 1.0),
        ("fallbacks_total", 1.0),
        ("missing_translations_total{language=\"de\"}", 1.0),
        ("delivery_delay_seconds_count", 2.0),
        ("delivery_delay_seconds_bucket{le=\"+Inf\"}", 2.0),
        ("poll_errors_total", 0.0),
        ("rows_degraded_total", 0.0),
        ("restarts_total", 0.0),
        ("ready{check=\"poller\"}", 1.0),
        (concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ] {
        assert_eq!(numbers.get(&format!("alarm_hub_{name}")), Some(&expected), "{name}: {numbers:?}");
    }
    assert!(numbers["alarm_hub_poll_duration_seconds_count"] > 0.0);
    assert!(numbers["alarm_hub_last_poll_timestamp_seconds"] > 1.6e9);
    assert!((0.0..60.0).contains(&numbers["alarm_hub_poll_lag_seconds"]), "{numbers:?}");
    assert!(!numbers.keys().any(|name| name.contains("-user")), "{numbers:?}");
    write(directory.path(), "INSERT INTO alarm (id, lang, message) VALUES ('odd', 'ko', x'00ff')");
    counts(&hub.address, "alarm_hub_alarms_read_total", 2.0);
    assert!(scrape(&hub.address)["alarm_hub_rows_degraded_total"] > 0.0);
    drop(streams);
    let numbers = counts(&hub.address, "alarm_hub_connections_closed_total{reason=\"gone\"}", 2.0);
    assert_eq!(numbers["alarm_hub_alarms_delivered_total{language=\"ko\"}"], 3.0, "what a connection counted is kept");
    counts(&hub.address, "alarm_hub_connections", 0.0);
}

/// A hub whose metrics have an address of their own; that address.
fn with_own_listener(directory: &Path) -> (Hub, String) {
    let (hub, log) = Hub::start_logged(directory, &["--metrics-listen", "127.0.0.1:0", "--log-format", "json"]);
    let mut events =
        BufReader::new(log).lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).expect("JSON"));
    let event = events.find(|event| event["message"] == "serving metrics").expect("it says where");
    (hub, event["address"].as_str().unwrap().to_owned())
}

#[test]
fn a_listener_for_metrics_has_nothing_else() {
    let directory = TempDir::new().unwrap();
    let (_hub, address) = with_own_listener(directory.path());
    assert_eq!(scrape(&address)["alarm_hub_connections"], 0.0);
    for path in ["/", "/healthz", "/connection/tiaz", "/metrics/"] {
        assert!(get(&address, path).0.starts_with("HTTP/1.1 404 "), "{path}");
    }
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn packaged(name: &str) -> String {
    fs::read_to_string(project().join("packaging").join(name)).expect("it is packaged")
}

/// Prometheus, scraping this address five times a second under the rules that are packaged; where it is.
fn prometheus(directory: &Path, scraped: &str) -> (Helper, String) {
    fs::write(directory.join("alerts.yml"), packaged("alerts.yml")).unwrap();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 1s}}\nrule_files: [alerts.yml]\n\
         scrape_configs: [{{job_name: alarm-hub, static_configs: [{{targets: ['{scraped}']}}]}}]\n"
    );
    fs::write(directory.join("prometheus.yml"), config).unwrap();
    let mut process = Command::new("prometheus")
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"])
        .args(["--log.level=info", "--log.format=json"])
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("prometheus is installed");
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut address = None;
    for line in lines.by_ref().map(|line| line.unwrap()) {
        let said: Value = serde_json::from_str(&line).unwrap_or_default();
        if said["msg"] == "Listening on" {
            address = said["address"].as_str().map(str::to_owned);
        }
        if said["msg"] == "Server is ready to receive web requests." {
            break;
        }
    }
    std::thread::spawn(move || lines.count()); // so that it never waits for somebody to read
    (Helper(process), format!("http://{}", address.expect("it says where it listens")))
}

/// What Prometheus answers to an expression: one line for each series.
fn query(prometheus: &str, expression: &str) -> String {
    let done = Command::new("promtool").args(["query", "instant", prometheus, expression]).output();
    let done = done.expect("promtool is installed");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{expression}: {said}");
    String::from_utf8(done.stdout).unwrap()
}

#[cfg(feature = "redis")]
#[test]
fn every_query_of_the_dashboard_and_every_name_in_the_alerts_has_an_answer() {
    let directory = TempDir::new().unwrap();
    let redis = crate::cluster::Redis::start();
    write(directory.path(), "CREATE TABLE alarm (id, lang, message, isn_dt, PRIMARY KEY (id, lang))");
    let hub = Hub::start(directory.path(), &["--db", "alarms.db", "--redis", &redis.url()]);
    let (_prometheus, prometheus) = prometheus(directory.path(), &hub.address);
    let begun = Instant::now();
    while !query(&prometheus, "alarm_hub_connections").contains("=>") {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is scraped");
    }
    let _streams = a_day(&hub, directory.path());
    counts(&hub.address, "alarm_hub_fallbacks_total", 1.0);
    while !query(&prometheus, "alarm_hub_fallbacks_total == 1").contains("=>") {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is scraped again");
    }
    let dashboard: Value = serde_json::from_str(&packaged("grafana.json")).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut asked = 0;
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        let concrete = expression.replace("$__rate_interval", "1m").replace("$instance", ".*");
        assert!(query(&prometheus, &concrete).contains("=>"), "no answer to {concrete}");
        asked += 1;
    }
    assert!(asked > 12, "{asked}");
    let rules: Vec<String> = packaged("alerts.yml").lines().filter_map(rule).collect();
    assert!(rules.len() > 5, "{rules:?}");
    let text = get(&hub.address, "/metrics").1;
    for rule in &rules {
        let names = rule.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        for name in names.filter(|name| name.starts_with("alarm_hub_")) {
            assert!(text.lines().any(|line| line.starts_with(name)), "{name} of {rule} is never told");
        }
        query(&prometheus, rule);
    }
    let pages = ["docs/operating.md", "docs/scale.md"].map(|page| fs::read_to_string(project().join(page)).unwrap());
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        let named = |page: &String| page.contains(&format!("`{name}`")) || page.contains(&format!("`{name}{{"));
        assert!(pages.iter().any(named), "no page says what {name} is");
    }
    let firing = query(&prometheus, "ALERTS{severity='critical'}");
    assert_eq!(firing.trim(), "", "all is well");
}

fn rule(line: &str) -> Option<String> {
    line.trim().strip_prefix("expr: ").map(str::to_owned)
}

#[test]
fn promtool_accepts_what_is_told_and_the_rules() {
    let directory = TempDir::new().unwrap();
    let hub = Hub::start(directory.path(), &[]);
    fs::write(directory.path().join("scrape"), get(&hub.address, "/metrics").1).unwrap();
    let scrape = fs::File::open(directory.path().join("scrape")).unwrap();
    let metrics = Command::new("promtool").args(["check", "metrics"]).stdin(scrape).output();
    let metrics = metrics.expect("promtool is installed");
    assert!(metrics.status.success(), "{}", String::from_utf8_lossy(&metrics.stderr));
    let rules = project().join("packaging/alerts.yml");
    let rules = Command::new("promtool").args(["check", "rules"]).arg(rules).output().unwrap();
    assert!(rules.status.success(), "{}", String::from_utf8_lossy(&rules.stderr));
}

#[test]
fn every_alert_fires_on_its_condition_and_on_nothing_else() {
    let tests = project().join("tests/alerts.yml");
    let done = Command::new("promtool").args(["test", "rules"]).arg(&tests).output().expect("promtool is installed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    let tests = fs::read_to_string(tests).unwrap();
    let rules = packaged("alerts.yml");
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let fires = format!("alertname: {alert}\n        exp_alerts:\n          - exp_labels");
        assert!(tests.contains(&fires), "{alert} is never shown to fire");
        assert!(tests.contains(&format!("alertname: {alert}}}")), "{alert} is never shown to keep silent");
    }
}
