//! A line of the log as Juju writes it: `unit-mysql-0: 2026-11-23 15:46:30 INFO install message`.

use crate::api::LogLine;
use crate::cli::output::{BOLD, DIM, PLAIN, Paint, RED, YELLOW};

pub fn line(paint: Paint, line: &LogLine) -> String {
    let style = match line.level.as_str() {
        "ERROR" => RED,
        "WARNING" => YELLOW,
        "DEBUG" => DIM,
        _ => PLAIN,
    };
    // `2026-11-23T15:46:30.123Z` without the letters and what is finer than a second.
    let time = line.time.get(..19).unwrap_or(&line.time).replacen('T', " ", 1);
    format!(
        "{}: {time} {} {} {}\n",
        paint.dress(BOLD, &line.entity),
        paint.dress(style, &line.level),
        line.module,
        line.message
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_jujus() {
        let sample = LogLine {
            sequence: 1,
            time: "2026-11-23T15:46:30.123Z".into(),
            entity: "unit-mysql-0".into(),
            level: "INFO".into(),
            module: "install".into(),
            message: "a message".into(),
        };
        let plain = Paint { colour: false };
        assert_eq!(line(plain, &sample), "unit-mysql-0: 2026-11-23 15:46:30 INFO install a message\n");
        let odd = LogLine { time: "now".into(), ..sample };
        assert_eq!(line(plain, &odd), "unit-mysql-0: now INFO install a message\n");
    }
}
