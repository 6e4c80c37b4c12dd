//! Which translation of an alarm a reader gets: parse and choose. Pure, and std only.
//!
//! Ranges are read as RFC 9110 §12.5.4 writes them, but leniently: what cannot be read is skipped, never an error.
//! The first range (by falling q) that has a translation of its language and script wins, and among those the nearest
//! region; then the same language in another script; then `*`, which means the hub's default; then the next list.

use std::{cmp::Reverse, collections::HashMap, fmt, sync::Arc};

/// Members of one list that are read, characters of a member, bytes of all lists together.
const MEMBERS_MAX: usize = 32;
const MEMBER_MAX: usize = 35;
const BYTES_MAX: usize = 4096;

/// What real tables and requests write, and what it means. ISO 639-2 (B and T), deprecated codes and plain mistakes.
const ALIASES: &[(&str, &str)] = &[
    ("jp", "ja"),
    ("kr", "ko"),
    ("cn", "zh"),
    ("tw", "zh-TW"),
    ("ua", "uk"),
    ("cz", "cs"),
    ("dk", "da"),
    ("gr", "el"),
    ("eng", "en"),
    ("kor", "ko"),
    ("jpn", "ja"),
    ("zho", "zh"),
    ("chi", "zh"),
    ("cmn", "zh"),
    ("yue", "zh-HK"),
    ("deu", "de"),
    ("ger", "de"),
    ("fra", "fr"),
    ("fre", "fr"),
    ("spa", "es"),
    ("por", "pt"),
    ("ita", "it"),
    ("nld", "nl"),
    ("dut", "nl"),
    ("rus", "ru"),
    ("vie", "vi"),
    ("tha", "th"),
    ("ind", "id"),
    ("msa", "ms"),
    ("may", "ms"),
    ("ara", "ar"),
    ("tur", "tr"),
    ("pol", "pl"),
    ("ukr", "uk"),
    ("ces", "cs"),
    ("cze", "cs"),
    ("swe", "sv"),
    ("dan", "da"),
    ("fin", "fi"),
    ("nor", "no"),
    ("hun", "hu"),
    ("ell", "el"),
    ("gre", "el"),
    ("heb", "he"),
    ("hin", "hi"),
    ("srp", "sr"),
    ("ron", "ro"),
    ("rum", "ro"),
    ("iw", "he"),
    ("in", "id"),
    ("ji", "yi"),
    ("nb", "no"),
];

/// Regions that are no language of their own: `US-en` is `en-US` written the wrong way round.
const SWAPPED: &[&str] = &[
    "us", "gb", "uk", "jp", "kr", "cn", "tw", "hk", "de", "fr", "es", "br", "pt", "ca", "au", "mx", "it", "nl", "ru",
    "vn", "th", "id", "in",
];

/// English as in America; the rest of the world follows British usage.
const LIKE_US: &[&str] = &["US", "CA", "PH", "PR", "GU", "VI", "LR", "AS", "MP"];

/// A language and its script: what makes two tags the same language to a reader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Primary {
    language: Box<str>,
    script: Box<str>,
}

/// The language, and the script if there is one to be told apart.
impl fmt::Display for Primary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.language)?;
        if self.script.is_empty() { Ok(()) } else { write!(f, "-{}", self.script) }
    }
}

/// A language tag in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    primary: Primary,
    script_said: bool,
    region: Box<str>,
    canonical: bool,
}

impl Tag {
    /// Its language and script.
    pub fn primary(&self) -> &Primary {
        &self.primary
    }

    /// Whether it was spelt canonically.
    pub fn is_canonical(&self) -> bool {
        self.canonical
    }

    fn is_same_as(&self, other: &Self) -> bool {
        self.primary == other.primary && self.region == other.region
    }

