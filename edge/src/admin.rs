//! The edge's own pages on the admin listener: the route table and the configuration in force, with its generation and what became
//! of the last attempt to replace it. Only loopback may read them.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use chassis::admin::Admin;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};

use crate::check;
use crate::config::Config;
use crate::snapshot::Plan;

/// What the pages say, shared by the listener and whoever changes the configuration.
#[derive(Clone, Debug)]
pub struct Pages(Arc<ArcSwap<Texts>>);

#[derive(Debug)]
struct Texts {
    routes: String,
    state: State,
}

/// `/config`.
#[derive(Clone, Debug, Serialize)]
struct State {
    /// From 1; rises with every configuration taken over.
    generation: u64,
    /// Since when it has been in force.
    #[serde(serialize_with = "rfc3339")]
    since: SystemTime,
    /// The last attempt to replace it, if there was one.
    last_reload: Option<Attempt>,
    /// It names the files of secrets and holds none.
    config: Arc<Config>,
}

#[derive(Clone, Debug, Serialize)]
struct Attempt {
    #[serde(serialize_with = "rfc3339")]
    at: SystemTime,
    /// Why the configuration was refused; absent when it was taken over.
    refused: Option<String>,
}

impl Pages {
    /// The pages of the first configuration.
    #[must_use]
    pub fn new(config: &Config, plan: &Plan) -> Self {
        let state = State {
            generation: 1,
            since: SystemTime::now(),
            last_reload: None,
            config: Arc::new(config.clone()),
        };
        Self(Arc::new(ArcSwap::from_pointee(Texts { routes: check::table(plan), state })))
    }

    /// Adds `/routes` and `/config` to the listener.
    #[must_use]
    pub fn on(&self, admin: Admin) -> Admin {
        let (routes, config) = (self.clone(), self.clone());
        let shown = move || serde_json::to_string_pretty(&config.0.load().state).unwrap_or_default();
        admin
            .page("/routes", Arc::new(move || ("text/plain", routes.0.load().routes.clone())))
            .page("/config", Arc::new(move || ("application/json", shown())))
    }

    /// A configuration has been taken over.
    pub(crate) fn replaced(&self, config: Config, plan: &Plan, generation: u64, since: SystemTime) {
        let last_reload = Some(Attempt { at: since, refused: None });
        let state = State { generation, since, last_reload, config: Arc::new(config) };
        self.0.store(Arc::new(Texts { routes: check::table(plan), state }));
    }

    /// A configuration has been refused.
    pub(crate) fn refused(&self, why: String) {
        let old = self.0.load();
        let last_reload = Some(Attempt { at: SystemTime::now(), refused: Some(why) });
        let state = State { last_reload, ..old.state.clone() };
        self.0.store(Arc::new(Texts { routes: old.routes.clone(), state }));
    }
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&DateTime::<Utc>::from(*time).to_rfc3339_opts(SecondsFormat::Secs, true))
}
