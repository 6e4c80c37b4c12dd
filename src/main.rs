//! The alarm-hub command.

fn main() {}
