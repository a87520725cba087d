//! `outrigger cluster`: what operators see and change of a cluster.

mod show;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use outrigger_proto::cluster::{
    AddRequest, DataGroupStatus, RemoveRequest, ReplaceRequest, Replica, Role, StatusRequest,
    StatusResponse, TransferRequest, cluster_client::ClusterClient,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::config::{HostPort, node_address};

/// How long a node may take to be reached, and to tell its status.
const STATUS_MS_MAX: u64 = 5_000;
/// Times that a command follows the leader to another node.
const LEADERS_COUNT_MAX: u32 = 5;
const LEADER_PAUSE_MS: u64 = 300;
/// Times that a node is asked again because it knows no leader.
const ELECTION_POLLS_MAX: u32 = 5;

/// Arguments of `outrigger cluster`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The gRPC address of any node
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:7070"
    )]
    server: String,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// The nodes, who leads, and how far each one is
    Status,
    /// Take in a node that waits for it; it receives the log and votes when it has it
    Add {
        /// Its number and peer address, as in 4=127.0.0.1:7371
        #[arg(value_name = "N=HOST:PORT", value_parser = node_address)]
        node: (u64, HostPort),
    },
    /// Take out a node
    Remove {
        /// Its number
        id: u64,
    },
    /// Take out a node and let a waiting one take its place
    Replace {
        /// The number of the node that goes
        id: u64,
        /// The number and peer address of the node that comes, as in 4=127.0.0.1:7371
        #[arg(long, value_name = "N=HOST:PORT", value_parser = node_address)]
        with: (u64, HostPort),
    },
    /// Hand the lead over
    Transfer {
        /// Who shall lead [default: whoever lacks the fewest entries]
        #[arg(long, value_name = "N")]
        to: Option<u64>,
        /// The lead of this data group [default: of all that --to does not lead]
        #[arg(long, value_name = "N")]
        data_group: Option<u32>,
    },
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let server = &arguments.server;
    let is_question = matches!(arguments.command, Command::Status);
    if !is_question {
        change(server, arguments.command).await?;
    }
    let status = status(server).await?;
    if arguments.json {
        show::line(&format!("{:#}", show::as_json(&status)));
    } else {
        show::table(&status);
    }
    match is_question {
        true => check(&status),
        // Whoever has just begun to lead has not heard of all others yet.
        false => Ok(()),
    }
}

/// Whether the cluster can go on: every data group has to.
fn check(status: &StatusResponse) -> anyhow::Result<()> {
    for group in &status.data_groups {
        let of = match status.data_groups.len() {
            1 => String::new(),
            _ => format!(" of data group {}", group.data_group),
        };
        let is_voter = |replica: &&Replica| replica.role() != Role::Learner;
        let voters = group.replicas.iter().filter(is_voter);
        let reachable = voters.clone().filter(|voter| voter.reachable).count();
        let voters = voters.count();
        anyhow::ensure!(
            group.leader != 0,
            "there is no leader{of}: a majority of the {voters} voters cannot be reached"
        );
        anyhow::ensure!(
            reachable > voters / 2,
            "the leader{of} reaches {reachable} of {voters} voters, itself included, which is no \
             majority"
        );
    }
    Ok(())
}

fn connect(server: &str) -> anyhow::Result<ClusterClient<Channel>> {
    let wrong = || format!("{server} is no address of a node, as in http://127.0.0.1:7070");
    let endpoint = Endpoint::from_shared(server.to_owned()).with_context(wrong)?;
    let limit = Duration::from_millis(STATUS_MS_MAX);
    Ok(ClusterClient::new(
        endpoint.connect_timeout(limit).connect_lazy(),
    ))
}

async fn status_of(server: &str) -> anyhow::Result<StatusResponse> {
    let mut node = connect(server)?;
    let limit = Duration::from_millis(STATUS_MS_MAX);
    let answer = tokio::time::timeout(limit, node.status(StatusRequest {})).await;
    let answer = answer.with_context(|| format!("{server} said nothing for {STATUS_MS_MAX} ms"))?;
    let answer = answer.map_err(|status| told(server, &status))?;
    Ok(with_data_groups(answer.into_inner()))
}

/// A node from before there were several data groups tells of one.
fn with_data_groups(mut status: StatusResponse) -> StatusResponse {
    if status.data_groups.is_empty() {
        let members = status.members.iter();
        let replicas = members.map(|member| Replica {
            id: member.node.as_ref().map_or(0, |node| node.id),
            role: member.role,
            matched_index: member.matched_index,
            lag: member.lag,
            reachable: member.reachable,
        });
        let only = DataGroupStatus {
            data_group: 0,
            leader: status.leader,
            term: status.term,
            replicas: replicas.collect(),
        };
        status.data_groups.push(only);
    }
    status
}

