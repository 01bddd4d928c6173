//! Pages that the edge answers itself: authenticated like a call, admitted by their own rule, written whole.

use std::time::SystemTime;

use bytes::Bytes;
use chassis::call::Caller;
use http::Method as Verb;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession as Session;
use std::sync::Arc;
use tonic::Code;

use super::{Context, Gateway, options};
use crate::authn::Authenticated;
use crate::builtin::{Access, Page};
use crate::error::Error;
use crate::extras::Extras;
use crate::policy::RateClass;
use crate::rate;
use crate::request::{Ended, finish_connection, write_whole};
use crate::snapshot::Snapshot;

/// What can be done with a page.
pub(super) const ALLOW: &str = "GET, HEAD, OPTIONS";

impl Gateway {
    /// Serves a page.
    pub(super) async fn serve_page(
        &self,
        session: &mut Session,
        context: &mut Context,
        snapshot: &Snapshot,
        page: &Page,
    ) -> Result<(), Ended> {
        context.record.template = Some(Arc::clone(&page.path));
        let verb = session.req_header().method.clone();
        if verb == Verb::OPTIONS {
            return options::answer(session, context, &self.shared.drain, ALLOW).await;
        }
        if verb != Verb::GET && verb != Verb::HEAD {
            return Err(Error::MethodNotAllowed { allow: ALLOW.to_owned() }.into());
        }
        self.admit_to(snapshot, &page.access, session, context).await?;
        let tags = session.req_header().headers.get(IF_NONE_MATCH);
        let known = tags.and_then(|tags| tags.to_str().ok()).is_some_and(|tags| page.is_known(tags));
        finish_connection(session, &self.shared.drain);
        context.record.ended(Code::Ok);
        let mut header = Box::new(header(page, known, &context.record.extras)?);
        let standing = context.record.standing.as_ref();
        rate::put_fields(standing, |name, value| header.insert_header(name, value))?;
        Ok(write_whole(session, header, Bytes::clone(&page.body)).await?)
    }

    /// Who asks, if they may see what is built in.
    pub(super) async fn admit_to(
        &self,
        snapshot: &Snapshot,
        access: &Access,
        session: &Session,
        context: &mut Context,
    ) -> Result<Authenticated, Error> {
        let now = SystemTime::now();
        let authenticated = self.identify(snapshot, RateClass::Read, session, context, now).await?;
        let caller: &Arc<Caller> = &authenticated.caller;
        access.admit(caller)?;
        context.share = self.shares.take(caller)?;
        Ok(authenticated)
    }
}

fn header(page: &Page, known: bool, extras: &Extras) -> pingora::Result<ResponseHeader> {
    let mut header = extras.begin(if known { 304 } else { 200 })?;
    header.insert_header(ETAG, &page.etag)?;
    // It changes with a rollout: a cache keeps it and asks whether it still holds.
    let cache = if page.access.is_open() { "no-cache" } else { "private, no-cache" };
    header.insert_header(CACHE_CONTROL, cache)?;
    if known {
        return Ok(header);
    }
    header.insert_header(CONTENT_TYPE, page.content_type)?;
    header.insert_header(CONTENT_LENGTH, page.body.len())?;
    if let Some(policy) = page.content_security_policy {
        header.insert_header(CONTENT_SECURITY_POLICY, policy)?;
        // A page opened from here, or that opened this one, gets no hold of it.
        header.insert_header("cross-origin-opener-policy", "same-origin")?;
    }
    Ok(header)
}
