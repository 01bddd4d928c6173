//! Logs and traces. Logs go to standard output as JSON or for people; spans go to an OTLP collector if there is one. The
//! libraries' own lines, through `log` or `tracing`, are filtered like ours.

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Sampler, SdkTracerProvider};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::{LogFormat, Telemetry as Config};
use crate::spans::Spans;

/// What must be flushed at the end.
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
    spans: Spans,
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
    let (provider, spans) = match &config.otlp_endpoint {
        Some(endpoint) => {
            let (provider, spans) = exporter(service, endpoint, config.sample_ratio)?;
            (Some(provider), spans)
        }
        None => (None, Spans::default()),
    };
    // Without a filter every frame that h2 traces would become a span, and no callsite in the process could be switched off.
    let otel = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer().with_tracer(provider.tracer(service)).with_filter(LevelFilter::INFO)
    });
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(otel)
        .try_init()
        .context("telemetry starts once in a process")?;
    Ok(Telemetry { provider, spans })
}

fn exporter(
    service: &'static str,
    endpoint: &str,
    sample_ratio: f64,
) -> anyhow::Result<(SdkTracerProvider, Spans)> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .with_context(|| format!("telemetry.otlp_endpoint = {endpoint:?}"))?;
    let resource = Resource::builder().with_service_name(service).build();
    let spans = Spans::new(BatchSpanProcessor::builder(exporter).build(), &resource);
    let provider = SdkTracerProvider::builder()
        .with_span_processor(spans.clone())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio))))
        .with_resource(resource)
        .build();
    Ok((provider, spans))
}

impl Telemetry {
    /// Where a process hands over spans it has made itself.
    #[must_use]
    pub fn spans(&self) -> Spans {
        self.spans.clone()
    }

    /// Sends what has not been sent. Blocks for at most the exporter's own deadline.
    pub fn flush(&self) {
        if let Some(Err(error)) = self.provider.as_ref().map(SdkTracerProvider::shutdown) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}
