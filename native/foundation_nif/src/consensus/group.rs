//! Groups: started, changed, stopped.

use super::caller::Caller;
use super::process_machine::ProcessMachine;
use super::propose::Clients;
use super::{Node, atoms, events, reason, settings};
use crate::atoms as common;
use crate::handle::{self, get, held};
use crate::runtime::runtime;
use foundation_consensus::coordination::{Command, NextDue, Replica, encode};
use foundation_consensus::{ChangeError, Clock, Group, IF_MAJORITY_IS_LOST, Instant, Machine};
use parking_lot::RwLock;
use rustler::{Atom, Encoder, Env, Error, LocalPid, NifResult, Term};
use std::sync::Arc;
use std::time::Duration;

mod names {
    rustler::atoms! {
        coordination, process, add_learner, members, transfer, snapshot, foundation_consensus_leader,
    }
}

/// How often the leader looks whether something has ended.
const TICK: Duration = Duration::from_millis(25);

/// A group on this node.
pub(crate) struct Member(pub(super) Arc<Running>);

/// What runs: the group, until its engine is stopped, and the numbers of its proposals.
pub(crate) struct Running {
    group: RwLock<Option<Group>>,
    pub(super) clients: Clients,
}

impl Running {
    pub(super) fn group(&self) -> Option<Group> {
        self.group.read().clone()
    }

    /// The group holds on to the log of its engine; lets go of it.
    pub(super) fn let_go(&self) {
        self.group.write().take();
    }
}

held!(Member, c"foundation_consensus_group");

impl std::panic::RefUnwindSafe for Member {}

/// `{:coordination | :process, pid}`: the machine of a group. Events of coordination go to the pid.
fn machine(node: &Node, kind: Atom, pid: LocalPid, due: &NextDue) -> NifResult<Box<dyn Machine>> {
    let clock = Arc::clone(&node.clock);
    if kind == names::process() {
        return Ok(Box::new(ProcessMachine::new(pid, clock)));
    }
    if kind != names::coordination() {
        return Err(Error::BadArg);
    }
    let sink = move |happened: Vec<_>, time| {
        clock.observe(time);
        for event in happened {
            events::send(&pid, &event);
        }
    };
    Ok(Box::new(Replica::new(node.me.clone(), due.clone(), sink)))
}

/// Starts a group; `{reference, {:ok, group} | {:error, reason}}` comes when its log is read. News of its leader go to
/// the process of the machine.
#[rustler::nif]
fn consensus_group_start<'a>(
    env: Env<'a>,
    node: Term<'a>,
    reference: Term<'a>,
    name: &'a str,
    members: Term<'a>,
    options: Term<'a>,
    machine_of: (Atom, LocalPid),
) -> NifResult<Atom> {
    let node = Arc::clone(&get::<super::Handle>(node)?.0);
    let config = settings::group(name, members, options)?;
    let (kind, pid) = machine_of;
    let due = NextDue::default();
    let machine = machine(&node, kind, pid, &due)?;
    let (engine, clock, me) = (node.engine(), Arc::clone(&node.clock), node.me.clone());
    let caller = Caller::new(env, reference);
    let runtime = runtime().map_err(|_| Error::BadArg)?;
    runtime.spawn(async move {
        let started = match engine {
            Some(engine) => engine.start_group(config, machine).await,
            None => Err(foundation_consensus::Error::Stopped),
        };
        if let Ok(group) = &started {
            runtime.spawn(tell_leaders(group.clone(), pid));
            if kind == names::coordination() {
                runtime.spawn(tick(group.clone(), due, clock, me));
            }
        }
        caller.answer(|env| match started {
            Ok(group) => {
                let running = Arc::new(Running {
                    group: RwLock::new(Some(group)),
                    clients: Clients::default(),
                });
                node.started(&running);
                (common::ok(), handle::make(env, Member(running))).encode(env)
            }
            Err(refused) => (common::error(), reason(env, &refused)).encode(env),
        });
    });
    Ok(common::ok())
}

/// Sends `{:foundation_consensus_leader, leader, term}` with each change.
async fn tell_leaders(group: Group, pid: LocalPid) {
    let mut leaders = group.watch();
    loop {
        let leader = leaders.borrow_and_update().clone();
        crate::fabric::with_env(|env| {
            let name = leader.node.as_deref().encode(env);
            let message = (names::foundation_consensus_leader(), name, leader.term).encode(env);
            crate::fabric::send_message(env, &pid, message);
        });
        if leaders.changed().await.is_err() {
            return;
        }
    }
}

