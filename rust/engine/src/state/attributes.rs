//! Search attributes: which there are, of which type, and what may be written into them.
//!
//! The service has attributes of its own and, per namespace, custom ones that an operator adds. A value is JSON of its type, or a list
//! with one such value; a null or an empty list removes.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use temporalio_protos::temporal::api::{
    common::v1::{Memo, Payload, SearchAttributes},
    enums::v1::IndexedValueType as Kind,
};

use super::filter::Value;

/// The server's limits: how many a request may name, bytes of one value, and of all.
const MAX_COUNT: usize = 100;
const MAX_VALUE_BYTES: usize = 2 * 1024;
const MAX_TOTAL_BYTES: usize = 40 * 1024;
/// How many custom ones of each type a namespace can have, as on the server with an SQL database.
const MAX_CUSTOM: [(Kind, usize); 7] =
    [(Kind::Bool, 3), (Kind::Datetime, 3), (Kind::Double, 3), (Kind::Int, 3), (Kind::Keyword, 10), (Kind::KeywordList, 3), (Kind::Text, 3)];
/// Longer texts are found by their first words.
const MAX_WORDS: usize = 500;

/// The service's own, and whether a request may set them.
#[rustfmt::skip]
const SYSTEM: [(&str, Kind, bool); 33] = [
    ("BatcherNamespace", Kind::Keyword, true),
    ("BatcherUser", Kind::Keyword, true),
    ("BinaryChecksums", Kind::KeywordList, true),
    ("BuildIds", Kind::KeywordList, true),
    ("CloseTime", Kind::Datetime, false),
    ("ExecutionDuration", Kind::Int, false),
    ("ExecutionStatus", Kind::Keyword, false),
    ("ExecutionTime", Kind::Datetime, false),
    ("HistoryLength", Kind::Int, false),
    ("HistorySizeBytes", Kind::Int, false),
    ("ParentRunId", Kind::Keyword, false),
    ("ParentWorkflowId", Kind::Keyword, false),
    ("RootRunId", Kind::Keyword, false),
    ("RootWorkflowId", Kind::Keyword, false),
    ("RunId", Kind::Keyword, false),
    ("StartTime", Kind::Datetime, false),
    ("StateTransitionCount", Kind::Int, false),
    ("TaskQueue", Kind::Keyword, false),
    ("TemporalChangeVersion", Kind::KeywordList, true),
    ("TemporalExternalPayloadCount", Kind::Int, false),
    ("TemporalExternalPayloadSizeBytes", Kind::Int, false),
    ("TemporalNamespaceDivision", Kind::Keyword, true),
    ("TemporalPauseInfo", Kind::KeywordList, true),
    ("TemporalReportedProblems", Kind::KeywordList, true),
    ("TemporalSchedulePaused", Kind::Bool, true),
    ("TemporalScheduledById", Kind::Keyword, true),
    ("TemporalScheduledStartTime", Kind::Datetime, true),
    ("TemporalUsedWorkerDeploymentVersions", Kind::KeywordList, false),
    ("TemporalWorkerDeployment", Kind::Keyword, false),
    ("TemporalWorkerDeploymentVersion", Kind::Keyword, false),
    ("TemporalWorkflowVersioningBehavior", Kind::Keyword, false),
    ("WorkflowId", Kind::Keyword, false),
    ("WorkflowType", Kind::Keyword, false),
];

/// Why attributes are refused.
#[derive(Debug, PartialEq)]
pub enum Refused {
    /// No such attribute.
    Unknown(String),
    Invalid(String),
}

impl Refused {
    /// The service's words; it says around a bad value where it found it.
    pub fn text(self, around: impl Fn(String) -> String) -> String {
        match self {
            Refused::Unknown(text) => text,
            Refused::Invalid(text) => around(text),
        }
    }
}

/// The attributes of a namespace.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    namespace: String,
    custom: BTreeMap<String, Kind>,
}

