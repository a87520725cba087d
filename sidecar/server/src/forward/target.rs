use outrigger_log::cluster::Leadership;
use tokio::sync::watch;

/// Where the leader is, seen from this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Nobody leads, as far as this process knows.
    #[default]
    Nobody,
    /// This process leads.
    Here,
    /// Another one does; its address for applications, as in `127.0.0.1:7070`.
    At(String),
}

impl Target {
    /// True when what was begun at `self` has no future, now that the leader is at `now`.
    /// Nobody leading may mean the same leader in a moment.
    pub(super) fn is_left(&self, now: &Self) -> bool {
        match (self, now) {
            (Self::Here, Self::Here) | (Self::At(_), Self::Nobody) => false,
            (Self::At(then), Self::At(now)) => then != now,
            (Self::Here, Self::Nobody | Self::At(_))
            | (Self::At(_), Self::Here)
            | (Self::Nobody, _) => true,
        }
    }
}

impl From<&Leadership> for Target {
    fn from(leadership: &Leadership) -> Self {
        match leadership {
            Leadership::Leading { .. } => Self::Here,
            Leadership::Following {
                leader: Some((_, member)),
                ..
            } if !member.edge.is_empty() => Self::At(member.edge.clone()),
            Leadership::Following { .. } => Self::Nobody,
        }
    }
}

/// Tells `target` where the leader is, for as long as anybody looks.
pub async fn follow(mut leadership: watch::Receiver<Leadership>, target: watch::Sender<Target>) {
    loop {
        let now = Target::from(&*leadership.borrow_and_update());
        target.send_if_modified(|target| {
            let changed = *target != now;
            *target = now;
            changed
        });
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() {
                target.send_replace(Target::Nobody);
                return;
            },
            () = target.closed() => return,
        }
    }
}
