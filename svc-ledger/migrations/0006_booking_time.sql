-- The call that opens a batch, in place of the one in 0004: it takes the booking time in a statement of its own, after the lock.
-- A SELECT ... FOR UPDATE computes its columns before it waits, and again only if the row has changed meanwhile. Behind a batch
-- that only refused, or one that was rolled back, the time would be that of joining the queue, and a row would appear in a past
-- that somebody has read already.

CREATE OR REPLACE FUNCTION ledger.open_batch(
    account_ids uuid[], party_ids uuid[], hold_ids uuid[], scopes bytea[], request_ids text[],
    OUT head_seq bigint, OUT head_hash bytea, OUT now_ms bigint,
    OUT account_no bigint[], OUT account_id uuid[], OUT account_currency smallint[], OUT account_purpose smallint[],
    OUT account_floor bigint[], OUT account_state smallint[], OUT account_revision bigint[], OUT account_version bigint[],
    OUT account_dr_posted bigint[], OUT account_cr_posted bigint[], OUT account_dr_pending bigint[],
    OUT account_cr_pending bigint[], OUT account_opened_ms bigint[],
    OUT party_account bigint[], OUT party_customer text[],
    OUT hold_id uuid[], OUT hold_creator bytea[], OUT hold_dr bigint[], OUT hold_cr bigint[], OUT hold_amount bigint[],
    OUT hold_state smallint[], OUT hold_resolved_by uuid[],
    OUT outcome_place bigint[], OUT outcome_body bytea[], OUT outcome_verdict smallint[], OUT outcome_row uuid[])
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    hold_accounts bigint[] := '{}';
BEGIN
    SELECT h.seq, h.hash INTO STRICT head_seq, head_hash FROM ledger.head h FOR UPDATE;
    -- Whole milliseconds: an id carries no more, and id and booking time must agree.
    SELECT (extract(epoch FROM date_trunc('milliseconds', greatest(clock_timestamp(), h.booked_at))) * 1000)::bigint
      INTO STRICT now_ms
      FROM ledger.head h;

    IF cardinality(hold_ids) > 0 THEN
        SELECT array_agg(h.id), array_agg(h.creator), array_agg(h.dr), array_agg(h.cr), array_agg(h.amount),
               array_agg(h.state), array_agg(h.resolved_by)
          INTO hold_id, hold_creator, hold_dr, hold_cr, hold_amount, hold_state, hold_resolved_by
          FROM ledger.hold h WHERE h.id = ANY (hold_ids);
        hold_accounts := coalesce(hold_dr || hold_cr, '{}');
    END IF;

    SELECT array_agg(a.no), array_agg(a.id), array_agg(a.currency), array_agg(a.purpose), array_agg(a.min_available),
           array_agg(a.state), array_agg(a.state_revision), array_agg(a.version), array_agg(a.dr_posted),
           array_agg(a.cr_posted), array_agg(a.dr_pending), array_agg(a.cr_pending),
           array_agg((extract(epoch FROM a.opened_at) * 1000)::bigint)
      INTO account_no, account_id, account_currency, account_purpose, account_floor, account_state, account_revision,
           account_version, account_dr_posted, account_cr_posted, account_dr_pending, account_cr_pending, account_opened_ms
      FROM (SELECT * FROM ledger.account o WHERE o.id = ANY (account_ids)
            UNION ALL
            SELECT * FROM ledger.account o WHERE o.no = ANY (hold_accounts) AND o.id <> ALL (account_ids)) a;

    IF cardinality(party_ids) > 0 THEN
        SELECT array_agg(p.account), array_agg(p.customer)
          INTO party_account, party_customer
          FROM ledger.account a JOIN ledger.party p ON p.account = a.no WHERE a.id = ANY (party_ids);
    END IF;

    IF cardinality(scopes) > 0 THEN
        SELECT array_agg(k.place), array_agg(o.body_hash), array_agg(o.verdict), array_agg(o.row_id)
          INTO outcome_place, outcome_body, outcome_verdict, outcome_row
          FROM unnest(scopes, request_ids) WITH ORDINALITY AS k (scope, request_id, place)
          JOIN ledger.outcome o ON o.scope = k.scope AND o.request_id = k.request_id;
    END IF;
END
$$;
