//! `mappings {}` of the global and of other accounts (MAP-002 to MAP-006, MAP-020).

use super::fields::{Field, fields};
use super::options::{MappingDestination, MappingOptions};
use super::problem::Problem;
use super::reading::Reading;
use super::value::{Map, Value};
use crate::subject::{Transform, is_valid};

const FORM: &str = "write mappings { SOURCE: DESTINATION } or { SOURCE: [ { destination: D, weight: 50 } ] }";

pub(super) fn read(field: &Field<'_>, reading: &mut Reading<'_>) -> Result<Vec<MappingOptions>, Problem> {
    let Value::Map(map) = &field.node.value else {
        return Err(field.wrong_type("a map").remedy(FORM));
    };
    let mut mappings = Vec::with_capacity(map.len());
    for entry in fields(map) {
        let mapping = read_mapping(&entry);
        mappings.extend(reading.report.check(mapping));
    }
    Ok(mappings)
}

fn read_mapping(field: &Field<'_>) -> Result<MappingOptions, Problem> {
    let source = field.key;
    if !is_valid(source.as_bytes()) {
        return Err(field.problem(format!("Subject {source:?} is not a valid subject")));
    }
    let destinations = match &field.node.value {
        Value::String(subject) => {
            vec![MappingDestination { subject: subject.to_string(), weight: 100, cluster: None }]
        }
        Value::Array(items) => {
            items.iter().map(|item| read_destination(&field.element(item))).collect::<Result<_, _>>()?
        }
        Value::Map(_) => vec![read_destination(field)?],
        _ => return Err(field.problem("Expected an entry for the mapping destination").remedy(FORM)),
    };
    check(source, &destinations).map_err(|text| field.problem(text))?;
    Ok(MappingOptions { source: source.to_owned(), destinations })
}

fn read_destination(field: &Field<'_>) -> Result<MappingDestination, Problem> {
    let Value::Map(map) = &field.node.value else {
        return Err(field.problem("Expected an entry for the mapping destination").remedy(FORM));
    };
    let (mut subject, mut percent, mut cluster) = (String::new(), None, None);
    for entry in fields(map) {
        match entry.name.as_str() {
            "dest" | "destination" => subject = entry.string()?.to_owned(),
            "weight" => percent = Some(weight(&entry)?),
            "cluster" => cluster = Some(entry.string()?.to_owned()).filter(|name| !name.is_empty()),
            _ if entry.node.used_as_variable => {}
            _ => {
                let text = format!("Unknown field {:?} for mapping destination", entry.key);
                return Err(entry.problem(text).remedy("use destination, weight and cluster"));
            }
        }
    }
    if !has_destination(map) {
        return Err(field.problem("Missing destination of a mapping").remedy("add destination: SUBJECT"));
    }
    let Some(weight) = percent else {
        let text = format!("Missing weight for mapping destination {subject:?}");
        return Err(field.problem(text).remedy("add weight: 100, or a part of it"));
    };
    Ok(MappingDestination { subject, weight, cluster })
}

fn has_destination(map: &Map) -> bool {
    fields(map).any(|entry| matches!(entry.name.as_str(), "dest" | "destination"))
}

/// A percentage, as a number or in quotes.
fn weight(field: &Field<'_>) -> Result<u8, Problem> {
    let invalid = |shown: String| {
        field.problem(format!("Invalid weight {shown} for mapping destination")).remedy("write 0 to 100")
    };
    let number = match &field.node.value {
        Value::Integer(number) => *number,
        Value::String(text) => {
            let digits = text.strip_suffix('%').unwrap_or(text);
            digits.parse().map_err(|_| invalid(format!("{text:?}")))?
        }
        other => {
            let text = format!("Unknown entry type for weight of {}", other.kind());
            return Err(field.problem(text).remedy("write 0 to 100"));
        }
    };
    u8::try_from(number).ok().filter(|weight| *weight <= 100).ok_or_else(|| invalid(number.to_string()))
}

pub fn check(source: &str, destinations: &[MappingDestination]) -> Result<(), String> {
    for (at, destination) in destinations.iter().enumerate() {
        let subject = &destination.subject;
        if destinations[..at].iter().any(|other| other.subject == *subject) {
            return Err(format!("Error adding mapping for {source:?} : duplicate entry for {subject:?}"));
        }
        let cluster = &destination.cluster;
        let same = destinations[..=at].iter().filter(|other| other.cluster == *cluster);
        if same.map(|other| u32::from(other.weight)).sum::<u32>() > 100 {
            return Err(format!("Error adding mapping for {source:?} : total weight needs to be <= 100"));
        }
        // A subject that maps to itself is how part of its messages are kept, or lost (MAP-003).
        if subject != source {
            Transform::checked(source, subject)
                .map_err(|cause| format!("Error adding mapping for {source:?} to {subject:?} : {cause}"))?;
        }
    }
    Ok(())
}
