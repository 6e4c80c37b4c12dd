//! Which translation of an alarm a reader gets: parse and choose. Pure, and std only.
//!
//! Ranges are read as RFC 9110 §12.5.4 writes them, but leniently: what cannot be read is skipped, never an error.
//! The first range (by falling q) that has a translation of its language and script wins, and among those the nearest
//! region; then the same language in another script; then `*`, which means the hub's default; then the next list.

mod tag;
#[cfg(test)]
mod tests;

use std::{cmp::Reverse, sync::Arc};

pub use tag::{Aliases, Primary, Tag};

/// Members of a list that are read, and bytes of it.
const MEMBERS_MAX: usize = 32;
const LIST_MAX: usize = 4096;

/// One reader's lists of languages: `?lang=`, `Accept-Language`, the hub's default. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Languages {
    lists: Arc<Lists>,
    tags: Arc<[String]>,
}

#[derive(Debug)]
struct Lists {
    own: [List; 2],
    default: Arc<[Tag]>,
}

/// What a reader said in one place.
#[derive(Debug, Default)]
struct List {
    /// By falling q, equal ones in their order.
    ranges: Vec<Tag>,
    /// Whether there is a `*` among them.
    any: bool,
    /// Those with `q=0`, of this list and of the one before it.
    refused: Vec<Tag>,
}

/// Which translation was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its place among those that were there.
    pub index: usize,
    /// It is in none of the languages that the reader named.
    pub fallback: bool,
}

impl Languages {
    /// Reads the value of `?lang=` and the lines of `Accept-Language`; `default` comes after them.
    pub fn new(query: Option<&[u8]>, headers: &[&[u8]], default: Arc<[Tag]>, aliases: &Aliases) -> Self {
        let mut tags: Vec<String> = Vec::new();
        let query = List::read(query.unwrap_or_default(), aliases, Vec::new(), &mut tags);
        let header = List::read(&headers.join(&b","[..]), aliases, query.refused.clone(), &mut tags);
        if tags.is_empty() {
            tags = default.iter().map(Tag::to_string).collect();
        }
        Self { lists: Arc::new(Lists { own: [query, header], default }), tags: tags.into() }
    }

    /// The languages asked for, best first, canonical; the default ones if none was.
    pub fn tags(&self) -> Arc<[String]> {
        self.tags.clone()
    }

    /// The language that the reader would like best.
    pub fn first(&self) -> Option<&Primary> {
        let own = self.lists.own.iter().find(|list| list.any || !list.ranges.is_empty());
        own.and_then(|list| list.ranges.first()).or_else(|| self.lists.default.first()).map(Tag::primary)
    }

    /// Chooses among translations; a `None` is one whose tag cannot be read. `None` only if there are none.
    pub fn choose<'a>(&self, tags: impl Iterator<Item = Option<&'a Tag>> + Clone) -> Option<Choice> {
        let Lists { own, default } = &*self.lists;
        let readable = tags.clone().enumerate().filter_map(|(index, tag)| Some((index, tag?)));
        let names_something = own.iter().any(|list| !list.ranges.is_empty());
        for list in own {
            let allowed = readable.clone().filter(|(_, tag)| list.allows(tag));
            if let Some(index) = best(&list.ranges, allowed.clone()) {
                return Some(Choice { index, fallback: false });
            }
            if list.any
                && let Some(index) = best(default, allowed)
            {
                return Some(Choice { index, fallback: names_something });
            }
        }
        let [_, last] = own;
        let allowed = readable.clone().filter(|(_, tag)| last.allows(tag));
        if let Some(index) = best(default, allowed.clone()) {
            return Some(Choice { index, fallback: names_something });
        }
        // The last resort: what is not refused, then what is, then what cannot be read.
        let any = allowed.chain(readable).map(|(index, _)| index).next();
        any.or_else(|| tags.clone().next().map(|_| 0)).map(|index| Choice { index, fallback: true })
    }
}

/// The place of the translation that serves these ranges best.
fn best<'a>(ranges: &[Tag], translations: impl Iterator<Item = (usize, &'a Tag)> + Clone) -> Option<usize> {
    let nearest = |range: &Tag, fits: fn(&Primary, &Primary) -> bool| {
        let fitting = translations.clone().filter(|(_, tag)| fits(range.primary(), tag.primary()));
        // What is equally near may still be asked for by name, further on.
        let named = |tag: &Tag| ranges.iter().position(|range| range.is_same_as(tag)).unwrap_or(ranges.len());
        let nearest = fitting.min_by_key(|(_, tag)| (range.distance(tag), named(tag), !tag.is_canonical()));
        nearest.map(|(index, _)| index)
    };
    let in_its_script = ranges.iter().find_map(|range| nearest(range, Primary::eq));
    in_its_script.or_else(|| ranges.iter().find_map(|range| nearest(range, Primary::is_same_language)))
}

impl List {
    /// Reads a list; what it asks for and `tags` lacks is added to `tags`.
    fn read(text: &[u8], aliases: &Aliases, refused: Vec<Tag>, tags: &mut Vec<String>) -> Self {
        let cut = text.len() > LIST_MAX;
        let mut text = &text[..text.len().min(LIST_MAX)];
        if cut {
            text = text.rsplitn(2, |byte| *byte == b',').last().unwrap_or_default(); // the last one is in two
        }
        let text: String = text.iter().filter(|byte| byte.is_ascii()).map(|byte| char::from(*byte)).collect();
        let mut list = Self { refused, ..Self::default() };
        let mut ranges: Vec<(u16, Option<Tag>)> = Vec::new();
        for member in text.split(',').filter(|member| !member.trim().is_empty()).take(MEMBERS_MAX) {
            let (range, parameters) = member.split_once(';').unwrap_or((member, ""));
            let (range, quality) = (range.trim(), quality(parameters));
            let tag = aliases.tag(range);
            match (quality, tag) {
                (Some(0), Some(tag)) => list.refused.push(tag),
                (Some(0) | None, _) => {}
                (Some(quality), None) if range == "*" => ranges.push((quality, None)),
                (Some(_), None) => {}
                (Some(quality), tag) => ranges.push((quality, tag)),
            }
        }
        ranges.sort_by_key(|(quality, _)| Reverse(*quality));
        for (_, range) in ranges {
            let tag = range.as_ref().map_or_else(|| "*".to_owned(), Tag::to_string);
            if !tags.contains(&tag) {
                tags.push(tag);
            }
            list.any |= range.is_none();
            list.ranges.extend(range);
        }
        list
    }

    fn allows(&self, tag: &Tag) -> bool {
        !self.refused.iter().any(|no| no.is_same_as(tag))
    }
}

/// The weight that the parameters of a range say, in thousandths; `None`: it is none.
fn quality(parameters: &str) -> Option<u16> {
    let mut quality = Some(1000);
    for parameter in parameters.split(';') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.trim().eq_ignore_ascii_case("q") {
            quality = thousandths(value.trim());
        }
    }
    quality
}

/// A qvalue (RFC 9110 §12.4.2) in thousandths.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: u16 = match whole {
        "0" => 0,
        "1" => 1000,
        _ => return None,
    };
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction = format!("{fraction:0<3}").parse::<u16>().ok()?;
    (whole + fraction <= 1000).then_some(whole + fraction)
}