impl Registry {
    pub fn new(namespace: String) -> Registry {
        Registry { namespace, custom: BTreeMap::new() }
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub fn custom(&self) -> &BTreeMap<String, Kind> {
        &self.custom
    }

    pub fn set_custom(&mut self, custom: BTreeMap<String, Kind>) {
        self.custom = custom;
    }

    pub fn system() -> impl Iterator<Item = (&'static str, Kind)> {
        SYSTEM.iter().map(|(name, kind, _)| (*name, *kind))
    }

    pub fn kind(&self, name: &str) -> Option<Kind> {
        self.custom.get(name).copied().or_else(|| SYSTEM.iter().find(|(own, ..)| *own == name).map(|(_, kind, _)| *kind))
    }

    /// The custom attributes together with new ones, or the service's refusal. One that is there already stays as it is.
    pub fn with(&self, added: Vec<(String, i32)>) -> Result<BTreeMap<String, Kind>, String> {
        if added.is_empty() {
            return Err("SearchAttributes are not set on request.".into());
        }
        let mut custom = self.custom.clone();
        for (name, number) in added {
            if name.is_empty() {
                return Err("a search attribute needs a name".into());
            }
            if SYSTEM.iter().any(|(own, ..)| *own == name) || name.starts_with("Temporal") {
                return Err(format!("Search attribute {name} is reserved by system."));
            }
            let kind = Kind::try_from(number).map_err(|_| format!("Unknown search attribute type: {number}."))?;
            let limit = MAX_CUSTOM.iter().find(|(own, _)| *own == kind).map_or(0, |(_, limit)| *limit);
            if custom.contains_key(&name) {
                continue;
            }
            if custom.values().filter(|own| **own == kind).count() >= limit {
                return Err(format!(
                    "Unable to create search attributes: cannot have more than {limit} search attribute of type {}.",
                    kind_name(kind)
                ));
            }
            custom.insert(name, kind);
        }
        Ok(custom)
    }

    /// The custom attributes without these; unknown ones are gone already.
    pub fn without(&self, removed: &[String]) -> Result<BTreeMap<String, Kind>, String> {
        if removed.is_empty() {
            return Err("SearchAttributes are not set on request.".into());
        }
        let mut custom = self.custom.clone();
        for name in removed {
            if SYSTEM.iter().any(|(own, ..)| own == name) {
                return Err(format!("Unable to remove non-custom search attributes: {name}."));
            }
            custom.remove(name);
        }
        Ok(custom)
    }

    /// Refuses what the service refuses, and gives every value its type's name, as the service does.
    pub fn complete(&self, attributes: &mut Option<SearchAttributes>) -> Result<(), Refused> {
        let Some(attributes) = attributes else { return Ok(()) };
        let fields = &mut attributes.indexed_fields;
        let mut names: Vec<String> = fields.keys().cloned().collect();
        names.sort();
        if let Some(name) = names.iter().find(|name| self.kind(name).is_none()) {
            return Err(Refused::Unknown(format!("Namespace {} has no mapping defined for search attribute {name}", self.namespace)));
        }
        if names.len() > MAX_COUNT {
            return Err(Refused::Invalid(format!("number of search attributes {} exceeds limit {MAX_COUNT}", names.len())));
        }
        let mut total = 0;
        for name in &names {
            let (Some(kind), Some(value)) = (self.kind(name), fields.get_mut(name)) else { continue };
            if SYSTEM.iter().any(|(own, _, settable)| own == name && !settable) {
                return Err(Refused::Invalid(format!("{name} attribute can't be set in SearchAttributes")));
            }
            check_value(name, kind, value).map_err(Refused::Invalid)?;
            total += name.len() + value.data.len();
            value.metadata.entry("type".to_owned()).or_insert_with(|| kind_name(kind).into());
        }
        if total > MAX_TOTAL_BYTES {
            return Err(Refused::Invalid(format!("total size of search attributes {total} exceeds size limit {MAX_TOTAL_BYTES}")));
        }
        Ok(())
    }

    /// What lists find a run by: each attribute's values.
    pub fn index(&self, attributes: &SearchAttributes) -> Vec<(String, Value)> {
        let mut rows = Vec::new();
        for (name, payload) in &attributes.indexed_fields {
            let Some(kind) = self.kind(name) else { continue };
            rows.extend(index_values(kind, payload).into_iter().map(|value| (name.clone(), value)));
        }
        rows
    }
}

/// "KeywordList" for the type that holds several.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "Text",
        Kind::Keyword => "Keyword",
        Kind::Int => "Int",
        Kind::Double => "Double",
        Kind::Bool => "Bool",
        Kind::Datetime => "Datetime",
        Kind::KeywordList => "KeywordList",
        Kind::Unspecified => "Unspecified",
    }
}

