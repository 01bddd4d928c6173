//! The end of the journal, as it moves: one task asks for it, and everybody who waits for rows is told. A poll, and no LISTEN: a
//! notification would take a lock of the whole server at each commit of each batch, to save a watcher less than a tenth of a second.

use std::time::Duration;

use chassis::drain::Drain;
use sqlx::PgPool;
use tokio::sync::watch;

/// How often the head is read: how late a watcher of a quiet ledger hears of a row.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Starts the task; the receiver ends with the drain.
pub(super) fn start(pool: PgPool, drain: &Drain) -> watch::Receiver<i64> {
    let (end, ends) = watch::channel(0);
    let stopping = drain.stopping();
    drain.spawn("tail", async move {
        tokio::pin!(stopping);
        loop {
            // Nobody asks the store for what nobody waits for. The store's own receiver is always there.
            if end.receiver_count() > 1
                && let Ok(seq) = sqlx::query_scalar("SELECT seq FROM ledger.head").fetch_one(&pool).await
            {
                end.send_if_modified(|last| std::mem::replace(last, seq) != seq);
            }
            tokio::select! {
                () = &mut stopping => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    });
    ends
}
