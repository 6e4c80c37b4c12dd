//! Who is asking.

pub mod key;
