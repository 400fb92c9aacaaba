//! Times on the wire: RFC 3339 in UTC with milliseconds. This module does not read a clock.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A time in UTC with milliseconds, for example `2026-11-23T09:11:49.000Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct Timestamp(
    #[cfg_attr(
        feature = "generate",
        schemars(with = "String", extend("format" = "date-time"))
    )]
    i64,
);

/// The last millisecond of the year 9999, which is the last year of RFC 3339.
const MAX_MILLIS: i64 = 253_402_300_799_999;

impl Timestamp {
    /// Converts from milliseconds since 1970. A time outside the years 1970 to 9999 is moved to the
    /// nearest end of this range.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(0, MAX_MILLIS))
    }

    /// Returns the milliseconds since 1970.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the time `millis` milliseconds later, limited to the years 1970 to 9999.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// Returns the milliseconds from `earlier` to this time. Negative if `earlier` is later.
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

impl Timestamp {
    /// Formats the timestamp as RFC 3339. Every record contains several timestamps, and this code
    /// formats them much faster than the `time` crate does.
    fn to_rfc3339(self) -> [u8; 24] {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let Ok(at) = OffsetDateTime::from_unix_timestamp(self.0 / 1000) else {
            return text; // Unreachable: `time` supports every time up to `MAX_MILLIS`.
        };
        let (year, month, day) = at.to_calendar_date();
        let (hour, minute, second) = at.to_hms();
        let mut write = |position: usize, digits: usize, mut value: u32| {
            for digit in (position..position + digits).rev() {
                text[digit] = b'0' + (value % 10) as u8;
                value /= 10;
            }
        };
        write(0, 4, year.unsigned_abs());
        write(5, 2, u8::from(month).into());
        write(8, 2, day.into());
        write(11, 2, hour.into());
        write(14, 2, minute.into());
        write(17, 2, second.into());
        write(20, 3, (self.0 % 1000).unsigned_abs() as u32);
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_rfc3339()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = time::error::Parse;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = OffsetDateTime::parse(text, &Rfc3339)?;
        Ok(Self::from_millis(
            (at.unix_timestamp_nanos() / 1_000_000) as i64,
        ))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.to_rfc3339();
        serializer.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::types::decode::parsed(deserializer, "a time as in RFC 3339", Self::from_str)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_MILLIS, Timestamp};

    #[test]
    fn times_are_written_as_rfc_3339_with_milliseconds() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_795_425_109_007, "2026-11-23T09:11:49.007Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (MAX_MILLIS, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).to_string(), text);
            assert_eq!(text.parse::<Timestamp>().expect(text).as_millis(), millis);
        }
        let offset: Timestamp = "2026-11-23T10:11:49+01:00"
            .parse()
            .expect("an offset is read");
        assert_eq!(offset.to_string(), "2026-11-23T09:11:49.000Z");
        assert_eq!(Timestamp::from_millis(i64::MIN).as_millis(), 0);
    }
}
