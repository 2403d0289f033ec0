//! Why a call or a connect failed, in words that say what to do.

use std::{error::Error, fmt, io};

use rustls::{AlertDescription, CertificateError};

use super::{
    options::GrpcOptions,
    retry::{Failed, Origin},
};
use crate::{Code, Status};

/// What hyper says of a request that it had not begun to send, and HTTP/2 of one that the other side did not look at: refused by
/// itself, or later than the last one that a closing connection takes (GOAWAY without an error).
const GIVEN_BACK: [&str; 3] = [
    "operation was canceled: connection closed",
    "refused stream before processing",
    "connection error received: not a result of an error",
];

const UNREACHABLE: &str = "cannot reach a Temporal service at ";

/// The host has no address.
#[derive(Debug)]
pub(super) struct NoAddress {
    pub host: String,
    pub source: io::Error,
}

impl fmt::Display for NoAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the host {:?} has no address: {}", self.host, self.source)
    }
}

impl Error for NoAddress {}

/// The proxy did not give a connection to the target.
#[derive(Debug)]
pub(super) struct ProxyRefused(pub String);

impl fmt::Display for ProxyRefused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Error for ProxyRefused {}

pub(super) fn invalid(message: impl Into<String>) -> Status {
    Status::new(Code::InvalidArgument, message)
}

/// What tonic says about a call: the service's refusal, or what happened to the connection.
pub(super) fn of_call(status: &tonic::Status, options: &GrpcOptions) -> Failed {
    match status.source() {
        // Only errors from below the service have a source.
        Some(source) => of_connection(source, options),
        None => Failed {
            status: Status {
                code: Code::from_i32(status.code() as i32),
                message: status.message().to_owned(),
                details: status.details().to_vec(),
            },
            origin: Origin::Service,
        },
    }
}

pub(super) fn of_connection(error: &(dyn Error + 'static), options: &GrpcOptions) -> Failed {
    let chain = chain(error);
    if chain.iter().any(|one| one.is::<tonic::TimeoutExpired>()) {
        // tonic watches the attempt's bound too, and may be the first to see it pass.
        return Failed { status: Status::new(Code::DeadlineExceeded, "no answer in time"), origin: Origin::Unanswered };
    }
    let (reason, hint) = explain(&chain, options);
    let was_connecting = chain.iter().any(|one| one.is::<tonic::ConnectError>());
    let text = causes(&chain);
    let origin = if was_connecting {
        Origin::NotSent
    } else if GIVEN_BACK.iter().any(|known| text.contains(known)) {
        Origin::GivenBack
    } else {
        Origin::Unanswered
    };
    Failed { status: unreachable(options, &reason, &hint), origin }
}

pub(super) fn unreachable(options: &GrpcOptions, reason: &str, hint: &str) -> Status {
    Status::new(Code::Unavailable, format!("{UNREACHABLE}{}: {reason}\nhint: {hint}", options.target))
}

/// The reason in a message of `unreachable`, for the log: without the place, which is told there, and without the hint.
pub(super) fn in_one_line(message: &str) -> &str {
    let reason = message.strip_prefix(UNREACHABLE).and_then(|rest| rest.split_once(": ")).map_or(message, |(_, reason)| reason);
    reason.lines().next().unwrap_or(reason)
}

pub(super) fn no_answer(options: &GrpcOptions) -> Status {
    let seconds = options.connect_timeout.as_secs_f64();
    unreachable(
        options,
        &format!("no answer within {seconds} s"),
        "check host and port, and that no firewall between drops the packets; connect_timeout= gives it longer",
    )
}

/// A refusal of the questions that a connect asks; none: it says nothing about the connection.
pub(super) fn of_refused_connect(status: &Status, options: &GrpcOptions) -> Option<Status> {
    let (target, namespace) = (&options.target, &options.namespace);
    let (what, hint) = match status.code {
        Code::Unauthenticated => (
            format!("{target} does not accept the credentials"),
            if options.headers.api_key.is_empty() && options.tls.is_none() {
                "the service wants an API key (api_key=) or a client certificate (tls=TLSConfig(…))"
            } else {
                "check that the API key or the client certificate is this namespace's and has not expired"
            },
        ),
        Code::PermissionDenied => (
            format!("{target} does not let this caller into namespace {namespace:?}"),
            "check the namespace's name and that the API key or the client certificate may use it; lazy=True skips this question",
        ),
        Code::NotFound => (
            format!("{target} has no namespace {namespace:?}"),
            "check namespace=, or register it (a new one takes some seconds until all frontends know it); lazy=True skips this question",
        ),
        _ => return None,
    };
    Some(Status { code: status.code, message: format!("{what}: {}\nhint: {hint}", status.message), details: status.details.clone() })
}

fn explain(chain: &[&(dyn Error + 'static)], options: &GrpcOptions) -> (String, String) {
    for one in chain {
        if let Some(error) = one.downcast_ref::<rustls::Error>() {
            return of_tls(error, options);
        }
        if one.is::<NoAddress>() {
            return (one.to_string(), "check the spelling of the host, and the name service of this machine".into());
        }
        if one.is::<ProxyRefused>() {
            return (one.to_string(), "check http_connect_proxy_config=".into());
        }
    }
    let kinds = || chain.iter().filter_map(|one| one.downcast_ref::<io::Error>()).map(io::Error::kind);
    if kinds().any(|kind| kind == io::ErrorKind::ConnectionRefused) {
        let hint = "check that the service runs and that this is the port of its gRPC frontend (usually 7233)";
        return ("nobody listens there (connection refused)".into(), hint.into());
    }
    if kinds().any(|kind| kind == io::ErrorKind::TimedOut) {
        let hint = "check host and port, and that no firewall between drops the packets";
        return (format!("no connection within {} s", options.connect_timeout.as_secs_f64()), hint.into());
    }
    let hint = if options.tls.is_none() {
        "the other side closed the connection; if it wants TLS, give tls=True or tls=TLSConfig(…)"
    } else {
        "the other side closed the connection; it may speak plain text only (tls=False), or want a client certificate"
    };
    (causes(chain), hint.into())
}

fn of_tls(error: &rustls::Error, options: &GrpcOptions) -> (String, String) {
    let told = |hint: &str| (format!("the TLS handshake failed: {error}"), hint.to_owned());
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => told(
            "the server's certificate is signed by nobody who is trusted here: give the authority's certificate as \
             TLSConfig(server_root_ca_cert=…)",
        ),
        rustls::Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            told("the server's certificate is for another name: connect by that name, or give it as TLSConfig(domain=…)")
        }
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            told("the server's certificate has expired, or this machine's clock is wrong")
        }
        rustls::Error::InvalidCertificate(_) => told("the server's certificate is not accepted"),
        rustls::Error::InvalidMessage(_) => told("the server does not speak TLS on this port: give tls=False, or the port that does"),
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied,
        ) => told("the server does not accept the client's certificate, or wants one: TLSConfig(client_cert=…, client_private_key=…)"),
        _ => {
            let domain = options.tls.as_ref().map_or("", |tls| tls.domain.as_str());
            let name = if domain.is_empty() { "" } else { "; the name asked for is TLSConfig(domain=…)" };
            told(&format!("check that this is the TLS port of the service{name}"))
        }
    }
}

