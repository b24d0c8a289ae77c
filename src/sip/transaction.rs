//! The four machines of RFC 3261 §17 with the Accepted states of RFC 6026, as tables: lay a
//! figure beside its function and tick the arrows. What a state ignores is not listed.
//! Arrows that end alike are not merged: each stands where its state stands in the figure.
//!
//! A machine knows nothing but its state. `transactions` keeps its timers, its key and its last
//! message, and does what the actions say.

#![expect(clippy::match_same_arms, reason = "one line for each arrow of the figures")]

use super::timer::Timer;

/// Figure 7 of RFC 3261, as changed by RFC 6026 §7.1 figure 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InviteServer {
    Proceeding,
    Accepted,
    Completed,
    Confirmed,
}

/// Figure 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    Trying,
    Proceeding,
    Completed,
}

/// Figure 5, as changed by RFC 6026 §7.2 figure 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InviteClient {
    Calling,
    Proceeding,
    Accepted,
    Completed,
}

/// Figure 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    Trying,
    Proceeding,
    Completed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    InviteServer(InviteServer),
    Server(Server),
    InviteClient(InviteClient),
    Client(Client),
    Terminated,
}

/// What happens to a transaction. For a server the responses are those we send, for a client
/// those that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Request,
    Ack,
    Provisional,
    Success,
    Failure,
    /// Our CANCEL for it has left.
    Cancel,
    Fires(Timer),
    TransportFailed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Send what was given, and keep it.
    Send,
    /// Send what was kept.
    Repeat,
    /// Send an ACK for the failure, and keep it (RFC 3261 §17.1.1.3).
    Acknowledge,
    /// Give the response to the transaction's user.
    Tell,
    /// Tell the user that nobody answered.
    Fail,
    Start(Timer),
    Stop(Timer),
}

