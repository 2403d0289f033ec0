//! What a core is connected to: an engine inside the process, or a service over the network.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use durable_client::{
    CallHeaders, Code, GrpcConnection, GrpcOptions, HttpConnectProxy, KeepAlive, Observer, RetryOptions, Secret, Service, Status, Tls,
};
use durable_engine::{Engine, EngineOptions, Limits, Location, OpenError};

use crate::messages::{self, Connect};

const SQLITE: &str = "sqlite:";
const TEMPORAL: &str = "temporal://";
const MEMORY: &str = ":memory:";

/// A connection that was made.
#[derive(Clone)]
pub struct Target {
    pub service: Arc<dyn Service>,
    /// Set for embedded engines: what a network connection cannot do is asked here.
    pub engine: Option<Arc<Engine>>,
    /// Set for network connections.
    connection: Option<Arc<GrpcConnection>>,
    pub namespace: String,
    pub identity: String,
    is_time_skipping: bool,
}

impl Target {
    /// Waits until the engine has committed what it acknowledged and let go of its file. Other users of the same file in
    /// this process keep it open. A network connection ends with its last user.
    pub fn close(&self) {
        if let Some(engine) = &self.engine {
            engine.close();
        }
    }

    /// Moves workflow time.
    pub async fn advance(&self, by: Duration) -> Result<(), Status> {
        let engine = self.engine.as_ref().filter(|_| self.is_time_skipping);
        let engine = engine.ok_or_else(|| {
            Status::new(Code::FailedPrecondition, "time passes by itself here\nhint: only WorkflowEnvironment.time_skipping() moves it")
        })?;
        engine.advance(by).await;
        Ok(())
    }

    /// The headers of later calls; an engine in the process has no use for them.
    pub fn set_headers(&self, headers: &CallHeaders) -> Result<(), Status> {
        self.connection.as_ref().map_or(Ok(()), |connection| connection.set_headers(headers))
    }

    /// Workflow time: the engine's, or the host's.
    pub fn now(&self) -> SystemTime {
        self.engine.as_ref().map_or_else(SystemTime::now, |engine| engine.now())
    }
}

/// True if the target names an engine of this process, false for a connection, and for what is neither.
pub fn is_engine(target: &str) -> bool {
    matches!(parse(target), Ok(Address::Embedded(_)))
}

#[derive(Debug, PartialEq, Eq)]
enum Address {
    Embedded(Location),
    Network(String),
}

/// `observer` hears when a network connection is lost and back.
pub async fn connect(command: Connect, observer: Observer) -> Result<Target, Status> {
    match parse(&command.target)? {
        Address::Embedded(location) => embedded(location, command).await,
        Address::Network(address) => network(address, command, observer).await,
    }
}

async fn embedded(location: Location, command: Connect) -> Result<Target, Status> {
    let limits = limits(&command);
    let options = EngineOptions { location, namespace: command.namespace.clone(), time_skipping: command.time_skipping, limits };
    // Opening reads the file and may wait for a lock: not on a thread that runs tasks.
    let engine = tokio::task::spawn_blocking(move || Engine::open(options))
        .await
        .map_err(|error| Status::new(Code::Internal, format!("opening the engine was cut short: {error}")))?
        .map_err(|error| refusal(&error))?;
    Ok(Target {
        service: engine.clone(),
        engine: Some(engine),
        connection: None,
        namespace: command.namespace,
        identity: command.identity,
        is_time_skipping: command.time_skipping,
    })
}

/// On this seam 0 is "as the service has it".
fn limits(command: &Connect) -> Option<Limits> {
    if command.max_history_events == 0 && command.max_history_bytes == 0 {
        return None;
    }
    let or = |number: u64, default: i64| if number == 0 { default } else { i64::try_from(number).unwrap_or(i64::MAX) };
    let default = Limits::default();
    Some(Limits {
        history_events: or(command.max_history_events, default.history_events),
        history_bytes: or(command.max_history_bytes, default.history_bytes),
    })
}

async fn network(address: String, command: Connect, observer: Observer) -> Result<Target, Status> {
    if command.time_skipping {
        return Err(invalid("only an embedded engine skips time\nhint: give \"sqlite::memory:\" or a sqlite: file"));
    }
    let (namespace, identity) = (command.namespace.clone(), command.identity.clone());
    let connection = GrpcConnection::connect(grpc_options(address, command), observer).await?;
    Ok(Target { service: connection.clone(), engine: None, connection: Some(connection), namespace, identity, is_time_skipping: false })
}