    /// How near `region` is to the region of this tag, which has the same language: 0 is the same.
    fn distance(&self, region: &str) -> u8 {
        let group = |region: &str| match (&*self.primary.language, region) {
            ("en", "") => 0,
            ("en", region) => 1 + u8::from(!LIKE_US.contains(&region)),
            ("pt", "" | "BR") => 0,
            ("es", "" | "ES" | "GQ") => 0,
            ("pt" | "es", _) => 1,
            ("zh", "HK" | "MO") => 1,
            _ => 0,
        };
        match (&*self.region, region) {
            (mine, theirs) if mine == theirs => 0,
            (mine, theirs) if !mine.is_empty() && !theirs.is_empty() && group(mine) == group(theirs) => 1,
            (_, "") => 2,
            ("", theirs) if matches!((&*self.primary.language, theirs), ("en", "US") | ("pt", "BR") | ("es", "ES")) => {
                1
            }
            _ => 3,
        }
    }
}

/// The canonical tag as events carry it: the script only where it was said.
impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.primary.language)?;
        if self.script_said {
            write!(f, "-{}", self.primary.script)?;
        }
        if self.region.is_empty() { Ok(()) } else { write!(f, "-{}", self.region) }
    }
}

/// What tags are written as and what they mean.
#[derive(Clone, Debug)]
pub struct Aliases {
    to: HashMap<String, String>,
}

impl Default for Aliases {
    fn default() -> Self {
        Self { to: ALIASES.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect() }
    }
}

impl Aliases {
    /// Adds an alias; an error says which of the two cannot be a tag.
    pub fn with(mut self, from: &str, to: &str) -> Result<Self, String> {
        let from = from.trim().replace('_', "-").to_ascii_lowercase();
        if from.is_empty() || !from.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(format!("'{from}' cannot be a language tag"));
        }
        if self.tag(to).is_none() {
            return Err(format!("'{to}' is no language tag; a tag looks like ko or en-US"));
        }
        self.to.insert(from, to.trim().to_owned());
        Ok(self)
    }

    /// Reads a tag; `None`: it cannot be read.
    pub fn tag(&self, text: &str) -> Option<Tag> {
        let said = text.trim();
        if said.is_empty() || said.len() > MEMBER_MAX {
            return None;
        }
        let plain = said.replace('_', "-").to_ascii_lowercase();
        let mut tag = match self.to.get(&plain) {
            Some(to) => parse(&to.replace('_', "-").to_ascii_lowercase())?,
            None => {
                let (first, rest) = plain.split_once('-').map_or((&*plain, None), |(first, rest)| (first, Some(rest)));
                match (self.to.get(first), rest) {
                    _ if rest.is_some_and(|rest| self.is_swapped(first, rest)) => {
                        let language = rest.unwrap_or_default();
                        let language = self.to.get(language).map_or(language, |to| to);
                        parse(&format!("{language}-{}", if first == "uk" { "gb" } else { first }))?
                    }
                    (Some(to), Some(rest)) if !to.contains('-') => parse(&format!("{to}-{rest}").to_ascii_lowercase())?,
                    (Some(to), Some(_)) => parse(&to.to_ascii_lowercase())?,
                    _ => parse(&plain)?,
                }
            }
        };
        tag.canonical = tag.to_string() == text;
        Some(tag)
    }

    fn is_swapped(&self, first: &str, rest: &str) -> bool {
        let is_language = matches!(rest.len(), 2 | 3) && rest.bytes().all(|byte| byte.is_ascii_lowercase());
        // `de-at` and `fr-ca` are right as they are: only what cannot be meant otherwise is swapped.
        let plainly_region = ["us", "gb", "uk", "jp", "kr", "cn", "tw", "hk", "br", "mx", "au", "vn"].contains(&first);
        is_language
            && SWAPPED.contains(&first)
            && (plainly_region || first == rest)
            && ["en", "ja", "ko", "zh", "pt", "es", "vi", "fr", "de"].contains(&self.to.get(rest).map_or(rest, |to| to))
    }

    /// Reads a list of tags, for a setting; an error names the one that is wrong.
    pub fn list(&self, text: &str) -> Result<Arc<[Tag]>, String> {
        let tags = text.split(',').map(|member| {
            self.tag(member).ok_or_else(|| format!("'{member}' is no language tag; a list looks like en,ko"))
        });
        tags.collect::<Result<Vec<_>, _>>().map(Into::into)
    }
}