/// The leader of a data group knows most of it, so it is asked when it can be reached.
async fn status(server: &str) -> anyhow::Result<StatusResponse> {
    let mut status = status_of(server).await?;
    for _ in 0..ELECTION_POLLS_MAX {
        if status.data_groups.iter().all(|group| group.leader != 0) {
            break;
        }
        // There may be an election just now.
        tokio::time::sleep(Duration::from_millis(LEADER_PAUSE_MS)).await;
        status = status_of(server).await?;
    }
    let mut leaders = BTreeMap::new();
    for group in &status.data_groups {
        let Some(edge) = edge_of(&status, group.leader) else {
            continue;
        };
        if let Entry::Vacant(unknown) = leaders.entry(group.leader) {
            unknown.insert(status_of(&format!("http://{edge}")).await.ok());
        }
    }
    // Where there is one data group its leader tells everything.
    if let [only] = status.data_groups.as_slice() {
        let told = leaders.remove(&only.leader).flatten();
        return Ok(told.unwrap_or(status));
    }
    for group in &mut status.data_groups {
        let told = leaders.get(&group.leader).and_then(Option::as_ref);
        let mut told = told.into_iter().flat_map(|told| &told.data_groups);
        if let Some(told) = told.find(|told| told.data_group == group.data_group) {
            *group = told.clone();
        }
    }
    Ok(status)
}

fn edge_of(status: &StatusResponse, id: u64) -> Option<&str> {
    let nodes = status
        .members
        .iter()
        .filter_map(|member| member.node.as_ref());
    let node = nodes.into_iter().find(|node| id != 0 && node.id == id)?;
    Some(&node.edge)
}

/// Asks the leader, wherever it is; without one, says so.
async fn change(server: &str, command: Command) -> anyhow::Result<()> {
    for attempt in 1.. {
        // Straight to the leader, as far as the node knows it.
        let known = status(server).await?;
        let leader = match command {
            Command::Transfer {
                data_group: Some(group),
                ..
            } => {
                let mut groups = known.data_groups.iter();
                let group = groups.find(|known| known.data_group == group);
                group.map_or(0, |group| group.leader)
            }
            _ => known.leader,
        };
        let leader = edge_of(&known, leader);
        let at = leader.map_or_else(|| server.to_owned(), |edge| format!("http://{edge}"));
        let refusal = match ask(&at, command.clone()).await? {
            Ok(_) => return Ok(()),
            Err(refusal) => refusal,
        };
        let info = refusal.get_details_error_info();
        let reason = info.map(|info| info.reason).unwrap_or_default();
        // Nothing was changed, and another node leads or is about to.
        let may_repeat = matches!(reason.as_str(), "NOT_LEADER" | "LEADERSHIP_NOT_TAKEN");
        if !may_repeat || attempt >= LEADERS_COUNT_MAX {
            return Err(told(&at, &refusal));
        }
        tokio::time::sleep(Duration::from_millis(LEADER_PAUSE_MS)).await;
    }
    anyhow::bail!("no node leads")
}

async fn ask(server: &str, command: Command) -> anyhow::Result<Result<StatusResponse, Status>> {
    let mut node = connect(server)?;
    let answer = match command {
        Command::Status => node.status(StatusRequest {}).await,
        Command::Add {
            node: (id, address),
        } => {
            let address = address.to_string();
            let request = AddRequest {
                id,
                address,
                data_group: None,
            };
            node.add(request).await
        }
        Command::Remove { id } => {
            let data_group = None;
            node.remove(RemoveRequest { id, data_group }).await
        }
        Command::Replace {
            id,
            with: (with_id, with_address),
        } => {
            let with_address = with_address.to_string();
            let request = ReplaceRequest {
                id,
                with_id,
                with_address,
                data_group: None,
            };
            node.replace(request).await
        }
        Command::Transfer { to, data_group } => {
            let to = to.unwrap_or(0);
            node.transfer(TransferRequest { to, data_group }).await
        }
    };
    Ok(answer.map(tonic::Response::into_inner))
}

/// The node's own words.
fn told(server: &str, status: &Status) -> anyhow::Error {
    let info = status.get_details_error_info();
    if info.is_none() && status.code() == Code::Unavailable {
        return anyhow::anyhow!("no node can be reached at {server}");
    }
    if info.is_some_and(|info| info.reason == "OUTCOME_UNKNOWN") {
        return anyhow::anyhow!(
            "the leader was lost, or cannot reach a majority of the nodes any more: whether the \
             change was made is not known; `outrigger cluster status` tells"
        );
    }
    anyhow::anyhow!("{} ({:?})", status.message(), status.code())
}
