//! The page for people: Swagger UI, vendored under `assets/` and part of the program, so that it loads nothing from elsewhere
//! and cannot be missing. It reads `/openapi.json` as any other client would.

use bytes::Bytes;

use super::{Access, Page};

/// What the page may do: its own scripts and styles, and calls to its own origin. The viewer draws its icons from `data:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &[u8] = include_bytes!("../../assets/docs/index.html");
const START: &[u8] = include_bytes!("../../assets/docs/start.js");
const VIEWER: &[u8] = include_bytes!("../../assets/docs/swagger-ui-bundle.js");
const STYLE: &[u8] = include_bytes!("../../assets/docs/swagger-ui.css");

/// The page and what it loads.
pub(super) fn pages(access: &Access) -> Vec<Page> {
    [
        ("/docs", "text/html; charset=utf-8", HTML),
        ("/docs/start.js", "text/javascript; charset=utf-8", START),
        ("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8", VIEWER),
        ("/docs/swagger-ui.css", "text/css; charset=utf-8", STYLE),
    ]
    .into_iter()
    .map(|(path, content_type, body)| Page {
        content_security_policy: Some(POLICY),
        ..Page::new(path, content_type, Bytes::from_static(body), access)
    })
    .collect()
}
