//! The headers of calls: who calls, and what the user adds.

use std::sync::{Arc, PoisonError, RwLock};

use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};

use super::{
    options::{CallHeaders, GrpcOptions},
    reason::invalid,
};
use crate::Status;

const AUTHORIZATION: &str = "authorization";

/// The headers of every call, shared by all of a connection's calls and exchanged as a whole.
#[derive(Clone)]
pub(super) struct Headers {
    current: Arc<RwLock<Arc<MetadataMap>>>,
}

impl Headers {
    pub fn new(options: &GrpcOptions) -> Result<Headers, Status> {
        Ok(Headers { current: Arc::new(RwLock::new(Arc::new(build(options, &options.headers)?))) })
    }

    /// Calls that begin from now on have these; a bad header changes nothing.
    pub fn set(&self, options: &GrpcOptions, headers: &CallHeaders) -> Result<(), Status> {
        let built = Arc::new(build(options, headers)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = built;
        Ok(())
    }

    /// The headers of one call.
    pub fn of_call(&self, namespace: &str, metadata: &[(String, String)]) -> Result<MetadataMap, Status> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut headers = (*current).clone();
        if !namespace.is_empty() {
            insert(&mut headers, "temporal-namespace", namespace)?;
        }
        for (name, value) in metadata {
            insert(&mut headers, name, value)?;
        }
        Ok(headers)
    }
}

/// Without it a service shows the end of a run that another follows (of a cron schedule, a retry) as if it had continued as new.
const SUPPORTED_FEATURES: (&str, &str) = ("supported-features", "follows-next-run-id");

fn build(options: &GrpcOptions, given: &CallHeaders) -> Result<MetadataMap, Status> {
    let mut headers = MetadataMap::new();
    insert(&mut headers, SUPPORTED_FEATURES.0, SUPPORTED_FEATURES.1)?;
    for (name, value) in [("client-name", &options.client_name), ("client-version", &options.client_version)] {
        if !value.is_empty() {
            insert(&mut headers, name, value)?;
        }
    }
    if !given.api_key.is_empty() {
        let mut value: AsciiMetadataValue = format!("Bearer {}", given.api_key.expose())
            .parse()
            .map_err(|_| invalid("the API key has a character that no header can carry\nhint: was a line break read with it?"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    for (name, value) in &given.metadata {
        insert(&mut headers, name, value)?;
    }
    Ok(headers)
}

fn insert(headers: &mut MetadataMap, name: &str, value: &str) -> Result<(), Status> {
    let key: AsciiMetadataKey =
        name.to_ascii_lowercase().parse().map_err(|_| invalid(format!("{name:?} is not the name of a text header")))?;
    let mut value: AsciiMetadataValue =
        value.parse().map_err(|_| invalid(format!("the header {name} has a value that is not printable ASCII")))?;
    value.set_sensitive(key.as_str() == AUTHORIZATION);
    headers.insert(key, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Code, grpc::options::Secret};

    fn given(metadata: &[(&str, &str)], api_key: &str) -> GrpcOptions {
        let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        GrpcOptions { headers: CallHeaders { metadata, api_key: Secret::new(api_key) }, ..GrpcOptions::default() }
    }

    #[test]
    fn headers_that_cannot_be_sent_are_refused_by_name() {
        assert!(Headers::new(&given(&[("x key", "1")], "")).err().unwrap().message.contains("x key"));
        assert_eq!(Headers::new(&given(&[("x-key", "a\nb")], "")).err().unwrap().code, Code::InvalidArgument);
    }

    #[test]
    fn an_api_key_is_a_bearer_that_nothing_shows() {
        let options = given(&[], "hidden");
        let headers = Headers::new(&options).unwrap().of_call("orders", &[]).unwrap();
        assert_eq!(headers.get("authorization").unwrap(), "Bearer hidden");
        assert_eq!(headers.get("temporal-namespace").unwrap(), "orders");
        assert_eq!(headers.get("supported-features").unwrap(), "follows-next-run-id");
        assert!(!format!("{options:?} {headers:?}").contains("hidden"));
        let broken = Headers::new(&given(&[], "hid\nden")).err().unwrap();
        assert!(broken.message.contains("API key") && !broken.message.contains("den"), "{broken}");
    }

    #[test]
    fn an_authorization_of_the_users_own_wins_and_changes_are_for_later_calls() {
        let options = given(&[("Authorization", "Basic x")], "key");
        let headers = Headers::new(&options).unwrap();
        assert_eq!(headers.of_call("", &[]).unwrap().get("authorization").unwrap(), "Basic x");
        headers.set(&options, &CallHeaders { metadata: Vec::new(), api_key: Secret::new("new") }).unwrap();
        assert_eq!(headers.of_call("", &[]).unwrap().get("authorization").unwrap(), "Bearer new");
        assert!(headers.set(&options, &CallHeaders { metadata: vec![("a b".into(), "1".into())], ..Default::default() }).is_err());
        assert_eq!(headers.of_call("", &[]).unwrap().get("authorization").unwrap(), "Bearer new");
    }
}
