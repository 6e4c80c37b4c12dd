//! What each kind of reader gets from each kind of table, and why. The default is `en` where nothing else is said.
//!
//! A row's third column is the translation that is chosen; `fallback` says that it is none of the reader's own. The
//! fourth is what Werkzeug 3.1 answers (`LanguageAccept.best_match`, the best-tested implementation that we know):
//! `=` if it says the same, or finds nothing where the reader gets a fallback; `none` if it finds nothing where there
//! is something. Where the two differ we hold that the reader is served better here, for one of these reasons:
//!
//! - It knows no aliases, no swapped tags, no implied scripts and no neighbours, and finds nothing or a worse one.
//! - It takes an exact match of a worse language before a near one of a better. Who reads `en-GB` reads `en-US`.
//! - Where two fit equally well it follows the table, which is in no order of its own; here it is the reader's order.
//! - Its `*` is any translation, also before one that is named; here it is the hub's default, after all that is named.
//! - It lets a general range bring back what a special one refused; RFC 9110 §12.4.2 calls `q=0` "not acceptable".
//! - It reads a bad `q` as 1; here the member is dropped, because who weighs is not known to want it most.

use proptest::prelude::*;

use super::*;

/// `(reader, table, gets, Werkzeug, why)`.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// The normative example: `US-en` is how real tables write it.
const EXAMPLE: &[Row] = &[
    ("en-US", "ko US-en ja", "US-en", "none", "a swapped tag is English"),
    ("en-US,en;q=0.9", "ko US-en ja", "US-en", "none", "what Chrome sends"),
    ("ja-JP,ja;q=0.9", "ko US-en ja", "ja", "=", "a range with a region takes the language without one"),
    ("ja", "ko US-en ja", "ja", "=", "the same tag"),
    ("ko-KR", "ko US-en ja", "ko", "=", "a range with a region takes the language without one"),
    ("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7", "ko US-en ja", "ko", "=", "what a Korean Chrome sends"),
    ("en-GB,en;q=0.9", "ko US-en ja", "US-en", "none", "any English before no English"),
    ("fr-FR,fr;q=0.9", "ko US-en ja", "fallback US-en", "=", "the default is en"),
    ("fr-FR,fr;q=0.9,en;q=0.8", "ko US-en ja", "US-en", "none", "English is the reader's own third choice"),
    ("de,ja;q=0.3,ko;q=0.4", "ko US-en ja", "ko", "=", "the better of two that are there"),
];

/// Weights (RFC 9110 §12.4.2).
const QUALITY: &[Row] = &[
    ("ko;q=0.5,ja;q=0.9", "ko ja", "ja", "=", "by falling q"),
    ("ja;q=0.9,ko;q=0.5", "ko ja", "ja", "=", "the order in the header does not matter"),
    ("ko;q=0.5,ja", "ko ja", "ja", "=", "no q is 1"),
    ("ko,ja", "ja ko", "ko", "ja", "equal q: the reader's order, not the table's"),
    ("ja,ko", "ja ko", "ja", "=", "equal q: the reader's order"),
    ("ko;q=0.5,ja;q=0.5", "ja ko", "ko", "ja", "equal q: the reader's order"),
    ("ko;q=0.500,ja;q=0.5", "ja ko", "ko", "ja", "0.500 is 0.5"),
    ("ko;q=0.001,ja;q=0.002", "ko ja", "ja", "=", "three decimals count"),
    ("ko;q=0.001", "ko en", "ko", "=", "the smallest q is not none"),
    ("ko;q=1,ja;q=1.000", "ja ko", "ko", "ja", "1.000 is 1"),
    ("ko;q=1.", "ko en", "ko", "none", "RFC 9110 allows a point with nothing behind it"),
    ("ko;q=0.,en", "ko en", "en", "=", "0. is 0: refused"),
    ("ko;q=2,ja", "ko ja", "ja", "=", "a q above 1 drops the member"),
    ("ko;q=1.001,ja", "ko ja", "ja", "=", "a q above 1 drops the member"),
    ("ko;q=-1,ja", "ko ja", "ja", "=", "a negative q drops the member"),
    ("ko;q=abc,ja", "ko ja", "ja", "=", "a q that is no number drops the member"),
    ("ko;q=,ja", "ko ja", "ja", "ko", "an empty q drops the member"),
    ("ko;q,ja", "ko ja", "ja", "ko", "a q without a value drops the member"),
    ("ko;q=.5,ja;q=0.1", "ko ja", "ja", "=", "a q begins with a digit"),
    ("ko;q=0.5000,ja;q=0.1", "ko ja", "ja", "ko", "a q has three decimals at most"),
    ("ko;q=0,5,ja;q=0.1", "ko ja", "ja", "=", "a decimal comma ends the member: q=0 refuses Korean"),
    ("ko;q=1e0,ja;q=0.5", "ko ja", "ja", "=", "an exponent is no q"),
    ("ko;q=NaN,ja;q=0.5", "ko ja", "ja", "=", "NaN is no q"),
    ("ko;q=\"0.9\",ja;q=0.5", "ko ja", "ja", "ko", "a quoted q is no q"),
    ("ko;q=2", "ko en", "en", "none", "a dropped member asks for nothing: no fallback"),
    ("ko; q=0.5, ja;q=0.4", "ja ko", "ko", "=", "blanks around parameters"),
    ("ko ; q = 0.5 ,ja;q=0.4", "ja ko", "ko", "=", "blanks everywhere"),
    ("ko;Q=0.4,ja;q=0.5", "ko ja", "ja", "=", "the name q has no case"),
    ("ko;level=1;q=0.4,ja;q=0.5", "ko ja", "ja", "=", "other parameters are skipped"),
    ("ko;level=1,ja;q=0.5", "ja ko", "ko", "ja", "other parameters are no q"),
    ("fr,de;q=0.9,ko;q=0.8", "ko en", "ko", "=", "the third choice before the default"),
    ("da,en-GB;q=0.8,en;q=0.7", "en-GB en da", "da", "=", "the example of RFC 9110 §12.5.4"),
    ("da,en-GB;q=0.8,en;q=0.7", "en en-GB", "en-GB", "=", "the example, without Danish"),
];

