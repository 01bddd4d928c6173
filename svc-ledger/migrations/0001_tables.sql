-- The ledger's tables. They belong to the owner role; what the service role may do with them is said in 0005.
-- Amounts are minor units, currencies numeric ISO 4217 codes, principals 16-byte digests. No personal data but in
-- transfer_detail, which can be erased.

CREATE SCHEMA ledger;

-- Where the journal ends. Every batch locks this one row and holds it to its commit: total order, one chain, any replica.
CREATE TABLE ledger.head (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    seq       bigint NOT NULL,
    hash      bytea NOT NULL CHECK (octet_length(hash) = 32),
    booked_at timestamptz NOT NULL,
    closed_until date                               -- the last day of the last closed period
) WITH (fillfactor = 10);

INSERT INTO ledger.head (seq, hash, booked_at) VALUES (0, decode(repeat('00', 32), 'hex'), 'epoch');

-- Accounts as they stand. No index on a column that changes, and half of each page free: updates stay on their page (HOT).
CREATE TABLE ledger.account (
    no             bigint PRIMARY KEY,              -- the sequence number of the row that opened it
    id             uuid NOT NULL UNIQUE,
    currency       smallint NOT NULL,
    purpose        smallint NOT NULL,               -- 0 customer, 1 settlement, 2 fees, 3 suspense, 4 exchange
    type           smallint NOT NULL,               -- 1 asset, 2 liability, 3 equity, 4 income, 5 expense
    gl_code        integer NOT NULL,
    min_available  bigint,                          -- the floor; null: none
    max_balance    bigint,                          -- the ceiling; null: none
    state          smallint NOT NULL DEFAULT 0,     -- 0 open, 1 debit frozen, 2 frozen, 3 closed
    state_revision bigint NOT NULL,
    version        bigint NOT NULL CHECK (version > 0),
    dr_posted      bigint NOT NULL CHECK (dr_posted >= 0),
    cr_posted      bigint NOT NULL CHECK (cr_posted >= 0),
    dr_pending     bigint NOT NULL CHECK (dr_pending >= 0),
    cr_pending     bigint NOT NULL CHECK (cr_pending >= 0),
    opened_at      timestamptz NOT NULL,
    booked_at      timestamptz NOT NULL             -- of the version it is at
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);

-- Whose an account is: several customers for a joint account.
CREATE TABLE ledger.party (
    account  bigint NOT NULL REFERENCES ledger.account (no),
    customer text COLLATE "C" NOT NULL CHECK (octet_length(customer) BETWEEN 1 AND 64),
    role     smallint NOT NULL DEFAULT 0,           -- 0 owner
    PRIMARY KEY (account, customer)
);

-- Included and not part of the key: while the table is small, the planner would think this index as good as the key for finding an
-- account's parties, and read all of it.
CREATE INDEX party_by_customer ON ledger.party (customer) INCLUDE (account);

