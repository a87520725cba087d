use std::{collections::BTreeSet, io};

use outrigger_log::{
    Command, ConsumerGroupConfig, Outcome, StartFrom,
    command::Durability,
    simulation::{PowerLoss, World, WorldOptions},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{
    call::{Answer, Call},
    clients::{Client, Consumer, Guardian, Producer, Transactor},
    directed::{self, Directed, Moment},
    faults::Faults,
    replicas,
    sagas::{self, Sagas, Sight},
    scene::{KnownTopic, Scene},
    verdict::{Options, Verdict},
};
use crate::checker::{self, Report};

/// How long the first leader may take.
const FORMING_MS_MAX: u64 = 10_000;
/// How long everything that was begun may take once nothing goes wrong any more.
const PROGRESS_MS_MAX: u64 = 40_000;
/// The same where there are sagas, whose steps may wait for a minute until they are tried again.
const SAGA_PROGRESS_MS_MAX: u64 = 150_000;
/// How long things go wrong.
const TROUBLE_MS: std::ops::RangeInclusive<u64> = 1_500..=5_000;

/// Runs one seed.
///
/// # Errors
///
/// When the real file system or the system's limits get in the way.
pub fn run(options: Options) -> io::Result<Verdict> {
    let directory = temporary_directory()?;
    let mut choice = SmallRng::seed_from_u64(options.seed ^ 0x6f75_7472);
    let nodes = options.nodes.unwrap_or(match choice.random_range(0..10) {
        0 => 1,
        1 => 5,
        _ => 3,
    });
    let moment = Moment::of(options.seed, nodes).filter(|_| !options.sagas);
    let mut log = log_options(&mut choice, directory.path());
    let sagas_moment = sagas::Moment::of(options.seed).filter(|_| options.sagas);
    if moment == Some(Moment::AppliedAheadOfLog) || sagas_moment == Some(sagas::Moment::UnheardAct)
    {
        log.checkpoint_interval_ms = directed::CHECKPOINT_MS;
    }
    let world = World::new(WorldOptions {
        seed: options.seed,
        nodes,
        log,
        directory: directory.path().to_owned(),
        plant: options.plant,
        keep_trace: options.keep_trace,
    });
    let mut scene = Scene::new(world, options.plant);
    let sagas = options.sagas.then(|| Sagas::new(&mut scene, sagas_moment));
    let sagas = sagas.transpose();
    let mut run = Run {
        scene,
        clients: Vec::new(),
        sagas: sagas.map_err(io::Error::other)?,
        faults: None,
        moment,
    };
    let report = run.play()?;
    let sagas = run.sagas.as_ref();
    let more_faults = sagas.map_or(0, |sagas| sagas.count);
    let scene = &mut run.scene;
    Ok(Verdict {
        seed: options.seed,
        digest: scene.world.trace().digest(),
        report,
        problems: std::mem::take(&mut scene.problems),
        nodes,
        faults: run.faults.as_ref().map_or(0, |faults| faults.count) + more_faults,
        sagas: sagas.map(Sagas::figures),
        lasted_ms: scene.world.now_ms(),
        trace: scene.world.trace().text().to_owned(),
    })
}

/// In memory, when the system has a place for that: nothing here has to survive.
fn temporary_directory() -> io::Result<tempfile::TempDir> {
    let memory = std::path::Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    }
}

/// Small segments and caches, so that a short run meets all of their ends.
fn log_options(choice: &mut SmallRng, directory: &std::path::Path) -> outrigger_log::Options {
    let segment = 1 << choice.random_range(15..=17);
    outrigger_log::Options {
        wal_segment_bytes: segment,
        wal_first_segment_bytes: 8 << 10,
        entry_bytes_max: 12 << 10,
        entry_bytes_target: 1 << choice.random_range(9..=13),
        tail_cache_bytes_max: 1 << choice.random_range(11..=15),
        in_flight_bytes_max: 64 << 10,
        checkpoint_interval_bytes: 1 << choice.random_range(13..=20),
        checkpoint_interval_ms: choice.random_range(300..3_000),
        ..outrigger_log::Options::new(directory)
    }
}

struct Run {
    scene: Scene,
    clients: Vec<Box<dyn Client>>,
    sagas: Option<Sagas>,
    faults: Option<Faults>,
    /// What is brought about before anything else goes wrong.
    moment: Option<Moment>,
}

impl Run {
    /// The report, unless it did not come so far.
    fn play(&mut self) -> io::Result<Option<Report>> {
        if !self.form()? || !self.furnish()? {
            return Ok(None);
        }
        self.people();
        self.trouble()?;
        if !self.finish()? {
            return Ok(None);
        }
        let before = replicas::collect(&mut self.scene);
        let report = checker::check(&self.scene.history, &before);
        let sagas_before = self.judge();
        if !report.is_clean() || !self.scene.problems.is_empty() {
            return Ok(Some(report));
        }
        // Nothing of all this may be in memory only.
        for node in self.scene.world.nodes() {
            self.scene.world.crash(node, PowerLoss::AllLost, false);
        }
        for node in self.scene.world.nodes() {
            self.scene.world.start(node)?;
        }
        if !self.until("all nodes agree after losing power", |run| run.is_quiet())? {
            return Ok(None);
        }
        let after = replicas::collect(&mut self.scene);
        let sagas_after = self.judge();
        if let Some((before, after)) = sagas_before.zip(sagas_after) {
            sagas::compare(
                &mut self.scene,
                "after losing power, everybody",
                &before,
                &after,
            );
        }
        Ok(Some(checker::check(&self.scene.history, &after)))
    }

