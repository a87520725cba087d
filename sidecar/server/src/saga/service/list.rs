use futures::future::try_join_all;
use outrigger_proto::{
    cluster,
    v1::{self, SagaInfo, SagaStatus},
};
use tonic::Status;

use super::{Opened, check::ID_BYTES_MAX};
use crate::edge::status::Failure;

const LISTED_DEFAULT: u32 = 100;
const LISTED_MAX: u32 = 1_000;

impl Opened {
    /// Sagas of all data groups in the order of their ids. A page goes on after the last id of
    /// the one before.
    pub(super) async fn list(
        &self,
        request: v1::ListSagasRequest,
    ) -> Result<v1::ListSagasResponse, Status> {
        let limit = match request.limit {
            0 => LISTED_DEFAULT,
            limit => limit,
        };
        if limit > LISTED_MAX {
            let allowed = format_args!("1 to {LISTED_MAX}");
            return Err(Failure::invalid("ILLEGAL_LIMIT", "limit", limit, allowed).into());
        }
        let after = request.page_token;
        if after.len() > ID_BYTES_MAX {
            let allowed = "the next_page_token of an earlier answer";
            let failure = Failure::invalid("ILLEGAL_PAGE", "page_token", after, allowed);
            return Err(failure.into());
        }
        for number in &request.statuses {
            check_status(*number)?;
        }
        let asked = cluster::ListSagasRequest {
            definition: request.definition,
            statuses: request.statuses,
            stuck: request.stuck,
            limit,
            after,
        };
        let groups = 0..self.store.groups();
        let parts = groups.map(|group| self.store.list(group, asked.clone()));
        Ok(page(try_join_all(parts).await?, limit as usize))
    }
}

fn check_status(number: i32) -> Result<(), Failure> {
    match SagaStatus::try_from(number) {
        Ok(SagaStatus::Unspecified) | Err(_) => {
            let allowed = "a status that sagas can have";
            Err(Failure::invalid(
                "ILLEGAL_STATUS",
                "statuses",
                number,
                allowed,
            ))
        }
        Ok(_) => Ok(()),
    }
}

/// One page out of what each data group has after the same id, and after which id it goes on.
/// Where a group goes on, nothing is known of what it has beyond.
fn page(parts: Vec<(Vec<SagaInfo>, Option<String>)>, limit: usize) -> v1::ListSagasResponse {
    let known_upto = parts.iter().filter_map(|(_, next)| next.clone()).min();
    let mut sagas: Vec<_> = parts.into_iter().flat_map(|(sagas, _)| sagas).collect();
    if let Some(upto) = &known_upto {
        sagas.retain(|saga| saga.saga_id <= *upto);
    }
    sagas.sort_by(|one, other| one.saga_id.cmp(&other.saga_id));
    let last = match sagas.len() > limit {
        true => limit.checked_sub(1).and_then(|last| sagas.get(last)),
        false => None,
    };
    let next = last.map(|last| last.saga_id.clone()).or(known_upto);
    sagas.truncate(limit);
    v1::ListSagasResponse {
        sagas,
        next_page_token: next.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sagas(ids: &[&str]) -> Vec<SagaInfo> {
        let saga = |id: &&str| SagaInfo {
            saga_id: (*id).to_owned(),
            ..SagaInfo::default()
        };
        ids.iter().map(saga).collect()
    }

    #[test]
    fn a_page_has_nothing_beyond_what_every_group_has_told() {
        let parts = vec![
            (sagas(&["a", "d", "e"]), Some("e".to_owned())),
            (sagas(&["b", "c", "z"]), None),
        ];
        let told = page(parts, 10);
        let ids: Vec<_> = told
            .sagas
            .iter()
            .map(|saga| saga.saga_id.as_str())
            .collect();
        assert_eq!(ids, ["a", "b", "c", "d", "e"]);
        assert_eq!(told.next_page_token, "e");
    }

    #[test]
    fn a_full_page_goes_on_after_its_last_saga() {
        let parts = vec![(sagas(&["a", "d"]), None), (sagas(&["b", "c"]), None)];
        let told = page(parts.clone(), 3);
        assert_eq!(told.sagas.len(), 3);
        assert_eq!(told.next_page_token, "c");
        assert_eq!(page(parts, 4).next_page_token, "");
    }
}