/// `q=0` refuses exactly that tag.
const REFUSAL: &[Row] = &[
    ("en;q=0,ko;q=0.1", "en ko", "ko", "=", "refused, and there is another"),
    ("ko;q=0.1,en;q=0", "en ko", "ko", "=", "wherever it stands"),
    ("en;q=0", "en ko", "fallback ko", "=", "the default was refused: another before it"),
    ("en;q=0", "en", "fallback en", "=", "an alarm is always delivered, in a refused language if there is no other"),
    ("en;q=0", "en en-GB", "en-GB", "none", "exactly that tag: British English is not refused"),
    ("en-GB;q=0,en", "en-GB en-AU", "en-AU", "en-GB", "exactly that tag"),
    ("en-GB;q=0,en;q=0.5", "en-GB ko", "fallback ko", "en-GB", "the only English was refused"),
    ("en-US;q=0,en", "US-en en-GB", "en-GB", "=", "a refusal means the tag, however it is spelt"),
    ("ja;q=0,ko", "jp ko", "ko", "=", "a refusal means the tag, however it is spelt"),
    ("jp;q=0,*", "ja en", "en", "ja", "an alias refuses what it stands for"),
    ("zh;q=0,zh-TW", "zh zh-TW", "zh-TW", "=", "the other script is another tag"),
    ("zh-Hans;q=0,zh", "zh ko", "fallback ko", "zh", "zh is zh-Hans, said or not"),
    ("ko,ko;q=0", "ko en", "fallback en", "ko", "refused and asked for in one list: refused"),
    ("ko;q=0.0,ja;q=0.1", "ko ja", "ja", "=", "0.0 is 0"),
    ("ko;q=0.000,ja;q=0.1", "ko ja", "ja", "=", "0.000 is 0"),
    ("fr,en;q=0", "en ja ko", "fallback ja", "=", "what is not refused, though nobody asked for it"),
    ("fr,en;q=0,ja;q=0", "en ja", "fallback en", "=", "everything was refused: the first"),
    ("*;q=0", "ko en", "en", "=", "nothing else than what was named, and nothing was: the default"),
    ("ko,*;q=0", "ja en", "fallback en", "=", "an alarm is always delivered"),
    ("en;q=0,*", "en ko", "fallback ko", "ko", "a star means the default, and that was refused"),
];

/// `*` means the default, after all that was named.
const STAR: &[Row] = &[
    ("*", "ko en", "en", "ko", "anything: the default"),
    ("*", "ko ja", "fallback ko", "ko", "anything, and the default is not there"),
    ("*;q=0.5", "ko en", "en", "ko", "anything"),
    ("fr,*;q=0.1", "ko en", "fallback en", "ko", "the reader's own language is not there"),
    ("ko,*;q=0.1", "ko en", "ko", "=", "a named language before the star"),
    ("ko,*", "ko en", "ko", "=", "also with equal q"),
    ("*,ko;q=0.5", "ko en", "ko", "en", "also with a lower q: the star is for what was not named"),
    ("*,ko;q=0.5", "ja en", "fallback en", "ja", "the star, as Korean is not there"),
    ("*-CH,ko", "en ko", "ko", "=", "an extended range (RFC 4647 §2.2) is no tag: skipped"),
    ("en-*,ko", "en ko", "en", "ko", "an extended range that names a language asks for it"),
];

