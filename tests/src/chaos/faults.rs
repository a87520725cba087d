//! Breaks something, waits a while, and heals it.

use std::{ops::Range, time::Duration};

use anyhow::Context as _;
use outrigger_proto::cluster::{AddRequest, RemoveRequest, ReplaceRequest, TransferRequest};
use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _, seq::SliceRandom as _};
use rustix::process::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use super::{journal::eventually, network::Link, options::FaultKind, world::World};

/// Longer than an election takes, which is 400 ms at most.
const PAUSE_MS: Range<u64> = 600..1_800;
const PARTITION_MS: Range<u64> = 600..2_000;
const DOWN_MS: Range<u64> = 100..1_500;
/// How long blocks reach the disk early before the power goes.
const LEAKING_MS: u64 = 200;
const FULL_MS: Range<u64> = 1_500..4_000;
const SLOW_MS: Range<u64> = 1..15;
/// A change of the members, with the time to catch up.
const MEMBERSHIP_MS_MAX: u64 = 30_000;
/// Of 100 faults, so many hit the leader.
const LEADER_PERCENT: u32 = 60;

/// What was done.
#[derive(Debug)]
pub struct Strike {
    /// For people.
    pub done: String,
    /// How long it took until others were served while a single node had its fault.
    pub failover_ms: Option<u64>,
}

impl From<String> for Strike {
    fn from(done: String) -> Self {
        Self {
            done,
            failover_ms: None,
        }
    }
}

/// Breaks something of this kind, and stops breaking it. What is still to be healed then is
/// that nodes are down. When the fault is alone and concerns one node, it lasts until others
/// are served at the other nodes.
///
/// # Errors
///
/// When it could not be done, a change of the members was refused, or others are not served.
pub async fn strike(
    world: &mut World,
    kind: FaultKind,
    random: &mut StdRng,
    is_alone: bool,
) -> anyhow::Result<Strike> {
    match kind {
        FaultKind::Kill => kill(world, random, is_alone).await,
        FaultKind::Pause => pause(world, random, is_alone).await,
        FaultKind::Partition => partition(world, random, is_alone).await,
        FaultKind::Power => Ok(power(world, random).await?.into()),
        FaultKind::DiskFull => Ok(disk_full(world, random).await?.into()),
        FaultKind::Bitflip => Ok(bitflip(world, random).await?.into()),
        FaultKind::Membership => Ok(membership(world, random).await?.into()),
    }
}

/// Of 100 kills, so many take the sidecar along.
const SIDECAR_PERCENT: u32 = 30;
/// Of 100 faults, so many are followed by another one before the cluster has recovered.
const AFTERSHOCK_PERCENT: u32 = 40;
const AFTERSHOCK_MS: Range<u64> = 0..1_000;

/// Breaks something again while the nodes still recover, or does not. None of those faults
/// takes the log of a node, because another node may have lost its own.
///
/// # Errors
///
/// As [`strike`].
pub async fn strike_again(
    world: &mut World,
    kinds: &[FaultKind],
    random: &mut StdRng,
) -> anyhow::Result<Option<String>> {
    let harmless = kinds.iter().filter(|kind| match kind {
        FaultKind::Kill | FaultKind::Pause | FaultKind::Partition | FaultKind::Power => true,
        FaultKind::DiskFull | FaultKind::Bitflip | FaultKind::Membership => false,
    });
    let harmless: Vec<_> = harmless.copied().collect();
    let Some(kind) = harmless.choose(random).copied() else {
        return Ok(None);
    };
    if random.random_range(0..100) >= AFTERSHOCK_PERCENT || world.disks_lie() {
        return Ok(None);
    }
    heal(world)?;
    hold(random, AFTERSHOCK_MS).await;
    Ok(Some(strike(world, kind, random, false).await?.done))
}

