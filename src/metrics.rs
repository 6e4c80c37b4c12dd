//! What was counted, as Prometheus reads it. Nothing is kept here: the actors count in their own state and are asked.
//!
//! No label names a user. An actor that does not answer has no numbers; `alarm_hub_ready` then says why.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::{Duration, UNIX_EPOCH},
};

use actors::{
    cluster::{ClusterMessage, Standing},
    histogram::{BOUNDS, Histogram},
    hub::{Counts, HubMessage},
    poller::{Health, PollerMessage},
    sink::Reason,
    tally::{ByLanguage, Ending},
    tree::Actors,
};
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use crate::health::{Readiness, Status, ask, readiness};

/// What [`scrape`] gives: the text format of Prometheus.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Asks the actors and writes down what they say. `interval` is the longest pause between two looks at the database,
/// `lost` how many lines of the log were lost.
pub async fn scrape(actors: &Actors, interval: Duration, lost: u64) -> String {
    let handled = actors.handled.load(Ordering::Relaxed);
    let standing = async {
        match &actors.cluster {
            Some(cluster) => ask(cluster, ClusterMessage::Standing).await,
            None => None,
        }
    };
    let (counts, health, standing, readiness) = tokio::join!(
        ask(&actors.hub, |reply| HubMessage::Counts { handled, reply }),
        ask(&actors.poller, PollerMessage::Health),
        standing,
        readiness(actors, interval)
    );
    let mut registry = Registry::with_prefix("alarm_hub");
    let version = Lines::each("version", [(env!("CARGO_PKG_VERSION"), Value::Gauge(1))]);
    registry.register("build_info", "Which build this is", version);
    registry.register("restarts", "Times that an actor was started again", Lines::One(Value::Counter(actors.restarts)));
    let help = "Lines of the log that were lost because nobody read them";
    registry.register("log_lines_lost", help, Lines::One(Value::Counter(lost)));
    add_readiness(&mut registry, &readiness);
    if let Some(counts) = counts {
        add_counts(&mut registry, &counts);
    }
    let behind = health.as_ref().and_then(|health| health.behind);
    if let Some(health) = health {
        add_health(&mut registry, &health);
    }
    if let Some(standing) = standing {
        add_standing(&mut registry, &standing, behind);
    }
    let mut written = String::new();
    match text::encode_registry(&mut written, &registry) {
        Ok(()) => plain(&written),
        Err(fmt::Error) => String::new(), // a text takes all that is written to it
    }
}

fn add_readiness(registry: &mut Registry, readiness: &Readiness) {
    let checks = &readiness.checks;
    let redis = checks.redis.as_ref().map(|redis| ("redis", redis));
    let checks = [("database", &checks.database), ("triggers", &checks.triggers), ("poller", &checks.poller)];
    let checks = checks.into_iter().chain(redis);
    let lines = checks.map(|(name, check)| (name, Value::Gauge(u64::from(check.status == Status::Ok))));
    registry.register("ready", "Whether a check of /readyz says yes", Lines::each("check", lines));
}

fn add_counts(registry: &mut Registry, counts: &Counts) {
    let tally = &counts.tally;
    let mut add = |name: &str, help: &str, lines: Lines| registry.register(name, help, lines);
    add("connections", "Connections now", Lines::One(Value::Gauge(counts.connections)));
    add("connections_opened", "Connections that began", Lines::One(Value::Counter(tally.opened)));
    let endings = [
        Ending::Bye(Reason::Superseded),
        Ending::Bye(Reason::Kicked),
        Ending::Bye(Reason::Expired),
        Ending::Bye(Reason::Lagging),
        Ending::Bye(Reason::Shutdown),
        Ending::Gone,
        Ending::Resumed,
        Ending::Failed,
    ];
    let endings = endings
        .map(|ending| (ending.to_string(), Value::Counter(tally.ended.get(&ending).copied().unwrap_or_default())));
    let help = "Connections that ended: by a bye with its reason, because the client left (gone) or was back before \
                that was noticed (resumed), or with a session that failed";
    add("connections_closed", help, Lines::each("reason", endings));
    let help = "Automatic reconnects that were refused (204) because a newer connection owns the user";
    add("resumes_refused", help, Lines::One(Value::Counter(tally.refused)));
    let help = "Alarms and updates handed to a connection, by the language that was chosen";
    add("alarms_delivered", help, languages(&tally.delivered));
    let help = "Of the delivered, those in none of the reader's own languages";
    add("fallbacks", help, Lines::One(Value::Counter(tally.fallbacks)));
    let help = "Of the delivered, those that lacked the reader's first language, by that language";
    add("missing_translations", help, languages(&tally.missing));
    let help = "From the change of a row to the write to a connection, for each write of what is live, by the oldest \
                change in it";
    add("delivery_delay_seconds", help, Lines::One(Value::Histogram(counts.delays.clone())));
    let help = "Messages that lay in an actor's mailbox before the question for this";
    add("mailbox_depth", help, Lines::each("actor", [("hub", Value::Gauge(counts.waiting))]));
}