/// The nearest region among those of the language.
const REGION: &[Row] = &[
    ("en-US", "en-GB en-US", "en-US", "=", "the same"),
    ("en-US", "en-GB en", "en", "=", "en is American unless it says otherwise"),
    ("en-US", "en-GB en-CA", "en-CA", "none", "Canada is near the United States"),
    ("en-US", "en-AU en-GB", "en-AU", "none", "none is near: the first"),
    ("en-CA", "en-GB en-US", "en-US", "none", "Canada is near the United States"),
    ("en-CA", "en-AU en", "en", "=", "en is American, which is near"),
    ("en-PH", "en-GB en-US", "en-US", "none", "the Philippines are near the United States"),
    ("en-PR", "en-GB en-US", "en-US", "none", "Puerto Rico is near the United States"),
    ("en-GB", "en-US en-GB", "en-GB", "=", "the same"),
    ("en-GB", "en en-AU", "en-AU", "en", "Australia is near Britain, en is not"),
    ("en-GB", "en en-US", "en", "=", "a language without a region before another region"),
    ("en-AU", "en-US en-GB", "en-GB", "none", "Australia is near Britain"),
    ("en-NZ", "en-US en-AU", "en-AU", "none", "New Zealand is near Australia"),
    ("en-IN", "en-US en-GB", "en-GB", "none", "India is near Britain"),
    ("en-IE", "en-CA en-ZA", "en-ZA", "none", "Ireland is nearer to South Africa than to Canada"),
    ("en-001", "en-US en-GB", "en-GB", "none", "world English (UN M.49) is near Britain"),
    ("en-150", "en en-GB", "en-GB", "en", "European English is near Britain"),
    ("en", "en-GB en-US", "en-US", "en-GB", "en is American unless it says otherwise"),
    ("en", "en-GB en-CA", "en-CA", "en-GB", "Canada is near the United States"),
    ("en", "en-GB", "en-GB", "=", "any region of the language"),
    ("pt-BR", "pt-PT pt-BR", "pt-BR", "=", "the same"),
    ("pt-BR", "pt-PT pt", "pt", "=", "pt is Brazilian unless it says otherwise"),
    ("pt-BR", "pt-PT en", "pt-PT", "none", "another region before another language"),
    ("pt-PT", "pt-BR pt-PT", "pt-PT", "=", "the same"),
    ("pt-PT", "pt pt-AO", "pt-AO", "pt", "Angola is near Portugal"),
    ("pt-PT", "pt pt-BR", "pt", "=", "a language without a region before another region"),
    ("pt-AO", "pt-BR pt-PT", "pt-PT", "none", "Angola is near Portugal"),
    ("pt-MZ", "pt-BR pt-PT", "pt-PT", "none", "Mozambique is near Portugal"),
    ("pt", "pt-PT pt-BR", "pt-BR", "pt-PT", "pt is Brazilian unless it says otherwise"),
    ("es-MX", "es-ES es-419", "es-419", "none", "Mexico is in Latin America (UN M.49)"),
    ("es-AR", "es-ES es-MX", "es-MX", "none", "Argentina is near Mexico"),
    ("es", "es-MX es-ES", "es-ES", "es-MX", "es is Spanish unless it says otherwise"),
    ("es-ES", "es-MX es", "es", "=", "es is at home in Spain"),
    ("fr-CA", "fr-BE fr", "fr", "=", "a language without a region before another region"),
    ("fr-CA", "fr-BE fr-FR", "fr-FR", "none", "the home of the language before another region"),
    ("fr", "fr-BE fr-FR", "fr-FR", "fr-BE", "the home of the language"),
    ("de-AT", "de-CH de", "de", "=", "a language without a region before another region"),
    ("de-AT", "de-CH de-DE", "de-DE", "none", "the home of the language before another region"),
    ("de", "de-AT de-DE", "de-DE", "de-AT", "the home of the language"),
    ("de-DE", "de-AT de", "de", "=", "de is at home in Germany"),
    ("ko", "ko-KP ko-KR", "ko-KR", "ko-KP", "the home of the language"),
    ("ja", "ja-BR ja-JP", "ja-JP", "ja-BR", "the home of the language"),
    ("sv", "sv-FI sv-SE", "sv-SE", "sv-FI", "the home of the language"),
    ("en-GB,ko;q=0.5", "ko en-US", "en-US", "ko", "a far region of a better language before a worse language"),
    ("pt-BR,en;q=0.1", "en pt-PT", "pt-PT", "en", "a far region of a better language before a worse language"),
    ("en-GB", "en-US ko", "en-US", "none", "any English before no English"),
    ("en-US,en;q=0.5,en-GB;q=0.9", "en-GB en", "en", "en-GB", "en is as good as en-US"),
    ("en-US,en-GB", "en-AU en-GB", "en-GB", "=", "both are as far from the first range: the second decides"),
    ("fr-CH,fr;q=0.9,en;q=0.8,de;q=0.7,*;q=0.5", "de en", "en", "=", "the example of MDN"),
    ("de-CH-1996", "de-CH de", "de-CH", "de", "a variant is skipped"),
    ("en-GB-oed", "en-US en-GB", "en-GB", "none", "an old variant is skipped"),
    ("en-US-u-hc-h23", "en-GB en-US", "en-US", "none", "an extension is skipped"),
    ("de-DE-x-goethe", "de ko", "de", "=", "a private use is skipped"),
];

