-- The calls of a batch: open_batch locks the head and reads, write_batch writes, each one round trip; write_settings goes before
-- write_batch for what is rare: accounts opened or set, grants, periods. (A function has at most 100 parameters.) The writer's
-- session forbids sequential scans, hash and merge joins, because the planner knows nothing of the length of an array: every
-- statement here is a lookup by key for each element, and stays one at any size of the batch. The planner may also turn a join
-- around, and look through the array for each row of the table, if it has seen that table small; a plan made on the first day of a
-- database would then last for as long as a session. LATERAL with LIMIT or OFFSET leaves it no choice.

-- Locks the head and reads all that a batch concerns, as columns of one row. In a volatile function every statement has a
-- snapshot of its own: those after the lock see everything that was committed before it was granted. If the journal still ends at
-- the hash that the caller knows, nothing has changed since, and only what it does not remember of accounts and parties is read.
CREATE FUNCTION ledger.open_batch(
    known_hash bytea, unknown_account_ids uuid[], unknown_party_ids uuid[],
    account_ids uuid[], party_ids uuid[], hold_ids uuid[], scopes bytea[], request_ids text[],
    consents uuid[], debited uuid[], debiting text[], chain_ids uuid[], reversed uuid[], closing boolean,
    OUT head_seq bigint, OUT head_hash bytea, OUT now_ms bigint, OUT closed_until date,
    OUT account_no bigint[], OUT account_id uuid[], OUT account_currency smallint[], OUT account_purpose smallint[],
    OUT account_type smallint[], OUT account_gl_code integer[],
    OUT account_floor bigint[], OUT account_ceiling bigint[], OUT account_state smallint[], OUT account_revision bigint[], OUT account_version bigint[],
    OUT account_dr_posted bigint[], OUT account_cr_posted bigint[], OUT account_dr_pending bigint[],
    OUT account_cr_pending bigint[], OUT account_opened_ms bigint[],
    OUT party_account bigint[], OUT party_customer text[],
    OUT hold_id uuid[], OUT hold_creator bytea[], OUT hold_dr bigint[], OUT hold_cr bigint[], OUT hold_amount bigint[],
    OUT hold_remaining bigint[], OUT hold_captured bigint[], OUT hold_state smallint[], OUT hold_external boolean[],
    OUT hold_exchange boolean[], OUT hold_link bigint[], OUT hold_value_date date[], OUT hold_expires_ms bigint[],
    OUT hold_consent uuid[], OUT hold_resolved_by uuid[],
    OUT direct_id uuid[], OUT direct_dr bigint[], OUT direct_cr bigint[], OUT direct_amount bigint[], OUT direct_final boolean[],
    OUT reversal_transfer uuid[], OUT reversal_by uuid[],
    OUT grant_consent uuid[], OUT grant_account bigint[], OUT grant_partner text[], OUT grant_scopes smallint[],
    OUT grant_per_transfer_max bigint[], OUT grant_total_max bigint[], OUT grant_used bigint[], OUT grant_expires_ms bigint[],
    OUT grant_revision bigint[],
    OUT outcome_place bigint[], OUT outcome_body bytea[], OUT outcome_verdict smallint[], OUT outcome_row uuid[],
    OUT trial_currency smallint[], OUT trial_type smallint[], OUT trial_gl_code integer[], OUT trial_accounts bigint[],
    OUT trial_debits text[], OUT trial_credits text[])
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    more_accounts bigint[] := '{}';
    wanted        uuid[] := consents;