/// Nanoseconds of a time in the form that the service takes.
pub fn datetime(text: &str) -> Option<i64> {
    // A space between date and time is not RFC 3339.
    let time: jiff::Timestamp = text.contains('T').then(|| text.parse().ok())??;
    i64::try_from(time.as_nanosecond()).ok()
}

fn check_value(name: &str, kind: Kind, payload: &Payload) -> Result<(), String> {
    let invalid = |shown: String| format!("invalid value for search attribute {name} of type {}: {shown}", kind_name(kind));
    if !removes(payload) {
        let Some(value) = decoded(payload) else {
            return Err(invalid(format!("value from <{} bytes>", payload.data.len())));
        };
        let single = match &value {
            Json::Array(items) if items.len() == 1 && kind != Kind::KeywordList => &items[0],
            other => other,
        };
        if !fits(kind, single) {
            return Err(invalid(shown(&value)));
        }
    }
    check_size(name, payload)
}

fn check_size(name: &str, payload: &Payload) -> Result<(), String> {
    match payload.data.len() {
        size if size > MAX_VALUE_BYTES => Err(format!("search attribute {name} value size {size} exceeds size limit {MAX_VALUE_BYTES}")),
        _ => Ok(()),
    }
}

fn fits(kind: Kind, value: &Json) -> bool {
    match kind {
        Kind::Text | Kind::Keyword => value.is_string(),
        Kind::Int => value.is_i64(),
        Kind::Double => value.is_number(),
        Kind::Bool => value.is_boolean(),
        Kind::Datetime => value.as_str().is_some_and(|text| datetime(text).is_some()),
        Kind::KeywordList => value.as_array().is_some_and(|items| items.iter().all(Json::is_string)),
        Kind::Unspecified => false,
    }
}

fn decoded(payload: &Payload) -> Option<Json> {
    let encoding = payload.metadata.get("encoding").map(Vec::as_slice);
    (encoding == Some(b"json/plain")).then(|| serde_json::from_slice(&payload.data).ok())?
}