-- What a customer's consent allows a partner, as it stands; consumed in the posting transaction. Every state of it can be
-- replayed from the journal: a grant row says all of it, and each row that takes or gives back says how much was taken then.
CREATE TABLE ledger."grant" (
    consent          uuid PRIMARY KEY,
    account          bigint NOT NULL REFERENCES ledger.account (no),
    partner          text COLLATE "C" NOT NULL CHECK (octet_length(partner) BETWEEN 1 AND 64),
    scopes           smallint NOT NULL,             -- bits: 1 read balance, 2 read entries, 4 create transfers; 0: revoked
    per_transfer_max bigint CHECK (per_transfer_max > 0),
    total_max        bigint CHECK (total_max > 0),
    used             bigint NOT NULL CHECK (used >= 0),
    expires_at       timestamptz NOT NULL,
    revision         bigint NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX grant_by_account ON ledger."grant" (account, partner);

-- Every change of state, for ever. The id is a UUIDv7 whose time is booked_at and whose next bits are seq, so that the primary
-- key, the partitions and the indexes by account are all in the journal's order, and a time is a bound on ids.
CREATE TABLE ledger.journal (
    id          uuid NOT NULL,
    seq         bigint NOT NULL,
    -- 1 open, 2 limits, 3 state, 4 party, 5 grant, 6 transfer, 7 hold, 8 increment, 9 post, 10 void, 11 expire, 12 reverse,
    -- 13 close period
    kind        smallint NOT NULL CHECK (kind BETWEEN 1 AND 13),
    currency    smallint,
    -- open: the account's purpose and 16 times its type; state: it; grant: its scopes; hold: 1 if it pays somebody outside; transfer,
    -- hold: plus 2 if the payer is not told whom
    flags       smallint NOT NULL DEFAULT 0,
    dr          bigint,
    cr          bigint,
    amount      bigint CHECK (amount > 0),
    remaining   bigint CHECK (remaining >= 0),      -- hold and what changes it: what is held after the row
    dr_version  bigint,
    dr_posted   bigint,
    dr_held     bigint,
    dr_expected bigint,
    cr_version  bigint,
    cr_posted   bigint,
    cr_held     bigint,
    cr_expected bigint,
    floor       bigint,                             -- the floor the debit was judged by; open, limits: the account's
    ceiling     bigint,                             -- the ceiling the credit was judged by; open, limits: the account's
    revision    bigint,                             -- open, state, limits, grant: the revision of the intent
    link        bigint,                             -- the first row of the chain it belongs to
    ref         uuid,                               -- the hold, the transfer reversed, the id of the account opened
    gl_code     integer,                            -- open: the account's
    value_date  date,                               -- close period: its last day
    booked_at   timestamptz NOT NULL,
    actor       bytea NOT NULL,
    party       text COLLATE "C",                   -- party: the customer; grant: the partner
    detail_hash bytea,                              -- close period: that of the trial balance
    salt        bytea NOT NULL,
    quote       text COLLATE "C",                   -- the conversion it is half of
    rate        text COLLATE "C",
    consent     uuid,                               -- grant: its consent; else the one that was taken from or given back to
    used        bigint,                             -- what has been taken of the consent after this row
    per_transfer_max bigint,                        -- grant: its caps and its end
    total_max   bigint,
    expires_at  timestamptz,                        -- hold: when it ends by itself
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

CREATE INDEX journal_by_debit ON ledger.journal (dr, id) WHERE dr IS NOT NULL;
CREATE INDEX journal_by_credit ON ledger.journal (cr, id);
CREATE INDEX journal_by_seq ON ledger.journal USING brin (seq) WITH (pages_per_range = 16);

-- One link of the hash chain a batch.
CREATE TABLE ledger.batch (
    seq_from  bigint PRIMARY KEY,
    n         integer NOT NULL CHECK (n > 0),
    prev      bytea NOT NULL,
    root      bytea NOT NULL,
    hash      bytea NOT NULL,
    booked_at timestamptz NOT NULL
);

-- Heads that the ledger has signed, every few seconds one, and those that their keeper elsewhere does not have yet. Who would
-- rewrite the journal must also take back what was signed, here and there.
CREATE TABLE ledger.signed_head (
    seq       bigint PRIMARY KEY,
    hash      bytea NOT NULL CHECK (octet_length(hash) = 32),
    booked_at timestamptz NOT NULL,
    key_id    text COLLATE "C" NOT NULL,
    signature bytea NOT NULL CHECK (octet_length(signature) = 64)
);

CREATE TABLE ledger.head_outbox (
    seq bigint PRIMARY KEY REFERENCES ledger.signed_head (seq)
);

-- What a caller's key stands for, for ever: refusals too.
CREATE TABLE ledger.outcome (
    scope      bytea NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    body_hash  bytea NOT NULL,
    verdict    smallint NOT NULL,                   -- 0 accepted, else the refusal
    row_id     uuid,                                -- accepted: the journal's row
    seq        bigint NOT NULL,                     -- where the journal ended when it was judged
    -- Callers' keys come first because most are made in the order of time (UUIDv7, ULID): new entries then meet on the same pages.
    -- By principal each would land on a page of its own, and the first on each page after a checkpoint logs the page.
    PRIMARY KEY (request_id, scope),
    CHECK ((verdict = 0) = (row_id IS NOT NULL))
);

-- Audit events on their way to their keeper, written by the batch that judged their command and removed once they are kept: a row
-- for up to 200 of one batch, because side by side they are compressed, and have one row and one index entry between them. Small and
-- always changing: vacuumed by its count of dead rows, or the scan for the oldest would wade through them.
CREATE TABLE ledger.audit_outbox (
    no        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- in the order of the batches
    n         integer NOT NULL CHECK (n > 0),       -- how many
    ids       uuid[] NOT NULL,                      -- accepted: that of the journal's row
    calls     bytea[] NOT NULL,                     -- the fields of the event that were known before it was judged
    reasons   text[] NOT NULL,                      -- null: done
    resources text[] NOT NULL                       -- what it touched
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
        toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 10000, toast.autovacuum_vacuum_cost_delay = 0);

-- The server's own compression takes longer than all else that is done to an event. Some servers are built without the other.
DO $$
BEGIN
    IF (SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression') THEN
        ALTER TABLE ledger.audit_outbox
            ALTER COLUMN ids SET COMPRESSION lz4, ALTER COLUMN calls SET COMPRESSION lz4,
            ALTER COLUMN reasons SET COMPRESSION lz4, ALTER COLUMN resources SET COMPRESSION lz4;
    END IF;
END
$$;

-- Holds as they stand.
CREATE TABLE ledger.hold (
    id          uuid PRIMARY KEY,
    creator     bytea NOT NULL,
    dr          bigint NOT NULL,
    cr          bigint NOT NULL,
    amount      bigint NOT NULL CHECK (amount > 0),
    remaining   bigint NOT NULL CHECK (remaining >= 0),
    captured    bigint NOT NULL CHECK (captured >= 0),
    state       smallint NOT NULL,                  -- 0 pending, 1 posted, 2 voided, 3 expired
    external    boolean NOT NULL,                   -- pays somebody outside the bank
    exchange    boolean NOT NULL,                   -- half of a conversion
    link        bigint,                             -- the first row of its chain
    value_date  date NOT NULL,
    consent     uuid,                               -- the consent its amount was taken from, to be given back to
    expires_at  timestamptz,
    resolved_by uuid                                -- the row that changed it last
) WITH (fillfactor = 70);

CREATE INDEX hold_by_expiry ON ledger.hold (expires_at) WHERE state = 0 AND expires_at IS NOT NULL;
CREATE INDEX hold_by_link ON ledger.hold (link) WHERE link IS NOT NULL;

-- What was reversed, and by what. The key is what keeps it from happening twice.
CREATE TABLE ledger.reversal (
    transfer    uuid PRIMARY KEY,
    reversed_by uuid NOT NULL
);

-- Closed spans of value dates.
CREATE TABLE ledger.period (
    end_date      date PRIMARY KEY,
    seq           bigint NOT NULL,
    trial_balance bytea NOT NULL CHECK (octet_length(trial_balance) = 32),
    booked_at     timestamptz NOT NULL
);

-- Texts of transfers. The journal keeps only their salted hash, so that they can be erased without breaking the chain.
CREATE TABLE ledger.transfer_detail (
    transfer  uuid PRIMARY KEY,
    reference text NOT NULL,
    iban      text,                                 -- who is paid outside the bank
    name      text,
    salt      bytea NOT NULL
);
