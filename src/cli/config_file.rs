//! The files that `deploy --config` and `set --config` read: settings by themselves, or below a service's name.

use std::path::Path;

use serde_json::Value;

use super::error::Failure;
use super::values::Values;
use super::yaml;

/// `service` chooses among several; with `None` a file that names a single service is as good.
pub fn read(path: &Path, service: Option<&str>) -> Result<Values, Failure> {
    let values: Values = yaml::read(path)?;
    choose(values, service).map_err(|service| {
        Failure::failed(format!("no settings found for \"{service}\"")).hint(format!("see {}", path.display()))
    })
}

/// Settings are never maps, so a file of maps is a file of services.
fn choose(mut values: Values, service: Option<&str>) -> Result<Values, String> {
    if values.is_empty() || !values.values().all(|value| value.is_object() || value.is_null()) {
        return Ok(values);
    }
    if !values.values().any(Value::is_object) {
        return Ok(values);
    }
    let chosen = match service {
        Some(service) => values.shift_remove(service),
        None if values.len() == 1 => values.pop().map(|(_, value)| value),
        None => None,
    };
    match chosen {
        Some(Value::Object(settings)) => Ok(settings.into_iter().collect()),
        Some(_) => Ok(Values::new()),
        None => Err(service.unwrap_or("the service").to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(text: &str, service: Option<&str>) -> Result<String, String> {
        let values = yaml::parse(text).unwrap();
        choose(values, service).map(|values| serde_json::to_string(&values).unwrap())
    }

    #[test]
    fn settings_stand_by_themselves_or_below_a_service() {
        assert_eq!(chosen("a: 1\nb: yes\n", Some("x")).unwrap(), r#"{"a":1,"b":"yes"}"#);
        assert_eq!(chosen("x: {a: 1}\ny: {b: true}\n", Some("y")).unwrap(), r#"{"b":true}"#);
        assert_eq!(chosen("x: {a: 1}\n", None).unwrap(), r#"{"a":1}"#);
        assert_eq!(chosen("a: null\n", Some("x")).unwrap(), r#"{"a":null}"#);
        assert_eq!(chosen("x: {a: 1}\n", Some("y")), Err("y".to_owned()));
    }
}