/// Undoes whatever is still broken; the ids of nodes that were not running.
///
/// # Errors
///
/// When a node cannot be started.
pub fn heal(world: &mut World) -> anyhow::Result<Vec<u64>> {
    world.network.heal();
    for node in &world.nodes {
        node.signal(Signal::CONT);
    }
    world.heal_disks()?;
    world.start_missing()
}

/// Waits until others are served without this node, and a while.
async fn last(
    world: &World,
    id: u64,
    random: &mut StdRng,
    range: Range<u64>,
    is_alone: bool,
) -> anyhow::Result<(Option<u64>, u64)> {
    let began = Instant::now();
    let failover_ms = match is_alone {
        true => Some(world.served_without(id).await?),
        false => None,
    };
    let until = began + Duration::from_millis(random.random_range(range));
    sleep_until(until).await;
    let lasted_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok((failover_ms, lasted_ms))
}

async fn hold(random: &mut StdRng, range: Range<u64>) -> u64 {
    let time_ms = random.random_range(range);
    sleep(Duration::from_millis(time_ms)).await;
    time_ms
}

fn any_group(world: &World, random: &mut StdRng) -> u32 {
    match world.topics.groups {
        1 => 0,
        groups => random.random_range(0..groups),
    }
}

/// A node and what it is in some data group.
async fn target(world: &World, random: &mut StdRng) -> anyhow::Result<(u64, &'static str)> {
    let data_group = any_group(world, random);
    let leader = world.leader(data_group).await;
    let others: Vec<_> = world
        .nodes
        .iter()
        .map(|node| node.id)
        .filter(|id| Some(*id) != leader)
        .collect();
    match leader {
        Some(leader) if random.random_range(0..100) < LEADER_PERCENT => Ok((leader, "leader")),
        _ => {
            let follower = others.choose(random).context("there are no other nodes")?;
            Ok((*follower, "follower"))
        }
    }
}

async fn kill(world: &mut World, random: &mut StdRng, is_alone: bool) -> anyhow::Result<Strike> {
    let (id, role) = target(world, random).await?;
    if random.random_range(0..100) < SIDECAR_PERCENT
        && let Some(sidecar) = &mut world.sidecar
    {
        sidecar.kill();
    }
    let node = world.node(id)?;
    node.disk().set_volatile(false)?;
    sleep(Duration::from_millis(random.random_range(0..300))).await;
    node.kill();
    let (failover_ms, down_ms) = last(world, id, random, DOWN_MS, is_alone).await?;
    Ok(Strike {
        done: format!("killed {role} {id}, down for {down_ms} ms"),
        failover_ms,
    })
}

async fn pause(world: &mut World, random: &mut StdRng, is_alone: bool) -> anyhow::Result<Strike> {
    let (id, role) = target(world, random).await?;
    world.node(id)?.signal(Signal::STOP);
    let (failover_ms, time_ms) = last(world, id, random, PAUSE_MS, is_alone).await?;
    world.node(id)?.signal(Signal::CONT);
    Ok(Strike {
        done: format!("stopped {role} {id} for {time_ms} ms"),
        failover_ms,
    })
}

async fn partition(
    world: &mut World,
    random: &mut StdRng,
    is_alone: bool,
) -> anyhow::Result<Strike> {
    let (id, role) = target(world, random).await?;
    let shape = *[
        "both ways",
        "is not heard",
        "hears nobody",
        "behind slow links",
    ]
    .choose(random)
    .unwrap_or(&"both ways");
    let delay_ms = random.random_range(SLOW_MS);
    let others: Vec<_> = world.nodes.iter().map(|node| node.id).collect();
    for other in others.into_iter().filter(|other| *other != id) {
        let (out, back) = match shape {
            "is not heard" => (Link::Held, Link::Open),
            "hears nobody" => (Link::Open, Link::Held),
            "behind slow links" => (Link::Slow { delay_ms }, Link::Slow { delay_ms }),
            _ => (Link::Held, Link::Held),
        };
        world.network.set(id, other, out);
        world.network.set(other, id, back);
    }
    let (failover_ms, time_ms) = last(world, id, random, PARTITION_MS, is_alone).await?;
    world.network.heal();
    Ok(Strike {
        done: format!("partitioned {role} {id}, {shape}, for {time_ms} ms"),
        failover_ms,
    })
}

