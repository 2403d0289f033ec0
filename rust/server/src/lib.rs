//! A service on a port: whoever speaks gRPC can call it as it is called in process.
//!
//! [`Server::start`] binds, [`Server::stop`] ends in order. There is no method per RPC here: a call's path names it, the table of
//! `durable-client` decodes it, and what the table does not know goes to [`durable_client::Service::call_raw`] as bytes.
//!
//! - [`address`]: what may be listened on;
//! - [`accept`]: connections, how many, and which of them speak HTTP/2 at all;
//! - [`router`]: from a path to an answer;
//! - [`call`]: one call, with its limits and its deadline;
//! - [`health`]: the protocol of health checks.

mod accept;
mod address;
mod call;
mod health;
mod router;
mod server;
mod status;

pub use address::{Address, BadAddress};
pub use server::{Level, Log, Server, ServerOptions, StartError};
