//! Absolute times for people: in the time zone of the user, or in UTC with `--utc`. The zone is
//! that of the variable `TZ` or of the system. JSON always has UTC.

use std::sync::OnceLock;

use jiff::tz::TimeZone;
use scuttle_schemas::Timestamp;

static ZONE: OnceLock<TimeZone> = OnceLock::new();

/// Shows all times in UTC from now on. Must be called before the first time is shown.
pub(crate) fn use_utc() {
    // The zone is chosen at most once, before any output.
    let _ = ZONE.set(TimeZone::UTC);
}

/// Returns the time zone in which times are shown.
pub(crate) fn zone() -> &'static TimeZone {
    // A test has the same result on a machine in any zone.
    ZONE.get_or_init(|| {
        if cfg!(test) {
            TimeZone::UTC
        } else {
            TimeZone::system()
        }
    })
}

/// Formats a date and time of day, such as `2026-11-24 11:05:42 CET`.
pub(crate) fn format_date_and_time(at: Timestamp) -> String {
    format(at, "%Y-%m-%d %H:%M:%S %Z", zone())
}

/// Formats a time of day in a zone, such as `11:05:42 CET`.
pub(crate) fn format_time_of_day(at: Timestamp, zone: &TimeZone) -> String {
    format(at, "%H:%M:%S %Z", zone)
}

fn format(at: Timestamp, pattern: &str, zone: &TimeZone) -> String {
    let Ok(instant) = jiff::Timestamp::from_millisecond(at.as_millis()) else {
        return at.to_string();
    };
    instant.to_zoned(zone.clone()).strftime(pattern).to_string()
}

#[cfg(test)]
mod tests {
    use jiff::tz::{TimeZone, offset};
    use scuttle_schemas::Timestamp;

    use super::{format, format_time_of_day};

    #[test]
    fn a_time_is_shown_in_the_given_zone() {
        let at: Timestamp = "2026-11-24T23:05:42.623Z".parse().expect("a time");
        assert_eq!(format_time_of_day(at, &TimeZone::UTC), "23:05:42 UTC");
        let zone = TimeZone::fixed(offset(2));
        let text = format(at, "%Y-%m-%d %H:%M:%S %Z", &zone);
        assert_eq!(text, "2026-11-25 01:05:42 +02");
    }
}