fn parse(plain: &str) -> Option<Tag> {
    let mut parts = plain.split('-');
    let language = parts.next().filter(|part| matches!(part.len(), 2 | 3))?;
    if !language.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    let (mut script, mut region) = (None, String::new());
    for part in parts {
        let letters = part.bytes().all(|byte| byte.is_ascii_lowercase());
        match part.len() {
            1 => break, // an extension or a private use
            4 if letters && script.is_none() && region.is_empty() => {
                script = Some(part[..1].to_ascii_uppercase() + &part[1..]);
            }
            2 if letters && region.is_empty() => region = part.to_ascii_uppercase(),
            3 if part.bytes().all(|byte| byte.is_ascii_digit()) && region.is_empty() => region = part.to_owned(),
            0 => return None,
            _ if part.bytes().all(|byte| byte.is_ascii_alphanumeric()) && part.len() <= 8 => {} // a variant
            _ => return None,
        }
    }
    let implied = match (language, &*region) {
        ("zh", "TW" | "HK" | "MO") => "Hant",
        ("zh", _) => "Hans",
        ("sr", _) => "Cyrl",
        _ => "",
    };
    let script_said = script.is_some();
    let primary = Primary { language: language.into(), script: script.as_deref().unwrap_or(implied).into() };
    Some(Tag { primary, script_said, region: region.into(), canonical: false })
}

#[derive(Debug)]
enum Range {
    Any,
    Named(Tag),
}

/// One reader's lists of languages: `?lang=`, `Accept-Language`, the hub's default. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Languages {
    lists: Arc<Lists>,
    tags: Arc<[String]>,
}

#[derive(Debug)]
struct Lists {
    own: Vec<Vec<Range>>,
    refused: Vec<Tag>,
    default: Arc<[Tag]>,
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
        let mut refused = Vec::new();
        let joined = headers.join(&b","[..]);
        let own = [query.unwrap_or_default(), &joined].map(|text| ranges(text, aliases, &mut refused)).into();
        let lists = Lists { own, refused, default };
        let mut tags: Vec<String> = Vec::new();
        for range in lists.own.iter().flatten() {
            let tag = match range {
                Range::Any => "*".to_owned(),
                Range::Named(tag) => tag.to_string(),
            };
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        if tags.is_empty() {
            tags = lists.default.iter().map(Tag::to_string).collect();
        }
        Self { lists: Arc::new(lists), tags: tags.into() }
    }

    /// The languages asked for, best first, canonical; the default ones if none was.
    pub fn tags(&self) -> Arc<[String]> {
        self.tags.clone()
    }

    /// The language that the reader would like best.
    pub fn first(&self) -> Option<&Primary> {
        match self.lists.own.iter().find_map(|list| list.first()) {
            Some(Range::Named(tag)) => Some(&tag.primary),
            Some(Range::Any) => None,
            None => self.lists.default.first().map(|tag| &tag.primary),
        }
    }

    /// Chooses among translations; a `None` is one whose tag cannot be read. `None` only if there are none.
    pub fn choose<'a>(&self, tags: impl Iterator<Item = Option<&'a Tag>> + Clone) -> Option<Choice> {
        let readable = tags.clone().enumerate().filter_map(|(index, tag)| Some((index, tag?)));
        let allowed = readable.clone().filter(|(_, tag)| !self.lists.refused.iter().any(|no| no.is_same_as(tag)));
        let nearest = |range: &Tag| {
            let same = allowed.clone().filter(|(_, tag)| tag.primary == range.primary);
            same.min_by_key(|(_, tag)| (range.distance(&tag.region), !tag.canonical)).map(|(index, _)| index)
        };
        let other_script = |range: &Tag| {
            let same = allowed.clone().filter(|(_, tag)| tag.primary.language == range.primary.language);
            same.min_by_key(|(_, tag)| (range.distance(&tag.region), !tag.canonical)).map(|(index, _)| index)
        };
        let default = || {
            let list = self.lists.default.iter();
            list.clone().find_map(nearest).or_else(|| list.clone().find_map(other_script))
        };
        for list in &self.lists.own {
            let named = list.iter().filter_map(|range| match range {
                Range::Named(tag) => Some(tag),
                Range::Any => None,
            });
            let own = named.clone().find_map(nearest).or_else(|| named.clone().find_map(other_script));
            if let Some(index) = own {
                return Some(Choice { index, fallback: false });
            }
            if list.iter().any(|range| matches!(range, Range::Any))
                && let Some(index) = default()
            {
                return Some(Choice { index, fallback: !self.is_default(list) });
            }
        }
        let asked_for_nothing = self.lists.own.iter().all(Vec::is_empty);
        if let Some(index) = default() {
            return Some(Choice { index, fallback: !asked_for_nothing });
        }
        // The last resort: what is not refused, then what is, then what cannot be read.
        let any = allowed.clone().next().or_else(|| readable.clone().next()).map(|(index, _)| index);
        any.or_else(|| tags.clone().next().map(|_| 0)).map(|index| Choice { index, fallback: true })
    }

    /// Whether the reader named no language at all in this list, so that the default is what was asked for.
    fn is_default(&self, list: &[Range]) -> bool {
        list.iter().all(|range| matches!(range, Range::Any))
    }
}

