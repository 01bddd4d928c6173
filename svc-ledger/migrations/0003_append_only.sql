-- What was written stays as it was written. The service role has no right to change these tables; the triggers stop everyone
-- else, the owner included, until they are dropped, which leaves a trace in the server's log.

CREATE FUNCTION ledger.refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION '% of % refused: it is append-only', TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER keep_row BEFORE UPDATE OR DELETE ON ledger.journal FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER keep BEFORE TRUNCATE ON ledger.journal FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER keep_row BEFORE UPDATE OR DELETE ON ledger.batch FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER keep BEFORE TRUNCATE ON ledger.batch FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER keep_row BEFORE UPDATE OR DELETE ON ledger.period FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER keep BEFORE TRUNCATE ON ledger.period FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER keep_row BEFORE UPDATE OR DELETE ON ledger.reversal FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER keep BEFORE TRUNCATE ON ledger.reversal FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER keep_row BEFORE UPDATE OR DELETE ON ledger.outcome FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER keep BEFORE TRUNCATE ON ledger.outcome FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER keep_row BEFORE UPDATE OR DELETE ON ledger.signed_head FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER keep BEFORE TRUNCATE ON ledger.signed_head FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
