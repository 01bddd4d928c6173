//! What `dev run` tells the person in front of the terminal: a line when something is under way, a page when all is up. The
//! processes' own output goes to their log files.

use crate::demo::Demo;
use crate::mesh::Mesh;
use std::io::Write;
use std::time::Instant;

/// Writes progress lines with the time they came.
pub(crate) struct Progress {
    since: Instant,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self { since: Instant::now() }
    }

    pub(crate) fn say(&self, what: &str) {
        print(&format!("{:5.1} s  {what}\n", self.since.elapsed().as_secs_f64()));
    }
}

/// The page shown when everything runs. Without demo data there is nothing for the curl lines to read.
pub(crate) fn ready_page(mesh: &Mesh, demo: Option<&Demo>) {
    let ports = mesh.ports();
    let ca = mesh.pki().server_authority.certificate.display();
    let issuer = mesh.issuer().url();
    let url = mesh.public_url();
    let mut page = format!(
        "\nCauseway is up.\n\n  \
         public   {url}  (REST and gRPC; its CA: {ca})\n  \
         partner  https://localhost:{partner}  (mTLS; certificate: {certificate}, key: {key})\n  \
         issuer   {issuer}/.well-known/openid-configuration\n  \
         admin    http://127.0.0.1:{admin}/metrics\n  \
         logs     {folder}/log\n\n\
         A token, for alice, bob, staff, staff2, auditor or partner:\n\n  \
         TOKEN=$(curl -s -H 'Accept: text/plain' -d 'grant_type=dev&user=alice' {issuer}/token)\n",
        partner = ports.partner,
        certificate = mesh.pki().partner.certificate.display(),
        key = mesh.pki().partner.key.display(),
        admin = ports.edge_admin,
        folder = mesh.folder().display(),
    );
    if let Some(demo) = demo {
        let curl = format!("curl -sS -w '\\n' --cacert {ca} -H \"Authorization: Bearer $TOKEN\"");
        page += &format!(
            "\nThen:\n\n  \
             {curl} {url}/v1/customers/{customer}/accounts\n  \
             {curl} {url}/v1/accounts/{account}/balance\n  \
             {curl} -H 'Content-Type: application/json' -H \"Idempotency-Key: $(date +%s%N)\" \\\n    \
             -d '{{\"debitAccountId\":\"{account}\",\"creditAccountId\":\"{savings}\",\
             \"amount\":{{\"currencyCode\":\"EUR\",\"minorUnits\":\"100\"}},\"reference\":\"A first transfer\"}}' \\\n    \
             {url}/v1/transfers\n",
            customer = demo.alice,
            account = demo.alice_current,
            savings = demo.alice_savings,
        );
    }
    page += "\nCtrl-C stops it. The data stays; `make reset` wipes it.\n";
    print(&page);
}

/// The one line for what went wrong.
pub(crate) fn fail(error: &anyhow::Error) {
    let line = format!("{error:#}").replace('\n', " ");
    // Nobody reads a terminal that is gone.
    let _ = writeln!(std::io::stderr(), "dev: {line}");
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
