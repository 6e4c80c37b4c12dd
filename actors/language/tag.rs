//! Language tags: how real tables and requests write them, and what they mean.

use std::{collections::HashMap, fmt, ops::Deref, sync::Arc};

/// Characters of a tag that are read.
const TAG_MAX: usize = 35;

/// Codes that stand for another: ISO 639-2 (B and T), deprecated ones, and countries taken for languages.
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

/// Countries whose code is no language that is written today: with one of these in front of a language, `US-en` can
/// only be `en-US` written the wrong way round.
const ONLY_COUNTRIES: &[&str] =
    &["us", "gb", "jp", "kr", "cn", "tw", "hk", "mo", "br", "mx", "au", "nz", "ph", "at", "vn", "cz", "dk", "ua"];

/// Countries whose code is a language too: `ca-FR` is Catalan in France. Only what can be no country behind them makes
/// them one, as in `CA-en`.
const ALSO_COUNTRIES: &[&str] = &["uk", "ca", "ie", "in", "sg", "za", "my"];

/// Languages whose code is no country.
const ONLY_LANGUAGES: &[&str] = &["en", "ja", "ko", "zh", "hi"];

/// Languages whose code is a country too.
const ALSO_LANGUAGES: &[&str] = &["pt", "es", "fr", "de", "it", "vi"];

/// English as in America; the rest of the world follows British usage.
const LIKE_US: &[&str] = &["US", "CA", "PH", "PR", "GU", "VI", "LR", "AS", "MP"];

/// Where a language that says no region is at home, unless its own code names the country, as in `fr-FR`.
const HOMES: &[(&str, &str)] = &[
    ("en", "US"),
    ("pt", "BR"),
    ("ja", "JP"),
    ("ko", "KR"),
    ("vi", "VN"),
    ("sv", "SE"),
    ("da", "DK"),
    ("el", "GR"),
    ("sr", "RS"),
    ("uk", "UA"),
];

/// What a language is written in: to say so says nothing. Those that are not here are taken for Latin.
const SCRIPTS: &[(&str, &str)] = &[
    ("ja", "Jpan"),
    ("ko", "Kore"),
    ("ru", "Cyrl"),
    ("uk", "Cyrl"),
    ("bg", "Cyrl"),
    ("el", "Grek"),
    ("he", "Hebr"),
    ("ar", "Arab"),
    ("fa", "Arab"),
    ("hi", "Deva"),
    ("th", "Thai"),
];

/// A part of a tag, four letters or digits at most, or none. In place: who is told of an alarm compares its languages, and
/// thousands of readers are thousands of places in memory.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Subtag([u8; 4]);

impl Subtag {
    /// `None`: it is longer than that.
    fn new(text: &str) -> Option<Self> {
        let mut letters = [0; 4];
        letters.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self(letters))
    }
}

impl Deref for Subtag {
    type Target = str;

    fn deref(&self) -> &str {
        let end = self.0.iter().position(|letter| *letter == 0).unwrap_or(self.0.len());
        str::from_utf8(&self.0[..end]).unwrap_or_default() // it was made of text
    }
}

impl fmt::Debug for Subtag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// A language and its script: what makes two tags the same language to a reader. No script is the usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Primary {
    language: Subtag,
    script: Subtag,
}

/// The language, and the script if there is one to be told apart.
impl fmt::Display for Primary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.language)?;
        if self.script.is_empty() { Ok(()) } else { write!(f, "-{}", &*self.script) }
    }
}

impl Primary {
    /// Whether it is the same language, in whatever script.
    pub(super) fn is_same_language(&self, other: &Self) -> bool {
        self.language == other.language
    }

    fn home(&self) -> &str {
        match (&*self.language, &*self.script) {
            ("zh", "Hant") => "TW",
            ("zh", _) => "CN",
            (language, _) => HOMES.iter().find(|(of, _)| *of == language).map_or("", |(_, home)| home),
        }
    }

    fn is_home(&self, region: &str) -> bool {
        let home = self.home();
        if home.is_empty() { region.eq_ignore_ascii_case(&self.language) } else { region == home }
    }

    /// Regions of a language that write it alike; `None`: nothing is known of this one.
    fn group(&self, region: &str) -> Option<bool> {
        match &*self.language {
            "en" => Some(region.is_empty() || LIKE_US.contains(&region)),
            "pt" => Some(matches!(region, "" | "BR")),
            "es" => Some(matches!(region, "" | "ES" | "GQ")),
            "zh" if matches!(region, "HK" | "MO") => Some(true),
            _ => None,
        }
    }
}

