//! What nodes say to each other besides the calls themselves.

use outrigger_log::cluster::{Purpose, PurposeKind};
use tonic::metadata::MetadataMap;

use super::Refused;

/// The protocols between nodes that this program speaks.
pub(crate) const MIN: u32 = 1;
pub(crate) const MAX: u32 = 2;
/// The first one that knows of several data groups.
pub(crate) const DATA_GROUPS: u32 = 2;

/// Who opens a stream of frames, to whom, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heading {
    pub(crate) cluster_id: String,
    pub(crate) from: u64,
    pub(crate) from_instance: u128,
    pub(crate) to: u64,
    pub(crate) to_instance: u128,
    pub(crate) purpose: Purpose,
}

const CLUSTER: &str = "outrigger-cluster";
const FROM: &str = "outrigger-from";
const FROM_INSTANCE: &str = "outrigger-from-instance";
const TO: &str = "outrigger-to";
const TO_INSTANCE: &str = "outrigger-to-instance";
const GROUP: &str = "outrigger-group";
const PURPOSE: &str = "outrigger-purpose";

impl Heading {
    pub(crate) fn write(&self, metadata: &mut MetadataMap) {
        let mut put = |key: &'static str, value: String| {
            // All of them are letters, digits and dashes.
            if let Ok(value) = value.parse() {
                metadata.insert(key, value);
            }
        };
        put(CLUSTER, self.cluster_id.clone());
        put(FROM, self.from.to_string());
        put(FROM_INSTANCE, format!("{:032x}", self.from_instance));
        put(TO, self.to.to_string());
        put(TO_INSTANCE, format!("{:032x}", self.to_instance));
        put(GROUP, self.purpose.group.to_string());
        put(PURPOSE, self.purpose.kind.to_string());
    }

    pub(crate) fn read(metadata: &MetadataMap) -> Result<Self, Refused> {
        let text = |field: &'static str| {
            let value = metadata.get(field).and_then(|value| value.to_str().ok());
            value.ok_or(Refused::Malformed { field })
        };
        let number = |field| {
            text(field)?
                .parse()
                .map_err(|_| Refused::Malformed { field })
        };
        let instance = |field| {
            u128::from_str_radix(text(field)?, 16).map_err(|_| Refused::Malformed { field })
        };
        let group = text(GROUP)?.parse();
        let kind = match text(PURPOSE)? {
            "append" => PurposeKind::Append,
            "call" => PurposeKind::Call,
            "checkpoint" => PurposeKind::Checkpoint,
            _ => return Err(Refused::Malformed { field: PURPOSE }),
        };
        Ok(Self {
            cluster_id: text(CLUSTER)?.to_owned(),
            from: number(FROM)?,
            from_instance: instance(FROM_INSTANCE)?,
            to: number(TO)?,
            to_instance: instance(TO_INSTANCE)?,
            purpose: Purpose {
                group: group.map_err(|_| Refused::Malformed { field: GROUP })?,
                kind,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_survives_the_way_and_a_broken_one_is_refused() {
        let purposes = [
            PurposeKind::Append,
            PurposeKind::Call,
            PurposeKind::Checkpoint,
        ];
        for kind in purposes {
            let heading = Heading {
                cluster_id: "0b29f3b6-b7e4-4eb1-9de8-8fe7b5a0c8b2".to_owned(),
                from: 1,
                from_instance: 1 << 100,
                to: 3,
                to_instance: 7,
                purpose: Purpose { group: 0, kind },
            };
            let mut metadata = MetadataMap::new();
            heading.write(&mut metadata);
            assert_eq!(Heading::read(&metadata), Ok(heading));
            for key in [
                CLUSTER,
                FROM,
                FROM_INSTANCE,
                TO,
                TO_INSTANCE,
                GROUP,
                PURPOSE,
            ] {
                let mut lacking = metadata.clone();
                lacking.remove(key);
                let refused = Heading::read(&lacking).unwrap_err();
                assert_eq!(refused, Refused::Malformed { field: key });
            }
            metadata.insert(PURPOSE, "gossip".parse().unwrap());
            assert!(Heading::read(&metadata).is_err());
        }
    }
}
