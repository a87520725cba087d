//! Sagas in a simulated world: processes with the real executor in them fight over sagas that
//! are kept in the simulated log.

mod definitions;
mod directed;
mod errand;
mod faults;
mod judge;
mod owner;
mod participants;
mod people;
mod wire;
mod witness;

use std::{collections::BTreeMap, fmt, io, ops::AddAssign, sync::Arc};

use outrigger_core::{
    placement::Placement,
    saga::{
        Definition, Record,
        definition::Version,
        event::Act,
        ledger::{Answer, Command, Filter, View},
        record::Status,
    },
};
use outrigger_log::simulation::poll_now;
use tokio::sync::oneshot;

use super::scene::Scene;
use directed::{Directed, Fate};
use errand::{Errand, What};
use faults::Faults;
use owner::Owner;
use participants::Participants;
use people::{Application, Person, Register};
use wire::{Access, Request, Submitted};
use witness::Witness;

pub(super) use directed::Moment;
pub(super) use judge::{Sight, compare};

/// How often somebody looks for sagas that need a person, in the end.
const LOOK_MS: u64 = 150;
/// How often it is seen whether all have ended.
const ENDED_MS: u64 = 20;
/// Sagas that are listed together.
const PAGE: usize = 64;

/// How much has happened in a world with sagas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Sagas that were acknowledged.
    pub started: u64,
    /// Appends that were carried out.
    pub appends: u64,
    /// Appends that were refused.
    pub refused: u64,
    /// Sagas that were taken over.
    pub taken: u64,
    /// Calls that executors made.
    pub calls: u64,
    /// Things that were done by hand.
    pub acts: u64,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, more: Self) {
        self.started += more.started;
        self.appends += more.appends;
        self.refused += more.refused;
        self.taken += more.taken;
        self.calls += more.calls;
        self.acts += more.acts;
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            started,
            appends,
            refused,
            taken,
            calls,
            acts,
        } = self;
        write!(
            f,
            "{started} acknowledged sagas, {appends} appends, {refused} of them refused, {taken} \
             taken over, {calls} calls, {acts} acts by hand"
        )
    }
}

/// Everything in a world that has to do with sagas.
pub(super) struct Sagas {
    definitions: Vec<Arc<Definition>>,
    by_version: Arc<BTreeMap<Version, Arc<Definition>>>,
    placement: Placement,
    owners: Vec<Owner>,
    errands: Vec<Errand>,
    participants: Participants,
    witness: Witness,
    applications: Vec<Application>,
    person: Person,
    register: Register,
    /// Reports that are under way.
    reports: Vec<(Command, oneshot::Receiver<Submitted>)>,
    faults: Faults,
    /// What is brought about before anything else goes wrong.
    directed: Option<Directed>,
    look_at_ms: u64,
    /// Owners that end are not started again.
    closing: bool,
    /// How often something was made to go wrong.
    pub(super) count: u64,
}

impl Sagas {
    /// Owners that do not run yet, and people.
    pub(super) fn new(scene: &mut Scene, moment: Option<Moment>) -> Result<Self, String> {
        let definitions = definitions::all().map_err(|error| error.to_string())?;
        let placement = Placement::new(1).map_err(|error| error.to_string())?;
        let by_version = definitions
            .iter()
            .map(|definition| (definition.version(), Arc::clone(definition)));
        let by_version: Arc<BTreeMap<_, _>> = Arc::new(by_version.collect());
        let owners = (1..=scene.pick(2..=3)).map(|number| Owner::new(scene, number));
        let mut owners: Vec<Owner> = owners.collect();
        if moment == Some(Moment::UnheardAct) {
            owners.iter_mut().for_each(Owner::live_long);
        }
        let applications = (1..=scene.pick(2..=4)).map(Application::new);
        Ok(Self {
            applications: applications.collect(),
            witness: Witness::new(Arc::clone(&by_version)),
            definitions,
            by_version,
            placement,
            owners,
            errands: Vec::new(),
            participants: Participants::default(),
            person: Person::new(scene),
            register: Register::new(),
            reports: Vec::new(),
            faults: Faults::new(scene),
            directed: moment.map(Directed::new),
            look_at_ms: 0,
            closing: false,
            count: 0,
        })
    }

    /// The commands with which every saga is defined.
    pub(super) fn definitions(&self) -> Vec<Command> {
        let define = |definition: &Arc<Definition>| Command::Define {
            encoded: definition.encoded().clone(),
        };
        self.definitions.iter().map(define).collect()
    }