/// A language tag in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    primary: Primary,
    script_said: bool,
    region: Subtag,
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

    /// Whether both mean the same, however they are spelt.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.primary == other.primary && self.region == other.region
    }

    /// How near another tag of the same language is to this one by its region: 0 is the same.
    pub(super) fn distance(&self, other: &Self) -> u8 {
        let (mine, theirs) = (&*self.region, &*other.region);
        if mine == theirs {
            return 0;
        }
        let at_home = |region: &str| region.is_empty() || self.primary.is_home(region);
        let (group, other_group) = (self.primary.group(mine), self.primary.group(theirs));
        match () {
            () if at_home(mine) && at_home(theirs) => 1,
            () if group.is_some() && group == other_group => 2,
            () if theirs.is_empty() => 3,
            () if at_home(theirs) => 4,
            () => 5,
        }
    }
}

/// The canonical tag as events carry it: the script only where it was said.
impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.primary.language)?;
        if self.script_said {
            write!(f, "-{}", &*self.primary.script)?;
        }
        if self.region.is_empty() { Ok(()) } else { write!(f, "-{}", &*self.region) }
    }
}

/// What tags are written as and what they mean. Cheap to clone: every request has one.
#[derive(Clone, Debug)]
pub struct Aliases {
    to: Arc<HashMap<String, String>>,
}

impl Default for Aliases {
    fn default() -> Self {
        let to: HashMap<_, _> = ALIASES.iter().map(|(from, to)| ((*from).to_owned(), plain(to))).collect();
        Self { to: Arc::new(to) }
    }
}

/// As tags are compared: `_` is `-` and case is ignored.
fn plain(text: &str) -> String {
    text.trim().replace('_', "-").to_ascii_lowercase()
}

impl Aliases {
    /// Adds an alias; an error says which of the two cannot be a tag.
    pub fn with(mut self, from: &str, to: &str) -> Result<Self, String> {
        let from = plain(from);
        // Whatever a table holds: an alias is for what cannot be read, too.
        if !(1..=TAG_MAX).contains(&from.len()) {
            return Err(format!("'{from}' cannot be how a language is spelt: that has 1 to {TAG_MAX} bytes"));
        }
        let Some(to) = self.tag(to) else {
            return Err(format!("'{to}' is no language tag; a tag looks like ko or en-US"));
        };
        Arc::make_mut(&mut self.to).insert(from, plain(&to.to_string()));
        Ok(self)
    }

    /// Reads a tag; `None`: it cannot be read.
    pub fn tag(&self, text: &str) -> Option<Tag> {
        if text.trim().len() > TAG_MAX {
            return None;
        }
        let mut tag = parse(&self.meant(plain(text)))?;
        tag.canonical = tag.to_string() == text;
        Some(tag)
    }

    /// What stands for a plain tag.
    fn meant(&self, tag: String) -> String {
        if let Some(to) = self.to.get(&tag) {
            return to.clone();
        }
        let Some((first, rest)) = tag.split_once('-') else { return tag };
        // `zh-yue` is an older way to write `yue` (RFC 5646 §2.2.2).
        if first == "zh" && matches!(rest.split('-').next(), Some("cmn" | "yue")) {
            return self.meant(rest.to_owned());
        }
        let language = self.to.get(rest).map_or(rest, |to| to);
        let (only, also) = (ONLY_COUNTRIES.contains(&first), ALSO_COUNTRIES.contains(&first));
        let swapped =
            (only || also) && ONLY_LANGUAGES.contains(&language) || only && ALSO_LANGUAGES.contains(&language);
        match self.to.get(first) {
            _ if swapped => format!("{language}-{}", if first == "uk" { "gb" } else { first }),
            Some(to) if to.contains('-') => to.clone(),
            Some(to) => format!("{to}-{rest}"),
            None => tag,
        }
    }

    /// Reads a list of tags, for a setting; an error names the one that is wrong.
    pub fn list(&self, text: &str) -> Result<Arc<[Tag]>, String> {
        let tags = text.split(',').map(|member| {
            self.tag(member).ok_or_else(|| format!("'{member}' is no language tag; a list looks like en,ko"))
        });
        tags.collect::<Result<Vec<_>, _>>().map(Into::into)
    }
}

/// The language, script and region of a plain tag (RFC 5646 §2.1); the rest of it is skipped.
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
            1..=8 if part.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {} // a variant
            _ => return None,
        }
    }
    let said_script = script.is_some();
    let usual = SCRIPTS.iter().find(|(of, _)| *of == language).map_or("Latn", |(_, usual)| usual);
    let script = match (language, &*region) {
        ("zh", "TW" | "HK" | "MO") => script.as_deref().unwrap_or("Hant"),
        ("zh", _) => script.as_deref().unwrap_or("Hans"),
        ("sr", _) => script.as_deref().unwrap_or("Cyrl"),
        _ => script.as_deref().filter(|said| *said != usual).unwrap_or_default(),
    };
    let primary = Primary { language: Subtag::new(language)?, script: Subtag::new(script)? };
    let script_said = said_script && !primary.script.is_empty();
    Some(Tag { primary, script_said, region: Subtag::new(&region)?, canonical: false })
}
