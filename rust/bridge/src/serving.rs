//! The engine of a core on a port.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use durable_client::{Code, Status};
use durable_server::{Level, Log, Server, ServerOptions, StartError};

use crate::{
    messages::StartServer,
    queue::{DEBUG, ERROR, INFO, Queue, WARNING},
    target::{Target, invalid},
};

/// The one server a core may have.
#[derive(Default)]
pub struct Serving(Mutex<Option<Server>>);

impl Serving {
    /// Answers where it listens. Must be called inside the core's runtime.
    pub fn start(&self, target: &Target, command: StartServer, queue: &Arc<Queue>) -> Result<Vec<u8>, Status> {
        if target.engine.is_none() {
            return Err(invalid("only an engine of this process can be served\nhint: give \"sqlite:FILE\", not an address"));
        }
        let mut place = self.lock();
        if place.is_some() {
            return Err(Status::new(Code::AlreadyExists, "the core has a server already"));
        }
        let options = ServerOptions { listen: command.listen, logs_calls: command.logs_calls };
        let server = Server::start(target.service.clone(), &options, log(queue)).map_err(|error| refusal(&error))?;
        let address = server.address().to_string();
        *place = Some(server);
        Ok(address.into_bytes())
    }

    /// Answers whether every call had ended in time.
    pub async fn stop(&self, grace: Duration) -> Result<Vec<u8>, Status> {
        let server = self.lock().take().ok_or_else(|| Status::new(Code::NotFound, "the core has no server"))?;
        Ok(vec![u8::from(server.stop(grace).await)])
    }

    /// Ends it at once.
    pub fn abandon(&self) {
        drop(self.lock().take());
    }

    fn lock(&self) -> MutexGuard<'_, Option<Server>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(queue: &Arc<Queue>) -> Log {
    let queue = Arc::downgrade(queue);
    Arc::new(move |level, message| {
        let Some(queue) = queue.upgrade() else { return };
        let level = match level {
            Level::Debug => DEBUG,
            Level::Info => INFO,
            Level::Warning => WARNING,
            Level::Error => ERROR,
        };
        queue.push_event(0, level, message, false);
    })
}

fn refusal(error: &StartError) -> Status {
    let code = match error {
        StartError::Address(_) => Code::InvalidArgument,
        StartError::Listen { .. } => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}
