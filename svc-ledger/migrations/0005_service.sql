-- What the service role may do: read and append. It can update what stands for the present (head, account, hold, grant), and
-- nothing that is history. The role's name is configuration, so the rights are given by a function that takes it.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC;

CREATE FUNCTION ledger.admit_service(role name) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA ledger TO %I', role);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO %I', role);
    EXECUTE format(
        'GRANT INSERT ON ledger.account, ledger.party, ledger."grant", ledger.journal, ledger.batch, ledger.outcome, '
        'ledger.hold, ledger.reversal, ledger.period, ledger.transfer_detail, ledger.audit_outbox, '
        'ledger.signed_head, ledger.head_outbox TO %I', role);
    -- What was shipped; nothing in it is ever changed.
    EXECUTE format('GRANT DELETE ON ledger.audit_outbox, ledger.head_outbox TO %I', role);
    EXECUTE format('GRANT UPDATE ON ledger.head, ledger.account, ledger."grant", ledger.hold TO %I', role);
    EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA ledger TO %I', role);
    EXECUTE format('REVOKE EXECUTE ON FUNCTION ledger.admit_service(name) FROM %I', role);
    EXECUTE format('GRANT SELECT ON public._sqlx_migrations TO %I', role);
END
$$;

REVOKE ALL ON FUNCTION ledger.admit_service(name) FROM PUBLIC;