BEGIN
    SELECT h.seq, h.hash INTO STRICT head_seq, head_hash FROM ledger.head h FOR UPDATE;
    -- The booking time in a statement of its own: a SELECT ... FOR UPDATE computes its columns before it waits, and again only if
    -- the row has changed meanwhile. Behind a batch that only refused, or one that was rolled back, the time would be that of
    -- joining the queue, and a row would appear in a past that somebody has read already. Whole milliseconds: an id carries no
    -- more, and id and booking time must agree.
    SELECT (extract(epoch FROM date_trunc('milliseconds', greatest(clock_timestamp(), h.booked_at))) * 1000)::bigint, h.closed_until
      INTO STRICT now_ms, closed_until
      FROM ledger.head h;

    IF head_hash = known_hash THEN
        account_ids := unknown_account_ids;
        party_ids := unknown_party_ids;
    END IF;

    IF cardinality(hold_ids) > 0 THEN
        SELECT array_agg(h.id), array_agg(h.creator), array_agg(h.dr), array_agg(h.cr), array_agg(h.amount),
               array_agg(h.remaining), array_agg(h.captured), array_agg(h.state), array_agg(h.external),
               array_agg(h.exchange), array_agg(h.link), array_agg(h.value_date),
               array_agg((extract(epoch FROM h.expires_at) * 1000)::bigint), array_agg(h.consent), array_agg(h.resolved_by)
          INTO hold_id, hold_creator, hold_dr, hold_cr, hold_amount, hold_remaining, hold_captured, hold_state,
               hold_external, hold_exchange, hold_link, hold_value_date, hold_expires_ms, hold_consent, hold_resolved_by
          FROM (SELECT o.* FROM ledger.hold o WHERE o.id = ANY (hold_ids)
                UNION
                SELECT o.* FROM ledger.hold c
                 CROSS JOIN LATERAL (SELECT * FROM ledger.hold w WHERE w.link = c.link OFFSET 0) o
                 WHERE c.id = ANY (chain_ids)) h;
        more_accounts := coalesce(hold_dr || hold_cr, '{}');
        wanted := wanted || array_remove(hold_consent, NULL);
    END IF;

    IF cardinality(reversed) > 0 THEN
        -- 6 transfer, 12 reverse: what moved money at once. What was held is among the holds.
        SELECT array_agg(j.id), array_agg(j.dr), array_agg(j.cr), array_agg(j.amount),
               array_agg(j.kind = 12 OR j.quote IS NOT NULL)
          INTO direct_id, direct_dr, direct_cr, direct_amount, direct_final
          FROM ledger.journal j WHERE j.id = ANY (reversed) AND j.kind IN (6, 12);
        more_accounts := more_accounts || coalesce(direct_dr || direct_cr, '{}');
        SELECT array_agg(r.transfer), array_agg(r.reversed_by)
          INTO reversal_transfer, reversal_by
          FROM ledger.reversal r WHERE r.transfer = ANY (reversed);
    END IF;

    SELECT array_agg(a.no), array_agg(a.id), array_agg(a.currency), array_agg(a.purpose), array_agg(a.type),
           array_agg(a.gl_code), array_agg(a.min_available), array_agg(a.max_balance), array_agg(a.state), array_agg(a.state_revision), array_agg(a.version), array_agg(a.dr_posted),
           array_agg(a.cr_posted), array_agg(a.dr_pending), array_agg(a.cr_pending),
           array_agg((extract(epoch FROM a.opened_at) * 1000)::bigint)
      INTO account_no, account_id, account_currency, account_purpose, account_type, account_gl_code, account_floor,
           account_ceiling, account_state, account_revision, account_version, account_dr_posted, account_cr_posted, account_dr_pending, account_cr_pending, account_opened_ms
      FROM (SELECT * FROM ledger.account o WHERE o.id = ANY (account_ids)
            UNION ALL
            SELECT * FROM ledger.account o WHERE o.no = ANY (more_accounts) AND o.id <> ALL (account_ids)) a;

    IF cardinality(party_ids) > 0 OR cardinality(reversed) > 0 THEN
        SELECT array_agg(p.account), array_agg(p.customer)
          INTO party_account, party_customer
          FROM (SELECT a.no FROM ledger.account a WHERE a.id = ANY (party_ids)
                UNION
                SELECT t.no FROM unnest(direct_cr) t (no)
                UNION
                SELECT h.cr FROM ledger.hold h WHERE h.id = ANY (reversed)) a
         CROSS JOIN LATERAL (SELECT * FROM ledger.party w WHERE w.account = a.no OFFSET 0) p;
    END IF;

    -- Those that are named, and of each pair of an account debited and a partner debiting it those that may allow it.
    IF cardinality(wanted) > 0 OR cardinality(debited) > 0 THEN
        SELECT array_agg(g.consent), array_agg(g.account), array_agg(g.partner), array_agg(g.scopes),
               array_agg(g.per_transfer_max), array_agg(g.total_max), array_agg(g.used),
               array_agg((extract(epoch FROM g.expires_at) * 1000)::bigint), array_agg(g.revision)
          INTO grant_consent, grant_account, grant_partner, grant_scopes, grant_per_transfer_max, grant_total_max,
               grant_used, grant_expires_ms, grant_revision
          FROM (SELECT o.* FROM ledger."grant" o WHERE o.consent = ANY (wanted)
                UNION
                SELECT o.* FROM unnest(debited, debiting) k (id, partner)
                 CROSS JOIN LATERAL (SELECT w.no FROM ledger.account w WHERE w.id = k.id LIMIT 1) a
                 CROSS JOIN LATERAL (SELECT * FROM ledger."grant" w WHERE w.account = a.no AND w.partner = k.partner OFFSET 0) o
                 WHERE o.scopes & 4 <> 0 AND o.expires_at > 'epoch'::timestamptz + now_ms * interval '1 millisecond') g;
    END IF;

    IF cardinality(scopes) > 0 THEN
        SELECT array_agg(k.place), array_agg(o.body_hash), array_agg(o.verdict), array_agg(o.row_id)
          INTO outcome_place, outcome_body, outcome_verdict, outcome_row
          FROM unnest(scopes, request_ids) WITH ORDINALITY AS k (scope, request_id, place)
         CROSS JOIN LATERAL (SELECT * FROM ledger.outcome w WHERE w.scope = k.scope AND w.request_id = k.request_id LIMIT 1) o;
    END IF;

    IF closing THEN
        -- Sums of 64 bits leave them; they are told as text.
        SELECT array_agg(t.currency), array_agg(t.type), array_agg(t.gl_code), array_agg(t.accounts), array_agg(t.debits::text),
               array_agg(t.credits::text)
          INTO trial_currency, trial_type, trial_gl_code, trial_accounts, trial_debits, trial_credits
          FROM (SELECT a.currency, a.type, a.gl_code, count(*) AS accounts, sum(a.dr_posted) AS debits, sum(a.cr_posted) AS credits
                  FROM ledger.account a GROUP BY a.currency, a.type, a.gl_code) t;
    END IF;