    /// How much has happened.
    pub(super) fn figures(&self) -> Figures {
        let started = self.register.values().filter(|told| told.acknowledged);
        Figures {
            started: u64::try_from(started.count()).unwrap_or(u64::MAX),
            appends: self.witness.appended,
            refused: self.witness.refused,
            taken: self.witness.taken,
            calls: self.participants.calls,
            acts: self.person.acts,
        }
    }

    /// One millisecond.
    pub(super) fn step(&mut self, scene: &mut Scene) -> io::Result<()> {
        self.start_owners(scene)?;
        self.step_errands(scene);
        for report in self.participants.step(scene) {
            self.report(scene, report);
        }
        self.hear_reports(scene);
        let now_ms = scene.now_ms();
        for at in 0..self.owners.len() {
            let Some(owner) = self.owners.get_mut(at) else {
                continue;
            };
            let (id, cut_off) = (owner.id(), owner.is_cut_off(now_ms));
            match owner.step(scene) {
                Ok(requests) => {
                    for request in requests {
                        self.take(scene, id.unwrap_or(0), request, cut_off);
                    }
                }
                Err(problem) => scene.problem(problem),
            }
        }
        for application in &mut self.applications {
            application.step(scene, &self.owners, &self.definitions, &mut self.register);
        }
        let undisturbed = self.directed.as_ref().is_some_and(Directed::is_undisturbed);
        if !undisturbed {
            self.person.step(scene, &self.owners, &self.register);
        }
        if scene.finishing && self.look_at_ms <= now_ms {
            self.look_at_ms = now_ms + LOOK_MS;
            self.help(scene);
        }
        for problem in self.witness.take_problems() {
            scene.problem(problem);
        }
        Ok(())
    }

    fn start_owners(&mut self, scene: &mut Scene) -> io::Result<()> {
        let now_ms = scene.now_ms();
        for owner in &mut self.owners {
            if !self.closing && !owner.is_running() && owner.starts_at_ms <= now_ms {
                let access = Access::new(Arc::clone(&self.by_version), self.placement);
                owner.start(scene, access)?;
            }
        }
        Ok(())
    }

    fn step_errands(&mut self, scene: &mut Scene) {
        let now_ms = scene.now_ms();
        let (owners, witness) = (&self.owners, &mut self.witness);
        self.errands.retain_mut(|errand| {
            let from = errand.from();
            let owner = owners.iter().find(|owner| owner.id() == from);
            if from.is_some() && owner.is_none() {
                errand.abandon();
            }
            let cut_off = owner.is_some_and(|owner| owner.is_cut_off(now_ms));
            errand.step(scene, witness, cut_off)
        });
    }

    fn take(&mut self, scene: &mut Scene, owner: u128, request: Request, cut_off: bool) {
        match request {
            Request::Submit(commands, answer) => {
                let directed = self.directed.as_mut();
                let fate = directed.map_or(Fate::Any, |it| it.fate(owner, &commands));
                let what = What::submit(commands, answer);
                let mut errand = Errand::new(scene, Some(owner), what, cut_off);
                errand.meet(fate);
                self.errands.push(errand);
            }
            Request::Read(saga, answer) => {
                let trace = scene.world.trace();
                trace.note(format_args!("{owner:x} reads {saga}"));
                let directed = self.directed.as_ref();
                let fate = directed.map_or(Fate::Any, |it| it.fate_of_read(owner, &saga));
                let what = What::Read { saga, answer };
                let mut errand = Errand::new(scene, Some(owner), what, cut_off);
                errand.meet(fate);
                self.errands.push(errand);
            }
            Request::Call(call, answer) => {
                let (saga, step, attempt) = (&call.saga, &call.step, call.attempt);
                let trace = scene.world.trace();
                trace.note(format_args!(
                    "{owner:x} calls {saga} {step} attempt {attempt}"
                ));
                self.witness.makes(owner, &call);
                self.participants.call(scene, &call, answer, cut_off);
            }
            Request::Publish(message, answer) => {
                let witness = &mut self.witness;
                self.participants
                    .publish(scene, witness, owner, &message, answer);
            }
        }
    }

    /// A person, or a participant, submits something.
    fn submit(&mut self, scene: &mut Scene, command: Command) -> oneshot::Receiver<Submitted> {
        let (answer, answered) = oneshot::channel();
        let what = What::submit(vec![command], answer);
        let errand = Errand::new(scene, None, what, false);
        self.errands.push(errand);
        answered
    }

    fn report(&mut self, scene: &mut Scene, report: Command) {
        let answer = self.submit(scene, report.clone());
        self.reports.push((report, answer));
    }

    /// Reports are submitted until somebody answers.
    fn hear_reports(&mut self, scene: &mut Scene) {
        let mut waiting = Vec::new();
        for (report, mut answer) in std::mem::take(&mut self.reports) {
            match poll_now(&mut answer) {
                None => waiting.push((report, answer)),
                Some(Ok(Ok(_))) => {}
                Some(Ok(Err(_)) | Err(_)) => self.participants.report_again(scene, report),
            }
        }
        self.reports = waiting;
    }

