//! Customers who pay one another through the edge without a pause, over REST and gRPC, and write down what they asked, when, and
//! what they were told. Whoever is not told asks again with the same key, as a client of a bank should.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e::World;
use e2e::grpc::Calling;
use e2e::world::{Customer, unique};
use proto::ledger::v1 as pb;
use proto::ledger::v1::create_transfer_request::Credit;
use proto::ledger::v1::ledger_service_client::LedgerServiceClient;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// What somebody wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Transfer { from: usize, to: usize, amount: i64, pending: bool },
    Post { transfer: String },
    Void { transfer: String },
    Read { account: usize },
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Made: its id, and where the journal says so.
    Done { transfer: String, seq: i64 },
    /// Refused for ever.
    Refused { reason: String },
    /// What an account held, at which version, when the journal was how long.
    Held { posted: i64, available: i64, version: i64, seq: i64 },
}

/// One wish from its first try to the answer. Times are those of the one clock of this process.
#[derive(Clone, Debug)]
pub struct Operation {
    pub key: String,
    pub wish: Wish,
    pub asked: Instant,
    pub answered: Instant,
    pub fate: Fate,
}

/// What clients met: tries that failed, and when the last one did.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    pub failed: BTreeMap<String, usize>,
    pub first: Option<Instant>,
    pub last: Option<Instant>,
}

/// The accounts of one run and everything that was asked of them.
pub struct Bank {
    pub customer: Customer,
    pub accounts: Vec<String>,
    pub history: Mutex<Vec<Operation>>,
    pub trouble: Mutex<Trouble>,
    pub done: AtomicU64,
    ledger: LedgerServiceClient<Calling>,
    stopping: AtomicBool,
}

/// What each account begins with: little, so that floors are met.
pub const BEGINS_WITH: i64 = 1_000;
/// Waits between tries: short, because recovery is what is measured.
const TRY_EVERY: Duration = Duration::from_millis(50);
/// After that a wish that still has no answer is a failed test. Longer than the slowest recovery.
const GIVE_UP: Duration = Duration::from_secs(90);
/// What one try may take.
const TRY_LONGEST: Duration = Duration::from_secs(10);

impl Bank {
    pub async fn open(world: &World, accounts: usize) -> Self {
        let customer = world.customer().await;
        let mut opened = Vec::new();
        for _ in 0..accounts {
            let account = world.account(&customer, "EUR", 0).await;
            world.fund(&account, "EUR", BEGINS_WITH).await;
            opened.push(account);
        }
        Self {
            ledger: LedgerServiceClient::new(world.public(Some(&customer.token))),
            customer,
            accounts: opened,
            history: Mutex::default(),
            trouble: Mutex::default(),
            done: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        }
    }

    /// Keeps `clients` paying until they are stopped.
    pub async fn pay(&self, world: &World, clients: usize) {
        let customers = (0..clients).map(|number| self.client(world, number as u64));
        futures::future::join_all(customers).await;
    }

