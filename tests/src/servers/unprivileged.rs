use std::{fs, path::Path};

use super::Error;

/// These users exist for such purposes.
const USERS: [&str; 3] = ["postgres", "mysql", "nobody"];

/// Whom a server is to run as when this process is root, which database servers refuse: its
/// own user if there is one.
pub(super) fn unprivileged(program: &'static str) -> Result<Option<(u32, u32)>, Error> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")
        .map_err(|error| Error::path("read", Path::new("/etc/passwd"), &error))?;
    let own = USERS.iter().filter(|user| **user == program);
    let ids = own.chain(&USERS).find_map(|wanted| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let user = fields.nth(1)?.parse().ok()?;
            let group = fields.next()?.parse().ok()?;
            (name == *wanted).then_some((user, group))
        })
    });
    ids.map(Some).ok_or_else(|| Error::Io {
        doing: format!("look for a user to run {program} as"),
        error: format!("none of {USERS:?} exists, and {program} refuses root"),
    })
}