    /// People see to sagas that wait for them.
    fn help(&mut self, scene: &mut Scene) {
        let Some(views) = self.look(scene) else {
            return;
        };
        for view in views {
            let record = &view.record;
            let act = match record.status() {
                Status::Parked { by_hand: true, .. } => Act::Resume,
                Status::Parked { by_hand: false, .. } => match record.stuck().next() {
                    Some(step) => Act::Retry { step },
                    None => Act::Resume,
                },
                Status::Working(_) => match record.stuck().next() {
                    Some(step) => Act::Retry { step },
                    None => continue,
                },
                Status::Completed | Status::Undone => continue,
            };
            let command = Command::Act {
                saga: record.started().saga.clone(),
                act,
                note: people::note(),
            };
            // It is looked after again soon.
            drop(self.submit(scene, command));
        }
    }

    /// All sagas as the leader has them; nothing when nobody leads.
    fn look(&self, scene: &mut Scene) -> Option<Vec<View>> {
        let leader = scene.world.leader()?;
        match Self::read(scene, leader) {
            Ok(views) => views,
            Err(problem) => {
                scene.problem(problem);
                None
            }
        }
    }

    /// All sagas as a node has them; nothing when it does not run.
    fn read(scene: &Scene, node: u64) -> Result<Option<Vec<View>>, String> {
        let read = scene.world.with_log(node, |log| {
            let mut views = Vec::new();
            let mut after = String::new();
            loop {
                let page = log.sagas(&Filter::default(), &after, PAGE);
                let page = page.map_err(|error| error.to_string())?;
                for record in page.sagas {
                    let id = &Record::started(&record).saga;
                    let view = log.saga(id).map_err(|error| error.to_string())?;
                    let view = view.ok_or_else(|| format!("saga {id} is listed, and not found"))?;
                    views.push(view);
                }
                match page.next {
                    Some(next) => after = next,
                    None => return Ok(views),
                }
            }
        });
        read.transpose()
    }

    /// Nothing goes wrong any more.
    pub(super) fn heal(&mut self, scene: &Scene) {
        for owner in &mut self.owners {
            owner.heal(scene.now_ms());
        }
    }

    /// Everything that was begun has come to its end.
    pub(super) fn is_done(&self, scene: &mut Scene) -> bool {
        let people = self.applications.iter().all(Application::is_done) && self.person.is_done();
        let now = scene.now_ms().is_multiple_of(ENDED_MS);
        if !now || !people || !self.participants.is_idle() || !self.reports.is_empty() {
            return false;
        }
        // Whoever asked may have given up long ago: what arrives late begins a saga all the same,
        // and somebody must be there to bring it to its end.
        let under_way = self.errands.iter().any(Errand::may_change_sagas);
        if under_way || !Self::is_applied(scene) {
            return false;
        }
        let views = self.look(scene);
        views.is_some_and(|views| views.iter().all(|view| view.record.is_finished()))
    }

    /// The leader has carried out all that it has written, also what others left behind who
    /// led before it.
    fn is_applied(scene: &Scene) -> bool {
        let world = &scene.world;
        world.leader().is_some_and(|leader| {
            let applied = world.with_log(leader, |log| log.status().applied_index);
            applied == Some(world.written_and_durable(leader).0)
        })
    }

    /// What has not ended yet, for whoever wonders why.
    pub(super) fn describe(&self, scene: &mut Scene) -> String {
        let views = self.look(scene).unwrap_or_default();
        let left = views.iter().filter(|view| !view.record.is_finished());
        let left = left.map(|view| {
            let steps = view.record.steps().iter().map(|step| step.state());
            format!(
                "{} {:?} epoch {} owner {:x?} unseen {} {:?}",
                view.record.started().saga,
                view.record.status(),
                view.epoch,
                view.owner,
                view.unseen.len(),
                steps.collect::<Vec<_>>(),
            )
        });
        left.collect::<Vec<_>>().join("; ")
    }

    /// Every process gives back what it has, and ends.
    pub(super) fn close(&mut self) {
        self.closing = true;
        self.owners.iter().for_each(Owner::drain);
    }

    /// No process runs any more, and nothing is on its way.
    pub(super) fn is_closed(&self) -> bool {
        let running = self.owners.iter().any(Owner::is_running);
        !running && self.errands.is_empty() && self.participants.is_idle()
    }
}

/// Whether a definition was taken.
pub(super) fn is_defined(answer: &Answer) -> bool {
    matches!(answer, Answer::Defined { .. })
}