fn add_health(registry: &mut Registry, health: &Health) {
    let mut add = |name: &str, help: &str, value: Value| registry.register(name, help, Lines::One(value));
    add("alarms_read", "Changes of alarms read from the log", Value::Counter(health.changes));
    let help = "Times that a row was told as well as it can be, because it cannot be read as it should";
    add("rows_degraded", help, Value::Counter(health.odd_rows));
    add("poll_errors", "Looks at the database that failed", Value::Counter(health.errors));
    let durations = Value::Histogram(health.durations.clone());
    add("poll_duration_seconds", "How long a look at the database took", durations);
    let looked = health.looked.and_then(|looked| looked.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let help = "When the database was last looked at with success; 0 is never";
    add("last_poll_timestamp_seconds", help, Value::Seconds(looked.as_secs_f64()));
    let help = "How long ago that was; 0 is also never";
    let lag = health.looked.and_then(|looked| looked.elapsed().ok()).unwrap_or_default();
    add("poll_lag_seconds", help, Value::Seconds(lag.as_secs_f64()));
}

fn add_standing(registry: &mut Registry, standing: &Standing, behind: Option<u64>) {
    let mut add = |name: &str, help: &str, value: Value| registry.register(name, help, Lines::One(value));
    add("redis_up", "Whether Redis can be reached", Value::Gauge(u64::from(standing.away.is_none())));
    add("redis_reconnects", "Times that Redis was reached again", Value::Counter(standing.reconnects));
    if let Some(behind) = standing.fed.as_ref().map(|fed| fed.behind).or(behind) {
        let help = "Changes that this hub has not told the others yet or, without a database, not read from them";
        add("redis_stream_lag", help, Value::Gauge(behind));
    }
    let help = "Connections ended because another hub has a newer one of the same user";
    add("ownership_conflicts", help, Value::Counter(standing.conflicts));
    add("ownership_waiting", "Users of whom the other hubs have not been told yet", Value::Gauge(standing.waiting));
}

fn languages(counted: &ByLanguage) -> Lines {
    let each = counted.each().iter().map(|(language, count)| (language.to_string(), Value::Counter(*count)));
    Lines::each("language", each.chain([("other".to_owned(), Value::Counter(counted.other))]))
}

/// A number that was counted somewhere else.
#[derive(Debug)]
enum Value {
    Counter(u64),
    Gauge(u64),
    Seconds(f64),
    Histogram(Arc<Histogram>),
}

/// The lines of a metric.
#[derive(Debug)]
enum Lines {
    One(Value),
    /// One for each value of this label; never empty.
    Each(&'static str, Vec<(String, Value)>),
}

impl Lines {
    fn each<T: Into<String>>(label: &'static str, values: impl IntoIterator<Item = (T, Value)>) -> Self {
        Self::Each(label, values.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

impl EncodeMetric for Lines {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        match self {
            Self::One(value) => value.encode(encoder),
            Self::Each(label, values) => values
                .iter()
                .try_for_each(|(name, value)| value.encode(encoder.encode_family(&[(*label, name.as_str())])?)),
        }
    }

    fn metric_type(&self) -> MetricType {
        match self {
            Self::One(Value::Counter(_)) => MetricType::Counter,
            Self::One(Value::Histogram(_)) => MetricType::Histogram,
            Self::Each(_, values) if matches!(values.first(), Some((_, Value::Counter(_)))) => MetricType::Counter,
            _ => MetricType::Gauge,
        }
    }
}

impl Value {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        match self {
            Self::Counter(count) => encoder.encode_counter::<NoLabelSet, _, u64>(count, None),
            Self::Gauge(number) => encoder.encode_gauge(number),
            Self::Seconds(seconds) => encoder.encode_gauge(seconds),
            Self::Histogram(histogram) => {
                let bounds = BOUNDS.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
                let buckets: Vec<(f64, u64)> = bounds.zip(histogram.buckets()).collect();
                let count = buckets.iter().map(|(_, count)| count).sum();
                encoder.encode_histogram::<NoLabelSet>(histogram.sum().as_secs_f64(), count, &buckets, None)
            }
        }
    }
}

/// From the OpenMetrics text, which names a counter without its suffix, to the older format that everything reads.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + 256);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let described = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        let name = described.and_then(|rest| rest.split(' ').next());
        let counter = |line: &str| line.starts_with("# TYPE ") && line.ends_with(" counter");
        match name {
            Some(name)
                if counter(line) || lines.peek().is_some_and(|next| counter(next) && next[7..].starts_with(name)) =>
            {
                plain.push_str(&line.replacen(name, &format!("{name}_total"), 1));
            }
            _ => plain.push_str(line),
        }
        plain.push('\n');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_described_under_the_name_that_its_lines_have() {
        let mut registry = Registry::with_prefix("x");
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(3));
        registry.register("said", "Words", Lines::each("lang", [("a\"b\n", Value::Counter(2))]));
        registry.register("now", "Now", Lines::One(Value::Gauge(7)));
        registry.register("took_seconds", "Time", Lines::One(Value::Histogram(Arc::new(histogram))));
        let mut written = String::new();
        text::encode_registry(&mut written, &registry).unwrap();
        let text = plain(&written);
        let expected = "# HELP x_said_total Words.\n# TYPE x_said_total counter\nx_said_total{lang=\"a\\\"b\\n\"} 2\n\
                        # HELP x_now Now.\n# TYPE x_now gauge\nx_now 7\n\
                        # HELP x_took_seconds Time.\n# TYPE x_took_seconds histogram\nx_took_seconds_sum 0.003\n\
                        x_took_seconds_count 1\nx_took_seconds_bucket{le=\"0.0001\"} 0\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("x_took_seconds_bucket{le=\"0.0025\"} 0\nx_took_seconds_bucket{le=\"0.005\"} 1\n"));
        assert!(text.ends_with("x_took_seconds_bucket{le=\"+Inf\"} 1\n"), "{text}");
    }
}