fn grpc_options(target: String, command: Connect) -> GrpcOptions {
    let defaults = GrpcOptions::default();
    let mut metadata: Vec<(String, String)> = command.metadata.into_iter().collect();
    metadata.sort();
    GrpcOptions {
        target,
        namespace: command.namespace,
        identity: command.identity,
        client_name: command.client_name,
        client_version: command.client_version,
        headers: CallHeaders { metadata, api_key: Secret::new(command.api_key) },
        tls: command.tls.map(|tls| Tls {
            server_root_ca_cert: tls.server_root_ca_cert,
            domain: tls.domain,
            client_cert: tls.client_cert,
            client_private_key: tls.client_private_key,
        }),
        keep_alive: command.keep_alive.map(|keep_alive| KeepAlive {
            interval: Duration::from_millis(keep_alive.interval_ms),
            timeout: Duration::from_millis(keep_alive.timeout_ms),
        }),
        retry: command.retry.map_or(defaults.retry, retry_options),
        connect_timeout: milliseconds(command.connect_timeout_ms).unwrap_or(defaults.connect_timeout),
        is_lazy: command.lazy,
        compresses_requests: command.compresses_requests,
        proxy: command.http_connect_proxy.map(|proxy| HttpConnectProxy { target: proxy.target, basic_auth: Secret::new(proxy.basic_auth) }),
    }
}

fn retry_options(retry: messages::Retry) -> RetryOptions {
    RetryOptions {
        initial_interval: Duration::from_millis(retry.initial_interval_ms),
        randomization_factor: retry.randomization_factor,
        multiplier: retry.multiplier,
        max_interval: Duration::from_millis(retry.max_interval_ms),
        max_elapsed: milliseconds(retry.max_elapsed_ms),
        max_retries: retry.max_retries,
    }
}

/// On this seam 0 is "none".
fn milliseconds(number: u64) -> Option<Duration> {
    (number != 0).then(|| Duration::from_millis(number))
}

fn parse(target: &str) -> Result<Address, Status> {
    const HINT: &str = "hint: write \"sqlite:FILE\", \"sqlite::memory:\" or \"HOST:PORT\"";
    if let Some(file) = target.strip_prefix(SQLITE) {
        return match file {
            "" => Err(invalid(format!("{target:?} names no file\n{HINT}"))),
            MEMORY => Ok(Address::Embedded(Location::Memory)),
            _ if file.contains('\0') => Err(invalid(format!("{target:?}: a file name has no NUL character"))),
            _ => Ok(Address::Embedded(Location::File(PathBuf::from(file)))),
        };
    }
    let address = target.strip_prefix(TEMPORAL).unwrap_or(target);
    let is_good = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && !host.contains(['/', ' ', '@']) && port.parse::<u16>().is_ok_and(|port| port != 0));
    if is_good { Ok(Address::Network(address.to_owned())) } else { Err(invalid(format!("{target:?} is no target\n{HINT}"))) }
}

/// Which refusal of the service an engine that does not open is most like.
fn refusal(error: &OpenError) -> Status {
    let code = match error {
        OpenError::NotADatabase { .. } | OpenError::NotOurs { .. } | OpenError::NotAFile { .. } => Code::InvalidArgument,
        OpenError::NewerSchema { .. } | OpenError::OtherOptions { .. } => Code::FailedPrecondition,
        OpenError::Corrupt { .. } => Code::DataLoss,
        OpenError::Held { .. } => Code::Unavailable,
        OpenError::MissingDirectory { .. } => Code::NotFound,
        OpenError::Permission { .. } => Code::PermissionDenied,
        OpenError::Io { .. } => Code::Internal,
    };
    Status::new(code, error.to_string())
}

pub fn invalid(message: impl Into<String>) -> Status {
    Status::new(Code::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert_eq!(parse("sqlite::memory:"), Ok(Address::Embedded(Location::Memory)));
        assert_eq!(parse("sqlite:a b.db"), Ok(Address::Embedded(Location::File("a b.db".into()))));
        assert_eq!(parse("localhost:7233"), Ok(Address::Network("localhost:7233".into())));
        assert_eq!(parse("temporal://[::1]:7233"), Ok(Address::Network("[::1]:7233".into())));
        for bad in ["", "sqlite:", "host", "host:", ":7233", "host:0", "host:99999", "http://host:1", "a b:1", "sqlite:a\0b"] {
            assert_eq!(parse(bad).expect_err(bad).code, Code::InvalidArgument, "{bad}");
        }
    }
}
