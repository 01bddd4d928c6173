//! What must hold of a ledger's database after the load, asked of its tables alone.

use sqlx::PgConnection;

/// Money was neither made nor lost, the journal and every account's versions have no gap, and every account stands as the last
/// row about it says. Returns how many transfers there are.
pub async fn ledger(root: &mut PgConnection) -> i64 {
    let sums: Vec<(i16, i64, i64)> = sqlx::query_as(
        "SELECT currency, sum(cr_posted - dr_posted)::bigint, sum(cr_pending - dr_pending)::bigint \
         FROM ledger.account GROUP BY 1",
    )
    .fetch_all(&mut *root)
    .await
    .unwrap();
    assert!(
        sums.iter().all(|(_, posted, pending)| (*posted, *pending) == (0, 0)),
        "money was made or lost: {sums:?}"
    );

    let (rows, last, head): (i64, i64, i64) =
        sqlx::query_as("SELECT count(*), max(seq), (SELECT seq FROM ledger.head) FROM ledger.journal")
            .fetch_one(&mut *root)
            .await
            .unwrap();
    assert_eq!((rows, last), (head, head), "the journal has a gap or a row too many");

    // Of the kinds that the benchmark writes, 1 (open) and 6 (transfer) make versions. So many of them as the highest, none
    // below one and none twice: no gap.
    let wrong: i64 = sqlx::query_scalar(
        "WITH side AS (SELECT dr AS account, dr_version AS version, dr_posted AS posted FROM ledger.journal WHERE kind = 6 \
          UNION ALL SELECT cr, cr_version, cr_posted FROM ledger.journal WHERE kind IN (1, 6)), \
         account AS (SELECT account, count(*) AS n, count(DISTINCT version) AS versions, min(version) AS first, max(version) AS last \
          FROM side GROUP BY 1) \
         SELECT count(*) FROM ledger.account a LEFT JOIN account s ON s.account = a.no \
          LEFT JOIN side l ON l.account = a.no AND l.version = a.version \
          WHERE (s.n, s.versions, s.first, s.last, l.posted) \
          IS DISTINCT FROM (a.version, a.version, 1::bigint, a.version, a.cr_posted - a.dr_posted)",
    )
    .fetch_one(&mut *root)
    .await
    .unwrap();
    assert_eq!(wrong, 0, "accounts whose versions have gaps or whose balance is not that of their last row");

    // One outcome for each transfer, one transfer for each outcome.
    let (transfers, outcomes): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM ledger.journal WHERE kind = 6), \
         (SELECT count(*) FROM ledger.outcome o JOIN ledger.journal j ON j.id = o.row_id AND j.seq > 0)",
    )
    .fetch_one(&mut *root)
    .await
    .unwrap();
    assert_eq!(transfers, outcomes, "a transfer without an outcome");
    transfers
}
