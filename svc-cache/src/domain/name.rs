//! The names of the cache: namespaces, keys, tags and lease ids, length-checked. Keys and tags may hold any bytes that a
//! proto string can; nothing in them can leave the namespace, because the namespace comes first in every Redis key.
use super::Fault;

/// The most bytes of a key.
pub const KEY_BYTES_MAX: usize = 512;

/// The most bytes of a tag.
pub const TAG_BYTES_MAX: usize = 128;

/// The most tags of an entry, and of one InvalidateTags.
pub const TAGS_MAX: usize = 16;

/// What one service can see: the workload identity that called, and nothing a client can choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace(String);

impl Namespace {
    /// Takes the name of a workload. `None` if it is not one: a name with braces or colons could reach into another's keys.
    pub fn of(service: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (!service.is_empty() && service.bytes().all(plain)).then(|| Self(service.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What every Redis key of the namespace begins with. The braces are a hash tag: the whole namespace lies in one slot
    /// of a cluster, so that one script can change entries, leases and tags atomically.
    pub fn prefix(&self) -> String {
        format!("cache:{{{}}}:", self.0)
    }
}

/// The key of an entry, 1 to 512 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    pub fn parse(key: String) -> Result<Self, Fault> {
        within(&key, KEY_BYTES_MAX)?;
        Ok(Self(key))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

/// What an invalidation finds entries by, 1 to 128 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    pub fn parse(tag: String) -> Result<Self, Fault> {
        within(&tag, TAG_BYTES_MAX)?;
        Ok(Self(tag))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// At most 16 tags, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags(Vec<Tag>);

impl Tags {
    /// Refuses more than 16, counted before repeated ones are dropped.
    pub fn collect(mut tags: Vec<Tag>) -> Result<Self, Fault> {
        if tags.len() > TAGS_MAX {
            return Err(Fault::TooMany { max: TAGS_MAX });
        }
        tags.sort();
        tags.dedup();
        Ok(Self(tags))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Tag::as_str)
    }
}

/// The proof that a caller may write an entry: 32 hexadecimal digits, made at random and worth something only in the
/// namespace of the service that got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseId(String);

impl LeaseId {
    pub fn new(random: u128) -> Self {
        Self(format!("{random:032x}"))
    }

    pub fn parse(id: String) -> Result<Self, Fault> {
        let good = id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if good { Ok(Self(id)) } else { Err(Fault::NotALease) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

fn within(name: &str, max: usize) -> Result<(), Fault> {
    match name.len() {
        0 => Err(Fault::Missing),
        length if length > max => Err(Fault::TooLong { max }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_are_checked_in_bytes() {
        assert_eq!(Key::parse(String::new()), Err(Fault::Missing));
        assert!(Key::parse("ä".repeat(256)).is_ok());
        assert_eq!(Key::parse("ä".repeat(257)), Err(Fault::TooLong { max: 512 }));
        assert_eq!(Tag::parse("t".repeat(129)), Err(Fault::TooLong { max: 128 }));
    }

    #[test]
    fn tags_are_counted_before_and_kept_once() {
        let tag = |n: usize| Tag::parse(format!("t{n}")).unwrap();
        assert_eq!(
            Tags::collect(vec![tag(2), tag(1), tag(2)]).unwrap().iter().collect::<Vec<_>>(),
            ["t1", "t2"]
        );
        assert_eq!(Tags::collect((0..17).map(|_| tag(0)).collect()), Err(Fault::TooMany { max: 16 }));
    }

    #[test]
    fn lease_id_survives_a_round_trip_and_nothing_else_is_one() {
        let id = LeaseId::new(7);
        assert_eq!(LeaseId::parse(id.clone().into_string()), Ok(id));
        for bad in ["", "7", "0000000000000000000000000000000G", "0000000000000000000000000000000A"] {
            assert_eq!(LeaseId::parse(bad.to_owned()), Err(Fault::NotALease), "{bad}");
        }
    }

    proptest! {
        /// No two services share a Redis key, whatever their keys are.
        #[test]
        fn namespaces_do_not_overlap(a in "[a-z0-9-]{1,12}", b in "[a-z0-9-]{1,12}", x in ".{0,20}", y in ".{0,20}") {
            prop_assume!(a != b);
            let (a, b) = (Namespace::of(&a).unwrap(), Namespace::of(&b).unwrap());
            prop_assert_ne!(format!("{}{x}", a.prefix()), format!("{}{y}", b.prefix()));
        }

        #[test]
        fn only_workload_names_are_namespaces(name in "[a-z]{0,3}[{}: /A-Z][a-z]{0,3}") {
            prop_assert_eq!(Namespace::of(&name), None);
        }
    }
}