/// A value in messages.
fn shown(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Json::Object(items) => {
            format!("map[{}]", items.iter().map(|(name, value)| format!("{name}:{}", shown(value))).collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// The values that a filter compares with. A text is found by its words.
fn index_values(kind: Kind, payload: &Payload) -> Vec<Value> {
    let Some(value) = decoded(payload) else { return Vec::new() };
    let items = match value {
        Json::Array(items) => items,
        other => vec![other],
    };
    items
        .into_iter()
        .flat_map(|item| match (kind, &item) {
            (Kind::Text, Json::String(text)) => words(text).map(Value::Text).collect(),
            (Kind::Datetime, Json::String(text)) => datetime(text).map(Value::Number).into_iter().collect(),
            (_, Json::String(text)) => vec![Value::Text(text.clone())],
            (_, Json::Bool(value)) => vec![Value::Number(i64::from(*value))],
            (Kind::Double, Json::Number(number)) => number.as_f64().map(Value::Real).into_iter().collect(),
            (_, Json::Number(number)) => number.as_i64().map(Value::Number).into_iter().collect(),
            _ => Vec::new(),
        })
        .collect()
}

pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).take(MAX_WORDS).map(str::to_lowercase)
}

/// The service's rule: a null or an empty list takes a field away.
pub fn removes(value: &Payload) -> bool {
    match value.metadata.get("encoding").map(Vec::as_slice) {
        Some(b"binary/null") => true,
        Some(b"json/plain") => value.data == b"[]" || value.data == b"null",
        _ => false,
    }
}

/// What a run begins with: nothing that removes.
pub fn drop_removed(attributes: &mut Option<SearchAttributes>, memo: &mut Option<Memo>) {
    if let Some(attributes) = attributes {
        attributes.indexed_fields.retain(|_, value| !removes(value));
    }
    if let Some(memo) = memo {
        memo.fields.retain(|_, value| !removes(value));
    }
    attributes.take_if(|attributes| attributes.indexed_fields.is_empty());
    memo.take_if(|memo| memo.fields.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(data: &str) -> Payload {
        Payload { metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(), data: data.into(), ..Default::default() }
    }

    fn registry() -> Registry {
        let mut registry = Registry::new("shop".into());
        let kinds = [("Txt", 1), ("Kw", 2), ("Num", 3), ("Dbl", 4), ("Flag", 5), ("Dt", 6), ("Kl", 7)];
        let custom = registry.with(kinds.map(|(name, kind)| (name.to_owned(), kind)).into()).unwrap();
        registry.set_custom(custom);
        registry
    }

    fn checked(name: &str, data: &str) -> Result<String, Refused> {
        let mut attributes = Some(SearchAttributes { indexed_fields: [(name.to_owned(), json(data))].into() });
        registry().complete(&mut attributes)?;
        Ok(String::from_utf8(attributes.unwrap().indexed_fields[name].metadata["type"].clone()).unwrap())
    }

    #[test]
    fn values_of_their_type_are_taken() {
        for (name, data, kind) in [
            ("Txt", "\"some text\"", "Text"),
            ("Kw", "\"k\"", "Keyword"),
            ("Kw", "[\"k\"]", "Keyword"),
            ("Num", "5", "Int"),
            ("Num", "[5]", "Int"),
            ("Num", "null", "Int"),
            ("Dbl", "1.5", "Double"),
            ("Dbl", "5", "Double"),
            ("Flag", "true", "Bool"),
            ("Dt", "\"2020-01-01T00:00:00.123+02:00\"", "Datetime"),
            ("Kl", "[\"a\",\"b\"]", "KeywordList"),
            ("Kl", "[]", "KeywordList"),
            ("TemporalChangeVersion", "[\"p\"]", "KeywordList"),
        ] {
            assert_eq!(checked(name, data).as_deref(), Ok(kind), "{name} {data}");
        }
    }

    #[test]
    fn others_are_refused_in_the_services_words() {
        for (name, data, text) in [
            ("Num", "\"x\"", "invalid value for search attribute Num of type Int: x"),
            ("Num", "1.5", "invalid value for search attribute Num of type Int: 1.5"),
            ("Kw", "[\"a\",\"b\"]", "invalid value for search attribute Kw of type Keyword: [a b]"),
            ("Kw", "{\"a\":1}", "invalid value for search attribute Kw of type Keyword: map[a:1]"),
            ("Kl", "\"a\"", "invalid value for search attribute Kl of type KeywordList: a"),
            ("Kl", "[\"a\",1]", "invalid value for search attribute Kl of type KeywordList: [a 1]"),
            ("Dt", "\"2020-01-01 00:00:00\"", "invalid value for search attribute Dt of type Datetime: 2020-01-01 00:00:00"),
            ("WorkflowId", "\"x\"", "WorkflowId attribute can't be set in SearchAttributes"),
        ] {
            assert_eq!(checked(name, data), Err(Refused::Invalid(text.into())), "{name} {data}");
        }
        let unknown = "Namespace shop has no mapping defined for search attribute Nope";
        assert_eq!(checked("Nope", "1"), Err(Refused::Unknown(unknown.into())));
        let long = format!("\"{}\"", "x".repeat(3000));
        let text = "search attribute Kw value size 3002 exceeds size limit 2048";
        assert_eq!(checked("Kw", &long), Err(Refused::Invalid(text.into())));
    }

    #[test]
    fn custom_attributes_come_and_go() {
        let registry = registry();
        let add = |name: &str, kind: i32| registry.with(vec![(name.to_owned(), kind)]);
        assert_eq!(add("Kw", 3).unwrap(), registry.custom);
        assert_eq!(add("WorkflowId", 2).unwrap_err(), "Search attribute WorkflowId is reserved by system.");
        assert_eq!(add("TemporalX", 2).unwrap_err(), "Search attribute TemporalX is reserved by system.");
        assert_eq!(add("X", 77).unwrap_err(), "Unknown search attribute type: 77.");
        let many = registry.with((0..4).map(|number| (format!("T{number}"), 1)).collect());
        assert_eq!(many.unwrap_err(), "Unable to create search attributes: cannot have more than 3 search attribute of type Text.");
        assert!(!registry.without(&["Kw".into(), "Nope".into()]).unwrap().contains_key("Kw"));
        let text = "Unable to remove non-custom search attributes: RunId.";
        assert_eq!(registry.without(&["RunId".into()]).unwrap_err(), text);
    }

    #[test]
    fn a_text_is_found_by_its_words() {
        let fields = [("Txt".to_owned(), json("\"Two words\"")), ("Dbl".to_owned(), json("5"))].into();
        let mut rows = registry().index(&SearchAttributes { indexed_fields: fields });
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(rows[0], ("Dbl".into(), Value::Real(5.0)));
        assert_eq!(rows[1..], [("Txt".into(), Value::Text("two".into())), ("Txt".into(), Value::Text("words".into()))]);
    }
}
