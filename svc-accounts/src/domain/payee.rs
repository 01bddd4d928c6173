//! Whether a name is that of an account's holder (verification of payee). Names are compared as people write them: whatever
//! the case, the accents, the order of the words and the titles around them. A near miss is told apart from another name,
//! because its answer discloses the right one: whoever knows less than half of a name, by its letters, learns nothing.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use super::name::{CustomerName, InvalidName};

/// How many letters a word must have for one, or two, of them to be wrong.
const ONE_WRONG_FROM: usize = 4;
const TWO_WRONG_FROM: usize = 9;

/// How many words may be beside a holder's name: a middle name or two, and not a list of guesses.
const STRANGE_MAX: usize = 2;

/// Words that say how somebody is addressed and not who it is.
const TITLES: &[&str] = &[
    "dame", "dipl", "dr", "dott", "frau", "herr", "ing", "lady", "lord", "mag", "me", "miss", "mlle", "mme",
    "mr", "mrs", "ms", "mx", "phd", "prof", "sig", "sir", "sr", "sra",
];
/// Words that stand between the holders of one account.
const BETWEEN: &[&str] = &["and", "en", "et", "oder", "or", "ou", "und", "y"];
/// Words of companies that are written short or long.
const SHORT: &[(&str, &str)] =
    &[("company", "co"), ("corporation", "corp"), ("incorporated", "inc"), ("limited", "ltd")];
/// Letters that have no accent to lose, and what stands for them where there is no such key.
const LETTERS: &[(char, &str)] = &[
    ('ß', "ss"),
    ('æ', "ae"),
    ('œ', "oe"),
    ('ø', "o"),
    ('ł', "l"),
    ('đ', "d"),
    ('ð', "d"),
    ('þ', "th"),
    ('ı', "i"),
];
/// What also stands for letters with accents, in the countries that have them.
const WRITTEN_OUT: &[(char, &str)] = &[('ä', "ae"), ('ö', "oe"), ('ü', "ue"), ('å', "aa"), ('ø', "oe")];

/// How a name compares with an account's holders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// It is one holder's, or all of them.
    Match,
    /// Nearly; the name as it should be.
    Close(String),
    /// Another.
    No,
}

/// The name of a payee as the payer knows it, 1 to 140 characters.
#[derive(Clone)]
pub struct PayeeName(Vec<Word>);

impl PayeeName {
    /// In characters: as long as a payment message lets a name be.
    pub const CHARACTERS_MAX: usize = 140;

    /// Reads a name as given.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text.chars().any(char::is_control) {
            return Err(InvalidName::Control);
        }
        if text.chars().count() > Self::CHARACTERS_MAX {
            return Err(InvalidName::TooLong(Self::CHARACTERS_MAX));
        }
        let words = words(text);
        if words.is_empty() { Err(InvalidName::Blank) } else { Ok(Self(words)) }
    }

    /// How it compares with the names of those who hold one account. The order of the holders is of no account, but for which of
    /// two equally near ones is told.
    pub fn compare(&self, holders: &[CustomerName]) -> Match {
        let given = distinct(&self.0);
        let mut names: Vec<(Vec<Word>, String)> =
            holders.iter().map(|name| (words(name.as_str()), name.as_str().to_owned())).collect();
        if let [_, _, ..] = names.as_slice() {
            // A name that they share may be said once: "Anna and Ben Miller".
            let all: Vec<Word> = names.iter().flat_map(|(words, _)| words).cloned().collect();
            let text = names.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(" & ");
            names.push((distinct(&all), text));
        }
        if names.iter().any(|(words, _)| same(&self.0, words) || same(&given, words)) {
            return Match::Match;
        }
        let near = names.into_iter().filter_map(|(words, text)| Some((strangeness(&given, &words)?, text)));
        near.min_by_key(|(strangeness, _)| *strangeness).map_or(Match::No, |(_, text)| Match::Close(text))
    }
}

impl std::fmt::Debug for PayeeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A word of a name: without its accents, and as it is written where there is no key for them.
#[derive(Clone)]
struct Word {
    plain: String,
    written_out: String,
}

impl Word {
    fn new(text: &str) -> Self {
        let composed: String = text.nfkc().flat_map(char::to_lowercase).collect();
        let fold = |text: &str| {
            let mut plain = String::with_capacity(text.len());
            for letter in text.nfkd().filter(|letter| !is_combining_mark(*letter)) {
                match LETTERS.iter().find(|(known, _)| *known == letter) {
                    Some((_, stands)) => plain.push_str(stands),
                    None => plain.push(letter),
                }
            }
            plain
        };
        let mut written_out = composed.clone();
        for (letter, stands) in WRITTEN_OUT {
            written_out = written_out.replace(*letter, stands);
        }
        let short = |word: String| {
            SHORT.iter().find(|(long, _)| *long == word).map_or(word, |(_, short)| (*short).to_owned())
        };
        Self { plain: short(fold(&composed)), written_out: short(fold(&written_out)) }
    }

