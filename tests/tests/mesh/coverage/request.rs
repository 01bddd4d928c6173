//! A plausible request for any RPC, filled in by the names of its fields where they mean somebody's objects, and by their types
//! where they do not.

use std::time::{Duration, SystemTime};

use chrono::Datelike as _;
use e2e::world::unique;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use super::victim::{ANOTHER_PARTNER, Victim};

/// Fields that a plausible request leaves alone.
const LEFT_OUT: [&str; 20] = [
    "after_seq",
    "as_of",
    "credit_condition",
    "debit_condition",
    "keep_rest",
    "exchange",
    "extensions",
    "external_payee",
    "lease_id",
    "linked",
    "min_available_minor_units",
    "min_seq",
    "overdraft_limit_minor_units",
    "page_size",
    "page_token",
    "payee_token",
    "validate_only",
    "value_date",
    "version",
    "whole_chain",
];

/// A request that would do what it says if the right one sent it.
pub fn plausible(descriptor: &MessageDescriptor, victim: &Victim) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields().filter(|field| !LEFT_OUT.contains(&field.name())) {
        let value = value(&field, victim);
        let value = if field.is_list() { Value::List(vec![value]) } else { value };
        message.set_field(&field, value);
    }
    message
}

fn value(field: &FieldDescriptor, victim: &Victim) -> Value {
    let ago = |seconds: u64| Value::Message(time(field, SystemTime::now() - Duration::from_secs(seconds)));
    let text = |text: &str| Value::String(text.to_owned());
    match (field.name(), field.kind()) {
        ("customer_id" | "customer_ids", _) => text(&victim.customer.id),
        ("account_id" | "account_ids" | "debit_account_id", _) => text(&victim.account),
        ("credit_account_id", _) => text(&victim.stranger_account),
        ("transfer_id", _) => text(&victim.transfer),
        ("document_id", _) => text(&victim.document),
        ("consent_id", _) => text(&victim.consent),
        ("partner_id", _) => text(ANOTHER_PARTNER),
        ("expire_time", _) => Value::Message(time(field, SystemTime::now() + Duration::from_secs(3600))),
        ("pending", _) => Value::Bool(true),
        ("request_id", _) => Value::String(unique("coverage")),
        ("iban", _) => text("GB29NWBK60161331926819"),
        ("email", _) => Value::String(format!("{}@example.com", unique("coverage"))),
        ("display_name" | "title" | "reference" | "key" | "keys" | "tags", _) => text("coverage"),
        ("rpc", _) => text("ledger.v1.LedgerService/CreateTransfer"),
        ("content_type", _) => text("text/plain"),
        ("currency_code", _) => text("EUR"),
        ("minor_units" | "state_revision", _) => Value::I64(1),
        ("value" | "data", Kind::Bytes) => Value::Bytes("coverage".into()),
        ("hash", Kind::Bytes) => Value::Bytes(vec![1; 32].into()),
        ("signature", Kind::Bytes) => Value::Bytes(vec![1; 64].into()),
        ("start_time", _) => ago(3600),
        ("end_time", _) => ago(1),
        // The last value rather than the first, which says that nothing was chosen.
        (_, Kind::Enum(kind)) => Value::EnumNumber(kind.values().last().unwrap().number()),
        (_, Kind::Message(descriptor)) => match descriptor.full_name() {
            "google.protobuf.Timestamp" => ago(1),
            // A second.
            "google.protobuf.Duration" => {
                let mut message = DynamicMessage::new(descriptor);
                message.set_field_by_name("seconds", Value::I64(1));
                Value::Message(message)
            }
            // Three weeks ago: long over, and not too long.
            "google.type.Date" => Value::Message(date(descriptor)),
            _ => Value::Message(plausible(&descriptor, victim)),
        },
        (_, Kind::String) => text("coverage"),
        (_, Kind::Int64) => Value::I64(1),
        (_, Kind::Int32) => Value::I32(1),
        (_, Kind::Bool) => Value::Bool(false),
        _ => panic!(
            "no plausible value for {}: give it one in {}, or name it in LEFT_OUT there",
            field.full_name(),
            file!()
        ),
    }
}

fn time(field: &FieldDescriptor, time: SystemTime) -> DynamicMessage {
    let Kind::Message(descriptor) = field.kind() else { panic!("{} is a time", field.full_name()) };
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut message = DynamicMessage::new(descriptor);
    message.set_field_by_name("seconds", Value::I64(i64::try_from(since.as_secs()).unwrap()));
    message
}

fn date(descriptor: MessageDescriptor) -> DynamicMessage {
    let day = chrono::Utc::now().date_naive() - chrono::Days::new(21);
    let mut message = DynamicMessage::new(descriptor);
    for (name, part) in
        [("year", day.year()), ("month", day.month().cast_signed()), ("day", day.day().cast_signed())]
    {
        message.set_field_by_name(name, Value::I32(part));
    }
    message
}
