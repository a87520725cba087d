//! `outrigger cluster`: what operators see and change of a cluster.

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use outrigger_proto::cluster::{
    AddRequest, Member, RemoveRequest, ReplaceRequest, Role, StatusRequest, StatusResponse,
    TransferRequest, cluster_client::ClusterClient,
};
use serde_json::json;
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
        line(&format!("{:#}", as_json(&status)));
    } else {
        table(&status);
    }
    match is_question {
        true => check(&status),
        // Whoever has just begun to lead has not heard of all others yet.
        false => Ok(()),
    }
}

/// Whether the cluster can go on.
fn check(status: &StatusResponse) -> anyhow::Result<()> {
    let is_voter = |member: &&Member| member.role() != Role::Learner;
    let voters = status.members.iter().filter(is_voter).count();
    let reachable = status.members.iter().filter(is_voter);
    let reachable = reachable.filter(|voter| voter.reachable).count();
    anyhow::ensure!(
        status.leader != 0,
        "there is no leader: a majority of the {voters} voters cannot be reached"
    );
    anyhow::ensure!(
        reachable > voters / 2,
        "the leader reaches {reachable} of {voters} voters, itself included, which is no majority"
    );
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
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| told(server, &status))
}

/// The leader knows most, so it is asked when it can be reached.
async fn status(server: &str) -> anyhow::Result<StatusResponse> {
    let mut status = status_of(server).await?;
    for _ in 0..ELECTION_POLLS_MAX {
        if status.leader != 0 {
            break;
        }
        // There may be an election just now.
        tokio::time::sleep(Duration::from_millis(LEADER_PAUSE_MS)).await;
        status = status_of(server).await?;
    }
    let Some(edge) = edge_of(&status, status.leader) else {
        return Ok(status);
    };
    Ok(status_of(&format!("http://{edge}")).await.unwrap_or(status))
}

fn edge_of(status: &StatusResponse, id: u64) -> Option<&str> {
    let nodes = status
        .members
        .iter()
        .filter_map(|member| member.node.as_ref());
    let node = nodes.into_iter().find(|node| node.id == id)?;
    Some(&node.edge)
}

/// Asks the leader, wherever it is; without one, says so.
async fn change(server: &str, command: Command) -> anyhow::Result<()> {
    for attempt in 1.. {
        // Straight to the leader, as far as the node knows it.
        let known = status(server).await?;
        let leader = edge_of(&known, known.leader);
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
            node.add(AddRequest { id, address }).await
        }
        Command::Remove { id } => node.remove(RemoveRequest { id }).await,
        Command::Replace {
            id,
            with: (with_id, with_address),
        } => {
            let with_address = with_address.to_string();
            let request = ReplaceRequest {
                id,
                with_id,
                with_address,
            };
            node.replace(request).await
        }
        Command::Transfer { to } => {
            let to = to.unwrap_or(0);
            node.transfer(TransferRequest { to }).await
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

fn role(member: &Member) -> &'static str {
    match member.role() {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Learner => "learner",
        Role::Unspecified => "unknown",
    }
}

fn as_json(status: &StatusResponse) -> serde_json::Value {
    let members = status.members.iter().map(|member| {
        let node = member.node.clone().unwrap_or_default();
        json!({
            "id": node.id,
            "role": role(member),
            "address": node.address,
            "edge": node.edge,
            "matched_index": member.matched_index,
            "lag": member.lag,
            "reachable": member.reachable,
        })
    });
    json!({
        "cluster_id": status.cluster_id,
        "leader": status.leader,
        "term": status.term,
        "members": members.collect::<Vec<_>>(),
    })
}

fn table(status: &StatusResponse) {
    let StatusResponse {
        cluster_id,
        leader,
        term,
        ..
    } = status;
    let leader = match leader {
        0 => "nobody leads".to_owned(),
        id => format!("node {id} leads"),
    };
    line(&format!("cluster {cluster_id}, {leader}, term {term}"));
    let mut rows = vec![
        [
            "id",
            "role",
            "address",
            "edge",
            "matched",
            "lag",
            "reachable",
        ]
        .map(str::to_owned),
    ];
    rows.extend(status.members.iter().map(|member| {
        let node = member.node.clone().unwrap_or_default();
        // Only the leader knows how far the others are.
        let known = |value: String| match status.leader {
            0 => "?".to_owned(),
            _ => value,
        };
        [
            node.id.to_string(),
            role(member).to_owned(),
            node.address,
            node.edge,
            known(member.matched_index.to_string()),
            known(member.lag.to_string()),
            known(if member.reachable { "yes" } else { "no" }.to_owned()),
        ]
    }));
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..7).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        line(cells.join("  ").trim_end());
    }
}

#[expect(clippy::print_stdout, reason = "a command line answers its user")]
fn line(text: &str) {
    println!("{text}");
}