async fn power(world: &mut World, random: &mut StdRng) -> anyhow::Result<String> {
    let (first, _) = target(world, random).await?;
    let mut others: Vec<_> = world.nodes.iter().map(|node| node.id).collect();
    others.retain(|id| *id != first);
    others.shuffle(random);
    let more = random.random_range(0..=others.len());
    let leaking = [0, 0, 64, 160].choose(random).copied().unwrap_or(0);
    // What lying disks have written early would be damage, which nodes notice themselves.
    let (more, leaking) = match world.disks_lie() {
        true => (others.len(), 0),
        false => (more, leaking),
    };
    let mut ids = vec![first];
    ids.extend(others.into_iter().take(more));
    for id in &ids {
        world.node(*id)?.disk().set_leaking(leaking)?;
    }
    sleep(Duration::from_millis(
        LEAKING_MS + random.random_range(0..100),
    ))
    .await;
    for id in &ids {
        world.node(*id)?.signal(Signal::KILL);
    }
    for id in &ids {
        world.node(*id)?.wait();
    }
    let down_ms = hold(random, 50..500).await;
    Ok(format!(
        "cut the power of {ids:?} for {down_ms} ms, {leaking} of 256 blocks written early"
    ))
}

async fn disk_full(world: &mut World, random: &mut StdRng) -> anyhow::Result<String> {
    let (first, role) = target(world, random).await?;
    let is_everywhere = random.random_range(0..4) == 0;
    for node in &world.nodes {
        if is_everywhere || node.id == first {
            node.disk().set_full(true)?;
        }
    }
    let time_ms = hold(random, FULL_MS).await;
    let place = if is_everywhere {
        "all disks".to_owned()
    } else {
        format!("the disk of {role} {first}")
    };
    Ok(format!("{place} full for {time_ms} ms"))
}

async fn bitflip(world: &mut World, random: &mut StdRng) -> anyhow::Result<String> {
    let (id, role) = target(world, random).await?;
    let node = world.node(id)?;
    // The damage is to be found in what was written, not in what was lost.
    node.disk().set_volatile(false)?;
    sleep(Duration::from_millis(50)).await;
    node.kill();
    let flipped = node.flip_bit(random)?;
    hold(random, 50..300).await;
    Ok(match flipped {
        Some(flipped) => format!(
            "flipped a bit of {role} {id} at {} of {}",
            flipped.offset,
            flipped.path.display()
        ),
        None => format!("killed {role} {id}, which had too little to damage"),
    })
}

async fn membership(world: &mut World, random: &mut StdRng) -> anyhow::Result<String> {
    match random.random_range(0..3) {
        0 => transfer(world, random).await,
        1 => replace(world, random).await,
        _ => add_and_remove(world).await,
    }
}

/// Gives every node its share of the leads, as far as they can be had just now: nodes do so
/// themselves, but only after a longer calm than there is here.
pub async fn spread(world: &mut World) {
    const SPREAD_MS_MAX: u64 = 1_000;
    if world.topics.groups == 1 {
        return;
    }
    let nodes: Vec<_> = world.nodes.iter().map(|node| node.id).collect();
    let leaders = world.leaders().await;
    for ((data_group, leader), to) in (0..).zip(leaders).zip(nodes.into_iter().cycle()) {
        if leader == to {
            continue;
        }
        let request = TransferRequest {
            to,
            data_group: Some(data_group),
        };
        if let Ok(mut operator) = world.operator(data_group, SPREAD_MS_MAX).await
            && let Err(status) = operator.transfer(request).await
        {
            tracing::debug!(%status, data_group, to, "a lead stays where it is");
        }
    }
    eventually(SPREAD_MS_MAX, async || {
        let mut leaders = world.leaders().await.into_iter();
        leaders.all(|leader| leader != 0)
    })
    .await;
}

