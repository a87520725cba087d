/// When a send is answered. A higher level implies the lower ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The leader has taken it; nothing more is promised.
    Accepted,
    /// In the memory of a majority, and on its way to their disks.
    Replicated,
    /// On the disks of a majority, and applied.
    #[default]
    Synced,
}

impl Durability {
    /// As it is written.
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::Synced => 1,
            Self::Replicated => 2,
            Self::Accepted => 3,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Synced),
            2 => Some(Self::Replicated),
            3 => Some(Self::Accepted),
            _ => None,
        }
    }
}