    fn letters(&self) -> usize {
        self.plain.chars().count()
    }

    /// Whether one is the other's first letter.
    fn is_initial_of(&self, other: &Self) -> bool {
        let initial = |short: &Self, long: &Self| {
            short.letters() == 1 && long.letters() > 1 && long.plain.starts_with(&short.plain)
        };
        initial(self, other) || initial(other, self)
    }

    /// Whether they differ by no more than a slip of the hand.
    fn is_near(&self, other: &Self) -> bool {
        let shorter = self.letters().min(other.letters());
        let wrong_max = match shorter {
            TWO_WRONG_FROM.. => 2,
            ONE_WRONG_FROM.. => 1,
            _ => return false,
        };
        let wrong = strsim::osa_distance(&self.plain, &other.plain)
            .min(strsim::osa_distance(&self.written_out, &other.written_out));
        wrong <= wrong_max
    }
}

impl PartialEq for Word {
    fn eq(&self, other: &Self) -> bool {
        [&self.plain, &self.written_out]
            .into_iter()
            .any(|word| [&other.plain, &other.written_out].contains(&word))
    }
}

/// The words of a name, without titles unless there is nothing else.
fn words(text: &str) -> Vec<Word> {
    // An apostrophe stands in a word, everything else that is no letter between two.
    let joined: String = text.nfc().filter(|letter| !matches!(letter, '\'' | '’' | '`' | '´')).collect();
    let parts = joined.split(|letter: char| !letter.is_alphanumeric() && !is_combining_mark(letter));
    let all: Vec<Word> = parts.filter(|part| !part.is_empty()).map(Word::new).collect();
    let says =
        |word: &&Word| !TITLES.contains(&word.plain.as_str()) && !BETWEEN.contains(&word.plain.as_str());
    let left: Vec<Word> = all.iter().filter(says).cloned().collect();
    if left.is_empty() { all } else { left }
}

/// Whether the words are the same, in any order.
fn same(given: &[Word], holder: &[Word]) -> bool {
    let pairs = Pairs::of(given, holder, Word::eq);
    pairs.given_left.is_empty() && pairs.holder_left.is_empty()
}

/// How many words of two names stand for none of the other, if they are near one another: if each word of the shorter one stands
/// for one of the longer, and enough of the holder's letters are known.
fn strangeness(given: &[Word], holder: &[Word]) -> Option<usize> {
    let equal = Pairs::of(given, holder, Word::eq);
    let near = Pairs::of(&equal.given_left, &equal.holder_left, Word::is_near);
    let initials = Pairs::of(&near.given_left, &near.holder_left, Word::is_initial_of);
    let known = letters(&equal.holder_paired) + letters(&near.holder_paired);
    let whole = initials.given_left.is_empty()
        || (initials.holder_left.is_empty() && initials.given_left.len() <= STRANGE_MAX);
    let near_enough = whole && 2 * known >= letters(holder).max(1);
    near_enough.then(|| initials.given_left.len() + initials.holder_left.len())
}

/// The words, each once.
fn distinct(words: &[Word]) -> Vec<Word> {
    let mut distinct: Vec<Word> = Vec::with_capacity(words.len());
    for word in words {
        if !distinct.contains(word) {
            distinct.push(word.clone());
        }
    }
    distinct
}

fn letters(words: &[Word]) -> usize {
    words.iter().map(Word::letters).sum()
}

/// Words of two names that stand for one another, each once, and those that are left.
struct Pairs {
    holder_paired: Vec<Word>,
    given_left: Vec<Word>,
    holder_left: Vec<Word>,
}

