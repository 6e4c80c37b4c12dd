//! What the hub says about itself: one line an event, to the standard error output. A thread of its own writes them, so
//! that whoever stopped reading there stops nothing but the log: lines beyond a buffer are lost, and counted. What somebody may have to account
//! for (the target `audit`: who connected, displaced, published, was refused) goes to a file of its own if one is named.
//! No token, ticket or text of an alarm is ever logged.

mod line;

use std::{
    error::Error,
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, BufWriter, IsTerminal, Write, stderr},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
    thread::sleep,
    time::Duration,
};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::Targets, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::config::{Config, LogFormat};
use line::Line;

type Problem = Box<dyn Error + Send + Sync>;

/// Lines that wait to be written, at most.
const WAITING: usize = 8_192;

/// The first line is written at once, those that follow within this time together: a write for each would wake the thread
/// that writes, and whoever watches the file, as often as somebody connects.
const TOGETHER: Duration = Duration::from_millis(10);

/// The log while it is written. Dropped, it writes what waits, for a second at most.
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    audit: Option<Reopen>,
    lost: Lost,
    _writes: WorkerGuard,
}

/// How many lines of the log were lost because nobody read it.
#[derive(Clone, Debug, Default)]
pub struct Lost(Option<ErrorCounter>);

impl Lost {
    /// Up to now.
    pub fn lines(&self) -> u64 {
        self.0.as_ref().map_or(0, |counter| counter.dropped_lines() as u64)
    }
}

/// Makes the audit trail go on in another file.
type Reopen = Box<dyn Fn(File) -> Result<(), reload::Error> + Send + Sync>;

impl Log {
    /// Begins to log as the settings say. Once a process.
    ///
    /// # Errors
    /// If something else logs already, or if the file of the audit trail cannot be written.
    pub fn begin(config: &Config) -> Result<Self, Problem> {
        let (filter, handle) = reload::Layer::new(filter(config)?);
        let writer = NonBlockingBuilder::default().buffered_lines_limit(WAITING).lossy(true).thread_name("log");
        let (writer, writes) = writer.finish(Together(BufWriter::with_capacity(65_536, stderr())));
        let lost = Lost(Some(writer.error_counter()));
        let lines = fmt::layer().with_writer(move || OneLine(writer.clone()));
        let lines = match config.log_format {
            LogFormat::Pretty => {
                let lines = lines.with_ansi(stderr().is_terminal()).event_format(Line::default());
                lines.with_filter(filter).boxed()
            }
            LogFormat::Json => {
                // A panic that prints itself would be the only line that is no JSON.
                std::panic::set_hook(Box::new(|panic| {
                    let place = panic.location().map(ToString::to_string);
                    let said = panic.payload_as_str().unwrap_or("a value that is no text");
                    tracing::error!(panic.place = place, panic.said = said, "panicked");
                }));
                lines.json().flatten_event(true).with_filter(filter).boxed()
            }
        };
        let mut layers = vec![lines];
        let mut audit = None;
        if let Some(path) = &config.audit_log {
            let trail = fmt::layer().json().flatten_event(true).with_writer(Arc::new(append(path)?));
            let (trail, handle) = reload::Layer::new(trail);
            layers.push(trail.with_filter(Targets::new().with_target("audit", LevelFilter::INFO)).boxed());
            let reopen = move |file| handle.modify(|trail| *trail.writer_mut() = Arc::new(file));
            audit = Some(Box::new(reopen) as Reopen);
        }
        tracing_subscriber::registry().with(layers).try_init()?;
        Ok(Self { filter: handle, audit, lost, _writes: writes })
    }

    /// The lines that it loses.
    pub fn lost(&self) -> Lost {
        self.lost.clone()
    }

    /// Logs what the settings say from now on, and opens the file of the audit trail again, which may have been moved
    /// away.
    ///
    /// # Errors
    /// If the file cannot be written; the trail then goes on where it was.
    pub fn reload(&self, config: &Config) -> Result<(), Problem> {
        self.filter.reload(filter(config)?)?;
        if let (Some(reopen), Some(path)) = (&self.audit, &config.audit_log) {
            reopen(append(path)?)?;
        }
        Ok(())
    }
}

fn filter(config: &Config) -> Result<EnvFilter, Problem> {
    // A span for each actor would cost half a kilobyte a user and an entry and an exit a message.
    let mut filter = format!("ractor=warn,{}", config.log);
    if config.audit_log.is_some() {
        filter.push_str(",audit=off"); // it has a place of its own
    }
    Ok(EnvFilter::try_new(filter)?)
}

fn append(path: &Path) -> Result<File, Problem> {
    let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path);
    file.map_err(|cause| format!("the audit log {}: {cause}", path.display()).into())
}

/// Writes what comes in one piece as one line: an event is read alone, whatever is in its fields.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let inner = event.strip_suffix(b"\n").unwrap_or(event);
        if inner.contains(&b'\n') || inner.contains(&b'\r') {
            let mut line = String::with_capacity(event.len() + 16);
            for letter in String::from_utf8_lossy(inner).chars() {
                match letter {
                    '\n' | '\r' => write!(line, "{}", letter.escape_default()).map_err(io::Error::other)?,
                    _ => line.push(letter),
                }
            }
            line.push('\n');
            self.0.write_all(line.as_bytes())?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Gathers what is written until it is flushed, which is when nothing waits any more, and then lets some more come.
struct Together<W: Write>(BufWriter<W>);

impl<W: Write> Write for Together<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.0.flush();
        sleep(TOGETHER);
        flushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_wait_together_are_one_write() {
        struct Told(Vec<Vec<u8>>);
        impl Write for Told {
            fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
                self.0.push(lines.to_vec());
                Ok(lines.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut log = Together(BufWriter::new(Told(Vec::new())));
        log.write_all(b"one\n").unwrap();
        log.write_all(b"two\n").unwrap();
        log.flush().unwrap();
        log.write_all(b"three\n").unwrap();
        log.flush().unwrap();
        assert_eq!(log.0.get_ref().0, [&b"one\ntwo\n"[..], b"three\n"]);
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let mut written = OneLine(Vec::new());
        written.write_all("WARN cause=no such\r\ntable: 알람\n".as_bytes()).unwrap();
        written.write_all(b"INFO next\n").unwrap();
        assert_eq!(String::from_utf8(written.0).unwrap(), "WARN cause=no such\\r\\ntable: 알람\nINFO next\n");
    }
}