END
$$;

-- Raises when a statement has not written as many rows as it was given: the batch then leaves no trace.
CREATE FUNCTION ledger.expect(what text, wanted integer, written bigint) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    IF wanted IS DISTINCT FROM written THEN
        RAISE EXCEPTION 'batch refused: % of % rows of %', written, wanted, what USING ERRCODE = 'LG001';
    END IF;
END
$$;

-- Writes what is rare in a batch. The caller holds the head since open_batch; write_batch follows.
CREATE FUNCTION ledger.write_settings(
    now_ms bigint,
    a_no bigint[], a_id uuid[], a_currency smallint[], a_purpose smallint[], a_type smallint[], a_gl_code integer[],
    a_floor bigint[], a_ceiling bigint[], a_state smallint[], a_revision bigint[], a_version bigint[], a_dr_posted bigint[],
    a_cr_posted bigint[], a_dr_pending bigint[], a_cr_pending bigint[],
    p_account bigint[], p_customer text[],
    s_no bigint[], s_floor bigint[], s_ceiling bigint[], s_state smallint[], s_revision bigint[],
    g_consent uuid[], g_account bigint[], g_partner text[], g_scopes smallint[], g_per_transfer_max bigint[],
    g_total_max bigint[], g_used bigint[], g_expires_ms bigint[], g_revision bigint[],
    v_transfer uuid[], v_reversed_by uuid[],
    q_end_date date[], q_seq bigint[], q_trial_balance bytea[])
RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    n   bigint;
    now timestamptz := 'epoch'::timestamptz + now_ms * interval '1 millisecond';
