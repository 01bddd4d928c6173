//! Items as the driver has them, written attribute by attribute and read back with a name for whatever does not fit. An
//! item that cannot be read is a defect or a stranger's hand, never the client's fault.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::key::{Key, PARTITION, SORT};
use crate::error::{Corrupt, Error};

/// An item of the table.
pub type Item = HashMap<String, AttributeValue>;

/// Writes an item.
pub struct Writer(Item);

impl Writer {
    /// Begins an item at its key.
    pub fn at(key: &Key) -> Self {
        Self(key.attributes())
    }

    /// Adds a text.
    pub fn text(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.insert(name.to_owned(), AttributeValue::S(value.into()));
        self
    }

    /// Adds a number.
    pub fn number(mut self, name: &'static str, value: impl ToString) -> Self {
        self.0.insert(name.to_owned(), AttributeValue::N(value.to_string()));
        self
    }

    /// Adds a map of texts.
    pub fn texts(mut self, name: &'static str, values: &BTreeMap<&'static str, String>) -> Self {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), AttributeValue::S(value.clone())));
        self.0.insert(name.to_owned(), AttributeValue::M(values.collect()));
        self
    }

    /// Adds a set of words, at least one.
    pub fn words(mut self, name: &'static str, words: impl IntoIterator<Item = &'static str>) -> Self {
        let words = words.into_iter().map(ToOwned::to_owned).collect();
        self.0.insert(name.to_owned(), AttributeValue::Ss(words));
        self
    }

    /// Adds bytes.
    pub fn bytes(mut self, name: &'static str, value: Blob) -> Self {
        self.0.insert(name.to_owned(), AttributeValue::B(value));
        self
    }

    /// The item.
    pub fn done(self) -> Item {
        self.0
    }
}

/// Reads an item.
pub struct Reader<'a>(pub &'a Item);

impl<'a> Reader<'a> {
    /// A text.
    pub fn text(&self, name: &'static str) -> Result<&'a str, Error> {
        let value = self.0.get(name).and_then(|value| value.as_s().ok());
        value.map(String::as_str).ok_or_else(|| corrupt(name))
    }

    /// A text that means a domain value.
    pub fn parsed<T, E>(&self, name: &'static str, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, Error> {
        parse(self.text(name)?).map_err(|_| corrupt(name))
    }

    /// A number.
    pub fn number<T: FromStr>(&self, name: &'static str) -> Result<T, Error> {
        let value = self.0.get(name).and_then(|value| value.as_n().ok());
        value.and_then(|digits| digits.parse().ok()).ok_or_else(|| corrupt(name))
    }

    /// A number that need not be there.
    pub fn optional_number<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, Error> {
        if self.0.contains_key(name) { self.number(name).map(Some) } else { Ok(None) }
    }

    /// A map of texts.
    pub fn texts(&self, name: &'static str) -> Result<BTreeMap<String, String>, Error> {
        let values = self.0.get(name).and_then(|value| value.as_m().ok()).ok_or_else(|| corrupt(name))?;
        let text = |(key, value): (&String, &AttributeValue)| {
            value.as_s().map(|text| (key.clone(), text.clone())).map_err(|_| corrupt(name))
        };
        values.iter().map(text).collect()
    }

    /// A set of words, each of which means a domain value.
    pub fn words<T>(&self, name: &'static str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Error> {
        let words = self.0.get(name).and_then(|value| value.as_ss().ok()).ok_or_else(|| corrupt(name))?;
        words.iter().map(|word| parse(word).ok_or_else(|| corrupt(name))).collect()
    }

    /// Bytes.
    pub fn bytes(&self, name: &'static str) -> Result<&'a [u8], Error> {
        let value = self.0.get(name).and_then(|value| value.as_b().ok());
        value.map(Blob::as_ref).ok_or_else(|| corrupt(name))
    }

    /// Where it stands.
    pub fn key(&self) -> Result<Key, Error> {
        Ok(Key { partition: self.text(PARTITION)?.to_owned(), sort: self.text(SORT)?.to_owned() })
    }

    /// The id in the sort key, after its prefix.
    pub fn sort_id<T, E>(&self, prefix: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, Error> {
        let id = self.text(SORT)?.strip_prefix(prefix).ok_or_else(|| corrupt(SORT))?;
        parse(id).map_err(|_| corrupt(SORT))
    }
}

/// An attribute that does not hold what this service writes there.
pub const fn corrupt(attribute: &'static str) -> Error {
    Error::Corrupt(Corrupt { attribute })
}
