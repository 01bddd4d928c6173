drop schema if exists n cascade; create schema n;
create table n.accounts(id bigint primary key, balance bigint not null, version bigint not null default 0, min_balance bigint not null default 0, currency char(3) not null default 'GBP') with (fillfactor=60);
create table n.transfers(id uuid primary key, dr bigint not null, cr bigint not null, amount bigint not null check(amount>0), currency char(3) not null default 'GBP', created_at timestamptz not null default now());
create table n.entries(seq bigint generated always as identity primary key, transfer_id uuid not null, account_id bigint not null, amount bigint not null, balance_after bigint not null, created_at timestamptz not null default now());
create index on n.entries(account_id, seq);
insert into n.accounts select g, 1000000000000, 0, 0 from generate_series(1,10000) g;
vacuum analyze n.accounts;
-- naive as a single function call (one round trip)
create function n.post_one(i uuid, d bigint, c bigint, a bigint) returns void language plpgsql as $$
declare bd bigint; bc bigint; mn bigint;
begin
 perform 1 from n.accounts where id in (d,c) order by id for update;
 update n.accounts set balance=balance-a, version=version+1 where id=d returning balance,min_balance into bd,mn;
 if bd<mn then raise exception 'insufficient'; end if;
 update n.accounts set balance=balance+a, version=version+1 where id=c returning balance into bc;
 insert into n.transfers(id,dr,cr,amount) values(i,d,c,a);
 insert into n.entries(transfer_id,account_id,amount,balance_after) values(i,d,-a,bd);
 insert into n.entries(transfer_id,account_id,amount,balance_after) values(i,c,a,bc);
end $$;
