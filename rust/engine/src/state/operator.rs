//! Calls of OperatorService: the custom search attributes of the namespace.

use std::collections::BTreeMap;

use durable_client::{Code, Status};
use prost::Message;
use temporalio_protos::temporal::api::{enums::v1::IndexedValueType, operatorservice::v1 as api};

use super::{attributes::Registry, limit::invalid, world::World};

pub const SERVICE: &str = "temporal.api.operatorservice.v1.OperatorService";

#[derive(Debug)]
pub enum Operation {
    Add(api::AddSearchAttributesRequest),
    Remove(api::RemoveSearchAttributesRequest),
    List(api::ListSearchAttributesRequest),
}

/// The custom attributes as they are to be stored.
pub type Change = BTreeMap<String, IndexedValueType>;

impl Operation {
    pub fn decode(method: &str, bytes: &[u8]) -> Result<Operation, Status> {
        let decoded = match method {
            "AddSearchAttributes" => api::AddSearchAttributesRequest::decode(bytes).map(Operation::Add),
            "RemoveSearchAttributes" => api::RemoveSearchAttributesRequest::decode(bytes).map(Operation::Remove),
            "ListSearchAttributes" => api::ListSearchAttributesRequest::decode(bytes).map(Operation::List),
            _ => return Err(Status::new(Code::Unimplemented, format!("{SERVICE}/{method} is not there on an embedded engine"))),
        };
        decoded.map_err(|error| invalid(format!("{method}: the request cannot be decoded: {error}")))
    }
}

impl World {
    /// What an operation changes, and its encoded answer. Nothing has changed yet.
    pub fn operate(&self, operation: Operation) -> Result<(Option<Change>, Vec<u8>), Status> {
        let check = |namespace: &str| match namespace {
            "" => Err(invalid("Namespace is not set on request.")),
            name => self.check_namespace(name),
        };
        match operation {
            Operation::Add(request) => {
                check(&request.namespace)?;
                let mut added: Vec<(String, i32)> = request.search_attributes.into_iter().collect();
                added.sort();
                Ok((Some(self.attributes.with(added).map_err(invalid)?), api::AddSearchAttributesResponse::default().encode_to_vec()))
            }
            Operation::Remove(request) => {
                check(&request.namespace)?;
                let change = self.attributes.without(&request.search_attributes).map_err(invalid)?;
                Ok((Some(change), api::RemoveSearchAttributesResponse::default().encode_to_vec()))
            }
            Operation::List(request) => {
                check(&request.namespace)?;
                let response = api::ListSearchAttributesResponse {
                    custom_attributes: self.attributes.custom().iter().map(|(name, kind)| (name.clone(), *kind as i32)).collect(),
                    system_attributes: Registry::system().map(|(name, kind)| (name.to_owned(), kind as i32)).collect(),
                    ..Default::default()
                };
                Ok((None, response.encode_to_vec()))
            }
        }
    }
}