/// The ranges of one list by falling q, equal ones in their order; those with `q=0` go to `refused`.
fn ranges(text: &[u8], aliases: &Aliases, refused: &mut Vec<Tag>) -> Vec<Range> {
    let text: String =
        text.iter().take(BYTES_MAX).filter(|byte| byte.is_ascii()).map(|byte| char::from(*byte)).collect();
    let mut ranges: Vec<(u16, Range)> = Vec::new();
    for member in text.split(',').filter(|member| !member.trim().is_empty()).take(MEMBERS_MAX) {
        let mut parts = member.split(';');
        let tag = parts.next().unwrap_or_default().trim();
        if tag.len() > MEMBER_MAX {
            continue;
        }
        let mut quality = Some(1000);
        for parameter in parts {
            if let Some((name, value)) = parameter.split_once('=')
                && name.trim().eq_ignore_ascii_case("q")
            {
                quality = thousandths(value.trim());
            }
        }
        let range = if tag == "*" { Some(Range::Any) } else { aliases.tag(tag).map(Range::Named) };
        match (range, quality) {
            (Some(Range::Named(tag)), Some(0)) => refused.push(tag),
            (Some(range), Some(quality)) if quality > 0 => ranges.push((quality, range)),
            _ => {}
        }
    }
    ranges.sort_by_key(|(quality, _)| Reverse(*quality));
    ranges.into_iter().map(|(_, range)| range).collect()
}

