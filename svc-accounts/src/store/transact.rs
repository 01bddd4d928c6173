//! Writes: every change is one TransactWriteItems, whose conditions say what must hold. A refused condition is an answer
//! and goes to the caller; a conflict with another transaction is not, and is tried again a few times.

use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem, Update};
use rand::Rng as _;
use uuid::Uuid;

use super::Store;
use super::fault::{self, Fault};
use super::item::Item;
use super::key::Key;
use crate::error::Error;

/// Conflicts are as short as the other transaction: with five tries and doubling pauses they are outlived for half a
/// second, and only a pile-up on one item gets further.
const TRIES: u32 = 5;
const FIRST_PAUSE_MS: u64 = 15;

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// All of it was written.
    All,
    /// Nothing was written, for the conditions of these steps do not hold.
    Nothing(Refused),
}

/// The steps whose conditions do not hold, by their position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(Vec<bool>);

impl Refused {
    /// Whether it was (also) the step at `position`.
    pub fn at(&self, position: usize) -> bool {
        self.0.get(position).copied().unwrap_or(false)
    }
}

/// Why DynamoDB cancelled a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cancelled {
    Refused(Refused),
    Conflict,
    Other(Fault),
}

impl Store {
    /// Writes all of the steps or none.
    pub(super) async fn transact(
        &self,
        operation: &'static str,
        steps: Vec<TransactWriteItem>,
    ) -> Result<Written, Error> {
        // Names this write and no other: it keeps the driver's repeats, after an answer that got lost, from meeting what
        // the first try has written. DynamoDB forgets it after ten minutes and refuses it with other contents, so it can
        // be neither the caller's request id nor the record's id.
        let token = Uuid::new_v4();
        let write = self
            .client
            .transact_write_items()
            .set_transact_items(Some(steps))
            .client_request_token(token.hyphenated().to_string());
        let mut pause_ms = FIRST_PAUSE_MS;
        for tried in 1.. {
            let error = match write.clone().send().await {
                Ok(_) => return Ok(Written::All),
                Err(error) => error,
            };
            match cancelled(operation, &error) {
                None => return Err(fault::sort(operation, &error)),
                Some(Cancelled::Refused(refused)) => return Ok(Written::Nothing(refused)),
                Some(Cancelled::Other(fault)) => return Err(Error::Store(fault)),
                Some(Cancelled::Conflict) if tried == TRIES => break,
                Some(Cancelled::Conflict) => {}
            }
            // Jitter, or the two that met will meet again.
            let jitter_ms = rand::rng().random_range(0..=pause_ms);
            tokio::time::sleep(Duration::from_millis(pause_ms + jitter_ms)).await;
            pause_ms *= 2;
        }
        Err(Error::Contended)
    }

    /// Writes an item where none is.
    pub(super) fn put_new(&self, item: Item) -> Result<TransactWriteItem, Error> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .build()?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Writes an item over one whose number `name` is `value`.
    pub(super) fn put_over(
        &self,
        item: Item,
        name: &str,
        value: impl ToString,
    ) -> Result<TransactWriteItem, Error> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("#name = :value")
            .expression_attribute_names("#name", name)
            .expression_attribute_values(":value", AttributeValue::N(value.to_string()))
            .build()?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Writes an item, whatever is there.
    pub(super) fn put(&self, item: Item) -> Result<TransactWriteItem, Error> {
        let put = Put::builder().table_name(&self.table).set_item(Some(item)).build()?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Demands that there is an item.
    pub(super) fn demand(&self, key: &Key) -> Result<TransactWriteItem, Error> {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(key.attributes()))
            .condition_expression("attribute_exists(pk)")
            .build()?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }

    /// Demands that the text `name` of the item at `key` is `value`.
    pub(super) fn demand_text(&self, key: &Key, name: &str, value: &str) -> Result<TransactWriteItem, Error> {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(key.attributes()))
            .condition_expression("#name = :value")
            .expression_attribute_names("#name", name)
            .expression_attribute_values(":value", AttributeValue::S(value.to_owned()))
            .build()?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }

    /// Demands that the number `name` of the item at `key` is `value`.
    pub(super) fn demand_number(
        &self,
        key: &Key,
        name: &str,
        value: impl ToString,
    ) -> Result<TransactWriteItem, Error> {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(key.attributes()))
            .condition_expression("#name = :value")
            .expression_attribute_names("#name", name)
            .expression_attribute_values(":value", AttributeValue::N(value.to_string()))
            .build()?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }

    /// Removes an item, if there is one.
    pub(super) fn delete(&self, key: &Key) -> Result<TransactWriteItem, Error> {
        let delete = Delete::builder().table_name(&self.table).set_key(Some(key.attributes())).build()?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// Changes attributes of the item at `key` while `condition` holds; `values` are those of both expressions. Attribute
    /// names go in as `#name`, because some of ours are reserved words of DynamoDB's.
    pub(super) fn update(
        &self,
        key: &Key,
        change: &str,
        condition: &str,
        names: &[(&str, &str)],
        values: Item,
    ) -> Result<TransactWriteItem, Error> {
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key.attributes()))
            .update_expression(change)
            .condition_expression(condition)
            .set_expression_attribute_values(Some(values));
        for (placeholder, name) in names {
            update = update.expression_attribute_names(*placeholder, *name);
        }
        Ok(TransactWriteItem::builder().update(update.build()?).build())
    }
}

/// `None` for errors other than a cancelled transaction.
fn cancelled(operation: &'static str, error: &SdkError<TransactWriteItemsError>) -> Option<Cancelled> {
    let error = error.as_service_error()?;
    if let TransactWriteItemsError::TransactionCanceledException(cancelled) = error {
        let reasons = cancelled.cancellation_reasons().iter();
        return Some(judge(
            operation,
            &reasons.map(|reason| reason.code().unwrap_or("None")).collect::<Vec<_>>(),
        ));
    }
    error.is_transaction_in_progress_exception().then_some(Cancelled::Conflict)
}

/// Reads the reasons of a cancelled transaction, one for each step. A conflict outweighs a refused condition, because the
/// condition may have been refused by what the other transaction is about to take back.
fn judge(operation: &'static str, codes: &[&str]) -> Cancelled {
    const PASSING: [&str; 3] = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
    if codes.iter().any(|code| PASSING.contains(code)) {
        return Cancelled::Conflict;
    }
    let refused: Vec<bool> = codes.iter().map(|code| *code == "ConditionalCheckFailed").collect();
    if refused.contains(&true) {
        return Cancelled::Refused(Refused(refused));
    }
    // Codes only: the messages beside them may quote items.
    Cancelled::Other(Fault { operation, code: "cancelled".to_owned(), message: codes.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The local engine never has two transactions at once, so that conflicts are told here.
    #[test]
    fn a_conflict_is_tried_again_and_a_refused_condition_is_an_answer() {
        let refused = |steps: &[bool]| Cancelled::Refused(Refused(steps.to_vec()));
        for (codes, expect) in [
            (["None", "ConditionalCheckFailed"].as_slice(), refused(&[false, true])),
            (&["ConditionalCheckFailed", "ConditionalCheckFailed"], refused(&[true, true])),
            (&["TransactionConflict", "None"], Cancelled::Conflict),
            (&["ConditionalCheckFailed", "TransactionConflict"], Cancelled::Conflict),
            (&["None", "ThrottlingError"], Cancelled::Conflict),
            (&["None", "ProvisionedThroughputExceeded"], Cancelled::Conflict),
        ] {
            assert_eq!(judge("Test", codes), expect, "{codes:?}");
        }
        let other = judge("Test", &["None", "ItemCollectionSizeLimitExceeded"]);
        assert!(
            matches!(&other, Cancelled::Other(fault) if fault.message.contains("ItemCollection")),
            "{other:?}"
        );
    }

    #[test]
    fn a_step_beyond_the_reasons_is_not_refused() {
        let refused = Refused(vec![false, true]);
        assert_eq!([0, 1, 2].map(|step| refused.at(step)), [false, true, false]);
    }
}
