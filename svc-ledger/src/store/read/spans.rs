//! Cuts what is read of an account's past into spans of booking time. A statement opens every partition and index that its bounds on
//! ids may lie in, though a page is mostly found in one of them: with the journal in dozens of partitions, that would cost several times
//! the page. So the first look is at a month, and each further one, if the page is not full, at twice as much as the one before: ten
//! years are seven looks.

use uuid::Uuid;

use crate::domain::journal::first_id_at;

/// The first look, in milliseconds: as long as a partition, and so in two of them at most.
const FIRST_MS: i64 = 31 * 24 * 60 * 60 * 1_000;

/// The booking times between which an account has been moved, in milliseconds of the Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// When it was opened.
    pub(super) first: i64,
    /// When its balance last changed, as far as was known at the time of asking.
    pub(super) last: i64,
}

/// Ids from `.0` on and before `.1`.
pub(super) type Span = (Uuid, Uuid);

/// The span of ids in the order of time. The last ends where the span does, however late that is, for the account may have been moved
/// since its life was read.
pub(super) fn forwards(span: Span, life: Life) -> impl Iterator<Item = Span> {
    let (mut at, end) = (span.0.max(first_id_at(life.first)), span.1);
    let mut width = FIRST_MS;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let next = time(at).saturating_add(width);
        let until = if next > life.last { end } else { first_id_at(next).min(end) };
        width = width.saturating_mul(2);
        Some((std::mem::replace(&mut at, until), until))
    })
}

/// The same from the newest to the oldest, of which none is before the opening.
pub(super) fn backwards(span: Span, life: Life) -> impl Iterator<Item = Span> {
    let (start, mut end) = (span.0.max(first_id_at(life.first)), span.1);
    let mut width = FIRST_MS;
    std::iter::from_fn(move || {
        if end <= start {
            return None;
        }
        let from = first_id_at(time(end).min(life.last).saturating_sub(width)).max(start);
        width = width.saturating_mul(2);
        Some((from, std::mem::replace(&mut end, from)))
    })
}

/// The booking time in an id.
fn time(id: Uuid) -> i64 {
    (id.as_u64_pair().0 >> 16).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const YEAR_MS: i64 = 366 * 24 * 60 * 60 * 1_000;

    fn life() -> impl Strategy<Value = Life> {
        (0..10 * YEAR_MS, 0..10 * YEAR_MS).prop_map(|(first, age)| Life { first, last: first + age })
    }

    fn bound() -> impl Strategy<Value = Uuid> {
        prop_oneof![
            Just(Uuid::nil()),
            Just(Uuid::max()),
            (0..20 * YEAR_MS, any::<u32>())
                .prop_map(|(time, rest)| Uuid::from_u128(first_id_at(time).as_u128() | u128::from(rest))),
        ]
    }

    proptest! {
        #[test]
        fn spans_leave_no_gap_and_nothing_out(from in bound(), until in bound(), life in life()) {
            let opened = from.max(first_id_at(life.first));
            for (name, spans) in [
                ("forwards", forwards((from, until), life).collect::<Vec<_>>()),
                ("backwards", backwards((from, until), life).collect::<Vec<_>>().into_iter().rev().collect()),
            ] {
                prop_assert!(spans.len() <= 9, "{} {:?}", name, spans);
                prop_assert!(spans.iter().all(|span| span.0 < span.1));
                prop_assert!(spans.windows(2).all(|pair| pair[0].1 == pair[1].0), "{} {:?}", name, spans);
                prop_assert_eq!(spans.first().map(|span| span.0), (opened < until).then_some(opened));
                prop_assert_eq!(spans.last().map(|span| span.1), (opened < until).then_some(until));
            }
        }
    }

    #[test]
    fn the_first_look_is_at_a_month_of_the_account() {
        let day = FIRST_MS / 31;
        let life = Life { first: 100 * day, last: 800 * day };
        let all = (Uuid::nil(), Uuid::max());
        assert_eq!(forwards(all, life).next(), Some((first_id_at(100 * day), first_id_at(131 * day))));
        assert_eq!(backwards(all, life).next(), Some((first_id_at(769 * day), Uuid::max())));
        let past = (Uuid::nil(), first_id_at(200 * day));
        assert_eq!(backwards(past, life).next(), Some((first_id_at(169 * day), first_id_at(200 * day))));
        // Behind the last change there is nothing to be spared.
        let present = (first_id_at(790 * day), Uuid::max());
        assert_eq!(forwards(present, life).collect::<Vec<_>>(), [present]);
    }
}
