//! Logs and traces. Logs go to standard output as JSON or for people; spans go to an OTLP collector if there is one. The
//! libraries' own lines, through `log` or `tracing`, are filtered like ours.

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::{LogFormat, Telemetry as Config};

/// What must be flushed at the end.
#[derive(Debug)]
pub struct Telemetry {
    spans: Option<SdkTracerProvider>,
}

/// Starts logs and traces for the process named `service`. Needs a runtime.
///
/// # Errors
/// When the filter does not parse, the exporter cannot be built, or the process has telemetry already.
pub fn start(service: &'static str, config: &Config) -> anyhow::Result<Telemetry> {
    let filter = EnvFilter::builder()
        .parse(&config.log)
        .with_context(|| format!("telemetry.log = {:?}", config.log))?;
    let lines = match config.format {
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed(),
        LogFormat::Pretty => tracing_subscriber::fmt::layer().boxed(),
    };
    let spans = match &config.otlp_endpoint {
        Some(endpoint) => Some(exporter(service, endpoint, config.sample_ratio)?),
        None => None,
    };
    let otel =
        spans.as_ref().map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer(service)));
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(otel)
        .try_init()
        .context("telemetry starts once in a process")?;
    Ok(Telemetry { spans })
}

fn exporter(service: &'static str, endpoint: &str, sample_ratio: f64) -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .with_context(|| format!("telemetry.otlp_endpoint = {endpoint:?}"))?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio))))
        .with_resource(Resource::builder().with_service_name(service).build())
        .build())
}

impl Telemetry {
    /// Sends what has not been sent. Blocks for at most the exporter's own deadline.
    pub fn flush(&self) {
        if let Some(Err(error)) = self.spans.as_ref().map(SdkTracerProvider::shutdown) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}
