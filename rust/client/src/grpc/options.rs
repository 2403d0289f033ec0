//! Where to connect, how, and as whom.

use std::{fmt, time::Duration};

/// Something that no log and no error may show.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text itself: for the wire only.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() { "none" } else { "***" })
    }
}

#[derive(Clone, Debug)]
pub struct GrpcOptions {
    /// `host:port` of the frontend.
    pub target: String,
    /// Checked at the connect; empty: not checked.
    pub namespace: String,
    pub identity: String,
    /// The header `client-name`: the service enables behaviours by it.
    pub client_name: String,
    /// The header `client-version`, a semantic version.
    pub client_version: String,
    pub headers: CallHeaders,
    /// None: plain text.
    pub tls: Option<Tls>,
    /// None: no pings.
    pub keep_alive: Option<KeepAlive>,
    pub retry: RetryOptions,
    /// The limit of a connect, and of each later attempt to connect again.
    pub connect_timeout: Duration,
    /// True: nothing is asked and no connection is made before the first call.
    pub is_lazy: bool,
    /// True: requests are compressed with gzip. Answers may be in any case.
    pub compresses_requests: bool,
    pub proxy: Option<HttpConnectProxy>,
}

impl Default for GrpcOptions {
    fn default() -> GrpcOptions {
        GrpcOptions {
            target: String::new(),
            namespace: String::new(),
            identity: String::new(),
            client_name: String::new(),
            client_version: String::new(),
            headers: CallHeaders::default(),
            tls: None,
            keep_alive: Some(KeepAlive::default()),
            retry: RetryOptions::default(),
            connect_timeout: Duration::from_secs(10),
            is_lazy: false,
            compresses_requests: false,
            proxy: None,
        }
    }
}

/// What every call says about its caller; may be changed while the connection is open.
#[derive(Clone, Debug, Default)]
pub struct CallHeaders {
    pub metadata: Vec<(String, String)>,
    /// Sent as `authorization: Bearer …` unless the metadata has an `authorization` of its own; empty: none.
    pub api_key: Secret,
}

/// Certificates are PEM; empty fields are not given.
#[derive(Clone, Default)]
pub struct Tls {
    /// Who signed the server's certificate; empty: the certificates that the system trusts.
    pub server_root_ca_cert: Vec<u8>,
    /// The name that the server's certificate must have; empty: the host of the target.
    pub domain: String,
    pub client_cert: Vec<u8>,
    pub client_private_key: Vec<u8>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").field("domain", &self.domain).finish_non_exhaustive()
    }
}

/// Pings that notice a dead connection behind a load balancer, and keep one alive that would be closed as idle.
#[derive(Clone, Copy, Debug)]
pub struct KeepAlive {
    pub interval: Duration,
    pub timeout: Duration,
}

impl Default for KeepAlive {
    fn default() -> KeepAlive {
        KeepAlive { interval: Duration::from_secs(30), timeout: Duration::from_secs(15) }
    }
}

/// How ordinary calls are tried again.
#[derive(Clone, Copy, Debug)]
pub struct RetryOptions {
    pub initial_interval: Duration,
    /// A pause varies by this part of itself, so that many workers that lost one service do not come back in step.
    pub randomization_factor: f64,
    pub multiplier: f64,
    pub max_interval: Duration,
    /// No attempt begins later than this after the first; none: no such limit.
    pub max_elapsed: Option<Duration>,
    /// Attempts after the first; 0: no such limit.
    pub max_retries: u32,
}

impl Default for RetryOptions {
    fn default() -> RetryOptions {
        RetryOptions {
            initial_interval: Duration::from_millis(100),
            randomization_factor: 0.2,
            multiplier: 1.5,
            max_interval: Duration::from_secs(5),
            max_elapsed: Some(Duration::from_secs(10)),
            max_retries: 10,
        }
    }
}

/// A proxy that is asked with `CONNECT host:port` for a connection to the target.
#[derive(Clone, Debug)]
pub struct HttpConnectProxy {
    /// `host:port` of the proxy.
    pub target: String,
    /// `user:password`, or empty.
    pub basic_auth: Secret,
}