/// The script decides before the region.
const SCRIPT: &[Row] = &[
    ("zh-TW", "zh-CN zh-TW", "zh-TW", "=", "the same"),
    ("zh-TW", "zh-CN zh-HK", "zh-HK", "none", "Hong Kong writes traditional characters"),
    ("zh-TW", "zh-CN zh-Hant", "zh-Hant", "none", "traditional characters, said"),
    ("zh-TW", "zh-Hans zh-Hant-HK", "zh-Hant-HK", "none", "traditional characters, said, of another region"),
    ("zh-HK", "zh-CN zh-TW", "zh-TW", "none", "Hong Kong reads traditional characters"),
    ("zh-HK", "zh-MO zh-TW", "zh-MO", "none", "Macau is near Hong Kong"),
    ("zh-HK", "zh-TW zh-Hant", "zh-Hant", "none", "a language without a region before another region"),
    ("zh-MO", "zh-CN zh-HK zh-TW", "zh-HK", "none", "Hong Kong is near Macau"),
    ("zh-Hant", "zh zh-MO", "zh-MO", "zh", "Macau writes traditional characters"),
    ("zh-Hant", "zh-HK zh-TW", "zh-TW", "none", "traditional characters are at home in Taiwan"),
    ("zh-Hant-TW", "zh-TW zh-CN", "zh-TW", "none", "said or not, it is the same"),
    ("zh-TW", "zh-CN zh-Hant-TW", "zh-Hant-TW", "none", "said or not, it is the same"),
    ("zh-CN", "zh-TW zh-CN", "zh-CN", "=", "the same"),
    ("zh-CN", "zh-TW zh", "zh", "=", "zh is in simplified characters unless it says otherwise"),
    ("zh-CN", "zh-TW zh-SG", "zh-SG", "none", "Singapore writes simplified characters"),
    ("zh-SG", "zh-TW zh-CN", "zh-CN", "none", "Singapore reads simplified characters"),
    ("zh", "zh-TW zh-CN", "zh-CN", "zh-TW", "zh is in simplified characters unless it says otherwise"),
    ("zh", "zh-SG zh-CN", "zh-CN", "zh-SG", "simplified characters are at home in China"),
    ("zh-Hans", "zh-TW zh", "zh", "=", "said or not, it is the same"),
    ("zh-Hans-HK", "zh-HK zh-CN", "zh-CN", "none", "a script that is said before the one of the region"),
    ("zh-Hant-CN", "zh-CN zh-TW", "zh-TW", "none", "a script that is said before the one of the region"),
    ("zh-TW", "zh en", "zh", "=", "the same language in another script before the default"),
    ("zh-CN", "zh-TW en", "zh-TW", "none", "the same language in another script before the default"),
    ("zh-TW,ja;q=0.5", "zh ja", "ja", "=", "another script is worse than a worse language of the reader's"),
    ("zh-TW,zh;q=0.9,en;q=0.8", "zh-CN en", "zh-CN", "en", "the second range asks for it"),
    ("zh-HK,en;q=0.5", "zh-CN en", "en", "=", "another script is worse than a worse language of the reader's"),
    ("sr", "sr-Latn sr", "sr", "=", "Serbian is Cyrillic unless it says otherwise"),
    ("sr", "sr-Latn en", "sr-Latn", "=", "the same language in another script before the default"),
    ("sr-Latn", "sr sr-Latn", "sr-Latn", "=", "a script that is said"),
    ("sr-Latn-RS", "sr-RS sr-Latn", "sr-Latn", "none", "the script before the region"),
    ("sr-RS", "sr-Latn-RS sr", "sr", "=", "the script before the region"),
    ("sr-Cyrl", "sr-Latn sr", "sr", "=", "said or not, it is the same"),
    ("sr-ME", "sr-Latn sr-RS", "sr-RS", "none", "Serbian is Cyrillic unless it says otherwise, in Montenegro too"),
    ("ja-Jpan-JP", "en ja", "ja", "=", "the usual script, said"),
    ("ko-Kore", "en ko", "ko", "=", "the usual script, said"),
    ("en-Latn-US", "ko en-US", "en-US", "none", "the usual script, said"),
    ("ru,en;q=0.5", "ru-Latn en", "en", "=", "transliterated Russian is another script"),
];