/// Has the leader propose that time goes on, when something ends.
async fn tick(group: Group, due: NextDue, clock: Arc<super::SharedClock>, me: String) {
    let leaders = group.watch();
    let command = encode(&Command::Tick);
    while leaders.has_changed().is_ok() {
        let leads = leaders.borrow().node.as_deref() == Some(me.as_str());
        if leads && due.get().is_some_and(|due| due <= clock.now_ms()) {
            let deadline = Instant::now() + Duration::from_secs(1);
            // Whatever comes of it, the next round sees whether something is still due.
            let _ = group.propose(None, command.clone(), deadline).await;
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Stops the group of that name here, when it runs; the others go on.
#[rustler::nif(schedule = "DirtyIo")]
fn consensus_group_stop(node: Term<'_>, name: &str) -> NifResult<Atom> {
    let engine = get::<super::Handle>(node)?.0.engine();
    let runtime = runtime().map_err(|_| Error::BadArg)?;
    if let Some(engine) = engine {
        runtime.block_on(engine.stop_group(name));
    }
    Ok(common::ok())
}

/// What is changed.
enum Change {
    AddLearner(String),
    Members(Vec<String>),
    Transfer(String),
    Snapshot,
}

impl Change {
    fn decode(term: Term<'_>) -> NifResult<Self> {
        if term.is_atom() {
            let name: Atom = term.decode()?;
            return if name == names::snapshot() {
                Ok(Self::Snapshot)
            } else {
                Err(Error::BadArg)
            };
        }
        let (what, value): (Atom, Term<'_>) = term.decode()?;
        if what == names::add_learner() {
            Ok(Self::AddLearner(value.decode()?))
        } else if what == names::members() {
            Ok(Self::Members(settings::names(value)?))
        } else if what == names::transfer() {
            Ok(Self::Transfer(value.decode()?))
        } else {
            Err(Error::BadArg)
        }
    }
}

/// Changes members or leader, or takes a snapshot; `{reference, :ok | {:error, reason}}` comes within the time.
#[rustler::nif]
fn consensus_change<'a>(
    env: Env<'a>,
    member: Term<'a>,
    reference: Term<'a>,
    change: Term<'a>,
    timeout_ms: u32,
) -> NifResult<Atom> {
    let group = get::<Member>(member)?.0.group();
    let change = Change::decode(change)?;
    let caller = Caller::new(env, reference);
    let deadline = Instant::now() + Duration::from_millis(timeout_ms.into());
    runtime().map_err(|_| Error::BadArg)?.spawn(async move {
        let done = match (group, change) {
            (None, _) => Err(ChangeError::Stopped),
            (Some(group), Change::AddLearner(name)) => group.add_learner(&name, deadline).await,
            (Some(group), Change::Members(names)) => group.change_members(&names, deadline).await,
            (Some(group), Change::Transfer(name)) => group.transfer_leadership(&name, deadline).await,
            (Some(group), Change::Snapshot) => group.snapshot().await,
        };
        caller.answer(|env| match done {
            Ok(()) => common::ok().encode(env),
            Err(error) => (common::error(), change_reason(env, &error)).encode(env),
        });
    });
    Ok(common::ok())
}

fn change_reason<'a>(env: Env<'a>, error: &ChangeError) -> Term<'a> {
    match error {
        ChangeError::NoLeader => atoms::no_leader().encode(env),
        ChangeError::Unknown => atoms::unknown().encode(env),
        ChangeError::InProgress => atoms::in_progress().encode(env),
        ChangeError::Invalid(text) => (atoms::invalid(), text.as_str()).encode(env),
        ChangeError::Stopped => atoms::stopped().encode(env),
    }
}

/// Makes this node the only member of a group whose majority is lost, in an engine that does not run it.
#[rustler::nif(schedule = "DirtyIo")]
fn consensus_recover<'a>(env: Env<'a>, node: Term<'a>, name: &'a str, word: &'a str) -> NifResult<Term<'a>> {
    let engine = get::<super::Handle>(node)?.0.engine();
    if word != IF_MAJORITY_IS_LOST {
        return Ok((common::error(), atoms::invalid()).encode(env));
    }
    let runtime = runtime().map_err(|_| Error::BadArg)?;
    let Some(engine) = engine else {
        return Ok((common::error(), atoms::stopped()).encode(env));
    };
    Ok(match runtime.block_on(engine.recover(name, word)) {
        Ok(_) => common::ok().encode(env),
        Err(refused) => (common::error(), reason(env, &refused)).encode(env),
    })
}
