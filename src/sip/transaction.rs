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
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every arrow of the four figures: state, input, next state, actions.
    const ARROWS: &str = "
        InviteServer Proceeding  Request          Proceeding  Repeat
        InviteServer Proceeding  Provisional      Proceeding  Send
        InviteServer Proceeding  Success          Accepted    Send Start(L)
        InviteServer Proceeding  Failure          Completed   Send Start(G) Start(H)
        InviteServer Accepted    Fires(L)         Terminated
        InviteServer Completed   Request          Completed   Repeat
        InviteServer Completed   Fires(G)         Completed   Repeat Start(G)
        InviteServer Completed   Ack              Confirmed   Stop(G) Stop(H) Start(I)
        InviteServer Completed   Fires(H)         Terminated
        InviteServer Confirmed   Fires(I)         Terminated

        Server       Trying      Provisional      Proceeding  Send
        Server       Trying      Success          Completed   Send Start(J)
        Server       Trying      Failure          Completed   Send Start(J)
        Server       Proceeding  Request          Proceeding  Repeat
        Server       Proceeding  Provisional      Proceeding  Send
        Server       Proceeding  Success          Completed   Send Start(J)
        Server       Proceeding  Failure          Completed   Send Start(J)
        Server       Completed   Request          Completed   Repeat
        Server       Completed   Fires(J)         Terminated

        InviteClient Calling     Request          Calling     Send Start(A) Start(B)
        InviteClient Calling     Fires(A)         Calling     Repeat Start(A)
        InviteClient Calling     Fires(B)         Terminated  Fail
        InviteClient Calling     TransportFailed  Terminated  Fail
        InviteClient Calling     Provisional      Proceeding  Stop(A) Stop(B) Tell
        InviteClient Calling     Success          Accepted    Stop(A) Stop(B) Start(M) Tell
        InviteClient Calling     Failure          Completed   Stop(A) Stop(B) Acknowledge Start(D) Tell
        InviteClient Proceeding  Provisional      Proceeding  Tell
        InviteClient Proceeding  TransportFailed  Terminated  Fail
        InviteClient Proceeding  Cancel           Proceeding  Start(Forgotten)
        InviteClient Proceeding  Fires(Forgotten) Terminated  Fail
        InviteClient Proceeding  Success          Accepted    Stop(Forgotten) Start(M) Tell
        InviteClient Proceeding  Failure          Completed   Stop(Forgotten) Acknowledge Start(D) Tell
        InviteClient Accepted    Success          Accepted    Tell
        InviteClient Accepted    Fires(M)         Terminated
        InviteClient Completed   Failure          Completed   Repeat
        InviteClient Completed   Fires(D)         Terminated

        Client       Trying      Request          Trying      Send Start(E) Start(F)
        Client       Trying      Fires(E)         Trying      Repeat Start(E)
        Client       Trying      Fires(F)         Terminated  Fail
        Client       Trying      TransportFailed  Terminated  Fail
        Client       Trying      Provisional      Proceeding  Tell
        Client       Trying      Success          Completed   Stop(E) Stop(F) Start(K) Tell
        Client       Trying      Failure          Completed   Stop(E) Stop(F) Start(K) Tell
        Client       Proceeding  Fires(E)         Proceeding  Repeat Start(E)
        Client       Proceeding  Fires(F)         Terminated  Fail
        Client       Proceeding  TransportFailed  Terminated  Fail
        Client       Proceeding  Provisional      Proceeding  Tell
        Client       Proceeding  Success          Completed   Stop(E) Stop(F) Start(K) Tell
        Client       Proceeding  Failure          Completed   Stop(E) Stop(F) Start(K) Tell
        Client       Completed   Fires(K)         Terminated
    ";

    #[test]
    fn every_arrow_and_no_other() {
        let wanted = ARROWS.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut wanted: Vec<String> =
            wanted.filter(|words| !words.is_empty()).map(|words| words.join(" ")).collect();
        let mut drawn: Vec<String> = Vec::new();
        for machine in machines() {
            for input in inputs() {
                if let Some((next, actions)) = machine.step(input) {
                    let actions: String = actions.iter().map(|a| format!(" {a:?}")).collect();
                    let next = named(next).split(' ').next_back().unwrap_or("").to_owned();
                    drawn.push(format!("{} {input:?} {next}{actions}", named(machine)));
                }
            }
        }
        wanted.sort();
        drawn.sort();
        assert_eq!(drawn, wanted);
        assert!(inputs().iter().all(|input| Machine::Terminated.step(*input).is_none()));
    }

    /// Each state with each input that does something there.
    pub(in crate::sip) fn arrows() -> BTreeSet<String> {
        let pairs = machines().into_iter().flat_map(|m| inputs().into_iter().map(move |i| (m, i)));
        let drawn = pairs.filter(|(machine, input)| machine.step(*input).is_some());
        drawn.map(|(machine, input)| format!("{machine:?} {input:?}")).collect()
    }

    /// `Client Trying`.
    fn named(machine: Machine) -> String {
        format!("{machine:?}").replace('(', " ").replace(')', "")
    }

    fn machines() -> Vec<Machine> {
        use Machine::{Client, InviteClient, InviteServer, Server};
        vec![
            InviteServer(super::InviteServer::Proceeding),
            InviteServer(super::InviteServer::Accepted),
            InviteServer(super::InviteServer::Completed),
            InviteServer(super::InviteServer::Confirmed),
            Server(super::Server::Trying),
            Server(super::Server::Proceeding),
            Server(super::Server::Completed),
            InviteClient(super::InviteClient::Calling),
            InviteClient(super::InviteClient::Proceeding),
            InviteClient(super::InviteClient::Accepted),
            InviteClient(super::InviteClient::Completed),
            Client(super::Client::Trying),
            Client(super::Client::Proceeding),
            Client(super::Client::Completed),
        ]
    }

    fn inputs() -> Vec<Input> {
        use Timer::{A, B, D, E, F, Forgotten, G, H, I, J, K, L, M};
        let timers = [A, B, D, E, F, G, H, I, J, K, L, M, Forgotten];
        let others = [
            Input::Request,
            Input::Ack,
            Input::Provisional,
            Input::Success,
            Input::Failure,
            Input::Cancel,
            Input::TransportFailed,
        ];
        others.into_iter().chain(timers.map(Input::Fires)).collect()
    }
}