type Step = Option<(Machine, &'static [Action])>;

impl Machine {
    pub fn step(self, input: Input) -> Step {
        match self {
            Self::InviteServer(state) => invite_server(state, input),
            Self::Server(state) => server(state, input),
            Self::InviteClient(state) => invite_client(state, input),
            Self::Client(state) => client(state, input),
            Self::Terminated => None,
        }
    }
}

fn invite_server(state: InviteServer, input: Input) -> Step {
    use Action::{Repeat, Send, Start, Stop};
    use InviteServer::{Accepted, Completed, Confirmed, Proceeding};
    let (next, actions): (_, &[Action]) = match (state, input) {
        (Proceeding, Input::Request) => (Proceeding, &[Repeat]),
        (Proceeding, Input::Provisional) => (Proceeding, &[Send]),
        // RFC 6026 §7.1: the transaction lives on to swallow copies of the INVITE; the 2xx itself
        // is repeated by the call.
        (Proceeding, Input::Success) => (Accepted, &[Send, Start(Timer::L)]),
        (Proceeding, Input::Failure) => (Completed, &[Send, Start(Timer::G), Start(Timer::H)]),
        (Accepted, Input::Fires(Timer::L)) => return TERMINATED,
        (Completed, Input::Request) => (Completed, &[Repeat]),
        (Completed, Input::Fires(Timer::G)) => (Completed, &[Repeat, Start(Timer::G)]),
        (Completed, Input::Ack) => (Confirmed, &[Stop(Timer::G), Stop(Timer::H), Start(Timer::I)]),
        (Completed, Input::Fires(Timer::H)) => return TERMINATED,
        (Confirmed, Input::Fires(Timer::I)) => return TERMINATED,
        // A lost connection does not end an INVITE: its answer may find another way.
        (Proceeding | Accepted | Completed | Confirmed, _) => return None,
    };
    Some((Machine::InviteServer(next), actions))
}

fn server(state: Server, input: Input) -> Step {
    use Action::{Repeat, Send, Start};
    use Server::{Completed, Proceeding, Trying};
    let (next, actions): (_, &[Action]) = match (state, input) {
        (Trying | Proceeding, Input::Provisional) => (Proceeding, &[Send]),
        (Trying | Proceeding, Input::Success | Input::Failure) => {
            (Completed, &[Send, Start(Timer::J)])
        }
        (Proceeding | Completed, Input::Request) => (state, &[Repeat]),
        (Completed, Input::Fires(Timer::J)) => return TERMINATED,
        (Trying | Proceeding | Completed, _) => return None,
    };
    Some((Machine::Server(next), actions))
}

fn invite_client(state: InviteClient, input: Input) -> Step {
    use Action::{Acknowledge, Repeat, Start, Stop, Tell};
    use InviteClient::{Accepted, Calling, Completed, Proceeding};
    let (next, actions): (_, &[Action]) = match (state, input) {
        (Calling, Input::Request) => (Calling, &[Action::Send, Start(Timer::A), Start(Timer::B)]),
        (Calling, Input::Fires(Timer::A)) => (Calling, &[Repeat, Start(Timer::A)]),
        (Calling, Input::Fires(Timer::B) | Input::TransportFailed) => return FAILED,
        (Calling, Input::Provisional) => (Proceeding, &[Stop(Timer::A), Stop(Timer::B), Tell]),
        (Proceeding, Input::Provisional) => (Proceeding, &[Tell]),
        (Proceeding, Input::Cancel) => (Proceeding, &[Start(Timer::Forgotten)]),
        (Proceeding, Input::Fires(Timer::Forgotten) | Input::TransportFailed) => return FAILED,
        (Calling, Input::Success) => {
            (Accepted, &[Stop(Timer::A), Stop(Timer::B), Start(Timer::M), Tell])
        }
        (Calling, Input::Failure) => {
            (Completed, &[Stop(Timer::A), Stop(Timer::B), Acknowledge, Start(Timer::D), Tell])
        }
        (Proceeding, Input::Success) => {
            (Accepted, &[Stop(Timer::Forgotten), Start(Timer::M), Tell])
        }
        (Proceeding, Input::Failure) => {
            (Completed, &[Stop(Timer::Forgotten), Acknowledge, Start(Timer::D), Tell])
        }
        // RFC 6026 §7.2: every further 2xx (a copy, or another branch of a fork) goes up.
        (Accepted, Input::Success) => (Accepted, &[Tell]),
        (Accepted, Input::Fires(Timer::M)) => return TERMINATED,
        (Completed, Input::Failure) => (Completed, &[Repeat]),
        (Completed, Input::Fires(Timer::D)) => return TERMINATED,
        (Calling | Proceeding | Accepted | Completed, _) => return None,
    };
    Some((Machine::InviteClient(next), actions))
}

fn client(state: Client, input: Input) -> Step {
    use Action::{Repeat, Start, Stop, Tell};
    use Client::{Completed, Proceeding, Trying};
    let (next, actions): (_, &[Action]) = match (state, input) {
        (Trying, Input::Request) => (Trying, &[Action::Send, Start(Timer::E), Start(Timer::F)]),
        (Trying | Proceeding, Input::Fires(Timer::E)) => (state, &[Repeat, Start(Timer::E)]),
        (Trying | Proceeding, Input::Fires(Timer::F) | Input::TransportFailed) => return FAILED,
        (Trying | Proceeding, Input::Provisional) => (Proceeding, &[Tell]),
        (Trying | Proceeding, Input::Success | Input::Failure) => {
            (Completed, &[Stop(Timer::E), Stop(Timer::F), Start(Timer::K), Tell])
        }
        (Completed, Input::Fires(Timer::K)) => return TERMINATED,
        (Trying | Proceeding | Completed, _) => return None,
    };
    Some((Machine::Client(next), actions))
}

const TERMINATED: Step = Some((Machine::Terminated, &[]));
const FAILED: Step = Some((Machine::Terminated, &[Action::Fail]));

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks a machine through inputs and notes `State` and actions after each.
    fn walk(mut machine: Machine, inputs: &[Input]) -> Machine {
        for input in inputs {
            if let Some((next, _)) = machine.step(*input) {
                machine = next;
            }
        }
        machine
    }

    #[test]
    fn an_accepted_invite_swallows_copies_until_timer_l() {
        let start = Machine::InviteServer(InviteServer::Proceeding);
        let accepted = walk(start, &[Input::Request, Input::Provisional, Input::Success]);
        assert_eq!(accepted, Machine::InviteServer(InviteServer::Accepted));
        assert_eq!(accepted.step(Input::Request), None);
        assert_eq!(walk(accepted, &[Input::Fires(Timer::L)]), Machine::Terminated);
    }

    #[test]
    fn a_refused_invite_is_repeated_until_ack() {
        let start = Machine::InviteServer(InviteServer::Proceeding);
        let completed = walk(start, &[Input::Failure, Input::Fires(Timer::G)]);
        assert_eq!(completed.step(Input::Request).map(|s| s.1), Some(&[Action::Repeat][..]));
        let confirmed = walk(completed, &[Input::Ack]);
        assert_eq!(confirmed, Machine::InviteServer(InviteServer::Confirmed));
        assert_eq!(confirmed.step(Input::Ack), None);
        assert_eq!(walk(confirmed, &[Input::Fires(Timer::I)]), Machine::Terminated);
    }

    #[test]
    fn our_invite_fails_only_before_the_first_answer() {
        let calling = Machine::InviteClient(InviteClient::Calling);
        assert_eq!(calling.step(Input::Fires(Timer::B)), FAILED);
        let proceeding = walk(calling, &[Input::Provisional]);
        assert_eq!(proceeding.step(Input::Fires(Timer::B)), None);
        assert_eq!(
            walk(proceeding, &[Input::Failure]),
            Machine::InviteClient(InviteClient::Completed)
        );
    }
}