/// A qvalue (RFC 9110 §12.4.2) in thousandths; `None`: it is none.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `(accept-language, translations, the one that is chosen, whether it is a fallback, why)`; the default is `en`.
    const TABLE: &[(&str, &str, &str, bool, &str)] = &[
        ("en-US", "ko US-en ja", "US-en", false, "the normative example: a swapped tag is English"),
        ("ja-JP,ja;q=0.9", "ko US-en ja", "ja", false, "the normative example"),
        ("ko-KR", "ko US-en ja", "ko", false, "the normative example"),
        ("ja", "ko jp", "jp", false, "an alias of the table"),
        ("jp", "ko ja", "ja", false, "an alias of the request"),
        ("ja", "jp ja", "ja", false, "the canonical spelling wins"),
        ("kor", "ko en", "ko", false, "ISO 639-2"),
        ("cmn", "zh-TW zh-CN", "zh-CN", false, "Mandarin without a region is in simplified script"),
        ("zh-HK", "zh-CN zh-TW", "zh-TW", false, "Hong Kong reads traditional script"),
        ("zh-TW", "zh en", "zh", false, "the same language in another script before the default"),
        ("zh-Hant", "zh zh-MO", "zh-MO", false, "Macau writes traditional script"),
        ("sr-Latn", "sr sr-Latn", "sr-Latn", false, "a script that is said"),
        ("sr", "sr-Latn sr", "sr", false, "Serbian is Cyrillic unless it says otherwise"),
        ("en-CA", "en-GB en-US", "en-US", false, "Canada is near the United States"),
        ("en-AU", "en-US en-GB", "en-GB", false, "Australia is near Britain"),
        ("pt-AO", "pt-BR pt-PT", "pt-PT", false, "Angola is near Portugal"),
        ("en-GB,ko;q=0.5", "ko en-US", "en-US", false, "a near region of a better language (Werkzeug takes ko)"),
        ("kok", "ko en", "en", true, "Konkani is not Korean"),
        ("fr", "ko en", "en", true, "the default"),
        ("fr", "ko ja", "ko", true, "the last resort is the first there is"),
        ("en;q=0, ko;q=0.1", "en ko", "ko", false, "refused"),
        ("en;q=0", "en", "en", true, "an alarm is always delivered"),
        ("fr;q=0.5, de;q=0.9", "fr de", "de", false, "by falling q"),
        ("fr,de", "de fr", "fr", false, "equal q: the reader's order"),
        ("ko;q=2, ja", "ko ja", "ja", false, "a bad q drops the member"),
        ("ko;q=0.5000, ja;q=0.1", "ko ja", "ja", false, "a q has three decimals at most"),
        ("*", "ko en", "en", false, "anything means the default"),
        ("fr, *;q=0.1", "ko en", "en", true, "a star after a language that is not there"),
        ("", "ko en", "en", false, "nobody asked for anything"),
        ("KO_kr", "ko en", "ko", false, "case and underscores are forgiven"),
    ];

    fn choose(header: &[u8], translations: &str) -> (String, bool) {
        let aliases = Aliases::default();
        let languages = Languages::new(None, &[header], aliases.list("en").unwrap(), &aliases);
        let names: Vec<&str> = translations.split(' ').collect();
        let tags: Vec<Option<Tag>> = names.iter().map(|name| aliases.tag(name)).collect();
        let choice = languages.choose(tags.iter().map(Option::as_ref)).unwrap();
        (names[choice.index].to_owned(), choice.fallback)
    }

    #[test]
    fn the_table_holds() {
        for (header, translations, chosen, fallback, why) in TABLE {
            let answer = choose(header.as_bytes(), translations);
            assert_eq!(answer, ((*chosen).to_owned(), *fallback), "{header} among {translations}: {why}");
        }
    }

    #[test]
    fn the_parameter_comes_before_the_header_and_falls_through_to_it() {
        let aliases = Aliases::default();
        let tags: Vec<Option<Tag>> = ["ko", "ja"].iter().map(|name| aliases.tag(name)).collect();
        let choose = |query: &[u8]| {
            let languages = Languages::new(Some(query), &[b"ja"], aliases.list("en").unwrap(), &aliases);
            languages.choose(tags.iter().map(Option::as_ref)).unwrap().index
        };
        assert_eq!(choose(b"ko"), 0);
        assert_eq!(choose(b"fr"), 1);
    }

    #[test]
    fn a_tag_that_cannot_be_read_is_a_last_resort() {
        assert_eq!(choose(b"ja", "\u{1f600} ko"), ("ko".to_owned(), true));
        assert_eq!(choose(b"ja", "\u{1f600}"), ("\u{1f600}".to_owned(), true));
    }

    #[test]
    fn no_header_is_an_error() {
        for header in [&b"\xff\xfe,ko"[..], &[b','; 9000], &[b'k'; 9000], b";;;q=,=,*;q=*"] {
            choose(header, "ko en");
        }
        assert_eq!(choose(b"\xff,ko", "en ko").0, "ko");
    }

    #[test]
    fn events_carry_the_canonical_tag() {
        let aliases = Aliases::default();
        for (said, canonical) in [
            ("US-en", "en-US"),
            ("jp", "ja"),
            (" ko ", "ko"),
            ("us_EN", "en-US"),
            ("zh-hant-tw", "zh-Hant-TW"),
            ("zh_tw", "zh-TW"),
            ("fr-ca", "fr-CA"),
        ] {
            assert_eq!(aliases.tag(said).unwrap().to_string(), canonical);
        }
        assert!(aliases.tag("").is_none() && aliases.tag("한국어").is_none());
    }
}
