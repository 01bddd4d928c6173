//! Between which accounts money moves. The numbers are from zero; the baselines use the same three spreads.

use rand::Rng as _;

/// As many as the baselines have.
pub const ACCOUNTS: usize = 10_000;
/// The account of [`Spread::Hot`].
const HOT: usize = 0;
/// The exponent of [`Spread::Zipf`]: that of YCSB, with which the most wanted of ten thousand accounts is on one side in ten.
const EXPONENT: f64 = 0.99;

/// How transfers spread over the accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Every pair is as likely.
    Uniform,
    /// Both sides by Zipf's law.
    Zipf,
    /// One account is credited by every transfer.
    Hot,
}

impl Spread {
    pub const ALL: [Self; 3] = [Self::Uniform, Self::Zipf, Self::Hot];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "Zipf",
            Self::Hot => "one hot account",
        }
    }
}

/// Draws pairs of accounts.
pub struct Pairs {
    spread: Spread,
    /// The sum of the likelihoods up to each account.
    sums: Vec<f64>,
}

impl Pairs {
    pub fn new(spread: Spread) -> Self {
        let mut sum = 0.0;
        let sums = (1..=ACCOUNTS).map(|rank| {
            sum += (rank as f64).powf(-EXPONENT);
            sum
        });
        Self { spread, sums: sums.collect() }
    }

    /// Who is debited and who is credited, never the same.
    pub fn draw(&self) -> (usize, usize) {
        let mut random = rand::rng();
        match self.spread {
            Spread::Uniform => {
                let debit = random.random_range(0..ACCOUNTS);
                let other = random.random_range(0..ACCOUNTS - 1);
                (debit, if other < debit { other } else { other + 1 })
            }
            Spread::Hot => (random.random_range(HOT + 1..ACCOUNTS), HOT),
            Spread::Zipf => {
                let debit = self.zipf();
                loop {
                    let credit = self.zipf();
                    if credit != debit {
                        return (debit, credit);
                    }
                }
            }
        }
    }

    fn zipf(&self) -> usize {
        let whole = self.sums[ACCOUNTS - 1];
        let point = rand::rng().random_range(0.0..whole);
        self.sums.partition_point(|sum| *sum <= point).min(ACCOUNTS - 1)
    }
}