BEGIN
    IF cardinality(a_no) > 0 THEN
        INSERT INTO ledger.account (no, id, currency, purpose, type, gl_code, min_available, max_balance, state, state_revision,
                                    version, dr_posted, cr_posted, dr_pending, cr_pending, opened_at, booked_at)
        SELECT u.*, now, now FROM unnest(a_no, a_id, a_currency, a_purpose, a_type, a_gl_code, a_floor, a_ceiling, a_state,
                                    a_revision, a_version, a_dr_posted, a_cr_posted, a_dr_pending, a_cr_pending) u;
        GET DIAGNOSTICS n = ROW_COUNT;
        PERFORM ledger.expect('account', cardinality(a_no), n);
        INSERT INTO ledger.party (account, customer) SELECT * FROM unnest(p_account, p_customer);
        GET DIAGNOSTICS n = ROW_COUNT;
        PERFORM ledger.expect('party', cardinality(p_account), n);
    END IF;

    IF cardinality(s_no) > 0 THEN
        UPDATE ledger.account a
           SET min_available = u.floor, max_balance = u.ceiling, state = u.state, state_revision = u.revision
          FROM unnest(s_no, s_floor, s_ceiling, s_state, s_revision) u (no, floor, ceiling, state, revision)
         WHERE a.no = u.no AND a.state_revision <= u.revision;
        GET DIAGNOSTICS n = ROW_COUNT;
        PERFORM ledger.expect('account set', cardinality(s_no), n);
    END IF;

    IF cardinality(g_consent) > 0 THEN
        INSERT INTO ledger."grant" AS g (consent, account, partner, scopes, per_transfer_max, total_max, used, expires_at, revision)
        SELECT u.consent, u.account, u.partner, u.scopes, u.per_transfer_max, u.total_max, u.used,
               'epoch'::timestamptz + u.expires_ms * interval '1 millisecond', u.revision
          FROM unnest(g_consent, g_account, g_partner, g_scopes, g_per_transfer_max, g_total_max, g_used, g_expires_ms, g_revision)
               u (consent, account, partner, scopes, per_transfer_max, total_max, used, expires_ms, revision)
            ON CONFLICT (consent) DO UPDATE
           SET scopes = excluded.scopes, per_transfer_max = excluded.per_transfer_max, total_max = excluded.total_max,
               used = excluded.used, expires_at = excluded.expires_at, revision = excluded.revision
         WHERE g.account = excluded.account AND g.partner = excluded.partner AND g.revision <= excluded.revision;
        GET DIAGNOSTICS n = ROW_COUNT;
        PERFORM ledger.expect('grant', cardinality(g_consent), n);
    END IF;

    IF cardinality(v_transfer) > 0 THEN
        INSERT INTO ledger.reversal (transfer, reversed_by) SELECT * FROM unnest(v_transfer, v_reversed_by);
        GET DIAGNOSTICS n = ROW_COUNT;
        PERFORM ledger.expect('reversal', cardinality(v_transfer), n);
    END IF;

    IF cardinality(q_end_date) > 0 THEN
        INSERT INTO ledger.period (end_date, seq, trial_balance, booked_at)
        SELECT u.*, now FROM unnest(q_end_date, q_seq, q_trial_balance) u;
        GET DIAGNOSTICS n = ROW_COUNT;
        PERFORM ledger.expect('period', cardinality(q_end_date), n);
        UPDATE ledger.head h SET closed_until = u.end_date
          FROM (SELECT max(e) AS end_date FROM unnest(q_end_date) e) u
         WHERE h.closed_until IS NULL OR h.closed_until < u.end_date;
        GET DIAGNOSTICS n = ROW_COUNT;
        PERFORM ledger.expect('end of the closed periods', 1, n);
    END IF;
END
$$;