impl Pairs {
    fn of(given: &[Word], holder: &[Word], stands_for: impl Fn(&Word, &Word) -> bool) -> Self {
        let mut pairs =
            Self { holder_paired: Vec::new(), given_left: Vec::new(), holder_left: holder.to_vec() };
        for word in given {
            match pairs.holder_left.iter().position(|other| stands_for(word, other)) {
                Some(at) => pairs.holder_paired.push(pairs.holder_left.remove(at)),
                None => pairs.given_left.push(word.clone()),
            }
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compare(given: &str, holders: &[&str]) -> Match {
        let holders: Vec<_> = holders.iter().map(|name| CustomerName::parse(name).expect("valid")).collect();
        PayeeName::parse(given).expect("valid").compare(&holders)
    }

    #[test]
    fn what_people_write_differently_is_the_same_name() {
        for (given, holder) in [
            ("Ada Lovelace", "Ada Lovelace"),
            ("LOVELACE, ADA", "Ada Lovelace"),
            ("  ada   lovelace ", "Ada Lovelace"),
            ("Mrs. Ada Lovelace", "Ada Lovelace"),
            ("Ada Lovelace", "Prof. Dr. Ada Lovelace"),
            ("Jose Garcia", "José García"),
            ("Jose\u{301} Garcia", "José García"),
            ("Juergen Mueller", "Jürgen Müller"),
            ("Jurgen Muller", "Jürgen Müller"),
            ("JÜRGEN MÜLLER", "Juergen Mueller"),
            ("Soeren Kierkegaard", "Søren Kierkegaard"),
            ("Soren Kierkegaard", "Søren Kierkegaard"),
            ("Anna Lena Strasse", "Anna-Lena Straße"),
            ("Sean OBrien", "Seán O’Brien"),
            ("Łukasz Nowak", "Lukasz Nowak"),
            ("Babbage & Sons Limited", "Babbage and Sons Ltd."),
            ("Ｂａｂｂａｇｅ Ltd", "Babbage Ltd"),
            ("ИВАН ПЕТРОВ", "Иван Петров"),
            ("Dr", "Dr"),
        ] {
            assert_eq!(compare(given, &[holder]), Match::Match, "{given} is {holder}");
        }
    }

    #[test]
    fn a_near_miss_is_told_the_right_name() {
        for (given, holder) in [
            ("Ada Lovelase", "Ada Lovelace"),
            ("Ada Lovealce", "Ada Lovelace"),
            ("A. Lovelace", "Ada Lovelace"),
            ("Ada Lovelace", "A. Lovelace"),
            ("Ada Lovelace", "Ada Augusta Lovelace"),
            ("Ada Augusta Lovelace", "Ada Lovelace"),
            ("Lovelace", "Ada Lovelace"),
            ("Babbage", "Babbage Ltd"),
            ("Christofer Hanssen", "Christopher Hansen"),
        ] {
            assert_eq!(
                compare(given, &[holder]),
                Match::Close(holder.to_owned()),
                "{given} is nearly {holder}"
            );
        }
    }

    #[test]
    fn who_knows_less_than_half_of_a_name_learns_nothing() {
        for (given, holder) in [
            ("Charles Babbage", "Ada Lovelace"),
            ("Ada", "Ada Lovelace"),
            ("Ada L.", "Ada Lovelace"),
            ("A L", "Ada Lovelace"),
            ("Ada Babbage", "Ada Lovelace"),
            ("Lo Li", "Lo Lu"),
            ("Mr", "Ada Lovelace"),
            ("Ada Lovelace or Charles Babbage or Eve", "Grace Hopper"),
            ("Ada Eve Grace Charles Lovelace", "Ada Lovelace"),
        ] {
            assert_eq!(compare(given, &[holder]), Match::No, "{given} is not {holder}");
        }
        assert_eq!(compare("Ada Lovelace", &[]), Match::No, "nobody holds it");
    }

    #[test]
    fn a_joint_account_is_each_holders_and_all_of_theirs() {
        let both = ["Anna Miller", "Ben Miller"];
        for given in [
            "Anna Miller",
            "Ben Miller",
            "Anna Miller and Ben Miller",
            "Ben & Anna Miller",
            "Miller Anna und Ben",
        ] {
            assert_eq!(compare(given, &both), Match::Match, "{given}");
        }
        assert_eq!(compare("Ben Miler", &both), Match::Close("Ben Miller".into()));
        assert_eq!(compare("Anna und Ben Miler", &both), Match::Close("Anna Miller & Ben Miller".into()));
        assert_eq!(compare("Carl Schmidt", &both), Match::No);
    }

    #[test]
    fn a_name_has_1_to_140_characters() {
        for (text, expect) in [
            ("x", None),
            (&*"x".repeat(140), None),
            (&*"x".repeat(141), Some(InvalidName::TooLong(140))),
            ("", Some(InvalidName::Blank)),
            (" -., ", Some(InvalidName::Blank)),
            ("a\nb", Some(InvalidName::Control)),
        ] {
            assert_eq!(PayeeName::parse(text).err(), expect, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_its_own(text in "[\\PC]{1,60}") {
            if let (Ok(name), Ok(holder)) = (PayeeName::parse(&text), CustomerName::parse(&text)) {
                prop_assert_eq!(name.compare(&[holder]), Match::Match);
            }
        }

        #[test]
        fn what_is_told_is_a_name_of_a_holder(given in "[a-c ]{1,12}", one in "[a-c]{2,6} [a-c]{2,6}", other in "[a-c]{2,6} [a-c]{2,6}") {
            let holders = [CustomerName::parse(&one).expect("valid"), CustomerName::parse(&other).expect("valid")];
            if let Ok(name) = PayeeName::parse(&given)
                && let Match::Close(told) = name.compare(&holders)
            {
                let both = format!("{one} & {other}");
                prop_assert!([one, other, both].contains(&told));
            }
        }
    }
}
