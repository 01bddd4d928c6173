-- Whether a reader may see an account: its customer is a party to it and, where a partner reads for the customer, a consent
-- allows the partner what `scope` says (the bits of "grant".scopes) at this moment. Part of the statement that reads, so that no
-- answer is older than the right to have it. Plain SQL, which the planner puts in the place of the call.
CREATE FUNCTION ledger.admits(account bigint, customer text, partner text, scope smallint) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT EXISTS (SELECT FROM ledger.party p WHERE p.account = $1 AND p.customer = $2)
       AND ($3 IS NULL
            OR EXISTS (SELECT FROM ledger."grant" g
                        WHERE g.account = $1 AND g.partner = $3 AND g.scopes & $4 <> 0
                          AND g.expires_at > statement_timestamp()))
$$;