-- Writes a judged batch. The caller holds the head since open_batch; the head is checked again all the same.
CREATE FUNCTION ledger.write_batch(
    head_before bigint, head_after bigint, hash_before bytea, hash_after bytea, root bytea, now_ms bigint,
    j_id uuid[], j_seq bigint[], j_kind smallint[], j_currency smallint[], j_flags smallint[], j_dr bigint[], j_cr bigint[],
    j_amount bigint[], j_remaining bigint[], j_dr_version bigint[], j_dr_posted bigint[], j_dr_held bigint[], j_dr_expected bigint[],
    j_cr_version bigint[], j_cr_posted bigint[], j_cr_held bigint[], j_cr_expected bigint[], j_floor bigint[],
    j_ceiling bigint[], j_revision bigint[], j_link bigint[], j_ref uuid[], j_gl_code integer[], j_value_date date[],
    j_actor bytea[], j_party text[], j_detail_hash bytea[], j_salt bytea[], j_quote text[], j_rate text[], j_consent uuid[],
    j_used bigint[], j_per_transfer_max bigint[], j_total_max bigint[], j_expires_ms bigint[],
    c_no bigint[], c_before bigint[], c_version bigint[], c_dr_posted bigint[], c_cr_posted bigint[], c_dr_pending bigint[],
    c_cr_pending bigint[],
    o_scope bytea[], o_request_id text[], o_body_hash bytea[], o_verdict smallint[], o_row_id uuid[],
    d_transfer uuid[], d_reference text[], d_iban text[], d_name text[], d_salt bytea[],
    h_id uuid[], h_creator bytea[], h_dr bigint[], h_cr bigint[], h_amount bigint[], h_remaining bigint[],
    h_captured bigint[], h_state smallint[], h_external boolean[], h_exchange boolean[], h_link bigint[], h_value_date date[],
    h_expires_ms bigint[], h_consent uuid[], h_resolved_by uuid[],
    r_id uuid[], r_amount bigint[], r_remaining bigint[], r_captured bigint[], r_state smallint[], r_resolved_by uuid[],
    e_id uuid[], e_call bytea[], e_reason text[], e_resource text[])
RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    n   bigint;
    now timestamptz := 'epoch'::timestamptz + now_ms * interval '1 millisecond';