/// What tables and requests write, and what it means.
const ALIAS: &[Row] = &[
    ("ja", "ko jp", "jp", "none", "a country taken for a language, in the table"),
    ("jp", "ko ja", "ja", "none", "a country taken for a language, in the request"),
    ("jp-JP", "ko ja", "ja", "none", "with a region"),
    ("ja", "jp ja", "ja", "=", "the canonical spelling wins"),
    ("ja", "ja jp", "ja", "=", "the canonical spelling wins, wherever it stands"),
    ("ko", "ja kr", "kr", "none", "a country taken for a language, in the table"),
    ("kr", "ja ko", "ko", "none", "a country taken for a language, in the request"),
    ("kr-KR", "ja ko", "ko", "none", "with a region"),
    ("zh", "ko cn", "cn", "none", "a country taken for a language, in the table"),
    ("cn", "zh-TW zh", "zh", "none", "a country taken for a language, in the request"),
    ("zh-TW", "cn tw", "tw", "none", "Taiwan taken for a language"),
    ("tw", "zh zh-TW", "zh-TW", "none", "Taiwan taken for a language"),
    ("cn-TW", "zh zh-TW", "zh-TW", "none", "a country for the language, with a region"),
    ("eng", "ko en", "en", "none", "ISO 639-2"),
    ("en", "ko eng", "eng", "none", "ISO 639-2, in the table"),
    ("eng-GB", "en-US en-GB", "en-GB", "none", "ISO 639-2 with a region"),
    ("kor", "en ko", "ko", "none", "ISO 639-2"),
    ("ko", "en kor", "kor", "none", "ISO 639-2, in the table"),
    ("jpn", "en ja", "ja", "none", "ISO 639-2"),
    ("ja-JP", "en jpn", "jpn", "none", "ISO 639-2, in the table"),
    ("zho", "en zh", "zh", "none", "ISO 639-2"),
    ("chi", "en zh", "zh", "none", "ISO 639-2, bibliographic"),
    ("zh", "en zho", "zho", "none", "ISO 639-2, in the table"),
    ("cmn", "zh-TW zh-CN", "zh-CN", "none", "Mandarin is Chinese"),
    ("cmn-Hant", "zh-CN zh-TW", "zh-TW", "none", "Mandarin in traditional characters"),
    ("zh-cmn-Hans-CN", "zh-TW zh-CN", "zh-CN", "none", "an extended language (RFC 5646 §2.2.2)"),
    ("yue", "zh-CN zh-HK", "zh-HK", "none", "Cantonese is written as in Hong Kong"),
    ("yue", "zh-CN zh-TW", "zh-TW", "none", "Cantonese readers read traditional characters"),
    ("zh-yue", "zh-CN zh-HK", "zh-HK", "none", "an extended language (RFC 5646 §2.2.2)"),
    ("zh-HK", "zh yue", "yue", "zh", "Cantonese, in the table"),
    ("fra", "en fr", "fr", "none", "ISO 639-2"),
    ("ger", "en de", "de", "none", "ISO 639-2, bibliographic"),
    ("in", "en id", "id", "none", "Indonesian, as it was written before 1989"),
    ("iw", "en he", "he", "none", "Hebrew, as it was written before 1989"),
    ("nb", "en no", "no", "none", "Norwegian Bokmål is what Norwegian means"),
    ("US-en", "en-GB en-US", "en-US", "none", "swapped, in the request"),
    ("en-US", "en-GB US-en", "US-en", "none", "swapped, in the table"),
    ("us_EN", "en-GB en-US", "en-US", "none", "swapped, in other letters"),
    ("GB-en", "en-US en-GB", "en-GB", "none", "swapped"),
    ("UK-en", "en-US en-GB", "en-GB", "none", "swapped, and the usual name of the country"),
    ("en-GB", "US-en UK-en", "UK-en", "none", "swapped, in the table"),
    ("JP-ja", "en ja", "ja", "none", "swapped"),
    ("KR-ko", "en ko", "ko", "none", "swapped"),
    ("CN-zh", "zh-TW zh", "zh", "none", "swapped"),
    ("TW-zh", "zh zh-TW", "zh-TW", "none", "swapped: the region says the script"),
    ("HK-zh", "zh zh-TW", "zh-TW", "none", "swapped: the region says the script"),
    ("BR-pt", "pt-PT pt-BR", "pt-BR", "none", "swapped"),
    ("MX-es", "es-ES es-419", "es-419", "none", "swapped"),
    ("AT-de", "de-CH de", "de", "none", "swapped"),
    ("AU-en", "en-US en-GB", "en-GB", "none", "swapped"),
    ("CA-en", "en-GB en-US", "en-US", "none", "swapped: EN is no country"),
    ("IN-en", "en-US en-GB", "en-GB", "none", "swapped: EN is no country"),
    ("KR-kor", "en ko", "ko", "none", "swapped, and ISO 639-2"),
    ("ca-FR", "fr ca", "ca", "=", "not swapped: Catalan in France"),
    ("fr-CA", "ca fr", "fr", "=", "not swapped: French in Canada"),
    ("uk-UA", "en uk", "uk", "=", "not swapped: Ukrainian in Ukraine"),
    ("ua", "en uk", "uk", "none", "a country taken for a language"),
    ("pt-BR", "br pt", "pt", "=", "not swapped; br is Breton"),
    ("de-DE", "en de", "de", "=", "not swapped"),
];

/// Other languages are other languages.
const OTHER: &[Row] = &[
    ("kok", "ko en", "fallback en", "=", "Konkani is not Korean"),
    ("ko", "kok en", "fallback en", "=", "Korean is not Konkani"),
    ("kok,ko;q=0.5", "ko en", "ko", "=", "Korean is the second choice"),
    ("fil", "fi en", "fallback en", "=", "Filipino is not Finnish"),
    ("haw", "ha en", "fallback en", "=", "Hawaiian is not Hausa"),
    ("e", "ko en", "en", "none", "a single letter is no language: nothing was asked for"),
    ("nl", "nds en", "fallback en", "=", "Low German is not Dutch"),
    ("fr", "ko ja", "fallback ko", "=", "neither the reader's nor the default: the first"),
    ("fr", "en-GB ko", "fallback en-GB", "=", "the default is any English"),
    ("fr", "en-GB en-US", "fallback en-US", "=", "the default takes the nearest region too"),
];

