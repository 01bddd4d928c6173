//! Lists of transfers and entries: what is asked for, and which page of it.

use chassis::page::{Page, Sizes};
use proto::ledger::v1 as pb;

use super::transfer::reference;
use super::{Violations, at_or_after, limit, named, page};
use crate::domain::verdict::TransferState;
use crate::error::Error;
use crate::store::read::{EntryFilter, Listed, Named, TransferFilter, Window};

const TRANSFER_PAGES: Sizes = Sizes { default: 50, max: 500 };
const ENTRY_PAGES: Sizes = Sizes { default: 100, max: 1_000 };

/// What ListTransfers asks for.
pub(in crate::rpc) struct ListTransfers {
    pub(in crate::rpc) account: Option<Named>,
    pub(in crate::rpc) page: Page,
    pub(in crate::rpc) filter: TransferFilter,
}

pub(in crate::rpc) fn list_transfers(request: &pb::ListTransfersRequest) -> Result<ListTransfers, Error> {
    let mut violations = Violations::default();
    let account =
        if request.account_id.is_empty() { None } else { named(&mut violations, &request.account_id) };
    let state = violations.take("state", state(request.state)).flatten();
    let filter = TransferFilter { state, reference: wanted(&mut violations, &request.reference) };
    let question: [&[u8]; 4] = [
        b"transfers",
        request.account_id.as_bytes(),
        &request.state.to_be_bytes(),
        request.reference.as_bytes(),
    ];
    let page = page(&mut violations, TRANSFER_PAGES, &question, request.page_size, &request.page_token);
    match page {
        Some(page) if violations.0.is_empty() => Ok(ListTransfers { account, page, filter }),
        Some(_) | None => Err(violations.error()),
    }
}

fn state(number: i32) -> Result<Option<TransferState>, &'static str> {
    match pb::TransferState::try_from(number) {
        Ok(pb::TransferState::Unspecified) => Ok(None),
        Ok(pb::TransferState::Posted) => Ok(Some(TransferState::Posted)),
        Ok(pb::TransferState::Pending) => Ok(Some(TransferState::Pending)),
        Ok(pb::TransferState::Voided) => Ok(Some(TransferState::Voided)),
        Ok(pb::TransferState::Expired) => Ok(Some(TransferState::Expired)),
        Err(_) => Err("must be a state of a transfer"),
    }
}

/// What ListEntries asks for.
pub(in crate::rpc) struct ListEntries {
    pub(in crate::rpc) account: Named,
    pub(in crate::rpc) page: Page,
    pub(in crate::rpc) filter: EntryFilter,
    from: Option<i64>,
    until: Option<i64>,
}

impl ListEntries {
    pub(in crate::rpc) fn window(&self) -> Window {
        Window { from: self.from, until: self.until, after: self.page.after(), limit: limit(&self.page) }
    }
}

pub(in crate::rpc) fn list_entries(request: &pb::ListEntriesRequest) -> Result<ListEntries, Error> {
    let mut violations = Violations::default();
    let account = named(&mut violations, &request.account_id);
    let from = at_or_after(&mut violations, "start_time", request.start_time.as_ref());
    let until = at_or_after(&mut violations, "end_time", request.end_time.as_ref());
    let (min, max) = (request.min_amount_minor_units, request.max_amount_minor_units);
    for (field, bound) in [("min_amount_minor_units", min), ("max_amount_minor_units", max)] {
        if bound.is_some_and(i64::is_negative) {
            violations.add(field, "must not be negative");
        }
    }
    if matches!((min, max), (Some(min), Some(max)) if 0 <= max && max < min) {
        violations.add("max_amount_minor_units", "must not be less than min_amount_minor_units");
    }
    if request.min_seq < 0 {
        violations.add("min_seq", "must not be negative");
    }
    let filter = EntryFilter {
        amount_min: min,
        amount_max: max,
        reference: wanted(&mut violations, &request.reference),
    };
    let bounds = [from, until, min, max].map(|bound| bound.unwrap_or(-1).to_be_bytes());
    let question: [&[u8]; 4] =
        [b"entries", request.account_id.as_bytes(), bounds.as_flattened(), request.reference.as_bytes()];
    let page = page(&mut violations, ENTRY_PAGES, &question, request.page_size, &request.page_token);
    match (account, page) {
        (Some(account), Some(page)) if violations.0.is_empty() => {
            Ok(ListEntries { account, page, filter, from, until })
        }
        _ => Err(violations.error()),
    }
}

/// The text that is looked for; absent for any.
fn wanted(violations: &mut Violations, text: &str) -> Option<String> {
    Some(reference(violations, text.to_owned())).filter(|text| !text.is_empty())
}

/// Cuts what was found to the page, and answers the token of the next one: behind the last row of the page, or behind the last one
/// that was looked through if that ended before the page was full.
pub(in crate::rpc) fn cut<T>(page: &Page, listed: &mut Listed<T>, id: impl Fn(&T) -> uuid::Uuid) -> String {
    match listed.looked_through {
        Some(last) if listed.found.len() <= page.size() => page.token(last),
        Some(_) | None => page.cut(&mut listed.found, id),
    }
}