BEGIN
    IF cardinality(c_no) > 0 THEN
        UPDATE ledger.account a
           SET version = u.version, dr_posted = u.dr_posted, cr_posted = u.cr_posted, dr_pending = u.dr_pending,
               cr_pending = u.cr_pending, booked_at = now
          FROM (SELECT k.*, o.place
                  FROM unnest(c_no, c_before, c_version, c_dr_posted, c_cr_posted, c_dr_pending, c_cr_pending)
                       k (no, before, version, dr_posted, cr_posted, dr_pending, cr_pending)
                 CROSS JOIN LATERAL (SELECT w.ctid AS place FROM ledger.account w WHERE w.no = k.no AND w.version = k.before LIMIT 1) o
                 LIMIT cardinality(c_no)) u
         WHERE a.ctid = u.place;
        GET DIAGNOSTICS n = ROW_COUNT;
        PERFORM ledger.expect('changed account', cardinality(c_no), n);
    END IF;

    IF cardinality(h_id) > 0 THEN
        INSERT INTO ledger.hold (id, creator, dr, cr, amount, remaining, captured, state, external, exchange, link, value_date,
                                 expires_at, consent, resolved_by)
        SELECT u.id, u.creator, u.dr, u.cr, u.amount, u.remaining, u.captured, u.state, u.external, u.exchange, u.link,
               u.value_date, 'epoch'::timestamptz + u.expires_ms * interval '1 millisecond', u.consent, u.resolved_by
          FROM unnest(h_id, h_creator, h_dr, h_cr, h_amount, h_remaining, h_captured, h_state, h_external, h_exchange, h_link,
                      h_value_date, h_expires_ms, h_consent, h_resolved_by)
               u (id, creator, dr, cr, amount, remaining, captured, state, external, exchange, link, value_date, expires_ms,
                  consent, resolved_by);
        GET DIAGNOSTICS n = ROW_COUNT;
        PERFORM ledger.expect('hold', cardinality(h_id), n);
    END IF;

    IF cardinality(r_id) > 0 THEN
        UPDATE ledger.hold h
           SET amount = u.amount, remaining = u.remaining, captured = u.captured, state = u.state, resolved_by = u.resolved_by
          FROM (SELECT k.*, o.place
                  FROM unnest(r_id, r_amount, r_remaining, r_captured, r_state, r_resolved_by)
                       k (id, amount, remaining, captured, state, resolved_by)
                 CROSS JOIN LATERAL (SELECT w.ctid AS place FROM ledger.hold w WHERE w.id = k.id AND w.state = 0 LIMIT 1) o
                 LIMIT cardinality(r_id)) u
         WHERE h.ctid = u.place;
        GET DIAGNOSTICS n = ROW_COUNT;
        PERFORM ledger.expect('resolved hold', cardinality(r_id), n);
    END IF;

    IF cardinality(o_scope) > 0 THEN
        INSERT INTO ledger.outcome (scope, request_id, body_hash, verdict, row_id, seq)
        SELECT u.*, head_after FROM unnest(o_scope, o_request_id, o_body_hash, o_verdict, o_row_id) u;
        GET DIAGNOSTICS n = ROW_COUNT;
        PERFORM ledger.expect('outcome', cardinality(o_scope), n);
    END IF;

    IF cardinality(d_transfer) > 0 THEN
        INSERT INTO ledger.transfer_detail (transfer, reference, iban, name, salt)
        SELECT * FROM unnest(d_transfer, d_reference, d_iban, d_name, d_salt);
        GET DIAGNOSTICS n = ROW_COUNT;
        PERFORM ledger.expect('transfer detail', cardinality(d_transfer), n);
    END IF;

    -- The event of a refusal that no key keeps may be there already, because its batch was committed and its answer lost. Its keeper
    -- knows it by its id.
    IF cardinality(e_id) > 0 THEN
        INSERT INTO ledger.audit_outbox (n, ids, calls, reasons, resources)
        SELECT cardinality(e_id[f : f + 199]), e_id[f : f + 199], e_call[f : f + 199], e_reason[f : f + 199], e_resource[f : f + 199]
          FROM generate_series(1, cardinality(e_id), 200) f;
    END IF;

    IF cardinality(j_id) > 0 THEN
        INSERT INTO ledger.journal (id, seq, kind, currency, flags, dr, cr, amount, remaining, dr_version, dr_posted, dr_held,
                                    dr_expected, cr_version, cr_posted, cr_held, cr_expected, floor, ceiling, revision, link, ref,
                                    gl_code, value_date, actor, party, detail_hash, salt, quote, rate, consent, used,
                                    per_transfer_max, total_max, expires_at, booked_at)
        SELECT u.id, u.seq, u.kind, u.currency, u.flags, u.dr, u.cr, u.amount, u.remaining, u.dr_version, u.dr_posted, u.dr_held,
               u.dr_expected, u.cr_version, u.cr_posted, u.cr_held, u.cr_expected, u.floor, u.ceiling, u.revision, u.link, u.ref,
               u.gl_code, u.value_date, u.actor, u.party, u.detail_hash, u.salt, u.quote, u.rate, u.consent, u.used, u.per_transfer_max, u.total_max,
               'epoch'::timestamptz + u.expires_ms * interval '1 millisecond', now
          FROM unnest(j_id, j_seq, j_kind, j_currency, j_flags, j_dr, j_cr, j_amount, j_remaining, j_dr_version, j_dr_posted,
                      j_dr_held, j_dr_expected, j_cr_version, j_cr_posted, j_cr_held, j_cr_expected, j_floor, j_ceiling,
                      j_revision, j_link, j_ref, j_gl_code, j_value_date, j_actor, j_party, j_detail_hash, j_salt, j_quote,
                      j_rate, j_consent, j_used, j_per_transfer_max, j_total_max, j_expires_ms)
               u (id, seq, kind, currency, flags, dr, cr, amount, remaining, dr_version, dr_posted, dr_held, dr_expected,
                  cr_version, cr_posted, cr_held, cr_expected, floor, ceiling, revision, link, ref, gl_code, value_date, actor,
                  party, detail_hash, salt, quote, rate, consent, used, per_transfer_max, total_max, expires_ms);
        GET DIAGNOSTICS n = ROW_COUNT;
        PERFORM ledger.expect('journal', cardinality(j_id), n);
        INSERT INTO ledger.batch (seq_from, n, prev, root, hash, booked_at)
        VALUES (head_before + 1, cardinality(j_id), hash_before, root, hash_after, now);
        UPDATE ledger.head h SET seq = head_after, hash = hash_after, booked_at = now
         WHERE h.seq = head_before AND h.hash = hash_before AND head_after = head_before + cardinality(j_id);
        GET DIAGNOSTICS n = ROW_COUNT;
        PERFORM ledger.expect('head', 1, n);
    END IF;
END
$$;