/// What cannot be read is skipped, never an error.
const LENIENT: &[Row] = &[
    ("", "ko en", "en", "=", "nobody asked for anything: the default, and no fallback"),
    (",", "ko en", "en", "=", "empty members"),
    (" , ,,", "ko en", "en", "=", "empty members"),
    (";q=1", "ko en", "en", "=", "a weight of nothing"),
    (",ko,", "en ko", "ko", "=", "empty members between others"),
    ("KO", "en ko", "ko", "=", "case is ignored"),
    ("kO-kR", "en ko", "ko", "=", "case is ignored"),
    ("ko_KR", "en ko", "ko", "=", "_ is -"),
    ("zh_hant_tw", "zh zh-TW", "zh-TW", "zh", "_ is -, everywhere"),
    ("ZH-HANT", "zh-CN zh-TW", "zh-TW", "none", "case is ignored, in scripts too"),
    ("  ko  ", "en ko", "ko", "=", "blanks around a tag"),
    ("ko\t,en", "en ko", "ko", "en", "a tab is a blank"),
    ("k o,ja", "ko ja", "ja", "=", "a blank inside a tag makes it none"),
    ("ko-,ja", "ko ja", "ja", "=", "an empty part makes it none"),
    ("-ko,ja", "ko ja", "ja", "=", "an empty part makes it none"),
    ("ko--KR,ja", "ko ja", "ja", "=", "an empty part makes it none"),
    ("ko-toolongpart,ja", "ko ja", "ja", "=", "a part has eight characters at most"),
    ("korean,ja", "ko ja", "ja", "=", "a word is no tag"),
    ("1,ja", "ko ja", "ja", "=", "a number is no tag"),
    ("x-private,ja", "ko ja", "ja", "=", "a private tag is no language"),
    ("i-klingon,ja", "ko ja", "ja", "=", "a grandfathered tag is no language"),
    ("<script>,ko", "en ko", "ko", "=", "what is no tag is skipped"),
    ("ko=1,ja", "ko ja", "ja", "=", "what is no tag is skipped"),
    ("é,ko", "en ko", "ko", "=", "bytes that are not ASCII are skipped, the member is empty"),
    ("ékéo", "en ko", "ko", "none", "bytes that are not ASCII are skipped, within a member too"),
    ("한국어,ja", "ko ja", "ja", "=", "bytes that are not ASCII are skipped"),
    ("ko\0,ja", "ko ja", "ja", "=", "a NUL is no letter"),
];

/// What tables write.
const TABLE_TAGS: &[Row] = &[
    ("ko", "KO en", "KO", "=", "case is ignored"),
    ("ko", "KO ko", "ko", "KO", "the canonical spelling wins"),
    ("zh-TW", "zh_TW en", "zh_TW", "=", "_ is -"),
    ("zh-TW", "zh_TW zh-TW", "zh-TW", "zh_TW", "the canonical spelling wins"),
    ("zh-TW", "zh-CN zh-hant", "zh-hant", "none", "a script in small letters"),
    ("ja", "\u{1f600} ko", "fallback ko", "=", "a tag that cannot be read comes after any other"),
    ("ja", "ko \u{1f600}", "fallback ko", "=", "wherever it stands"),
    ("ja", "\u{1f600}", "fallback \u{1f600}", "=", "a tag that cannot be read is never a lost alarm"),
    ("ko", "korean en", "fallback en", "=", "a word is no tag"),
    ("en;q=0", "en korean", "fallback en", "=", "a refused one before one that cannot be read"),
    ("en", "default en", "en", "=", "a word is no tag"),
];

/// Reads and chooses; `fallback` in front of what is chosen if it is none of the reader's own.
fn choose(query: Option<&str>, headers: &[&[u8]], default: &str, table: &str) -> String {
    let aliases = Aliases::default();
    let languages = Languages::new(query.map(str::as_bytes), headers, aliases.list(default).unwrap(), &aliases);
    let names: Vec<&str> = table.split(' ').collect();
    let tags: Vec<Option<Tag>> = names.iter().map(|name| aliases.tag(name)).collect();
    let choice = languages.choose(tags.iter().map(Option::as_ref)).unwrap();
    format!("{}{}", if choice.fallback { "fallback " } else { "" }, names[choice.index])
}