    /// What there is of sagas, which must have ended as they may.
    fn judge(&mut self) -> Option<Sight> {
        self.sagas.as_ref()?.judge(&mut self.scene)
    }

    fn tick(&mut self) -> io::Result<()> {
        for (node, reason) in self.scene.world.tick() {
            match &mut self.faults {
                Some(faults) => faults.ended(&mut self.scene, node, &reason),
                None => self.scene.problem(format!("node {node} ended: {reason}")),
            }
        }
        Ok(())
    }

    /// Lets time pass until something is so. False, and a problem, when it takes too long.
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) -> io::Result<bool> {
        let progress_ms_max = match self.sagas {
            Some(_) => SAGA_PROGRESS_MS_MAX,
            None => PROGRESS_MS_MAX,
        };
        let until_ms = self.scene.now_ms() + progress_ms_max;
        while self.scene.now_ms() < until_ms {
            self.tick()?;
            if let Some(faults) = &mut self.faults {
                faults.catch_up(&mut self.scene)?;
            }
            if is_so(self) {
                return Ok(true);
            }
            // What must not be has been seen: the rest says nothing more.
            if !self.scene.problems.is_empty() {
                return Ok(false);
            }
        }
        self.scene
            .problem(format!("not within {progress_ms_max} ms: {what}"));
        Ok(false)
    }

    fn form(&mut self) -> io::Result<bool> {
        for node in self.scene.world.nodes() {
            self.scene.world.start(node)?;
        }
        while self.scene.world.leader().is_none() {
            self.tick()?;
            if self.scene.now_ms() > FORMING_MS_MAX {
                self.scene.problem("no leader in the beginning".to_owned());
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Submits a command until it is answered.
    fn ask(&mut self, command: &Command) -> io::Result<Option<Outcome>> {
        let mut call = Call::new(&mut self.scene, vec![command.clone()]);
        for _ in 0..PROGRESS_MS_MAX {
            self.tick()?;
            match call.step(&mut self.scene) {
                None => {}
                Some(Answer::Outcomes(mut outcomes)) => return Ok(outcomes.pop()),
                Some(_) => call = Call::new(&mut self.scene, vec![command.clone()]),
            }
        }
        Ok(None)
    }

    /// Makes topics and groups.
    fn furnish(&mut self) -> io::Result<bool> {
        let plant = self.scene.plant.take();
        for (name, queues) in [("orders", 2), ("stock", 1)] {
            let create = Command::CreateTopic {
                name: name.to_owned(),
                queues,
                durability: Durability::Synced,
            };
            match self.ask(&create)? {
                Some(Outcome::Topic(id)) => {
                    self.scene.topics.push(KnownTopic { name, id, queues });
                }
                other => {
                    self.scene
                        .problem(format!("topic {name} was answered {other:?}"));
                    return Ok(false);
                }
            }
        }
        for name in ["shipping", "billing"] {
            let create = Command::CreateConsumerGroup {
                name: name.to_owned(),
                config: ConsumerGroupConfig {
                    start_from: StartFrom::First,
                    max_attempts: 8,
                    retry_delays_ms: vec![10],
                },
            };
            match self.ask(&create)? {
                Some(Outcome::ConsumerGroup(id)) => self.scene.groups.push((name, id)),
                other => {
                    self.scene
                        .problem(format!("group {name} was answered {other:?}"));
                    return Ok(false);
                }
            }
        }
        for define in self
            .sagas
            .as_ref()
            .map(Sagas::definitions)
            .unwrap_or_default()
        {
            match self.ask(&define.into())? {
                Some(Outcome::Saga(answer)) if sagas::is_defined(&answer) => {}
                other => {
                    self.scene
                        .problem(format!("a definition was answered {other:?}"));
                    return Ok(false);
                }
            }
        }
        self.scene.plant = plant;
        Ok(true)
    }

    /// Lets the applications in.
    fn people(&mut self) {
        if self.sagas.is_some() {
            // Something else is in the log, too.
            self.clients.push(Box::new(Producer::new(1, true)));
            self.clients.push(Box::new(Transactor::new(1)));
            return;
        }
        for number in 1..=self.scene.pick(1..=3) {
            self.clients.push(Box::new(Producer::new(number, true)));
        }
        self.clients.push(Box::new(Producer::new(9, false)));
        for number in 1..=self.scene.pick(1..=3) {
            self.clients.push(Box::new(Transactor::new(number)));
        }
        for (name, group) in self.scene.groups.clone() {
            self.clients.push(Box::new(Consumer::new(name, group)));
        }
        for number in 1..=2 {
            self.clients.push(Box::new(Guardian::new(number)));
        }
    }

    fn step_clients(&mut self) {
        for client in &mut self.clients {
            client.step(&mut self.scene);
        }
        if let Some(sagas) = &mut self.sagas
            && let Err(error) = sagas.step(&mut self.scene)
        {
            self.scene
                .problem(format!("an owner does not start: {error}"));
        }
    }

    /// One millisecond of a moment that is brought about; false when there is none, or no more.
    fn direct(&mut self, directed: Option<&mut Directed>) -> io::Result<bool> {
        let scene = &mut self.scene;
        if !scene.problems.is_empty() {
            return Ok(false);
        }
        match (directed, &mut self.sagas) {
            (Some(directed), _) => directed.step(scene),
            (None, Some(sagas)) => sagas.direct(scene),
            (None, None) => Ok(false),
        }
    }

    fn trouble(&mut self) -> io::Result<()> {
        let mut faults = Faults::new(&mut self.scene);
        let moment = self.moment;
        let mut directed = moment.map(|moment| Directed::new(&mut self.scene, moment));
        while self.direct(directed.as_mut())? {
            for (node, reason) in self.scene.world.tick() {
                faults.ended(&mut self.scene, node, &reason);
            }
            faults.catch_up(&mut self.scene)?;
            self.step_clients();
        }
        let until_ms = self.scene.now_ms() + self.scene.pick(TROUBLE_MS);
        self.scene.lost_percent = self.scene.pick(0..=3) as u32;
        while self.scene.now_ms() < until_ms && self.scene.problems.is_empty() {
            for (node, reason) in self.scene.world.tick() {
                faults.ended(&mut self.scene, node, &reason);
            }
            faults.step(&mut self.scene)?;
            if let Some(sagas) = &mut self.sagas {
                sagas.disturb(&mut self.scene);
            }
            self.step_clients();
        }
        faults.heal(&mut self.scene)?;
        if let Some(sagas) = &mut self.sagas {
            sagas.heal(&self.scene);
        }
        self.faults = Some(faults);
        Ok(())
    }

    /// Everything works again: all that was begun must come to its end.
    fn finish(&mut self) -> io::Result<bool> {
        self.scene.finishing = true;
        // Where there are sagas, nobody consumes.
        let groups = match self.sagas {
            Some(_) => Vec::new(),
            None => self.scene.groups.clone(),
        };
        for (name, _) in groups {
            for topic in self.scene.topics.clone() {
                let drained = (name.to_owned(), topic.name.to_owned());
                self.scene.history.drained.push(drained);
            }
        }
        let done = self.until("all applications are done", |run| {
            run.step_clients();
            run.are_done() && run.is_empty()
        })?;
        for client in &mut self.clients {
            client.look_again();
        }
        let done = done
            && self.until("consumers have received all there is", |run| {
                run.step_clients();
                run.are_done()
            })?;
        if !done {
            let scene = &self.scene;
            let busy = self.clients.iter().filter(|client| !client.is_done(scene));
            let busy: Vec<String> = busy.map(|client| client.describe()).collect();
            let mut busy = busy.join(", ");
            if let Some(sagas) = &self.sagas {
                busy.push_str(&sagas.describe(&mut self.scene));
            }
            self.scene.problem(format!("still busy: {busy}"));
            return Ok(false);
        }
        if !self.close_sagas()? {
            return Ok(false);
        }
        self.until("all nodes agree", |run| run.is_quiet())
    }

    /// The processes that carry out sagas end.
    fn close_sagas(&mut self) -> io::Result<bool> {
        let Some(sagas) = &mut self.sagas else {
            return Ok(true);
        };
        sagas.close();
        self.until("all owners have ended", |run| {
            run.step_clients();
            run.sagas.as_ref().is_none_or(Sagas::is_closed)
        })
    }

    fn are_done(&mut self) -> bool {
        let mut clients = self.clients.iter();
        let done = clients.all(|client| client.is_done(&self.scene));
        let sagas = self.sagas.as_ref();
        done && sagas.is_none_or(|sagas| sagas.is_done(&mut self.scene))
    }

    /// Nothing waits to become visible, and the consumers have seen what is.
    fn is_empty(&self) -> bool {
        let leader = self.scene.world.leader();
        let waiting = leader.and_then(|leader| {
            self.scene.world.with_log(leader, |log| {
                let status = log.status();
                status.delayed + status.unresolved
            })
        });
        waiting == Some(0)
    }

    /// All nodes have applied all there is.
    fn is_quiet(&mut self) -> bool {
        let world = &self.scene.world;
        let Some(leader) = world.leader() else {
            return false;
        };
        let (last, _) = world.written_and_durable(leader);
        let state = |node: u64| {
            let applied = world.with_log(node, |log| log.status().applied_index);
            (applied, world.written_and_durable(node))
        };
        let states: BTreeSet<_> = world.nodes().into_iter().map(state).collect();
        states.len() == 1 && states.contains(&(Some(last), (last, last)))
    }
}
