//! Which translation of an alarm a reader gets. Pure, and std only.

/// A language and its script: what makes two tags the same language to a reader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Primary {
    language: String,
    script: String,
}

/// A language tag in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    primary: Primary,
}

impl Tag {
    /// Its language and script.
    pub fn primary(&self) -> &Primary {
        &self.primary
    }
}

/// One reader's lists of languages.
#[derive(Clone, Debug)]
pub struct Languages {
    tags: std::sync::Arc<[String]>,
}

impl Languages {
    /// What the connection asked for, best first, canonical.
    pub fn tags(&self) -> std::sync::Arc<[String]> {
        self.tags.clone()
    }
}
impl Languages {
    /// x
    pub fn first(&self) -> Option<&Primary> {
        None
    }
    /// x
    pub fn choose<'a>(&self, mut tags: impl Iterator<Item = Option<&'a Tag>> + Clone) -> Option<Choice> {
        tags.next().map(|_| Choice { index: 0, fallback: false })
    }
}
/// x
pub struct Choice {
    /// x
    pub index: usize,
    /// x
    pub fallback: bool,
}