#[test]
fn every_row_of_the_tables_holds() {
    let tables = [EXAMPLE, QUALITY, REFUSAL, STAR, REGION, SCRIPT, ALIAS, OTHER, LENIENT, TABLE_TAGS];
    let wrong = |(reader, table, gets, _, why): &&Row| {
        let chosen = choose(None, &[reader.as_bytes()], "en", table);
        (chosen != *gets).then(|| format!("\n{reader:?} among {table:?} gets {chosen:?}, not {gets:?}: {why}"))
    };
    let wrong: Vec<String> = tables.concat().iter().filter_map(|row| wrong(&row)).collect();
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn the_parameter_comes_before_the_header_and_the_header_before_the_default() {
    for (query, headers, default, table, gets, why) in [
        ("ko", &["ja"][..], "en", "ja ko", "ko", "the parameter is the reader's last word"),
        ("fr", &["ja"], "en", "ko ja", "ja", "a parameter that matches nothing falls through"),
        ("fr", &["de"], "en", "ko en", "fallback en", "both match nothing: the default"),
        ("", &["ja"], "en", "ko ja", "ja", "an empty parameter is none"),
        ("korean", &["ja"], "en", "ko ja", "ja", "a parameter that cannot be read is none"),
        ("ja,en-US;q=0.5", &["ko"], "en", "en ko", "en", "the parameter has the syntax of the header"),
        ("en-US;q=0.5,ja", &["ko"], "en", "en ja", "ja", "the parameter has weights"),
        ("*", &["ja"], "en", "ja en", "fallback en", "a star in the parameter is the default"),
        ("*", &["ja"], "en", "ja ko", "ja", "a star whose default is not there matches nothing"),
        ("ko;q=0", &["ko,ja;q=0.5"], "en", "ko ja", "ja", "what the parameter refuses the header does not bring back"),
        ("ko", &["ko;q=0"], "en", "en ko", "ko", "what the header refuses the parameter may ask for"),
        ("en;q=0", &[], "en,ko", "en ko", "ko", "a refused default: the next one"),
        ("", &["ja", "ko"], "en", "ko ja", "ja", "several header lines are one list, in their order"),
        ("", &["ja;q=0.1", "ko"], "en", "ja ko", "ko", "several header lines are one list, by falling q"),
        ("", &["fr", "", "ko"], "en", "en ko", "ko", "an empty header line"),
        ("", &[], "en", "ko en", "en", "no header line at all"),
        ("", &[], "ko,en", "en ko", "ko", "the first default"),
        ("fr", &[], "ko,en", "en ja", "fallback en", "the second default"),
        ("", &[], "zh-TW", "zh en", "zh", "the default in another script"),
        ("*", &[], "ja", "en ja", "ja", "a star is the default"),
    ] {
        let lines: Vec<&[u8]> = headers.iter().map(|line| line.as_bytes()).collect();
        assert_eq!(choose(Some(query), &lines, default, table), gets, "{query:?} {headers:?} among {table:?}: {why}");
    }
}

#[test]
fn a_list_is_read_as_far_as_the_limits_go() {
    let far = |count: usize| format!("{}ko", "fr,".repeat(count));
    let wide = |tag: usize| format!("ko-{},ja;q=0.5", "x1234567-".repeat(8)[..tag - 3].trim_end_matches('-'));
    let long = |bytes: usize| format!("ko;{},ja", "p".repeat(bytes - 6));
    for (reader, gets, why) in [
        (far(31), "ko", "the 32nd member"),
        (far(32), "fallback en", "the 33rd member"),
        (format!("{}ko", "fr, ,".repeat(31)), "ko", "empty members do not count"),
        (wide(35), "ko", "a tag of 35 characters"),
        (wide(37), "ja", "a longer one"),
        (format!("   {}   ", wide(35)), "ko", "blanks around it do not count"),
        (long(4096), "ko", "4 KiB"),
        (format!("ja;q=0.5,{}ko", " ".repeat(4096)), "ja", "beyond 4 KiB"),
        (format!("ja;q=0.5,{}ko-KR", " ".repeat(4096 - 11)), "ja", "cut within a member"),
        ("k".repeat(90_000), "en", "90 KB of one member"),
        (",".repeat(90_000), "en", "90 KB of none"),
    ] {
        assert_eq!(choose(None, &[reader.as_bytes()], "en", "ja en ko"), gets, "{why}");
    }
}

#[test]
fn bytes_that_are_no_text_are_skipped() {
    for (header, gets) in [
        (&b"\xff\xfe,ko"[..], "ko"),
        (b"\xffk\xc3o", "ko"),
        (b"ko;q=\xff0.5,ja;q=0.4", "ko"),
        (b"\x00\x01\x02,ko", "ko"),
        (b";;;q=,=,*;q=*,ko", "ko"),
        (b"\x80\x81", "en"),
    ] {
        assert_eq!(choose(None, &[header], "en", "en ja ko"), gets, "{header:?}");
    }
}

#[test]
fn the_hello_names_the_languages_that_were_asked_for_best_first_and_canonical() {
    let aliases = Aliases::default();
    let asked = |query: &str, header: &str| {
        let default = aliases.list("en,ko").unwrap();
        let languages = Languages::new(Some(query.as_bytes()), &[header.as_bytes()], default, &aliases);
        languages.tags().join(" ")
    };
    assert_eq!(asked("", "ko-KR,ko;q=0.9"), "ko-KR ko");
    assert_eq!(asked("", "ko;q=0.5,US-en,zh_hant_tw;q=0.7"), "en-US zh-Hant-TW ko");
    assert_eq!(asked("jp", "ko,ja,*;q=0.1"), "ja ko *");
    assert_eq!(asked("", "en;q=0"), "en ko");
    assert_eq!(asked("", ""), "en ko");
}

#[test]
fn the_language_that_is_waited_for_is_the_first_one_or_the_default() {
    let aliases = Aliases::default();
    let first = |query: &str, header: &str| {
        let default = aliases.list("en").unwrap();
        let languages = Languages::new(Some(query.as_bytes()), &[header.as_bytes()], default, &aliases);
        languages.first().cloned()
    };
    let of = |tag: &str| aliases.tag(tag).map(|tag| *tag.primary());
    assert_eq!(first("ja", "ko"), of("ja"));
    assert_eq!(first("", "fr;q=0.1,ko"), of("ko"));
    assert_eq!(first("", "*,ko;q=0.5"), of("ko"));
    assert_eq!(first("*", "ko"), of("en"));
    assert_eq!(first("", ""), of("en"));
}

#[test]
fn events_carry_the_canonical_tag() {
    let aliases = Aliases::default();
    for (said, canonical) in [
        ("US-en", "en-US"),
        ("jp", "ja"),
        (" ko ", "ko"),
        ("us_EN", "en-US"),
        ("uk-en", "en-GB"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("zh_tw", "zh-TW"),
        ("yue", "zh-HK"),
        ("fr-ca", "fr-CA"),
        ("es-419", "es-419"),
        ("ja-jpan-jp", "ja-JP"),
        ("de-CH-1996", "de-CH"),
        ("KOK", "kok"),
    ] {
        let tag = aliases.tag(said).unwrap();
        assert_eq!(tag.to_string(), canonical);
        assert_eq!(tag.is_canonical(), said == canonical);
        assert!(aliases.tag(canonical).unwrap().is_canonical());
    }
    for unreadable in ["", " ", "-", "k", "한국어", "korean", "ko-", "k1", "ko KR", "\u{1f600}", "x-ko"] {
        assert_eq!(aliases.tag(unreadable), None, "{unreadable:?}");
    }
}

#[test]
fn an_alias_of_the_operator_comes_before_the_ones_that_are_built_in() {
    let aliases = Aliases::default().with("kokr", "ko-KR").unwrap().with("Default", "en_us").unwrap();
    let aliases = aliases.with("english", "eng").unwrap().with("jp", "ja-JP").unwrap();
    for (said, canonical) in
        [("KOKR", "ko-KR"), ("default", "en-US"), ("english", "en"), ("english-gb", "en-GB"), ("jp", "ja-JP")]
    {
        assert_eq!(aliases.tag(said).unwrap().to_string(), canonical);
    }
    for unreadable in ["한국어", "ko_KR.UTF-8", "Korean (South)", "???"] {
        let aliases = Aliases::default().with(unreadable, "ko-KR").unwrap();
        assert_eq!(aliases.tag(unreadable).unwrap().to_string(), "ko-KR");
    }
    let long = "x".repeat(36);
    for none in ["", " ", &long] {
        assert!(Aliases::default().with(none, "ko").unwrap_err().contains("cannot be how a language is spelt"));
    }
    assert!(Aliases::default().with("x", "korean").unwrap_err().contains("'korean' is no language tag"));
}

/// Bytes as requests have them: mostly what belongs into a list, and anything.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec!["ko", "US-en", "zh_TW", "*", ",", ";q=0", ";q=0.5", ";", "=", "-", " ", "sr-Latn"])
            .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn whatever_is_asked_for_one_of_those_that_are_there_is_chosen_and_the_order_of_the_table_matters_only_among_equals(
        query in bytes(),
        header in bytes(),
        table in prop::collection::vec(prop_oneof!["[a-z]{2}(-[A-Z]{2})?", "(US-en|jp|zh[-_]TW|zh|sr-Latn|)", ".{0,6}"], 1..5),
    ) {
        let aliases = Aliases::default();
        let languages = Languages::new(Some(&query), &[&header], aliases.list("en").unwrap(), &aliases);
        let mut tags: Vec<Option<Tag>> = table.iter().map(|tag| aliases.tag(tag)).collect();
        let choice = languages.choose(tags.iter().map(Option::as_ref)).unwrap();
        prop_assert!(choice.index < tags.len());
        prop_assert!(languages.tags().len() <= 2 * MEMBERS_MAX);
        let chosen = tags[choice.index].clone();
        tags.reverse();
        let again = languages.choose(tags.iter().map(Option::as_ref)).unwrap();
        prop_assert_eq!(choice.fallback, again.fallback);
        if !choice.fallback {
            let again = tags[again.index].clone();
            prop_assert_eq!(chosen.map(|tag| *tag.primary()), again.map(|tag| *tag.primary()));
        }
    }
}
