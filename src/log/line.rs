//! A line of the log, as [`Full`] writes it. Where nobody sees colours, that is done here for a third of the
//! instructions: whoever connects and whoever is displaced by that is told, and with language switches those are many.

use std::{
    fmt::{self, Debug, Write},
    time::SystemTime,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
    },
    registry::LookupSpan,
};

/// What the `log` crate is told comes as this target, and needs some care.
const FOREIGN: &str = "log";

/// Writes an event as one line.
#[derive(Default)]
pub struct Line(Format<Full>);

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let about = event.metadata();
        if out.has_ansi_escapes() || about.target() == FOREIGN {
            return self.0.format_event(context, out, event);
        }
        write!(out, "{}", humantime::format_rfc3339_micros(SystemTime::now()))?;
        out.write_str(match *about.level() {
            Level::ERROR => " ERROR ",
            Level::WARN => "  WARN ",
            Level::INFO => "  INFO ",
            Level::DEBUG => " DEBUG ",
            Level::TRACE => " TRACE ",
        })?;
        out.write_str(about.target())?;
        out.write_char(':')?;
        let mut fields = Fields { out: Clean(out), written: Ok(()) };
        event.record(&mut fields);
        fields.written?;
        fields.out.0.write_char('\n')
    }
}

struct Fields<'w> {
    out: Clean<Writer<'w>>,
    written: fmt::Result,
}

impl Fields<'_> {
    fn write(&mut self, field: &Field, write: impl FnOnce(&mut Clean<Writer<'_>>) -> fmt::Result) {
        let (name, out) = (field.name(), &mut self.out);
        self.written = self.written.and_then(|()| {
            out.0.write_char(' ')?;
            if name != "message" {
                out.0.write_str(name)?;
                out.0.write_char('=')?;
            }
            write(out)
        });
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.write(field, |out| write!(out, "{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
        self.write(field, |out| {
            if !plain {
                return write!(out, "{value:?}");
            }
            out.0.write_char('"')?;
            out.0.write_str(value)?;
            out.0.write_char('"')
        });
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, |out| out.0.write_str(if value { "true" } else { "false" }));
    }
}

/// Writes control characters so that no terminal obeys them and no line ends early.
struct Clean<W>(W);

impl<W: Write> Write for Clean<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return self.0.write_str(text);
        }
        text.chars().try_for_each(|letter| match letter {
            '\t' => self.0.write_char(letter),
            _ if letter.is_control() => write!(self.0, "{}", letter.escape_default()),
            _ => self.0.write_char(letter),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::mpsc};

    use tracing::{error, info, subscriber::with_default};
    use tracing_subscriber::fmt::fmt;

    use super::*;

    /// What these events look like, after the time.
    fn written<E>(format: E, events: fn()) -> Vec<String>
    where
        E: FormatEvent<tracing_subscriber::Registry, tracing_subscriber::fmt::format::DefaultFields>
            + Send
            + Sync
            + 'static,
    {
        struct Told(mpsc::SyncSender<String>);
        impl io::Write for Told {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                self.0.try_send(String::from_utf8_lossy(line).into_owned()).map_err(io::Error::other)?;
                Ok(line.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (told, lines) = mpsc::sync_channel(16);
        let log = fmt().with_ansi(false).event_format(format).with_writer(move || Told(told.clone())).finish();
        with_default(log, events);
        lines.try_iter().map(|line| line.split_once('Z').expect("a time").1.to_owned()).collect()
    }

    #[test]
    fn a_line_reads_as_the_usual_one_does() {
        let events = || {
            let (conn, user) = (uuid::Uuid::nil(), "a \"b\" \\ 알람");
            info!(target: "audit", { user.id = user, conn = %conn.simple(), resumed = false, seconds = 1.5 }, "connected");
            error!(cause = %"no such table", count = 3, at = ?Some("x"), "cannot read {}", "it");
        };
        let lines = written(Line::default(), events);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines, written(Format::default(), events));
    }

    #[test]
    fn no_terminal_obeys_what_is_in_a_line() {
        let lines = written(Line::default(), || info!(cause = %"\x1b[2Jgone\nINFO forged", user = "\x07", "\u{9b}x"));
        let target = module_path!();
        let expected = format!("  INFO {target}: \\u{{9b}}x cause=\\u{{1b}}[2Jgone\\nINFO forged user=\"\\u{{7}}\"\n");
        assert_eq!(lines, [expected]);
    }
}
