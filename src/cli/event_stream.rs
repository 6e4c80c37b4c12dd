//! An event stream as it comes in, piece by piece (WHATWG HTML §9.2.6). Pure.
//!
//! Its own because the crates that do it either reconnect by rules of their own, which are not those of the hub, or
//! have not been touched for years; and because an event here has a largest size.

/// Bytes of one event, at most: a hub's text has 64 KiB, six times as much when every letter of it is escaped.
const EVENT_MAX: usize = 1 << 20;

/// An event that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What happened; `message` if the stream does not say.
    pub event: String,
    /// Its lines, joined by line feeds.
    pub data: String,
}

/// The event is larger than any that a hub sends.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// The state between two pieces.
#[derive(Debug, Default)]
pub struct EventStream {
    line: Vec<u8>,
    after_return: bool,
    begun: bool,
    event: String,
    data: String,
    id: Option<String>,
    last_id: String,
    retry: Option<u64>,
}

impl EventStream {
    /// Takes the next piece; what it completes is added to `messages`. An event that the stream breaks off is lost,
    /// as it must be: it comes again after a resume.
    ///
    /// # Errors
    /// If an event becomes larger than 1 MiB.
    pub fn feed(&mut self, piece: &[u8], messages: &mut Vec<Message>) -> Result<(), TooLarge> {
        for &byte in piece {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    messages.extend(self.take(&line));
                }
                _ => {
                    self.after_return = false;
                    self.line.push(byte);
                    if self.line.len() + self.data.len() > EVENT_MAX {
                        return Err(TooLarge);
                    }
                }
            }
        }
        Ok(())
    }

    /// What a resume says it has seen; empty: nothing.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// How long the stream asks to wait before a resume, in milliseconds.
    pub fn retry(&self) -> Option<u64> {
        self.retry
    }

    fn take(&mut self, line: &[u8]) -> Option<Message> {
        let first = !std::mem::replace(&mut self.begun, true);
        let line = if first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        if line.is_empty() {
            return self.dispatch();
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().or(self.retry);
            }
            _ => {} // a comment, or a field of the future
        }
        None
    }

    fn dispatch(&mut self) -> Option<Message> {
        // The position moves even if the block has no data.
        if let Some(id) = self.id.take() {
            self.last_id = id;
        }
        let (event, mut data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
        data.pop()?;
        Some(Message { event: if event.is_empty() { "message".to_owned() } else { event }, data })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(stream: &[u8]) -> (Vec<(String, String)>, EventStream) {
        let (mut state, mut messages) = (EventStream::default(), Vec::new());
        state.feed(stream, &mut messages).unwrap();
        (messages.into_iter().map(|message| (message.event, message.data)).collect(), state)
    }

    fn events(stream: &str) -> Vec<(String, String)> {
        read(stream.as_bytes()).0
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(event, data)| ((*event).to_owned(), (*data).to_owned())).collect()
    }

    #[test]
    fn a_block_of_the_hub_is_an_event_a_position_and_a_pause() {
        let (events, state) = read(b"retry: 1730\nevent: hello\ndata: {}\nid: 0a.5.ff\n\n");
        assert_eq!(events, pairs(&[("hello", "{}")]));
        assert_eq!((state.last_id(), state.retry()), ("0a.5.ff", Some(1730)));
    }

    #[test]
    fn the_examples_of_the_standard_read_as_it_says() {
        assert_eq!(events("data: YHOO\ndata: +2\ndata: 10\n\n"), pairs(&[("message", "YHOO\n+2\n10")]));
        let (events_, state) =
            read(b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event");
        assert_eq!(events_, pairs(&[("message", "first event"), ("message", "second event")]));
        assert_eq!(state.last_id(), "", "an empty id takes the position back");
        assert_eq!(events("data\n\ndata\ndata\n\ndata:"), pairs(&[("message", ""), ("message", "\n")]));
        assert_eq!(events("data:test\n\ndata: test\n\n"), pairs(&[("message", "test"), ("message", "test")]));
    }

    #[test]
    fn every_line_end_and_a_byte_order_mark_are_understood() {
        let expected = pairs(&[("a", "1"), ("message", "2")]);
        for end in ["\n", "\r", "\r\n"] {
            let stream = format!("\u{feff}event: a{end}data: 1{end}{end}data: 2{end}{end}");
            assert_eq!(events(&stream), expected, "{end:?}");
        }
        assert_eq!(events("data: 1\n\n\u{feff}data: 2\n\n"), pairs(&[("message", "1")]), "only at the beginning");
    }

    #[test]
    fn a_block_without_data_moves_the_position_and_is_no_event() {
        let (events, state) = read(b"id: 7\nevent: x\n\ndata: 1\n\n");
        assert_eq!(events, pairs(&[("message", "1")]), "its name does not stick to the next event");
        assert_eq!(state.last_id(), "7");
    }

    #[test]
    fn a_position_counts_only_once_its_event_is_complete() {
        assert_eq!(read(b"data: 1\nid: 1\n\ndata: 2\nid: 2\n").1.last_id(), "1");
    }

    #[test]
    fn what_is_malformed_is_passed_over() {
        let (events, state) = read(b"id: a\0b\nretry: 5s\nretry: \nnonsense: x\ndata: \xff\n\n");
        assert_eq!(events, pairs(&[("message", "\u{fffd}")]));
        assert_eq!((state.last_id(), state.retry()), ("", None));
    }

    #[test]
    fn an_event_without_an_end_does_not_fill_the_memory() {
        let mut state = EventStream::default();
        let piece = vec![b'x'; 300_000];
        let fed: Vec<_> = (0..4).map(|_| state.feed(&piece, &mut Vec::new())).collect();
        assert_eq!(fed, [Ok(()), Ok(()), Ok(()), Err(TooLarge)]);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_stream_is_cut_into_pieces(
            lines in prop::collection::vec("(event|data|id|retry|:)?:? ?[a-z0-9가]{0,4}(\n|\r|\r\n){1,2}", 0..12),
            size in 1_usize..9,
        ) {
            let stream = lines.concat();
            let (mut state, mut messages) = (EventStream::default(), Vec::new());
            for piece in stream.as_bytes().chunks(size) {
                state.feed(piece, &mut messages).unwrap();
            }
            let whole = read(stream.as_bytes());
            let pieces: Vec<_> = messages.into_iter().map(|message| (message.event, message.data)).collect();
            prop_assert_eq!(pieces, whole.0);
            prop_assert_eq!(state.last_id(), whole.1.last_id());
            prop_assert_eq!(state.retry(), whole.1.retry());
        }
    }
}
