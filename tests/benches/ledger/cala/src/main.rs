//! Posts transfers with cala-ledger: `cala-bench <postgres URL> <accounts>` makes a journal, the accounts and a template
//! in an empty database and prints `ready`. For each line `seconds clients uniform` or `seconds clients hot` of its input it then posts
//! as long, and prints how many transfers were made and the median and the 99th hundredth of their latencies in microseconds.

use std::io::BufRead as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cala_ledger::account::NewAccount;
use cala_ledger::journal::NewJournal;
use cala_ledger::tx_template::{
    NewParamDefinition, NewTxTemplate, NewTxTemplateEntry, NewTxTemplateTransaction, ParamDataType, Params,
};
use cala_ledger::{AccountId, CalaLedger, CalaLedgerConfig, JournalId, TransactionId};
use rust_decimal::Decimal;
use tokio::task::JoinSet;

const TEMPLATE: &str = "TRANSFER";

struct Bench {
    cala: CalaLedger,
    accounts: Vec<AccountId>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().context("no URL")?;
    let accounts: usize = arguments.next().context("no number of accounts")?.parse()?;
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(40).connect(&url).await?;
    let migrate = CalaLedgerConfig::builder().pool(pool.clone()).exec_migrations(true).build()?;
    let mut jobs = job::Jobs::init(job::JobSvcConfig::builder().pool(pool).build()?).await?;
    let cala = CalaLedger::init(migrate, &mut jobs).await?;
    let journal = JournalId::new();
    cala.journals().create(NewJournal::builder().id(journal).name("bench").build()?).await?;
    template(&cala, journal).await?;
    let mut bench = Bench { cala, accounts: Vec::new() };
    for number in 0..accounts {
        let id = AccountId::new();
        let (name, code) = (format!("bench {number}"), format!("bench-{number}"));
        bench.cala.accounts().create(NewAccount::builder().id(id).name(name).code(code).build()?).await?;
        bench.accounts.push(id);
    }
    let bench = Arc::new(bench);
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let [seconds, clients, spread] = words[..] else { anyhow::bail!("not `seconds clients spread`: {line}") };
        let time = Duration::from_secs(seconds.parse()?);
        let mut latencies = post(&bench, time, clients.parse()?, spread == "hot").await?;
        latencies.sort_unstable();
        let quantile = |share: f64| latencies[(latencies.len() as f64 * share) as usize].as_micros();
        println!("{} {} {}", latencies.len(), quantile(0.5), quantile(0.99));
    }
    Ok(())
}

async fn template(cala: &CalaLedger, journal: JournalId) -> anyhow::Result<()> {
    let param = |name: &str, of| NewParamDefinition::builder().name(name).r#type(of).build();
    let params = vec![
        param("debit", ParamDataType::Uuid)?,
        param("credit", ParamDataType::Uuid)?,
        param("units", ParamDataType::Decimal)?,
    ];
    let entry = |kind: &str, account: &str, direction: &str| {
        NewTxTemplateEntry::builder()
            .entry_type(format!("'{kind}'"))
            .account_id(format!("params.{account}"))
            .layer("SETTLED")
            .direction(direction)
            .units("params.units")
            .currency("'EUR'")
            .build()
    };
    let entries = vec![entry("TRANSFER_DR", "debit", "DEBIT")?, entry("TRANSFER_CR", "credit", "CREDIT")?];
    let transaction = NewTxTemplateTransaction::builder()
        .effective("date()")
        .journal_id(format!("uuid('{journal}')"))
        .build()?;
    let template = NewTxTemplate::builder()
        .id(uuid::Uuid::now_v7())
        .code(TEMPLATE)
        .params(params)
        .transaction(transaction)
        .entries(entries)
        .build()?;
    cala.tx_templates().create(template).await?;
    Ok(())
}

async fn post(bench: &Arc<Bench>, time: Duration, clients: usize, hot: bool) -> anyhow::Result<Vec<Duration>> {
    let end = Instant::now() + time;
    let mut callers = JoinSet::new();
    for _ in 0..clients {
        let bench = Arc::clone(bench);
        callers.spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let (debit, credit) = pair(bench.accounts.len(), hot);
                let mut params = Params::new();
                params.insert("debit", bench.accounts[debit]);
                params.insert("credit", bench.accounts[credit]);
                params.insert("units", Decimal::new(rand::random_range(1..=1_000), 2));
                let began = Instant::now();
                bench.cala.post_transaction(TransactionId::new(), TEMPLATE, params).await?;
                latencies.push(began.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(latencies) = callers.join_next().await {
        all.extend(latencies??);
    }
    Ok(all)
}

fn pair(accounts: usize, hot: bool) -> (usize, usize) {
    if hot {
        return (rand::random_range(1..accounts), 0);
    }
    let debit = rand::random_range(0..accounts);
    let credit = rand::random_range(0..accounts - 1);
    (debit, if credit < debit { credit } else { credit + 1 })
}
