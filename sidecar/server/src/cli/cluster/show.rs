//! What an operator reads of a cluster.

use outrigger_proto::cluster::{DataGroupStatus, Node, Replica, Role, StatusResponse};
use serde_json::{Value, json};

/// For programs.
pub(super) fn as_json(status: &StatusResponse) -> Value {
    let members = status.members.iter().map(|member| {
        let node = member.node.clone().unwrap_or_default();
        json!({
            "id": node.id,
            "role": role(member.role()),
            "address": node.address,
            "edge": node.edge,
            "matched_index": member.matched_index,
            "lag": member.lag,
            "reachable": member.reachable,
        })
    });
    let groups = status.data_groups.iter().map(|group| {
        let replicas = group.replicas.iter().map(|replica| {
            json!({
                "id": replica.id,
                "role": role(replica.role()),
                "matched_index": replica.matched_index,
                "lag": replica.lag,
                "reachable": replica.reachable,
            })
        });
        json!({
            "data_group": group.data_group,
            "leader": group.leader,
            "term": group.term,
            "replicas": replicas.collect::<Vec<_>>(),
        })
    });
    json!({
        "cluster_id": status.cluster_id,
        "leader": status.leader,
        "term": status.term,
        "members": members.collect::<Vec<_>>(),
        "data_groups": groups.collect::<Vec<_>>(),
    })
}

/// For people.
pub(super) fn table(status: &StatusResponse) {
    let cluster = &status.cluster_id;
    match status.data_groups.as_slice() {
        [only] => {
            let leader = match only.leader {
                0 => "nobody leads".to_owned(),
                id => format!("node {id} leads"),
            };
            line(&format!("cluster {cluster}, {leader}, term {}", only.term));
            print(&members_of_one(status));
        }
        groups => {
            line(&format!("cluster {cluster}, {} data groups", groups.len()));
            print(&groups_of(groups));
            line("");
            print(&members_of_several(status));
        }
    }
}

type Row = Vec<String>;

fn members_of_one(status: &StatusResponse) -> Vec<Row> {
    let mut rows = vec![heading(&[
        "id",
        "role",
        "address",
        "edge",
        "matched",
        "lag",
        "reachable",
    ])];
    rows.extend(status.members.iter().map(|member| {
        let node = member.node.clone().unwrap_or_default();
        // Only the leader knows how far the others are.
        let known = |value: String| match status.leader {
            0 => "?".to_owned(),
            _ => value,
        };
        vec![
            node.id.to_string(),
            role(member.role()).to_owned(),
            node.address,
            node.edge,
            known(member.matched_index.to_string()),
            known(member.lag.to_string()),
            known(yes_or_no(member.reachable)),
        ]
    }));
    rows
}

fn groups_of(groups: &[DataGroupStatus]) -> Vec<Row> {
    let mut rows = vec![heading(&[
        "data group",
        "leader",
        "term",
        "voters",
        "learners",
        "furthest behind",
    ])];
    rows.extend(groups.iter().map(|group| {
        let are = |learners: bool| {
            let replicas = group.replicas.iter();
            let wanted = replicas.filter(|replica| (replica.role() == Role::Learner) == learners);
            let ids: Vec<_> = wanted.map(|replica| replica.id.to_string()).collect();
            match ids.is_empty() {
                true => "-".to_owned(),
                false => ids.join(" "),
            }
        };
        let others = group.replicas.iter();
        let others = others.filter(|replica| replica.id != group.leader);
        let behind = match (group.leader, others.max_by_key(|replica| replica.lag)) {
            (0, _) => "?".to_owned(),
            (_, Some(Replica { id, lag, .. })) if *lag > 0 => format!("node {id} by {lag}"),
            (_, _) => "-".to_owned(),
        };
        vec![
            group.data_group.to_string(),
            match group.leader {
                0 => "nobody".to_owned(),
                id => format!("node {id}"),
            },
            group.term.to_string(),
            are(false),
            are(true),
            behind,
        ]
    }));
    rows
}

fn members_of_several(status: &StatusResponse) -> Vec<Row> {
    let mut rows = vec![heading(&[
        "id",
        "leads",
        "address",
        "edge",
        "lag",
        "reachable",
    ])];
    let nodes = status
        .members
        .iter()
        .filter_map(|member| member.node.as_ref());
    rows.extend(nodes.map(|node| member_of_several(node, &status.data_groups)));
    rows
}

/// The most that a node lacks of any data group, and whether all leaders hear it.
fn member_of_several(node: &Node, groups: &[DataGroupStatus]) -> Row {
    let led = groups.iter().filter(|group| group.leader == node.id);
    let led: Vec<_> = led.map(|group| group.data_group.to_string()).collect();
    // Only the leaders know how far the others are.
    let known = groups.iter().filter(|group| group.leader != 0);
    let parts = known.flat_map(|group| &group.replicas);
    let parts: Vec<_> = parts.filter(|replica| replica.id == node.id).collect();
    let told = |value: String| match parts.is_empty() {
        true => "?".to_owned(),
        false => value,
    };
    let lag = parts.iter().map(|part| part.lag).max().unwrap_or(0);
    vec![
        node.id.to_string(),
        match led.is_empty() {
            true => "-".to_owned(),
            false => led.join(" "),
        },
        node.address.clone(),
        node.edge.clone(),
        told(lag.to_string()),
        told(yes_or_no(parts.iter().all(|part| part.reachable))),
    ]
}

fn heading(names: &[&str]) -> Row {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn yes_or_no(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Learner => "learner",
        Role::Unspecified => "unknown",
    }
}

fn print(rows: &[Row]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        line(cells.join("  ").trim_end());
    }
}

#[expect(clippy::print_stdout, reason = "a command line answers its user")]
pub(super) fn line(text: &str) {
    println!("{text}");
}