/// The error, what an I/O error wraps, and their sources.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let mut found: Vec<&'a (dyn Error + 'static)> = Vec::new();
    let mut next: Option<&'a (dyn Error + 'static)> = Some(error);
    while let Some(one) = next {
        found.push(one);
        // An I/O error's source is that of what it wraps, not what it wraps.
        next = match one.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => one.source(),
        };
    }
    found
}

fn causes(chain: &[&(dyn Error + 'static)]) -> String {
    let mut text = String::new();
    for one in chain {
        let one = one.to_string();
        if text.is_empty() {
            text = one;
        } else if !text.ends_with(&one) {
            text = format!("{text}: {one}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: &(dyn Error + 'static)) -> String {
        of_connection(error, &GrpcOptions { target: "here:7".into(), ..GrpcOptions::default() }).status.message
    }

    #[test]
    fn a_reason_is_found_however_deep_it_is() {
        let tls = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let message = told(&io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls)));
        assert!(message.contains("here:7") && message.contains("UnknownIssuer") && message.contains("server_root_ca_cert"), "{message}");
        let refused = io::Error::other(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert!(told(&refused).contains("nobody listens there"));
    }

    #[test]
    fn the_log_gets_one_line() {
        let options = GrpcOptions { target: "here:7".into(), ..GrpcOptions::default() };
        assert_eq!(in_one_line(&unreachable(&options, "the proxy: gone", "look").message), "the proxy: gone");
        assert_eq!(in_one_line("other: text\nhint: look"), "other: text");
    }

    #[test]
    fn only_what_was_never_sent_counts_as_not_sent() {
        let options = GrpcOptions::default();
        let connecting = tonic::ConnectError(Box::new(io::Error::from(io::ErrorKind::ConnectionRefused)));
        assert_eq!(of_connection(&connecting, &options).origin, Origin::NotSent);
        assert_eq!(of_connection(&io::Error::from(io::ErrorKind::ConnectionReset), &options).origin, Origin::Unanswered);
        let refusal = of_call(&tonic::Status::unavailable("stopping"), &options);
        assert_eq!((refusal.origin, refusal.status.message.as_str()), (Origin::Service, "stopping"));
    }
}
