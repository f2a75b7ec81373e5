//! What a command said on a machine, with Juju's keys.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Map, Value};

use crate::api::RunResult;
use crate::cli::error::Failure;

/// A code of 0 and empty output are not said; what is no text is told in base64.
///
/// # Errors
/// The output is not what a controller sends.
pub fn result(result: &RunResult) -> Result<Map<String, Value>, Failure> {
    let mut shown = Map::new();
    shown.insert("MachineId".to_owned(), result.machine.clone().into());
    if let Some(unit) = &result.unit {
        shown.insert("UnitId".to_owned(), unit.clone().into());
    }
    if result.code != 0 {
        shown.insert("ReturnCode".to_owned(), result.code.into());
    }
    for (key, encoded) in [("Stdout", &result.stdout), ("Stderr", &result.stderr)] {
        let bytes = decoded(encoded)?;
        match String::from_utf8(bytes) {
            Ok(text) if text.is_empty() && key == "Stderr" => {}
            Ok(text) => drop(shown.insert(key.to_owned(), text.into())),
            Err(_) => {
                shown.insert(key.to_owned(), encoded.clone().into());
                shown.insert(format!("{key}.encoding"), "base64".into());
            }
        }
    }
    if let Some(error) = &result.error {
        shown.insert("Error".to_owned(), error.clone().into());
    }
    Ok(shown)
}

/// # Errors
/// As of [`result`].
pub fn decoded(text: &str) -> Result<Vec<u8>, Failure> {
    BASE64_STANDARD.decode(text).map_err(|_| Failure::failed("the output did not arrive whole"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_worth_it_is_said() {
        let ran = |code: i32, out: &[u8], err: &[u8]| RunResult {
            machine: "1".into(),
            unit: (code == 0).then(|| "db/0".into()),
            code,
            stdout: BASE64_STANDARD.encode(out),
            stderr: BASE64_STANDARD.encode(err),
            cut: false,
            error: None,
        };
        let shown = |ran: &RunResult| serde_json::to_string(&result(ran).unwrap()).unwrap();
        assert_eq!(shown(&ran(0, b"up\n", b"")), r#"{"MachineId":"1","UnitId":"db/0","Stdout":"up\n"}"#);
        assert_eq!(
            shown(&ran(3, b"\xff", b"no\n")),
            r#"{"MachineId":"1","ReturnCode":3,"Stdout":"/w==","Stdout.encoding":"base64","Stderr":"no\n"}"#
        );
    }
}