/// A data group's lead goes to whom its leader chooses.
async fn transfer(world: &mut World, random: &mut StdRng) -> anyhow::Result<String> {
    const TRANSFER_MS_MAX: u64 = 10_000;
    let data_group = any_group(world, random);
    let before = world.leader(data_group).await;
    let before = before.context("there is no leader")?;
    let mut operator = world.operator(data_group, TRANSFER_MS_MAX).await?;
    let request = TransferRequest {
        to: 0,
        data_group: Some(data_group),
    };
    operator.transfer(request).await.context("transfer")?;
    let mut after = None;
    let moved = eventually(TRANSFER_MS_MAX, async || {
        after = world.leader(data_group).await;
        after.is_some_and(|after| after != before)
    });
    anyhow::ensure!(moved.await, "{before} was to hand over and leads still");
    Ok(format!(
        "transferred data group {data_group} from {before} to {}",
        after.unwrap_or(0)
    ))
}

/// A node is lost with all it has; another one takes its place.
async fn replace(world: &mut World, random: &mut StdRng) -> anyhow::Result<String> {
    let (id, role) = target(world, random).await?;
    let node = world.node(id)?;
    node.kill();
    let edge = node.edge();
    let new = world.make_node(Some(edge)).await?;
    // The lost one is no member any more when the new one starts to ask around.
    world.start(new)?;
    let address = world.node(new)?.peer_address();
    elected(world, id).await?;
    let request = ReplaceRequest {
        id,
        with_id: new,
        with_address: address,
        ..ReplaceRequest::default()
    };
    retried("replace", async || {
        let mut operator = world.operator(0, MEMBERSHIP_MS_MAX).await?;
        Ok(operator.replace(request.clone()).await.map(drop)?)
    })
    .await?;
    world.forget(id);
    Ok(format!("lost {role} {id}, replaced it with {new}"))
}

async fn add_and_remove(world: &mut World) -> anyhow::Result<String> {
    let new = world.make_node(None).await?;
    world.start(new)?;
    let address = world.node(new)?.peer_address();
    let request = AddRequest {
        id: new,
        address,
        ..AddRequest::default()
    };
    retried("add", async || {
        let mut operator = world.operator(0, MEMBERSHIP_MS_MAX).await?;
        Ok(operator.add(request.clone()).await.map(drop)?)
    })
    .await?;
    anyhow::ensure!(
        eventually(MEMBERSHIP_MS_MAX, async || world.is_whole().await).await,
        "{new} was added and is not a voter"
    );
    retried("remove", async || {
        let mut operator = world.operator(0, MEMBERSHIP_MS_MAX).await?;
        let request = RemoveRequest {
            id: new,
            ..RemoveRequest::default()
        };
        Ok(operator.remove(request).await.map(drop)?)
    })
    .await?;
    world.node(new)?.kill();
    world.forget(new);
    Ok(format!("added {new} and removed it"))
}

/// Waits until others than this one lead all data groups.
async fn elected(world: &World, lost: u64) -> anyhow::Result<()> {
    let is_elected = eventually(MEMBERSHIP_MS_MAX, async || {
        let mut leaders = world.leaders().await.into_iter();
        leaders.all(|leader| leader != 0 && leader != lost)
    });
    anyhow::ensure!(is_elected.await, "without {lost} there are no leaders");
    Ok(())
}

/// A change of the members can meet an election, or a node that has not started yet.
async fn retried(
    what: &str,
    mut change: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut last = None;
    let is_done = eventually(MEMBERSHIP_MS_MAX, async || match change().await {
        Ok(()) => true,
        Err(error) => {
            last = Some(error);
            false
        }
    });
    if is_done.await {
        return Ok(());
    }
    let last = last.map_or_else(String::new, |error| format!("{error:#}"));
    anyhow::bail!("{what} was not done within {MEMBERSHIP_MS_MAX} ms; last answer: {last}")
}
