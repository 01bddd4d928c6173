-- Monthly partitions of the journal, made ahead. There is no default partition on purpose: a row without its partition is a
-- fault that must be seen, not a row in the wrong place.

-- The smallest id of a row booked at a time or later.
CREATE FUNCTION ledger.first_id_at(booked_at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog
AS $$
    SELECT (lpad(to_hex((extract(epoch FROM booked_at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Makes sure that the partitions from last month to `months_ahead` months from today exist; answers how many it made. Today is that of
-- the ledger, whose time stands still at the last booking if the server's clock was set back. A new
-- table is filled with indexes first and attached after, which stops nobody; CREATE ... PARTITION OF would lock the journal.
CREATE FUNCTION ledger.add_partitions(months_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog
AS $$
DECLARE
    this_month timestamp := date_trunc('month', greatest(now(), (SELECT h.booked_at FROM ledger.head h)) AT TIME ZONE 'UTC');
    month      timestamp;
    name       text;
    made       integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('ledger.add_partitions', 0));
    FOR ahead IN -1 .. least(months_ahead, 120) LOOP
        month := this_month + ahead * interval '1 month';
        name := 'journal_' || to_char(month, 'YYYY_MM');
        CONTINUE WHEN to_regclass('ledger.' || name) IS NOT NULL;
        EXECUTE format('CREATE TABLE ledger.%I (LIKE ledger.journal INCLUDING ALL)', name);
        EXECUTE format(
            'ALTER TABLE ledger.journal ATTACH PARTITION ledger.%I FOR VALUES FROM (%L) TO (%L)', name,
            ledger.first_id_at(month AT TIME ZONE 'UTC'),
            ledger.first_id_at((month + interval '1 month') AT TIME ZONE 'UTC'));
        -- Triggers for each row come with the attachment; those for each statement do not.
        EXECUTE format(
            'CREATE TRIGGER keep BEFORE TRUNCATE ON ledger.%I FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', name);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;
