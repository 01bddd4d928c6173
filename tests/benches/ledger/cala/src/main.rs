//! cala-ledger under the load of `make bench-ledger`: the same accounts, the same spreads, transfers of one cent. Nothing of what it
//! can do besides is on: no velocity limit (so no floor), no account sets, no effective balances.
//!
//! `cala <url> prepare` makes the accounts. `cala <url> <spread> <clients> <batch> <seconds>` warms up, prints a line, waits for one
//! on its input, posts for so long, prints `{"transfers", "wall_ms", "p50_ms", "p99_ms"}`, and waits for the end of its input.

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cala_ledger::account::NewAccount;
use cala_ledger::journal::NewJournal;
use cala_ledger::posting::PostingInput;
use cala_ledger::tx_template::{
    NewParamDefinition, NewTxTemplate, NewTxTemplateEntry, NewTxTemplateTransaction, ParamDataType, Params,
};
use cala_ledger::{CalaLedger, CalaLedgerConfig, TransactionId};
use rust_decimal::Decimal;
use spread::{ACCOUNTS, Pairs, Spread};
use uuid::Uuid;

#[path = "../../spread.rs"]
mod spread;

const TEMPLATE: &str = "TRANSFER";
const JOURNAL: Uuid = Uuid::from_u128(0xCA1A);
/// Connections: as many as there are clients, up to what the naive design has.
const CONNECTIONS_MAX: usize = 32;

fn account(number: usize) -> Uuid {
    Uuid::from_u128(0xCA1A_0000_0000_0000_0000_0000_0000 + number as u128)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [url, "prepare"] => prepare(&start(url, CONNECTIONS_MAX).await?).await,
        [url, name, clients, batch, seconds] => {
            let spread = Spread::ALL.into_iter().find(|spread| spread.name() == name).context("no such spread")?;
            let clients = clients.parse()?;
            let cala = Arc::new(start(url, clients).await?);
            let pairs = Arc::new(Pairs::new(spread));
            let (batch, seconds) = (batch.parse()?, Duration::from_secs(seconds.parse()?));
            post(&cala, &pairs, clients, batch, seconds / 4).await?;
            println!("ready");
            std::io::stdout().flush()?;
            std::io::stdin().lock().read_line(&mut String::new())?;
            let began = Instant::now();
            let mut latencies = post(&cala, &pairs, clients, batch, seconds).await?;
            let wall = began.elapsed();
            latencies.sort_unstable();
            let quantile = |share: f64| {
                latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
            };
            println!(
                "{}",
                serde_json::json!({
                    "transfers": latencies.len() * batch,
                    "wall_ms": wall.as_secs_f64() * 1e3,
                    "p50_ms": quantile(0.5),
                    "p99_ms": quantile(0.99),
                })
            );
            std::io::stdout().flush()?;
            // Whoever measures reads the process's CPU time first.
            std::io::stdin().lock().read_line(&mut String::new())?;
            Ok(())
        }
        _ => anyhow::bail!("cala <url> prepare | <spread> <clients> <batch> <seconds>"),
    }
}

async fn start(url: &str, clients: usize) -> anyhow::Result<CalaLedger> {
    let connections = u32::try_from(clients.min(CONNECTIONS_MAX))?;
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(connections).connect(url).await?;
    let config = CalaLedgerConfig::builder().pool(pool.clone()).exec_migrations(true).build()?;
    // Its jobs roll up account sets; there are none.
    let mut jobs = cala_ledger::job::Jobs::init(
        cala_ledger::job::JobSvcConfig::builder().pool(pool).build().map_err(anyhow::Error::msg)?,
    )
    .await?;
    Ok(CalaLedger::init(config, &mut jobs).await?)
}

async fn prepare(cala: &CalaLedger) -> anyhow::Result<()> {
    cala.journals().create(NewJournal::builder().id(JOURNAL).name("bench").build()).await?;
    for number in 0..ACCOUNTS {
        let account = NewAccount::builder()
            .id(account(number))
            .name(format!("account {number}"))
            .code(format!("account {number}"))
            .build();
        cala.accounts().create(account).await?;
    }
    let param = |name: &str, kind| NewParamDefinition::builder().name(name).r#type(kind).build();
    let entry = |direction: &str, account: &str| {
        NewTxTemplateEntry::builder()
            .entry_type(format!("'TRANSFER_{direction}'"))
            .account_id(account)
            .layer("SETTLED")
            .direction(direction)
            .units("params.amount")
            .currency("'EUR'")
            .build()
    };
    let template = NewTxTemplate::builder()
        .id(Uuid::now_v7())
        .code(TEMPLATE)
        .params(vec![
            param("journal_id", ParamDataType::Uuid)?,
            param("sender", ParamDataType::Uuid)?,
            param("recipient", ParamDataType::Uuid)?,
            param("amount", ParamDataType::Decimal)?,
        ])
        .transaction(
            NewTxTemplateTransaction::builder()
                .effective("date()")
                .journal_id("params.journal_id")
                .build()?,
        )
        .entries(vec![entry("DEBIT", "params.sender")?, entry("CREDIT", "params.recipient")?])
        .build();
    cala.tx_templates().create(template).await?;
    Ok(())
}

/// Posts with so many clients at once, each a batch at a time, and returns how long each posting took.
async fn post(
    cala: &Arc<CalaLedger>,
    pairs: &Arc<Pairs>,
    clients: usize,
    batch: usize,
    time: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let end = Instant::now() + time;
    let mut posting = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let (cala, pairs) = (Arc::clone(cala), Arc::clone(pairs));
        posting.spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let began = Instant::now();
                if batch == 1 {
                    cala.post_transaction(TransactionId::new(), TEMPLATE, params(&pairs)).await?;
                } else {
                    let batch = (0..batch)
                        .map(|_| PostingInput::new(TransactionId::new(), TEMPLATE, params(&pairs)))
                        .collect();
                    cala.post_transactions(batch).await?;
                }
                latencies.push(began.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(latencies) = posting.join_next().await {
        all.extend(latencies??);
    }
    Ok(all)
}

fn params(pairs: &Pairs) -> Params {
    let (debit, credit) = pairs.draw();
    let mut params = Params::new();
    params.insert("journal_id", JOURNAL);
    params.insert("sender", account(debit));
    params.insert("recipient", account(credit));
    params.insert("amount", Decimal::new(1, 2));
    params
}