    /// Lets everybody finish what is under way.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    async fn client(&self, world: &World, number: u64) {
        let mut dice = Dice(number * 7_919 + 1);
        let mut holds: Vec<String> = Vec::new();
        while !self.stopping.load(Ordering::Relaxed) {
            let wish = match (dice.roll(10), holds.pop()) {
                (0 | 1, None) => Wish::Read { account: dice.roll(self.accounts.len()) },
                (0..=4, Some(transfer)) => Wish::Post { transfer },
                (5, Some(transfer)) => Wish::Void { transfer },
                (roll, hold) => {
                    holds.extend(hold);
                    let from = dice.roll(self.accounts.len());
                    let to = (from + 1 + dice.roll(self.accounts.len() - 1)) % self.accounts.len();
                    let amount = 1 + dice.roll(BEGINS_WITH as usize / 2) as i64;
                    Wish::Transfer { from, to, amount, pending: roll > 7 }
                }
            };
            let pending = matches!(wish, Wish::Transfer { pending: true, .. });
            // Half of them speak gRPC, half REST.
            if let Fate::Done { transfer, .. } = self.ask(world, wish, number.is_multiple_of(2)).await
                && pending
            {
                holds.push(transfer);
            }
        }
    }

    /// Asks until there is an answer, and writes it down.
    async fn ask(&self, world: &World, wish: Wish, grpc: bool) -> Fate {
        let key = unique("chaos");
        let asked = Instant::now();
        loop {
            let attempt = async {
                if grpc { self.by_grpc(&key, &wish).await } else { self.by_rest(world, &key, &wish).await }
            };
            let tried = tokio::time::timeout(TRY_LONGEST, attempt).await;
            match tried.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
                Ok(fate) => {
                    let answered = Instant::now();
                    self.done.fetch_add(1, Ordering::Relaxed);
                    let operation = Operation { key, wish, asked, answered, fate: fate.clone() };
                    self.history.lock().unwrap().push(operation);
                    return fate;
                }
                Err(why) => {
                    self.note(why);
                    assert!(asked.elapsed() < GIVE_UP, "no answer to {wish:?} in {GIVE_UP:?}");
                    tokio::time::sleep(TRY_EVERY).await;
                }
            }
        }
    }

    fn note(&self, why: String) {
        let mut trouble = self.trouble.lock().unwrap();
        *trouble.failed.entry(why).or_default() += 1;
        let now = Instant::now();
        trouble.first.get_or_insert(now);
        trouble.last = Some(now);
    }

    /// Asks once more for everything that was answered: the answer must be the same.
    pub async fn ask_again(&self, operation: &Operation) -> Fate {
        loop {
            match self.by_grpc(&operation.key, &operation.wish).await {
                Ok(fate) => return fate,
                Err(why) => {
                    assert!(operation.answered.elapsed() < 3 * GIVE_UP, "{why}");
                    tokio::time::sleep(TRY_EVERY).await;
                }
            }
        }
    }

    async fn by_grpc(&self, key: &str, wish: &Wish) -> Result<Fate, String> {
        let mut client = self.ledger.clone();
        let (request_id, done) = (key.to_owned(), |transfer: tonic::Response<pb::Transfer>| {
            let transfer = transfer.into_inner();
            Fate::Done { transfer: transfer.transfer_id, seq: transfer.seq }
        });
        let answer = match wish {
            Wish::Transfer { from, to, amount, pending } => {
                let request = pb::CreateTransferRequest {
                    request_id,
                    debit_account_id: self.accounts[*from].clone(),
                    credit: Some(Credit::CreditAccountId(self.accounts[*to].clone())),
                    amount: Some(pb::Money { currency_code: "EUR".to_owned(), minor_units: *amount }),
                    reference: "chaos".to_owned(),
                    pending: *pending,
                    ..Default::default()
                };
                client.create_transfer(request).await.map(done)
            }
            Wish::Post { transfer } => {
                let transfer_id = transfer.clone();
                let request = pb::PostTransferRequest { transfer_id, request_id, ..Default::default() };
                client.post_transfer(request).await.map(done)
            }
            Wish::Void { transfer } => {
                let transfer_id = transfer.clone();
                let request = pb::VoidTransferRequest { transfer_id, request_id, ..Default::default() };
                client.void_transfer(request).await.map(done)
            }
            Wish::Read { account } => {
                let account_id = self.accounts[*account].clone();
                let request = pb::GetBalanceRequest { account_id, ..Default::default() };
                client.get_balance(request).await.map(|balance| held(&balance.into_inner()))
            }
        };
        answer.or_else(|status| refused(&status))
    }

    async fn by_rest(&self, world: &World, key: &str, wish: &Wish) -> Result<Fate, String> {
        let token = &self.customer.token;
        let empty = serde_json::json!({});
        let (path, body) = match wish {
            Wish::Transfer { from, to, amount, pending } => {
                let (from, to) = (&self.accounts[*from], &self.accounts[*to]);
                let mut body = e2e::world::transfer(from, to, "EUR", *amount, *pending);
                body["reference"] = "chaos".into();
                ("/v1/transfers".to_owned(), body)
            }
            Wish::Post { transfer } => (format!("/v1/transfers/{transfer}:post"), empty),
            Wish::Void { transfer } => (format!("/v1/transfers/{transfer}:void"), empty),
            // Reads have one way, so that what they say has one form.
            Wish::Read { .. } => return self.by_grpc(key, wish).await,
        };
        let answer = world.rest2.try_post(token, &path, key, &body).await?;
        let json =
            serde_json::from_slice::<serde_json::Value>(&answer.body).map_err(|error| error.to_string())?;
        if answer.status.is_success() {
            let transfer = json["transferId"].as_str().unwrap().to_owned();
            return Ok(Fate::Done { transfer, seq: json["seq"].as_str().unwrap().parse().unwrap() });
        }
        let info = e2e::rest::detail(&json["error"], "ErrorInfo").cloned().unwrap_or_default();
        let reason = info["reason"].as_str().unwrap_or("none").to_owned();
        match info["metadata"]["outcome"].as_str() {
            Some("refused") => Ok(Fate::Refused { reason }),
            Some("not_done" | "unknown") => Err(reason),
            other => panic!("a money error without a known outcome ({other:?}): {json}"),
        }
    }
}

fn held(balance: &pb::Balance) -> Fate {
    let units = |money: &Option<pb::Money>| money.as_ref().map_or(0, |money| money.minor_units);
    Fate::Held {
        posted: units(&balance.posted),
        available: units(&balance.available),
        version: balance.version,
        seq: balance.seq,
    }
}

/// A refusal that is an answer, or why there is none.
fn refused(status: &Status) -> Result<Fate, String> {
    let Some(info) = status.get_details_error_info() else {
        // Only the client's own library says that, of a connection that it lost.
        assert!(
            matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled),
            "{status:?}"
        );
        return Err(format!("{:?} without details", status.code()));
    };
    match info.metadata.get("outcome").map(String::as_str) {
        Some("refused") => Ok(Fate::Refused { reason: info.reason }),
        Some("not_done" | "unknown") | None => Err(info.reason),
        Some(other) => panic!("an unknown outcome {other:?}: {status:?}"),
    }
}

/// Random enough, and the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }
}
