//! alarm-hub: from a row in SQLite to the browser, in the reader's language.
