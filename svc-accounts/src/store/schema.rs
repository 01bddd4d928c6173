//! The table itself: two text keys and nothing else. In production it is infrastructure (point-in-time recovery, a
//! customer-managed key, deletion protection) and only checked here; in development it is made.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableDescription,
    TableStatus,
};

use super::Store;
use super::key::{PARTITION, SORT};

/// A new table is there within seconds; after this it is not coming.
const CREATION_MAX: Duration = Duration::from_secs(60);
/// How often to look for it.
const CREATION_POLL: Duration = Duration::from_millis(100);

impl Store {
    /// Checks the table, after making it where that is allowed.
    pub(super) async fn ensure_table(&self, create: bool) -> anyhow::Result<()> {
        let table = match self.describe().await? {
            Some(table) => table,
            None if create => {
                self.create().await?;
                self.created().await?
            }
            None => bail!("there is no DynamoDB table {:?}", self.table),
        };
        ensure!(
            has_our_keys(&table),
            "the DynamoDB table {:?} has other keys than {PARTITION}, {SORT}",
            self.table
        );
        Ok(())
    }

    /// The table, if there is one.
    async fn describe(&self) -> anyhow::Result<Option<TableDescription>> {
        match self.client.describe_table().table_name(&self.table).send().await {
            Ok(answer) => Ok(answer.table),
            Err(error)
                if error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()) =>
            {
                Ok(None)
            }
            Err(error) => {
                bail!("cannot describe the DynamoDB table {:?}: {}", self.table, DisplayErrorContext(error))
            }
        }
    }

    async fn create(&self) -> anyhow::Result<()> {
        let mut create =
            self.client.create_table().table_name(&self.table).billing_mode(BillingMode::PayPerRequest);
        for (name, role) in [(PARTITION, KeyType::Hash), (SORT, KeyType::Range)] {
            let attribute = AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(ScalarAttributeType::S)
                .build()?;
            let key = KeySchemaElement::builder().attribute_name(name).key_type(role).build()?;
            create = create.attribute_definitions(attribute).key_schema(key);
        }
        match create.send().await {
            Ok(_) => Ok(()),
            // Another replica was first.
            Err(error)
                if error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()) =>
            {
                Ok(())
            }
            Err(error) => {
                bail!("cannot create the DynamoDB table {:?}: {}", self.table, DisplayErrorContext(error))
            }
        }
    }

    /// Waits for a table that was just made.
    async fn created(&self) -> anyhow::Result<TableDescription> {
        let active = async {
            loop {
                match self.describe().await? {
                    Some(table) if table.table_status() == Some(&TableStatus::Active) => return Ok(table),
                    Some(_) | None => tokio::time::sleep(CREATION_POLL).await,
                }
            }
        };
        tokio::time::timeout(CREATION_MAX, active)
            .await
            .with_context(|| format!("the new DynamoDB table {:?} did not become active", self.table))?
    }
}

fn has_our_keys(table: &TableDescription) -> bool {
    let keys = table.key_schema().iter().map(|key| (key.attribute_name(), key.key_type()));
    let ours = [(PARTITION, &KeyType::Hash), (SORT, &KeyType::Range)];
    let texts = table.attribute_definitions().iter().filter(|attribute| {
        [PARTITION, SORT].contains(&attribute.attribute_name())
            && attribute.attribute_type() == &ScalarAttributeType::S
    });
    keys.eq(ours) && texts.count() == ours.len()
}
