//! Numbers of 128 bits that are shown, and written, as 32 hexadecimal digits.

/// How such a number is shown and kept.
macro_rules! shown_in_hex {
    ($number:ident) => {
        impl std::fmt::Display for $number {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl serde::Serialize for $number {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $number {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let digits = <String as serde::Deserialize>::deserialize(deserializer)?;
                u128::from_str_radix(&digits, 16).map(Self).map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use shown_in_hex;
