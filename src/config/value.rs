//! Sizes, durations and the like: how they are written, how they are shown.

use std::time::Duration;

const KIB: u64 = 1024;

/// Units of sizes, the longest first where one ends with the other.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("KiB", KIB),
    ("MiB", KIB * KIB),
    ("GiB", KIB * KIB * KIB),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// `true`, or what YAML 1.1 (and with it the Python Veylor) takes for it.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A number without sign and fraction; underscores may group its digits.
pub(super) fn whole(text: &str) -> Option<u64> {
    let digits = text.replace('_', "");
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Bytes: `64KiB`, `10MB`, `512`.
pub(super) fn size(text: &str) -> Option<u64> {
    let unit = SIZE_UNITS.iter().find_map(|(name, bytes)| {
        let start = text.len().checked_sub(name.len())?;
        let ends_with = text.get(start..)?.eq_ignore_ascii_case(name);
        ends_with.then(|| (text[..start].trim_end(), *bytes))
    });
    let (number, bytes) = unit.unwrap_or((text, 1));
    whole(number)?.checked_mul(bytes)
}

/// `20s`, `100ms`, `1h30m`, or seconds: `0.5`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if text.bytes().all(is_of_number) {
        return seconds(text, 1.0);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at(unit_at);
        let next_at = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, after) = tail.split_at(next_at);
        total = total.checked_add(seconds(number, unit_seconds(unit.trim())?)?)?;
        rest = after;
    }
    Some(total)
}

/// Permission bits in octal: `0660`, `660`, `0o660`.
pub(super) fn mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(digits, 8).ok().filter(|_| octal)?;
    (mode <= 0o777).then_some(mode)
}

/// A size as one would write it, exact: `16MiB`, `1500`.
pub(super) fn exact_size(bytes: u64) -> String {
    let fits = |unit: u64| bytes >= unit && bytes.is_multiple_of(unit);
    let unit = SIZE_UNITS[..3].iter().rev().find(|(_, unit)| fits(*unit));
    unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// A size to look at, rounded to three digits or so: `17.1 MiB`.
pub fn rounded_size(bytes: u64) -> String {
    let Some((name, unit)) = SIZE_UNITS[..3].iter().rev().find(|(_, unit)| bytes >= *unit) else {
        return format!("{bytes} B");
    };
    let tenths = (u128::from(bytes) * 10 + u128::from(*unit) / 2) / u128::from(*unit);
    if tenths.is_multiple_of(10) || tenths >= 1000 {
        return format!("{} {name}", (tenths + 5) / 10);
    }
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// A duration as one would write it: `200us`, `500ms`, `20s`, `10m`.
pub(super) fn short_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    let units = [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000)];
    let unit = units.iter().find(|(_, unit)| micros >= *unit && micros.is_multiple_of(*unit));
    match unit {
        Some((name, unit)) => format!("{}{name}", micros / unit),
        None if micros == 0 => "0".to_owned(),
        None => format!("{micros}us"),
    }
}

fn unit_seconds(unit: &str) -> Option<f64> {
    match unit {
        "us" | "µs" | "μs" => Some(1e-6),
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        "m" | "min" => Some(60.0),
        "h" => Some(3600.0),
        "d" => Some(86400.0),
        _ => None,
    }
}

fn seconds(number: &str, unit_seconds: f64) -> Option<Duration> {
    if number.is_empty() || !number.bytes().all(is_of_number) {
        return None;
    }
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit_seconds).ok()
}

/// Keeps `inf`, `nan` and `1e9` away from the parser of numbers.
fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'.'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_unless_a_unit_follows() {
        let bytes = [
            ("512", 512),
            ("0", 0),
            ("64KiB", 65_536),
            ("1 MiB", 1_048_576),
            ("10MB", 10_000_000),
            ("2gib", 2_147_483_648),
            ("5B", 5),
            ("1_000", 1_000),
        ];
        for (text, bytes) in bytes {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "KiB", "-1", "1.5MiB", "64K", "1 Mb x", "99999999999GiB", "é", "１"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_seconds_unless_a_unit_follows() {
        let durations = [
            ("20s", Duration::from_secs(20)),
            ("100ms", Duration::from_millis(100)),
            ("200us", Duration::from_micros(200)),
            ("200µs", Duration::from_micros(200)),
            ("5m", Duration::from_mins(5)),
            ("2h", Duration::from_hours(2)),
            ("1h30m", Duration::from_mins(90)),
            ("1.5 s", Duration::from_millis(1500)),
            ("0.5", Duration::from_millis(500)),
            ("5", Duration::from_secs(5)),
            ("0", Duration::ZERO),
        ];
        for (text, expected) in durations {
            assert_eq!(duration(text), Some(expected), "{text}");
        }
        for text in ["", "s", "-1", "-1s", "inf", "1e9", "nan", "5x", "1.2.3", "1h30", "1e99s", "."]
        {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(
            [mode("0660"), mode("660"), mode("0o600")],
            [Some(0o660), Some(0o660), Some(0o600)]
        );
        assert_eq!([mode("0888"), mode("1777"), mode("+66"), mode(""), mode("rw")], [None; 5]);
    }

    #[test]
    fn flags_are_those_of_both_yaml_versions() {
        assert_eq!([flag("true"), flag("Yes"), flag("ON")], [Some(true); 3]);
        assert_eq!([flag("False"), flag("no"), flag("off")], [Some(false); 3]);
        assert_eq!([flag("1"), flag(""), flag("y")], [None; 3]);
    }

    #[test]
    fn sizes_and_durations_are_shown_in_their_largest_fitting_unit() {
        assert_eq!(exact_size(16 << 20), "16MiB");
        assert_eq!(exact_size(1500), "1500");
        assert_eq!(rounded_size(1000), "1000 B");
        assert_eq!(rounded_size(1536), "1.5 KiB");
        assert_eq!(rounded_size((1 << 30) + (100 << 20)), "1.1 GiB");
        assert_eq!(rounded_size(17 << 20), "17 MiB");
        assert_eq!(rounded_size(1_048_575), "1024 KiB");
        let durations = [0, 200, 500_000, 1_500_000, 20_000_000, 600_000_000, 7_200_000_000];
        let shown = durations.map(|micros| short_duration(Duration::from_micros(micros)));
        assert_eq!(shown, ["0", "200us", "500ms", "1500ms", "20s", "10m", "2h"]);
    }
}
