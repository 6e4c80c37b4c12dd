//! Who may own a user's stream.

use uuid::Uuid;

/// Names one deliberate opening of a user's stream: a UUID v7, ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim(pub Uuid);
