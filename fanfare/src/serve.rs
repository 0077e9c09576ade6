//! `fanfare serve`: both planes in one process, joined by the same link as in a cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanfare_cluster::registry::{MemoryRegistry, Registry};
use fanfare_control_plane::ControlPlane;
use fanfare_data_plane::{DataPlane, DevMode};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use crate::cli::ServeArguments;
use crate::config::{self, Config, LogFormat};
use crate::exit::Failure;
use crate::reload;

const TWO_WAYS: &str = "there is no configuration. Two ways on:\n  \
    fanfare serve --dev              for your own machine: loopback only, anyone may connect\n  \
    fanfare serve --config FILE      for everything else; docs/configuration.md has all keys";

pub(crate) fn run(arguments: &ServeArguments) -> Result<(), Failure> {
    if !arguments.dev && arguments.config.is_none() {
        return Err(Failure::Usage(TWO_WAYS.to_owned()));
    }
    let config = config::load(arguments)?;
    start_logging(&config, arguments.dev)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("control")
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(serve(config, arguments));
    // What has not ended in its grace is left behind with the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

async fn serve(config: Config, arguments: &ServeArguments) -> Result<(), Failure> {
    let dev = arguments.dev;
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
    // Signals count from the first moment, also while the planes start.
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| failed(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| failed(&error))?;
    let hangup = signal(SignalKind::hangup()).map_err(|error| failed(&error))?;
    let registry: Arc<dyn Registry> = Arc::new(MemoryRegistry::default());
    let control =
        ControlPlane::start(config.control_plane().map_err(Failure::Usage)?, registry.clone()).await;
    let control = control.map_err(|error| failed(&error))?;
    let push_command = push_command(control.api_address());
    let dev_mode = dev.then(|| DevMode { push_command: push_command.clone() });
    let data = config.data_plane(dev_mode).map_err(Failure::Usage)?;
    let data = DataPlane::start(data, registry).await.map_err(|error| failed(&error))?;
    if dev {
        print_banner(&control, &data, &push_command);
    }
    let broken = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = control.broken() => true,
        () = data.broken() => true,
        () = reload::keep(arguments, (&control, &data), config.clone(), hangup) => false,
    };
    info!("shutting down");
    let grace = config.shutdown.grace.0;
    let stop = async {
        // Clients first: what they still say has an owner until the end.
        let data_ended = data.stop(grace).await;
        let control_ended = control.stop(grace).await;
        data_ended && control_ended
    };
    let ended = tokio::select! {
        ended = stop => ended,
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
    };
    if broken {
        return Err(Failure::Failed(
            "a part of the server has broken, see the log: it must be started anew".to_owned(),
        ));
    }
    if !ended {
        error!("not everything has ended within shutdown.grace");
    }
    Ok(())
}

fn start_logging(config: &Config, dev: bool) -> Result<(), Failure> {
    // The dev banner says what a person wants to know, so that only warnings are left to say.
    let level =
        if dev && config.telemetry.log_level == "info" { "warn" } else { &config.telemetry.log_level };
    let filter = EnvFilter::try_new(level)
        .map_err(|error| Failure::Usage(format!("telemetry.log_level {level:?}: {error}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.telemetry.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// The command that pushes to this server, ready to paste.
fn push_command(api: SocketAddr) -> String {
    let binary = std::env::args().next().unwrap_or_else(|| "fanfare".to_owned());
    match api.to_string().as_str() {
        "127.0.0.1:10000" => format!("{binary} push"),
        other => format!("{binary} push --endpoint http://{other}"),
    }
}

fn print_banner(control: &ControlPlane, data: &DataPlane, push_command: &str) {
    let (client, api) = (data.client_address(), control.api_address());
    println!(
        "\n  Fanfare {version} runs in DEV MODE: anyone on this machine may connect, subscribe and publish;\n  \
         what is kept ends with it. Not for production.\n\n  \
         page        http://{client}/\n  \
         clients     ws://{client}/connection/websocket\n  \
         gRPC API    {api}\n  \
         metrics     http://{node}/metrics  http://{replica}/metrics\n\n  \
         Open the page, then push to it:\n\n    \
         {push_command} news '{{\"hello\": \"world\"}}'\n\n  \
         Ctrl-C ends.\n",
        version = env!("CARGO_PKG_VERSION"),
        node = data.admin_address(),
        replica = control.admin_address(),
    );
}
